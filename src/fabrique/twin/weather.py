"""The grid during a replay: the decision sees the `forecast`, the books the `actual`.

The two are of two types with nothing that turns one into the other. Where no forecast was published, the expected value
of a step is what was a day before (persistence), never what was then.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from fabrique.core.carbon import Factor
from fabrique.core.energy import Window
from fabrique.core.errors import FabriqueError
from fabrique.core.units import HOUR_MS
from fabrique.definitions import zones
from fabrique.grid.known import Known
from fabrique.grid.series import Quantity, Series

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

DAY_MS: Final = 24 * HOUR_MS
_WEEK_MS: Final = 7 * DAY_MS
_WEEKS_A_YEAR: Final = 365.2425 / 7
_HALF_A_YEAR: Final = 26  # weeks
_MOST_STEPS: Final = 4_000_000  # a century of quarters of an hour


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Values on one step grid: row i holds over [start_ms + i × step_ms, that + step_ms), UTC epoch milliseconds.

    `intensity` is mg CO2e per kWh, `price` micro-units of a currency per MWh (None: not known).
    """

    start_ms: int
    step_ms: int
    intensity: Ints
    price: Ints | None

    def row(self, at_ms: int) -> int:
        """The row that holds at an instant. Raises IndexError outside."""
        row = (at_ms - self.start_ms) // self.step_ms
        if not 0 <= row < len(self.intensity):
            raise IndexError(f"{at_ms} lies outside")
        return row


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast(Course):
    """What was expected: the decision's.

    `horizon_ms`: who looks no further ahead of an instant meets nothing that was not known then; None: no such limit,
    as the forecast was published as one or is the same at every instant.
    """

    horizon_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Actual(Course):
    """What was: the books'."""


@dataclass(frozen=True, slots=True)
class Bridged:
    """Steps of the replay that rest on a hole filled with the value before it; `expected`: of the forecast."""

    quantity: Quantity
    expected: bool
    window: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """One zone's grid over a replay. `shifted`: whole weeks between the replay and the series, least and most.

    `digests`: the files read with their SHA-256. `said`: what a reader of the results should know.
    """

    zone: str
    currency: str | None
    forecast: Forecast
    actual: Actual
    bridged: tuple[Bridged, ...]
    shifted: tuple[int, int]
    digests: tuple[tuple[str, str], ...]
    said: tuple[str, ...]


def average(zone: str) -> Factor:
    """The yearly average of a zone, of the latest year known. Raises `grid.gap` where nobody published one."""
    found = zones.catalogue().get(zone)
    if found is None or not found.factors:
        raise FabriqueError("grid.gap", zone=zone, at_ms=None)
    return found.latest()


