"""What the loop writes of runs that live and of runs that ended: many in few statements, each charged once.

Every function is one transaction or joins the caller's; none talks to an engine.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from django.db import transaction

from fabrique.apps import in_bulk
from fabrique.apps.jobs.models import FINAL, Intent, Job, Run, RunState
from fabrique.apps.ledger import services as ledger
from fabrique.apps.ledger.models import Hold
from fabrique.apps.this_hub import this_hub
from fabrique.core import booking, correction
from fabrique.core.admission import filter as fits
from fabrique.core.booking import Frozen
from fabrique.core.energy import Provenance
from fabrique.core.job import EndState, JobState, after
from fabrique.core.ledger import Line, amounts_json
from fabrique.core.reasons import Reason, reason
from fabrique.core.units import MG, Amount, Unit, is_money, is_time

BEGIN = ("submit", "release")  # the acts by which a run begins
LIVE = (RunState.PLANNED, RunState.RUNNING)
# Ends that are the hub's doing: charged, and refunded with this cause.
HUB_FAILED: Mapping[EndState, str] = {EndState.LOST: "engine-lost", EndState.NODE_FAILED: "node-failed"}
_EARLY = (JobState.ADMITTED.value, JobState.STARTING.value)
_OVER = "state started_ms ended_ms elapsed_ms exit_code reason usage energy_mj energy_provenance charged".split()


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
    interpreter: str | None = None  # of the script, where it can't be run
    nodes: tuple[str, ...] = ()
    elapsed_ms: int | None = None  # as the engine's accounting counts it, where that is not from start to end
    energy_mj: int | None = None  # of the run itself, by `energy_from`: charged instead of what was attributed to it
    energy_from: Provenance | None = None


# --- runs that live ----------------------------------------------------------------------------------------------


@transaction.atomic
def observe(sights: Sequence[tuple[Run, Seen]], *, now: int) -> None:
    """Their start, their last sign of life, their usage so far, into their rows and into the runs given."""
    begun, changed = [], []
    for run, seen in sights:
        if seen.state != "running" or run.state not in LIVE:
            continue
        before = (run.state, run.started_ms, run.seen_ms, run.usage, run.bound)
        if run.state == RunState.PLANNED:
            begun.append(run)
        run.state = RunState.RUNNING
        run.started_ms, run.seen_ms = seen.started_ms, seen.last_seen_ms
        run.usage = {**run.usage, **{k: v for k, v in seen.usage.items() if v is not None}}
        if seen.nodes:
            run.bound = {**run.bound, "nodes": list(seen.nodes)}
        if before != (run.state, run.started_ms, run.seen_ms, run.usage, run.bound):
            changed.append(run)
    live = Run.objects.select_for_update().filter(pk__in=[run.pk for run in changed], state__in=LIVE) if changed else ()
    there = {run.pk for run in live}
    in_bulk.rewrite([r for r in changed if r.pk in there], ("state", "started_ms", "seen_ms", "usage", "bound"))
    if not begun:
        return
    jobs = Job.objects.filter(pk__in=[run.job_id for run in begun], status__in=_EARLY)
    jobs.update(status=JobState.RUNNING.value, changed_ms=now)
    Intent.objects.filter(run__in=begun, act__in=BEGIN, resolved_ms__isnull=True).update(resolved_ms=now)
    for run in begun:
        if run.job.status in _EARLY:
            run.job.status = JobState.RUNNING.value
    placed(begun)


def placed(runs: Sequence[Run]) -> None:
    """Of those that were admitted ahead of their turn, and have begun or may: they wait for nothing any more."""
    waited: dict[str, list[int]] = {}
    for run in runs:
        if str(run.job.reason.get("code")).startswith("wait."):
            waited.setdefault(run.partition, []).append(run.job_id)
            run.job.reason = reason("place.only", partition=run.partition).as_json()
    for partition, jobs in waited.items():
        Job.objects.filter(pk__in=jobs).update(reason=reason("place.only", partition=partition).as_json())


# --- runs that are over ------------------------------------------------------------------------------------------


class Settlement:
    """Runs that are over, each charged once from its totals; its job gets its last state. `write` writes them.

    `runs` are all that may be settled; `opened` are the holds that this batch itself opens: their runs came and went
    before anybody looked. Joins the batch's transaction.
    """

    def __init__(self, acts: ledger.Batch, runs: Collection[Run], *, now: int, opened: Sequence[Hold] = ()) -> None:
        rows = Run.objects.select_for_update().filter(pk__in=[run.pk for run in runs], state__in=LIVE)
        self._acts, self._now = acts, now
        self._runs = {run.pk: run for run in rows.order_by("pk")}
        jobs = Job.objects.select_for_update().filter(pk__in=[run.job_id for run in self._runs.values()])
        self._jobs = {job.pk: job for job in jobs.defer("script").order_by("pk")}
        self._opened = {hold.pk: hold for hold in opened}
        self._holds = acts.holds({run.hold for run in self._runs.values()} - self._opened.keys()) | self._opened
        self._over: list[tuple[Run, EndState]] = []

    def settle(self, run: Run, seen: Seen, mg_per_kwh: int, factor: str = "") -> None:
        """Writes no row yet; nothing of a run that another has settled meanwhile.

        `mg_per_kwh` is the intensity as it was, `factor` which one that is where it may differ from the frozen one.
        """
        row = self._runs.get(run.pk)
        if row is None:
            return
        row.job = self._jobs[row.job_id]
        hold = self._holds[row.hold]
        end = EndState(seen.cause or ("lost" if seen.state == "lost" else "failed"))
        if seen.started_ms is None and row.started_ms is not None:
            seen = replace(seen, started_ms=row.started_ms)  # it was seen to run: that it forgot changes nothing
        if end is EndState.NOT_STARTED or seen.started_ms is None:
            self._acts.release(hold)
            row.state = RunState.ABANDONED
        else:
            _charge(self._acts, row, hold, seen, end, mg_per_kwh, factor)
            row.state = RunState.LOST if end is EndState.LOST else RunState.ENDED
        row.ended_ms, row.exit_code = seen.ended_ms or seen.last_seen_ms, seen.exit_code
        row.reason = why_ended(end, seen, row).as_json()
        row.usage = {**row.usage, **{k: v for k, v in seen.usage.items() if v is not None}}
        self._over.append((row, end))

    def write(self) -> None:
        in_bulk.rewrite([row for row, _ in self._over], _OVER)
        intents = Intent.objects.filter(run__in=[row for row, _ in self._over], resolved_ms__isnull=True)
        intents.update(resolved_ms=self._now)
        changed = [row.job for row, end in self._over if _finished(row.job, row, end, late=row.hold in self._opened)]
        mark(changed, now=self._now)


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
    """One run alone."""
    one = Settlement(acts, [run], now=now, opened=() if opened is None else [opened])
    one.settle(run, seen, mg_per_kwh, factor)
    one.write()


def mark(jobs: Sequence[Job], *, now: int) -> None:
    """The status and reason that these jobs have now, into their rows: a statement for all that share them."""
    alike: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        alike.setdefault((job.status, repr(job.reason)), []).append(job)
    for some in alike.values():
        rows = Job.objects.filter(pk__in=[job.pk for job in some])
        rows.update(status=some[0].status, reason=some[0].reason, forecast={}, changed_ms=now)


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
    else:
        acts.add(rebates(run, hold, charged, acts.policies(hold.allocation)))


def rebates(run: Run, hold: Hold, charged: Mapping[Unit, int], budgeted: Collection[Unit]) -> list[Line]:
    """What a run at a lower power level gets back of the time, and of its price, that the level cost it."""
    level = run.level
    if level is None:
        return []
    part = level.throughput_permille
    why = reason("rebate.power-level", level=level.name, throughput_permille=part).as_json()
    return [
        line
        for unit, value in sorted(charged.items())
        if is_time(unit) or is_money(unit)
        for line in booking.rebate(
            hold.allocation, Amount(unit, value), part, str(hold.id), why, None if unit in budgeted else hold.pool
        )
    ]


def _kept_its_work(run: Run) -> bool:
    """Whether the job was told to write a checkpoint before it stopped."""
    return bool(run.job.spec["checkpoint_signal"])


def _refund(acts: ledger.Batch, hold: Hold, charged: Mapping[Unit, int], why: Reason, bucket: str, cost: str) -> None:
    """Work that was lost without the project's doing: it gets everything back, and `cost` keeps the loss."""
    amounts = [Amount(u, v) for u, v in sorted(charged.items()) if v]
    budgeted = set(acts.policies(hold.allocation))
    acts.add(booking.refund(hold.allocation, hold.pool, amounts, budgeted, str(hold.id), why.as_json(), bucket, cost))


