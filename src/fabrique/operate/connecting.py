"""Connect a hub to a Slurm cluster: what the cluster says of itself, made into a part of the deployment's file.

What Slurm can't say is assumed and marked so: watts come from the catalogue of accelerators and round figures for
cores, the cap is what everything draws at most. An operator corrects them in the file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fabrique.apps.this_hub import ThisHub, forget
from fabrique.core.catalogue import DeviceKind
from fabrique.core.errors import FabriqueError
from fabrique.core.units import time_unit
from fabrique.definitions import deployment as files
from fabrique.definitions.cluster import Cluster, ClusterPartition
from fabrique.engines.slurm import discover
from fabrique.engines.slurm.commands import CommandTransport
from fabrique.engines.slurm.discover import Sort
from fabrique.operate import founding

BINARIES: Final = Path("/usr/bin")
IDLE_PERMILLE: Final = 120  # of a board's limit, where the catalogue knows no idle draw: an assumption
LICENCE_W: Final = 10  # rounding to it costs less than a hundredth of a device's draw
_NO_ID: Final = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How to reach it. `kinds` says what a GPU type of Slurm's is in our catalogue, where its name does not."""

    conf: Path
    binaries: Path = BINARIES
    kinds: Mapping[str, str]
    cap_w: int | None = None
    more: Mapping[str, Any]  # other fields of `Cluster`, by their names


@dataclass(frozen=True, slots=True)
class Described:
    """`left` are Slurm's partitions that no node group could be given to; `longest` is by partition, in minutes."""

    cluster: Cluster
    left: tuple[str, ...]
    longest: Mapping[str, int]


def describe(here: ThisHub, asked: Asked) -> Described:
    """Reads the cluster; changes nothing. Raises `engine.unavailable`, `engine.garbage`, `cluster.kind`, and
    `cluster.uncounted` where its nodes would seem to have no devices, for nobody counts them.
    """
    settings = discover.settings(asked.conf, asked.binaries)
    if not discover.counts_devices(settings):
        raise FabriqueError("cluster.uncounted")
    nodes = CommandTransport(asked.conf, asked.binaries).nodes()
    found, left = discover.named_once(discover.sorts(nodes))
    if not found:
        raise FabriqueError("engine.garbage", why="no node lies in a partition")
    name = settings["ClusterName"]
    core_kind = f"{_id(name)}-core"
    longest = discover.longest_min(asked.conf, asked.binaries)
    partitions = tuple(_partition(here.kinds, asked.kinds, sort, core_kind, longest) for sort in found)
    most = sum(p.nodes * p.node_w for p in partitions)
    fields: dict[str, Any] = {
        "engine": _id(name),
        "cluster": name,
        "site": here.site_of_record.id,
        "zone": here.local.zone,
        "cap_w": most,
        "cap_basis": "assumed",
        "conf": str(asked.conf),
        "bin": str(asked.binaries),
        "licence_w": LICENCE_W,
        "partitions": partitions,
    }
    given = {} if asked.cap_w is None else {"cap_w": asked.cap_w}
    return Described(Cluster(**{**fields, **given, **asked.more}), tuple(left), longest)


def connect(here: ThisHub, cluster: Cluster, *, now: int) -> ThisHub:
    """Writes the deployment, and puts the first hours of what is newly connected at the pools' disposal.

    A hub that was connected to this cluster before keeps its ledger; what ran on this machine runs to its end
    unseen, so that is refused. Raises `cluster.busy`, `deployment.broken`.
    """
    if founding.runs_elsewhere(cluster.engine):
        raise FabriqueError("cluster.busy", engine=cluster.engine)
    engine = files.EngineOf(name=cluster.engine, kind="slurm", partitions=tuple(p.id for p in cluster.partitions))
    prices = {**_prices(here, cluster), **here.deployment.money.prices}
    changed = here.deployment.model_copy(
        update={
            "clusters": (cluster,),
            "engines": (engine,),
            "money": here.deployment.money.model_copy(update={"prices": prices}),
        }
    )
    text = files.write(changed)
    found, complaints = files.parse(text.encode(), files.FILE_NAME)
    if found is None:
        raise FabriqueError("deployment.broken", complaints=complaints)
    founding.write_whole(here.home / files.FILE_NAME, text, 0o600)
    forget()
    return founding.furnish(now=now)


def digest(cluster: Cluster) -> str:
    """Which description of the cluster an entry stands on."""
    return hashlib.sha256(cluster.model_dump_json().encode()).hexdigest()


# --- steps ------------------------------------------------------------------------------------------------------------


def _partition(
    known: Mapping[str, DeviceKind],
    named: Mapping[str, str],
    sort: Sort,
    core_kind: str,
    longest: Mapping[str, int],
) -> ClusterPartition:
    idle_w, device_w = founding.CORE_IDLE_W * sort.cores, 0
    devices: dict[str, Any] = {}
    if sort.gpus:
        kind = _kind(known, named, sort.gpu)
        board_w = kind.board_w or 0
        idle = kind.idle_w if kind.idle_w is not None else board_w * IDLE_PERMILLE // 1000
        idle_w, device_w = idle_w + sort.gpus * idle, max(board_w - idle, 0)
        devices = {"kind": kind.id, "gres": f"gpu:{sort.gpu}" if sort.gpu else "gpu", "devices": sort.gpus}
    return ClusterPartition(
        id=_id(sort.partitions[0]),
        names=sort.partitions,
        core_kind=core_kind,
        nodes=sort.nodes,
        cores=sort.cores,
        memory_mb=max(sort.memory_mb, 1),
        idle_w=idle_w,
        device_w=device_w,
        core_w=founding.CORE_MAX_W - founding.CORE_IDLE_W,
        longest_min=longest.get(sort.partitions[0]),  # the one that the hub submits to
        **devices,
    )


def _kind(known: Mapping[str, DeviceKind], named: Mapping[str, str], gpu: str) -> DeviceKind:
    """Ours for Slurm's type: as named, of the same name, or the only one that begins so. Raises `cluster.kind`."""
    wanted = named.get(gpu, gpu.lower())
    if wanted in known:
        return known[wanted]
    alike = [k for k in known if wanted and k.startswith(f"{wanted}-")]
    if len(alike) == 1:
        return known[alike[0]]
    choice = sorted(k for k, v in known.items() if v.device == "accelerator")
    raise FabriqueError("cluster.kind", gres=gpu, known=choice)


def _prices(here: ThisHub, cluster: Cluster) -> dict[str, int]:
    told = here.hub.prices_micro_per_hour.best or {}
    prices: dict[str, int] = {}
    for kind, device in cluster.kinds.items():
        micro = told.get(kind, told.get("local-core") if device == "core" else None)
        if micro is not None:
            prices[time_unit("core" if device == "core" else "accelerator", kind)] = micro
    return prices


def _id(name: str) -> str:
    return _NO_ID.sub("-", name.lower()).strip("-._")[:50] or "cluster"
