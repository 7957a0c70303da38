"""The paired block bootstrap: it says nothing of runs that are alike, and sees a difference that is there."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import pytest

from fabrique.twin.bootstrap import block_length, compare, draws


def days_of_noise(seed: int, days: int, persistence: float = 0.5) -> np.ndarray:
    random = np.random.Generator(np.random.PCG64(seed))
    noise = random.normal(size=days)
    for day in range(1, days):
        noise[day] += persistence * noise[day - 1]
    return noise


def test_identical_runs_have_no_effect() -> None:
    a = days_of_noise(1, 60) + 100
    jobs = np.arange(60) + 1.0
    for found in (compare(a, a), compare(a, a, jobs, jobs)):
        assert (found.mean, found.low, found.high, found.verdict) == (0.0, 0.0, 0.0, "no effect")


@pytest.mark.parametrize(("by", "verdict"), [(-1.0, "less"), (1.0, "more")])
def test_a_steady_difference_is_seen_under_noise_that_both_share(by: float, verdict: str) -> None:
    a = 100 + 20 * days_of_noise(2, 60)
    b = a + by + 0.5 * days_of_noise(3, 60)
    found = compare(a, b)
    assert found.verdict == verdict
    assert found.low is not None
    assert found.high is not None
    assert found.mean is not None
    assert found.low < found.mean < found.high


def test_where_nothing_differs_it_is_rarely_said_to() -> None:
    wrong = sum(compare(days_of_noise(s, 60), days_of_noise(s + 10_000, 60)).verdict != "no effect" for s in range(200))
    assert wrong <= 32  # 5 % is meant; 60 days that depend on each other cost a few points of coverage


def test_a_ratio_is_of_sums_not_a_mean_of_ratios() -> None:
    waits, jobs = np.array([10.0, 0, 90, 5, 5, 10, 0, 0]), np.array([1.0, 1, 9, 1, 1, 1, 1, 1])
    found = compare(waits, waits * 2, jobs, jobs)
    assert found.mean == pytest.approx(120 / 16)


def test_days_without_jobs_do_not_divide_by_zero() -> None:
    jobs = np.zeros(10)
    jobs[3] = 2
    found = compare(jobs * 3, jobs * 5, jobs, jobs)
    assert (found.mean, found.verdict) == (2.0, "more")
    nothing = compare(np.ones(10), np.ones(10), np.zeros(10), np.zeros(10))
    assert (nothing.mean, nothing.low) == (None, None)


def test_six_days_are_too_short() -> None:
    found = compare(np.arange(6), np.arange(6) + 5)
    assert (found.mean, found.low, found.verdict, found.days) == (5.0, None, "too short", 6)
    assert compare(np.arange(7), np.arange(7) + 5).verdict == "more"


def test_days_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="pair"):
        compare(np.zeros(8), np.zeros(9))
    with pytest.raises(ValueError, match="finite"):
        compare(np.full(8, np.nan), np.zeros(8))


def test_resamples_are_blocks_of_as_many_days() -> None:
    counts = draws(61)
    assert counts.shape == (2000, 61)
    assert np.all(counts.sum(axis=1) == 61)
    assert np.all(np.abs(counts.mean(axis=0) - 1) < 0.15)
    assert [block_length(n) for n in (1, 7, 27, 64, 365)] == [1, 2, 3, 4, 7]


def test_a_block_keeps_days_together() -> None:
    """Days that alternate cancel inside a block of two and not day by day: the interval shows the blocks."""
    alternating = np.tile([1.0, -1.0], 6)
    found = compare(np.zeros(12), alternating)
    assert (block_length(12), found.low, found.high) == (2, 0.0, 0.0)


def test_the_same_runs_get_the_same_answer() -> None:
    a, b = days_of_noise(5, 40), days_of_noise(6, 40)
    first = compare(a, b)
    draws.cache_clear()
    assert compare(a, b) == first
    assert compare(a, b, seed=1) != first


def test_ten_rule_sets_of_six_metrics_are_quick() -> None:
    runs = [days_of_noise(seed, 60) for seed in range(11)]
    began = perf_counter()
    for run in runs[1:] * 6:
        compare(runs[0], run, np.ones(60), np.ones(60))
    assert perf_counter() - began < 2
