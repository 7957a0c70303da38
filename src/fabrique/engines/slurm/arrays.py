"""Arrays by slurmrestd from 24.11 on: it changes what has a number of its own, which a task has once it was split off.

Tasks that wait together bear their array's number: they are changed together, or not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from fabrique.engines.slurm.model import Change, Denied, QueuedJob, Target

ALONE: Final = "slurmrestd changes no single task of an array that waits"


def together(
    changes: Sequence[Change], jobs: Iterable[QueuedJob]
) -> tuple[list[Change], Mapping[Target, Sequence[Target]], list[Denied]]:
    """The changes by number, the tasks that each number stands for, and what can't be.

    Tasks that wait together are changed where all of them are to become the same, but for their priorities: the highest
    is the array's. A task that is there no more is passed over, as Slurm does.
    """
    tasks: dict[tuple[int, int], QueuedJob] = {}
    for job in jobs:
        if job.array_id is not None:
            numbers = job.task_ids or (() if job.array_task is None else (job.array_task,))
            tasks |= {(job.array_id, number): job for number in numbers}
    made = [change for change in changes if isinstance(change.job_id, int)]
    parts: dict[int, list[Change]] = {}
    for change in changes:
        if not isinstance(change.job_id, int) and change.job_id in tasks:
            parts.setdefault(tasks[change.job_id].job_id, []).append(change)
    denied: list[Denied] = []
    for number, alike in parts.items():
        there = {target for target, job in tasks.items() if job.job_id == number}
        one = max((replace(change, job_id=number) for change in alike), key=lambda change: change.priority or 0)
        same = all(replace(change, job_id=number, priority=_way(one, change)) == one for change in alike)
        if same and there == {change.job_id for change in alike}:
            made.append(one)
        else:
            denied += [Denied(change.job_id, ALONE) for change in alike]
    return made, {number: [change.job_id for change in alike] for number, alike in parts.items()}, denied


def _way(one: Change, change: Change) -> int | None:
    """Held, released or left: which priority a release gives makes no difference."""
    return one.priority if one.priority and change.priority else change.priority
