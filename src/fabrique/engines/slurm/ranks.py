"""Priorities for jobs in a wanted order, as many of them as can be left as they are."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

STEP: Final = 1_000_000  # between two that are given anew at either end: room for others to come between


def ranked(current: Sequence[int | None], least: int, most: int) -> list[int]:
    """Strictly falling numbers in [least, most], one a job; `current` are those that they have, None where none counts.

    Raises ValueError where there are more jobs than numbers.
    """
    if len(current) > most - least + 1:
        raise ValueError("more jobs than priorities")
    kept = _kept(current, least, most)
    found: list[int] = []
    for index in [*kept, len(current)]:
        above = found[-1] if found else most + 1
        below = least - 1 if index == len(current) else current[index] or 0
        between = _between(above, below, index - len(found), is_first=not found, is_last=index == len(current))
        if between is None:
            return _spread(len(current), least, most)
        found += between
        found += [] if index == len(current) else [below]
    return found


def _kept(current: Sequence[int | None], least: int, most: int) -> list[int]:
    """The most jobs that are in order already: the longest falling part."""
    ends: list[int] = []  # of the best falling part of each length, its last number, negated: they rise
    at: list[int] = []
    before: dict[int, int | None] = {}
    for index, number in enumerate(current):
        if number is None or not least <= number <= most:
            continue
        place = bisect_left(ends, -number)
        before[index] = at[place - 1] if place else None
        ends[place:], at[place:] = [-number, *ends[place + 1 :]], [index, *at[place + 1 :]]
    chain: list[int] = []
    last: int | None = at[-1] if at else None
    while last is not None:
        chain.append(last)
        last = before[last]
    return chain[::-1]


def _between(above: int, below: int, count: int, *, is_first: bool, is_last: bool) -> list[int] | None:
    """So many numbers below `above` and above `below`; None where they find no room."""
    room = above - below - 1
    if count > room:
        return None
    if is_first and is_last:
        return _spread(count, below + 1, above - 1)
    step = max(min(room // (count + 1), STEP), 1)
    if is_first:
        return [below + step * (count - i) for i in range(count)]
    return [above - step * (i + 1) for i in range(count)]


def _spread(count: int, least: int, most: int) -> list[int]:
    """About the middle: others may come before them and behind."""
    if not count:
        return []
    step = max(min((most - least) // count, STEP), 1)
    first = least + (most - least + step * (count - 1) + 1) // 2
    return [first - step * i for i in range(count)]
