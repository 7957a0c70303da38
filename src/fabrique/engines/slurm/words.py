"""Slurm's words for one value: numbers with their sentinels, times, durations, states, ends.

Everything read comes from outside. A function here answers None for "not said", and raises ValueError, and nothing
else, for what cannot be read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# "Not set" and "without end" as the C library writes them, in 16, 32 and 64 bits, and as signed numbers.
_UNSET: Final = frozenset({0xFFFE, 0xFFFF_FFFE, 0xFFFF_FFFF_FFFF_FFFE, -2})
_ENDLESS: Final = frozenset({0xFFFF, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF, -1})
_SENTINELS: Final = _UNSET | _ENDLESS
_NOTHING: Final = frozenset({"", "(null)", "N/A", "n/a", "n/s", "None", "NONE", "Unknown", "UNKNOWN", "NO_VAL", "none"})
_WITHOUT_END: Final = frozenset({"UNLIMITED", "INFINITE", "Partition_Limit"})
_MOST_MS: Final = 1 << 53
_DURATION: Final = re.compile(r"(?:(\d{1,6})-)?(?:(\d{1,8}):)?(\d{1,8}):(\d{1,2})(?:\.(\d{1,6}))?")
_SUFFIX: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "P": 1 << 50}
_SIZE: Final = re.compile(r"(\d{1,18})(?:\.(\d{1,6}))?([KMGTP]?)")

BASES: Final = frozenset(
    "PENDING RUNNING SUSPENDED COMPLETED CANCELLED FAILED TIMEOUT NODE_FAIL PREEMPTED BOOT_FAIL DEADLINE "
    "OUT_OF_MEMORY EXPEDITING".split()
)
# What squeue and sacct print in place of the base state, and the base that stands behind it.
_INSTEAD: Final = {
    "COMPLETING": "RUNNING",
    "CONFIGURING": "RUNNING",
    "POWER_UP_NODE": "RUNNING",
    "RESIZING": "RUNNING",
    "SIGNALING": "RUNNING",
    "STAGE_OUT": "RUNNING",
    "STOPPED": "SUSPENDED",
    "REQUEUED": "PENDING",
    "REQUEUE_FED": "PENDING",
    "REQUEUE_HOLD": "PENDING",
    "RESV_DEL_HOLD": "PENDING",
    "SPECIAL_EXIT": "PENDING",
    "REVOKED": "CANCELLED",
    "RECONFIG_FAIL": "NODE_FAIL",
    "LAUNCH_FAILED": "NODE_FAIL",
    "UPDATE_DB": "RUNNING",
}
_SUFFIXES: Final = {
    "*": "NOT_RESPONDING",
    "~": "POWERED_DOWN",
    "#": "POWERING_UP",
    "!": "POWERING_DOWN",
    "$": "MAINTENANCE",
}
_NODE_BASES: Final = frozenset("IDLE MIXED ALLOCATED DOWN ERROR FUTURE UNKNOWN".split())


def text(value: str) -> str:
    """The value, or "" where Slurm prints one of its words for none."""
    return "" if value in _NOTHING else value


def whole_nodes(said: str) -> bool:
    """Whether a job shares its nodes with no other; USER and MCS share them with some, NO and OK with all."""
    return said.upper() in ("NODE", "TOPO", "TRUE", "EXCLUSIVE")


def number(value: object) -> int | None:
    """An integer as text, as JSON, or as {set, infinite, number}; None: not set, or without end."""
    if type(value) is int:  # most are
        return None if value in _SENTINELS else value
    if isinstance(value, dict):
        return None if value.get("infinite") or not value.get("set") else number(value.get("number"))
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        if text(value) == "" or value in _WITHOUT_END:
            return None
        if len(value) > 24:
            raise ValueError(f"not a number: {value[:40]!r}")
        found = int(value)
    elif isinstance(value, int):
        found = value
    elif isinstance(value, float) and value.is_integer():
        found = int(value)
    else:
        raise ValueError(f"not a number: {value!r:.40}")
    return None if found in _SENTINELS else found


def count(value: object, otherwise: int = 0) -> int:
    """A number of things, never negative."""
    found = number(value)
    if found is None:
        return otherwise
    if found < 0:
        raise ValueError(f"a negative count: {found}")
    return found


def instant_ms(value: object) -> int | None:
    """Seconds since the epoch into UTC milliseconds; None for 0, unset and words such as Unknown."""
    seconds = number(value)
    if seconds is None or seconds == 0:
        return None
    if not 0 < seconds < _MOST_MS // 1000:
        raise ValueError(f"not a time: {seconds}")
    return seconds * 1000


def needed(value: int | None, name: str) -> int:
    if value is None:
        raise ValueError(f"no {name}")
    return value


def duration_ms(value: str) -> int | None:
    """`[days-][[hours:]minutes:]seconds[.part]`; None without a limit. Two numbers are minutes and seconds."""
    if text(value) == "" or value in _WITHOUT_END:
        return None
    match = _DURATION.fullmatch(value)
    if match is None:
        if re.fullmatch(r"\d{1,8}", value):  # minutes alone
            return int(value) * 60_000
        raise ValueError(f"not a duration: {value[:40]!r}")
    days, hours, minutes, seconds, part = match.groups()
    if days and hours is None:  # days-hours:minutes
        hours, minutes, seconds = minutes, seconds, "0"
    whole = ((int(days or 0) * 24 + int(hours or 0)) * 60 + int(minutes)) * 60 + int(seconds)
    return whole * 1000 + int((part or "0").ljust(3, "0")[:3])


def minutes_ms(value: object) -> int | None:
    """A limit in minutes; None: without end."""
    found = number(value)
    return None if found is None else found * 60_000


def size(value: str, unit: int) -> int:
    """`12G`, `1.50G` or `512` in steps of `unit` bytes; a bare number is in `unit` already. Rounds down."""
    match = _SIZE.fullmatch(value)
    if match is None:
        raise ValueError(f"not a size: {value[:40]!r}")
    whole, part, suffix = match.groups()
    scale = _SUFFIX[suffix] if suffix else unit
    fraction: int = int(part or 0) * scale // 10 ** len(part or "0")
    return (int(whole) * scale + fraction) // unit


@dataclass(frozen=True, slots=True)
class JobWord:
    """A job's base state, what is added to it, and who cancelled it."""

    state: str
    flags: frozenset[str] = frozenset()
    by: str = ""


