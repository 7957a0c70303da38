"""What is known of a hub when a decision is taken, as rows with names, and what is remembered from one to the next.

Devices and cores in thousandths, memory in MB, power in whole W at the meter, time in UTC ms. `prepare` turns rows
into the tables that the kernel reads; the event log keeps them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fabrique.core.admission.tables import PPM


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRow:
    """A connected partition: what it has in all. `weight_ppm`: the work of one device, of the reference device's."""

    id: str
    kind: str
    site: str
    milli_devices: int  # accelerators or QPUs in thousandths; 0 on a partition of cores
    milli_cores: int
    memory_mb: int
    weight_ppm: int = PPM


@dataclass(frozen=True, slots=True, kw_only=True)
class CapRow:
    """From `from_ms` on, until the next row, the cap is `cap_w` (None: none); known since `known_ms`."""

    from_ms: int
    cap_w: int | None
    known_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteRow:
    """`cap_w` at the facility meter (None: none) until the first of `caps`; `base_w` is drawn with no job running."""

    id: str
    cap_w: int | None
    base_w: int
    caps: tuple[CapRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRow:
    """A reservation or a maintenance window: so much of a partition is out of reach during [from_ms, until_ms)."""

    id: str
    partition: str
    from_ms: int
    until_ms: int
    milli_devices: int
    milli_cores: int
    memory_mb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRow:
    """A share of the whole; what it may borrow and lends at most, in ppm of that share (None: no limit)."""

    id: str
    share_ppm: int
    borrow_ppm: int | None = None
    lend_ppm: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionRow:
    """Where a job may run, at which power level, and the most that it then draws. `level` is empty at the top one."""

    partition: str
    power_w: int
    level: str = ""
    speed_ppm: int = PPM


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A pending job; totals over its nodes. `options` are those that its filter left, best first.

    `asks` is its hold in each unit of its allocation; `latest_ms` the last instant it may start, None where it can't
    be put off.
    """

    id: str
    pool: str
    project: str
    allocation: str
    options: tuple[OptionRow, ...]
    milli_devices: int
    milli_cores: int
    memory_mb: int
    walltime_ms: int
    priority: int
    submitted_ms: int
    not_before_ms: int
    latest_ms: int | None = None
    preemptible: bool = False
    elastic: bool = False
    asks: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run that holds resources until `ends_ms` at the latest; `leaving`: it was told to stop, and has them still."""

    id: str
    job: str
    pool: str
    project: str
    option: OptionRow
    milli_devices: int
    milli_cores: int
    memory_mb: int
    walltime_ms: int
    priority: int
    submitted_ms: int
    started_ms: int
    ends_ms: int
    preemptible: bool = False
    leaving: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlookRow:
    """A site's forecast, of intensity or price: `values[i]` holds over [start_ms + i × step_ms, that + step_ms)."""

    site: str
    start_ms: int
    step_ms: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Everything at one instant. `rooms`: (allocation, unit, what may still be held, None for no limit)."""

    partitions: tuple[PartitionRow, ...]
    sites: tuple[SiteRow, ...]
    pools: tuple[PoolRow, ...]
    rooms: tuple[tuple[str, str, int | None], ...]
    jobs: tuple[JobRow, ...]
    runs: tuple[RunRow, ...]
    blocks: tuple[BlockRow, ...] = ()
    outlooks: tuple[OutlookRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What no row tells, as of `at_ms`: by pool what it is owed (normalised milli-device × ms) and until when it may
    not borrow; by project its decayed use; by job how often it was preempted and until when it stays away, and the
    slot it was put off to.
    """

    at_ms: int
    owed: Mapping[str, int] = field(default_factory=dict)
    no_borrow: Mapping[str, int] = field(default_factory=dict)
    use: Mapping[str, int] = field(default_factory=dict)
    preempted: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    deferred: Mapping[str, int] = field(default_factory=dict)
