"""AMD accelerators through amdsmi (untested on hardware): the energy accumulator, else samples of socket power.

The accumulator counts in steps of `counter_resolution` microjoules (15.259 on Instinct boards). On an MI250X only the
first of the two dies answers for the whole module; the other one has no reading of its own.
Written from AMD's documentation of `amdsmi_get_energy_count` and `amdsmi_get_power_info`.
"""

from __future__ import annotations

import importlib
from fractions import Fraction
from types import ModuleType
from typing import Any, Final

from fabrique.core.energy import Provenance, measured
from fabrique.core.readings import Limits, Reading, value_or_unknown
from fabrique.meters.kinds import kind_of_name
from fabrique.meters.protocol import Availability, Device

_ANY_BOARD_W: Final = 3_000


class AmdSmiMeter:
    """`library` is the `amdsmi` module; None imports it when it is first needed."""

    name = "amdsmi"

    def __init__(self, library: ModuleType | None = None) -> None:
        self.provenance: Provenance = measured("amdsmi_get_energy_count")
        self._sampled: Provenance = measured("amdsmi_get_power_info, sampled")
        self._library: Any = library
        self._started = False
        self._handles: dict[str, Any] = {}
        self._devices: list[Device] = []

    def available(self) -> Availability:
        if self._started:
            return Availability(True) if self._devices else Availability(False, "amdsmi sees no device")
        try:
            library = self._library or importlib.import_module("amdsmi")
        except ImportError:
            return Availability(False, "amdsmi is not installed")
        except (KeyError, OSError) as error:  # its import looks for ROCm in the environment and loads a C library
            return Availability(False, f"amdsmi finds no ROCm ({type(error).__name__})")
        try:
            library.amdsmi_init()
            found = [self._device(library, handle) for handle in library.amdsmi_get_processor_handles()]
        except library.AmdSmiException as error:
            return Availability(False, f"amdsmi: {error}")
        self._library, self._started = library, True
        self._handles = {device.source: handle for device, handle in found}
        self._devices = [device for device, _ in found]
        return self.available()

    def devices(self) -> list[Device]:
        return list(self._devices) if self.available().ok else []

    def read(self, now_ms: int) -> list[Reading]:
        return [self._read(device, now_ms) for device in self.devices()]

    def _read(self, device: Device, now_ms: int) -> Reading:
        library, handle = self._library, self._handles[device.source]
        if device.counts:
            return Reading(device.source, now_ms, self.provenance, counter_mj=_counter_mj(library, handle))
        return Reading(device.source, now_ms, self._sampled, power_mw=_power_mw(library, handle))

    def _device(self, library: ModuleType, handle: Any) -> tuple[Device, Any]:
        asic = _ask(library, library.amdsmi_get_gpu_asic_info, handle) or {}
        name = str(asic.get("market_name", "")) or "AMD device"
        cap = _ask(library, library.amdsmi_get_power_cap_info, handle) or {}
        most_uw = _number(cap.get("max_power_cap"))
        device = Device(
            source=str(library.amdsmi_get_gpu_device_uuid(handle)),
            vendor="amd",
            name=name,
            kind=kind_of_name(name),
            counts=_counter_mj(library, handle) is not None,
            limits=Limits(most_w=_ANY_BOARD_W if not most_uw else int(most_uw) * 3 // 2_000_000),
            least_w=None,
            most_w=None if not most_uw else int(most_uw) // 1_000_000,
        )
        return device, handle


def _counter_mj(library: ModuleType, handle: Any) -> int | None:
    """The accumulator in mJ, rounded down; None where there is none (virtual machines, a module's second die)."""
    answer = _ask(library, library.amdsmi_get_energy_count, handle) or {}
    # "power" was this field's name before amdsmi 6.2.1.
    steps = _number(answer.get("energy_accumulator", answer.get("power")))
    resolution_uj = _number(answer.get("counter_resolution"))
    if steps is None or value_or_unknown(int(steps)) is None or not resolution_uj:
        return None
    # The library hands a C float: four digits are what it holds of 15.259.
    return int(steps * Fraction(round(resolution_uj, 4)).limit_denominator(10_000) / 1000) or None


def _power_mw(library: ModuleType, handle: Any) -> int | None:
    answer = _ask(library, library.amdsmi_get_power_info, handle) or {}
    for field in ("current_socket_power", "socket_power", "average_socket_power"):
        watts = _number(answer.get(field))
        if watts is not None and 0 <= watts < 65_535:  # 65535 is a 16-bit "not available"
            return int(watts * 1000)
    return None


def _number(answer: Any) -> Fraction | None:
    """A number as it is; "N/A" and everything else is no answer."""
    if isinstance(answer, bool) or not isinstance(answer, int | float):
        return None
    return Fraction(answer)


def _ask(library: ModuleType, function: Any, handle: Any) -> Any:
    try:
        return function(handle)
    except library.AmdSmiException:
        return None
