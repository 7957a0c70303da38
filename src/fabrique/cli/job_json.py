"""A job as a program reads it: what `--json` prints of one."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fabrique.cli.context import Desk

if TYPE_CHECKING:
    from fabrique.apps.jobs.models import Job, Run


def as_json(desk: Desk, job: Job) -> dict[str, Any]:
    """Amounts are text, in base units; instants are UTC milliseconds."""
    from fabrique.apps.jobs import queries

    explained = queries.explain(job, now=desk.now)
    starts = explained.starts
    return {
        "number": job.number,
        "outside_id": job.outside_id or None,
        "name": job.name,
        "project": job.project.code,
        "state": job.status,
        "reason": desk.why(explained.reason),
        "submitted_ms": job.submitted_ms,
        "starts": None if starts is None else {"from_ms": starts[0], "to_ms": starts[1]},
        "ends_by_ms": explained.ends_by_ms,
        "run": None if explained.run is None else _run_json(explained.run),
    }


def _run_json(run: Run) -> dict[str, Any]:
    return {
        "attempt": run.attempt,
        "state": run.state,
        "partition": run.partition,
        "kind": run.kind,
        "level": None if run.level is None else asdict(run.level),
        "walltime_ms": run.walltime_ms,
        "unit": run.unit,
        "started_ms": run.started_ms,
        "ended_ms": run.ended_ms,
        "elapsed_ms": run.elapsed_ms,
        "exit_code": run.exit_code,
        "energy_mj": str(run.energy_mj),
        "energy": run.energy_provenance,
        "charged": run.charged,
        "entry": None if run.settled_entry is None else str(run.settled_entry),
    }
