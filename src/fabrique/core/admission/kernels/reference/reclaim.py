"""A pool takes back what it lent."""

from __future__ import annotations

from fabrique.core.admission.kernels.reference import events
from fabrique.core.admission.kernels.reference.fitting import fits
from fabrique.core.admission.kernels.reference.model import Job, Option, Pool, Run, Step
from fabrique.core.admission.kernels.reference.power import yielding
from fabrique.core.admission.kernels.reference.questions import pool_used


def reclaim(step: Step, job: Job) -> Option | None:
    """Stop as few runs as it takes at the job's first choice; its option there, or None and nothing changed."""
    world, option = step.world, job.first
    if pool_used(world, job.pool) + job.weight(option.place) > job.pool.nominal:
        world.saw("reclaim-beyond-quota")
        return None
    taken = take_off(step, job, option)
    if taken is None:
        return None
    for run in list(taken):
        world.runs.append(run)
        if fits(step, job, option):
            world.saw("reclaim-pruned")
            taken.remove(run)
        else:
            world.runs.remove(run)
    for run in taken:
        world.runs.append(run)
        give_way(step, run, job)
    world.saw("reclaim")
    return option


def take_off(step: Step, job: Job, option: Option) -> list[Run] | None:
    """Take runs off, first those that yield first, until the job fits; None, and all are back, if it never does."""
    taken: list[Run] = []
    for run in candidates(step, job, option):
        if run.job.pool is not job.pool and not borrows(step, run.job.pool):
            step.world.saw("reclaim-no-longer-borrows")
            continue
        step.world.runs.remove(run)
        taken.append(run)
        if fits(step, job, option):
            return taken
    step.world.runs.extend(taken)
    step.world.saw("reclaim-failed" if taken else "reclaim-nobody")
    return None


def candidates(step: Step, job: Job, option: Option) -> list[Run]:
    return sorted(
        (run for run in step.world.runs if run.place is option.place and may_stop(step, run, job)), key=cheapest
    )


def cheapest(run: Run) -> tuple[int, ...]:
    """Whom to take first: the lowest priority, then who writes checkpoints, the smallest of them first, since a restart
    costs as many devices as the run has; then as runs yield.
    """
    priority, *last = yielding(run)
    return priority, not run.job.preemptible, run.weight if run.job.preemptible else 0, *last


def may_stop(step: Step, run: Run, job: Job) -> bool:
    """Whether the run may be stopped for the job: a borrower's, or a lower priority's of its own pool."""
    if run.leaving or not (run.job.preemptible or step.flags.reclaim_any):
        return False
    if step.now - run.start < step.flags.min_run_ms:
        step.world.saw("reclaim-too-young")
        return False
    pool = run.job.pool
    if pool is job.pool:
        return bool(step.flags.preempt_lower) and run.job.line.priority < job.line.priority
    return pool.cohort is not None and pool.cohort is job.pool.cohort and borrows(step, pool)


def borrows(step: Step, pool: Pool) -> bool:
    return pool_used(step.world, pool) > pool.nominal


def give_way(step: Step, run: Run, job: Job) -> None:
    if run.job.pool is not job.pool:
        run.job.pool.no_borrow = step.now + step.flags.backoff_ms
    else:
        step.world.saw("reclaim-own-lower")
    events.preempt(step.world, run, step.flags.backoff_ms, step.now)
    step.decision.preempts.append((run.job.row, job.row))
