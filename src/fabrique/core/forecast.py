"""A forecast corrected by what it was worth so far: each slot is weighed anew with those around it.

A series of the grid changes slowly, an error from slot to slot. The weights are those of least squares over the slots
whose actual is known; where the forecast was never wrong, nothing changes. Whole numbers and exact fractions only.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

from fabrique.core.units import MICRO

Ints = npt.NDArray[np.int64]

AROUND: Final = 3  # slots before and after
LEAST: Final = 20 * (2 * AROUND + 1)  # known slots before anything is learnt


def corrected(forecast: Ints, actual: Ints) -> Ints:
    """What to expect of the slots that follow `actual`, in the forecast's own unit (at most 2^30).

    Both begin at the same slot; `actual` ends sooner: at the present. Unchanged where too little is known.
    """
    known, rest = len(actual), forecast[len(actual) :].copy()
    if known < LEAST or not len(rest):
        return rest
    mean, true_mean = int(forecast[:known].sum()) // known, int(actual.sum()) // known
    padded = np.concatenate([forecast, np.full(AROUND, forecast[-1])]) - mean
    told = np.concatenate([actual - true_mean, np.zeros(len(padded) - known, np.int64)])
    errors = (told - padded)[AROUND:known]
    rest += true_mean - mean
    for lead in range(AROUND + 1):  # the nearer, the more of the slots before are known
        past = _around(padded, told, np.arange(AROUND, known), lead)
        weights = _least_squares(past, errors)
        last = len(forecast) if lead == AROUND else min(known + lead + 1, len(forecast))
        ahead = np.arange(known + lead, last)
        rest[ahead - known] += _around(padded, told, ahead, lead) @ weights // MICRO
    return rest


def _around(forecast: Ints, actual: Ints, slots: Ints, lead: int) -> Ints:
    """One row a slot: the values around it, actual ones where they are known `lead` slots before it."""
    columns = [(actual if k < -lead else forecast)[slots + k] for k in range(-AROUND, AROUND + 1)]
    return np.column_stack(columns)


def _least_squares(rows: Ints, wanted: Ints) -> Ints:
    """Weights, in millionths, with which `rows` come nearest to `wanted`; a ridge of a permille keeps them small where
    the columns tell the same.
    """
    width = rows.shape[1]
    sums = np.column_stack([rows.T @ rows, rows.T @ wanted]).tolist()
    table = [[Fraction(value) for value in row] for row in sums]
    for i in range(width):
        table[i][i] += table[i][i] / 1000
    for i in range(width):
        if not table[i][i]:
            continue  # a column of zeros tells nothing
        table[i] = [value / table[i][i] for value in table[i]]
        for j in range(width):
            if j != i and table[j][i]:
                factor = table[j][i]
                table[j] = [a - factor * b for a, b in zip(table[j], table[i], strict=True)]
    return np.array([round(row[-1] * MICRO) if row[i] else 0 for i, row in enumerate(table)], np.int64)
