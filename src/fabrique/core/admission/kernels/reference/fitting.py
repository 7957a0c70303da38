"""Whether a job fits: now, at the critical instants ahead, and when at the earliest."""

from __future__ import annotations

from fabrique.core.admission.kernels.reference.model import Critical, Job, Option, Pool, Reservation, Step
from fabrique.core.admission.kernels.reference.questions import cohort_used, free_at, mw_at, pool_used
from fabrique.core.admission.tables import V_POWER, V_QUOTA, V_RESOURCE


def foreseen(step: Step) -> list[Critical]:
    """The instants ahead at which a cap changes or a block begins, as known now."""
    changes = [
        Critical("cap", row.begin, None, (domain,))
        for domain in step.world.domains
        for row in domain.caps
        if row.known <= step.now < row.begin
    ]
    return changes + [
        Critical("block", block.begin, block.place, ()) for block in step.world.blocks if block.begin > step.now
    ]


def fits(step: Step, job: Job, option: Option) -> bool:
    """Whether it may start now: nothing lacks, the quotas allow it, and it makes nothing foreseen fall short."""
    if lacking(step, job, option, step.now) is not None:
        return False
    if step.flags.pools and not within_quota(step, job.pool, job.weight(option.place)):
        return False
    return all(spared(step, c, job, option) for c in passed(step, step.now, step.now + job.length(option)))


def passed(step: Step, begin: int, end: int) -> list[Critical]:
    """The critical instants strictly inside."""
    return [critical for critical in step.criticals if begin < critical.at < end]


def lacking(step: Step, job: Job, option: Option, at: int) -> tuple[int, int, int] | None:
    """The first thing that lacks at an instant: (verdict, asked, free); None when nothing does."""
    left = free_at(step, option.place, at)
    for r, need in enumerate(job.need):
        if need > 0 and left[r] < need:
            return V_RESOURCE + r, need, max(left[r], 0)
    watts = job.watts(option)
    for domain in option.place.chain:
        if mw_at(step, domain, at) < watts:
            return V_POWER, watts, max(mw_at(step, domain, at), 0)
    return None


def spared(step: Step, critical: Critical, job: Job, option: Option) -> bool:
    """Whether what is left at the critical instant suffices for the job too."""
    kept = True
    if critical.place is option.place:
        left = free_at(step, option.place, critical.at)
        kept = all(left[r] >= need for r, need in enumerate(job.need) if need > 0)
    covered = [domain for domain in option.place.chain if domain in critical.domains]
    kept = kept and all(mw_at(step, domain, critical.at) >= job.watts(option) for domain in covered)
    if not kept:
        step.world.saw(f"would-break-{critical.kind}")
    return kept


def borrowable(step: Step, pool: Pool) -> int:
    if step.now < pool.no_borrow:
        step.world.saw("may-not-borrow")
        return 0
    return pool.borrow


def within_quota(step: Step, pool: Pool, weight: int) -> bool:
    """Whether a pool may take so much more: within its own limit, and leaving the others what they don't lend."""
    world = step.world
    if pool_used(world, pool) + weight > pool.nominal + borrowable(step, pool):
        return False
    if pool.cohort is None:
        return True
    others = [other for other in world.pools if other is not pool and other.cohort is pool.cohort]
    kept = sum(max(0, other.nominal - other.lend - pool_used(world, other)) for other in others)
    if cohort_used(world, pool.cohort) + weight + kept <= pool.cohort.size:
        return True
    world.saw("cohort-full")
    return False


def binding(step: Step, job: Job) -> tuple[int, int, int] | None:
    """What keeps the job from starting at its first choice now; None: it would only come before its turn."""
    option, pool = job.first, job.pool
    lack = lacking(step, job, option, step.now)
    if lack is not None:
        return lack
    weight = job.weight(option.place)
    if step.flags.pools and not within_quota(step, pool, weight):
        limit = pool.nominal + borrowable(step, pool)
        return V_QUOTA, weight, max(0, limit - pool_used(step.world, pool))
    return None


def reserve(step: Step, job: Job) -> int | None:
    """The job's earliest start, of all its places, kept for it if it is near enough; None: it never fits."""
    found = [(at, n) for n, option in enumerate(job.profile.thrifty) if (at := earliest(step, job, option)) is not None]
    if not found:
        return None
    begin, n = min(found)
    option = job.profile.thrifty[n]
    waited = step.now - max(job.submit, job.not_before)
    if step.flags.drain_permille and (begin - step.now) * 1000 > step.flags.drain_permille * waited:
        step.world.saw("not-drained")
        return begin
    step.reservations.append(Reservation(job, option, begin, begin + job.length(option)))
    step.criticals.append(Critical("reservation", begin, option.place, tuple(option.place.chain)))
    return begin


def earliest(step: Step, job: Job, option: Option) -> int | None:
    """The first instant after now at which something changes for the better and the job fits for its whole length."""
    for at in changes(step):
        ahead = passed(step, at, at + job.length(option))
        if lacking(step, job, option, at) is None and all(spared(step, c, job, option) for c in ahead):
            return at
    return None


def changes(step: Step) -> list[int]:
    """When runs, reservations and blocks end and caps change, after now."""
    world = step.world
    instants = {run.until(step.now) for run in world.runs}
    instants |= {kept.end for kept in step.reservations}
    instants |= {block.until for block in world.blocks}
    instants |= {row.begin for domain in world.domains for row in domain.caps if row.known <= step.now}
    return sorted(at for at in instants if at > step.now)
