"""The bound: the least carbon, or money, that any schedule of these jobs could have cost, known only afterwards.

A linear programme that knows every job and every value beforehand, may pause anything at any instant for nothing and
run fractions of it: what no schedule beats. Pools are left out of it. HiGHS solves it by interior point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from fabrique.core.units import HOUR_MS

if TYPE_CHECKING:
    from highspy import HighsLp

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_WHOLE = 1000  # permille; also milli-devices of a device, watts of a kilowatt
_OUTSIDE = "outside the grid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """Slots [edges_ms[s], edges_ms[s+1]) with capacity (milli-devices), cap (W) and value (mg or micro-currency per
    kWh).

    A value may be negative. The watts under the cap are those the jobs' watts are given in: at the device or at the
    meter.
    """

    edges_ms: Ints
    milli_devices: Ints
    watts: Ints
    value: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """Jobs that may run within [release_ms, deadline_ms); `deadline_ms` -1: by the end of the slots.

    `work_ms` is device-milliseconds at the top level, `milli_devices` the width, `watts` the draw of one device at
    the top level. Lower power levels are columns: `rate_permille[j, l]` of the top level's speed at `level_watts[j,
    l]`.
    """

    release_ms: Ints
    deadline_ms: Ints
    work_ms: Ints
    milli_devices: Ints
    watts: Ints
    rate_permille: Ints | None = None
    level_watts: Ints | None = None

    def levels(self) -> tuple[Ints, Ints]:
        """(rates, watts) with the top level first, one row a job."""
        top = np.full((len(self.watts), 1), _WHOLE, np.int64), self.watts.reshape(-1, 1)
        if self.rate_permille is None or self.level_watts is None:
            return top
        return np.hstack([top[0], self.rate_permille]), np.hstack([top[1], self.level_watts])


@dataclass(frozen=True, slots=True)
class Bound:
    """`optimum` and `baseline` in values (mg or micro-currency); None where the programme has no answer.

    `status`: optimal, infeasible, or what HiGHS says; `gap_ppm` is what is left between primal and dual, for an
    optimum that is a bound to within it.
    """

    optimum: int | None
    baseline: int
    status: str
    seconds: float
    gap_ppm: int
    columns: int
    kwh: Floats = field(default_factory=lambda: np.zeros(0), compare=False)  # of the optimum, a slot

    @property
    def saving(self) -> int | None:
        """What could have been saved of the baseline."""
        return None if self.optimum is None else self.baseline - self.optimum


def spent(slots: Slots, start_ms: Ints, end_ms: Ints, watts: Ints) -> int:
    """What runs over [start, end) at `watts` (of the whole run) cost, rounded down to a whole value; exact before that.

    Raises ValueError for a run that leaves the slots.
    """
    if len(start_ms) and (start_ms.min() < slots.edges_ms[0] or end_ms.max() > slots.edges_ms[-1]):
        raise ValueError(_OUTSIDE)
    total = [0]
    for value, length in zip(slots.value.tolist(), np.diff(slots.edges_ms).tolist(), strict=True):
        total.append(total[-1] + value * length)
    cost = 0
    for at, sign in ((end_ms, 1), (start_ms, -1)):
        slot = np.clip(np.searchsorted(slots.edges_ms, at, side="right") - 1, 0, len(slots.value) - 1)
        within = slots.value[slot] * (at - slots.edges_ms[slot])
        cost += sign * sum(
            w * (total[s] + x) for w, s, x in zip(watts.tolist(), slot.tolist(), within.tolist(), strict=True)
        )
    return cost // (HOUR_MS * _WHOLE)


def reached(saving: int, possible: int | None) -> int | None:
    """Permille of the possible saving that was reached; None where there was nothing to save.

    Both are counted on the same jobs: those that the compared schedule and the baseline both end in time, within the
    windows that the bound was given. What a late job saves is no saving.
    """
    if possible is None or possible <= 0:
        return None
    return saving * _WHOLE // possible


def solve(slots: Slots, jobs: Jobs, baseline: int, time_limit_s: float = 600.0) -> Bound:
    """The bound of `jobs` over `slots`, beside a `baseline` (see `spent`) that ran the same jobs.

    Jobs that share first and last slot, levels, and length in slots are one wider job: that asks less of a schedule, so
    the answer stays a bound, and months of a trace stay small enough.
    """
    began = perf_counter()
    groups = _group(slots, jobs)
    if groups is None:
        return Bound(None, baseline, "infeasible", perf_counter() - began, 0, 0)
    if not len(groups.first):
        return Bound(0, baseline, "optimal", perf_counter() - began, 0, 0)
    programme, slot, watts = _programme(slots, groups)
    columns = len(slot)
    solver, status = _run(programme, "ipm", time_limit_s)
    if status == "unknown":  # interior point stalls now and then on degenerate programmes: a vertex is found instead
        solver, status = _run(programme, "simplex", time_limit_s)
    seconds = perf_counter() - began
    if status != "optimal":
        return Bound(None, baseline, status, seconds, 0, columns)
    kwh = np.zeros(len(slots.value))
    np.add.at(kwh, slot, np.asarray(solver.getSolution().col_value) * watts)
    primal = solver.getObjectiveValue()
    gap = max(solver.getInfo().primal_dual_objective_error, 0.0)
    return Bound(
        math.floor(primal - gap * (1 + abs(primal))), baseline, status, seconds, round(gap * 1e6), columns, kwh
    )


@dataclass(frozen=True, slots=True)
class _Groups:
    """`first`, `end`: slots; `work` device-hours; `wide[g, k]`: device-hours the group may use in its
    slot first + k.
    """

    first: Ints
    end: Ints
    work: Floats
    rate: Floats
    watts: Floats
    wide: list[Floats]


def _group(slots: Slots, jobs: Jobs) -> _Groups | None:
    """Jobs made into wider ones, or None where one does not fit its own window."""
    edges = slots.edges_ms
    release = np.maximum(jobs.release_ms, edges[0])
    deadline = np.where(jobs.deadline_ms < 0, edges[-1], np.minimum(jobs.deadline_ms, edges[-1]))
    if np.any(jobs.work_ms * _WHOLE > jobs.milli_devices * np.maximum(deadline - release, 0)):
        return None
    some = jobs.work_ms > 0
    release, deadline = release[some], deadline[some]
    work, milli = jobs.work_ms[some], jobs.milli_devices[some]
    rate, watts = (columns[some] for columns in jobs.levels())
    first = np.searchsorted(edges, release, side="right") - 1
    end = np.searchsorted(edges, deadline, side="left")
    length = -(-work * _WHOLE * len(slots.value) // (milli * (edges[-1] - edges[0])))
    key = np.column_stack([first, end, length, rate, watts])
    _, group = np.unique(key, axis=0, return_inverse=True)
    group = group.reshape(-1)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    wide = []
    for rows in np.split(order, starts[1:]) if len(order) else []:
        here = np.arange(first[rows[0]], end[rows[0]])
        overlap = np.minimum(deadline[rows, None], edges[here + 1]) - np.maximum(release[rows, None], edges[here])
        wide.append((overlap * milli[rows, None]).sum(axis=0) / (_WHOLE * HOUR_MS))
    head = order[starts] if len(order) else order
    hours = np.bincount(group, work) / HOUR_MS
    return _Groups(first[head], end[head], hours, rate[head] / _WHOLE, watts[head] / _WHOLE, wide)


def _programme(slots: Slots, groups: _Groups) -> tuple[HighsLp, Ints, Floats]:
    """(programme, slots and kW of its columns). Columns: device-hours of (group, slot, level). Rows: a
    group's work, its width in a slot, capacity, power.
    """
    from highspy import HighsLp, MatrixFormat

    spans, levels = groups.end - groups.first, groups.rate.shape[1]
    owner = np.repeat(np.arange(len(spans)), spans)
    cell = np.arange(len(owner))
    slot = groups.first[owner] + cell - np.repeat(np.cumsum(spans) - spans, spans)
    wide = np.concatenate([*groups.wide, np.zeros(0)])
    hours = np.diff(slots.edges_ms) / HOUR_MS
    count, cells, length = len(spans), len(owner), len(hours)
    widths = cells if levels > 1 else 0  # with one level, the width is the column's own limit
    rows = [owner, count + widths + slot, count + widths + length + slot]
    if widths:
        rows.insert(1, count + cell)
    programme = HighsLp()
    watts = groups.watts[owner].reshape(-1)
    entries = [groups.rate[owner].reshape(-1), np.ones(cells * levels), watts]
    if widths:
        entries.insert(1, np.ones(cells * levels))
    programme.num_col_ = cells * levels
    programme.num_row_ = count + widths + 2 * length
    programme.col_cost_ = watts * np.repeat(slots.value[slot].astype(np.float64), levels)
    programme.col_lower_ = np.zeros(cells * levels)
    programme.col_upper_ = np.repeat(wide, levels)
    capacity = np.concatenate(
        [wide if widths else np.zeros(0), slots.milli_devices / _WHOLE * hours, slots.watts / _WHOLE * hours]
    )
    programme.row_lower_ = np.concatenate([groups.work, np.full(len(capacity), -np.inf)])
    programme.row_upper_ = np.concatenate([groups.work, capacity])
    matrix = programme.a_matrix_
    matrix.format_ = MatrixFormat.kColwise
    matrix.start_ = np.arange(0, len(rows) * cells * levels + 1, len(rows)).astype(np.int32)
    matrix.index_ = np.column_stack([np.repeat(r, levels) for r in rows]).reshape(-1).astype(np.int32)
    matrix.value_ = np.column_stack(entries).reshape(-1)
    return programme, np.repeat(slot, levels), watts


def _run(programme: HighsLp, method: str, time_limit_s: float) -> tuple[Any, str]:
    """HiGHS after its run, and its status: no crossover, one thread and one seed, so that it answers the same twice."""
    from highspy import Highs

    solver = Highs()  # type: ignore[no-untyped-call]
    for option, value in (
        ("output_flag", False),
        ("solver", method),
        ("run_crossover", "off"),
        ("threads", 1),
        ("random_seed", 1),
        ("time_limit", time_limit_s),
    ):
        solver.setOptionValue(option, value)
    solver.passModel(programme)
    solver.run()
    return solver, solver.modelStatusToString(solver.getModelStatus()).lower()
