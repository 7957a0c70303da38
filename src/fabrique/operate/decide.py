"""Decide: the live state as the rows that the decision is taken on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace

from fabrique.apps.access.models import AllocationState
from fabrique.apps.jobs import services as named
from fabrique.apps.jobs import specs
from fabrique.apps.jobs.admission import Placement
from fabrique.apps.jobs.models import Intent, Job, Run
from fabrique.apps.this_hub import ThisHub
from fabrique.core import booking
from fabrique.core.admission import filter as fits
from fabrique.core.admission import levels, record
from fabrique.core.admission.levels import Level
from fabrique.core.admission.rules import Rules
from fabrique.core.admission.state import JobRow, OptionRow, OutlookRow, PartitionRow, PoolRow, Rows, RunRow, SiteRow
from fabrique.core.booking import Exhaustion
from fabrique.core.errors import FabriqueError
from fabrique.core.job import MILLI, JobSpec, JobState
from fabrique.core.reasons import Reason, reason
from fabrique.core.units import HOUR_MS, Unit
from fabrique.operate.ahead import is_ahead
from fabrique.operate.books import Books
from fabrique.operate.options import Asked, holds, lower_levels, most_held, options, power_bound
from fabrique.operate.out_of_service import NOTHING, Away

LOW = -1
HOURS_AHEAD = 48
PPM = 1_000_000
_SOMEBODY_S_WORD_MS = 4_102_444_800_000  # later than any instant that a job may ask for: nobody knows when it comes


def too_late(job: Job, *, now: int) -> Reason | None:
    """Why a pending job can't start any more, if time has decided."""
    latest = specs.needs(job).start_by_ms
    if latest is not None and latest < now:
        return reason("refuse.deadline", latest_start=latest)
    if job.allocation.state != AllocationState.OPEN or job.allocation.ends_ms <= now:
        return reason("refuse.allocation-ended", time=job.allocation.ends_ms)
    return None


def why_it_waits(ask: Asked, why: Reason, books: Books, asks: Mapping[str, Asked]) -> Reason:
    """The kernel's reason; but where no end of a run could give enough back, that the budget does not suffice.

    What waits for somebody's word, and not for an instant, is told whose; a job that it waits behind is called as
    people call it.
    """
    if "job" in why.params and (other := asks.get(str(why.params["job"]))):
        return reason(why.code, **{**why.params, "job": named.name_of(other.job, books.here)})
    if why.code == "wait.not-before" and ask.spec.awaits is not None:
        said = {"why": ask.spec.awaits_why, "time": why.params["time"]} if ask.spec.awaits == "cluster" else {}
        return reason(f"wait.{ask.spec.awaits}", **said)
    if why.code != "wait.budget-held":
        return why
    unit, (wanted, room) = Unit(str(why.params["unit"])), (int(str(why.params[n])) for n in ("asked", "available"))
    held = books.balance(booking.account(str(ask.job.allocation_id), "held"), unit)
    return why if wanted <= room + held else reason("refuse.budget", unit=unit, asked=wanted, available=room)


def asked(here: ThisHub, jobs: Sequence[Job], books: Books, *, capped: bool = False) -> list[Asked]:
    """Phase 0 for every job: the offers that its allocation has a budget for. `capped`, of those that wait: and at
    which it could start below the cap, which is no question to what runs.
    """
    found = []
    for job in jobs:
        spec = specs.needs(job)
        offers, why = fits.candidates(spec, here.offers)
        limits = books.policies(str(job.allocation_id))
        paid = tuple(o for o in offers if o.unit in limits)
        powered = tuple(o for o in paid if not capped or _is_below_the_cap(here, spec, o))
        if paid and not powered:
            asked_w = min(power_bound(here, spec, o) for o in paid)
            why = reason("refuse.power", asked_w=asked_w, most_w=max((here.cap_w or 0) - here.base_w, 0))
        found.append(Asked(job, spec, powered, why))
    return found


