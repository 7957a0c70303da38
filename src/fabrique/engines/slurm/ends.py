"""What Slurm says of a job, as what an engine says of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from fabrique.engines.protocol import Cause, Observation, Usage
from fabrique.engines.slurm.model import QueuedJob, Record

_CAUSES: Final[dict[str, Cause]] = {
    "COMPLETED": "completed",
    "TIMEOUT": "walltime",
    "DEADLINE": "walltime",
    "OUT_OF_MEMORY": "memory",
    "NODE_FAIL": "node-failed",
    "BOOT_FAIL": "node-failed",
    "PREEMPTED": "preempted",
    "REQUEUED": "preempted",
    "RESIZING": "preempted",  # it went on at another size, which is another record
    "CANCELLED": "cancelled",
}


def is_over(job: QueuedJob) -> bool:
    """Ended, and nothing of it is left on its nodes."""
    return (job.state in _CAUSES or job.state == "FAILED") and "COMPLETING" not in job.flags


def has_ended(record: Record) -> bool:
    return record.ended_ms is not None and (record.state in _CAUSES or record.state == "FAILED")


def underway(intent: str, job: QueuedJob, at_ms: int, output: int | None) -> Observation:
    """A job that waits, or runs, or is being cleared away."""
    if job.state == "PENDING" or job.started_ms is None:
        return Observation(intent, "starting")
    usage = Usage(output_bytes=output)
    return Observation(
        intent,
        "running",
        started_ms=job.started_ms,
        last_seen_ms=max(at_ms, job.started_ms),
        usage=usage,
        nodes=job.nodes,
    )


def ended(
    intent: str, one: QueuedJob | Record, output: int | None, marks: Mapping[str, int], *, own_counter: bool
) -> Observation:
    """By the accounting, or by the controller while it still knows. `marks`: what we did to end it, and when;
    `own_counter`: whether the energy that Slurm counted is the run's alone.

    Slurm counts whole seconds; so does what is charged, and it equals what sacct says.
    """
    cause, code, sent = _cause(one)
    done = [name for name, at in marks.items() if one.ended_ms is None or at < one.ended_ms + 1_000]
    if "preempt" in done and one.state in ("CANCELLED", "TIMEOUT", "COMPLETED", "FAILED"):
        cause, code = "preempted", one.exit_code  # whether 0 means that its work is done is for the caller to say
    elif "output" in done and one.state == "CANCELLED":
        cause = "output"
    usage = Usage(output_bytes=output)
    if isinstance(one, Record):
        energy = one.energy_mj if own_counter else None
        usage = Usage(one.cpu_ms, one.max_rss_bytes, output, energy_mj=energy)
    return Observation(
        intent,
        "ended",
        cause,
        started_ms=one.started_ms if one.nodes else None,  # cancelled before it ever had a node
        ended_ms=one.ended_ms,
        last_seen_ms=one.ended_ms,
        exit_code=code,
        signal=sent,
        usage=usage,
        nodes=one.nodes,
    )


def never_started(at_ms: int) -> dict[str, Any]:
    """The end of a run that was cancelled before Slurm was asked."""
    return {"cause": "cancelled", "ended_ms": at_ms}


def kept(seen: Observation) -> dict[str, Any]:
    """An end, to be written down."""
    names = ("cause", "started_ms", "ended_ms", "exit_code", "signal")
    used = {"cpu_ms": seen.usage.cpu_ms, "energy_mj": seen.usage.energy_mj}
    return {name: getattr(seen, name) for name in names} | used | {"nodes": list(seen.nodes)}


def remembered(intent: str, end: Mapping[str, Any], output: int | None) -> Observation:
    """The inverse of `kept`."""
    return Observation(
        intent,
        "ended",
        cast(Cause, end["cause"]),
        started_ms=end.get("started_ms"),
        ended_ms=end.get("ended_ms"),
        last_seen_ms=end.get("ended_ms"),
        exit_code=end.get("exit_code"),
        signal=end.get("signal"),
        usage=Usage(cpu_ms=end.get("cpu_ms"), output_bytes=output, energy_mj=end.get("energy_mj")),
        nodes=tuple(end.get("nodes") or ()),
    )


def _cause(one: QueuedJob | Record) -> tuple[Cause, int | None, int | None]:
    """With the exit code and the signal, where they are the job's own."""
    if one.state == "FAILED":
        return ("signalled", None, one.signal) if one.signal else ("failed", one.exit_code, None)
    cause = _CAUSES[one.state]
    if cause == "completed":
        return cause, one.exit_code or 0, None
    if cause == "memory":
        return cause, None, one.signal or 9
    return cause, one.exit_code if cause == "walltime" and one.exit_code else None, one.signal
