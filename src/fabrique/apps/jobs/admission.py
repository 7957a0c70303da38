"""Admission: the holds, runs and intents of what starts, in one transaction and one entry of the ledger a turn.

None of this talks to an engine: an act follows the commit of its intent, and carries the epoch of the lease that
allowed it.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Max

from fabrique.apps.jobs.cycle import check_lease, wait
from fabrique.apps.jobs.models import Intent, Job, Run, RunState
from fabrique.apps.jobs.settlement import mark
from fabrique.apps.ledger import services as ledger
from fabrique.core import booking
from fabrique.core.admission import filter as fits
from fabrique.core.booking import Frozen
from fabrique.core.errors import FabriqueError
from fabrique.core.job import JobState
from fabrique.core.reasons import Reason, reason
from fabrique.core.units import Amount, Unit

_NO_END = 2**62


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and with what a job is started; `bound` names its cores, devices, memory and watts."""

    offer: fits.Offer
    bound: Mapping[str, object]
    hold: Mapping[Unit, int]
    frozen: Frozen


@dataclass(frozen=True, slots=True)
class Start:
    """A job that may start as placed, and why there."""

    job: Job
    placement: Placement
    why: Reason


@transaction.atomic
def admit(starts: Sequence[Start], epoch: int, *, now: int) -> list[Intent]:
    """In the order given. Left out: jobs that are no longer pending, and those whose budget went, which are told.

    Raises `lease.lost`. The ledger is locked first: everywhere the same order, so that no two wait for each other.
    """
    if not starts:
        return []
    ledger.lock()
    check_lease(epoch)
    free = _free([start.job for start in starts])
    made: list[tuple[Start, uuid.UUID]] = []
    with ledger.batch("hold", {"epoch": epoch}, now=now) as acts:
        for start in (s for s in starts if s.job.pk in free):
            hold_id, job = uuid.uuid4(), start.job
            try:
                held = fits.as_amounts(start.placement.hold)
                acts.hold(str(job.allocation_id), job.allocation.pool, held, start.placement.frozen, hold_id)
            except FabriqueError as error:
                if error.code != "ledger.overdraft":
                    raise
                wait(job, reason("wait.budget-held", **error.params), None, now=now)
                continue
            made.append((start, hold_id))
    before = _attempts([start.job.pk for start, _ in made])
    runs = [_run(s.job, s.placement, hold_id, before[s.job.pk] + 1, now=now) for s, hold_id in made]
    Run.objects.bulk_create(runs)
    for start, _ in made:
        start.job.status, start.job.reason, start.job.forecast = JobState.ADMITTED.value, start.why.as_json(), {}
    mark([start.job for start, _ in made], now=now)
    acts_of = [("release" if run.job.door else "submit", run) for run in runs]
    return Intent.objects.bulk_create(
        Intent(id=f"run-{run.id.hex}", run=run, act=act, epoch=epoch, created_ms=now) for act, run in acts_of
    )


def _free(jobs: Sequence[Job]) -> set[int]:
    """Those that are pending still; of a cluster's, those of whose attempt nothing ran before."""
    pending = Job.objects.filter(pk__in=[job.pk for job in jobs], status=JobState.PENDING.value, cancel_ms__isnull=True)
    free = set(pending.select_for_update().order_by("pk").values_list("pk", flat=True))
    handles = [job.handle for job in jobs if job.handle]
    over = set(Run.objects.filter(handle__in=handles).values_list("engine", "handle")) if handles else set()
    # what its engine queued next was not seen yet
    return {job.pk for job in jobs if job.pk in free and (job.door, job.handle) not in over}


def _attempts(jobs: Collection[int]) -> Counter[int]:
    last = Run.objects.filter(job__in=jobs).order_by().values("job").annotate(last=Max("attempt"))
    return Counter(dict(last.values_list("job", "last")))


