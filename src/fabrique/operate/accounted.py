"""A record of Slurm's accounting in the hub's terms: whose it is, on what it ran, how long, with how much energy."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from fabrique.apps.jobs.intake import Came
from fabrique.apps.jobs.recount import Told
from fabrique.apps.this_hub import ThisHub
from fabrique.core.admission.filter import Offer
from fabrique.core.energy import TDP_MODEL_ERROR, Window, modelled
from fabrique.core.job import MILLI
from fabrique.core.reasons import Reason, reason
from fabrique.definitions.cluster import Cluster, ClusterPartition
from fabrique.engines.slurm import ends
from fabrique.engines.slurm.model import Record
from fabrique.operate.at_the_door import partition_of, spec_of
from fabrique.operate.observe import OWN_COUNTER, seen

BY_ALLOCATION: Final = modelled("what was allocated, at its most", TDP_MODEL_ERROR)
_NO_COUNTER: Final = 10  # times what its nodes could draw: no counter of theirs says so


def came_of(cluster: Cluster, record: Record, partition: ClusterPartition, handle: str) -> Came:
    """As it would have been taken in, had it been seen."""
    task = record.array_task
    outside = str(record.job_id) if record.array_id is None or task is None else f"{record.array_id}_{task}"
    return Came(
        engine=cluster.engine,
        outside_id=outside,
        handle=handle,
        login=record.user,
        account=record.account,
        qos=record.qos,
        submitted_ms=record.submitted_ms,
        spec=spec_of(record, record.given, partition),
        held=False,
        started_ms=record.started_ms,
    )


def offer_of(here: ThisHub, record: Record, partition: ClusterPartition) -> Offer | None:
    """What it was handed out: the partition's devices where it had some, else its cores."""
    wanted = "core" if not record.given.devices else "accelerator"
    return next((o for o in here.offers if o.partition == partition.id and o.device == wanted), None)


def told(here: ThisHub, cluster: Cluster, record: Record, handle: str) -> Told | Reason:
    """A record of a run that is over, or why the hub can't charge for it. Allocated is charged, never requested."""
    partition = partition_of(cluster, record.partition)
    offer = None if partition is None else offer_of(here, record, partition)
    if partition is None or offer is None:
        return reason("quarantine.partition", partition=record.partition)
    over = replace(seen(ends.ended(handle, record, None, {}, own_counter=False)), elapsed_ms=record.elapsed_ms)
    own = own_energy(cluster, record, partition)
    over = replace(over, energy_mj=own, energy_from=None if own is None else OWN_COUNTER)
    start, end = record.started_ms or 0, record.ended_ms or 0
    was = here.actual(Window(min(start, end), end))
    return Told(
        handle=handle,
        seen=over,
        partition=partition.id,
        kind=offer.kind,
        unit=offer.unit,
        share_milli=(record.given.devices or record.given.cores) * MILLI,
        mg_per_kwh=was.factor.mg_per_kwh,
        factor=was.name if here.hourly else "",
        modelled=(_drawn_w(record, partition) * record.elapsed_ms, BY_ALLOCATION),
    )


def may_be_alone(record: Record, cluster: Cluster) -> bool:
    """Whether it had its nodes to itself, as far as the hub's own description of them goes."""
    partition = partition_of(cluster, record.partition)
    whole = max(record.given.nodes, 1) * partition.cores if partition else None
    return bool(record.exclusive) or (whole is not None and record.given.cores >= whole)


def own_energy(cluster: Cluster, record: Record, partition: ClusterPartition) -> int | None:
    """ConsumedEnergy, in mJ, where it is the job's own: it had its nodes to itself, or each job has a meter."""
    if not record.energy_mj:  # none, or nothing: no counter of a node that runs says so
        return None
    nodes = max(record.given.nodes, 1)
    most_w = _drawn_w(record, partition) + nodes * partition.idle_w
    if record.energy_mj > _NO_COUNTER * most_w * (record.elapsed_ms + 60_000):
        return None
    alone = may_be_alone(record, cluster) if record.exclusive is None else record.exclusive
    return record.energy_mj if cluster.energy == "jobs" or alone else None


def _drawn_w(record: Record, partition: ClusterPartition) -> int:
    """The most that it draws above its nodes' idle power."""
    return partition.above_idle_w(record.given.devices, record.given.cores)
