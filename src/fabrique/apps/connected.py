"""What the hub runs on, from its deployment: this machine, or its Slurm cluster. Only that can be awarded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fabrique.core.admission import levels
from fabrique.core.admission.filter import Offer
from fabrique.core.admission.levels import Level
from fabrique.core.catalogue import Device, DeviceKind
from fabrique.core.units import time_unit
from fabrique.definitions.cluster import Cluster, ClusterPartition
from fabrique.definitions.deployment import Deployment

PUE_OF_ONE_MACHINE = 1_000  # a lone machine has no facility around it; the meter is its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """Watts are at the facility meter; `base_w` is drawn with no job. `counts` and `vendors` are by kind."""

    site: str
    zone: str
    cap_w: int
    pue_permille: int
    base_w: int
    cores: int
    kinds: Mapping[str, Device]
    counts: Mapping[str, int]
    vendors: Mapping[str, str]
    offers: tuple[Offer, ...]


def of(deployment: Deployment, site: str, known: Mapping[str, DeviceKind]) -> Connected:
    """`site` is this machine's; a cluster names its own."""
    if deployment.cluster is not None:
        return _cluster(deployment.cluster, known)
    return _machine(deployment, site, known)


# --- this machine -------------------------------------------------------------------------------------------------


def _machine(deployment: Deployment, site: str, known: Mapping[str, DeviceKind]) -> Connected:
    local, energy = deployment.local, deployment.energy
    kinds: dict[str, Device] = {k: "core" if sort == "core" else "accelerator" for k, sort in local.kinds.items()}
    counts = {k: local.cores if k == local.core_kind else sum(g.kind == k for g in local.gpus) for k in kinds}
    engine = next(e.name for e in deployment.engines if local.partition in e.partitions)
    idle = sum(known[g.kind].idle_w or 0 for g in local.gpus if g.kind in known)
    offers = (
        Offer(
            partition=local.partition,
            engine=engine,
            site=site,
            kind=kind,
            device=device,
            unit=time_unit(device, kind),
            milli_devices=counts[kind] * 1000,
            cores=local.cores,
            memory_mb=local.memory_mb,
            device_w=0 if device == "core" else _board_w(known, kind),
            core_w=energy.max_w - energy.idle_w,
            core_idle_w=energy.idle_w,
        )
        for kind, device in sorted(kinds.items())
    )
    return Connected(
        site=site,
        zone=local.zone,
        cap_w=local.cap_w,
        pue_permille=PUE_OF_ONE_MACHINE,
        base_w=energy.idle_w * local.cores + idle,
        cores=local.cores,
        kinds=kinds,
        counts=counts,
        vendors={g.kind: g.vendor for g in local.gpus},
        offers=tuple(offers),
    )


def _board_w(known: Mapping[str, DeviceKind], kind: str) -> int:
    return known[kind].board_w or 0 if kind in known else 0


# --- a Slurm cluster ----------------------------------------------------------------------------------------------


def _cluster(cluster: Cluster, known: Mapping[str, DeviceKind]) -> Connected:
    kinds: dict[str, Device] = {k: "core" if sort == "core" else "accelerator" for k, sort in cluster.kinds.items()}
    return Connected(
        site=cluster.site,
        zone=cluster.zone,
        cap_w=cluster.cap_w,
        pue_permille=cluster.pue_permille,
        base_w=sum(p.nodes * p.idle_w for p in cluster.partitions) * cluster.pue_permille // 1000,
        cores=sum(p.nodes * p.cores for p in cluster.partitions),
        kinds=kinds,
        counts={kind: _count(cluster.partitions, kind) for kind in kinds},
        vendors={k: known[k].vendor or "" for k in kinds if k in known},
        offers=tuple(o for p in cluster.partitions for o in _offers(cluster, p, known)),
    )


def _count(partitions: Iterable[ClusterPartition], kind: str) -> int:
    return sum(p.nodes * (p.cores if p.core_kind == kind else p.devices if p.kind == kind else 0) for p in partitions)


def _offers(cluster: Cluster, p: ClusterPartition, known: Mapping[str, DeviceKind]) -> Iterator[Offer]:
    """Its devices first, then its cores. A node's idle draw is nobody's: it is drawn anyway."""
    sorts: list[tuple[str | None, Device, int]] = [
        (p.kind, "accelerator", p.devices * 1000),
        (p.core_kind, "core", p.cores * 1000),
    ]
    for kind, device, of_node in sorts:
        if kind is None:
            continue
        yield Offer(
            partition=p.id,
            engine=cluster.engine,
            site=cluster.site,
            kind=kind,
            device=device,
            unit=time_unit(device, kind),
            milli_devices=p.nodes * of_node,
            cores=p.nodes * p.cores,
            memory_mb=p.nodes * p.memory_mb,
            device_w=p.device_w if device == "accelerator" else 0,
            core_w=p.core_w,
            core_idle_w=0,
            nodes=p.nodes,
            levels=_levels(cluster, p, known) if device == "accelerator" else (),
            longest_ms=None if p.longest_min is None else p.longest_min * 60_000,
        )


def _levels(cluster: Cluster, p: ClusterPartition, known: Mapping[str, DeviceKind]) -> tuple[Level, ...]:
    """What the prolog can set: none where nobody said that it is in place."""
    kind = known.get(p.kind or "")
    if kind is None or not cluster.levels:
        return ()
    return levels.of_kind(kind, kind.board_w if p.limit_w is None else p.limit_w)
