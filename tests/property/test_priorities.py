"""Priorities for a wanted order: always that order, within bounds, and few are changed."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabrique.engines.slurm.ranks import STEP, ranked

LEAST, MOST = 100, 160
Numbers = st.lists(st.none() | st.integers(0, 200), max_size=61)


@given(Numbers)
def test_they_fall_strictly_within_bounds(current: list[int | None]) -> None:
    found = ranked(current, LEAST, MOST)
    assert len(found) == len(current)
    assert all(LEAST <= number <= MOST for number in found)
    assert all(before > after for before, after in pairwise(found))


@given(st.sets(st.integers(LEAST, MOST)))
def test_what_is_in_order_stays(current: set[int]) -> None:
    falling = sorted(current, reverse=True)
    assert ranked(falling, LEAST, MOST) == falling


@given(st.permutations(range(1, 12)))
def test_no_more_are_changed_than_have_to_be(order: list[int]) -> None:
    """With room between all, those of the longest falling part keep theirs."""
    current: list[int | None] = [number * STEP for number in order]
    kept = sum(a == b for a, b in zip(ranked(current, 0, 100 * STEP), current, strict=True))
    assert kept == max(length_from(order, first) for first in range(len(order)))


def length_from(order: list[int], first: int) -> int:
    return 1 + max((length_from(order, i) for i in range(first + 1, len(order)) if order[i] < order[first]), default=0)


def test_new_ones_come_behind_with_room_on_every_side() -> None:
    assert ranked([None], 0, 8 * STEP) == [4 * STEP]
    assert ranked([4 * STEP, None, None], 0, 8 * STEP) == [4 * STEP, 3 * STEP, 2 * STEP]
    assert ranked([None, 4 * STEP], 0, 8 * STEP) == [5 * STEP, 4 * STEP]
    assert ranked([6, 5, None, 4], 0, 8 * STEP)[::3] == [11 * STEP // 2, 5 * STEP // 2]  # no room between: all anew


def test_more_jobs_than_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="more jobs"):
        ranked([None] * 3, 1, 2)
