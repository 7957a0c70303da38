"""Months as periods of a statement: from the first instant of a month to that of the next, in the hub's time zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from babel.dates import format_skeleton

from fabrique.core.errors import FabriqueError
from fabrique.language import Speaker
from fabrique.language.quantities import LOCALES

MOST_MONTHS = 24


@dataclass(frozen=True, slots=True)
class Period:
    """[from_ms, to_ms); `key` is what an address says: 2026-11, or `all`."""

    key: str
    name: str
    from_ms: int
    to_ms: int


def months_of(first_ms: int, last_ms: int, speaker: Speaker) -> list[Period]:
    """The months that touch [first, last], the newest first, at most two years of them."""
    start, month = speaker.local(first_ms).date(), speaker.local(last_ms).date().replace(day=1)
    found: list[Period] = []
    while month >= start.replace(day=1) and len(found) < MOST_MONTHS:
        found.append(_month(month, speaker))
        month = _before(month)
    return found


def period(key: str, first_ms: int, now: int, speaker: Speaker) -> Period:
    """The period an address names; without one, everything from `first_ms` until now. Raises `request.broken`."""
    if key in ("", "all"):
        return Period("all", "", first_ms, now + 1)
    try:
        year, month = key.split("-")
        if len(key) != 7 or not key.replace("-", "").isascii():
            raise ValueError(key)
        return _month(date(int(year), int(month), 1), speaker)
    except ValueError:
        raise FabriqueError("request.broken", field="period") from None


def _month(first: date, speaker: Speaker) -> Period:
    name = format_skeleton("yMMMM", first, locale=LOCALES[speaker.language])
    return Period(first.strftime("%Y-%m"), str(name), _starts(first, speaker), _starts(_after(first), speaker))


def _starts(first: date, speaker: Speaker) -> int:
    return int(datetime(first.year, first.month, 1, tzinfo=ZoneInfo(speaker.timezone)).timestamp() * 1000)


def _after(first: date) -> date:
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)


def _before(first: date) -> date:
    return date(first.year - (first.month == 1), (first.month - 2) % 12 + 1, 1)
