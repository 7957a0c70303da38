"""A hub on a scripted Slurm cluster whose nodes set power levels, under rules that choose them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.unit.clusters import CLUSTER, NODES, ClusterBench, Slurm
from tests.unit.scripted import T0

from fabrique.apps.jobs import services as jobs
from fabrique.apps.jobs.models import Job
from fabrique.apps.ledger import services as ledger
from fabrique.core import booking
from fabrique.core.admission.levels import Level
from fabrique.core.job import whole_minutes
from fabrique.core.units import unit
from fabrique.definitions import rules as rule_sets
from fabrique.engines.protocol import RunSpec
from fabrique.engines.slurm.files import levels as level_files
from fabrique.engines.slurm.model import OURS, QueuedJob, Tres, handle_of

A40 = unit("acc-ms:a40")
SWEPT = NODES.model_copy(update={"kind": "a40", "device_w": 300, "limit_w": 300, "gres": "gpu:a40"})
LEVELLED = CLUSTER.model_copy(update={"levels": True, "partitions": (SWEPT,)})
LEVEL = Level(174, 929, 776)
SPARING = rule_sets.load("sparing")
HEADER = "#!/bin/sh\n#fabrique accelerators: 1\n#fabrique walltime: 100m\n"


class Queue(dict[int, QueuedJob]):
    """The scripted queue, as the test writes in it and as the engine is asked for it."""

    def __call__(self) -> tuple[list[QueuedJob], list[Any]]:
        return list(self.values()), []


class Prolog(Slurm):
    """A cluster whose nodes set levels: it starts nothing before the level stands where they look."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.queue = Queue()
        self.specs: dict[str, RunSpec] = {}
        self.ids: dict[str, int] = {}
        self.stiff = False  # nothing of a job can be changed
        self.found: dict[str, tuple[level_files.Level | None, int | None]] = {}  # level and limit at the release
        self.licences: dict[str, dict[str, int]] = {}

    def submit(self, spec: RunSpec) -> None:
        super().submit(spec)
        self.specs[spec.intent] = spec
        number = self.ids.setdefault(spec.intent, 70 + len(self.ids))
        asked = Tres(cores=1, nodes=1, gpus={"": 1})
        self.queue[number] = QueuedJob(
            job_id=number, name=spec.intent, user="hub", account="proteins", qos="", partition="gpu", state="PENDING",
            submitted_ms=T0, limit_ms=spec.walltime_ms, priority=0, asked=asked, given=asked,
        )  # fmt: skip

    def reshape(self, limits: Mapping[str, int], licences: Mapping[str, Mapping[str, int]]) -> set[str]:
        refused = set()
        self._split(limits)
        for number, job in self.queue.items():
            if job.handle in limits and self.stiff:
                refused.add(job.handle)
            elif job.handle in limits:
                self.queue[number] = replace(job, limit_ms=whole_minutes(limits[job.handle]))
                self.licences[job.handle] = dict(licences.get(job.handle, {}))
        return refused

    def numbers(self, handles: Sequence[str]) -> dict[str, int]:
        return {job.handle: job.job_id for job in self.queue.values() if job.handle in handles and job.tasks == 1}

    def _split(self, handles: Collection[str]) -> None:
        """As Slurm does it: a task that is changed gets the next number, the last one keeps the array's."""
        for array in [job for job in self.queue.values() if job.task_ids]:
            left = list(array.task_ids)
            for task in array.task_ids:
                if handle_of(array, task) not in handles or self.stiff:
                    continue
                left.remove(task)
                number = max(self.queue) + 1 if left else array.job_id
                self.queue[number] = replace(array, job_id=number, array_task=task, task_ids=(), tasks=1)
            if left:
                self.queue[array.job_id] = replace(array, task_ids=tuple(left), tasks=len(left))

    def release(self, intents: Sequence[str], *, early: bool = False) -> None:
        for job in self.queue.values():
            if job.handle in intents and not job.name.startswith(OURS):
                level = level_files.read(self.folder, job.job_id) if self.folder.is_dir() else None
                self.found[job.handle] = level, job.limit_ms
        super().release(intents, early=early)

    def job_of(self, intent: str) -> int | None:
        return self.ids.get(intent)


class LevelBench(ClusterBench):
    def form(self) -> dict[str, object]:
        return {"kind": "a40", "hours": "100"}

    def new_loop(self) -> Any:
        self.slurm = self.engine = Prolog(self.here.home / level_files.LEVELS)
        from fabrique.operate import loop as loops
        from fabrique.operate.cluster_metering import ClusterMetering

        metering = ClusterMetering(self.here, LEVELLED, self.slurm.nodes)
        return loops.Loop(self.here, {"lab": self.slurm}, metering, lambda: self.now, rules=SPARING)

    def asks(self, header: str = "", **flags: str) -> Job:
        script = (HEADER + header + "true\n").encode()
        return jobs.submit(self.person, self.project.code, script, flags, now=self.now)

    def told(self, job: Job) -> RunSpec:
        return self.engine.specs[self.intent(job)]

    def level_of(self, job: Job) -> level_files.Level | None:
        return level_files.read(self.engine.folder, self.engine.ids[self.intent(job)])

    def used(self) -> int:
        return ledger.balance(booking.account(str(self.project.allocations.get().id), "used"), A40)

    engine: Prolog
