"""What the loop keeps of its turns: its lease, what becomes of waiting jobs and of intents, what it reads.

Each function is one transaction or joins the caller's; none talks to an engine. An act on an engine follows the
commit of its intent, and carries the epoch of the lease that allowed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import transaction

from fabrique.apps.jobs.models import HubState, Intent, Job, Lease, Run
from fabrique.apps.jobs.settlement import BEGIN, LIVE
from fabrique.core.errors import FabriqueError
from fabrique.core.job import JobState
from fabrique.core.reasons import Reason

LOOP = "loop"
CLOCKS_DIFFER_MS = 60_000  # of two machines that run a loop each
Waiting = tuple[Job, Reason, int | None]  # a job, why it waits, and until when at the latest where that is known


# --- the lease ---------------------------------------------------------------------------------------------------


@transaction.atomic
def take_lease(holder: str, *, now: int, life_ms: int) -> int | None:
    """The epoch under which `holder` may act until now + life; None while another holds it.

    One that runs on for longer than any does was taken before the clock was set back: it is over.
    """
    Lease.objects.get_or_create(name=LOOP)
    lease = Lease.objects.select_for_update().get(name=LOOP)
    if lease.holder != holder and now < lease.expires_ms <= now + life_ms + CLOCKS_DIFFER_MS:
        return None
    if lease.holder != holder:
        lease.epoch += 1
    lease.holder, lease.expires_ms = holder, now + life_ms
    lease.save()
    return lease.epoch


def check_lease(epoch: int) -> None:
    """Raises `lease.lost` when another loop has taken over; asked inside every transaction that writes an intent."""
    lease = Lease.objects.select_for_update().filter(name=LOOP).first()
    if lease is None or lease.epoch != epoch:
        raise FabriqueError("lease.lost", epoch=epoch, current=lease.epoch if lease else None)


@transaction.atomic
def drop_lease(holder: str) -> None:
    """A loop that ends in order leaves at once."""
    Lease.objects.filter(name=LOOP, holder=holder).update(expires_ms=0)


# --- what becomes of jobs and intents ----------------------------------------------------------------------------


def wait(job: Job, why: Reason, by_ms: int | None, *, now: int) -> None:
    """One job alone."""
    waits([(job, why, by_ms)], now=now)


@transaction.atomic
def waits(jobs: Iterable[Waiting], *, now: int) -> None:
    """Keeps the reasons and forecasts of pending jobs, where they changed: a statement for all that share them."""
    alike: dict[tuple[str, int | None], list[Waiting]] = {}
    for job, why, by_ms in jobs:
        if job.reason != why.as_json() or job.forecast.get("to_ms") != by_ms:
            alike.setdefault((repr(why), by_ms), []).append((job, why, by_ms))
    for (_, until), some in alike.items():
        rows = Job.objects.filter(pk__in=[job.pk for job, _, _ in some], status=JobState.PENDING.value)
        forecast = {} if until is None else {"from_ms": now, "to_ms": until}
        rows.update(reason=some[0][1].as_json(), forecast=forecast, changed_ms=now)


@transaction.atomic
def refuse(job: Job, why: Reason, *, now: int) -> None:
    """A pending job that can't start any more: its deadline, its allocation or the law decided."""
    pending = Job.objects.filter(pk=job.pk, status=JobState.PENDING.value)
    pending.update(status=JobState.REFUSED.value, reason=why.as_json(), forecast={}, changed_ms=now)


@transaction.atomic
def acted(intents: Sequence[Intent], epoch: int, *, now: int) -> None:
    """The engine took them: their jobs are starting."""
    Intent.objects.filter(pk__in=[intent.pk for intent in intents]).update(acted_ms=now, epoch=epoch)
    jobs = Job.objects.filter(pk__in=[intent.run.job_id for intent in intents], status=JobState.ADMITTED.value)
    jobs.update(status=JobState.STARTING.value, changed_ms=now)


@transaction.atomic
def intend(run: Run, act: str, epoch: int, *, now: int, why: Reason | None = None) -> Intent | None:
    """The intent of a cancel or a preemption; None when it was acted on already. `why` is kept until the run ends."""
    check_lease(epoch)
    name = f"{act}-{run.id.hex}"
    if Intent.objects.filter(pk=name, acted_ms__isnull=False).exists():
        return None
    intent, _ = Intent.objects.get_or_create(
        pk=name, defaults={"run": run, "act": act, "epoch": epoch, "created_ms": now}
    )
    if why is not None:
        Run.objects.filter(pk=run.pk).update(reason=why.as_json())
    running = (JobState.ADMITTED.value, JobState.STARTING.value, JobState.RUNNING.value)
    Job.objects.filter(pk=run.job_id, status__in=running).update(status=JobState.ENDING.value, changed_ms=now)
    return intent


# --- reading -----------------------------------------------------------------------------------------------------


def live_runs() -> list[Run]:
    """Runs that hold resources: planned or running. Scripts, which may be long, are read when they are asked for."""
    runs = Run.objects.filter(state__in=LIVE).select_related("job").defer("job__script")
    # many runs, few of these
    return list(runs.prefetch_related("job__allocation", "job__project").order_by("planned_ms", "id"))


def has_unresolved() -> bool:
    """Whether some submission was never seen by its engine."""
    return Intent.objects.filter(act__in=BEGIN, resolved_ms__isnull=True).exists()


def pending_jobs() -> list[Job]:
    """Jobs that wait, in their order; without their scripts, as above."""
    waiting = Job.objects.filter(status=JobState.PENDING.value, cancel_ms__isnull=True).defer("script")
    return list(waiting.prefetch_related("allocation", "project").order_by("number"))


def unresolved(runs: Iterable[Run]) -> dict[Any, list[Intent]]:
    """Acts by which these runs begin, and whose outcome nobody saw yet, by run."""
    found: dict[Any, list[Intent]] = {}
    rows = Intent.objects.filter(run__in=list(runs), act__in=BEGIN, resolved_ms__isnull=True)
    for intent in rows.order_by("created_ms", "id"):
        found.setdefault(intent.run_id, []).append(intent)
    return found


def remember(decided: dict[str, Any]) -> None:
    """What the next decision has to know of those before."""
    HubState.objects.filter(pk=1).update(decided=decided)


def hub_state() -> HubState:
    return HubState.objects.get_or_create(pk=1)[0]
