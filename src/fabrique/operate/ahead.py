"""Look-ahead: what is planned to start soon is released to the cluster beforehand, so that no end leaves a gap.

Such a job is admitted, with its hold, but for the decision it still waits: each turn decides on it again. It is
recalled when it is no longer among the next, and counts as started once it is its turn or the cluster starts it. The
cluster's watt licence keeps the cap meanwhile, and its priority stays below what was told to start now.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from django.db import transaction

from fabrique.apps import in_bulk
from fabrique.apps.jobs import cycle, settlement
from fabrique.apps.jobs.models import Intent, Job, Run, RunState
from fabrique.apps.ledger import services as ledger
from fabrique.core.admission.plan import Plan, Wait
from fabrique.core.job import JobState

MARK: Final = "ahead"
MOST: Final = 100  # jobs at once, whatever the plan says
_FOR_ROOM: Final = ("wait.accelerators", "wait.cores", "wait.memory", "wait.power", "wait.behind")


def is_ahead(run: Run) -> bool:
    return run.state == RunState.PLANNED and bool(run.bound.get(MARK))


def chosen(plan: Plan, look_ahead_ms: int, now: int) -> list[Wait]:
    """What waits for room alone and starts within the look-ahead by the plan, in the order of its start."""
    soon = [w for w in plan.waits if w.by_ms is not None and w.by_ms <= now + look_ahead_ms]
    return sorted((w for w in soon if w.reason.code in _FOR_ROOM), key=lambda w: w.by_ms or 0)[:MOST]


@transaction.atomic
def promote(runs: Sequence[Run]) -> None:
    """It is their turn: from now on they hold what they were given."""
    for run in runs:
        run.bound = {k: v for k, v in run.bound.items() if k != MARK}
    in_bulk.rewrite(runs, ["bound"])
    settlement.placed(runs)


def recall(runs: Collection[Run], epoch: int, *, now: int) -> None:
    """They are held again at the engine: their holds go back, and they wait as before."""
    if not runs:
        return
    with ledger.batch("recall", {"epoch": epoch}, now=now) as acts:
        cycle.check_lease(epoch)
        planned = Run.objects.select_for_update().filter(pk__in=[run.pk for run in runs], state=RunState.PLANNED)
        rows = list(planned.order_by("pk"))
        holds = acts.holds([row.hold for row in rows])
        for row in rows:
            acts.release(holds[row.hold])
            row.state, row.handle = RunState.ABANDONED, ""
        in_bulk.rewrite(rows, ["state", "handle"])
        Intent.objects.filter(run__in=rows, resolved_ms__isnull=True).update(resolved_ms=now)
        told = (JobState.ADMITTED.value, JobState.STARTING.value)
        waits = Job.objects.filter(pk__in=[row.job_id for row in rows], status__in=told)
        waits.update(status=JobState.PENDING.value, changed_ms=now)
