"""What a replay says, in figures: waits, slowdown, use, power, carbon, cost; in all, by group, by day and by slot.

Waits run from submission to the first start. The bounded slowdown is max(1, (end − submission) ÷ max(run, 10 s)), the
run being the one on the reference device at its top level: what a lower level takes longer counts (Feitelson et al.
1997 for the bound of 10 s). Utilisation is device time in use ÷ device time there, from the first submission to the
last, the time over which `work_done` counts; of a preempted job, the part of its time that its work takes at the
level of its last run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fabrique.core.admission.tables import NONE, PPM, Ints
from fabrique.core.units import HOUR_MS, divide
from fabrique.twin.books import Books
from fabrique.twin.fleet import Fleet
from fabrique.twin.replay import Replay
from fabrique.twin.sweep import level, per_slot
from fabrique.twin.trace import Trace

Floats = npt.NDArray[np.float64]

DAY_MS: Final = 24 * HOUR_MS
BOUND_MS: Final = 10_000
_MILLI_MS: Final = 1_000_000  # thousandths of a device × ms in a device-second


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """One row a UTC day from the first submission's on.

    By day of submission: `jobs` that ended, their `wait_s`, `slowdown` and work (`all_work`, normalised
    device-seconds), and the `work` that was done by the end of the trace.
    By the day itself, idle draw included: `energy_j`, `carbon_g`, `cost` (None: not known).
    """

    first_day: int
    jobs: Floats
    wait_s: Floats
    slowdown: Floats
    work: Floats
    all_work: Floats
    energy_j: Floats | None
    carbon_g: Floats | None
    cost: Floats | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """`figures` by the names of the documentation, as JSON values; `wait_ms` and `slowdown` by job, NONE and NaN where
    it never started or ended; `pool_work` (pools, slots of the books), normalised milli-device × ms."""

    figures: dict[str, Any]
    days: Days
    wait_ms: Ints
    slowdown: Floats
    pool_work: Ints


def summarise(fleet: Fleet, trace: Trace, replay: Replay, kept: Books) -> Summary:
    world = replay.world
    wait = np.where(replay.start_ms == NONE, NONE, replay.start_ms - world.submit_ms)
    slowdown = _slowdown(replay)
    work = world.state.need[:, 0] * replay.done_ms if len(world) else np.zeros(0, np.int64)
    lost = world.state.need[:, 0] * replay.lost_ms if len(world) else work
    figures: dict[str, Any] = {
        "rules": world.rules.name,
        "version": world.rules.version,
        "jobs": len(world),
        "unfinished": len(world) - replay.ended,
        "left_out": dict(world.dropped),
        **_waits(wait),
        "mean_bounded_slowdown": _mean(slowdown[~np.isnan(slowdown)]),
        "utilisation": _utilisation(fleet, replay),
        "work_done": int(work.sum()) // _MILLI_MS,
        "all_work": int((world.state.need[:, 0] * world.left_ms)[replay.end_ms != NONE].sum()) // _MILLI_MS,
        "lost_work": -(-int(lost.sum()) // _MILLI_MS),
        "preemptions": int(replay.preemptions.sum()),
        "deferrals": int(replay.deferred.sum()),
        **_power(replay, kept),
        "from_ms": kept.from_ms,
        "until_ms": kept.until_ms,
        **_groups(trace, replay, kept, wait, slowdown, work),
    }
    return Summary(
        figures=figures,
        days=_days(replay, kept, wait, slowdown, work),
        wait_ms=wait,
        slowdown=slowdown,
        pool_work=_pool_work(replay, kept),
    )


# --- figures ------------------------------------------------------------------------------------------------------
def _slowdown(replay: Replay) -> Floats:
    world = replay.world
    found = (replay.end_ms - world.submit_ms) / np.maximum(world.left_ms, BOUND_MS)
    return np.where(replay.end_ms == NONE, np.nan, np.maximum(found, 1.0))


def _mean(values: npt.NDArray[Any]) -> float | None:
    return float(values.sum() / len(values)) if len(values) else None


def _waits(wait: Ints) -> dict[str, float | None]:
    """Seconds; quantiles are waits that some job had (the nearest rank above)."""
    known = np.sort(wait[wait != NONE])

    def rank(permille: int) -> float | None:
        return float(known[-(-len(known) * permille // 1000) - 1] / 1000) if len(known) else None

    return {
        "mean_wait_s": int(known.sum()) / len(known) / 1000 if len(known) else None,
        "median_wait_s": rank(500),
        "p95_wait_s": rank(950),
        "p99_wait_s": rank(990),
        "max_wait_s": rank(1000),
    }


def _utilisation(fleet: Fleet, replay: Replay) -> float | None:
    world = replay.world
    span = int(world.submit_ms[-1] - world.submit_ms[0]) if len(world) else 0
    if not span:
        return None
    last = world.submit_ms[-1]
    ran = (replay.start_ms != NONE) & (replay.start_ms < last)
    start, end = replay.start_ms[ran], np.where(replay.end_ms[ran] == NONE, last, replay.end_ms[ran])
    speed = world.speed[replay.option[ran]] / PPM
    part = np.minimum(1.0, (world.left_ms + replay.lost_ms)[ran] / speed / np.maximum(end - start, 1))
    held = (np.minimum(end, last) - start) * np.where(replay.preemptions[ran] > 0, part, 1.0)
    return float((held * world.state.need[ran, 0]).sum() / (fleet.milli_devices * span))


def _power(replay: Replay, kept: Books) -> dict[str, Any]:
    """Energy of the jobs is what each drew; the slots add up to it but for less than a mJ a job and slot."""
    energy = kept.energy_mj
    jobs_mj = None if energy is None else int(replay.energy_mj.sum())
    idle_mj = None if kept.idle_mj is None else int(kept.idle_mj.sum())
    over = None if kept.over_mj is None else int(kept.over_mj.sum())
    return {
        "energy_j": None if jobs_mj is None or idle_mj is None else divide(jobs_mj + idle_mj, 1000),
        "jobs_energy_j": None if jobs_mj is None else divide(jobs_mj, 1000),
        "idle_energy_j": None if idle_mj is None else divide(idle_mj, 1000),
        "carbon_mg": None if kept.carbon_mg is None else int(kept.carbon_mg.sum()),
        "cost": None if kept.cost is None else int(kept.cost.sum()),
        "currency": kept.currency,
        "over_cap_ws": None if over is None else -(-over // 1000),
        "peak_w": None if kept.peak_mw is None else -(-int(kept.peak_mw.sum(axis=0).max(initial=0)) // 1000),
    }


# --- groups -------------------------------------------------------------------------------------------------------
def _groups(
    trace: Trace, replay: Replay, kept: Books, wait: Ints, slowdown: Floats, work: Ints
) -> dict[str, list[dict[str, Any]]]:
    """The same figures by pool of the fleet, project, work class and priority; groups without a job are left out."""
    world = replay.world
    priority = trace.priority[world.rows]
    levels = np.unique(priority)
    columns: list[tuple[str, Sequence[str], Ints]] = [
        ("pools", world.pools, world.pool_of),
        ("projects", world.projects, trace.project[world.rows]),
        ("work_classes", trace.work_classes, trace.work_class[world.rows]),
        ("priorities", [str(p) for p in levels], np.searchsorted(levels, priority).astype(np.int64)),
    ]
    values = (wait, slowdown, work, None if kept.jobs_mj is None else replay.energy_mj, kept.job_carbon_mg)
    return {name: _by(names, index, *values) for name, names, index in columns}


def _by(
    names: Sequence[str], index: Ints, wait: Ints, slowdown: Floats, work: Ints, energy: Ints | None, mg: Ints | None
) -> list[dict[str, Any]]:
    order = np.argsort(index, kind="stable")
    edges = np.searchsorted(index[order], np.arange(len(names) + 1))
    found = []
    for group, name in enumerate(names):
        rows = order[edges[group] : edges[group + 1]]
        if not len(rows):
            continue
        slow = slowdown[rows]
        waits = _waits(wait[rows])
        found.append(
            {
                "name": name,
                "jobs": len(rows),
                "mean_wait_s": waits["mean_wait_s"],
                "median_wait_s": waits["median_wait_s"],
                "p95_wait_s": waits["p95_wait_s"],
                "mean_bounded_slowdown": _mean(slow[~np.isnan(slow)]),
                "work_done": int(work[rows].sum()) // _MILLI_MS,
                "jobs_energy_j": None if energy is None else divide(int(energy[rows].sum()), 1000),
                "jobs_carbon_mg": None if mg is None else int(mg[rows].sum()),
            }
        )
    return found


# --- over time ----------------------------------------------------------------------------------------------------
def _days(replay: Replay, kept: Books, wait: Ints, slowdown: Floats, work: Ints) -> Days:
    first = kept.from_ms // DAY_MS
    count = (kept.until_ms - 1) // DAY_MS - first + 1
    day = replay.world.submit_ms // DAY_MS - first
    ended = ~np.isnan(slowdown)

    def by_submission(values: npt.NDArray[Any], rows: npt.NDArray[np.bool_]) -> Floats:
        return np.bincount(day[rows], values[rows], minlength=count).astype(np.float64)

    slot_day = np.maximum(kept.edges_ms[:-1], kept.from_ms) // DAY_MS - first

    def by_day(table: Ints | None, per: int) -> Floats | None:
        if table is None:
            return None
        return np.bincount(slot_day, table.sum(axis=0), minlength=count).astype(np.float64) / per

    return Days(
        first_day=int(first),
        jobs=by_submission(np.ones(len(day)), ended),
        wait_s=by_submission(wait / 1000, ended),
        slowdown=by_submission(slowdown, ended),
        work=by_submission(work / _MILLI_MS, np.ones(len(day), np.bool_)),
        all_work=by_submission(replay.world.state.need[:, 0] * replay.world.left_ms / _MILLI_MS, ended),
        energy_j=by_day(kept.energy_mj, 1000),
        carbon_g=by_day(kept.carbon_mg, 1000),
        cost=by_day(kept.cost, 1_000_000),
    )


def _pool_work(replay: Replay, kept: Books) -> Ints:
    """By pool and slot, what its runs used. Rules without pools book none: then no run was reclaimed, and the runs'
    own starts and ends tell."""
    world, slots = replay.world, len(kept.edges_ms) - 1
    if len(replay.pool_work) == len(world.pools) and replay.slot_ms:
        table = replay.pool_work[:, :slots]
        return np.concatenate([table, np.zeros((len(table), slots - table.shape[1]), np.int64)], axis=1)
    ran = (replay.start_ms != NONE) & (replay.end_ms != NONE)
    places = world.state.option[replay.option[ran], 0]
    weight = world.state.need[ran, 0] * world.state.place[places, 1] // PPM
    start, end, pool = replay.start_ms[ran], replay.end_ms[ran], world.pool_of[ran]
    rows = [per_slot(level(start[here], end[here], weight[here]), kept.edges_ms) for here in _each(pool, world.pools)]
    return np.array(rows, np.int64).reshape(len(world.pools), slots)


def _each(index: Ints, names: Sequence[str]) -> list[npt.NDArray[np.bool_]]:
    return [index == row for row in range(len(names))]
