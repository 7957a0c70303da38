"""One live decision: a hub of 64 partitions with thousands of runs and a deep queue, at drawn instants of its life."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from tools.bench_cases import work
from tools.bench_cases.figure import Figure, rank

if TYPE_CHECKING:
    from fabrique.core.admission.kernels.fast.memory import Memory
    from fabrique.twin.fleet import Fleet
    from fabrique.twin.trace import Trace

PARTITIONS: Final = 64
RUNNING: Final = 5_000
SIZES: Final = (1, 2, 4, 8)
WALLTIMES_H: Final = (1, 4, 12, 24)
POOLS: Final = 3
ROWS: Final = 4
SITE_W, ROW_W = 700, 750  # a device, above idle
PROJECTS: Final = 40
BEGIN_MS: Final = 1_750_000_000_000
INSTANTS: Final = 300


def decision() -> Iterator[Figure]:
    for pending, target_ms in ((10_000, 50), (100_000, 250)):
        yield from queue(pending, target_ms)


def queue(pending: int, target_ms: float | None, running: int = RUNNING, instants: int = INSTANTS) -> Iterator[Figure]:
    """Decisions at instants when some runs end and some jobs come; each on a copy of the same block of memory."""
    from fabrique.core.admission import tables as t

    block = full(pending, running)
    status = block.state.job[:, t.JOB_STATUS]
    runs, waits = int((status == t.RUNNING).sum()), int((status == t.READY).sum())
    shapes = len(np.unique(block.state.job[:, t.JOB_SHAPE]))
    times, started = [], 0
    for seed in range(instants):
        took, starts = one(block, seed)
        times.append(took * 1000)
        started += starts
    times.sort()
    what = f"one decision, {waits:,} pending, {runs:,} running, {PARTITIONS} partitions"
    yield Figure(
        what=f"{what}: p99",
        value=rank(times, 990),
        unit="ms",
        reach="at most",
        target=target_ms,
        note=f"p50 {rank(times, 500):.2f} ms, most {times[-1]:.2f} ms; {shapes} shapes, "
        f"{started / instants:.1f} starts a decision",
    )
    took, starts = emptied(pending, running)
    yield Figure(
        what=f"admissions of `step`, {waits + runs:,} pending on an idle hub",
        value=starts / took,
        unit="jobs/s",
        reach="at least",
        target=10_000,
        anchor="Kueue 42.7 workloads/s over its run; Slurm's stated 500",
        note=f"{starts:,} starts in {took * 1000:.0f} ms",
    )


def one(block: Memory, seed: int) -> tuple[float, int]:
    """Seconds of one decision, and its starts: up to 20 runs end a moment before, up to 20 jobs come."""
    from fabrique.core.admission import tables as t
    from fabrique.core.admission.kernels.fast import entries
    from fabrique.core.admission.kernels.fast.memory import N_STARTS

    random = np.random.Generator(np.random.PCG64(seed))
    now = BEGIN_MS + int(random.integers(1, 1_800)) * 1000
    kept = block.cells.copy()
    try:
        entries.advance(block.cells, now)
        going = np.flatnonzero(block.state.run[:, t.RUN_JOB] != t.NONE)
        for row in random.choice(going, size=min(len(going), int(random.integers(1, 21))), replace=False).tolist():
            entries.finish(block.cells, row)
        away = np.flatnonzero(block.state.job[:, t.JOB_STATUS] == t.AWAY)
        for job in away[: int(random.integers(0, 21))].tolist():
            entries.make_ready(block.cells, job)
        begin = time.perf_counter()
        entries.step(block.cells, now)
        return time.perf_counter() - begin, int(block.scratch.work[N_STARTS])
    finally:
        block.cells[:] = kept


def full(pending: int, running: int) -> Memory:
    """A hub whose `running` first jobs run, with `pending` behind them; twenty more are still to come."""
    from fabrique.core.admission import tables as t
    from fabrique.core.admission.kernels.fast import entries

    block = standing(pending, running)
    jobs = len(block.state.job)
    for job in range(jobs - 20):
        entries.make_ready(block.cells, job)
    entries.advance(block.cells, BEGIN_MS)
    entries.step(block.cells, BEGIN_MS)
    if not (block.state.job[:, t.JOB_STATUS] == t.READY).sum() >= pending // 2:
        raise RuntimeError("the hub is larger than its queue")
    return block


def emptied(pending: int, running: int) -> tuple[float, int]:
    """Seconds of the decision that fills an idle hub, and how many jobs it starts."""
    from fabrique.core.admission.kernels.fast import entries
    from fabrique.core.admission.kernels.fast.memory import N_STARTS

    block = standing(pending, running)
    for job in range(len(block.state.job)):
        entries.make_ready(block.cells, job)
    begin = time.perf_counter()
    entries.step(block.cells, BEGIN_MS)
    return time.perf_counter() - begin, int(block.scratch.work[N_STARTS])


def standing(pending: int, running: int) -> Memory:
    """Nothing has happened yet."""
    from fabrique.core.admission.kernels.fast.memory import memory
    from fabrique.definitions import rules
    from fabrique.twin.world import world

    start = world(fleet(running), jobs(pending + running + 20), replace(rules.load("frugal"), defer=False))
    return memory(start.state, start.flags)


def fleet(running: int) -> Fleet:
    """The saturated site's nodes dealt over 64 partitions in four rows; the caps of site and rows leave less than all
    at the top level, so that watts are looked at too.
    """
    from fabrique.core.admission.tables import PPM
    from fabrique.twin.fleet import Domain, Limit, Pool
    from fabrique.twin.fleet_of_hub import saturated_site

    site = saturated_site()
    each = max(8, running * sum(SIZES) * 3 // 2 // len(SIZES) // PARTITIONS // 8 * 8)
    devices = each * PARTITIONS
    top = replace(site.domains[0], base_w=0, limits=(Limit(watts=devices * SITE_W),))
    rows = tuple(
        Domain(id=f"row{i}", site="site", base_w=0, parent="site", limits=(Limit(watts=devices * ROW_W // ROWS),))
        for i in range(ROWS)
    )
    places = tuple(
        replace(site.places[0], id=f"p{i:02}", milli_devices=each * 1000, domain=f"row{i % ROWS}")
        for i in range(PARTITIONS)
    )
    pools = tuple(Pool(id=f"pool{i}", share_ppm=PPM // POOLS) for i in range(POOLS))
    return replace(site, domains=(top, *rows), places=places, pools=pools)


def jobs(count: int) -> Trace:
    """Four sizes, four walltimes, three pools, checkpoints or none: eight dozen shapes."""
    from fabrique.twin.trace import COLUMNS, Trace

    random = np.random.Generator(np.random.PCG64(7))
    columns: dict[str, Any] = {name: np.zeros(count, np.int64) for name in COLUMNS}
    columns["number"] = np.arange(1, count + 1)
    columns["submit_ms"] = np.sort(BEGIN_MS - random.integers(0, 2 * 24 * work.HOUR_MS, count))
    columns["walltime_ms"] = random.choice(np.array(WALLTIMES_H), count) * work.HOUR_MS
    columns["run_ms"] = columns["walltime_ms"] // 2
    columns["milli_devices"] = random.choice(np.array(SIZES), count) * 1000
    columns["project"] = random.integers(0, PROJECTS, count)
    columns["pool"] = columns["project"] % POOLS
    columns["preemptible"] = (columns["project"] < PROJECTS // 2).astype(np.int64)
    columns["slack_ms"], columns["after"] = np.full(count, -1), np.full(count, -1)
    return Trace(
        source="a deep queue",
        digest="",
        projects=tuple(f"p{i}" for i in range(PROJECTS)),
        pools=tuple(f"pool{i}" for i in range(POOLS)),
        work_classes=("any",),
        **{name: np.asarray(column, np.int64) for name, column in columns.items()},  # type: ignore[arg-type]
    )
