"""What a replay drew, emitted and cost, slot by slot, with the idle draw: by what the grid *was*, never by a forecast.

A job's own part is its energy above idle at the mean of the values over its time from start to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fabrique.core.admission.tables import NONE, UNLIMITED, Ints
from fabrique.core.energy import Window
from fabrique.core.units import HOUR_MS, MJ_PER_KWH, divide
from fabrique.twin.fleet import Domain, Fleet, steps
from fabrique.twin.replay import Replay
from fabrique.twin.sweep import Level, above, level, per_slot
from fabrique.twin.weather import Actual, Weather

MJ_PER_MWH = 1000 * MJ_PER_KWH


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Slots [edges_ms[i], edges_ms[i + 1]) hold [from_ms, until_ms): the first submission, the last end.

    Tables are (sites, slots); power is at the meter, idle draw included. None: not known, for want of a grid zone, a
    price, or a machine whose draw anyone knows. `cap_mw` is the least in the slot, UNLIMITED where none holds.
    Carbon in mg CO2e, cost in micro-units of `currency`.
    """

    from_ms: int
    until_ms: int
    edges_ms: Ints
    jobs_mj: Ints | None
    idle_mj: Ints | None
    peak_mw: Ints | None
    cap_mw: Ints
    over_mj: Ints | None
    carbon_mg: Ints | None
    cost: Ints | None
    currency: str | None
    job_carbon_mg: Ints | None
    job_cost: Ints | None

    @property
    def energy_mj(self) -> Ints | None:
        return None if self.jobs_mj is None or self.idle_mj is None else self.jobs_mj + self.idle_mj


def span(replay: Replay) -> Window | None:
    """From the first submission to the last end (the last submission, where that is later); None without jobs."""
    submit = replay.world.submit_ms
    if not len(submit):
        return None
    return Window(int(submit[0]), max(int(submit[-1]) + 1, int(replay.end_ms.max())))


def books(fleet: Fleet, replay: Replay, weathers: Sequence[Weather | None]) -> Books:
    """The books of a replay on `fleet`; `weathers` by site, each covering the replay's `span`."""
    whole = span(replay) or Window(0, 1)
    slot_ms = replay.slot_ms or HOUR_MS
    first, last = whole.start_ms // slot_ms, -(-whole.end_ms // slot_ms)
    edges = np.arange(first, last + 1, dtype=np.int64) * slot_ms
    caps = cap_courses(fleet)
    drawn = _draws(fleet) and bool(replay.slot_ms)
    jobs_mj = _fitted(replay.slot_mj, len(edges) - 1) if drawn else None
    idle_mj = _idle(fleet, whole, edges) if drawn else None
    base = np.array([[site.base_w * 1000] for site in fleet.sites], np.int64)
    actual = [None if weather is None else weather.actual for weather in weathers]
    energy = None if jobs_mj is None or idle_mj is None else jobs_mj + idle_mj
    currencies = {weather.currency for weather in weathers if weather is not None}
    return Books(
        from_ms=whole.start_ms,
        until_ms=whole.end_ms,
        edges_ms=edges,
        jobs_mj=jobs_mj,
        idle_mj=idle_mj,
        peak_mw=_fitted(replay.peak_mw, len(edges) - 1) + base if drawn else None,
        cap_mw=np.array([least(course, edges) for course in caps], np.int64).reshape(len(caps), -1),
        over_mj=_over(fleet, replay, caps, edges),
        carbon_mg=_valued(energy, actual, "intensity", edges, MJ_PER_KWH),
        cost=_valued(energy, actual, "price", edges, MJ_PER_MWH) if len(currencies) == 1 else None,
        currency=currencies.pop() if len(currencies) == 1 else None,
        job_carbon_mg=_of_jobs(replay, actual, "intensity", MJ_PER_KWH) if drawn else None,
        job_cost=_of_jobs(replay, actual, "price", MJ_PER_MWH) if drawn and len(currencies) < 2 else None,
    )


# --- energy -------------------------------------------------------------------------------------------------------
def _draws(fleet: Fleet) -> bool:
    """Whether anybody knows what the fleet draws: a bare machine of processors has no power."""
    paces = (pace for place in fleet.places for levels in place.paces.values() for pace in levels)
    return any(site.base_w for site in fleet.sites) or any(pace.draw_mw for pace in paces)


def _fitted(table: Ints, slots: int) -> Ints:
    """The first `slots` columns; zeros where the replay had none."""
    kept = table[:, :slots]
    return np.concatenate([kept, np.zeros((len(kept), slots - kept.shape[1]), np.int64)], axis=1)


def _idle(fleet: Fleet, whole: Window, edges: Ints) -> Ints:
    overlap = np.minimum(edges[1:], whole.end_ms) - np.maximum(edges[:-1], whole.start_ms)
    idle: Ints = np.array([site.base_w for site in fleet.sites], np.int64)[:, None] * overlap
    return idle


