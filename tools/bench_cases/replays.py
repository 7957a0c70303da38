"""Replays: the main benchmark beside its definition, the full rules, a what-if, a year of an exascale hub."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tools.bench_cases import work
from tools.bench_cases.figure import Figure, absent, seconds, traces

if TYPE_CHECKING:
    from fabrique.core.admission.rules import Rules
    from fabrique.twin.world import World

READY_MADE: Final = ("fifo", "easy", "conservative", "fair", "static-nameplate", "static-measured", "frugal")
EXASCALE: Final = "de-jaif"  # JUPITER
YEAR_JOBS: Final = 1_000_000


# --- the main benchmark -------------------------------------------------------------------------------------------
def kth() -> Iterator[Figure]:
    """FCFS and EASY on the trace that every engine is compared on, one core."""
    if missing := absent("KTH-SP2, FCFS and EASY", work.KTH):
        yield missing
        return
    from fabrique.definitions import rules
    from fabrique.twin.fleet import bare
    from fabrique.twin.traces.reading import read
    from fabrique.twin.world import world

    trace = read(traces() / work.KTH, processors=100)
    for name, rule_set in (("FCFS", "fifo"), ("EASY", "easy")):
        yield from against_the_loop(f"KTH-SP2, {name}", world(bare(100), trace, rules.load(rule_set)))


def against_the_loop(what: str, start: World) -> Iterator[Figure]:
    """The same jobs through the decision and through the plain loop, turn by turn; every start compared."""
    from tools.plain_loop import replay as plain

    from fabrique.twin.replay import replay

    jobs = _tuples(start)
    processors = int(start.state.capacity.sum()) // 1000
    ours, theirs, wrong = [], [], 0
    for _ in range(5):
        done = replay(start)
        ours.append(done.seconds)
        found: list[int] = []
        theirs.append(seconds(lambda: found.extend(plain(jobs, processors, start.rules.backfill))))  # noqa: B023
        wrong = sum(a != b for a, b in zip(done.start_ms.tolist(), found, strict=True))
    yield Figure(
        what=f"{what}: replay",
        value=len(jobs) / min(ours),
        unit="jobs/s",
        reach="at least",
        target=1e6,
        anchor="Batsim 3,700, Alea 3,500; plain loops: Python 160,000, compiled 800,000",
    )
    yield Figure(
        what=f"{what}: times the plain Python loop",
        value=min(theirs) / min(ours),
        unit="x",
        reach="at least",
        target=6,
        note=f"the loop, in this run: {len(jobs) / min(theirs):,.0f} jobs/s",
    )
    yield Figure(what=f"{what}: starts unlike the definition's", value=wrong, unit="jobs", reach="at most", target=0)


def _tuples(start: World) -> list[tuple[int, int, int, int]]:
    """(submit, run, processors, request), as the plain loop takes them; times in ms."""
    from fabrique.core.admission.tables import JOB_WALLTIME

    need = start.state.need[:, 0] // 1000
    columns = (start.submit_ms, start.left_ms, need, start.state.job[:, JOB_WALLTIME])
    return list(zip(*(column.tolist() for column in columns), strict=True))


# --- the full rules -----------------------------------------------------------------------------------------------
def frugal() -> Iterator[Figure]:
    """Philly on a hub under `frugal`: pools, power levels, carbon."""
    if missing := absent("Philly under frugal", work.PHILLY) or absent("Philly under frugal", work.CARBON):
        yield missing
        return
    from fabrique.definitions import rules
    from fabrique.twin.replay import replay

    for load in ("0.8", "1.3"):
        start = work.study(work.HUB, load).world(rules.load("frugal"))
        took = [replay(start) for _ in range(3)]
        done = min(took, key=lambda one: one.seconds)
        yield Figure(
            what=f"Philly on {work.HUB} under frugal, load {load}",
            value=len(start) / done.seconds,
            unit="jobs/s",
            reach="at least",
            target=100_000,
            anchor="no peer does it",
            note=f"{len(start):,} jobs, {done.steps:,} decisions, {int((done.deferred > 0).sum()):,} deferred, "
            f"{int(done.preemptions.sum()):,} preemptions",
        )


# --- what if ------------------------------------------------------------------------------------------------------
def what_if() -> Iterator[Figure]:
    """Two months of Philly under ten rule sets, with books, figures and the errors of the differences."""
    if missing := absent("what-if", work.PHILLY) or absent("what-if", work.CARBON):
        yield missing
        return
    from fabrique.twin.compare import common, differences
    from fabrique.twin.study import run

    begin = time.perf_counter()
    study, _ = common(work.study(work.HUB, None), ten())
    read_s = time.perf_counter() - begin
    begin = time.perf_counter()
    runs = [run(study, one) for one in ten()]
    told = [differences(runs[0], other) for other in runs[1:]]
    yield Figure(
        what=f"what-if: two months of Philly on {work.HUB}, {len(runs)} rule sets, with errors",
        value=time.perf_counter() - begin + read_s,
        unit="s",
        reach="at most",
        target=10,
        note=f"{read_s:.1f} s of it reading; {sum(len(one) for one in told)} differences, "
        f"replays alone {sum(one.replay.seconds for one in runs):.1f} s",
    )


def ten() -> list[Rules]:
    """The ready-made rule sets, and three that an operator might ask about."""
    from fabrique.definitions import rules

    known = [rules.load(name) for name in READY_MADE]
    base = known[-1]
    return [
        *known,
        replace(base, name="no-deferral", defer=False),
        replace(base, name="no-reclaim", reclaim=False),
        replace(base, name="bold-deferral", floor_permille=10),
    ]


# --- a year -------------------------------------------------------------------------------------------------------
def exascale() -> Iterator[Figure]:
    """A million jobs on JUPITER's accelerators, in a process of its own, for a peak of memory that is its own."""
    if missing := absent("a year of an exascale hub", work.CARBON):
        yield missing
        return
    root = Path(__file__).parents[2]
    code = "from tools.bench_cases.replays import year; year()"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-800:])
    found = json.loads(done.stdout.splitlines()[-1])
    what = f"a year of {EXASCALE}: {found['jobs']:,} jobs, {found['devices']:,} accelerators, frugal"
    yield Figure(
        what=f"{what}: replay",
        value=found["replay_s"],
        unit="s",
        reach="at most",
        target=15,
        anchor="Alea 604 jobs/s on 1,024 processors",
        note=f"generating {found['generate_s']:.1f} s, tables {found['prepare_s']:.1f} s beside it; "
        f"utilisation {found['utilisation']:.2f}",
    )
    yield Figure(
        what=f"{what}: peak memory",
        value=found["rss_bytes"] / 2**30,
        unit="GiB",
        reach="at most",
        target=1,
        anchor="Batsim 0.7 GiB at 122,055 jobs",
    )