@transaction.atomic
def admit_running(job: Job, placement: Placement, started_ms: int, why: Reason, epoch: int, *, now: int) -> Run | None:
    """The hold and the run of a job that started at its engine's own door, without our word.

    What its budget can't cover is not held: it will be overrun. What it has no budget in is granted as it is used. None
    when the job has a run already. Raises `lease.lost`.
    """
    ledger.lock()
    check_lease(epoch)
    row = Job.objects.select_for_update().get(pk=job.pk)
    if row.status not in (JobState.PENDING.value, JobState.REFUSED.value):
        return None
    if Run.objects.filter(engine=row.door, handle=row.handle).exists():
        return None
    hold_id = uuid.uuid4()
    with ledger.batch("hold", {"epoch": epoch, "own-door": row.door}, now=now) as acts:
        limited = acts.policies(str(row.allocation_id))  # what no budget limits is granted as it is used
        amounts = [Amount(u, min(v, _room(acts, row, u))) for u, v in sorted(placement.hold.items()) if u in limited]
        acts.hold(str(row.allocation_id), row.allocation.pool, amounts, placement.frozen, hold_id)
    run = _run(row, placement, hold_id, _attempts([row.pk])[row.pk] + 1, now=now)
    run.state, run.started_ms, run.seen_ms = RunState.RUNNING, started_ms, now
    run.save(force_insert=True)
    row.status, row.reason, row.forecast, row.changed_ms = JobState.RUNNING.value, why.as_json(), {}, now
    row.save(update_fields=["status", "reason", "forecast", "changed_ms"])
    Intent.objects.create(
        id=f"run-{run.id.hex}", run=run, act="release", epoch=epoch, created_ms=now, acted_ms=now, resolved_ms=now
    )
    return run


def readmit(start: Start, attempt: int, *, now: int) -> Run | None:
    """An attempt that the engine has and the database had lost: its hold, its row and its intent, as they were.

    None where the budget does not cover it. Joins the caller's transaction, which has locked the ledger.
    """
    job, hold_id = start.job, uuid.uuid4()
    run = _run(job, start.placement, hold_id, attempt, now=now)
    try:
        with ledger.batch("hold", {"run": str(run.pk), "adopted": "after a restore"}, now=now) as acts:
            held = fits.as_amounts(start.placement.hold)
            acts.hold(str(job.allocation_id), job.allocation.pool, held, start.placement.frozen, hold_id)
    except FabriqueError as error:
        if error.code != "ledger.overdraft":
            raise
        return None
    run.save(force_insert=True)
    job.status, job.reason, job.forecast, job.changed_ms = JobState.STARTING.value, start.why.as_json(), {}, now
    job.save(update_fields=["status", "reason", "forecast", "changed_ms"])
    Intent.objects.create(id=f"run-{run.id.hex}", run=run, act="submit", epoch=0, created_ms=now, acted_ms=now)
    return run


def _room(acts: ledger.Batch, job: Job, unit: Unit) -> int:
    """What its allocation still lets be held, never below nothing."""
    allocation = str(job.allocation_id)
    policy = acts.policies(allocation).get(unit, booking.Policy())
    room = booking.room(allocation, unit, policy, acts.balance)
    return _NO_END if room is None else max(room, 0)


def run_id(job: Job, attempt: int) -> uuid.UUID:
    """The same for the same attempt, so that a hub that forgot it knows it again by its intent at the engine."""
    return uuid.uuid5(job.key, f"attempt {attempt}")


def _run(job: Job, placement: Placement, hold_id: uuid.UUID, attempt: int, *, now: int) -> Run:
    return Run(
        id=run_id(job, attempt),
        job=job,
        attempt=attempt,
        handle=job.handle,
        engine=placement.offer.engine,
        partition=placement.offer.partition,
        kind=placement.offer.kind,
        unit=placement.offer.unit,
        share_milli=job.spec["milli_devices"] or job.spec["cores"] * 1000,
        bound=dict(placement.bound),
        hold=hold_id,
        planned_ms=now,
    )
