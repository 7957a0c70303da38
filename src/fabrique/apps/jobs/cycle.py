"""What the loop writes: observations, admissions with their holds and intents, settlements.

Each function is one transaction or joins the caller's; none talks to an engine. An act on an engine follows the
commit of its intent, and carries the epoch of the lease that allowed it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import transaction

from fabrique.apps.jobs.models import FINAL, HubState, Intent, Job, Lease, Run, RunState
from fabrique.apps.ledger import services as ledger
from fabrique.apps.ledger.models import Hold
from fabrique.core import booking, correction
from fabrique.core.admission import filter as fits
from fabrique.core.booking import Frozen
from fabrique.core.energy import Provenance
from fabrique.core.errors import FabriqueError
from fabrique.core.job import EndState, JobState, after
from fabrique.core.ledger import amounts_json
from fabrique.core.reasons import Reason, reason
from fabrique.core.units import MG, Amount, Unit

LOOP = "loop"
BEGIN = ("submit", "release")  # the acts by which a run begins
# Ends that are the hub's doing: charged, and refunded with this cause.
HUB_FAILED: Mapping[EndState, str] = {EndState.LOST: "engine-lost", EndState.NODE_FAILED: "node-failed"}
_NO_END = 2**62


@dataclass(frozen=True, slots=True)
class Seen:
    """What an engine can prove of one intent: `state` starting, running, ended, lost or unknown."""

    intent: str
    state: str
    cause: str | None = None
    started_ms: int | None = None
    ended_ms: int | None = None
    last_seen_ms: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    cpu_ms: int | None = None
    usage: Mapping[str, int | None] = field(default_factory=dict)
    error: str | None = None
    nodes: tuple[str, ...] = ()
    elapsed_ms: int | None = None  # as the engine's accounting counts it, where that is not from start to end
    energy_mj: int | None = None  # of the run itself, by `energy_from`: charged instead of what was attributed to it
    energy_from: Provenance | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and with what a job is started; `bound` names its cores, devices, memory and watts."""

    offer: fits.Offer
    bound: Mapping[str, object]
    hold: Mapping[Unit, int]
    frozen: Frozen


# --- the lease ---------------------------------------------------------------------------------------------------


@transaction.atomic
def take_lease(holder: str, *, now: int, life_ms: int) -> int | None:
    """The epoch under which `holder` may act until now + life; None while another holds it."""
    Lease.objects.get_or_create(name=LOOP)
    lease = Lease.objects.select_for_update().get(name=LOOP)
    if lease.holder != holder and now < lease.expires_ms:
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


# --- admission ---------------------------------------------------------------------------------------------------


@transaction.atomic
def admit(job: Job, placement: Placement, why: Reason, epoch: int, *, now: int) -> Intent | None:
    """Hold, run and intent in one transaction. None when the job is no longer pending or its budget went.

    Raises `lease.lost`. The ledger is locked first: everywhere the same order, so that no two wait for each other.
    """
    ledger.lock()
    check_lease(epoch)
    job = Job.objects.select_for_update().get(pk=job.pk)
    if job.status != JobState.PENDING.value or job.cancel_ms is not None:
        return None
    if job.handle and Run.objects.filter(engine=job.door, handle=job.handle).exists():
        return None  # that attempt is over; what its engine queued next was not seen yet
    run_id = uuid.uuid4()
    hold_id = uuid.uuid4()
    try:
        with ledger.batch("hold", {"run": str(run_id)}, now=now) as acts:
            amounts = fits.as_amounts(placement.hold)
            acts.hold(str(job.allocation_id), job.allocation.pool, amounts, placement.frozen, hold_id)
    except FabriqueError as error:
        if error.code != "ledger.overdraft":
            raise
        wait(job, reason("wait.budget-held", **error.params), None, now=now)
        return None
    run = _run(job, placement, run_id, hold_id, now=now)
    job.status, job.reason, job.forecast, job.changed_ms = JobState.ADMITTED.value, why.as_json(), {}, now
    job.save()
    act = "release" if job.door else "submit"
    return Intent.objects.create(id=f"run-{run.id.hex}", run=run, act=act, epoch=epoch, created_ms=now)


