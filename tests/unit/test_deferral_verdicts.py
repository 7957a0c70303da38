"""Phase 6: the optimum start, the four verdicts, pauses and what they cost, room kept for those to come."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from fabrique.core.admission.deferral import (
    UNLIMITED,
    Began,
    Flexible,
    Forecast,
    Site,
    Verdict,
    defer,
    in_turn,
    reserve,
    to_run,
    values,
)
from fabrique.core.units import HOUR_MS
from fabrique.twin import bound, carbon_bench

MINUTE = 60_000


def ints(*given: int) -> np.ndarray:
    return np.array(given, np.int64)


def hours(*value: int, devices: int | None = None) -> Forecast:
    count = len(value)
    return Forecast(
        edges_ms=np.arange(count + 1, dtype=np.int64) * HOUR_MS,
        value=ints(*value),
        milli_devices=np.full(count, UNLIMITED if devices is None else devices * 1000, np.int64),
        power_mw=np.full(count, UNLIMITED, np.int64),
    )


def jobs(*rows: tuple[int, int], preemptible: int = 0, began: int = Began.FRESH) -> Flexible:
    """(run, latest end) in minutes, one device of 1 kW, all there at 0."""
    run, end = (ints(*column) * MINUTE for column in zip(*rows, strict=True))
    count = len(rows)
    return Flexible(
        release_ms=np.zeros(count, np.int64),
        end_ms=end,
        run_ms=run,
        milli_devices=np.full(count, 1000, np.int64),
        power_mw=np.full(count, 1_000_000, np.int64),
        preemptible=np.full(count, preemptible, np.int64),
        began=np.full(count, began, np.int64),
    )


@pytest.mark.parametrize("seed", range(5))
def test_without_a_limit_the_start_is_the_best_of_every_minute(seed: int) -> None:
    random = np.random.Generator(np.random.PCG64(seed))
    value = random.integers(-20, 500, size=12)
    forecast = hours(*value.tolist())
    minutes = np.repeat(value, 60) * MINUTE
    rows = [(int(run), int(run + slack)) for run, slack in random.integers(1, 300, size=(20, 2))]
    answer = defer(forecast, jobs(*rows), Site())
    for row, (run, end) in enumerate(rows):
        least = min(int(minutes[start : start + run].sum()) for start in range(end - run + 1))
        assert answer.cost_plan[row] == least
        start = int(answer.start_ms[row]) // MINUTE
        assert int(minutes[start : start + run].sum()) == least


@pytest.mark.parametrize("seed", range(5))
def test_without_a_limit_pieces_are_the_bound(seed: int) -> None:
    random = np.random.Generator(np.random.PCG64(seed))
    value = random.integers(10, 500, size=24)
    rows = [(int(run), int(run + slack)) for run, slack in random.integers(1, 600, size=(10, 2))]
    asked = jobs(*rows, preemptible=1)
    forecast = hours(*value.tolist())
    answer = defer(forecast, asked, Site())
    slots = bound.Slots(
        edges_ms=forecast.edges_ms, milli_devices=np.full(24, 10**6), watts=np.full(24, 10**6), value=forecast.value
    )
    for row in range(len(rows)):
        alone = bound.Jobs(
            release_ms=ints(0),
            deadline_ms=asked.end_ms[row : row + 1],
            work_ms=asked.run_ms[row : row + 1],
            milli_devices=ints(1000),
            watts=ints(1000),
        )
        assert bound.solve(slots, alone, 0).optimum == pytest.approx(
            values(int(answer.cost_plan[row]), 1_000_000), abs=1
        )


def test_the_four_verdicts() -> None:
    forecast = hours(100, 95, 20)
    assert defer(forecast, jobs((60, 60)), Site()).verdict[0] == Verdict.NO_SLACK
    assert defer(hours(20, 95, 100), jobs((60, 180)), Site()).verdict[0] == Verdict.RUN_NOW
    put_off = defer(forecast, jobs((60, 180)), Site())
    assert (put_off.verdict[0], put_off.start_ms[0]) == (Verdict.DEFERRED, 2 * HOUR_MS)
    little = defer(forecast, jobs((60, 120)), Site(floor_permille=100))
    assert (little.verdict[0], little.start_ms[0]) == (Verdict.NOT_WORTH, 0)


def test_the_floor_in_grams_counts_the_jobs_own_draw() -> None:
    forecast = hours(100_000, 20_000)
    kilowatt = jobs((60, 120))
    assert defer(forecast, kilowatt, Site(floor=80_000)).verdict[0] == Verdict.DEFERRED
    assert defer(forecast, kilowatt, Site(floor=80_001)).verdict[0] == Verdict.NOT_WORTH
    small = dataclasses.replace(kilowatt, power_mw=ints(999_000))
    assert defer(forecast, small, Site(floor=80_000)).verdict[0] == Verdict.NOT_WORTH


def test_a_negative_price_is_waited_for() -> None:
    answer = defer(hours(50_000, 10_000, -20_000), jobs((60, 180)), Site(floor_permille=100))
    assert (answer.start_ms[0], values(int(answer.cost_plan[0]), 1_000_000)) == (2 * HOUR_MS, -20_000)


def test_a_restart_is_counted_and_can_make_a_pause_not_worth_it() -> None:
    running = jobs((120, 360), preemptible=1, began=Began.RUNNING)
    forecast = hours(10, 20, 19, 50, 50, 50)
    paused = defer(forecast, running, Site())
    assert paused.share_ms[0].tolist() == [HOUR_MS, 0, HOUR_MS, 0, 0, 0]
    goes_on = defer(forecast, running, Site(restart_ms=10 * MINUTE))
    assert goes_on.share_ms[0].tolist() == [HOUR_MS, HOUR_MS, 0, 0, 0, 0]
    worth_it = defer(hours(10, 90, 19, 50, 50, 50), running, Site(restart_ms=10 * MINUTE))
    assert int(worth_it.share_ms[0].sum()) == 130 * MINUTE


def test_a_run_that_writes_no_checkpoint_goes_on() -> None:
    answer = defer(hours(500, 1, 1), jobs((60, 180), began=Began.RUNNING), Site())
    assert (answer.verdict[0], answer.start_ms[0]) == (Verdict.NO_SLACK, 0)


def test_a_cheap_hour_is_shared_out_and_no_more() -> None:
    answer = defer(hours(90, 10, 50, devices=1), jobs((60, 180), (60, 180), (60, 120), preemptible=1), Site())
    assert answer.share_ms.sum(axis=0).tolist() == [HOUR_MS] * 3
    assert answer.share_ms[2].tolist() == [0, HOUR_MS, 0]


def short_and_long() -> tuple[Forecast, Flexible]:
    """Two short jobs that want the first hour most, and one that otherwise needs the dear third."""
    return hours(30, 40, 90, devices=2), jobs((60, 120), (60, 120), (120, 180), preemptible=1)


def test_a_job_makes_way_where_all_together_then_cost_less() -> None:
    forecast, asked = short_and_long()
    alone, together = in_turn(forecast, asked, Site()), defer(forecast, asked, Site())
    assert alone.share_ms.sum(axis=0).tolist() == [2 * HOUR_MS, HOUR_MS, HOUR_MS]
    assert together.share_ms.sum(axis=0).tolist() == [2 * HOUR_MS, 2 * HOUR_MS, 0]
    assert together.share_ms.sum(axis=1).tolist() == asked.run_ms.tolist()
    moved = int(together.start_ms.argmax())
    assert (together.verdict[moved], together.start_ms[moved]) == (Verdict.DEFERRED, HOUR_MS)
    assert together.cost_plan[moved] > together.cost_soonest[moved]


@pytest.mark.parametrize("site", [Site(restart_ms=1), Site(floor=1), Site(floor_permille=1)])
def test_no_job_makes_way_where_a_pause_costs_or_a_saving_may_be_too_small(site: Site) -> None:
    forecast, asked = short_and_long()
    assert np.array_equal(defer(forecast, asked, site).share_ms, in_turn(forecast, asked, site).share_ms)


def test_no_job_makes_way_for_one_that_does_not_fit_or_that_draws_too_much() -> None:
    forecast, asked = short_and_long()
    for short in (
        dataclasses.replace(forecast, milli_devices=ints(2000, 1000, 0)),
        dataclasses.replace(forecast, power_mw=ints(2_000_000, 1_000_000, 0)),
    ):
        assert np.array_equal(defer(short, asked, Site()).share_ms, in_turn(short, asked, Site()).share_ms)
    third = dataclasses.replace(forecast, power_mw=ints(2_000_000, 1_000_000, 1_000_000))
    assert defer(third, asked, Site()).share_ms.sum(axis=0).tolist() == [2 * HOUR_MS, HOUR_MS, HOUR_MS]


def test_a_plan_ends_its_search_for_paths() -> None:
    random = np.random.Generator(np.random.PCG64(5))
    run, slack = random.integers(60, 600, 10_000), random.integers(60, 3_000, 10_000)
    asked = jobs(*zip(run.tolist(), (run + slack).tolist(), strict=True), preemptible=1)
    forecast = hours(*random.integers(100, 500, 72).tolist(), devices=int(run.sum() // 1_800))
    answer = defer(forecast, asked, Site())
    assert np.all(answer.share_ms.sum(axis=1) == asked.run_ms)
    assert np.all(answer.share_ms.sum(axis=0) * 1000 <= forecast.milli_devices * HOUR_MS)
    assert answer.cost_plan.sum() <= in_turn(forecast, asked, Site()).cost_plan.sum()


def test_what_runs_now_starts_with_what_cannot_wait() -> None:
    forecast = hours(100, 10, 50, devices=2)
    asked = jobs((60, 180), (60, 60), (120, 180), preemptible=1)
    order = to_run(forecast, asked, defer(forecast, asked, Site()))
    assert order[0] == 1
    assert 0 not in order


def test_what_was_planned_for_a_dearer_hour_takes_what_is_left_of_this_one() -> None:
    forecast = hours(30, 10, 90, devices=1)
    asked = jobs((60, 180), (60, 180), (60, 180), preemptible=1)
    wish = defer(forecast, asked, Site())
    order = to_run(forecast, asked, wish)
    assert wish.share_ms[order[0]][0] > 0
    assert wish.share_ms[order[-1]][2] > 0
    assert len(order) == 2


def test_room_is_kept_where_those_to_come_would_want_it() -> None:
    forecast = hours(50, 90, 10, 90, 90, devices=4)
    asked = jobs((60, 240), (60, 240), (60, 240), (60, 240))
    kept = reserve(forecast, asked, 4 * HOUR_MS, 1000)
    assert kept[0] == 0
    assert kept.argmax() == 2
    assert np.all(kept <= forecast.milli_devices)
    assert not reserve(forecast, jobs((0, 0)), HOUR_MS, 1000).any()


def test_nothing_given_is_changed_and_the_answer_repeats() -> None:
    forecast, asked = hours(90, 10, 50, devices=1), jobs((60, 180), (30, 120), preemptible=1)
    before = [column.copy() for column in (*dataclasses.astuple(forecast), *dataclasses.astuple(asked))]
    one, two = defer(forecast, asked, Site()), defer(forecast, asked, Site())
    after = (*dataclasses.astuple(forecast), *dataclasses.astuple(asked))
    assert all(np.array_equal(a, b) for a, b in itertools.zip_longest(before, after))
    assert np.array_equal(one.share_ms, two.share_ms)


def test_a_rolling_replay_keeps_deadlines_and_most_of_the_possible_saving() -> None:
    day = np.rint(200_000 + 120_000 * np.cos(np.arange(24 * 12) * 2 * np.pi / 24)).astype(np.int64)
    found = carbon_bench.share(carbon_bench.stream(3, 5, 20, (24,)), day, day)
    assert found.permille is not None
    assert 800 <= found.permille <= 1000
    assert found.late == 0


def test_a_rolling_replay_learns_from_the_hours_before_it_what_the_forecast_is_worth() -> None:
    day = np.rint(200_000 + 120_000 * np.cos(np.arange(24 * 26) * 2 * np.pi / 24)).astype(np.int64)
    random = np.random.Generator(np.random.PCG64(7))
    forecast = np.rint(day * random.uniform(0.4, 1.6, len(day))).astype(np.int64)
    before = carbon_bench.Hours(forecast[: 24 * 14], day[: 24 * 14])
    asked = carbon_bench.stream(3, 5, 20, (24,))
    told = carbon_bench.share(asked, forecast[24 * 14 :], day[24 * 14 :], before=before)
    untold = carbon_bench.share(asked, forecast[24 * 14 :], day[24 * 14 :])
    assert told.saving_permille > untold.saving_permille + 20
    assert told.late == untold.late == 0
