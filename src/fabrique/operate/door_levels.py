"""Power levels of jobs that came by the cluster's own door: their limit, watt licences and level, before their release.

A job of which one of these can't be changed runs at the top level, as if none was chosen.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from django.db import transaction

from fabrique.apps.jobs import specs
from fabrique.apps.jobs.models import Run
from fabrique.apps.this_hub import ThisHub
from fabrique.engines.slurm.files import door as door_file
from fabrique.engines.slurm.files import levels
from fabrique.engines.slurm.files.levels import Level
from fabrique.engines.slurm.files.render import licence_name
from fabrique.engines.slurm.model import QueuedJob, Unread
from fabrique.operate.intake import tolerated
from fabrique.operate.observe import intent_of

log = logging.getLogger("fabrique.loop")

_LEVEL = ("level", "walltime_ms", "top_w")  # what a level adds to what is bound


@runtime_checkable
class Reshaping(Protocol):
    """A door that changes the time limits and licences of jobs that wait; it answers those that stay as they were.

    A task of an array that it changed has a number of its own from then on.
    """

    def reshape(self, limits: Mapping[str, int], licences: Mapping[str, Mapping[str, int]]) -> set[str]: ...
    def numbers(self, handles: Sequence[str]) -> Mapping[str, int]: ...
    def queue(self) -> tuple[Sequence[QueuedJob], Sequence[Unread]]: ...


def prepare(door: object, here: ThisHub, runs: Sequence[Run]) -> None:
    """Before their release, and before each repeat of it. Raises what the engine raises."""
    bending = [run for run in runs if run.handle and specs.needs(run.job).tolerated_permille]
    if not bending or not isinstance(door, Reshaping):
        return
    folder = here.home / levels.LEVELS
    # also at the top level: an earlier attempt may have left a longer limit, and fewer licences
    refused = _reshaped(door, here, bending)
    _at_top(door, here, [run for run in bending if run.level is not None and intent_of(run) in refused])
    forget_over(folder, *door.queue())
    numbers = door.numbers([run.handle for run in bending])
    _at_top(door, here, [run for run in bending if not _written(folder, run, numbers.get(run.handle))])


def _reshaped(door: Reshaping, here: ThisHub, runs: Sequence[Run]) -> set[str]:
    limits = {intent_of(run): run.walltime_ms for run in runs}
    cluster = here.deployment.cluster
    if cluster is None or cluster.watt_licence is None:
        return door.reshape(limits, {})
    name, there = licence_name(cluster.watt_licence), door_file.licences(here.home / door_file.STATE)
    return door.reshape(limits, {intent_of(run): {name: there.units(int(run.bound["power_w"]))} for run in runs})


def forget_over(
    folder: Path, known: Sequence[QueuedJob], unread: Sequence[Unread], *, but: Collection[int] = ()
) -> None:
    """Levels of jobs that are over, but for these. None while an array waits that may have some: its tasks are shown
    as one, and bear numbers of their own. Raises OSError.
    """
    if not unread and not any(one.tasks > 1 and tolerated(one.comment) for one in known):
        levels.keep_only(folder, {*but, *(one.job_id for one in known)})


def _written(folder: Path, run: Run, number: int | None) -> bool:
    level = run.level
    if number is None:
        return level is None
    try:
        if level is None:
            levels.drop(folder, number)
        else:
            levels.put(folder, number, Level("limit_w", level.limit_w))
    except (OSError, ValueError) as error:
        log.warning("the power level of job %s can't be written: %s", run.handle, error)
        return level is None
    return True


def _at_top(door: Reshaping, here: ThisHub, runs: Sequence[Run]) -> None:
    """They run as they were asked after all; what that draws beyond what was planned, the cluster's licences bound."""
    if not runs:
        return
    for run in runs:
        top_w = run.bound.get("top_w", run.bound["power_w"])
        run.bound = {**{k: v for k, v in run.bound.items() if k not in _LEVEL}, "power_w": top_w}
    with transaction.atomic():
        Run.objects.rewrite(runs, ["bound"])
    _reshaped(door, here, runs)