@transaction.atomic
def admit_running(job: Job, placement: Placement, started_ms: int, why: Reason, epoch: int, *, now: int) -> Run | None:
    """The hold and the run of a job that started at its engine's own door, without our word.

    What its budget can't cover is not held: it will be overrun. None when the job has a run already. Raises
    `lease.lost`.
    """
    ledger.lock()
    check_lease(epoch)
    job = Job.objects.select_for_update().get(pk=job.pk)
    if job.status not in (JobState.PENDING.value, JobState.REFUSED.value):
        return None
    if Run.objects.filter(engine=job.door, handle=job.handle).exists():
        return None
    run_id, hold_id = uuid.uuid4(), uuid.uuid4()
    with ledger.batch("hold", {"run": str(run_id), "own-door": job.door}, now=now) as acts:
        amounts = [Amount(u, min(v, _room(job, u))) for u, v in sorted(placement.hold.items())]
        acts.hold(str(job.allocation_id), job.allocation.pool, amounts, placement.frozen, hold_id)
    run = _run(job, placement, run_id, hold_id, now=now)
    run.state, run.started_ms, run.seen_ms = RunState.RUNNING, started_ms, now
    run.save(update_fields=["state", "started_ms", "seen_ms"])
    job.status, job.reason, job.forecast, job.changed_ms = JobState.RUNNING.value, why.as_json(), {}, now
    job.save()
    Intent.objects.create(
        id=f"run-{run.id.hex}", run=run, act="release", epoch=epoch, created_ms=now, acted_ms=now, resolved_ms=now
    )
    return run


def _room(job: Job, unit: Unit) -> int:
    """What its allocation still lets be held, never below nothing."""
    allocation = str(job.allocation_id)
    policy = ledger.policies(allocation).get(unit, booking.Policy())
    room = booking.room(allocation, unit, policy, ledger.balance)
    return _NO_END if room is None else max(room, 0)


