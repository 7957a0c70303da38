"""The grid during a replay: the decision's forecast never holds the books' actual, and what was filled in is said."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabrique.core.carbon import Factor
from fabrique.core.energy import Window
from fabrique.core.errors import FabriqueError
from fabrique.core.units import HOUR_MS, MICRO
from fabrique.grid.known import Known, load
from fabrique.grid.series import Quantity, Step, series
from fabrique.grid.tables import Columns
from fabrique.twin import weather as w

LU = Factor("LU", 260_600, "average", "lifecycle", "consumption", 2024, "zone mix")
DAY, WEEK = 24 * HOUR_MS, 168 * HOUR_MS
MONDAY = round(datetime.fromisoformat("2022-01-03T00:00:00+00:00").timestamp() * 1000)


def steps(values: list[int | None], start_ms: int, step_ms: int = HOUR_MS) -> list[Step]:
    at = [Window(start_ms + i * step_ms, start_ms + (i + 1) * step_ms) for i in range(len(values))]
    return [Step(window, v) for window, v in zip(at, values, strict=True) if v is not None]


def known(
    values: list[int | None],
    forecast: list[int | None] | None = None,
    *,
    start_ms: int = 0,
    step_ms: int = HOUR_MS,
    bridge_ms: int = 0,
    quantity: Quantity = "intensity",
) -> Known:
    unit, like = ("mg/kWh", LU) if quantity == "intensity" else ("uEUR/MWh", None)
    was = series("LU", quantity, unit, "a test", steps(values, start_ms, step_ms), like, bridge_ms)
    told = None
    if forecast is not None:
        told = series("LU", quantity, unit, "a test", steps(forecast, start_ms, step_ms), like, bridge_ms)
    return Known(was, told, (("lu.csv", "0" * 64),))


def of(
    intensity: Known | Factor, from_ms: int, to_ms: int, price: Known | None = None, *,
    step_ms: int = HOUR_MS, shift: bool = False, lag_ms: int = DAY,
) -> w.Weather:  # fmt: skip
    return w.weather(Window(from_ms, to_ms), intensity, price, zone="LU", step_ms=step_ms, shift=shift, lag_ms=lag_ms)


def test_a_published_forecast_is_the_decisions_and_what_was_the_books() -> None:
    found = of(known([10, 20, 30], [11, 19, 33]), HOUR_MS, 3 * HOUR_MS)
    assert (found.forecast.intensity.tolist(), found.actual.intensity.tolist()) == ([19, 33], [20, 30])
    assert (found.forecast.start_ms, found.forecast.step_ms) == (HOUR_MS, HOUR_MS)
    assert found.forecast.intensity.dtype == found.actual.intensity.dtype == np.int64
    assert (found.forecast.price, found.actual.price, found.currency) == (None, None, None)
    assert found.forecast.horizon_ms is None
    assert found.digests == (("lu.csv", "0" * 64),)
    assert not isinstance(found.forecast, w.Actual)
    assert not isinstance(found.actual, w.Forecast)


def test_the_first_step_begins_at_or_before_the_window_and_the_last_ends_at_or_after() -> None:
    found = of(known([10, 20, 30], [1, 2, 3]), HOUR_MS + 1, 2 * HOUR_MS + 1)
    assert (found.actual.start_ms, found.actual.intensity.tolist()) == (HOUR_MS, [20, 30])
    assert [found.actual.row(t) for t in (HOUR_MS, 2 * HOUR_MS - 1, 2 * HOUR_MS)] == [0, 0, 1]
    for outside in (HOUR_MS - 1, 3 * HOUR_MS):
        with pytest.raises(IndexError):
            found.actual.row(outside)


def test_without_a_forecast_the_same_hour_of_the_day_before_is_expected() -> None:
    values: list[int | None] = list(range(100, 172))
    found = of(known(values), DAY, 3 * DAY)
    assert found.actual.intensity.tolist() == values[24:]
    assert found.forecast.intensity.tolist() == values[:48]
    assert found.forecast.horizon_ms == DAY
    assert any("persistence" in text for text in found.said)
    weekly = of(known([*values[:24]] * 14), WEEK, 2 * WEEK, lag_ms=WEEK)
    assert weekly.forecast.horizon_ms == WEEK


def test_the_first_day_of_a_file_is_expected_as_its_first_hour_and_said() -> None:
    found = of(known(list(range(100, 148))), 0, 2 * DAY)
    assert found.forecast.intensity.tolist() == [100] * 24 + list(range(100, 124))
    assert "intensity: 24 steps with nothing known before are expected as the first one" in found.said


@given(
    values=st.lists(st.integers(0, 900_000), min_size=60, max_size=100),
    at=st.integers(0, 99),
    other=st.integers(0, 900_000),
    lag=st.integers(1, 30),
)
def test_what_is_expected_never_tells_what_was_within_its_horizon(
    values: list[int], at: int, other: int, lag: int
) -> None:
    at = at % (len(values) - 1) + 1  # the first hour stands for what nobody knew before it
    changed: list[int | None] = [other if i == at else v for i, v in enumerate(values)]
    end = len(values) * HOUR_MS
    one = of(known([*values]), 0, end, lag_ms=lag * HOUR_MS)
    two = of(known(changed), 0, end, lag_ms=lag * HOUR_MS)
    until = at + lag
    assert one.forecast.intensity[:until].tolist() == two.forecast.intensity[:until].tolist()


def test_an_hour_without_its_published_forecast_is_expected_by_persistence_and_said() -> None:
    was: list[int | None] = list(range(48))
    told: list[int | None] = [None if i == 30 else 1000 + i for i in range(48)]
    found = of(known(was, told), DAY, 2 * DAY)
    assert found.forecast.intensity.tolist() == [6 if i == 30 else 1000 + i for i in range(24, 48)]
    assert "intensity: 1 steps had no published forecast and are expected by persistence" in found.said
    assert found.forecast.horizon_ms == DAY


def test_a_hole_ends_it_and_a_bridge_is_said_in_the_replays_time() -> None:
    values: list[int | None] = [10, None, None, 40]
    with pytest.raises(FabriqueError, match=r"grid\.gap") as caught:
        of(known(values), 0, 4 * HOUR_MS)
    assert caught.value.params["at_ms"] == HOUR_MS
    found = of(known(values, values, bridge_ms=2 * HOUR_MS), 0, 4 * HOUR_MS)
    assert found.actual.intensity.tolist() == [10, 10, 10, 40]
    hole = Window(HOUR_MS, 3 * HOUR_MS)
    assert found.bridged == (w.Bridged("intensity", False, hole), w.Bridged("intensity", True, hole))
    assert of(known([1, 2, None, 4], bridge_ms=HOUR_MS), 0, 2 * HOUR_MS).bridged == (), "nothing rests on that hole"


def test_finer_steps_are_averaged_and_coarser_ones_hold() -> None:
    quarters = known([10, 20, 30, 60, 5, 5, 5, 5], step_ms=HOUR_MS // 4)
    assert of(quarters, 0, 2 * HOUR_MS).actual.intensity.tolist() == [30, 5]
    fine = of(known([10, 20]), 0, 2 * HOUR_MS, step_ms=HOUR_MS // 2)
    assert fine.actual.intensity.tolist() == [10, 10, 20, 20]
    with pytest.raises(FabriqueError, match=r"grid\.gap"):
        of(known([10, 20, 30], step_ms=HOUR_MS // 4), 0, HOUR_MS)


def test_prices_stand_beside_the_intensity_below_zero_too() -> None:
    price = known([-5 * MICRO, 7 * MICRO], [-4 * MICRO, 8 * MICRO], quantity="price")
    found = of(LU, 0, 2 * HOUR_MS, price)
    assert found.currency == "EUR"
    assert found.actual.price is not None
    assert found.forecast.price is not None
    assert (found.actual.price.tolist(), found.forecast.price.tolist()) == (
        [-5 * MICRO, 7 * MICRO], [-4 * MICRO, 8 * MICRO],
    )  # fmt: skip


def test_a_yearly_average_is_flat_and_says_which_it_is() -> None:
    found = of(w.average("LU"), MONDAY, MONDAY + DAY)
    mg = w.average("LU").mg_per_kwh
    assert found.actual.intensity.tolist() == found.forecast.intensity.tolist() == [mg] * 24
    assert found.forecast.horizon_ms is None
    assert "LU" in found.said[0]
    assert "the same at every hour" in found.said[0]
    with pytest.raises(FabriqueError, match=r"grid\.gap"):
        w.average("XX")


def test_the_series_of_another_zone_or_quantity_are_refused() -> None:
    with pytest.raises(FabriqueError, match=r"grid\.zone"):
        w.weather(Window(0, HOUR_MS), known([1]), zone="FR")
    with pytest.raises(FabriqueError, match=r"grid\.zone"):
        w.weather(Window(0, HOUR_MS), LU, zone="FR")
    with pytest.raises(FabriqueError, match=r"grid\.zone"):
        of(LU, 0, HOUR_MS, known([1]))


def test_other_years_are_refused_unless_a_shift_is_asked_for() -> None:
    year: list[int | None] = list(range(365 * 24))
    then = MONDAY - 26 * 52 * WEEK  # 1996
    data = known(year, [v + 10_000 for v in range(365 * 24)], start_ms=MONDAY)
    with pytest.raises(FabriqueError, match=r"grid\.gap"):
        of(data, then, then + WEEK)
    found = of(data, then + 100 * DAY, then + 107 * DAY, shift=True)
    assert found.shifted[0] == found.shifted[1] > 26 * 52
    assert any("other years" in text for text in found.said)
    hour = (found.actual.start_ms + found.shifted[0] * WEEK - MONDAY) // HOUR_MS
    assert found.actual.intensity.tolist() == list(range(hour, hour + 168))
    assert found.forecast.intensity.tolist() == list(range(10_000 + hour, 10_000 + hour + 168))
    assert of(data, MONDAY, MONDAY + WEEK, shift=True).shifted == (0, 0), "what is inside stays where it is"


@given(years=st.integers(-60, 60), day=st.integers(0, 366), length=st.integers(1, 500))
def test_a_shift_keeps_the_hour_of_the_week_and_the_season(years: int, day: int, length: int) -> None:
    count = 366 * 24
    data = known(list(range(count)), start_ms=MONDAY)
    start = MONDAY + round(years * 365.2425) * DAY + day * DAY
    found = of(data, start, start + length * DAY, shift=True, step_ms=6 * HOUR_MS)
    row = np.arange(len(found.actual.intensity))
    asked = (found.actual.start_ms - MONDAY) // HOUR_MS + row * 6
    took = found.actual.intensity - 2  # the mean of six hours, halves to even
    assert (abs((took - asked + 1) % 168 - 1) <= 1).all(), "the same hour of the same day of the week"
    apart = (took - asked) / 24 % 365.2425
    assert (np.minimum(apart, 365.2425 - apart) <= 11).all(), "the same weeks of the year"


def test_a_series_too_short_for_a_week_is_no_year() -> None:
    with pytest.raises(FabriqueError, match=r"grid\.gap"):
        of(known(list(range(100))), MONDAY, MONDAY + WEEK, shift=True)
    found = of(known(list(range(168))), MONDAY, MONDAY + WEEK, shift=True)
    assert sorted(found.actual.intensity.tolist()) == list(range(168))


def test_a_window_without_end_is_refused() -> None:
    with pytest.raises(FabriqueError, match=r"grid\.gap"):
        of(LU, 0, 10**17)
    for wrong in ({"step_ms": 0}, {"lag_ms": 0}, {"lag_ms": HOUR_MS + 1}):
        with pytest.raises(ValueError, match="step"):
            of(LU, 0, HOUR_MS, **wrong)  # type: ignore[arg-type]


def test_the_public_series_make_a_years_weather(traces: Path) -> None:
    columns = Columns(zone="FR", source="public", kind="average", basis="consumption", value="err0", forecast="err40")
    carbon = load(traces / "carbon_2022_with_forecast_error.parquet", columns)
    market = Columns(zone="FR", source="public", quantity="price", unit="EUR/MWh", value="price_eur_mwh")
    price = load(traces / "prices_dayahead_2023.parquet", market, bridge_ms=3 * DAY)
    begin = round(datetime.fromisoformat("2017-08-01T00:00:00+00:00").timestamp() * 1000)
    found = w.weather(Window(begin, begin + 365 * DAY), carbon, price, zone="FR", shift=True)
    assert len(found.actual.intensity) == len(found.forecast.intensity) == 8_760
    error = np.abs(found.forecast.intensity - found.actual.intensity) / found.actual.intensity
    assert 0.1 < error.mean() < 0.3, "uniform within 40 %: a fifth in the mean"
    assert len(found.digests) == 2
    assert any(b.quantity == "price" for b in found.bridged)
