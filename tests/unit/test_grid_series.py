"""Series of the grid and who provides them: holes, bridges, impossible values, clocks, forecasts."""

from datetime import datetime

import pytest

from fabrique.core.carbon import Factor
from fabrique.core.energy import Window
from fabrique.core.errors import FabriqueError
from fabrique.core.units import HOUR_MS, MICRO
from fabrique.grid.providers import FileProvider, Forecast, YearlyAverage
from fabrique.grid.series import POSSIBLE, Quantity, Series, Step, hour_missing_by_clock_change, series

LU = Factor("LU", 260_600, "average", "lifecycle", "consumption", 2024, "zone mix")
DAY = 24 * HOUR_MS


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def hours(start_ms: int, *values: int | None) -> list[Step]:
    return [
        Step(Window(start_ms + i * HOUR_MS, start_ms + (i + 1) * HOUR_MS), v)
        for i, v in enumerate(values)
        if v is not None
    ]


def intensity(*values: int | None, start_ms: int = 0, bridge_ms: int = 0) -> Series:
    return series("LU", "intensity", "mg/kWh", "test", hours(start_ms, *values), LU, bridge_ms)


def refusal(steps: list[Step], quantity: Quantity = "intensity") -> dict[str, object]:
    with pytest.raises(FabriqueError) as caught:
        series("LU", quantity, "?", "test", steps)
    assert caught.value.code == "grid.broken"
    return caught.value.params


def test_a_step_holds_its_start_and_not_its_end() -> None:
    found = intensity(10, 20)
    assert [found.at(t) for t in (-1, 0, HOUR_MS - 1, HOUR_MS, 2 * HOUR_MS - 1, 2 * HOUR_MS)] == [
        None, 10, 10, 20, 20, None,
    ]  # fmt: skip


