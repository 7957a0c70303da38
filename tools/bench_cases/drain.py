"""What it costs to keep a wide job's start: samples of the side-by-side jobs, replayed by the twin in virtual time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from tools.bench_cases import slurm, work
from tools.bench_cases.figure import Figure, absent
from tools.bench_cases.shares import DAY_MS, trace_of

if TYPE_CHECKING:
    from fabrique.core.admission.rules import Rules

SAMPLES: Final = 24
LICENCES: Final = 1_470  # of 10 W, above what the lab's nodes draw idle
LICENCE_W: Final = 10
DEVICE_W: Final = 653  # of one of its devices and a core, at the facility meter


def drained() -> Iterator[Figure]:
    """The rules `fair` with three ways to reserve starts: work, weighted wait and share error, means of the samples."""
    from fabrique.definitions import rules

    if none := absent("a drained machine", work.PHILLY):
        yield none
        return
    fair = rules.load("fair")
    samples = [slurm.philly(slurm.JOBS, slurm.PERIOD_S, slurm.LOAD, seed) for seed in range(1, SAMPLES + 1)]
    for how, chosen in (
        ("within 15 % of what was waited", replace(fair, drain_permille=150)),
        ("at once", fair),
        ("never", replace(fair, reservations=0)),
    ):
        found = [_replayed(asks, chosen) for asks in samples]
        mean = {name: float(np.mean([getattr(o, name) for o in found])) for name in ("work", "waited", "off")}
        yield Figure(
            what=f"starts reserved {how}: work done",
            value=mean["work"],
            unit="device-s",
            note=f"{SAMPLES} samples; weighted wait {mean['waited']:,.0f} device-s; "
            f"the worse pool misses {mean['off'] * 100:.1f} % of its share",
        )


def _replayed(asks: Sequence[slurm.Ask], rules: Rules) -> slurm.Outcome:
    """In licences, as Slurm counts them; devices are never short."""
    from fabrique.twin.fleet import Pool, bare
    from fabrique.twin.replay import replay
    from fabrique.twin.world import world

    names = ("one", "other")
    fleet = replace(bare(LICENCES), pools=tuple(Pool(id=name, share_ppm=500_000) for name in names))
    rows = [(round(a.at_s * 1000), round(a.run_s * 1000), a.limit * 60_000, a.devices, a.pool) for a in asks]
    at, run, limit, devices, pool = np.array(rows, np.int64).T
    licences = -(-devices * DEVICE_W // LICENCE_W)
    trace = trace_of("the side-by-side jobs", names, at + DAY_MS, run, limit, licences, pool, np.zeros_like(pool))
    done = replay(world(fleet, trace, rules))
    times = zip(trace.submit_ms.tolist(), done.start_ms.tolist(), done.end_ms.tolist(), strict=True)
    ran = [slurm.Ran(a.pool, a.devices, a.nodes, *when) for a, when in zip(asks, times, strict=True)]
    return slurm.outcome(ran, LICENCES * LICENCE_W / DEVICE_W / 2, slurm.PERIOD_S + slurm.GRACE_S)