def weather(
    window: Window,
    intensity: Known | Factor,
    price: Known | None = None,
    *,
    zone: str,
    step_ms: int = HOUR_MS,
    shift: bool = False,
    lag_ms: int = DAY_MS,
) -> Weather:
    """The grid of `zone` over `window`, on steps aligned to the epoch; the first and the last may reach beyond it.

    `intensity` is a file's or a yearly average (flat, whatever the year). With `shift`, a step outside a series takes
    the value of whole weeks before or after: the nearest to whole years, so that the hour of the week and the season
    stay. `lag_ms` is how far persistence looks back, a multiple of `step_ms`: a week where the decision looks further
    ahead than a day. Raises `grid.gap` at the first step that nothing is known of, `grid.zone` for another zone's.
    """
    if step_ms <= 0 or lag_ms <= 0 or lag_ms % step_ms or not window.length_ms:
        raise ValueError("a step is above 0, the look back whole steps, a window not empty")
    start_ms = window.start_ms // step_ms * step_ms
    count = -(-(window.end_ms - start_ms) // step_ms)
    if count > _MOST_STEPS:
        raise FabriqueError("grid.gap", zone=zone, quantity="intensity", at_ms=None)
    steps = _Steps(zone, start_ms, step_ms, count, lag_ms, shift)
    carbon = _flat(steps, intensity) if isinstance(intensity, Factor) else _course(steps, intensity, "intensity")
    money = None if price is None else _course(steps, price, "price")
    courses = [carbon, *([money] if money else [])]
    horizons = [c.horizon_ms for c in courses if c.horizon_ms is not None]
    at = {"start_ms": start_ms, "step_ms": step_ms}
    return Weather(
        zone=zone,
        currency=None if price is None else price.actual.unit[1:4],
        forecast=Forecast(
            **at,
            intensity=carbon.expected,
            price=money.expected if money else None,
            horizon_ms=min(horizons, default=None),
        ),
        actual=Actual(**at, intensity=carbon.was, price=money.was if money else None),
        bridged=tuple(b for c in courses for b in c.bridged),
        shifted=(min(c.weeks[0] for c in courses), max(c.weeks[1] for c in courses)),
        digests=tuple(d for k in (intensity, price) if isinstance(k, Known) for d in k.digests),
        said=tuple(text for c in courses for text in c.said),
    )


# --- one quantity -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Steps:
    """The steps asked for, and how what lies outside a series is looked for."""

    zone: str
    start_ms: int
    step_ms: int
    count: int
    lag_ms: int
    shift: bool

    @property
    def starts(self) -> Ints:
        return self.start_ms + np.arange(self.count, dtype=np.int64) * self.step_ms


@dataclass(frozen=True, slots=True)
class _Course:
    was: Ints
    expected: Ints
    horizon_ms: int | None
    bridged: tuple[Bridged, ...]
    weeks: tuple[int, int]
    said: tuple[str, ...]


def _flat(steps: _Steps, factor: Factor) -> _Course:
    if factor.zone != steps.zone:
        raise FabriqueError("grid.zone", series=factor.zone, zone=steps.zone)
    values = np.full(steps.count, factor.mg_per_kwh, dtype=np.int64)
    text = f"intensity: {_named(factor)}, the same at every hour and expected so"
    return _Course(values, values.copy(), None, (), (0, 0), (text,))


def _course(steps: _Steps, known: Known, quantity: Quantity) -> _Course:
    """What was and what was expected of one quantity, both at the same place of their series."""
    own = known.actual
    if own.zone != steps.zone or own.quantity != quantity:
        raise FabriqueError("grid.zone", series=f"{own.zone} ({own.quantity})", zone=steps.zone)
    weeks = _weeks(own, steps.starts, steps) if steps.shift else np.zeros(steps.count, dtype=np.int64)
    at = steps.starts + weeks * _WEEK_MS
    was = _sampled(own, at, steps.step_ms)
    if not was.known.all():
        hole = int(at[np.argmin(was.known)])
        raise FabriqueError("grid.gap", zone=steps.zone, quantity=quantity, at_ms=hole)
    before, unknown = _persistence(steps, own, was)
    said = [_provenance(known, quantity), *_shift_said(quantity, weeks)]
    bridged = _windows(steps, was.bridged, quantity, expected=False)
    if known.forecast is None:
        said.append(f"{quantity}: expected as {steps.lag_ms // HOUR_MS} hours before (persistence)")
        said += _first_said(quantity, unknown)
        return _Course(was.values, before, steps.lag_ms, bridged, _range(weeks), tuple(said))
    told = _sampled(known.forecast, at, steps.step_ms)
    missing = int((~told.known).sum())
    if missing:
        said.append(f"{quantity}: {missing} steps had no published forecast and are expected by persistence")
        said += _first_said(quantity, unknown & ~told.known)
    bridged += _windows(steps, told.bridged, quantity, expected=True)
    expected = np.where(told.known, told.values, before)
    return _Course(was.values, expected, steps.lag_ms if missing else None, bridged, _range(weeks), tuple(said))


@dataclass(frozen=True, slots=True)
class _Sample:
    values: Ints
    known: Mask
    bridged: Mask


def _sampled(series: Series, starts: Ints, step_ms: int) -> _Sample:
    """The series' mean over each step, weighted by time; what it doesn't cover whole is not known."""
    if not series.steps:
        nothing = np.zeros(len(starts), dtype=np.bool_)
        return _Sample(np.zeros(len(starts), dtype=np.int64), nothing, nothing)
    begins = np.array([s.window.start_ms for s in series.steps], dtype=np.int64)
    ends = np.array([s.window.end_ms for s in series.steps], dtype=np.int64)
    own = np.array([s.value for s in series.steps], dtype=np.int64)
    last = np.searchsorted(begins, starts, side="right") - 1
    known = (last >= 0) & (starts + step_ms <= ends[last])
    values = np.where(known, own[last], 0)
    reached = (starts < ends[-1]) & (starts + step_ms > begins[0])
    for i in np.flatnonzero(~known & reached):  # steps of the series that are finer than ours, or cross them
        try:
            values[i] = series.mean(Window(int(starts[i]), int(starts[i]) + step_ms))
        except FabriqueError:
            continue
        known[i] = True
    bridged = np.zeros(len(starts), dtype=np.bool_)
    for hole in series.bridged:
        bridged |= (starts < hole.end_ms) & (starts + step_ms > hole.start_ms)
    return _Sample(values, known, bridged & known)


def _persistence(steps: _Steps, own: Series, was: _Sample) -> tuple[Ints, Mask]:
    """Each step as `lag_ms` before; where nothing is known of then, as at the first step. And where that was so."""
    starts = steps.starts[: steps.lag_ms // steps.step_ms] - steps.lag_ms  # before the replay
    weeks = _weeks(own, starts, steps) if steps.shift else np.zeros(len(starts), dtype=np.int64)
    first = _sampled(own, starts + weeks * _WEEK_MS, steps.step_ms)
    values = np.concatenate((np.where(first.known, first.values, was.values[0]), was.values))[: steps.count]
    unknown = np.concatenate((~first.known, np.zeros(steps.count, dtype=np.bool_)))[: steps.count]
    return values, unknown


def _weeks(series: Series, starts: Ints, steps: _Steps) -> Ints:
    """Whole weeks from each step to one inside the series: none, else those nearest to whole years, few years first."""
    if not series.steps:
        return np.zeros(len(starts), dtype=np.int64)
    begin, end = series.steps[0].window.start_ms, series.steps[-1].window.end_ms
    years = range(
        int((begin - int(starts[-1])) / _WEEK_MS / _WEEKS_A_YEAR) - 2,
        int((end - int(starts[0])) / _WEEK_MS / _WEEKS_A_YEAR) + 3,
    )
    by_years = sorted((round(y * _WEEKS_A_YEAR) for y in years), key=abs)
    aside = sorted(range(-_HALF_A_YEAR, _HALF_A_YEAR + 1), key=abs)
    found = np.zeros(len(starts), dtype=np.int64)
    left = (starts < begin) | (starts + steps.step_ms > end)
    for weeks in (y + a for a in aside for y in by_years):
        if not left.any():
            break
        at = starts + weeks * _WEEK_MS
        fits = left & (at >= begin) & (at + steps.step_ms <= end)
        found[fits] = weeks
        left &= ~fits
    return found


# --- what is said -------------------------------------------------------------------------------------------------


def _windows(steps: _Steps, bridged: Mask, quantity: Quantity, *, expected: bool) -> tuple[Bridged, ...]:
    """Neighbouring bridged steps as windows of the replay's own time."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], bridged.astype(np.int8), [0]))))
    times = [steps.start_ms + int(e) * steps.step_ms for e in edges]
    return tuple(Bridged(quantity, expected, Window(a, b)) for i, (a, b) in enumerate(pairwise(times)) if i % 2 == 0)


def _range(weeks: Ints) -> tuple[int, int]:
    return int(weeks.min()), int(weeks.max())


def _shift_said(quantity: Quantity, weeks: Ints) -> list[str]:
    least, most = _range(weeks)
    if not (least or most):
        return []
    by = str(least) if least == most else f"{least} to {most}"
    return [f"{quantity}: taken from other years, {by} weeks away; the hour of the week stays"]


def _first_said(quantity: Quantity, unknown: Mask) -> list[str]:
    count = int(unknown.sum())
    return [f"{quantity}: {count} steps with nothing known before are expected as the first one"] if count else []


def _provenance(known: Known, quantity: Quantity) -> str:
    like, files = known.actual.like, ", ".join(name for name, _ in known.digests)
    return f"{quantity}: {_named(like) if like else f'{known.actual.zone} ({known.actual.source})'}, {files}"


def _named(f: Factor) -> str:
    return f"{f.zone} {f.year} {f.kind} {f.scope or 'scope not published'} {f.basis} ({f.source})"
