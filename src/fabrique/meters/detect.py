"""Which meters there are on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterable

from fabrique.meters.amdsmi import AmdSmiMeter
from fabrique.meters.habana import HabanaMeter
from fabrique.meters.levelzero import LevelZeroMeter
from fabrique.meters.modelled import CoreModel, ModelledMeter
from fabrique.meters.nvml import NvmlMeter
from fabrique.meters.protocol import Meter
from fabrique.meters.rapl import RaplMeter


def discover(model: CoreModel | None = None) -> list[Meter]:
    """Every meter this program knows, there or not, in the order of preference.

    Those that are not there stay in the list and say why: an operator sees what is missing. RAPL and the model read
    the same processors: use the model only where RAPL does not answer (`present` does so).
    """
    cores = os.cpu_count() or 1
    return [NvmlMeter(), AmdSmiMeter(), LevelZeroMeter(), HabanaMeter(), RaplMeter(), ModelledMeter(model, cores)]


def present(meters: Iterable[Meter]) -> list[Meter]:
    """Those that answer now, without the model of what a counter already counts."""
    answering = [meter for meter in meters if meter.available().ok]
    counted = any(meter.name == "rapl" for meter in answering)
    return [meter for meter in answering if not (counted and meter.name == "modelled")]
