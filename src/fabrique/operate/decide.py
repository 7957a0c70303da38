"""Decide: the live state as the decision's arrays, and its plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fabrique.apps.access.models import AllocationState
from fabrique.apps.jobs import specs
from fabrique.apps.jobs.cycle import Placement
from fabrique.apps.jobs.models import Job, Run
from fabrique.apps.ledger import services as ledger
from fabrique.apps.this_hub import ThisHub
from fabrique.core import booking
from fabrique.core.admission import filter as fits
from fabrique.core.admission import state as rows
from fabrique.core.admission.decide import step
from fabrique.core.admission.plan import Plan
from fabrique.core.admission.rules import Rules
from fabrique.core.booking import Exhaustion, Frozen, Policy
from fabrique.core.job import JobSpec
from fabrique.core.reasons import Reason, reason
from fabrique.core.units import Unit

LOW = -1


@dataclass(frozen=True, slots=True)
class Asked:
    """A pending job with the offers its filter left; none, and why, when it can never start as things stand."""

    job: Job
    spec: JobSpec
    offers: tuple[fits.Offer, ...]
    refusal: Reason | None


def too_late(job: Job, *, now: int) -> Reason | None:
    """Why a pending job can't start any more, if time has decided."""
    latest = specs.of(job).start_by_ms
    if latest is not None and latest < now:
        return reason("refuse.deadline", latest_start=latest)
    if job.allocation.state != AllocationState.OPEN or job.allocation.ends_ms <= now:
        return reason("refuse.allocation-ended", time=job.allocation.ends_ms)
    return None


def asked(here: ThisHub, jobs: Sequence[Job]) -> list[Asked]:
    """Phase 0 for every pending job: the offers that its allocation has a budget for."""
    found = []
    policies = {a: ledger.policies(a) for a in {str(job.allocation_id) for job in jobs}}
    for job in jobs:
        spec = specs.of(job)
        offers, why = fits.candidates(spec, here.offers)
        limits = policies[str(job.allocation_id)]
        found.append(Asked(job, spec, tuple(o for o in offers if o.unit in limits), why))
    return found


def plan(here: ThisHub, asks: Sequence[Asked], runs: Sequence[Run], rules: Rules, *, now: int) -> Plan:
    """The decision's answer for every job that may start at all."""
    possible = [a for a in asks if a.offers]
    allocations = sorted({str(a.job.allocation_id) for a in possible})
    policies = {a: ledger.policies(a) for a in allocations}
    rooms = [(a, u, booking.room(a, u, p, ledger.balance)) for a in allocations for u, p in sorted(policies[a].items())]
    frozen = {u: here.frozen(u, now) for u in sorted({a.offers[0].unit for a in possible})}
    state = rows.build(
        _partitions(here),
        [rows.SiteRow(id=here.site, cap_w=here.cap_w, base_w=here.base_w)],
        [rows.PoolRow(id=p, share_ppm=s) for p, s in sorted(here.shares.items())],
        rooms,
        [_job(here, a, policies[str(a.job.allocation_id)], frozen[a.offers[0].unit]) for a in possible],
        [_run(r) for r in runs],
    )
    return step(state, rules, now)


def holds(
    here: ThisHub, ask: Asked, offer: fits.Offer, limits: Mapping[Unit, Policy], frozen: Frozen
) -> dict[Unit, int]:
    """What a start would set aside."""
    return dict(fits.bounds(ask.spec, offer, limits, frozen, here.pue_permille))


def place(here: ThisHub, ask: Asked, offer: fits.Offer, bound: dict[str, object], *, now: int) -> Placement:
    """A start on what `offer` hands out, with the devices and cores of `bound`."""
    limits = ledger.policies(str(ask.job.allocation_id))
    watts = fits.power_bound(ask.spec, offer, here.pue_permille)
    full = {**bound, "power_w": watts, "memory_mb": ask.spec.memory_mb, "site": offer.site}
    frozen = here.frozen(offer.unit, now)
    return Placement(offer, full, holds(here, ask, offer, limits, frozen), frozen)


def _partitions(here: ThisHub) -> list[rows.PartitionRow]:
    """One row a partition; devices of several kinds count together here, and `act.bind` tells them apart."""
    found: dict[str, rows.PartitionRow] = {}
    for o in here.offers:
        devices = 0 if o.device == "core" else o.milli_devices
        if o.partition in found:
            row = found[o.partition]
            found[o.partition] = replace(row, milli_devices=row.milli_devices + devices)
            continue
        found[o.partition] = rows.PartitionRow(
            id=o.partition,
            kind=o.kind,
            site=o.site,
            milli_devices=devices,
            milli_cores=o.cores * 1000,
            memory_mb=o.memory_mb,
        )
    return list(found.values())


def _job(here: ThisHub, ask: Asked, limits: Mapping[Unit, Policy], frozen: Frozen) -> rows.JobRow:
    job, spec, offer = ask.job, ask.spec, ask.offers[0]
    asks = holds(here, ask, offer, limits, frozen)
    return rows.JobRow(
        id=str(job.number),
        pool=job.allocation.pool,
        allocation=str(job.allocation_id),
        partitions=tuple(dict.fromkeys(o.partition for o in ask.offers)),
        milli_devices=spec.milli_devices,
        milli_cores=spec.cores * 1000,
        memory_mb=spec.memory_mb or 0,
        power_w=max(fits.power_bound(spec, o, here.pue_permille) for o in ask.offers),
        walltime_ms=spec.walltime_ms,
        priority=_priority(str(job.allocation_id), asks, limits),
        submitted_ms=job.submitted_ms,
        not_before_ms=max(spec.not_before_ms or 0, job.allocation.starts_ms),
        asks=tuple(sorted(asks.items())),
    )


def _priority(allocation: str, asks: Mapping[Unit, int], limits: Mapping[Unit, Policy]) -> int:
    """0; below it for a job that would draw on the margin of an allocation whose policy is to degrade."""
    margins = [u for u, p in limits.items() if p.exhaustion is Exhaustion.DEGRADE]
    beyond = (asks.get(u, 0) > ledger.balance(booking.account(allocation, "available"), u) for u in margins)
    return LOW if any(beyond) else 0


def _run(run: Run) -> rows.RunRow:
    spec = specs.of(run.job)
    return rows.RunRow(
        id=str(run.id),
        pool=run.job.allocation.pool,
        partition=run.partition,
        milli_devices=spec.milli_devices,
        milli_cores=spec.cores * 1000,
        memory_mb=spec.memory_mb or 0,
        power_w=int(run.bound.get("power_w", 0)),
        ends_ms=(run.started_ms or run.planned_ms) + spec.walltime_ms,
    )