def test_a_mean_is_weighted_by_time() -> None:
    assert intensity(10, 40).mean(Window(0, HOUR_MS + HOUR_MS // 2)) == 20
    with pytest.raises(ValueError, match="empty"):
        intensity(10).mean(Window(0, 0))


def test_a_hole_is_refused_where_it_is() -> None:
    found = intensity(10, None, 30)
    with pytest.raises(FabriqueError) as caught:
        found.over(Window(0, 3 * HOUR_MS))
    assert caught.value.code == "grid.gap"
    assert caught.value.params["at_ms"] == HOUR_MS
    for outside in (Window(-1, 1), Window(0, 3 * HOUR_MS + 1), Window(2 * HOUR_MS, 4 * HOUR_MS)):
        with pytest.raises(FabriqueError, match=r"grid\.gap"):
            found.over(outside)
    assert found.over(Window(2 * HOUR_MS, 3 * HOUR_MS))[0].value == 30


def test_a_short_hole_is_bridged_and_said() -> None:
    found = intensity(10, None, 30, None, None, 60, bridge_ms=HOUR_MS)
    assert found.bridged == (Window(HOUR_MS, 2 * HOUR_MS),)
    assert found.at(HOUR_MS) == 10
    assert found.at(3 * HOUR_MS) is None, "two hours are more than may be bridged"
    assert intensity(10, None, 30).bridged == ()


@pytest.mark.parametrize(
    ("quantity", "value"),
    [
        ("intensity", -1),
        ("intensity", 2_000_001),
        ("price", -500 * MICRO - 1),
        ("price", 10_000 * MICRO + 1),
    ],
)
def test_values_no_grid_has_are_refused(quantity: Quantity, value: int) -> None:
    assert refusal(hours(0, 0, value), quantity) == {
        "zone": "LU", "why": "impossible", "at_ms": HOUR_MS, "value": value,
    }  # fmt: skip


def test_prices_may_be_negative_down_to_the_auctions_floor() -> None:
    least, most = POSSIBLE["price"]
    assert series("LU", "price", "uEUR/MWh", "test", hours(0, least, most)).at(0) == -500 * MICRO


def test_overlap_order_and_empty_steps_are_refused() -> None:
    assert refusal([*hours(0, 1), Step(Window(HOUR_MS // 2, DAY), 1)])["why"] == "overlap"
    assert refusal([*hours(DAY, 1), *hours(0, 1)])["why"] == "order"
    assert refusal([Step(Window(5, 5), 1)])["why"] == "empty"


def test_the_hour_that_comes_twice_in_autumn_is_told() -> None:
    night = at("2025-10-26T02:00:00Z")
    assert refusal([*hours(night, 1), *hours(night, 2)])["why"] == "clock-change"
    monday = at("2025-10-27T02:00:00Z")
    assert refusal([*hours(monday, 1), *hours(monday, 2)])["why"] == "overlap"


def test_the_hour_that_is_missing_in_spring_is_told() -> None:
    before, _, after = hours(at("2025-03-30T01:00:00Z"), 1, 2, 3)
    assert hour_missing_by_clock_change(before, after)
    before, _, after = hours(at("2025-03-31T01:00:00Z"), 1, 2, 3)
    assert not hour_missing_by_clock_change(before, after)
    before, _, after = hours(at("2025-03-30T11:00:00Z"), 1, 2, 3)
    assert not hour_missing_by_clock_change(before, after)


def test_factors_keep_their_sort_and_their_time() -> None:
    (window, factor), (_, second) = intensity(10, 20).factors(Window(HOUR_MS // 2, 2 * HOUR_MS))
    assert window == Window(HOUR_MS // 2, HOUR_MS)
    assert (factor.mg_per_kwh, factor.basis, factor.valid_from_ms) == (10, "consumption", HOUR_MS // 2)
    assert second.mg_per_kwh == 20
    with pytest.raises(ValueError, match="no carbon factor"):
        series("LU", "price", "uEUR/MWh", "test", hours(0, 1)).factors(Window(0, 1))


def test_a_yearly_average_is_the_same_at_every_instant() -> None:
    provider = YearlyAverage(LU)
    assert provider.actual(Window(0, DAY)).mean(Window(5, DAY)) == 260_600
    forecast = provider.forecast(DAY, DAY)
    assert (forecast.method, forecast.series.at(DAY), forecast.series.at(2 * DAY)) == ("yearly-average", 260_600, None)


def test_a_yearly_average_says_nothing_outside_its_time() -> None:
    provider = YearlyAverage(Factor("LU", 1, "average", None, "consumption", 2024, "s", valid_to_ms=DAY))
    with pytest.raises(FabriqueError, match=r"grid\.gap"):
        provider.actual(Window(0, DAY + 1))


def test_a_forecast_repeats_the_last_whole_day() -> None:
    provider = FileProvider(intensity(*range(48)))
    forecast = provider.forecast(DAY, 3 * DAY)
    assert forecast.method == "daily-persistence"
    assert [forecast.series.at(n * HOUR_MS) for n in (24, 47, 48, 95)] == [0, 23, 0, 23]
    assert forecast.series.at(4 * DAY) is None


def test_a_forecast_never_looks_ahead() -> None:
    known = [7] * 24
    for secret in (1, 999):
        provider = FileProvider(intensity(*known, *[secret] * 24))
        half_past = DAY + HOUR_MS // 2
        forecast = provider.forecast(half_past, DAY)
        assert {s.value for s in forecast.series.steps} == {7}, "the running hour is not known yet"
        assert (forecast.series.steps[0].window.start_ms, forecast.series.steps[-1].window.end_ms) == (
            half_past, half_past + DAY,
        )  # fmt: skip


def test_with_less_than_a_day_the_last_value_stands() -> None:
    forecast = FileProvider(intensity(10, 20)).forecast(2 * HOUR_MS, DAY)
    assert (forecast.method, forecast.series.mean(Window(2 * HOUR_MS, DAY))) == ("last-value", 20)


def test_with_nothing_known_lately_there_is_no_forecast() -> None:
    provider = FileProvider(intensity(10, 20))
    for moment in (0, HOUR_MS - 1, 9 * DAY):
        with pytest.raises(FabriqueError, match=r"grid\.gap"):
            provider.forecast(moment, DAY)


def test_a_published_forecast_counts_from_when_it_was_made_and_is_no_actual() -> None:
    said = Forecast(DAY, "vendor", intensity(*[500] * 24, start_ms=DAY))
    provider = FileProvider(intensity(*[7] * 48), published=[said])
    assert provider.forecast(DAY, DAY).series.at(DAY) == 500
    assert provider.forecast(DAY - HOUR_MS, HOUR_MS).method == "last-value"
    assert provider.forecast(DAY, 2 * DAY).method == "daily-persistence", "it does not reach so far"
    assert provider.actual(Window(DAY, 2 * DAY)).at(DAY) == 7
    later = Forecast(2 * DAY, "vendor", intensity(*[500] * 72))
    assert FileProvider(intensity(*[7] * 48), published=[later]).forecast(DAY, HOUR_MS).series.at(DAY) == 7
