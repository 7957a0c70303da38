"""What is free, used, asked for: each counted again from the runs and jobs whenever it is asked."""

from __future__ import annotations

from fabrique.core.admission.kernels.reference.model import Cohort, Domain, Job, Place, Pool, Project, Step, World
from fabrique.core.admission.tables import AWAY, PPM, READY, UNLIMITED


def free(world: World, place: Place) -> list[int]:
    """What no run holds, a resource; blocks not taken off."""
    left = list(place.capacity)
    for run in world.runs:
        if run.place is place:
            left = [have - need for have, need in zip(left, run.job.need, strict=True)]
    return left


def used_mw(world: World, domain: Domain) -> int:
    return sum(run.mw for run in world.runs if domain in run.place.chain)


def free_devices(world: World, domain: Domain) -> int:
    return sum(free(world, place)[0] for place in world.places if domain in place.chain)


def pool_used(world: World, pool: Pool) -> int:
    return sum(run.weight for run in world.runs if run.job.pool is pool)


def cohort_used(world: World, cohort: Cohort) -> int:
    return sum(run.weight for run in world.runs if run.job.pool.cohort is cohort)


def pending(world: World, pool: Pool) -> int:
    return sum(job.asked for job in world.jobs if job.status == READY and job.pool is pool)


def rate(world: World, project: Project) -> int:
    return sum(run.weight for run in world.runs if run.job.project is project)


def contended(world: World) -> bool:
    """Whether more is asked for than is free, in normalised devices."""
    asked = sum(pending(world, pool) for pool in world.pools)
    return asked > sum(free(world, place)[0] * place.weight_ppm // PPM for place in world.places)


def cap(domain: Domain, at: int, now_ms: int) -> int:
    """The cap at an instant, as far as it is known now."""
    mw = UNLIMITED
    for row in domain.caps:
        if row.begin <= at and row.known <= now_ms:
            mw = row.mw
    return mw


def free_at(step: Step, place: Place, at: int) -> list[int]:
    """What is free on a place at an instant from now on, by the ends that are expected."""
    taken = [run.job.need for run in step.world.runs if run.place is place and run.until(step.now) > at]
    taken += [block.need for block in step.world.blocks if block.place is place and block.begin <= at < block.until]
    taken += [kept.job.need for kept in step.reservations if kept.option.place is place and kept.begin <= at < kept.end]
    return [have - sum(need[r] for need in taken) for r, have in enumerate(place.capacity)]


def mw_at(step: Step, domain: Domain, at: int) -> int:
    """The power left in a domain at an instant from now on; UNLIMITED without a cap."""
    limit = cap(domain, at, step.now)
    if limit == UNLIMITED:
        return UNLIMITED
    drawn = sum(run.mw for run in step.world.runs if domain in run.place.chain and run.until(step.now) > at)
    kept = [x for x in step.reservations if domain in x.option.place.chain and x.begin <= at < x.end]
    return limit - drawn - sum(x.job.watts(x.option) for x in kept)


def slots(world: World, begin: int, end: int) -> range:
    """The slots of the grid that [begin, end) overlaps."""
    count = len(world.grid[0]) - 1 if world.grid else 0
    first = (begin - world.grid_begin) // world.grid_step
    last = (end - 1 - world.grid_begin) // world.grid_step
    return range(max(first, 0), min(last + 1, count))


def planned(world: World, place: Place, slot: int) -> int:
    """Devices promised on a place to the jobs that were put off and are not back."""
    return sum(
        job.need[0]
        for job in world.jobs
        if job.status == AWAY and job.deferred == 1 and job.first.place is place and slot in promised(world, job)
    )


def promised(world: World, job: Job) -> range:
    return slots(world, job.not_before, job.not_before + job.length(job.first))
