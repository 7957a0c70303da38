"""A lab's files, from its options: nothing is started here."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Final

from .options import FIRST_NODE, Group, Options

TEMPLATES: Final = Path(__file__).parent / "templates"
ADDRESS: Final = "127.0.0.1"
DATABASE: Final = "slurm_acct_db"
ONLY_ITS_OWN: Final = "NoCtldInAddrAny,NoInAddrAny"
POWER: Final = (  # a site's own SuspendTime and friends go into `extra`
    "SuspendProgram=$LAB/etc/suspend",
    "ResumeProgram=$LAB/etc/resume",
    "SuspendTime=INFINITE",
    "SuspendTimeout=5",
    "ResumeTimeout=30",
    "SuspendRate=0",
    "ResumeRate=0",
)


def hostname() -> str:
    return socket.gethostname().partition(".")[0]


@dataclass(frozen=True, slots=True)
class Ports:
    """The lab's ports in a row, from `base`."""

    base: int

    @property
    def controller(self) -> int:
        return self.base

    @property
    def accounting(self) -> int:
        return self.base + 1

    @property
    def rest(self) -> int:
        return self.base + 2

    def node(self, index: int) -> int:
        return self.base + FIRST_NODE + index


def address_of(host: str) -> str:
    """Where Slurm's daemons listen when they are told to listen at this machine's name alone; "" where that is no
    loopback address (or none): then they listen everywhere, or they would not find one another.
    """
    try:
        found = socket.gethostbyname(host)
    except OSError:
        return ""
    return found if found.startswith("127.") else ""


def spread(name: str, first: int, count: int) -> str:
    """`first` and its successors as Slurm writes a range: Port=[2010-2013], gpu[0-7]; one alone without brackets."""
    return f"{name}{first}" if count == 1 else f"{name}[{first}-{first + count - 1}]"


def node_lines(options: Options, ports: Ports, host: str, address: str) -> Iterator[str]:
    before = 0
    for group in options.groups:
        sockets = 2 if group.cores % 2 == 0 else 1
        words = [f"NodeName={group.hostlist}", f"NodeHostname={host}", f"NodeAddr={address}"]
        words += [spread("Port=", ports.node(before), group.count), f"Sockets={sockets}"]
        words += [f"CoresPerSocket={group.cores // sockets}", "ThreadsPerCore=1", f"RealMemory={group.memory_mb}"]
        words += [f"Gres=gpu:{group.gpu}:{group.gpus}"] if group.gpus else []
        words += [f"Feature={group.features}"] if group.features else []
        yield " ".join([*words, options.nodes_extra]).strip()
        before += group.count


def device_lines(groups: tuple[Group, ...], folder: Path) -> Iterator[str]:
    for group in groups:
        if group.gpus:
            files = spread(f"{folder}/dev/gpu", 0, group.gpus)
            yield f"NodeName={group.hostlist} Name=gpu Type={group.gpu} File={files}"


def more_lines(options: Options, folder: Path, plugins: Path) -> Iterator[str]:
    """What the options add; the caller's own lines last, for the later one counts."""
    if options.licences:
        yield "Licenses=" + ",".join(f"{name}:{count}" for name, count in options.licences.items())
    if options.job_submit:
        yield "JobSubmitPlugins=lua"
    if options.energy:
        yield from (f"PluginDir={plugins}:{folder}/plugins", "AcctGatherEnergyType=acct_gather_energy/file")
        yield "AcctGatherNodeFreq=10"  # more often, a dead node keeps the controller from ever seeing that it is
    yield from POWER if options.power_saving else ()
    yield from options.extra


def files(
    options: Options, folder: Path, ports: Ports, *, plugins: Path, users: tuple[str, str], host: str = ""
) -> dict[str, str]:
    """The text of each file in `etc`, by name. `users` are SlurmUser and SlurmdUser, `host` this machine's name."""
    host = host or hostname()
    own = address_of(host)
    kinds = dict.fromkeys(group.gpu for group in options.groups if group.gpus)
    values = {
        "lab": folder,
        "cluster": options.cluster,
        "host": host,
        "address": own or ADDRESS,
        "listen": f"CommunicationParameters={ONLY_ITS_OWN}" if own else "",
        "port": ports.controller,
        "dbd_port": ports.accounting,
        "database": DATABASE,
        "slurm_user": users[0],
        "slurmd_user": users[1],
        "tres": ",".join(["gres/gpu", *(f"gres/gpu:{kind}" for kind in kinds)]),
        "enforce": f"AccountingStorageEnforce={options.enforce}" if options.enforce else "",
        "nodes": "\n".join(node_lines(options, ports, host, own or ADDRESS)),
        "devices": "\n".join(device_lines(options.groups, folder)),
        "partitions": "\n".join(options.partitions),
        "more": "\n".join(more_lines(options, folder, plugins)),
    }
    for name in ("nodes", "partitions", "more"):
        values[name] = str(values[name]).replace("$LAB", str(folder))
    made = {path.name: Template(path.read_text(encoding="utf-8")).substitute(values) for path in TEMPLATES.iterdir()}
    return {**made, "job_submit.lua": options.job_submit} if options.job_submit else made
