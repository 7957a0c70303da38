"""What a job in a cluster's queue asks for, in the hub's terms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from fabrique.apps.jobs.intake import Came
from fabrique.core.job import MILLI, JobSpec
from fabrique.core.units import ceil_divide
from fabrique.definitions.cluster import Cluster, ClusterPartition
from fabrique.definitions.job_values import NotRead, permille
from fabrique.engines.slurm.files.render import held_by_owner
from fabrique.engines.slurm.model import QueuedJob, Record, Tres, handle_of

FOR_EVER_MS: Final = 366 * 86_400_000  # what a job without a limit is taken to ask for: no budget covers it
TASKS_AT_ONCE: Final = 1_000  # of one pending array: the others come as these go
_NAME_MOST: Final = 80
_CONSENT: Final = re.compile(r"#fabrique tolerance: ?([0-9.]{1,8}%)", re.ASCII)
_MOST: Final = 1 << 20  # of anything that one job has: beyond it, somebody counts in other units, and sums overflow


def came_of(cluster: Cluster, job: QueuedJob, now: int, apart: int = 0) -> Iterator[Came]:
    """One, or one a task for an array that waits: those beyond what may run beside the tasks that Slurm shows apart
    from it wait for others of their array. Jobs on partitions that the hub does not serve are not its affair.

    What Slurm itself would not start yet, released or not, holds no room in the plan.
    """
    partition = partition_of(cluster, job.partition)
    if partition is None or job.state not in ("PENDING", "RUNNING", "SUSPENDED"):
        return
    spec = spec_of(job, will_take(job, partition) if job.state == "PENDING" else job.given, partition)
    if job.state == "PENDING":
        spec = _put_off(spec, job, now)
    most = max(job.tasks_at_once - apart, 0) if job.tasks_at_once else TASKS_AT_ONCE
    for place, task in enumerate(job.task_ids[:TASKS_AT_ONCE] if job.task_ids else (job.array_task,)):
        array = job.array_id if task is not None else None
        yield Came(
            engine=cluster.engine,
            outside_id=str(job.job_id) if array is None else f"{array}_{task}",
            handle=handle_of(job, task),
            login=job.user,
            account=job.account,
            qos=job.qos,
            submitted_ms=job.submitted_ms,
            spec=spec if place < most or not job.task_ids else _behind_its_array(spec),
            held=job.held,
            started_ms=None if job.state == "PENDING" else job.started_ms,
        )


def _put_off(spec: JobSpec, job: QueuedJob, now: int) -> JobSpec:
    """By its owner, by a job that it depends on, or until its own begin time."""
    if job.held and held_by_owner(job.comment, job.admin_comment):
        return replace(spec, awaits="owner")
    if job.dependency:
        return replace(spec, awaits="other-job")
    return replace(spec, not_before_ms=job.eligible_ms) if (job.eligible_ms or 0) > now else spec


def _behind_its_array(spec: JobSpec) -> JobSpec:
    return spec if spec.awaits is not None else replace(spec, awaits="array", not_before_ms=None)


def partition_of(cluster: Cluster, name: str) -> ClusterPartition | None:
    """A job may name several, separated by commas, until it starts: the first that the hub serves."""
    for one in name.split(","):
        for partition in cluster.partitions:
            if one in partition.names:
                return partition
    return None


def will_take(job: QueuedJob, partition: ClusterPartition) -> Tres:
    """What Slurm will give a job that waits, where it shows less until then: one node for all of `-n 500`, with the
    devices of that one; one core for `--exclusive`, which is given its nodes whole. Memory is what Slurm says.
    """
    asked, least = job.asked, max(job.asked.nodes, 1)
    sizes = (asked.devices, partition.devices), (asked.cores, partition.cores), (asked.memory_mb, partition.memory_mb)
    for wanted, each in sizes:
        least = max(least, ceil_divide(wanted, each) if each else 1)
    if job.devices_per_node * least > asked.devices:
        asked = replace(asked, gpus={"": job.devices_per_node * least})
    if not job.exclusive:
        return replace(asked, nodes=least)
    devices, cores = partition.devices * least, partition.cores * least
    return replace(asked, nodes=least, cores=max(cores, asked.cores), gpus={"": max(devices, asked.devices)})


def spec_of(job: QueuedJob | Record, tres: Tres, partition: ClusterPartition) -> JobSpec:
    """What the job asks for, as a job of the hub: allocated resources where it has some, never what it typed."""
    devices = min(tres.devices, _MOST) * MILLI
    kind = partition.kind if devices else partition.core_kind
    return JobSpec(
        script="",
        name="".join(c if c.isprintable() else "?" for c in job.name)[:_NAME_MOST] or "job",
        kinds=(kind,) if kind else (),
        milli_devices=devices,
        nodes=min(max(tres.nodes, 1), _MOST),
        cores=min(max(tres.cores, 1), _MOST),
        memory_mb=tres.memory_mb or None,
        walltime_ms=min(job.limit_ms or FOR_EVER_MS, FOR_EVER_MS),
        tolerance_permille=tolerated(job.comment) if devices else 0,
        partition=partition.id,
    )


def tolerated(comment: str) -> int:
    """The slowdown that a job's user consents to in its comment, in permille; 0 where it says none that can be read.

    The door has told them at submission; what another way brought past it is no consent.
    """
    match = _CONSENT.fullmatch(comment)
    try:
        found = permille(match[1]) if match else 0
    except NotRead:
        return 0
    return found if found <= MILLI else 0