# --- caps ---------------------------------------------------------------------------------------------------------
def cap_courses(fleet: Fleet) -> list[Level]:
    """By site, its own cap as `_course` tells it."""
    tops = [next(d for d in fleet.domains if d.site == site.id and d.parent is None) for site in fleet.sites]
    return [_course(domain) for domain in tops]


def _course(domain: Domain) -> Level:
    """The cap that held at each instant, as known then; mW at the meter, idle draw included."""
    rows = steps(domain)
    times = sorted({0, *(row[0] for row in rows), *(row[2] for row in rows)})
    value = [next((mw for at, mw, known in reversed(rows) if at <= t and known <= t), UNLIMITED) for t in times]
    base = domain.base_w * 1000
    return Level(np.array(times, np.int64), np.array([mw if mw == UNLIMITED else mw + base for mw in value], np.int64))


def least(course: Level, edges: Ints) -> Ints:
    """The least of a course in each slot."""
    begin = np.searchsorted(course.at_ms, edges[:-1], side="right") - 1
    end = np.searchsorted(course.at_ms, edges[1:], side="left")
    pairs = zip(np.maximum(begin, 0).tolist(), end.tolist(), strict=True)
    return np.array([course.value[a : max(b, a + 1)].min() for a, b in pairs], np.int64)


def _over(fleet: Fleet, replay: Replay, caps: Sequence[Level], edges: Ints) -> Ints | None:
    """mJ above the caps. Rules that don't count power don't either; then the runs tell, if none was stopped midway."""
    world, slots = replay.world, len(edges) - 1
    if len(world.state.domain):
        return _fitted(replay.over_mj, slots)
    if not any(domain.limits for domain in fleet.domains):
        return np.zeros((len(fleet.sites), slots), np.int64)
    if replay.preemptions.any():
        return None
    ran = (replay.start_ms != NONE) & (replay.end_ms != NONE)
    option = replay.option[ran]
    draw = world.state.need[ran, 0] * world.draw_mw[option] // 1000
    found = []
    for site, course in enumerate(caps):
        here = world.site_of_option[option] == site
        drawn = level(replay.start_ms[ran][here], replay.end_ms[ran][here], draw[here])
        base = fleet.sites[site].base_w * 1000
        limit = Level(course.at_ms, np.where(course.value == UNLIMITED, UNLIMITED, course.value - base))
        found.append(per_slot(above(drawn, limit), edges) // 1000)
    return np.array(found, np.int64)


# --- carbon and money ---------------------------------------------------------------------------------------------
def _values(actual: Actual, quantity: str) -> Ints | None:
    found: Ints | None = getattr(actual, quantity)
    return found


def _valued(energy: Ints | None, actual: Sequence[Actual | None], quantity: str, edges: Ints, per: int) -> Ints | None:
    """Energy × what the grid was, in whole units; rounded from the running total, so that the slots add up."""
    if energy is None:
        return None
    rows = []
    for site, course in enumerate(actual):
        values = None if course is None else _values(course, quantity)
        if course is None or values is None:
            return None
        step = (edges[:-1] - course.start_ms) // course.step_ms
        rows.append(_rounded(energy[site].tolist(), values[step].tolist(), per))
    return np.array(rows, np.int64)


def _rounded(amounts: list[int], values: list[int], per: int) -> list[int]:
    total, said = 0, [0]
    for amount, value in zip(amounts, values, strict=True):
        total += amount * value
        said.append(divide(total, per))
    return [after - before for before, after in pairwise(said)]


def _of_jobs(replay: Replay, actual: Sequence[Actual | None], quantity: str, per: int) -> Ints | None:
    """By job: its energy at the time mean of the values from its start to its end; 0 for one that never ended."""
    found = np.zeros(len(replay.world), np.int64)
    ran = replay.end_ms != NONE
    site_of = replay.world.site_of_option[np.maximum(replay.option, 0)] if len(replay.world.draw_mw) else found
    for site, course in enumerate(actual):
        values = None if course is None else _values(course, quantity)
        if course is None or values is None:
            return None
        here = ran & (site_of == site)
        start, end = replay.start_ms[here], replay.end_ms[here]
        mean = time_mean(values, course.start_ms, course.step_ms, start, end)
        found[here] = np.rint(replay.energy_mj[here] * mean / per).astype(np.int64)
    return found


def time_mean(values: Ints, start_ms: int, step_ms: int, begin: Ints, end: Ints) -> npt.NDArray[np.float64]:
    """The mean over [begin, end) of values that hold for a step each."""
    whole = np.concatenate([[0], np.cumsum(values * step_ms)])

    def upto(at: Ints) -> Ints:
        row = np.minimum((at - start_ms) // step_ms, len(values) - 1)
        found: Ints = whole[row] + values[row] * (at - start_ms - row * step_ms)
        return found

    mean = (upto(end) - upto(begin)) / np.maximum(end - begin, 1)
    return np.asarray(mean, np.float64)
