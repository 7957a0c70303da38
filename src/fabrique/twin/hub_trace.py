"""The jobs that a hub ran, as a trace: what was asked, when, for how long it ran. Pure: from rows that are given."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from hashlib import sha256

import numpy as np

from fabrique.definitions.work_classes import ANY
from fabrique.twin.trace import Trace

LEAST_RUN_MS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """One job of the hub, as its tables have it.

    `run_ms` is all the time that its runs took, or would have taken at full power: 0 where it never ran, None while it
    isn't over. `milli_devices` are thousandths of a device, or of a core, of the sort that is replayed: 0 where it
    asked for another sort. `start_by_ms` is the latest start that it agreed to, `tolerance_permille` how much longer it
    may take at a lower power level.
    """

    number: int
    submitted_ms: int
    run_ms: int | None
    walltime_ms: int
    milli_devices: int
    project: str
    pool: str
    start_by_ms: int | None = None
    preemptible: bool = False
    tolerance_permille: int = 0


def hub_trace(jobs: Iterable[Past], source: str) -> Trace:
    """Jobs that ran and are over, in order of submission. `dropped` counts the others by cause."""
    kept, dropped = [], Counter[str]()
    for job in jobs:
        cause = _left_out(job)
        if cause is None:
            kept.append(job)
        else:
            dropped[cause] += 1
    kept.sort(key=lambda job: (job.submitted_ms, job.number))
    projects, pools = (sorted({getattr(job, name) for job in kept}) for name in ("project", "pool"))
    project_row, pool_row = ({name: row for row, name in enumerate(names)} for names in (projects, pools))
    runs = [max(job.run_ms or 0, LEAST_RUN_MS) for job in kept]
    still = np.zeros(len(kept), np.int64)

    def column(values: Iterable[int]) -> np.typing.NDArray[np.int64]:
        return np.fromiter(values, np.int64, len(kept))

    return Trace(
        source=source,
        digest=_digest(kept),
        projects=tuple(projects),
        pools=tuple(pools),
        work_classes=(ANY,),
        number=column(job.number for job in kept),
        submit_ms=column(job.submitted_ms for job in kept),
        run_ms=column(runs),
        walltime_ms=column(max(job.walltime_ms, run) for job, run in zip(kept, runs, strict=True)),
        milli_devices=column(job.milli_devices for job in kept),
        nodes=still,
        project=column(project_row[job.project] for job in kept),
        pool=column(pool_row[job.pool] for job in kept),
        work_class=still,
        priority=still,
        slack_ms=column(_slack(job) for job in kept),
        tolerance_permille=column(job.tolerance_permille for job in kept),
        preemptible=column(int(job.preemptible) for job in kept),
        after=still - 1,
        dropped=tuple(sorted(dropped.items())),
    )


def _left_out(job: Past) -> str | None:
    if job.run_ms is None:
        return "not-over"
    if job.run_ms <= 0:
        return "no-run"
    return None if job.milli_devices > 0 else "other-device"


def _slack(job: Past) -> int:
    """How long it agreed to be put off; -1: it did not."""
    return -1 if job.start_by_ms is None else max(job.start_by_ms - job.submitted_ms, 0)


def _digest(jobs: list[Past]) -> str:
    """SHA-256 of every field of every job."""
    found = sha256()
    for job in jobs:
        found.update(json.dumps(astuple(job)).encode() + b"\n")
    return found.hexdigest()
