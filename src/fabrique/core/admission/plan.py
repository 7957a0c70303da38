"""What shall be done. Objects are made here, at the edge, never inside the phases' loops."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from fabrique.core.reasons import Reason


@dataclass(frozen=True, slots=True)
class Start:
    """Admit the job and start it in `partition` at `level` (empty: the top one); `reason` says why there."""

    job: str
    partition: str
    reason: Reason
    level: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """The binding constraint of a job that is not started, and when it starts at the latest.

    `by_ms` supposes that running jobs use all the time they asked for and that nothing else goes before it;
    None where no running job's end would make it start, or where that wasn't worked out.
    """

    job: str
    reason: Reason
    by_ms: int | None


@dataclass(frozen=True, slots=True)
class Preempt:
    """Stop the job's run with its checkpoint signal; it waits again."""

    job: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Recap:
    """Set the level of the job's run from now on."""

    job: str
    level: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Plan:
    """A verdict for every pending job: starts in the order they were decided, waits in order of age."""

    rules: str
    at_ms: int
    starts: tuple[Start, ...]
    waits: tuple[Wait, ...]
    preempts: tuple[Preempt, ...] = ()
    recaps: tuple[Recap, ...] = ()


def digest(plan: Plan) -> str:
    """SHA-256 of everything the plan says."""
    told = {
        "rules": plan.rules,
        "at_ms": plan.at_ms,
        "starts": [[s.job, s.partition, s.level, s.reason.as_json()] for s in plan.starts],
        "waits": [[w.job, w.reason.as_json(), w.by_ms] for w in plan.waits],
        "preempts": [[p.job, p.reason.as_json()] for p in plan.preempts],
        "recaps": [[r.job, r.level, r.reason.as_json()] for r in plan.recaps],
    }
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
