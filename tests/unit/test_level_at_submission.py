"""A run of the hub's own at a power level: its nodes find the level before it can start, whatever dies in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.clusters import T0

from fabrique.core.errors import FabriqueError
from fabrique.engines.protocol import JobUser, RunSpec
from fabrique.engines.slurm.files import levels
from fabrique.engines.slurm.files.levels import Level
from fabrique.engines.slurm.model import QueuedJob
from fabrique.operate.act import Levelled, submit_at_level

pytestmark = pytest.mark.django_db
SPEC = RunSpec(
    intent="run-00000001", name="1", script=b"x", core_count=1, walltime_ms=1, user=JobUser("p"), power_limit_w=420
)


class Cluster:
    """What the levels need of an engine; it dies before the act named in `dies`."""

    def __init__(self, folder: Path, dies: str = "") -> None:
        self.folder, self.dies = folder, dies
        self.acts: list[str] = []
        self.held = self.there = self.started = False

    def _act(self, name: str) -> None:
        if name == self.dies:
            raise KeyboardInterrupt
        self.acts.append(name)

    def hold(self, intents: list[str]) -> None:
        self._act("hold")
        if self.started:
            raise FabriqueError("engine.refused", why="started", intents=intents)
        self.held = True

    def submit(self, spec: RunSpec) -> None:
        self._act("submit")
        self.there = True
        if not self.held:
            self.start()

    def release(self, intents: list[str]) -> None:
        self._act("release")
        self.held = False
        self.start()

    def start(self) -> None:
        assert levels.read(self.folder, 7) == Level("limit_w", 420), "it started before its level stood there"
        self.started = True

    def job_of(self, intent: str) -> int | None:
        return 7 if self.there else None

    def queue(self) -> tuple[list[QueuedJob], list[Any]]:
        plain = {"name": "x", "user": "u", "account": "a", "qos": "q", "partition": "p", "state": "RUNNING"}
        return [QueuedJob(job_id=5, submitted_ms=T0, **plain)], []


@pytest.mark.parametrize("dies", ["", "hold", "submit", "release"])
def test_the_level_stands_there_before_the_job_can_start(tmp_path: Path, dies: str) -> None:
    for job in (3, 5):  # one that is over, one that runs
        levels.put(tmp_path, job, Level("limit_w", 300))
    cluster = Cluster(tmp_path, dies)
    engine = cast(Levelled, cluster)
    if dies:
        with pytest.raises(KeyboardInterrupt):
            submit_at_level(engine, tmp_path, SPEC, 420)
        cluster.dies = ""
    submit_at_level(engine, tmp_path, SPEC, 420)
    assert cluster.started
    assert (levels.read(tmp_path, 3), levels.read(tmp_path, 5)) == (None, Level("limit_w", 300))
    submit_at_level(engine, tmp_path, SPEC, 420)  # the answer was lost: nothing more is done
    assert cluster.acts[-1] == "hold"


def test_a_level_that_can_not_be_written_leaves_the_job_held(tmp_path: Path) -> None:
    (tmp_path / "levels").write_text("a file")
    cluster = Cluster(tmp_path / "levels")
    with pytest.raises(FabriqueError, match=r"engine\.unavailable"):
        submit_at_level(cast(Levelled, cluster), tmp_path / "levels", SPEC, 420)
    assert not cluster.started