def _is_below_the_cap(here: ThisHub, spec: JobSpec, offer: fits.Offer) -> bool:
    """Whether it could start if nothing else ran. One that tolerates a lower level may fit at that."""
    if here.cap_w is None or (spec.tolerated_permille and offer.levels):
        return True
    return power_bound(here, spec, offer) <= here.cap_w - here.base_w


def rows(
    here: ThisHub,
    asks: Sequence[Asked],
    runs: Sequence[Run],
    rules: Rules,
    books: Books,
    away: Away = NOTHING,
    *,
    now: int,
) -> Rows:
    """Everything that the decision is taken on under `rules`, for the jobs that may start at all."""
    possible = [a for a in asks if a.offers]
    allocations = sorted({str(a.job.allocation_id) for a in possible})
    limits = {a: books.policies(a) for a in allocations}
    rooms = [(a, u, booking.room(a, u, p, books.balance)) for a in allocations for u, p in sorted(limits[a].items())]
    partitions = {row.id: row for row in _partitions(here)}
    # a run on what is no longer connected holds nothing that could be given away; a pool that lost its share has none
    running = tuple(row for row in _runs([r for r in runs if not is_ahead(r)]) if row.option.partition in partitions)
    drawn = {a.job.allocation.pool for a in possible} | {row.pool for row in running}
    shares = {**dict.fromkeys(drawn, 0), **here.shares}
    return record.in_order(
        Rows(
            partitions=tuple(partitions.values()),
            sites=(SiteRow(id=here.site, cap_w=here.cap_w, base_w=here.base_w + away.watts),),
            pools=tuple(PoolRow(id=p, share_ppm=s * powered_ppm(here) // PPM) for p, s in sorted(shares.items())),
            rooms=tuple(rooms),
            jobs=tuple(job_row(here, a, rules, books, now=now) for a in possible),
            runs=running,
            blocks=tuple(block for block in away.blocks if block.partition in partitions),
            outlooks=_outlooks(here, now) if rules.defer and any(a.spec.start_by_ms for a in possible) else (),
        )
    )


def powered_ppm(here: ThisHub) -> int:
    """How much of the devices the cap lets draw their most at once: shares are of what can be had.

    A pool that is entitled to more than there are watts for would be owed time for ever, who asks for most the most.
    """
    most = sum(o.milli_devices * o.device_w for o in here.offers if o.device != "core") * here.pue_permille // MILLI**2
    if here.cap_w is None or not most:
        return PPM
    return min(max(here.cap_w - here.base_w, 0) * PPM // most, PPM)


def place(
    here: ThisHub,
    ask: Asked,
    offer: fits.Offer,
    bound: dict[str, object],
    books: Books,
    level: Level | None = None,
) -> Placement:
    """A start on what `offer` hands out, with the devices and cores of `bound`, at `level` (None: the top one)."""
    spec = levels.at(ask.spec, level)
    full = {**bound, "power_w": power_bound(here, spec, offer), "memory_mb": spec.memory_mb, "site": offer.site}
    if level is not None:
        top_w = power_bound(here, ask.spec, offer)
        full |= {"level": asdict(level), "walltime_ms": spec.walltime_ms, "top_w": top_w}
    frozen = books.frozen(offer.unit)
    return Placement(offer, full, holds(here, ask, spec, offer, books), frozen)


def _outlooks(here: ThisHub, now: int) -> tuple[OutlookRow, ...]:
    """The intensity that is expected, hour by hour, as far as somebody says; none without hourly files."""
    start, values = now // HOUR_MS * HOUR_MS, []
    if here.hourly is None:
        return ()
    for hour in range(HOURS_AHEAD):
        try:
            values.append(here.hourly.expected(start + hour * HOUR_MS)[0].mg_per_kwh)
        except FabriqueError:
            break
    return (OutlookRow(site=here.site, start_ms=start, step_ms=HOUR_MS, values=tuple(values)),) if values else ()


def _partitions(here: ThisHub) -> list[PartitionRow]:
    """One row a partition; devices of several kinds count together here, and `act.bind` tells them apart."""
    found: dict[str, PartitionRow] = {}
    for o in here.offers:
        devices = 0 if o.device == "core" else o.milli_devices
        if o.partition in found:
            row = found[o.partition]
            found[o.partition] = replace(row, milli_devices=row.milli_devices + devices)
            continue
        found[o.partition] = PartitionRow(
            id=o.partition,
            kind=o.kind,
            site=o.site,
            milli_devices=devices,
            milli_cores=o.cores * 1000,
            memory_mb=o.memory_mb,
        )
    return list(found.values())


def job_row(here: ThisHub, ask: Asked, rules: Rules, books: Books, *, now: int) -> JobRow:
    """A pending job as the decision knows it; who states a latest start agrees to be put off until then.

    It asks for what its longest level would hold: what it is started at is never more.
    """
    job, spec = ask.job, ask.spec
    waits = job.status == JobState.PENDING.value
    # admitted ahead: its hold stands already, and it was told what it runs at
    lower = lower_levels(here, ask, books, now=now) if waits and rules.watts == "levels" else ()
    asks = holds(here, ask, spec, ask.offers[0], books) if waits else {}
    priority = _priority(str(job.allocation_id), asks, books)
    return JobRow(
        id=str(job.number),
        pool=job.allocation.pool,
        project=job.project.code,
        allocation=str(job.allocation_id),
        options=options(here, ask, lower),
        milli_devices=spec.milli_devices,
        milli_cores=spec.cores * 1000,
        memory_mb=spec.memory_mb or 0,
        walltime_ms=spec.walltime_ms,
        priority=priority,
        submitted_ms=job.submitted_ms,
        not_before_ms=max(_not_before(spec), job.allocation.starts_ms),
        latest_ms=spec.start_by_ms,
        preemptible=spec.preemptible,
        elastic=bool(lower),
        asks=tuple(sorted(most_held(asks, lower).items())),
    )


def _not_before(spec: JobSpec) -> int:
    return spec.not_before_ms or (0 if spec.awaits is None else _SOMEBODY_S_WORD_MS)


def _priority(allocation: str, asks: Mapping[Unit, int], books: Books) -> int:
    """0; below it for a job that would draw on the margin of an allocation whose policy is to degrade."""
    margins = [u for u, p in books.policies(allocation).items() if p.exhaustion is Exhaustion.DEGRADE]
    beyond = (asks.get(u, 0) > books.balance(booking.account(allocation, "available"), u) for u in margins)
    return LOW if any(beyond) else 0


def _runs(runs: Sequence[Run]) -> Iterator[RunRow]:
    ending = [run.id for run in runs if run.job.status == JobState.ENDING.value]
    leaving = (
        set(Intent.objects.filter(run__in=ending, act="preempt").values_list("run_id", flat=True)) if ending else ()
    )
    for run in runs:
        spec = specs.needs(run.job)
        started = run.started_ms or run.planned_ms
        yield RunRow(
            id=str(run.id),
            job=str(run.job_id),
            pool=run.job.allocation.pool,
            project=run.job.project.code,
            option=OptionRow(
                partition=run.partition,
                power_w=int(run.bound.get("power_w", 0)),
                level=run.level.name if run.level else "",
            ),
            milli_devices=spec.milli_devices,
            milli_cores=spec.cores * 1000,
            memory_mb=spec.memory_mb or 0,
            walltime_ms=run.walltime_ms,  # at its level
            priority=0,
            submitted_ms=run.job.submitted_ms,
            started_ms=started,
            ends_ms=started + run.walltime_ms,
            preemptible=spec.preemptible,
            leaving=run.id in leaving,
        )