def _at(frozen: Frozen, mg_per_kwh: int) -> Frozen:
    return Frozen(mg_per_kwh, frozen.factor, frozen.price, frozen.currency, frozen.rate)


def why_ended(end: EndState, seen: Seen, run: Run) -> Reason:
    if end is EndState.NOT_STARTED and seen.interpreter:
        return reason("end.no-interpreter", interpreter=seen.interpreter)
    if end is EndState.PREEMPTED and run.handle and "preempt" not in str(run.reason.get("code")):  # not our doing
        return reason("end.requeued")
    if end is EndState.CANCELLED and run.job.cancel_ms is None and _is_on_the_cluster(run):  # nobody asked the hub
        return reason("end.cancelled-there")
    spec = run.job.spec
    params: dict[EndState, dict[str, object]] = {
        EndState.FAILED: {"exit_code": seen.exit_code},
        EndState.SIGNALLED: {"signal": seen.signal},
        EndState.WALLTIME: {"walltime_ms": run.walltime_ms},
        EndState.MEMORY: {"limit_mb": run.bound.get("memory_mb")},
        EndState.OUTPUT: {"limit_bytes": spec["output_limit_bytes"]},
        EndState.LOST: {"last_seen": seen.last_seen_ms},
        EndState.NOT_STARTED: {"error": seen.error or ""},
    }
    return reason(f"end.{end.value}", **params.get(end, {}))


def _is_on_the_cluster(run: Run) -> bool:
    cluster = this_hub().deployment.cluster
    return cluster is not None and cluster.engine == run.engine


def finish(run: Run, end: EndState, *, now: int, late: bool = False) -> None:
    """The job's state after its run. `late`: what was believed of the run before is wrong, or nothing was; an attempt
    that is not the job's last one changes nothing.
    """
    job = Job.objects.select_for_update().defer("script").get(pk=run.job_id)
    if _finished(job, run, end, late=late):
        mark([job], now=now)


def _finished(job: Job, run: Run, end: EndState, *, late: bool) -> bool:
    """Whether the job was changed."""
    if late and (job.handle != run.handle or (not run.handle and job.runs.filter(attempt__gt=run.attempt).exists())):
        return False
    if job.status in FINAL and not late:
        return False
    following = after(end)
    if not late and job.handle != run.handle and run.handle:  # the engine has put it back in its queue already
        if job.runs.filter(state__in=LIVE).exclude(pk=run.pk).exists():
            return False
        following = JobState.PENDING
    if following is JobState.PENDING and job.cancel_ms is not None:
        following = JobState.CANCELLED
    job.status, job.reason = following.value, run.reason
    return True
