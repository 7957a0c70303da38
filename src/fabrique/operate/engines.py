"""The engines of this deployment, by the names its file gives them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from fabrique.apps.now import now_ms
from fabrique.apps.this_hub import ThisHub
from fabrique.core.errors import FabriqueError
from fabrique.definitions.cluster import Cluster
from fabrique.engines.isolation import Isolation
from fabrique.engines.local import LocalEngine
from fabrique.engines.protocol import DeviceSlot, Engine, RunSpec
from fabrique.engines.slurm.commands import CommandTransport
from fabrique.engines.slurm.engine import SlurmEngine
from fabrique.engines.slurm.files import door
from fabrique.engines.slurm.files.render import licence_name
from fabrique.engines.slurm.model import Transport
from fabrique.engines.slurm.placing import Settings
from fabrique.engines.slurm.rest import RestTransport

RUNS = "runs"


def open_engines(here: ThisHub, isolation: Isolation) -> dict[str, Engine]:
    """Each engine by name. `isolation` was tried on this machine, now; a weaker one than the file says is refused."""
    cluster = here.deployment.cluster
    if cluster is not None:
        return {cluster.engine: cluster_engine(here, cluster)}
    declared = here.deployment.local.isolation
    if isolation.kind != declared:
        raise FabriqueError("home.broken", file="fabrique.toml", why=f"isolation {isolation.kind}, not {declared}")
    return {e.name: local_engine(here, isolation) for e in here.deployment.engines}


def transport_of(cluster: Cluster) -> Transport:
    """As the deployment chose; the other way is never taken instead."""
    if cluster.transport == "rest":
        # the deployment's rules see to it that these stand there
        return RestTransport(cluster.rest_url or "", Path(cluster.rest_key or ""), cluster.rest_user or "")
    return CommandTransport(Path(cluster.conf), Path(cluster.bin))


def cluster_engine(here: ThisHub, cluster: Cluster) -> SlurmEngine:
    """Its runs' folders lie in the home, unless the deployment says where nodes and the people's logins can go."""
    settings = Settings(
        cluster=cluster.cluster,
        partitions=tuple(name for p in cluster.partitions for name in p.names),
        runs=Path(cluster.runs) if cluster.runs else here.home / RUNS,
        licences=partial(watt_licences, here.home / door.STATE, cluster),
    )
    return SlurmEngine(transport_of(cluster), settings, now_ms)


def watt_licences(state: Path, cluster: Cluster, spec: RunSpec) -> Mapping[str, int]:
    """Of a run at a power level: for what was booked, never more than there are. Of any other the door says it."""
    if cluster.watt_licence is None or spec.power_limit_w is None or not spec.power_w:
        return {}
    units = door.licences(state).units(spec.power_w)
    return {licence_name(cluster.watt_licence): units} if units else {}


def exposed() -> list[Path]:
    """What a job may read beside the system's own files: the Python that runs the hub, for its NumPy."""
    return [Path(sys.prefix), Path(sys.base_prefix)]


def local_engine(here: ThisHub, isolation: Isolation) -> LocalEngine:
    return LocalEngine(here.home / RUNS, isolation, now_ms, slots(here), path=here.local.job_path)


def slots_of(here: ThisHub, kind: str, slots: Sequence[DeviceSlot]) -> list[DeviceSlot]:
    """Those of an engine's slots that are devices of `kind`."""
    uuids = {g.uuid for g in here.local.gpus if g.kind == kind}
    return [s for s in slots if s.uuid in uuids]


def slots(here: ThisHub) -> list[DeviceSlot]:
    """This machine's accelerators, numbered as each vendor's own runtime numbers them."""
    found: list[DeviceSlot] = []
    for gpu in here.local.gpus:
        # Intel's two families are bound by two runtimes
        vendor = "habana" if gpu.kind.startswith("gaudi") else gpu.vendor
        found.append(DeviceSlot(vendor, sum(s.vendor == vendor for s in found), gpu.uuid))
    return found


def reader(here: ThisHub) -> LocalEngine | SlurmEngine:
    """For reading logs alone: starts nothing, so it needs no isolation."""
    cluster = here.deployment.cluster
    if cluster is not None:
        return cluster_engine(here, cluster)
    return local_engine(here, Isolation("none", "reads only", here.home))
