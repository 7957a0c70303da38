"""What happens to a world: time passes, jobs come and end, runs start, are stopped or change their level."""

from __future__ import annotations

from fabrique.core.admission.kernels.reference.model import Job, Option, Run, World
from fabrique.core.admission.kernels.reference.questions import pending, pool_used, rate
from fabrique.core.admission.rules import Flags
from fabrique.core.admission.tables import AWAY, DONE, PPM, READY, RUNNING, V_NONE

DAY_MS = 86_400_000
_DAYS = 400  # a use so old has decayed to nothing
_DOUBLINGS = 6


def advance(world: World, flags: Flags, now_ms: int) -> None:
    """Let time pass up to `now_ms`: what pools are owed, what projects used."""
    passed = now_ms - world.last
    if passed <= 0:
        return
    if flags.share_order:
        for pool in world.pools:
            used = pool_used(world, pool)
            demand = min(pool.nominal, used + pending(world, pool))
            pool.owed = min(max(pool.owed + passed * (demand - used), 0), flags.window_ms * pool.nominal)
            world.saw("owed" if pool.owed else "nothing-owed")
    today = now_ms // DAY_MS
    if flags.fair:
        for project in world.projects:
            project.use += passed * rate(world, project)
            for _ in range(min(today - world.day, _DAYS)):
                world.saw("decay")
                whole, rest = divmod(project.use, PPM)
                project.use = whole * flags.decay_ppm + rest * flags.decay_ppm // PPM
    world.day = today
    world.last = now_ms


def ready(world: World, job: Job) -> None:
    """The job asks to start. What was promised to it while it was put off is free again."""
    if job.deferred == 1:
        world.saw("back-from-deferral")
        job.deferred = 2
    job.status = READY
    job.say()


def end(world: World, job: Job) -> None:
    """The job's run is over; what it held is free."""
    world.runs.remove(world.run_of(job))
    job.status = DONE


def start(world: World, job: Job, option: Option, now_ms: int) -> None:
    for row, ask in job.asks:
        world.room[row] -= ask
    job.status = RUNNING
    job.say(V_NONE)
    finish = now_ms + job.length(option)
    weight = job.weight(option.place)
    world.runs.append(Run(job, option, now_ms, finish, job.watts(option), weight, option, leaving=False))


def preempt(world: World, run: Run, backoff_ms: int, now_ms: int) -> None:
    """Stop a run; its job may come back after a while, longer each time. Its hold is given back."""
    job = run.job
    world.runs.remove(run)
    job.status = AWAY
    job.preemptions += 1
    job.not_before = now_ms + backoff_ms * 2 ** min(job.preemptions - 1, _DOUBLINGS)
    for row, ask in job.asks:
        world.room[row] += ask


def recap(run: Run, option: Option, now_ms: int) -> None:
    """Another power level from now on: what is left takes longer or shorter. `run.chosen` stays."""
    run.end = end_at(run, option, now_ms)
    run.mw = run.job.watts(option)
    run.option = option


def end_at(run: Run, option: Option, now_ms: int) -> int:
    """When the run would end at another power level from now on."""
    if run.end <= now_ms:
        return run.end
    return now_ms + -(-(run.end - now_ms) * run.option.speed // option.speed)
