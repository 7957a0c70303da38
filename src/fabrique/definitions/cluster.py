"""A Slurm cluster in the deployment's file: how it is reached, what it has, and who may do what there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from fabrique.definitions.complaints import Complaint
from fabrique.definitions.parts import UNPRINTED, Id, Name, Part, SlurmName, Watts
from fabrique.definitions.yaml import Document


class ClusterPartition(Part):
    """Nodes of one sort in a Slurm cluster, counted for one node. Watts are before the facility's overhead.

    `names`: Slurm's partitions on these nodes, the one that the hub submits to first. `kind` is what its devices are,
    `gres` Slurm's name of one; None where it has none. `core_kind` is under what name cores are handed out to jobs
    without devices; None: they are not. `device_w` and `core_w` are the most above the node's idle draw. `limit_w` is
    the power limit of a device as it ships (None: its kind's); `longest_min` the longest run that Slurm lets be there,
    in minutes (None: no end).
    """

    id: Id
    names: tuple[SlurmName, ...] = Field(min_length=1, max_length=100)
    kind: Id | None = None
    core_kind: Id | None = None
    gres: Annotated[str, Field(pattern=r"^gpu(:[A-Za-z0-9_.-]{1,60})?$")] | None = None
    nodes: int = Field(ge=1, le=100_000)
    devices: int = Field(default=0, ge=0, le=1_024)
    cores: int = Field(ge=1, le=4_096)
    memory_mb: int = Field(ge=1, le=10**9)
    idle_w: Watts
    device_w: Watts
    core_w: Watts
    limit_w: Annotated[int, Field(ge=1, le=5_000)] | None = None
    longest_min: Annotated[int, Field(ge=1, le=10**7)] | None = None

    def above_idle_w(self, devices: int, cores: int) -> int:
        """The most that so many draw above their nodes' idle power, in W."""
        return devices * self.device_w + cores * self.core_w

    @property
    def node_w(self) -> int:
        """The most that one node draws, in W."""
        return self.idle_w + self.above_idle_w(self.devices, self.cores)


class Cluster(Part):
    """A Slurm cluster that the hub runs on. Secrets stay in files of their own: `rest_key` says where.

    `run_as`: whose jobs Slurm sees when they come through the hub: the hub's own user's, or each person's login. `runs`
    is where these jobs start and write, on a file system that the nodes share; None: in the hub's home.
    `accounts` and `qos` name a project's account and QoS there; `parent` is the account that holds them all.
    `energy`: whether Slurm's ConsumedEnergy is metered by node, hence a job's own only where it had its nodes alone, or
    by job. `levels`: slurm.conf names the hub's prolog and epilog, so that a job's power level is set. `door` is what
    happens to a submission while the hub is silent; `hold` whose submissions it may hold. `licence_w` is what one watt
    licence stands for: what a job may draw is counted in whole ones, in the plan and in Slurm.
    """

    engine: Id
    cluster: SlurmName
    site: Id
    zone: Name
    cap_w: Watts = Field(ge=1)
    cap_basis: Literal["measured", "assumed"]
    pue_permille: int = Field(default=1_000, ge=1_000, le=3_000)
    conf: Annotated[str, Field(pattern=rf"^/[^{UNPRINTED}]*$", max_length=1_000)]
    bin: Annotated[str, Field(pattern=rf"^/[^{UNPRINTED}:]*$", max_length=1_000)] = "/usr/bin"
    transport: Literal["commands", "rest"] = "commands"
    rest_url: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.:\[\]-]{1,255}$")] | None = None
    rest_key: Annotated[str, Field(pattern=rf"^/[^{UNPRINTED}]*$", max_length=1_000)] | None = None
    rest_user: SlurmName | None = None
    run_as: Literal["own", "login"] = "own"
    runs: Annotated[str, Field(pattern=rf"^/[^{UNPRINTED}]*$", max_length=1_000)] | None = None
    parent: SlurmName = "fabrique"
    accounts: Annotated[str, Field(pattern=r"^[a-z0-9_{}-]{1,100}$")] = "{project}"
    qos: Annotated[str, Field(pattern=r"^[a-z0-9_{}-]{0,100}$")] = ""
    door: Literal["open", "closed"] = "open"
    hold: Literal["accounts", "all"] = "accounts"
    silent_s: int = Field(default=60, ge=5, le=86_400)
    look_ahead_s: int = Field(default=60, ge=0, le=3_600)
    energy: Literal["nodes", "jobs"] = "nodes"
    levels: bool = False
    watt_licence: SlurmName | None = "fabrique_w"
    licence_w: int = Field(default=100, ge=1, le=1_000)
    partitions: tuple[ClusterPartition, ...] = Field(min_length=1, max_length=1_000)

    @property
    def kinds(self) -> dict[str, str]:
        """Kinds the cluster serves -> their device: core or accelerator."""
        cores = {p.core_kind: "core" for p in self.partitions if p.core_kind}
        return cores | {p.kind: "accelerator" for p in self.partitions if p.kind}


def cluster_rules(document: Document, cluster: Cluster) -> Iterable[Complaint]:
    """What the REST daemon needs is there; a partition of devices says how Slurm calls them; none stands twice."""
    if cluster.transport == "rest":
        for key in ("rest_url", "rest_key", "rest_user"):
            if getattr(cluster, key) is None:
                yield document.complaint(("clusters", 0), "value.missing", key=key)
    names: set[str] = set()
    for i, partition in enumerate(cluster.partitions):
        place = ("clusters", 0, "partitions", i)
        wanted = {"kind": partition.kind, "gres": partition.gres, "devices": partition.devices or None}
        if any(wanted.values()) or partition.core_kind is None:
            for key in (k for k, value in wanted.items() if value is None):
                yield document.complaint(place, "value.missing", key=key)
        for name in partition.names:
            if name in names:
                yield document.complaint((*place, "names"), "hub.duplicate-id", id=name)
            names.add(name)
    idle = sum(p.nodes * p.idle_w for p in cluster.partitions) * cluster.pue_permille // 1_000
    if cluster.cap_w < idle:
        yield document.complaint(("clusters", 0, "cap_w"), "value.bound", bound=f"≥ {idle}")