def year(jobs: int = YEAR_JOBS) -> None:
    """Prints one line of JSON."""
    from fabrique.definitions import rules
    from fabrique.twin.generate import generate, workload
    from fabrique.twin.replay import replay
    from fabrique.twin.study import Study, warm_up

    warm_up()
    times = [time.perf_counter()]
    trace = generate(workload("exascale").model_copy(update={"jobs": jobs}), seed=1)
    times.append(time.perf_counter())
    fleet = work.hub_fleet(EXASCALE)
    start = Study(fleet=fleet, trace=trace, grids=work.grids(fleet)).world(rules.load("frugal"))
    del trace
    times.append(time.perf_counter())
    done = replay(start)
    generated, prepared = (after - before for before, after in pairwise(times))
    print(
        json.dumps(
            {
                "jobs": len(start),
                "devices": fleet.milli_devices // 1000,
                "generate_s": generated,
                "prepare_s": prepared,
                "replay_s": done.seconds,
                "utilisation": _use(done.world, done.done_ms),
                "rss_bytes": done.peak_rss_bytes,
            }
        )
    )


def _use(start: World, done_ms: object) -> float:
    """Work done by the end of the trace over what the reference devices there could do."""
    import numpy as np

    span = int(start.submit_ms[-1] - start.submit_ms[0])
    capacity = int(start.state.capacity.sum())
    return float((start.state.need[:, 0] * np.asarray(done_ms, np.float64)).sum() / (capacity * max(span, 1)))
