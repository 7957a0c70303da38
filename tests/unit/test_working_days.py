"""Working days: weekends, holidays, the end of what a calendar knows, and clocks that change."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabrique.core.working_days import Calendar, add_months, add_working_days, due_ms, instant_ms
from fabrique.definitions.mode_lists import calendars

BRUSSELS = ZoneInfo("Europe/Brussels")
YEAR = Calendar("test", date(2026, 1, 1), date(2026, 12, 31), frozenset({date(2026, 5, 1), date(2026, 12, 25)}))


@pytest.mark.parametrize(
    ("start", "count", "end"),
    [
        (date(2026, 11, 16), 0, date(2026, 11, 16)),  # a Monday
        (date(2026, 11, 16), 1, date(2026, 11, 17)),
        (date(2026, 11, 20), 1, date(2026, 11, 23)),  # Friday to Monday
        (date(2026, 11, 21), 0, date(2026, 11, 23)),  # a Saturday waits for Monday
        (date(2026, 11, 21), 1, date(2026, 11, 23)),
        (date(2026, 4, 30), 1, date(2026, 5, 4)),  # over 1 May, a Friday
        (date(2026, 4, 30), 2, date(2026, 5, 5)),
        (date(2026, 11, 16), 10, date(2026, 11, 30)),
        (date(2026, 12, 31), 0, date(2026, 12, 31)),
        (date(2026, 12, 31), 1, None),  # the next year is not known
        (date(2025, 12, 31), 0, None),
        (date(2026, 1, 1), 10**6, None),
    ],
)
def test_counting(start: date, count: int, end: date | None) -> None:
    assert add_working_days(start, count, YEAR) == end


def test_nothing_is_counted_backwards() -> None:
    with pytest.raises(ValueError, match="forwards"):
        add_working_days(date(2026, 1, 1), -1, YEAR)


@given(st.dates(date(2026, 1, 1), date(2026, 9, 30)), st.integers(0, 40), st.integers(0, 20))
def test_counts_add_up(start: date, first: int, second: int) -> None:
    whole = add_working_days(start, first + second, YEAR)
    middle = add_working_days(start, first, YEAR)
    assert middle is not None and whole is not None
    assert YEAR.works(whole)
    if first and second:
        assert add_working_days(middle, second, YEAR) == whole
    between = [date.fromordinal(n) for n in range(start.toordinal() + 1, whole.toordinal() + 1)]
    if first + second:
        assert sum(YEAR.works(day) for day in between) == first + second


def test_a_promise_holds_until_midnight_of_the_place() -> None:
    def ms(text: str) -> int:
        return int(datetime.fromisoformat(text).timestamp() * 1_000)

    # over the change to winter time of 25 October 2026
    assert due_ms(ms("2026-10-23T12:00+02:00"), 2, BRUSSELS, YEAR) == ms("2026-10-28T00:00+01:00")
    # 23:30 UTC is already the next day in Brussels
    assert due_ms(ms("2026-11-16T23:30+00:00"), 1, BRUSSELS, YEAR) == ms("2026-11-19T00:00+01:00")


def test_the_instant_of_a_local_time() -> None:
    assert instant_ms(date(1970, 1, 1), time(0), UTC) == 0
    winter, summer = (instant_ms(date(2026, month, 15), time(10), BRUSSELS) for month in (1, 7))
    assert (winter // 3_600_000 % 24, summer // 3_600_000 % 24) == (9, 8)


@pytest.mark.parametrize(
    ("day", "months", "end"),
    [
        (date(2026, 1, 31), 1, date(2026, 2, 28)),
        (date(2028, 1, 31), 1, date(2028, 2, 29)),
        (date(2026, 11, 21), 3, date(2027, 2, 21)),
        (date(2026, 12, 31), 12, date(2027, 12, 31)),
        (date(2026, 11, 30), 1, date(2026, 12, 30)),
        (date(2026, 12, 15), 0, date(2026, 12, 15)),
    ],
)
def test_months_later(day: date, months: int, end: date) -> None:
    assert add_months(day, months) == end


def test_the_holidays_we_ship() -> None:
    quebec = calendars()["quebec"]
    assert not quebec.works(date(2026, 6, 24))
    assert not calendars()["luxembourg"].works(date(2026, 6, 23))
    assert calendars()["eu-institutions"].works(date(2026, 11, 23))
    # National Patriots' Day is the Monday before 25 May
    assert {d for d in quebec.holidays if d.month == 5} == {date(2026, 5, 18), date(2027, 5, 24)}
