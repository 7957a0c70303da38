"""Whether two runs differ: the paired block bootstrap over days.

Days of two runs over the same trace are drawn together (paired), in blocks that wrap around the end (circular),
because a busy day is followed by another. Künsch 1989 for moving blocks, Politis & Romano 1992 for circular ones; a
block is n^(1/3) days long, the order that Hall, Horowitz & Jing 1995 find best for a variance. The interval is the
percentile one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Verdict = Literal["less", "more", "no effect", "too short"]

LEAST_DAYS: Final = 7
RESAMPLES: Final = 2_000
SEED: Final = 20_220_101


@dataclass(frozen=True, slots=True)
class Difference:
    """Of `b` less `a`: the point, its 95 % interval [low, high], and what may be said: b is *less* or *more* than a,
    or not.

    All three are None where there is nothing to divide by, or, for the interval, fewer than seven days.
    """

    mean: float | None
    low: float | None
    high: float | None
    verdict: Verdict
    days: int
    block_days: int


def block_length(days: int) -> int:
    """Days in a block: the nearest whole of the cube root, at least one."""
    return max(1, round(math.cbrt(days)))


@lru_cache(maxsize=8)
def draws(days: int, seed: int = SEED) -> Floats:
    """How often each day is in each resample, (RESAMPLES, days); every metric of a comparison shares them."""
    block = block_length(days)
    blocks = -(-days // block)
    start = np.random.Generator(np.random.PCG64(seed)).integers(0, days, size=(RESAMPLES, blocks))
    drawn = ((start[:, :, None] + np.arange(block)) % days).reshape(RESAMPLES, -1)[:, :days]
    flat = (np.arange(RESAMPLES)[:, None] * days + drawn).reshape(-1)
    counts = np.bincount(flat, minlength=RESAMPLES * days).reshape(RESAMPLES, days).astype(np.float64)
    counts.flags.writeable = False
    return counts


def compare(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    a_per: npt.ArrayLike | None = None,
    b_per: npt.ArrayLike | None = None,
    seed: int = SEED,
) -> Difference:
    """The difference b − a of two runs' values a day, one row a day, the same days in both.

    With `a_per` and `b_per`, of ratios: Σa/Σa_per, as the mean wait is the waits of all days over their jobs.
    Without, of the mean day. Raises ValueError where the days do not pair or a value is not finite.
    """
    left, right = _column(a), _column(b)
    ones = np.ones_like(left)
    left_per = ones if a_per is None else _column(a_per)
    right_per = ones if b_per is None else _column(b_per)
    if not left.shape == right.shape == left_per.shape == right_per.shape:
        raise ValueError("days do not pair")
    days = len(left)
    block = block_length(days)
    if not left_per.sum() or not right_per.sum():
        return Difference(None, None, None, "too short" if days < LEAST_DAYS else "no effect", days, block)
    mean = float(right.sum() / right_per.sum() - left.sum() / left_per.sum())
    if days < LEAST_DAYS:
        return Difference(mean, None, None, "too short", days, block)
    low, high = _interval(draws(days, seed), left, right, left_per, right_per)
    verdict: Verdict = "less" if high < 0 else "more" if low > 0 else "no effect"
    return Difference(mean, low, high, verdict, days, block)


def _interval(counts: Floats, a: Floats, b: Floats, a_per: Floats, b_per: Floats) -> tuple[float, float]:
    """The middle 95 % of the resampled differences; a resample without anything to divide by says nothing."""
    below = counts @ a_per, counts @ b_per
    some = (below[0] != 0) & (below[1] != 0)
    resampled = (counts @ b)[some] / below[1][some] - (counts @ a)[some] / below[0][some]
    low, high = np.quantile(resampled, (0.025, 0.975))
    return float(low), float(high)


def _column(values: npt.ArrayLike) -> Floats:
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1 or not np.isfinite(column).all():
        raise ValueError("a value a day, each finite")
    return column
