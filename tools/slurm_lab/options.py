"""What one may ask of a lab: its nodes, partitions, limits, and Slurm's options for the case under test."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

PARTITIONS: Final = (
    "PartitionName=gpu Nodes=ALL Default=YES PriorityJobFactor=10",
    "PartitionName=flex Nodes=ALL PriorityJobFactor=1",
)
ENFORCED: Final = "associations,limits,qos,safe"
FIRST_NODE: Final = 10  # its port, from the lab's first; below it are controller, accounting and REST


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes alike, named `prefix` and a number. `cores` and `memory_mb` are declared: the machine may lack them."""

    prefix: str = "gpu"
    count: int = 4
    gpu: str = "h100"  # Slurm's type of its devices
    gpus: int = 8  # 0: none
    cores: int = 96
    memory_mb: int = 1_000_000
    features: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        width = max(2, len(str(self.count)))
        return tuple(f"{self.prefix}{n:0{width}d}" for n in range(1, self.count + 1))

    @property
    def hostlist(self) -> str:
        """As Slurm writes it: gpu[01-04]."""
        first, last = (name.removeprefix(self.prefix) for name in (self.names[0], self.names[-1]))
        return self.prefix + (first if first == last else f"[{first}-{last}]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a lab is made. Every line of `extra` is added to slurm.conf, after the lab's own: the later one counts.

    `$LAB` in `extra`, `nodes_extra` and `partitions` is the lab's folder. `slurm_user` is asked for where Slurm's
    programs must be root (a ResumeProgram that starts nodes); else it is `slurm` for root, oneself for another user.
    """

    port_base: int | None = None  # None: the lab finds its own
    groups: tuple[Group, ...] = (Group(),)
    cluster: str = "lab"
    partitions: tuple[str, ...] = PARTITIONS
    enforce: str = ENFORCED  # "": nobody needs an account
    licences: Mapping[str, int] = field(default_factory=dict)
    job_submit: str = ""  # the text of job_submit.lua
    extra: tuple[str, ...] = ()
    nodes_extra: str = ""  # at the end of each NodeName line: State=CLOUD
    energy: bool = False  # the plugin that reads meter files
    power_saving: bool = False  # Suspend- and ResumeProgram that stop and start the nodes' daemons
    rest: bool = True
    slurm_user: str = ""

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(name for group in self.groups for name in group.names)

    @property
    def ports(self) -> int:
        """How many ports in a row the lab takes."""
        return FIRST_NODE + len(self.nodes)

    def node(self, which: int | str) -> str:
        """The name of a node given by its number, from 1, or by name. ValueError for one that is not there."""
        names = self.nodes
        if isinstance(which, str) and which.isdecimal():
            which = int(which)
        if isinstance(which, str) and which in names:
            return which
        if isinstance(which, int) and 1 <= which <= len(names):
            return names[which - 1]
        raise ValueError(f"no node {which}: the lab has {', '.join(names)}")

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Options:
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        groups = tuple(Group(**group) for group in read.pop("groups"))
        tuples = {name: tuple(value) for name, value in read.items() if isinstance(value, list)}
        return cls(groups=groups, **{**read, **tuples})
