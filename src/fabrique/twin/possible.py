"""How much of the possible saving a schedule reached: the bound on the jobs that it and the first one end in time.

A job may run from its submission to the latest of three instants: its end in the first schedule, the end of its run
once it was put off as long as it may be, and the end of that run at the slowest level it tolerates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from fabrique.core.admission import tables as t
from fabrique.core.admission.tables import NONE, PPM, UNLIMITED, Ints
from fabrique.core.energy import Window
from fabrique.core.units import HOUR_MS
from fabrique.twin import bound
from fabrique.twin.books import cap_courses, least
from fabrique.twin.bound import Bound
from fabrique.twin.study import Run, Study
from fabrique.twin.weather import Actual
from fabrique.twin.world import World

Quantity = Literal["carbon", "cost"]
SOLVER_S: Final = 30.0
_MOST_COLUMNS: Final = 60_000  # above it, slots are made longer
_NO_LIMIT_W: Final = 10**12
_BLOCKS_H: Final = (1, 2, 3, 4, 6, 8, 12, 24, 48, 96, 168)


@dataclass(frozen=True, slots=True, kw_only=True)
class Possible:
    """`bound` of the `jobs` that both schedules end in time; None where the values aren't known.

    `saving` of the jobs' own energy against the first schedule, in mg or micro-currency; `reached_permille` of what
    was possible (None: nothing was, or nobody knows). `slot_hours`: how many hours a slot of the programme may hold, at
    the least value of them: a bound still, a little looser.
    """

    quantity: Quantity
    jobs: int
    saving: int | None
    bound: Bound | None
    slot_hours: int
    reached_permille: int | None

    def as_json(self) -> dict[str, object]:
        found = self.bound
        return {
            "jobs": self.jobs,
            "baseline": None if found is None else found.baseline,
            "optimum": None if found is None else found.optimum,
            "possible_saving": None if found is None else found.saving,
            "saving": self.saving,
            "reached_permille": self.reached_permille,
            "status": "unknown values" if found is None else found.status,
            "gap_ppm": None if found is None else found.gap_ppm,
            "slot_hours": self.slot_hours,
            "columns": 0 if found is None else found.columns,
            "solve_s": None if found is None else found.seconds,
        }


def possible(first: Run, other: Run, quantity: Quantity, time_limit_s: float = SOLVER_S) -> Possible:
    """What `other` reached of the saving that was possible over `first`; both replayed the same jobs."""
    costs = [_costs(run, quantity) for run in (first, other)]
    levels = first.study.world(replace(first.rules, watts="levels"))
    deadline = _deadlines(first, levels)
    in_time = (first.replay.end_ms != NONE) & (other.replay.end_ms != NONE) & (other.replay.end_ms <= deadline)
    jobs = int(in_time.sum())
    if costs[0] is None or costs[1] is None:
        return Possible(quantity=quantity, jobs=jobs, saving=None, bound=None, slot_hours=0, reached_permille=None)
    baseline, own = (int(cost[in_time].sum()) for cost in costs if cost is not None)
    asked = _asked(levels, in_time, deadline[in_time])
    slots, hours = _programme(first, quantity, asked)
    found = bound.solve(slots, asked, baseline, time_limit_s)
    reached = bound.reached(baseline - own, found.saving)
    return Possible(
        quantity=quantity, jobs=jobs, saving=baseline - own, bound=found, slot_hours=hours, reached_permille=reached
    )


def _costs(run: Run, quantity: Quantity) -> Ints | None:
    return run.books.job_carbon_mg if quantity == "carbon" else run.books.job_cost


# --- jobs ---------------------------------------------------------------------------------------------------------
def _deadlines(first: Run, levels: World) -> Ints:
    """By job; see the module."""
    trace, world = first.study.trace, first.replay.world
    slack = np.maximum(trace.slack_ms[world.rows], 0)
    speed, _ = _options(levels)
    slowest = -(-levels.left_ms * PPM // np.maximum(speed.min(axis=1), 1))
    latest: Ints = np.maximum(first.replay.end_ms, world.submit_ms + slack + slowest)
    return latest


def _options(levels: World) -> tuple[Ints, Ints]:
    """By job and option: speed in ppm of the reference device, mean mW of one device; the first one fills up."""
    profile = levels.state.profile
    first, end = profile[:, t.PROFILE_FIRST], profile[:, t.PROFILE_END]
    wide = int((end - first).max(initial=1))
    column = first[:, None] + np.arange(wide)
    rows = np.where(column < end[:, None], column, first[:, None])[levels.state.job[:, t.JOB_PROFILE]]
    return levels.speed[rows], levels.draw_mw[rows]


def _asked(levels: World, rows: npt.NDArray[np.bool_], deadline: Ints) -> bound.Jobs:
    """Work in ms at the fastest option; the others are columns beside it."""
    speed, draw = (table[rows] for table in _options(levels))
    order = np.argsort(-speed, axis=1, kind="stable")
    speed, draw = np.take_along_axis(speed, order, 1), np.take_along_axis(draw, order, 1)
    top = speed[:, 0]
    milli = levels.state.need[rows, 0]
    work = levels.left_ms[rows] * PPM // np.maximum(top, 1) * milli // 1000
    rate = -(-speed[:, 1:] * 1000 // np.maximum(top, 1)[:, None])  # rounded up: a bound must never ask too much
    release = levels.submit_ms[rows]
    return bound.Jobs(
        release_ms=release,
        deadline_ms=deadline,
        work_ms=np.minimum(work, milli * np.maximum(deadline - release, 0) // 1000),
        milli_devices=milli,
        watts=draw[:, 0] // 1000,
        rate_permille=rate if rate.shape[1] else None,
        level_watts=draw[:, 1:] // 1000 if rate.shape[1] else None,
    )


def _programme(first: Run, quantity: Quantity, asked: bound.Jobs) -> tuple[bound.Slots, int]:
    """Slots as fine as keep the programme small, and how many hours each may hold."""
    levels = 1 if asked.rate_permille is None else 1 + asked.rate_permille.shape[1]
    whole = _hours(first, quantity, int(asked.deadline_ms.max(initial=0)))
    slots, hours = whole, 1
    for hours in _BLOCKS_H:
        slots = _blocks(whole, hours)
        if _columns(slots, asked) * levels <= _MOST_COLUMNS:
            break
    return slots, hours


def _columns(slots: bound.Slots, jobs: bound.Jobs) -> int:
    """As `bound.solve` groups them."""
    first = np.searchsorted(slots.edges_ms, np.maximum(jobs.release_ms, slots.edges_ms[0]), side="right") - 1
    end = np.searchsorted(slots.edges_ms, np.minimum(jobs.deadline_ms, slots.edges_ms[-1]), side="left")
    span = slots.edges_ms[-1] - slots.edges_ms[0]
    length = -(-jobs.work_ms * 1000 * len(slots.value) // (jobs.milli_devices * span))
    keys = np.unique(np.column_stack([first, end, length, jobs.watts]), axis=0)
    return int((keys[:, 1] - keys[:, 0]).sum())


# --- slots --------------------------------------------------------------------------------------------------------
def _hours(first: Run, quantity: Quantity, end_ms: int) -> bound.Slots:
    """Hours until the last deadline. Sites count as the best of them."""
    study, start = first.study, first.books.from_ms
    weathers = study.weathers(Window(start, max(end_ms, start + HOUR_MS)))
    courses = [weather.actual for weather in weathers if weather is not None]
    values = np.min([_value(course, quantity) for course in courses], axis=0)
    edges = courses[0].start_ms + np.arange(len(values) + 1, dtype=np.int64) * courses[0].step_ms
    devices = np.full(len(values), study.fleet.milli_devices, np.int64)
    return bound.Slots(edges_ms=edges, milli_devices=devices, watts=_watts(study, edges), value=values)


def _blocks(hours: bound.Slots, each: int) -> bound.Slots:
    """So many hours in one slot, at the least value of them; then neighbours of one value are one slot."""
    starts = np.arange(0, len(hours.value), each)
    least_value = np.minimum.reduceat(hours.value, starts)
    rows = starts[np.flatnonzero(np.diff(least_value, prepend=least_value[0] - 1))]
    counts = np.diff(np.append(rows, len(hours.value)))
    return bound.Slots(
        edges_ms=np.append(hours.edges_ms[rows], hours.edges_ms[-1]),
        milli_devices=hours.milli_devices[rows],
        watts=-(-np.add.reduceat(hours.watts, rows) // counts),
        value=np.minimum.reduceat(hours.value, rows),
    )


def _value(course: Actual, quantity: Quantity) -> Ints:
    """Per kWh; prices are given per MWh, and rounded down: a bound must never be too high."""
    return course.intensity if quantity == "carbon" or course.price is None else course.price // 1000


def _watts(study: Study, edges: Ints) -> Ints:
    """What all caps together leave above the idle draw in each slot."""
    found = np.zeros(len(edges) - 1, np.int64)
    for site, course in zip(study.fleet.sites, cap_courses(study.fleet), strict=True):
        cap = least(course, edges) // 1000
        found += np.where(cap >= UNLIMITED // 1000, _NO_LIMIT_W, cap - site.base_w)
    return found
