"""What people write after a key of a job: counts, sizes, durations, instants; exact integers come out.

Each reader takes a stripped text and answers its value or raises `NotRead`, which holds a complaint's code and
parameters. Nothing rounds: half a GPU is 500 thousandths, a third of one is refused.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Final, Literal

from fabrique.core.job import LAST_INSTANT_MS, SIGNALS

_DECIMAL: Final = r"[0-9]{1,12}(?:\.[0-9]{1,12})?"
_COUNT = re.compile(rf"({_DECIMAL}|[0-9]{{1,15}}m)(?:\s+of\s+(\S.*))?", re.ASCII)
_WHOLE = re.compile(r"[0-9]{1,15}", re.ASCII)
_SIZE = re.compile(rf"({_DECIMAL}) ?([KMGT])(?:i?B)?", re.ASCII)
_CLOCK = re.compile(r"(?:([0-9]{1,4})-)?([0-9]{1,5}):([0-5][0-9]):([0-5][0-9])", re.ASCII)
_SPAN = re.compile(r"(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?", re.ASCII)
_PERCENT = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,12})?) ?%", re.ASCII)
_WATTS = re.compile(r"([0-9]{1,15}) ?[wW]?", re.ASCII)
_SEPARATORS = re.compile(r"[\s,|]+")
_BYTES: Final = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_YES_NO: Final = {"yes": True, "true": True, "no": False, "false": False}

Power = int | Literal["auto", "max"]


class NotRead(Exception):  # noqa: N818 - not an error of the program
    """`code` and `params` of a complaint."""

    def __init__(self, code: str, **params: str | int) -> None:
        super().__init__(code, params)
        self.code = code
        self.params = params


def _form(pattern: str) -> NotRead:
    return NotRead("value.pattern", pattern=pattern)


def accelerators(text: str) -> tuple[int, tuple[str, ...]]:
    """`1`, `0.5`, `500m` or `2 of h100-sxm|mi300x`: thousandths of a device, and the kinds accepted."""
    match = _COUNT.fullmatch(text)
    if not match:
        raise _form("1, 0.5, 500m, 2 of h100-sxm|mi300x")
    kinds = () if match[2] is None else names(match[2])
    if match[1].endswith("m"):
        return int(match[1][:-1]), kinds
    return _exactly(Fraction(match[1]) * 1_000, "1/1000"), kinds


def whole(text: str) -> int:
    if not _WHOLE.fullmatch(text):
        raise _form("4")
    return int(text)


def memory_mb(text: str) -> int:
    """`4G`, `512M`, `1.5GB`: mebibytes; G is 1,024 M. The unit is always written."""
    return _exactly(_bytes(text) / _BYTES["M"], "M")


def size(text: str) -> int:
    """`64M`: bytes."""
    return _exactly(_bytes(text), "B")


def duration(text: str) -> int:
    """`HH:MM:SS`, `D-HH:MM:SS`, `30m`, `2h`, `1d`, `1h30m`, `90s`: milliseconds. The unit is always written."""
    clock, span = _CLOCK.fullmatch(text), _SPAN.fullmatch(text)
    match = clock or (span if text else None)
    if not match:
        raise _form("HH:MM:SS, 30m, 2h, 1d")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1_000


def instant(text: str) -> int:
    """An ISO 8601 date and time with its zone, as `2026-11-21T18:00+01:00`: UTC milliseconds.

    In [1970-01-01, 9999-12-31): what lies beyond has no date in some zone.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise _form("2026-11-21T18:00+01:00") from None
    if at.tzinfo is None:
        raise NotRead("script.no-zone")
    try:
        since = at - _EPOCH
    except OverflowError:
        raise _form("2026-11-21T18:00+01:00") from None
    ms = _exactly(Fraction(since // timedelta(microseconds=1), 1_000), "ms")
    if not 0 <= ms <= LAST_INSTANT_MS:
        raise NotRead("value.bound", bound="1970-01-01Z … 9999-12-30Z")
    return ms


def names(text: str) -> tuple[str, ...]:
    """Names between commas, bars or spaces."""
    return tuple(name for name in _SEPARATORS.split(text) if name)


def power(text: str) -> Power:
    """`auto`, `max`, or watts per device as `420` or `420 W`."""
    if text == "auto" or text == "max":
        return text  # type: ignore[return-value]  # narrowed by the line above
    match = _WATTS.fullmatch(text)
    if not match:
        raise _form("auto, max, 420")
    return int(match[1])


def permille(text: str) -> int:
    """`10%` or `7.5%`: thousandths. The sign is always written."""
    match = _PERCENT.fullmatch(text)
    if not match:
        raise _form("10%, 7.5%")
    return _exactly(Fraction(match[1]) * 10, "0.1%")


def preemptible(text: str) -> tuple[bool, str | None, int | None]:
    """`yes`, `no`, `yes, signal=USR1, lead=60s`: whether, the checkpoint signal, and its lead in milliseconds."""
    first, *rest = (part.strip() for part in text.split(","))
    said = _YES_NO.get(first)
    if said is None:
        raise _form("yes, signal=USR1, lead=60s")
    signal: str | None = None
    lead: int | None = None
    for part in rest:
        key, _, value = part.partition("=")
        if key.strip() == "signal" and signal is None:
            signal = value.strip().removeprefix("SIG")
            if signal not in SIGNALS:
                raise NotRead("value.choice", expected=", ".join(SIGNALS))
        elif key.strip() == "lead" and lead is None:
            lead = duration(value.strip())
        else:
            raise _form("yes, signal=USR1, lead=60s")
    return said, signal, lead


def _bytes(text: str) -> Fraction:
    match = _SIZE.fullmatch(text)
    if not match:
        raise _form("4G, 512M")
    return Fraction(match[1]) * _BYTES[match[2]]


def _exactly(value: Fraction, unit: str) -> int:
    if value.denominator != 1:
        raise NotRead("script.not-exact", unit=unit)
    return value.numerator
