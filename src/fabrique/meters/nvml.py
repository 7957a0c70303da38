"""NVIDIA accelerators through NVML: the energy counter, and samples of power only where there is none.

NVML samples power part of the time only on A100 and H100, so the counter (mJ since the driver was loaded, Volta and
later) is preferred. It falls to zero when the driver is loaded again: `core.readings` calls that a restart.
"""

from __future__ import annotations

import importlib
from contextlib import suppress
from types import ModuleType
from typing import Any, Final

from fabrique.core.energy import Provenance, measured
from fabrique.core.readings import Limits, Reading, value_or_unknown
from fabrique.meters.kinds import kind_of_name
from fabrique.meters.protocol import Availability, Device

# Above any board sold, for a device that does not tell its limit: only there to refuse impossible jumps.
_ANY_BOARD_W: Final = 3_000


class NvmlMeter:
    """`library` is nvidia-ml-py's module; None loads it when it is first needed."""

    name = "nvml"

    def __init__(self, library: ModuleType | None = None, tested_on: str | None = None) -> None:
        self.provenance: Provenance = measured("nvmlDeviceGetTotalEnergyConsumption", tested_on)
        self._sampled: Provenance = measured("nvmlDeviceGetPowerUsage, sampled", tested_on)
        self._library: Any = library
        self._started = False
        self._handles: dict[str, Any] = {}
        self._devices: list[Device] = []

    def available(self) -> Availability:
        if self._started:
            return Availability(True) if self._devices else Availability(False, "NVML sees no device")
        try:
            library = self._library or importlib.import_module("pynvml")
        except ImportError:
            return Availability(False, "nvidia-ml-py is not installed")
        try:
            library.nvmlInit()
            found = [self._device(library, i) for i in range(library.nvmlDeviceGetCount())]
        except library.NVMLError as error:
            return Availability(False, f"NVML: {error}")
        self._library, self._started = library, True
        self._handles = {device.source: handle for device, handle in found}
        self._devices = [device for device, _ in found]
        return self.available()

    def devices(self) -> list[Device]:
        return list(self._devices) if self.available().ok else []

    def read(self, now_ms: int) -> list[Reading]:
        return [self._read(device, now_ms) for device in self.devices()]

    def close(self) -> None:
        """Lets go of the driver; the next call starts again."""
        if self._started:
            self._started = False
            with suppress(self._library.NVMLError):  # the driver may have gone first
                self._library.nvmlShutdown()

    def _read(self, device: Device, now_ms: int) -> Reading:
        library, handle = self._library, self._handles[device.source]
        if device.counts:
            counter = _ask(library, library.nvmlDeviceGetTotalEnergyConsumption, handle)
            return Reading(device.source, now_ms, self.provenance, counter_mj=value_or_unknown(counter))
        power = _ask(library, library.nvmlDeviceGetPowerUsage, handle)
        return Reading(device.source, now_ms, self._sampled, power_mw=value_or_unknown(power))

    def _device(self, library: ModuleType, index: int) -> tuple[Device, Any]:
        handle = library.nvmlDeviceGetHandleByIndex(index)
        name = _text(library.nvmlDeviceGetName(handle))
        least_mw, most_mw = _ask(library, library.nvmlDeviceGetPowerManagementLimitConstraints, handle) or (None, None)
        device = Device(
            source=_text(library.nvmlDeviceGetUUID(handle)),
            vendor="nvidia",
            name=name,
            kind=kind_of_name(name),
            counts=_ask(library, library.nvmlDeviceGetTotalEnergyConsumption, handle) is not None,
            # A board may pass its limit for an instant, hence half as much again.
            limits=Limits(most_w=_ANY_BOARD_W if most_mw is None else most_mw * 3 // 2000),
            least_w=None if least_mw is None else least_mw // 1000,
            most_w=None if most_mw is None else most_mw // 1000,
            slices=_slices(library, handle),
        )
        return device, handle


def _slices(library: ModuleType, handle: Any) -> tuple[str, ...]:
    """The UUIDs of the MIG instances of a device, none where MIG is off or not supported."""
    current, _ = _ask(library, library.nvmlDeviceGetMigMode, handle) or (0, 0)
    if not current:
        return ()
    most = _ask(library, library.nvmlDeviceGetMaxMigDeviceCount, handle) or 0
    instances = (_ask(library, library.nvmlDeviceGetMigDeviceHandleByIndex, handle, i) for i in range(most))
    return tuple(_text(library.nvmlDeviceGetUUID(instance)) for instance in instances if instance is not None)


def _ask(library: ModuleType, function: Any, *arguments: Any) -> Any:
    """The answer, or None where the device does not support the question, does not answer or is lost."""
    try:
        return function(*arguments)
    except library.NVMLError:
        return None


def _text(answer: str | bytes) -> str:
    return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
