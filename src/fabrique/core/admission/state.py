"""What is known when a decision is taken, as arrays: one row a partition, a pool, a budget, a pending or running job.

Everything is int64: devices and cores in thousandths, memory in MB, power in W at the meter, time in milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

UNLIMITED = np.int64(2**62)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRow:
    """A connected partition: what it has in all. Free amounts are derived from the running jobs."""

    id: str
    kind: str
    site: str
    milli_devices: int  # accelerators or QPUs in thousandths; 0 on a partition of cores
    milli_cores: int
    memory_mb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRow:
    """`cap_w` at the facility meter (None: none); `base_w` is drawn with no job running, PUE included."""

    id: str
    cap_w: int | None
    base_w: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRow:
    id: str
    share_ppm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A pending job; totals over its nodes. `partitions` are those that its filter left, best first.

    `unit_share` is what it takes of the pool's resource in thousandths (devices, or cores where there are none);
    `asks` is its hold in each unit of its allocation; `power_w` bounds its draw at the meter.
    """

    id: str
    pool: str
    allocation: str
    partitions: tuple[str, ...]
    milli_devices: int
    milli_cores: int
    memory_mb: int
    power_w: int
    walltime_ms: int
    priority: int
    submitted_ms: int
    not_before_ms: int
    asks: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run that holds resources until `ends_ms` at the latest."""

    id: str
    pool: str
    partition: str
    milli_devices: int
    milli_cores: int
    memory_mb: int
    power_w: int
    ends_ms: int


@dataclass(frozen=True, slots=True)
class State:
    """Arrays with one row each; the id tuples name the rows. Built by `build`; never changed by a decision."""

    partition_ids: tuple[str, ...]
    partition_site: Ints
    capacity: Ints  # (partitions, 3): milli-devices, milli-cores, MB
    site_ids: tuple[str, ...]
    cap_w: Ints
    base_w: Ints
    pool_ids: tuple[str, ...]
    share_ppm: Ints
    budget_keys: tuple[tuple[str, str], ...]  # (allocation, unit)
    room: Ints  # what may still be held
    job_ids: tuple[str, ...]
    job_pool: Ints
    job_needs: Ints  # (jobs, 3)
    job_power: Ints
    job_walltime: Ints
    job_priority: Ints
    job_submitted: Ints
    job_not_before: Ints
    job_partitions: tuple[tuple[int, ...], ...]
    job_asks: tuple[tuple[tuple[int, int], ...], ...]  # (row of `room`, amount)
    run_pool: Ints
    run_partition: Ints
    run_needs: Ints  # (runs, 3)
    run_power: Ints
    run_ends: Ints


def build(
    partitions: Sequence[PartitionRow],
    sites: Sequence[SiteRow],
    pools: Sequence[PoolRow],
    rooms: Sequence[tuple[str, str, int | None]],
    jobs: Sequence[JobRow],
    runs: Sequence[RunRow],
) -> State:
    """Rows as arrays. `rooms` are (allocation, unit, what may still be held or None for no limit)."""
    at = {p.id: i for i, p in enumerate(partitions)}
    site_at = {s.id: i for i, s in enumerate(sites)}
    pool_at = {p.id: i for i, p in enumerate(pools)}
    budget_at = {(allocation, unit): i for i, (allocation, unit, _) in enumerate(rooms)}
    return State(
        partition_ids=tuple(at),
        partition_site=_ints([site_at[p.site] for p in partitions]),
        capacity=_table([(p.milli_devices, p.milli_cores, p.memory_mb) for p in partitions]),
        site_ids=tuple(site_at),
        cap_w=_ints([UNLIMITED if s.cap_w is None else s.cap_w for s in sites]),
        base_w=_ints([s.base_w for s in sites]),
        pool_ids=tuple(pool_at),
        share_ppm=_ints([p.share_ppm for p in pools]),
        budget_keys=tuple(budget_at),
        room=_ints([UNLIMITED if left is None else left for _, _, left in rooms]),
        job_ids=tuple(j.id for j in jobs),
        job_pool=_ints([pool_at[j.pool] for j in jobs]),
        job_needs=_table([(j.milli_devices, j.milli_cores, j.memory_mb) for j in jobs]),
        job_power=_ints([j.power_w for j in jobs]),
        job_walltime=_ints([j.walltime_ms for j in jobs]),
        job_priority=_ints([j.priority for j in jobs]),
        job_submitted=_ints([j.submitted_ms for j in jobs]),
        job_not_before=_ints([j.not_before_ms for j in jobs]),
        job_partitions=tuple(tuple(at[p] for p in j.partitions) for j in jobs),
        job_asks=tuple(tuple((budget_at[j.allocation, u], v) for u, v in j.asks) for j in jobs),
        run_pool=_ints([pool_at[r.pool] for r in runs]),
        run_partition=_ints([at[r.partition] for r in runs]),
        run_needs=_table([(r.milli_devices, r.milli_cores, r.memory_mb) for r in runs]),
        run_power=_ints([r.power_w for r in runs]),
        run_ends=_ints([r.ends_ms for r in runs]),
    )


def _ints(values: Sequence[int | np.int64]) -> Ints:
    return np.array(values, dtype=np.int64)


def _table(rows: Sequence[tuple[int, int, int]]) -> Ints:
    return np.array(rows, dtype=np.int64).reshape(len(rows), 3)
