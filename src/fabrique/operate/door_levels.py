"""Power levels of jobs that came by the cluster's own door: their limit, watt licences and level, before their release.

A job of which one of these can't be changed runs at the top level, as if none was chosen.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from django.db import transaction

from fabrique.apps import in_bulk
from fabrique.apps.jobs import specs
from fabrique.apps.jobs.models import Run
from fabrique.apps.jobs.settlement import LIVE
from fabrique.apps.this_hub import ThisHub
from fabrique.engines.slurm.files import door as door_file
from fabrique.engines.slurm.files import levels
from fabrique.engines.slurm.files.levels import Level
from fabrique.engines.slurm.files.render import licence_name
from fabrique.engines.slurm.model import QueuedJob, Unread
from fabrique.operate.observe import intent_of

log = logging.getLogger("fabrique.loop")

_NUMBER = "number"  # of the run at the cluster, under which its level stands
_LEVEL = ("level", "walltime_ms", "top_w", _NUMBER)  # what a level adds to what is bound


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
    own = [run for run in runs if run.handle]
    lowered = _lowered_before(own)
    bending = [run for run in own if specs.needs(run.job).tolerated_permille or run.job_id in lowered]
    if not bending or not isinstance(door, Reshaping):
        return
    folder = here.home / levels.LEVELS
    # also at the top level: an earlier attempt may have left a longer limit, and fewer licences
    refused = _reshaped(door, here, bending)
    _at_top(door, here, [run for run in bending if run.level is not None and intent_of(run) in refused])
    try:
        forget_over(folder, *door.queue())
    except OSError as error:
        log.warning("power levels of jobs that are over are not forgotten yet: %s", error)
    numbers = door.numbers([run.handle for run in bending])
    _at_top(door, here, [run for run in bending if not _written(folder, run, numbers.get(run.handle))])
    _keep_numbers([run for run in bending if run.level is not None], numbers)


def _lowered_before(runs: Iterable[Run]) -> set[int]:
    """Jobs of which an earlier attempt was lowered: its user may have taken back the consent since."""
    again = [run.job_id for run in runs if run.attempt > 1]
    if not again:
        return set()
    return set(Run.objects.filter(job__in=again, bound__has_key="level").values_list("job_id", flat=True))


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
    """Levels of jobs that are over, but for these: neither the queue has them, nor, by the books, a run that goes on.
    A task that waits is shown in its array's row, under a number that is not its own. Raises OSError.
    """
    if unread:
        return
    alive = Run.objects.filter(state__in=LIVE, bound__has_key=_NUMBER).values_list("bound", flat=True)
    levels.keep_only(folder, {*but, *(one.job_id for one in known), *(int(bound[_NUMBER]) for bound in alive)})


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


def _keep_numbers(runs: Sequence[Run], numbers: Mapping[str, int]) -> None:
    """Before the release, so that nothing is forgotten that may start."""
    new = [run for run in runs if run.bound.get(_NUMBER) != numbers[run.handle]]
    if not new:
        return
    for run in new:
        run.bound = {**run.bound, _NUMBER: numbers[run.handle]}
    with transaction.atomic():
        in_bulk.rewrite(new, ["bound"])


def _at_top(door: Reshaping, here: ThisHub, runs: Sequence[Run]) -> None:
    """They run as they were asked after all; what that draws beyond what was planned, the cluster's licences bound."""
    if not runs:
        return
    for run in runs:
        top_w = run.bound.get("top_w", run.bound["power_w"])
        run.bound = {**{k: v for k, v in run.bound.items() if k not in _LEVEL}, "power_w": top_w}
    with transaction.atomic():
        in_bulk.rewrite(runs, ["bound"])
    _reshaped(door, here, runs)
