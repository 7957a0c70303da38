"""Slurm's own words in accounting records: times, lengths, trackable resources, states, and its sentinels."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fabrique.core.errors import FabriqueError

UNKNOWN: Final = -1
_NO_TIME: Final = frozenset(("", "Unknown", "None", "N/A", "0"))
_NO_LIMIT: Final = frozenset(("", "UNLIMITED", "Partition_Limit", "INVALID", "NOT_SET", "Unknown"))
_LENGTH: Final = re.compile(r"(?:(\d{1,7})-)?(?:(\d{1,7}):)?(\d{1,7}):(\d{1,2})(?:\.(\d{1,6}))?\Z")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\Z")
_SENTINEL: Final = 0xFFFF_FFF0  # NO_VAL, INFINITE and -2 as Slurm writes them in 32 and in 64 bits, all lie above
NOT_STARTED: Final = frozenset(("PENDING", "CONFIGURING"))
NOT_ENDED: Final = frozenset(("RUNNING", "SUSPENDED", "COMPLETING", "RESIZING", "STOPPED", "SIGNALING"))


def zone(name: str) -> tzinfo:
    """The time zone that times without one are in. Raises `trace.timezone`."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise FabriqueError("trace.timezone", zone=name[:60]) from None


def instant(text: str, local: tzinfo) -> int:
    """Epoch ms of `2026-01-31T23:59:59` in `local`, or of epoch seconds; UNKNOWN where Slurm gives none.

    The hour that a clock change repeats is read as its first. Raises ValueError.
    """
    if text in _NO_TIME:
        return UNKNOWN
    if text.isdecimal() and len(text) < 12:
        return int(text) * 1_000
    if not _TIME.match(text):
        raise ValueError(text)
    return int(datetime.fromisoformat(text).replace(tzinfo=local).astimezone(UTC).timestamp()) * 1_000


def length(text: str) -> int:
    """ms of `[days-][hours:]minutes:seconds[.fraction]`; UNKNOWN where there is none. Raises ValueError."""
    if text in _NO_LIMIT:
        return UNKNOWN
    found = _LENGTH.match(text)
    if not found:
        raise ValueError(text)
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups()[:4])
    return (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1_000


def count(text: str) -> int:
    """A whole number as Slurm writes it; UNKNOWN for an empty one and for a sentinel. Raises ValueError."""
    if text in _NO_LIMIT:
        return UNKNOWN
    value = int(text)
    return value if 0 <= value < _SENTINEL else UNKNOWN


def resources(text: str) -> tuple[int, int]:
    """(cores, accelerators) of `cpu=8,gres/gpu:a100=2,mem=64G`; 0 where there are none. Raises ValueError."""
    return tallied(part.partition("=")[::2] for part in text.split(",") if part)


def tallied(pairs: Iterable[tuple[str, str]]) -> tuple[int, int]:
    """(cores, accelerators) of names and counts; accelerators in all where it is said, else summed over their models.

    Sites configure `gres/gpu`, the models, or both: each must count once.
    """
    cores = overall = by_model = 0
    for name, value in pairs:
        if name == "cpu":
            cores = max(count(value), 0)
        elif name == "gres/gpu":
            overall = max(count(value), 0)
        elif name.startswith("gres/gpu:"):
            by_model += max(count(value), 0)
    return cores, overall or min(by_model, _SENTINEL)


def state(text: str) -> str:
    """`CANCELLED` of `CANCELLED by 1001`, `PREEMPTED` of `PREEMPTED+`."""
    return text.split(maxsplit=1)[0].rstrip("+").upper() if text.strip() else ""
