"""A hub on a scripted Slurm cluster: the queue says what the test writes in it, and does what the hub tells it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.unit.scripted import T0, Bench, Engine

from fabrique.apps import this_hub
from fabrique.apps.access.models import Project
from fabrique.apps.jobs.models import Job
from fabrique.apps.provision.models import GivenName, NameSort, Place
from fabrique.core.errors import FabriqueError
from fabrique.definitions import deployment as files
from fabrique.definitions.cluster import Cluster, ClusterPartition
from fabrique.engines.protocol import Observation, Usage
from fabrique.engines.slurm.model import OURS, Node, QueuedJob, Record, Tres, Unread
from fabrique.operate import founding

NODES = ClusterPartition(
    id="gpu", names=("gpu", "flex"), kind="h100-sxm", core_kind="local-core", gres="gpu:h100",
    nodes=2, devices=4, cores=32, memory_mb=100_000, idle_w=500, device_w=600, core_w=4,
)  # fmt: skip
CLUSTER = Cluster(
    engine="lab", cluster="lab", site="lasalle", zone="CA-QC", cap_w=20_000, cap_basis="assumed",
    conf="/nowhere/slurm.conf", bin="/nowhere", partitions=(NODES,),
)  # fmt: skip
ACCOUNT = "proteins"


def found_on_cluster(home: Path, cluster: Cluster = CLUSTER) -> this_hub.ThisHub:
    """A hub at LaSalle whose deployment names the cluster; its tables are furnished."""
    this_hub.forget()
    made = founding.make_home(home, "ca-lasalle-hub", port=8000, now=T0)
    engines = (files.EngineOf(name="lab", kind="slurm", partitions=tuple(p.id for p in cluster.partitions)),)
    text = files.write(made.model_copy(update={"clusters": (cluster,), "engines": engines}))
    (home / files.FILE_NAME).write_text(text, encoding="utf-8")
    this_hub.forget()
    return founding.furnish(now=T0)


class Slurm(Engine):
    """The scripted engine with a door of its own. `queue` is by job id; nothing starts unless the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: dict[int, QueuedJob] = {}
        self.shown: dict[str, str] = {}
        self.released: list[str] = []
        self.ahead: list[str] = []
        self.order: list[str] = []  # of those ahead, where it was told anew
        self.book: dict[str, Record] = {}  # what the accounting has, by key
        self.unread: list[Unread] = []
        self.mute = False  # the accounting database is away
        self.asked: list[tuple[int, int | None]] = []  # windows that were read
        self.machines: list[Node] = []
        self.joules: dict[int, int] = {}  # what stands with the jobs' steps alone, in mJ

    def sbatch(self, job_id: int, **more: Any) -> QueuedJob:
        asked = Tres(cores=4, memory_mb=1_000, nodes=1, gpus={"": 1})
        plain: dict[str, Any] = {
            "name": "train", "user": "alice", "account": ACCOUNT, "qos": "normal", "partition": "gpu",
            "state": "PENDING", "submitted_ms": T0, "limit_ms": 600_000, "priority": 0, "asked": asked, "given": asked,
        }  # fmt: skip
        self.queue[job_id] = QueuedJob(job_id=job_id, **{**plain, **more})
        return self.queue[job_id]

    def starts(self, job_id: int, at_ms: int) -> str:
        """Slurm starts it; answers its handle."""
        job = self.queue[job_id] = replace(self.queue[job_id], state="RUNNING", started_ms=at_ms, priority=100)
        self.answers[job.handle] = Observation(
            job.handle, "running", started_ms=at_ms, last_seen_ms=at_ms, usage=Usage(cpu_ms=0)
        )
        return job.handle

    def ends(self, job_id: int, at_ms: int, cause: str = "completed", **more: Any) -> None:
        job = self.queue.pop(job_id)
        started = {} if job.started_ms is None else {"started_ms": job.started_ms}
        self.answers[job.handle] = Observation(
            job.handle, "ended", cause, ended_ms=at_ms, **started, **more,  # type: ignore[arg-type]
        )  # fmt: skip

    def arrivals(self) -> Sequence[QueuedJob]:
        self._up()
        return [job for job in self.queue.values() if not job.name.startswith(OURS)]

    def ours(self) -> Sequence[QueuedJob]:
        self._up()
        return [job for job in self.queue.values() if job.name.startswith(OURS)]

    def ran(self, job_id: int, started_ms: int | None = None, elapsed_ms: int = 60_000, **more: Any) -> Record:
        """The accounting writes a run down; by default a task of one device that completed."""
        given = Tres(cores=4, memory_mb=1_000, nodes=1, gpus={"": 1})
        plain: dict[str, Any] = {
            "cluster": "lab", "job_id": job_id, "name": "train", "user": "alice", "account": ACCOUNT, "qos": "normal",
            "partition": "gpu", "state": "COMPLETED", "submitted_ms": T0, "started_ms": started_ms,
            "ended_ms": None if started_ms is None else started_ms + elapsed_ms, "elapsed_ms": elapsed_ms,
            "limit_ms": 600_000, "nodes": ("n1",), "asked": given, "given": given, "exit_code": 0,
        }  # fmt: skip
        record = Record(**{**plain, **more})
        self.book[record.key] = record = replace(record, raw=repr(record).encode())
        return record

    def records(self, since_ms: int, until_ms: int | None = None) -> tuple[Sequence[Record], Sequence[Unread]]:
        if self.mute:
            raise FabriqueError("engine.unavailable", engine="lab", why="the accounting is away")
        self.asked.append((since_ms, until_ms))
        until = 1 << 62 if until_ms is None else until_ms
        touching = [r for r in self.book.values() if r.submitted_ms < until and (r.ended_ms or until) >= since_ms]
        return touching, list(self.unread)

    def detailed(self, jobs: Collection[int]) -> Sequence[Record]:
        return [replace(r, energy_mj=self.joules.get(r.job_id)) for r in self.book.values() if r.job_id in jobs]

    def nodes(self) -> Sequence[Node]:
        self._up()
        return list(self.machines)

    def put(self, reasons: Mapping[str, str]) -> None:
        self.shown = dict(reasons)

    def release(self, intents: Sequence[str], *, early: bool = False) -> None:
        self._up()
        (self.ahead if early else self.released).extend(intents)
        for job_id, job in self.queue.items():
            if job.handle in intents:
                self.queue[job_id] = replace(job, priority=10 if early else 1_000)
                self.answers.setdefault(job.handle, Observation(job.handle, "starting"))

    def rank(self, intents: Sequence[str]) -> None:
        self.order = list(intents)

    def hold(self, intents: Sequence[str]) -> None:
        started = [j.handle for j in self.queue.values() if j.handle in intents and j.state != "PENDING"]
        for job_id, job in self.queue.items():
            if job.handle in intents and job.state == "PENDING":
                self.queue[job_id] = replace(job, priority=0)
        if started:
            raise FabriqueError("engine.refused", why="started", intents=started)


