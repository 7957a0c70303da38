"""A Slurm in memory, behind the same transport as the real one, that forgets, hangs and lies on demand."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from fabrique.core.errors import FabriqueError
from fabrique.engines.protocol import JobUser, RunSpec, Where
from fabrique.engines.slurm.engine import SlurmEngine
from fabrique.engines.slurm.model import Change, Denied, Node, Order, QueuedJob, Record, Target, Tres, Unread
from fabrique.engines.slurm.placing import Settings

T0 = 1_800_000_000_000


class FakeSlurm:
    """`away`: which of queue, records and submit do not answer. `deaf`: a submission is taken, but not answered."""

    def __init__(self) -> None:
        self.acts_as_user = False
        self.now = T0
        self.jobs: dict[int, QueuedJob] = {}
        self.split: list[QueuedJob] = []  # tasks that the queue shows in their array's row
        self.kept: list[Record] = []
        self.unread: list[Unread] = []
        self.away: set[str] = set()
        self.deaf = False
        self.orders: list[Order] = []
        self.changes: list[Change] = []
        self.cancelled: list[Target] = []
        self.signals: list[tuple[Target, str]] = []
        self.asked: list[str] = []
        self._next = 100

    def clock(self) -> int:
        return self.now

    def _answer(self, what: str) -> None:
        self.asked.append(what)
        if what in self.away:
            raise FabriqueError("engine.unavailable", why=f"{what} is away")

    # --- the transport --------------------------------------------------------------------------------------------

    def version(self) -> tuple[int, int]:
        return 22, 5

    def queue(self) -> tuple[list[QueuedJob], list[Unread]]:
        self._answer("queue")
        return list(self.jobs.values()), list(self.unread)

    def tasks(self, wanted: Collection[tuple[int, int]]) -> list[QueuedJob]:
        self._answer("tasks")
        return [job for job in self.split if (job.array_id, job.array_task) in wanted]

    def nodes(self) -> list[Node]:
        self._answer("nodes")
        total = Tres(96, 1_000_000, 0, {"": 4, "h100": 4})
        up = Node(name="gpu01", state="IDLE", partitions=("gpu", "flex"), total=total)
        asleep = replace(up, name="gpu02", flags=frozenset({"POWERED_DOWN"}))
        down = replace(up, name="gpu03", state="DOWN")
        return [up, asleep, down, replace(up, name="cpu01", partitions=("cpu",))]

    def records(
        self,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        jobs: Collection[int] = (),
        names: Collection[str] = (),
    ) -> tuple[list[Record], list[Unread]]:
        self._answer("records")
        everything = not jobs and not names
        return [r for r in self.kept if everything or r.job_id in jobs or r.name in names], []

    def submit(self, order: Order) -> int:
        self.asked.append("submit")
        if "submit" in self.away:
            raise FabriqueError("engine.unavailable", why="connect failure")
        if order.account == "refused":
            raise FabriqueError("engine.refused", why="Invalid account")
        self.orders.append(order)
        held = order.held or (self.acts_as_user and order.user is not None)  # by the door, as a person's own
        job = self.add(order.intent, order.user or "root", account=order.account, priority=0 if held else 100)
        if self.deaf:
            raise FabriqueError("engine.unavailable", why="no answer in time")
        return job.job_id

    def change(self, changes: Sequence[Change]) -> list[Denied]:
        self.changes += changes
        for change in changes:
            job = self.jobs.get(change.job_id) if isinstance(change.job_id, int) else None
            if job is None:
                continue
            priority = 100 if change.let_go else change.priority
            new = {
                "priority": job.priority if priority is None else priority,
                "comment": job.comment if change.comment is None else change.comment,
                "admin_comment": job.admin_comment if change.admin_comment is None else change.admin_comment,
            }
            self.jobs[job.job_id] = replace(job, **new)  # type: ignore[arg-type]
        return []

    def cancel(self, jobs: Sequence[Target]) -> None:
        self.cancelled += jobs

    def signal(self, jobs: Sequence[Target], name: str) -> None:
        self.signals += [(job, name) for job in jobs]

    def requeue(self, jobs: Sequence[Target], *, hold: bool) -> list[Denied]:
        return []

    # --- what happens in the cluster ------------------------------------------------------------------------------

    def add(self, name: str, user: str = "alice", **fields: object) -> QueuedJob:
        """A job that waits, unless `fields` say otherwise."""
        self._next += 1
        whole = {"account": "lab_a", "qos": "normal", "partition": "gpu", "state": "PENDING", "submitted_ms": self.now}
        job = QueuedJob(job_id=self._next, name=name, user=user, **{**whole, **fields})  # type: ignore[arg-type]
        self.jobs[job.job_id] = job
        return job

    def start(self, job_id: int) -> None:
        self.jobs[job_id] = replace(self.jobs[job_id], state="RUNNING", started_ms=self.now, nodes=("gpu01",))

    def end(self, job_id: int, state: str = "COMPLETED", **fields: object) -> None:
        ended: dict[str, object] = {"state": state, "ended_ms": self.now, "exit_code": 0, **fields}
        self.jobs[job_id] = replace(self.jobs[job_id], **ended)  # type: ignore[arg-type]

    def forget(self, job_id: int) -> QueuedJob:
        """As the controller does some minutes after the end."""
        return self.jobs.pop(job_id)

    def account_for(self, job: QueuedJob, **fields: object) -> Record:
        """The accounting's record of a job as it stands."""
        ended = fields.get("ended_ms", job.ended_ms)
        whole: dict[str, object] = {
            "cluster": "lab",
            "job_id": job.job_id,
            "name": job.name,
            "user": job.user,
            "account": job.account,
            "qos": job.qos,
            "partition": job.partition,
            "state": job.state,
            "submitted_ms": job.submitted_ms,
            "started_ms": job.started_ms,
            "ended_ms": ended,
            "elapsed_ms": 0 if ended is None or job.started_ms is None else int(ended) - job.started_ms,  # type: ignore[call-overload]
            "nodes": job.nodes,
            "exit_code": job.exit_code,
            "signal": job.signal,
        }
        record = Record(**{**whole, **fields})  # type: ignore[arg-type]
        self.kept.append(record)
        return record


# --- an engine on it ------------------------------------------------------------------------------------------------

RUN = "run-00000001"


def connector(slurm: FakeSlurm, runs: Path) -> Callable[..., SlurmEngine]:
    """Each call is another engine on the same folder; every question is a new look unless `look_ms` says otherwise."""
    settings = Settings(cluster="lab", partitions=("gpu",), runs=runs, login="root", look_ms=0)
    return lambda **changes: SlurmEngine(slurm, replace(settings, **changes), slurm.clock)


def spec(intent: str = RUN, script: bytes = b"#!/bin/sh\ntrue\n", **fields: object) -> RunSpec:
    whole = {"where": Where("gpu", "lab_a"), "user": JobUser("p"), "core_count": 4, "walltime_ms": 90_000}
    return RunSpec(intent=intent, name="a-job", script=script, **{**whole, **fields})  # type: ignore[arg-type]


def submit(engine: SlurmEngine, intent: str = RUN, **fields: object) -> int:
    """The id of its job."""
    engine.submit(spec(intent, **fields))
    return next(job.job_id for job in engine.queue()[0] if job.name == intent)
