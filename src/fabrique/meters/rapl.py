"""Processors and their memory through Linux' powercap tree (RAPL), untested on hardware.

A package zone counts the socket with its cores; `dram` beside it is not part of the package. Zones inside the package
(core, uncore), `psys` around it and the `mmio` twins of the same counters would count twice and are left out.
Counters are in microjoules and start again from 0 at `max_energy_range_uj` (minutes to an hour under load): a wrap
costs at most 2 mJ of rounding. Since Linux 5.10 only root may read them.
Written from the kernel's documentation of the powercap sysfs interface.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from fabrique.core.energy import Provenance, measured
from fabrique.core.readings import Limits, Reading, value_or_unknown
from fabrique.meters import sysfs
from fabrique.meters.protocol import Availability, Device

POWERCAP: Final = Path("/sys/class/powercap")
_ZONE: Final = re.compile(r"intel-rapl:\d+(:\d+)?")
_COUNTED: Final = re.compile(r"package-\d+(-die-\d+)?|dram")
# Above any socket sold, for a zone that does not tell its maximum: only there to refuse impossible jumps.
_ANY_SOCKET_W: Final = 1_000


class RaplMeter:
    name = "rapl"

    def __init__(self, root: Path = POWERCAP) -> None:
        self.provenance: Provenance = measured("powercap energy_uj")
        self._root = root

    def available(self) -> Availability:
        zones = self._zones()
        if not zones:
            return Availability(False, f"no RAPL zone under {self._root}")
        # Asked of the file itself: root may be denied too (a container, a mount without the right).
        if not any(os.access(zone / "energy_uj", os.R_OK) for zone in zones):
            return Availability(False, f"{zones[0] / 'energy_uj'} may be read by root alone")
        if all(sysfs.whole_number(zone / "energy_uj") is None for zone in zones):
            return Availability(False, f"{zones[0] / 'energy_uj'} holds no number")
        return Availability(True)

    def devices(self) -> list[Device]:
        return [self._device(zone) for zone in self._zones()] if self.available().ok else []

    def read(self, now_ms: int) -> list[Reading]:
        return [self._read(zone, now_ms) for zone in self._zones()] if self.available().ok else []

    def _zones(self) -> list[Path]:
        """Package and dram zones in the order of their names."""
        try:
            folders = sorted(self._root.iterdir())
        except OSError:
            return []
        zones = [folder for folder in folders if _ZONE.fullmatch(folder.name)]
        return [zone for zone in zones if _COUNTED.fullmatch(sysfs.text(zone / "name") or "")]

    def _device(self, zone: Path) -> Device:
        range_uj = sysfs.whole_number(zone / "max_energy_range_uj")
        most_uw = sysfs.whole_number(zone / "constraint_0_max_power_uw")
        most_w = most_uw // 1_000_000 if most_uw else None
        limits = Limits(
            # Turbo passes the sustained maximum for a while, hence twice.
            most_w=most_w * 2 if most_w else _ANY_SOCKET_W,
            wraps_at_mj=range_uj // 1000 if range_uj else None,
        )
        return Device(_source(zone), "cpu", sysfs.text(zone / "name") or "", None, True, limits, most_w=most_w)

    def _read(self, zone: Path, now_ms: int) -> Reading:
        counter_uj = value_or_unknown(sysfs.whole_number(zone / "energy_uj"))
        return Reading(
            _source(zone), now_ms, self.provenance, counter_mj=None if counter_uj is None else counter_uj // 1000
        )


def _source(zone: Path) -> str:
    """As `intel-rapl:0:0`: the zone's own name, the same at each start."""
    return zone.name
