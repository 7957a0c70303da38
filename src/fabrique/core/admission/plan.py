"""What shall be done. Objects are made here, at the edge, never inside the phases' loops."""

from __future__ import annotations

from dataclasses import dataclass

from fabrique.core.reasons import Reason


@dataclass(frozen=True, slots=True)
class Start:
    """Admit the job and start it in `partition`; `reason` says why there."""

    job: str
    partition: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Wait:
    """The binding constraint of a job that is not started, and when it starts at the latest.

    `by_ms` supposes that running jobs use all the time they asked for and that nothing new goes before it;
    None where no running job's end would make it start.
    """

    job: str
    reason: Reason
    by_ms: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Verdicts for every pending job, in the order they were judged."""

    rules: str
    at_ms: int
    starts: tuple[Start, ...]
    waits: tuple[Wait, ...]
