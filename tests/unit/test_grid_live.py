"""Files of the grid that an operator keeps up: read again when they change, honest about what they don't know."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fabrique.core.energy import Window
from fabrique.core.errors import FabriqueError
from fabrique.core.units import HOUR_MS
from fabrique.grid.live import Hourly

FIRST = 1_800_000_000_000
HEAD = """# fabrique-series: 1
# zone: {zone}
# quantity: intensity
# unit: gCO2e/kWh
# step_s: 3600
# source: a test
# kind: average
# scope: not-published
# basis: consumption
# year: 2027
"""


def put(path: Path, *grams: int | None, first_ms: int = FIRST, zone: str = "LU") -> Path:
    """A file of one value an hour, in place of the one before, with a time of change of its own."""
    times = [datetime.fromtimestamp(first_ms / 1000 + i * 3600, UTC).isoformat() for i in range(len(grams))]
    rows = [f"{t},{'' if g is None else g}" for t, g in zip(times, grams, strict=True)]
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(HEAD.format(zone=zone) + "\n".join(rows) + "\n")
    os.utime(path, ns=(before + 10**9, before + 10**9))
    return path


def test_what_was_is_the_mean_over_the_time_and_what_is_expected_is_forecast(tmp_path: Path) -> None:
    told = Hourly("LU", put(tmp_path / "was.csv", 10, 40), put(tmp_path / "told.csv", 12, 35, 60))
    was, how = told.actual(Window(FIRST, FIRST + HOUR_MS + HOUR_MS // 2))
    assert (was.mg_per_kwh, was.year, was.scope, how) == (20_000, 2027, None, "actual")
    expected, how = told.expected(FIRST + HOUR_MS)
    assert (expected.mg_per_kwh, how) == (35_000, "forecast, published")
    assert told.actual(Window(FIRST, FIRST))[0].mg_per_kwh == 10_000
    with pytest.raises(FabriqueError, match=r"grid\.gap"):
        told.actual(Window(FIRST + HOUR_MS, FIRST + 3 * HOUR_MS))


def test_without_a_forecast_file_the_last_day_is_expected_and_never_the_hour_itself(tmp_path: Path) -> None:
    told = Hourly("LU", put(tmp_path / "was.csv", *range(10, 58)))
    expected, how = told.expected(FIRST + 30 * HOUR_MS)
    assert (expected.mg_per_kwh, how) == (16_000, "forecast, daily-persistence")


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = put(tmp_path / "was.csv", 10)
    told = Hourly("LU", path)
    hour = Window(FIRST, FIRST + HOUR_MS)
    assert told.actual(hour)[0].mg_per_kwh == 10_000
    put(path, 20)
    assert told.actual(hour)[0].mg_per_kwh == 20_000
    path.write_text("nothing\n")
    for _ in range(2):
        with pytest.raises(FabriqueError, match=r"grid\.file.*was\.csv:1"):
            told.actual(hour)
    path.unlink()
    with pytest.raises(FabriqueError, match="no such file"):
        told.actual(hour)


def test_a_bridge_is_said(tmp_path: Path) -> None:
    told = Hourly("LU", put(tmp_path / "was.csv", 10, None, 30))
    assert told.actual(Window(FIRST, FIRST + 2 * HOUR_MS))[1] == "actual, partly bridged"
    assert told.actual(Window(FIRST + 2 * HOUR_MS, FIRST + 3 * HOUR_MS))[1] == "actual"
    far = Hourly("LU", put(tmp_path / "far.csv", 10, None, None, None, None, 30))
    with pytest.raises(FabriqueError, match=r"grid\.gap"):
        far.actual(Window(FIRST, FIRST + 2 * HOUR_MS))


def test_another_zones_file_is_refused(tmp_path: Path) -> None:
    told = Hourly("LU", put(tmp_path / "was.csv", 10, zone="FR"))
    with pytest.raises(FabriqueError, match=r"grid\.zone"):
        told.expected(FIRST + HOUR_MS)


def test_what_is_wrong_is_told_once_and_its_end_too(tmp_path: Path) -> None:
    path = put(tmp_path / "was.csv", 10)
    told = Hourly("LU", path)
    assert told.news(FIRST + HOUR_MS) is None
    week = FIRST + HOUR_MS + 7 * 24 * HOUR_MS
    assert told.news(week) is None
    assert "grid.gap" in (told.news(week + 1) or "")
    assert told.news(week + 2) is None
    put(path, 10, 20, first_ms=week - HOUR_MS)
    assert told.news(week + 3) == ""
    assert told.news(week + 4) is None
    path.write_text("nothing\n")
    assert "was.csv:1" in (told.news(week + 5) or "")
    assert told.news(week + 6) is None


def test_a_forecast_goes_on_where_what_was_has_been_left_and_that_is_told(tmp_path: Path) -> None:
    later = FIRST + 30 * 24 * HOUR_MS
    told = Hourly("LU", put(tmp_path / "was.csv", 10), put(tmp_path / "told.csv", 12, 13, first_ms=later))
    assert told.expected(later)[0].mg_per_kwh == 12_000
    assert "grid.gap" in (told.news(later) or "")


def test_a_forecast_counts_from_its_first_step(tmp_path: Path) -> None:
    told = Hourly("LU", put(tmp_path / "was.csv", 10, 20), put(tmp_path / "told.csv", 99, first_ms=FIRST + 2 * HOUR_MS))
    assert told.expected(FIRST + 2 * HOUR_MS - 1)[1] == "forecast, last-value"
    assert told.expected(FIRST + 2 * HOUR_MS)[0].mg_per_kwh == 99_000
