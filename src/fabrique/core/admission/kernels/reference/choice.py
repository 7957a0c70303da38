"""At which place and power level a job starts, and whether a flexible one waits for a better hour."""

from __future__ import annotations

from fabrique.core.admission.kernels.reference.fitting import fits
from fabrique.core.admission.kernels.reference.model import Job, Option, Place, Step
from fabrique.core.admission.kernels.reference.questions import cap, free_devices, planned, slots, used_mw
from fabrique.core.admission.tables import PPM, UNLIMITED


def choose(step: Step, job: Job) -> Option | None:
    """The first option that fits; where power is short for all who ask, the level of an even share at its place."""
    fitting = [option for option in job.profile.options if fits(step, job, option)]
    if not fitting:
        return None
    first = fitting[0]
    if not (step.flags.water_fill and step.contended):
        step.world.saw("choose-first")
        return first
    here = [option for option in fitting if option.place is first.place]
    limit = even_mw(step, first.place)
    modest = [option for option in here if option.mw <= limit]
    if not modest:
        step.world.saw("choose-least")
        return min(here, key=lambda o: (o.mw, o.row))
    best = min(modest, key=lambda o: (-o.speed, o.mw, o.row))
    above = min((option for option in here if option.mw > limit), key=lambda o: (o.mw, o.row), default=None)
    if above is not None and above.speed > best.speed and spares_even(step, job, above, limit):
        step.world.saw("choose-above")
        return above
    step.world.saw("choose-even")
    return best


def even_mw(step: Step, place: Place) -> int:
    """What each device could draw if free ones and those of elastic runs shared evenly what is left to them, in the
    tightest domain.
    """
    shares = [UNLIMITED]
    for domain in place.chain:
        limit = cap(domain, step.now, step.now)
        if limit != UNLIMITED:
            elastic = [run for run in step.world.runs if run.job.elastic and domain in run.place.chain]
            left = limit - used_mw(step.world, domain) + sum(run.mw for run in elastic)
            devices = free_devices(step.world, domain) + sum(run.job.need[0] for run in elastic)
            shares.append(left * 1000 // max(devices, 1))
    return min(shares)


def spares_even(step: Step, job: Job, option: Option, even: int) -> bool:
    """Whether every other device that is free could still have the even share."""
    return all(
        cap(domain, step.now, step.now) - used_mw(step.world, domain) - job.watts(option)
        >= even * (free_devices(step.world, domain) - job.need[0]) // 1000
        for domain in option.place.chain
    )


def better_slot(step: Step, job: Job) -> int | None:
    """When a flexible job had better start; None: now."""
    world, option = step.world, job.first
    if step.now >= job.latest or not grid_end(step):
        world.saw("too-late-to-defer")
        return None
    length, end = job.length(option), grid_end(step)
    if step.now < world.grid_begin or step.now + length > end:
        world.saw("beyond-forecast")
        return None
    starts = [
        at
        for at in range(world.grid_begin, end, world.grid_step)
        if step.now < at <= job.latest and at + length <= end and has_room(step, job, at)
    ]
    if not starts:
        world.saw("no-slot")
        return None
    site, now_costs = option.place.site, cost(step, option.place.site, step.now, length)
    best = min(starts, key=lambda at: (cost(step, site, at, length), at))
    saving = now_costs - cost(step, site, best, length)
    if saving > 0 and saving * 1000 >= abs(now_costs) * step.flags.floor_permille:
        return best
    world.saw("not-worth")
    return None


def grid_end(step: Step) -> int:
    """Until when the grid is forecast; 0 without a forecast."""
    count = len(step.world.grid[0]) - 1 if step.world.grid else 0
    return step.world.grid_begin + count * step.world.grid_step if count > 0 else 0


def cost(step: Step, site: int, begin: int, length: int) -> int:
    return summed(step, site, begin + length) - summed(step, site, begin)


def summed(step: Step, site: int, at: int) -> int:
    """The grid's sum up to an instant, even inside a slot."""
    world = step.world
    k, into = divmod(at - world.grid_begin, world.grid_step)
    row = world.grid[site]
    if k == len(row) - 1:
        return row[-1]
    return row[k] + (row[k + 1] - row[k]) * into // world.grid_step


def has_room(step: Step, job: Job, at: int) -> bool:
    """Whether those put off to the same slots leave room on the place."""
    place = job.first.place
    limit = place.capacity[0] * step.flags.fill_ppm // PPM
    taken = slots(step.world, at, at + job.length(job.first))
    if all(planned(step.world, place, k) + job.need[0] <= limit for k in taken):
        return True
    step.world.saw("slot-full")
    return False
