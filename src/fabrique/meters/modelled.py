"""A machine without a counter: its processors' energy from their times and two powers, with the model's error.

Always there, so that a visitor's laptop has an energy too; and always said to be a model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import psutil

from fabrique.core.energy import TDP_MODEL_ERROR, Modelled, Provenance, modelled, modelled_energy
from fabrique.core.readings import Limits, Reading
from fabrique.meters.protocol import Availability, Device

SOURCE: Final = "modelled:processors"
# Spent waiting, or counted a second time under "user" by Linux.
_NOT_BUSY: Final = frozenset({"idle", "iowait"})
_COUNTED_TWICE: Final = frozenset({"guest", "guest_nice"})


@dataclass(frozen=True, slots=True)
class CoreModel:
    """The deployment's two powers, in watts per core, and the error of a model with them, per thousand.

    The error is the caller's to say: `CALIBRATED_MODEL_ERROR` only where a meter was compared on this machine.
    """

    idle_w: int
    max_w: int
    error_permille: int | None = TDP_MODEL_ERROR


@dataclass(frozen=True, slots=True)
class ProcessorTimes:
    """Since the machine's start, summed over its cores: time spent working, and all time."""

    busy_ms: int
    whole_ms: int


def processor_times() -> ProcessorTimes:
    """What the kernel counted for the whole machine."""
    times = {name: round(seconds * 1000) for name, seconds in psutil.cpu_times()._asdict().items()}
    whole = sum(ms for name, ms in times.items() if name not in _COUNTED_TWICE)
    return ProcessorTimes(whole - sum(times.get(name, 0) for name in _NOT_BUSY), whole)


class ModelledMeter:
    """`model` is None where the deployment says nothing: then there is no energy, and the meter says why."""

    name = "modelled"

    def __init__(
        self, model: CoreModel | None, cores: int, times: Callable[[], ProcessorTimes] = processor_times
    ) -> None:
        error = None if model is None else model.error_permille
        self.provenance: Provenance = modelled("linear in processor time", error)
        self._model = model
        self._cores = cores
        self._times = times

    def available(self) -> Availability:
        if self._model is None:
            return Availability(False, "the deployment names no idle and maximum power per core")
        return Availability(True)

    def devices(self) -> list[Device]:
        if self._model is None:
            return []
        most_w = max(self._model.max_w * self._cores, 1)
        return [Device(SOURCE, "cpu", "processors", None, True, Limits(most_w=most_w * 2), most_w=most_w)]

    def read(self, now_ms: int) -> list[Reading]:
        """One counter of the whole machine, since its start."""
        if self._model is None:
            return []
        times = self._times()
        whole = modelled_energy(times.busy_ms, times.whole_ms, 1, self._model.idle_w, self._model.max_w)
        return [Reading(SOURCE, now_ms, self.provenance, counter_mj=whole.energy_mj)]


def modelled_run(model: CoreModel, cpu_ms: int, wall_ms: int, cores: int) -> Modelled:
    """One run's part: the cores it was given, idle or not, and the processor time it used."""
    return modelled_energy(cpu_ms, wall_ms, cores, model.idle_w, model.max_w, model.error_permille)