def job_state(value: object) -> JobWord:
    """`CANCELLED by 1000`, `RUNNING,COMPLETING`, `COMPLETING`, `NODE_FAIL`, or a list of such words."""
    if isinstance(value, str) and value in BASES:
        return JobWord(value)
    words = value if isinstance(value, list) else [value]
    parts: list[str] = []
    by = ""
    for word in words:
        if not isinstance(word, str):
            raise ValueError(f"not a state: {word!r:.40}")
        head, _, who = word.partition(" by ")
        by = who.strip() or by
        parts += [part for part in re.split(r"[,+|\s]+", head.strip().upper()) if part]
    bases = [part for part in parts if part in BASES]
    flags = frozenset(part for part in parts if part not in BASES)
    if bases:
        return JobWord(bases[0], flags, by)
    for flag in parts:
        if flag in _INSTEAD:
            return JobWord(_INSTEAD[flag], flags, by)
    raise ValueError(f"unknown state: {value!r:.60}")


def node_state(value: object, more: object = ()) -> tuple[str, frozenset[str]]:
    """`IDLE+CLOUD+POWERED_DOWN`, `DOWN*`, `mixed`, or a list of words with a second list of flags."""
    words = value if isinstance(value, list) else [value]
    extra = more if isinstance(more, list | tuple) else []
    parts: list[str] = []
    for word in [*words, *extra]:
        if not isinstance(word, str):
            raise ValueError(f"not a state of a node: {word!r:.40}")
        for part in word.upper().split("+"):
            bare = part.rstrip("*~#!$%@^-")
            parts += [bare, *(_SUFFIXES[sign] for sign in part[len(bare) :] if sign in _SUFFIXES)]
    known = [part for part in parts if part in _NODE_BASES]
    if not known:
        raise ValueError(f"unknown state of a node: {value!r:.60}")
    renamed = {"NO_RESPOND": "NOT_RESPONDING", "MAINT": "MAINTENANCE"}
    return known[0], frozenset(renamed.get(part, part) for part in parts if part and part not in _NODE_BASES)


def exit_of(value: object) -> tuple[int | None, int | None]:
    """(exit code, signal): from `rc:sig`, from wait(2)'s number, or from REST's objects. A signal hides the code."""
    if isinstance(value, dict):
        inside = value.get("signal")
        sent = inside.get("id", inside.get("signal_id")) if isinstance(inside, dict) else None
        code, signal = number(value.get("return_code")), number(sent)
    elif isinstance(value, str) and ":" in value:
        first, _, second = value.partition(":")
        code, signal = number(first), number(second)
    else:
        status = number(value)
        if status is None:
            return None, None
        code, signal = status >> 8 & 0xFF, status & 0x7F
    if (code is not None and code < 0) or (signal is not None and signal < 0):
        raise ValueError(f"not an end: {value!r:.40}")
    return (None, signal) if signal else (code, None)
