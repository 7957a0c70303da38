"""The power levels of jobs that came by the cluster's own door: their limit and their level, before they are released.

A job whose limit can't be changed, or whose level can't be written, runs at the top level, as if none was chosen.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from django.db import transaction

from fabrique.apps.jobs import specs
from fabrique.apps.jobs.models import Run
from fabrique.engines.slurm.files import levels
from fabrique.engines.slurm.files.levels import Level
from fabrique.engines.slurm.model import THEIRS
from fabrique.operate.act import Levelled
from fabrique.operate.observe import intent_of

log = logging.getLogger("fabrique.loop")


@runtime_checkable
class Stretching(Protocol):
    """A door that changes the time limits of jobs that wait; it answers those whose limit stays as it was."""

    def stretch(self, limits: Mapping[str, int]) -> set[str]: ...


def prepare(door: object, folder: Path, runs: Sequence[Run]) -> None:
    """Before their release, and before each repeat of it. Raises what the engine raises."""
    bending = [run for run in runs if run.handle and specs.needs(run.job).tolerated_permille]
    if not bending or not isinstance(door, Stretching):
        return
    # also at the top level: an earlier attempt may have left a longer limit
    refused = door.stretch({intent_of(run): run.walltime_ms for run in bending})
    _at_top([run for run in bending if run.level is not None and intent_of(run) in refused])
    _forget_old(door, folder)
    unwritten = [run for run in bending if not _written(folder, run)]
    if unwritten:
        door.stretch({intent_of(run): int(run.job.spec["walltime_ms"]) for run in unwritten})
        _at_top(unwritten)


def _written(folder: Path, run: Run) -> bool:
    match, level = THEIRS.fullmatch(run.handle), run.level
    if match is None:
        return level is None
    try:
        if level is None:
            levels.drop(folder, int(match[1]))
        else:
            levels.put(folder, int(match[1]), Level("limit_w", level.limit_w))
    except (OSError, ValueError) as error:
        log.warning("the power level of job %s can't be written: %s", run.handle, error)
        return level is None
    return True


def _forget_old(door: object, folder: Path) -> None:
    """Levels of jobs that are over."""
    if isinstance(door, Levelled):
        known, unread = door.queue()
        if not unread:
            levels.keep_only(folder, {one.job_id for one in known})


@transaction.atomic
def _at_top(runs: Sequence[Run]) -> None:
    """They run as they were asked after all."""
    for run in runs:
        run.bound = {k: v for k, v in run.bound.items() if k not in ("level", "walltime_ms")}
    if runs:
        Run.objects.rewrite(runs, ["bound"])
