"""What hubs are made of: kinds of devices with their power, and grid zones with their carbon factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fabrique.core.carbon import Factor

Device = Literal["accelerator", "core", "qpu"]


@dataclass(frozen=True, slots=True)
class PowerLevel:
    """What a lower power limit costs and saves, all in permille of the top limit's.

    `limit` is the power limit, `throughput` the work done per second, `draw` the mean power, `energy` the energy
    for the same work.
    """

    limit: int
    throughput: int
    draw: int
    energy: int


@dataclass(frozen=True, slots=True)
class DeviceKind:
    """One model that a scheduler hands out. None: not published; nothing is guessed here.

    `board_w` is the limit of the board or module in W, `min_limit_w` the lowest limit that it accepts, `idle_w` its
    draw with no work. `parts` counts what software sees in one device (an MI250X shows two GCDs). Memory in MB of
    10^6 bytes, bandwidth in GB/s, dense BF16 without sparsity in GFLOP/s. `vendor_jurisdiction` is the ISO 3166-1
    country under whose law the vendor stands. `source` holds ids of sources.
    """

    id: str
    device: Device
    name: str
    vendor: str | None
    vendor_jurisdiction: str | None
    source: tuple[str, ...]
    status: str
    memory_mb: int | None = None
    memory: str | None = None
    bandwidth_gb_s: int | None = None
    bf16_gflops: int | None = None
    board_w: int | None = None
    min_limit_w: int | None = None
    idle_w: int | None = None
    parts: int = 1
    power_levels: tuple[PowerLevel, ...] = ()
    note: str | None = None


@dataclass(frozen=True, slots=True)
class NodeExample:
    """A whole node as measured: nameplate and highest measured draw in W, and their typical ratio in permille."""

    id: str
    kind: str
    devices: int
    nameplate_w: int
    measured_max_w: int
    typical_permille: int
    source: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GridZone:
    """A grid zone with its yearly factors, and beside them those of the country around it, which never replace them.

    `country` is ISO 3166-1 alpha-2. In `of_country` each factor's zone is the country.
    """

    id: str
    name: str
    country: str
    factors: tuple[Factor, ...]
    of_country: tuple[Factor, ...] = ()
    note: str | None = None

    def latest(self) -> Factor:
        """The zone's own location-based average over the mix it consumes, of the latest year."""
        own = [f for f in self.factors if (f.kind, f.basis, f.method) == ("average", "consumption", "location")]
        return max(own, key=lambda factor: factor.year)
