"""Whose turn it is."""

from __future__ import annotations

from fabrique.core.admission.kernels.reference.model import Job, Line, Pool, Step
from fabrique.core.admission.kernels.reference.questions import pool_used
from fabrique.core.admission.tables import PPM, READY


def next_job(step: Step) -> tuple[Job, bool] | None:
    """The next job not considered yet, and whether its age alone put it first; None at the end."""
    left = [job for job in step.world.jobs if job.status == READY and job.row not in step.considered]
    if not left:
        return None
    aged = [job for job in left if 0 < step.flags.age_ms <= step.now - job.submit]
    if aged:
        step.world.saw("aged")
        return min(aged, key=lambda job: job.row), True
    return min(left, key=lambda job: (pool_rank(step, job.pool), line_rank(step, job.line), job.row)), False


def pool_rank(step: Step, pool: Pool) -> tuple[int, int, int]:
    """The pool owed most first, then the one that uses least of its quota."""
    if not step.flags.share_order:
        return 0, 0, pool.row
    quota = max(pool.nominal, 1)
    return -(pool.owed // quota), pool_used(step.world, pool) * PPM // quota, pool.row


def line_rank(step: Step, line: Line) -> tuple[int, int, int]:
    """The highest priority first, then the project that used least for its weight."""
    excess = 0
    if step.flags.fair and line.project is not None:
        excess = line.project.use // max(line.project.weight, 1)
    return -line.priority, excess, line.row
