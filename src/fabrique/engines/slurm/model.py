"""What is read of a Slurm cluster, in our units: jobs in the queue, nodes, and the accounting's records.

Times are UTC milliseconds, memory is MB, energy mJ. `None`: Slurm does not say (its sentinels never get this far).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

OUT: Final = frozenset({"DRAIN", "FAIL", "NOT_RESPONDING", "MAINTENANCE"})  # flags of a node that takes no job
OURS: Final = "run-"  # the name of a job that the hub submitted is its intent
# the handle of a job that came by Slurm's own door: its id (of the array, with the task) and its submission
THEIRS: Final = re.compile(r"slurm-(\d+)(?:-t(\d+))?-(\d+)")
LICENCE_SERVER: Final = "fabrique"  # a licence that changes live is a resource of the accounting: `fabrique_w@fabrique`


@dataclass(frozen=True, slots=True)
class Tres:
    """Trackable resources of a job or node, all nodes together. `gpus` by type, "" where Slurm names none.

    A configuration may count `gres/gpu`, `gres/gpu:TYPE` or both: `devices` never counts the same one twice.
    """

    cores: int = 0
    memory_mb: int = 0
    nodes: int = 0
    gpus: Mapping[str, int] = field(default_factory=dict)
    billing: int | None = None
    energy_mj: int | None = None
    licences: Mapping[str, int] = field(default_factory=dict)

    @property
    def devices(self) -> int:
        """Whole devices: the untyped total where there is one (it counts the typed ones too), else the typed ones."""
        return self.gpus[""] if "" in self.gpus else sum(self.gpus.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedJob:
    """One job, or one task of an array, as the controller knows it now; it forgets a job minutes after its end.

    `state` is Slurm's base state (PENDING, RUNNING, COMPLETED, …), `flags` what it adds (COMPLETING, REQUEUED, …).
    A pending array is one entry with all its `task_ids` until Slurm splits it (`tasks` of them, at most `tasks_at_once`
    together); each task has a job id of its own only from then on. `reason` is Slurm's own word.
    """

    job_id: int
    name: str
    user: str
    account: str
    qos: str
    partition: str
    state: str
    flags: frozenset[str] = frozenset()
    reason: str = ""
    array_id: int | None = None
    array_task: int | None = None
    tasks: int = 1
    task_ids: tuple[int, ...] = ()
    tasks_at_once: int | None = None
    submitted_ms: int
    eligible_ms: int | None = None
    started_ms: int | None = None
    ended_ms: int | None = None
    limit_ms: int | None = None  # None: unlimited
    nodes: tuple[str, ...] = ()
    asked: Tres = Tres()
    devices_per_node: int = 0  # asked of each node; 0: of the job as a whole
    given: Tres = Tres()
    priority: int | None = None  # 0: held
    nice: int = 0
    restarts: int = 0
    batch: bool = True  # False: srun or salloc
    exclusive: bool = False
    requeue: bool = False
    comment: str = ""
    admin_comment: str = ""
    dependency: str = ""
    features: str = ""
    output: str = ""
    exit_code: int | None = None
    signal: int | None = None

    @property
    def held(self) -> bool:
        return self.state == "PENDING" and self.priority == 0

    @property
    def handle(self) -> str:
        """The intent of one that the hub submitted; else its id with its submission, which a requeue renews."""
        return handle_of(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """`state` is Slurm's base state (IDLE, MIXED, ALLOCATED, DOWN, …), `flags` what it adds (DRAIN, POWERED_DOWN, …).

    `watts` and `energy_mj` are its own meter's, None where it has none.
    """

    name: str
    state: str
    flags: frozenset[str] = frozenset()
    partitions: tuple[str, ...] = ()
    total: Tres = Tres()
    used: Tres = Tres()
    watts: int | None = None
    energy_mj: int | None = None
    reason: str = ""

    @property
    def up(self) -> bool:
        """Whether it runs jobs, or could once it is powered up."""
        return self.state in ("IDLE", "MIXED", "ALLOCATED") and not self.flags & OUT


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One run of one job as the accounting kept it (`sacct -D -X`), with the bytes it was read from.

    Its key is (cluster, job, submission, start): a requeued job leaves a record a run. `state` is Slurm's base state;
    `ended_ms` None: still running by the accounting's word. `energy_mj` is None for Slurm's sentinels, and is the job's
    own only where `exclusive` or where a per-job meter stands behind it. `cpu_ms` is user and system time.
    """

    cluster: str
    job_id: int
    array_id: int | None = None
    array_task: int | None = None
    name: str
    user: str
    account: str
    qos: str
    partition: str
    state: str
    submitted_ms: int
    eligible_ms: int | None = None
    started_ms: int | None
    ended_ms: int | None
    elapsed_ms: int  # whole seconds, as Slurm counts it; `resized.told_apart` leaves a rest those since the resize
    limit_ms: int | None = None
    nodes: tuple[str, ...] = ()
    asked: Tres = Tres()
    given: Tres = Tres()
    exit_code: int | None = None
    signal: int | None = None
    cpu_ms: int | None = None
    max_rss_bytes: int | None = None
    energy_mj: int | None = None
    exclusive: bool | None = None
    restarts: int | None = None
    suspended_ms: int = 0
    cancelled_by: str = ""  # the uid or name Slurm gives
    comment: str = ""
    admin_comment: str = ""
    clock_set_back: bool = False  # the controller's, between submission and start
    raw: bytes = b""

    @property
    def is_rest(self) -> bool:
        """Whether it is what was left of a job that was resized while it ran: it begins at its submission."""
        return self.started_ms is not None and self.started_ms < self.submitted_ms and not self.clock_set_back

    @property
    def key(self) -> str:
        start = "never" if self.started_ms is None else str(self.started_ms // 1000)
        return f"{self.cluster}/{self.job_id}/{self.submitted_ms // 1000}/{start}"

    @property
    def handle(self) -> str:
        return handle_of(self)


def handle_of(job: QueuedJob | Record, task: int | None = None) -> str:
    """The engine's name of one run: the same in the queue and in the accounting. `task`: one of a pending array's.

    A name of ours proves nothing by itself: whoever submitted it has to be looked at.
    """
    if job.name.startswith(OURS):
        return job.name
    submitted, task = job.submitted_ms // 1000, job.array_task if task is None else task
    if job.array_id is not None and task is not None:
        return f"slurm-{job.array_id}-t{task}-{submitted}"
    return f"slurm-{job.job_id}-{submitted}"


@dataclass(frozen=True, slots=True)
class Unread:
    """A line or element that could not be read: kept whole, so that somebody can; it never stops the others."""

    raw: bytes
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One batch job to submit. `user` None: as the user that the hub runs as. `held`: it waits until released."""

    intent: str
    script: bytes
    user: str | None
    account: str
    qos: str | None
    partition: str
    nodes: int
    cores: int
    memory_mb: int | None
    gres: str | None  # a node's, as Slurm writes it: gpu:h100:2
    limit_ms: int
    output: str
    folder: str
    environment: Mapping[str, str] = field(default_factory=dict)
    signal: str | None = None  # sent `lead_ms` before the limit
    lead_ms: int = 0
    licences: Mapping[str, int] = field(default_factory=dict)
    comment: str = ""
    held: bool = False


Target = int | tuple[int, int]  # a job; or one task of an array: the array's job, the task


def target_of(job: QueuedJob, task: int | None = None) -> Target:
    """What to call a job when something is done to it: an array's own id would mean every task of it."""
    task = job.array_task if task is None else task
    return job.job_id if job.array_id is None or task is None else (job.array_id, task)


@dataclass(frozen=True, slots=True)
class Change:
    """What is changed of a job that Slurm knows; None leaves it. `priority` above 0 also releases it, 0 holds it.

    A hold is refused where the job has started. Slurm itself takes it then, and its accounting forgets the run: it was
    never eligible, and neither sacct nor sreport shows it. A later start it refuses, so that is asked for first; then
    the job has its own begin again, `begin_ms`, or none.

    `comment` None leaves it as it is; an empty one clears it.
    """

    job_id: Target
    priority: int | None = None
    comment: str | None = None
    admin_comment: str | None = None
    limit_ms: int | None = None
    nice: int | None = None
    licences: Mapping[str, int] | None = None  # all that a job asks for which waits
    let_go: bool = False  # released with the priority that Slurm itself gives it
    begin_ms: int | None = None  # with a hold


@dataclass(frozen=True, slots=True)
class Denied:
    """A change that Slurm refused, with its own words."""

    job_id: Target
    why: str


Way = Literal["commands", "rest"]


class Transport(Protocol):
    """How a cluster is reached. Every method may raise `engine.unavailable` (no answer, or not in time) and
    `engine.garbage` (an answer that can't be read); none is silently replaced by the other way.
    """

    acts_as_user: bool  # whether the cluster takes a submission on a user's behalf for that user's own, at its door too

    def version(self) -> tuple[int, int]:
        """Slurm's release: (22, 5)."""

    def queue(self) -> tuple[list[QueuedJob], list[Unread]]:
        """Every job the controller knows, ended ones too for as long as it keeps them."""

    def tasks(self, wanted: Collection[tuple[int, int]]) -> list[QueuedJob]:
        """Those of these tasks of arrays that Slurm has split from them: a queue may show all that wait as one."""

    def nodes(self) -> list[Node]:
        """Every node, those that are down or powered down too."""

    def records(
        self,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        jobs: Collection[int] = (),
        names: Collection[str] = (),
    ) -> tuple[list[Record], list[Unread]]:
        """The accounting's records, duplicates of requeued jobs included, that touch [since_ms, until_ms), or of these
        jobs or names alone. Raises `engine.unavailable` while the accounting database is away.
        """

    def submit(self, order: Order) -> int:
        """Slurm's id of the new job. NOT safe to repeat: the engine makes it so. Raises `engine.refused`."""

    def change(self, changes: Sequence[Change]) -> list[Denied]:
        """In the order given, in as few calls as the transport can."""

    def cancel(self, jobs: Sequence[Target]) -> None:
        """TERM, then KILL after the cluster's KillWait. A job that is over or unknown is no error."""

    def signal(self, jobs: Sequence[Target], name: str) -> None:
        """The signal to the batch script alone, as a warning comes; REST 0.0.38 knows the whole job only."""

    def requeue(self, jobs: Sequence[Target], *, hold: bool) -> list[Denied]:
        """Ends the run and puts the job back in the queue, held where `hold`."""
