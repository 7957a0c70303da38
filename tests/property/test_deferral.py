"""Phase 6: the compiled deferral and the naive one agree; what is planned keeps its windows, its room and its work."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from fabrique.core.admission.deferral import Began, Deferrals, Flexible, Forecast, Site, Verdict, defer, in_turn
from fabrique.core.admission.kernels import reference_deferral as naive
from fabrique.core.units import HOUR_MS
from fabrique.twin import bound

NAMES = {
    Verdict.RUN_NOW: "run now",
    Verdict.NOT_WORTH: "not worth",
    Verdict.DEFERRED: "deferred",
    Verdict.NO_SLACK: "no slack",
}
QUARTER = HOUR_MS // 4
Row = tuple[int, int, int, int, int, bool, int]

slots = st.lists(
    st.tuples(st.integers(1, 6), st.integers(-5, 9), st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=7
)
rows = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.integers(1, 14),
        st.integers(0, 20),
        st.integers(1, 3),
        st.integers(1, 2),
        st.booleans(),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=6,
)
sites = st.tuples(st.sampled_from([0, 600_000, HOUR_MS]), st.integers(0, 3), st.sampled_from([0, 50, 400]))


def forecast_of(drawn: list[tuple[int, int, int, int]]) -> Forecast:
    lengths, value, devices, power = (np.array(column, np.int64) for column in zip(*drawn, strict=True))
    edges = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64) * QUARTER + 7
    return Forecast(edges_ms=edges, value=value * 1000, milli_devices=devices * 1000, power_mw=power * 1_000_000)


def jobs_of(drawn: list[Row]) -> Flexible:
    release, run, slack, width, power, preemptible, began = (
        np.array(column, np.int64) for column in zip(*drawn, strict=True)
    )
    began = np.where(release > 0, 0, began)
    release = release * QUARTER + 7
    return Flexible(
        release_ms=release,
        end_ms=release + (run + slack) * QUARTER,
        run_ms=run * QUARTER,
        milli_devices=width * 1000,
        power_mw=power * 500_000,
        preemptible=preemptible.astype(np.int64),
        began=began.astype(np.int64),
    )


def naively(forecast: Forecast, jobs: Flexible, site: Site) -> dict[int, naive.Choice]:
    edges = forecast.edges_ms.tolist()
    listed = [
        naive.Slot(a, b, value, devices * (b - a), power * (b - a))
        for a, b, value, devices, power in zip(
            edges,
            edges[1:],
            forecast.value.tolist(),
            forecast.milli_devices.tolist(),
            forecast.power_mw.tolist(),
            strict=False,
        )
    ]
    asked = [
        naive.Job(
            int(jobs.release_ms[row]),
            int(jobs.end_ms[row]),
            int(jobs.run_ms[row]),
            int(jobs.milli_devices[row]),
            int(jobs.power_mw[row]),
            bool(jobs.preemptible[row]),
            Began(jobs.began[row]).name.lower(),
        )
        for row in range(len(jobs.run_ms))
    ]
    return naive.plan(listed, asked, site.restart_ms, site.floor, site.floor_permille)


def rows_of(answer: Deferrals) -> list[tuple[object, ...]]:
    return [
        (
            NAMES[Verdict(answer.verdict[row])],
            int(answer.start_ms[row]),
            int(answer.cost_soonest[row]),
            int(answer.cost_plan[row]),
            tuple(answer.share_ms[row].tolist()),
        )
        for row in range(len(answer.verdict))
    ]


@settings(max_examples=400)
@given(slots, rows, sites)
def test_the_compiled_deferral_is_the_naive_one(
    drawn: list[tuple[int, int, int, int]], asked: list[Row], rules: tuple[int, int, int]
) -> None:
    forecast, jobs, site = (
        forecast_of(drawn),
        jobs_of(asked),
        Site(restart_ms=rules[0], floor=rules[1], floor_permille=rules[2]),
    )
    expected = naively(forecast, jobs, site)
    got = rows_of(in_turn(forecast, jobs, site))
    for row, choice in expected.items():
        assert got[row] == (choice.verdict, choice.start_ms, choice.cost_soonest, choice.cost, choice.share_ms)


@settings(max_examples=200)
@given(slots, rows, sites)
def test_a_planned_job_keeps_its_window_its_work_and_the_room(
    drawn: list[tuple[int, int, int, int]], asked: list[Row], rules: tuple[int, int, int]
) -> None:
    forecast, jobs = forecast_of(drawn), jobs_of(asked)
    soonest = in_turn(forecast, jobs, Site(restart_ms=rules[0]))
    assert np.all(soonest.cost_plan <= soonest.cost_soonest)
    answer = defer(forecast, jobs, Site(restart_ms=rules[0]))
    chosen = answer.verdict != Verdict.NO_SLACK
    edges = forecast.edges_ms
    lengths = np.diff(edges)
    window = np.minimum(jobs.end_ms[:, None], edges[1:]) - np.maximum(jobs.release_ms[:, None], edges[:-1])
    assert np.all(answer.share_ms[chosen] <= np.maximum(window[chosen], 0))
    assert np.all(answer.share_ms[chosen].sum(axis=1) >= jobs.run_ms[chosen])
    used = (answer.share_ms * jobs.milli_devices[:, None])[chosen].sum(axis=0)
    assert np.all(used <= forecast.milli_devices * lengths)
    drawn_mw = (answer.share_ms * jobs.power_mw[:, None])[chosen].sum(axis=0)
    assert np.all(drawn_mw <= forecast.power_mw * lengths)


plenty = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 6)), min_size=1, max_size=8)
pausable = st.lists(
    st.tuples(st.integers(0, 12), st.integers(1, 14), st.integers(1, 20), st.integers(1, 3)), min_size=1, max_size=12
)


@settings(deadline=None, max_examples=200)
@given(plenty, pausable)
def test_jobs_that_make_way_for_each_other_cost_what_the_programme_says(
    drawn: list[tuple[int, int, int]], asked: list[tuple[int, int, int, int]]
) -> None:
    forecast = forecast_of([(*slot, 1000) for slot in drawn])
    rows = [
        (release, run, slack, width, width, True, 0)
        for release, run, slack, width in asked
        if (release + run + slack) * QUARTER + 7 <= forecast.edges_ms[-1]
    ]
    assume(rows)
    jobs = jobs_of(rows)
    answer, greedy = defer(forecast, jobs, Site()), in_turn(forecast, jobs, Site())
    slots = bound.Slots(
        edges_ms=forecast.edges_ms,
        milli_devices=forecast.milli_devices,
        watts=np.full(len(drawn), 10**6),
        value=forecast.value,
    )
    wanted = bound.Jobs(
        release_ms=jobs.release_ms,
        deadline_ms=jobs.end_ms,
        work_ms=jobs.run_ms * jobs.milli_devices // 1000,
        milli_devices=jobs.milli_devices,
        watts=np.full(len(rows), 500, np.int64),
        rate_permille=np.ones((len(rows), 1), np.int64),  # a level nobody takes, so that no two jobs are made one
        level_watts=np.arange(len(rows), dtype=np.int64)[:, None] + 10**5,
    )
    least = bound.solve(slots, wanted, 0).optimum
    fits = least is not None
    event(f"fits: {fits}")
    if not fits:
        assert rows_of(answer) == rows_of(greedy)
        return
    assert np.all(answer.share_ms.sum(axis=1) == jobs.run_ms)
    planned = int(answer.cost_plan @ jobs.power_mw) // (10**6 * HOUR_MS)
    assert planned == pytest.approx(least, abs=2)


@settings(max_examples=100)
@given(slots, rows, sites, st.randoms(use_true_random=False))
def test_the_order_jobs_come_in_counts_for_nothing(
    drawn: list[tuple[int, int, int, int]], asked: list[Row], rules: tuple[int, int, int], random: object
) -> None:
    shuffled = list(asked)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    forecast, site = forecast_of(drawn), Site(restart_ms=rules[0], floor=rules[1])
    one = sorted(zip(asked, rows_of(defer(forecast, jobs_of(asked), site)), strict=True))
    other = sorted(zip(shuffled, rows_of(defer(forecast, jobs_of(shuffled), site)), strict=True))
    assert one == other