class ClusterBench(Bench):
    """A loop on the scripted cluster, a project with a hundred GPU-hours whose account there is `proteins`."""

    engine: Slurm

    def __init__(self, here: this_hub.ThisHub) -> None:
        self.slurm = Slurm()
        super().__init__(here)
        self.engine = self.slurm
        self.loop = self.new_loop()
        self.name_account()

    def new_loop(self) -> Any:
        self.engine = self.slurm
        from fabrique.operate import loop as loops
        from fabrique.operate.cluster_metering import ClusterMetering

        metering = ClusterMetering(self.here, CLUSTER, self.slurm.nodes)
        return loops.Loop(self.here, {"lab": self.slurm}, metering, lambda: self.now)

    def form(self) -> dict[str, object]:
        return {"kind": "h100-sxm", "hours": "100"}

    def name_account(self, name: str = ACCOUNT, project: Project | None = None) -> None:
        project = project or self.project
        given = GivenName.objects.create(engine="lab", sort=NameSort.ACCOUNT, name=name, project=project, given_ms=T0)
        for allocation in project.allocations.all():
            Place.objects.create(engine="lab", allocation=allocation, account=given)

    def another(self, account: str) -> Project:
        """Another project as large, with its own account there."""
        project = self._project("bo@loop.example")[1]
        self.name_account(account, project)
        return project

    def row(self, outside_id: str) -> Job:
        return Job.objects.filter(outside_id=outside_id).latest("number")
