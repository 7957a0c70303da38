"""Shares: Kueue's own benchmark in virtual time, and two pools of which one comes late."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from tools.bench_cases.figure import Figure

if TYPE_CHECKING:
    from fabrique.core.admission.rules import Rules
    from fabrique.twin.fleet import Fleet
    from fabrique.twin.replay import Replay
    from fabrique.twin.trace import Trace

Ints = npt.NDArray[np.int64]

COHORTS: Final = 5
QUEUES: Final = 6  # a cohort
NOMINAL: Final = 20
CLASSES: Final = ((350, 100, 200, 1, 50), (100, 500, 500, 5, 100), (50, 1_200, 1_000, 20, 200))
# jobs a queue, ms between two, ms long, asks, priority
DEVICES: Final = 256
DAYS: Final = 28
DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000


# --- Kueue's benchmark --------------------------------------------------------------------------------------------
def kueue() -> Iterator[Figure]:
    """30 queues in five cohorts; what the work alone takes is the bound."""
    from fabrique.twin.replay import replay
    from fabrique.twin.world import world

    trace = thirty_queues()
    work = sum(count * run * asks for count, _, run, asks, _ in CLASSES) * QUEUES
    bound_ms = work / (NOMINAL * QUEUES)
    for min_run_ms, how in ((0, "no minimum run, as there"), (1_000, "a minimum run of 1 s")):
        done = replay(world(cohorts(), trace, kueue_rules(min_run_ms)))
        makespan = int(done.end_ms.max() - trace.submit_ms[0])
        yield Figure(
            what=f"Kueue's benchmark, {how}: makespan over the bound",
            value=makespan / bound_ms,
            unit="x",
            reach="at most",
            target=1.05,
            anchor="351 s against 66 s",
            note=f"{makespan / 1000:.2f} s against {bound_ms / 1000:.0f} s, virtual; {done.ended:,} jobs in "
            f"{COHORTS * QUEUES} queues, {int(done.preemptions.sum()):,} preemptions; "
            f"{len(trace) / done.seconds:,.0f} jobs/s",
        )


def kueue_rules(min_run_ms: int) -> Rules:
    """Reclaim from any borrower, preempt lower priorities of the own queue; a preempted job begins anew."""
    from fabrique.core.admission.rules import Rules

    return Rules(
        name="kueue",
        pools=True,
        share_order=True,
        window_ms=60_000,
        reclaim=True,
        reclaim_any=True,
        preempt_lower=True,
        min_run_ms=min_run_ms,
    )


def cohorts() -> Fleet:
    from fabrique.twin.fleet import Pool, bare

    pools = tuple(
        Pool(id=f"c{c}q{q}", share_ppm=1, cohort=f"c{c}", borrow_ppm=5_000_000)  # 100 above 20
        for c in range(COHORTS)
        for q in range(QUEUES)
    )
    return replace(bare(NOMINAL * QUEUES * COHORTS), pools=pools)


def thirty_queues() -> Trace:
    rows = [
        (number * every, queue, run, asks, priority)
        for queue in range(COHORTS * QUEUES)
        for count, every, run, asks, priority in CLASSES
        for number in range(count)
    ]
    submit, queue, run, asks, priority = np.array(sorted(rows), np.int64).T
    names = tuple(pool.id for pool in cohorts().pools)
    return trace_of("Kueue's benchmark", names, submit + DAY_MS, run, run, asks, queue, priority)


# --- two pools ----------------------------------------------------------------------------------------------------
def two_pools() -> Iterator[Figure]:
    """Half of the machine each; one asks for all of it at first, the other for more than its half after a week."""
    from fabrique.definitions import rules
    from fabrique.twin.fleet import Pool, bare
    from fabrique.twin.replay import replay
    from fabrique.twin.world import world

    fleet = replace(bare(DEVICES), pools=(Pool(id="early", share_ppm=500_000), Pool(id="late", share_ppm=500_000)))
    trace = early_and_late()
    begin = int(trace.submit_ms[0])
    edges = np.arange(begin, begin + DAYS * DAY_MS + 1, HOUR_MS, dtype=np.int64)
    easy = in_use(replay(world(fleet, trace, rules.load("easy"), tick_ms=HOUR_MS)), edges)
    for consenting, who in ((0, "no job writes checkpoints"), (1, "every job does")):
        asked = replace(trace, preemptible=np.full(len(trace), consenting, np.int64))
        done = replay(world(fleet, asked, rules.load("frugal"), tick_ms=HOUR_MS))
        share = shares(done, edges)
        yield Figure(
            what=f"two pools 50/50, one bursting after a week, {who}: off its share",
            value=abs(1 - share[1]) * 100,
            unit="%",
            reach="at most",
            target=1,
            note=f"use over min(entitled, asked) in {DAYS} days: early {share[0]:.4f}, late {share[1]:.4f}; "
            f"{int(done.preemptions.sum())} preemptions",
        )
        used = in_use(done, edges)
        yield Figure(
            what=f"two pools 50/50, {who}: utilisation over EASY's",
            value=100 * used / easy,
            unit="%",
            reach="at least",
            target=99,
            note=f"{used:.4f} against {easy:.4f}, work lost to restarts left out",
        )


def early_and_late() -> Trace:
    """The early pool asks for 1.1 machines in the first week, then each pool for 0.6 of one."""
    random = np.random.Generator(np.random.PCG64(11))
    parts = []
    for pool, first, last, load in ((0, 0, 7, 1.1), (0, 7, DAYS, 0.6), (1, 7, DAYS, 0.6)):
        wanted = int(load * DEVICES * (last - first) * DAY_MS)
        count = wanted // HOUR_MS  # more than enough: cut below
        size = random.choice(np.array([1, 2, 4, 8]), size=count, p=[0.4, 0.3, 0.2, 0.1])
        run = np.rint(np.clip(random.lognormal(0.3, 1.0, count), 0.02, 12) * HOUR_MS).astype(np.int64)
        kept = int(np.searchsorted(np.cumsum(size * run), wanted))
        submit = np.sort(random.integers(first * DAY_MS, last * DAY_MS, kept))
        parts.append(np.stack([submit, np.full(kept, pool), run[:kept], size[:kept]]))
    rows = np.concatenate(parts, axis=1)
    submit, pool, run, size = rows[:, np.argsort(rows[0], kind="stable")]
    walltime = -(-run * 3 // 2 // 600_000) * 600_000
    return trace_of("two pools", ("early", "late"), submit + 20_000 * DAY_MS, run, walltime, size, pool, 0 * submit)


def shares(done: Replay, edges: Ints) -> list[float]:
    """By pool, its use over what it was entitled to and asked for: min(nominal, asked), slot by slot."""
    from fabrique.core.admission import tables as t
    from fabrique.twin.sweep import level, per_slot

    start = done.world
    need = start.state.need[:, 0]
    found = []
    for pool, nominal in enumerate(start.state.pool[:, t.POOL_NOMINAL].tolist()):
        mine = start.pool_of == pool
        asked = per_slot(level(start.submit_ms[mine], done.end_ms[mine], need[mine]), edges)
        used = done.pool_work[pool, : len(edges) - 1]
        found.append(float(used.sum() / np.minimum(asked, nominal * np.diff(edges)).sum()))
    return found


def in_use(done: Replay, edges: Ints) -> float:
    """Work done by the end of the window, lost work excluded, over what the machine could do."""
    work = float((done.world.state.need[:, 0] * done.done_ms).sum())
    return work / (int(done.world.state.capacity.sum()) * int(edges[-1] - edges[0]))


def trace_of(
    name: str,
    pools: tuple[str, ...],
    submit: Ints,
    run: Ints,
    walltime: Ints,
    devices: Ints,
    pool: Ints,
    priority: Ints,
) -> Trace:
    """Jobs of whole devices that consent to nothing."""
    from fabrique.twin.trace import Trace

    zeros = np.zeros(len(submit), np.int64)
    columns: dict[str, Any] = {
        "number": np.arange(1, len(submit) + 1, dtype=np.int64),
        "submit_ms": submit,
        "run_ms": run,
        "walltime_ms": walltime,
        "milli_devices": devices * 1000,
        "pool": pool,
        "project": pool,
        "priority": priority,
        "preemptible": zeros,
        "slack_ms": zeros - 1,
        "after": zeros - 1,
    }
    columns |= dict.fromkeys(("nodes", "work_class", "tolerance_permille"), zeros)
    return Trace(source=name, digest="", projects=pools, pools=pools, work_classes=("any",), **columns)
