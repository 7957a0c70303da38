"""What many intervals add up to: a level over time, and what it amounts to in each slot. Whole numbers throughout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fabrique.core.admission.tables import Ints


@dataclass(frozen=True, slots=True)
class Level:
    """`value[i]` holds over [at_ms[i], at_ms[i + 1]), the last one for ever; nothing is before the first."""

    at_ms: Ints
    value: Ints


def level(start_ms: Ints, end_ms: Ints, rate: Ints) -> Level:
    """The sum of the rates of all intervals [start, end) that hold an instant."""
    at = np.concatenate([start_ms, end_ms])
    change = np.concatenate([rate, -rate])
    times, place = np.unique(at, return_inverse=True)
    changes = np.zeros(len(times), np.int64)
    np.add.at(changes, place.reshape(-1), change)
    return Level(times, np.cumsum(changes))


def per_slot(found: Level, edges_ms: Ints) -> Ints:
    """Level × ms in each slot [edges[i], edges[i + 1])."""
    if not len(found.at_ms):
        return np.zeros(len(edges_ms) - 1, np.int64)
    whole = np.concatenate([[0], np.cumsum(found.value[:-1] * np.diff(found.at_ms))])
    row = np.searchsorted(found.at_ms, edges_ms, side="right") - 1
    known = np.maximum(row, 0)
    upto = np.where(row < 0, 0, whole[known] + found.value[known] * (edges_ms - found.at_ms[known]))
    return np.diff(upto)


def above(found: Level, limit: Level) -> Level:
    """By how much one level is above another, where it is; where no limit holds yet, it is not."""
    times = np.union1d(found.at_ms, limit.at_ms)

    def at(one: Level, else_value: int) -> Ints:
        row = np.searchsorted(one.at_ms, times, side="right") - 1
        return np.where(row < 0, else_value, one.value[np.maximum(row, 0)])

    return Level(times, np.maximum(at(found, 0) - at(limit, np.iinfo(np.int64).max), 0))
