"""Working days: targets that skip weekends and holidays.

A calendar knows its holidays only between two dates; a count that leaves them is unknown (None), never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

_ONE_DAY: Final = timedelta(days=1)
_SATURDAY: Final = 5
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Calendar:
    """Holidays of one place, complete from `first` to `last`, both included."""

    id: str
    first: date
    last: date
    holidays: frozenset[date]

    def covers(self, day: date) -> bool:
        return self.first <= day <= self.last

    def works(self, day: date) -> bool:
        return day.weekday() < _SATURDAY and day not in self.holidays


def add_working_days(start: date, count: int, calendar: Calendar) -> date | None:
    """The `count`-th working day after `start`; `start` itself is not counted.

    With `count` 0: `start`, or the next working day when it is not one. None beyond what the calendar covers.
    Raises ValueError for a negative count.
    """
    if count < 0:
        raise ValueError("working days are counted forwards")
    day, left = start, count
    if not calendar.covers(day):
        return None
    while left or not calendar.works(day):
        day += _ONE_DAY
        if not calendar.covers(day):
            return None
        if left and calendar.works(day):
            left -= 1
    return day


def due_ms(start_ms: int, count: int, zone: tzinfo, calendar: Calendar) -> int | None:
    """The instant by which something promised within `count` working days of `start_ms` is late.

    Days are those of `zone`; the promise holds until midnight after the last one. UTC milliseconds, or None beyond
    what the calendar covers.
    """
    start = _EPOCH + timedelta(milliseconds=start_ms)
    last = add_working_days(start.astimezone(zone).date(), count, calendar)
    return None if last is None else instant_ms(last + _ONE_DAY, time(0), zone)


def instant_ms(day: date, at: time, zone: tzinfo) -> int:
    """A local date and time as UTC milliseconds; the earlier instant where clocks fall back."""
    local = datetime.combine(day, at, tzinfo=zone)
    return (local.astimezone(UTC) - _EPOCH) // _MILLISECOND


def add_months(day: date, months: int) -> date:
    """The same day so many months later, or the last day of that month when it is shorter."""
    index = day.year * 12 + day.month - 1 + months
    year, month = divmod(index, 12)
    following = date(year + (month == 11), (month + 1) % 12 + 1, 1)
    return min(date(year, month + 1, 1) + timedelta(days=day.day - 1), following - _ONE_DAY)
