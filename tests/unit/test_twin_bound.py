"""The bound: equal to what brute force finds on small cases, and under every schedule."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabrique.core.units import HOUR_MS
from fabrique.twin.bound import Jobs, Slots, reached, solve, spent

MUCH = 10**9


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def slots_of(values: list[int], devices: int = 1000, watts: int = MUCH) -> Slots:
    count = len(values)
    return Slots(
        edges_ms=np.arange(count + 1, dtype=np.int64) * HOUR_MS,
        milli_devices=np.full(count, devices * 1000, np.int64),
        watts=np.full(count, watts, np.int64),
        value=ints(*values),
    )


def jobs_of(rows: list[tuple[int, int, int]], watts: int = 1000) -> Jobs:
    """(release, deadline, work) in hours, one device wide."""
    release, deadline, work = (ints(*column) * HOUR_MS for column in zip(*rows, strict=True))
    count = len(rows)
    return Jobs(
        release_ms=release,
        deadline_ms=deadline,
        work_ms=work,
        milli_devices=np.full(count, 1000, np.int64),
        watts=np.full(count, watts, np.int64),
    )


def brute(values: list[int], rows: list[tuple[int, int, int]], devices: int) -> int | None:
    """Every choice of whole hours by every job: with whole sizes no fraction does better (a flow in whole numbers)."""
    choices = [list(itertools.combinations(range(a, b), work)) for a, b, work in rows]
    costs = []
    for picked in itertools.product(*choices):
        used = np.bincount([h for hours in picked for h in hours], minlength=len(values))
        if used.max(initial=0) <= devices:
            costs.append(int(used @ np.array(values)))
    return min(costs, default=None)


cases = st.tuples(
    st.lists(st.integers(-50, 400), min_size=5, max_size=5),
    st.lists(st.tuples(st.integers(0, 2), st.integers(3, 5), st.integers(1, 3)), min_size=1, max_size=3),
    st.integers(1, 2),
)


@settings(max_examples=60)
@given(cases)
def test_the_bound_is_what_brute_force_finds(case: tuple[list[int], list[tuple[int, int, int]], int]) -> None:
    values, rows, devices = case
    rows = [(a, b, min(work, b - a)) for a, b, work in rows]
    least = brute(values, rows, devices)
    bound = solve(slots_of(values, devices), jobs_of(rows), 0)
    if least is None:
        assert (bound.optimum, bound.status) == (None, "infeasible")
        return
    assert bound.status == "optimal"
    assert bound.optimum is not None
    assert least - 1 <= bound.optimum <= least


def test_the_order_of_jobs_changes_nothing() -> None:
    rows = [(0, 6, 2), (1, 5, 1), (2, 6, 3), (0, 3, 2)]
    slots = slots_of([300, 10, 200, 50, 20, 100], devices=2)
    found = {solve(slots, jobs_of(list(order)), 0).optimum for order in itertools.permutations(rows)}
    assert len(found) == 1


def test_months_of_like_jobs_are_few_columns_and_the_same_optimum() -> None:
    values = [300, 10, 200, 50]
    one = solve(slots_of(values, 500), jobs_of([(0, 4, 1)]), 0)
    many = solve(slots_of(values, 500), jobs_of([(0, 4, 1)] * 500), 0)
    assert many.columns == one.columns == 4
    assert many.optimum is not None
    assert many.optimum == pytest.approx(500 * 10, abs=1)


def test_power_binds_where_devices_do_not() -> None:
    jobs = jobs_of([(0, 2, 1), (0, 2, 1)])
    free = solve(slots_of([10, 90], devices=2), jobs, 0)
    capped = solve(slots_of([10, 90], devices=2, watts=1000), jobs, 0)
    assert free.optimum == pytest.approx(20, abs=1)
    assert capped.optimum == pytest.approx(100, abs=1)


def test_a_lower_power_level_is_used_where_there_is_time_for_it() -> None:
    jobs = dataclasses.replace(
        jobs_of([(0, 2, 1)]), rate_permille=ints(500).reshape(1, 1), level_watts=ints(300).reshape(1, 1)
    )
    assert solve(slots_of([100, 100]), jobs, 100).optimum == pytest.approx(60, abs=1)
    short = dataclasses.replace(jobs, deadline_ms=ints(HOUR_MS))
    assert solve(slots_of([100, 100]), short, 100).optimum == pytest.approx(100, abs=1)


def test_part_of_a_slot_is_no_more_than_its_part() -> None:
    jobs = dataclasses.replace(jobs_of([(0, 2, 1)]), release_ms=ints(HOUR_MS // 2))
    assert solve(slots_of([10, 90]), jobs, 0).optimum == pytest.approx(50, abs=1)


def test_a_job_that_does_not_fit_its_window_is_said() -> None:
    bound = solve(slots_of([1, 2]), jobs_of([(0, 1, 2)]), 7)
    assert (bound.status, bound.optimum, bound.saving, bound.baseline) == ("infeasible", None, None, 7)


def test_no_jobs_cost_nothing() -> None:
    empty = np.zeros(0, np.int64)
    jobs = Jobs(release_ms=empty, deadline_ms=empty, work_ms=empty, milli_devices=empty, watts=empty)
    assert solve(slots_of([1, 2]), jobs, 0).optimum == 0


def test_without_a_deadline_the_horizon_is_one() -> None:
    jobs = dataclasses.replace(jobs_of([(0, 1, 1)]), deadline_ms=ints(-1))
    assert solve(slots_of([50, 20, 30]), jobs, 50).saving == pytest.approx(30, abs=1)


def test_what_a_schedule_spent_is_exact() -> None:
    slots = slots_of([100, -40])
    half = HOUR_MS // 2
    assert spent(slots, ints(half, 0), ints(HOUR_MS + half, HOUR_MS), ints(1000, 2000)) == 50 - 20 + 200
    with pytest.raises(ValueError, match="outside"):
        spent(slots, ints(0), ints(3 * HOUR_MS), ints(1))


def test_what_was_reached_of_nothing_is_not_a_number() -> None:
    assert reached(45, 50) == 900
    assert reached(0, 0) is None
    assert reached(5, None) is None
    assert reached(-10, 100) == -100
