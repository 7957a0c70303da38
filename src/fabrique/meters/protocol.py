"""What every meter answers, and how one that is not there says so.

A meter only ever reads: no device's setting is changed. A device that does not answer gives a reading without a
value, never an exception and never a zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fabrique.core.energy import Provenance
from fabrique.core.readings import Limits, Reading


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a meter answers here; `why` says what is missing when it does not, in plain words for an operator."""

    ok: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """One thing a meter reads. `source` is stable across restarts and names its readings.

    `kind` is the accelerator's id in our catalogue, None when the vendor's `name` is not known there.
    `counts` is True for an energy counter, False for samples of power. `slices` are the parts (MIG instances) that
    share this one meter: their energy can only be attributed. `least_w` and `most_w` bound its power limit.
    """

    source: str
    vendor: str
    name: str
    kind: str | None
    counts: bool
    limits: Limits
    least_w: int | None = None
    most_w: int | None = None
    slices: tuple[str, ...] = ()


class Meter(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def provenance(self) -> Provenance:
        """`provenance.tested_on` is None for a vendor's tool that was never seen on hardware."""
        ...

    def available(self) -> Availability: ...

    def devices(self) -> list[Device]:
        """What it reads here; empty when it is not available."""
        ...

    def read(self, now_ms: int) -> list[Reading]:
        """One reading for each device, stamped `now_ms` (UTC epoch milliseconds); empty when not available."""
        ...