def _run(job: Job, placement: Placement, run_id: uuid.UUID, hold_id: uuid.UUID, *, now: int) -> Run:
    return Run.objects.create(
        id=run_id,
        job=job,
        attempt=job.runs.count() + 1,
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


def wait(job: Job, why: Reason, by_ms: int | None, *, now: int) -> None:
    """Keeps the reason and the forecast of a pending job, where they changed."""
    forecast = {} if by_ms is None else {"from_ms": now, "to_ms": by_ms}
    if job.reason == why.as_json() and job.forecast.get("to_ms") == forecast.get("to_ms"):
        return
    changed = Job.objects.filter(pk=job.pk, status=JobState.PENDING.value)
    changed.update(reason=why.as_json(), forecast=forecast, changed_ms=now)


@transaction.atomic
def refuse(job: Job, why: Reason, *, now: int) -> None:
    """A pending job that can't start any more: its deadline, its allocation or the law decided."""
    pending = Job.objects.filter(pk=job.pk, status=JobState.PENDING.value)
    pending.update(status=JobState.REFUSED.value, reason=why.as_json(), forecast={}, changed_ms=now)


@transaction.atomic
def acted(intent: Intent, epoch: int, *, now: int) -> None:
    """The engine took it: the job is starting."""
    Intent.objects.filter(pk=intent.pk).update(acted_ms=now, epoch=epoch)
    Job.objects.filter(pk=intent.run.job_id, status=JobState.ADMITTED.value).update(
        status=JobState.STARTING.value, changed_ms=now
    )


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


# --- settlement --------------------------------------------------------------------------------------------------


def observe(run: Run, seen: Seen, *, now: int) -> None:
    """A run that lives: its start, its last sign of life, its usage so far."""
    if seen.state != "running" or run.state not in (RunState.PLANNED, RunState.RUNNING):
        return
    first = run.state == RunState.PLANNED
    run.state = RunState.RUNNING
    run.started_ms, run.seen_ms = seen.started_ms, seen.last_seen_ms
    run.usage = {**run.usage, **{k: v for k, v in seen.usage.items() if v is not None}}
    if seen.nodes:
        run.bound = {**run.bound, "nodes": list(seen.nodes)}
    run.save(update_fields=["state", "started_ms", "seen_ms", "usage", "bound"])
    if first:
        early = (JobState.ADMITTED.value, JobState.STARTING.value)
        Job.objects.filter(pk=run.job_id, status__in=early).update(status=JobState.RUNNING.value, changed_ms=now)
        Intent.objects.filter(run=run, act__in=BEGIN, resolved_ms__isnull=True).update(resolved_ms=now)


def settle(
    acts: ledger.Batch,
    run: Run,
    seen: Seen,
    mg_per_kwh: int,
    factor: str = "",
    *,
    now: int,
    opened: Hold | None = None,
) -> None:
    """A run that is over, charged once from its totals; its job gets its last state. Joins the batch's transaction.

    `mg_per_kwh` is the intensity as it was, `factor` which one that is where it may differ from the frozen one.
    `opened` is its hold where this batch opens it: the run came and went before anybody looked.
    """
    run = Run.objects.select_for_update().get(pk=run.pk)
    if run.state not in (RunState.PLANNED, RunState.RUNNING):
        return
    hold = opened or Hold.objects.get(pk=run.hold)
    end = EndState(seen.cause or ("lost" if seen.state == "lost" else "failed"))
    if seen.started_ms is None and run.started_ms is not None:
        seen = replace(seen, started_ms=run.started_ms)  # it was seen to run: that it forgot changes nothing
    if end is EndState.NOT_STARTED or seen.started_ms is None:
        acts.release(hold)
        run.state = RunState.ABANDONED
    else:
        _charge(acts, run, hold, seen, end, mg_per_kwh, factor)
        run.state = RunState.LOST if end is EndState.LOST else RunState.ENDED
    run.ended_ms, run.exit_code = seen.ended_ms or seen.last_seen_ms, seen.exit_code
    run.reason = why_ended(end, seen, run).as_json()
    run.usage = {**run.usage, **{k: v for k, v in seen.usage.items() if v is not None}}
    run.save()
    Intent.objects.filter(run=run, resolved_ms__isnull=True).update(resolved_ms=now)
    finish(run, end, now=now, late=opened is not None)


def _charge(acts: ledger.Batch, run: Run, hold: Hold, seen: Seen, end: EndState, mg_per_kwh: int, factor: str) -> None:
    started = seen.started_ms or 0
    run.started_ms = started
    last = seen.ended_ms or seen.last_seen_ms or started
    run.elapsed_ms = max(last - started, 0) if seen.elapsed_ms is None else seen.elapsed_ms
    site, attributed = str(run.bound["site"]), run.energy_mj
    if seen.energy_mj is not None and seen.energy_from is not None:
        run.energy_mj, run.energy_provenance = seen.energy_mj, seen.energy_from.as_json()
    frozen = ledger.frozen_of(hold)
    unit = Unit(run.unit)
    actual = fits.charges(run.elapsed_ms, run.share_milli, run.energy_mj, unit, frozen)
    detail = {
        "run": str(run.id),
        "end": end.value,
        "elapsed_ms": str(run.elapsed_ms),
        "factor": frozen.factor,
        "rate": frozen.rate,
        "energy": run.energy_provenance,
    }
    if factor:
        detail["actual_factor"] = factor
    bucket = "lost" if end in HUB_FAILED else "used"
    charged = acts.settle(hold, actual, detail, bucket)
    acts.add(correction.own_counter(site, attributed, run.energy_mj, str(hold.id), detail))
    acts.add(booking.supply(site, run.energy_mj, str(hold.id), detail))
    actual_mg = fits.charges(run.elapsed_ms, run.share_milli, run.energy_mj, unit, _at(frozen, mg_per_kwh))[MG]
    acts.add(booking.forecast_variance(actual.get(MG, 0), actual_mg, str(hold.id), detail))
    run.charged = amounts_json(Amount(u, v) for u, v in charged.items())
    if end in HUB_FAILED:
        why = reason("refund.hub-failure", cause=HUB_FAILED[end])
        _refund(acts, hold, charged, why, bucket, booking.LOSSES)
    elif end is EndState.PREEMPTED and run.reason.get("code") == "preempt.reclaim" and not _kept_its_work(run):
        pool = str(run.reason["pool"])
        _refund(acts, hold, charged, reason("refund.reclaim", pool=pool), bucket, booking.reclaim_cost(pool))


def _kept_its_work(run: Run) -> bool:
    """Whether the job was told to write a checkpoint before it stopped."""
    return bool(run.job.spec["checkpoint_signal"])


def _refund(acts: ledger.Batch, hold: Hold, charged: Mapping[Unit, int], why: Reason, bucket: str, cost: str) -> None:
    """Work that was lost without the project's doing: it gets everything back, and `cost` keeps the loss."""
    amounts = [Amount(u, v) for u, v in sorted(charged.items()) if v]
    budgeted = set(ledger.policies(hold.allocation))
    acts.add(booking.refund(hold.allocation, hold.pool, amounts, budgeted, str(hold.id), why.as_json(), bucket, cost))


def _at(frozen: Frozen, mg_per_kwh: int) -> Frozen:
    return Frozen(mg_per_kwh, frozen.factor, frozen.price, frozen.currency, frozen.rate)


def why_ended(end: EndState, seen: Seen, run: Run) -> Reason:
    spec = run.job.spec
    params: dict[EndState, dict[str, object]] = {
        EndState.FAILED: {"exit_code": seen.exit_code},
        EndState.SIGNALLED: {"signal": seen.signal},
        EndState.WALLTIME: {"walltime_ms": spec["walltime_ms"]},
        EndState.MEMORY: {"limit_mb": run.bound.get("memory_mb")},
        EndState.OUTPUT: {"limit_bytes": spec["output_limit_bytes"]},
        EndState.LOST: {"last_seen": seen.last_seen_ms},
        EndState.NOT_STARTED: {"error": seen.error or ""},
    }
    return reason(f"end.{end.value}", **params.get(end, {}))


def finish(run: Run, end: EndState, *, now: int, late: bool = False) -> None:
    """The job's state after its run. `late`: what was believed of the run before is wrong, or nothing was; an attempt
    that is not the job's last one changes nothing.
    """
    job = Job.objects.select_for_update().get(pk=run.job_id)
    if late and job.handle != run.handle:
        return
    if job.status in FINAL and not late:
        return
    following = after(end)
    if following is JobState.PENDING and job.cancel_ms is not None:
        following = JobState.CANCELLED
    job.status, job.reason, job.changed_ms = following.value, run.reason, now
    job.save()


# --- reading -----------------------------------------------------------------------------------------------------


def live_runs() -> list[Run]:
    """Runs that hold resources: planned or running."""
    alive = (RunState.PLANNED, RunState.RUNNING)
    return list(
        Run.objects.filter(state__in=alive)
        .select_related("job__allocation", "job__project")
        .order_by("planned_ms", "id")
    )


def has_unresolved() -> bool:
    """Whether some submission was never seen by its engine."""
    return Intent.objects.filter(act__in=BEGIN, resolved_ms__isnull=True).exists()


def pending_jobs() -> list[Job]:
    waiting = Job.objects.filter(status=JobState.PENDING.value, cancel_ms__isnull=True)
    return list(waiting.select_related("allocation", "project").order_by("number"))


def remember(decided: dict[str, Any]) -> None:
    """What the next decision has to know of those before."""
    HubState.objects.filter(pk=1).update(decided=decided)


def hub_state() -> HubState:
    return HubState.objects.get_or_create(pk=1)[0]
