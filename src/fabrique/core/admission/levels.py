"""Power levels of a start: what the devices can be set to, and what of it a job consents to.

A job that tolerates a slowdown may be started at a lower level: its devices draw less, its walltime is longer by what
the level costs, never by more than it tolerates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fabrique.core.catalogue import DeviceKind
from fabrique.core.energy import extended_walltime
from fabrique.core.job import JobSpec

FULL = 1_000  # permille


@dataclass(frozen=True, slots=True)
class Level:
    """A power limit of each device in W, below the top one; the work done per second and the mean draw there, in
    permille of those at the top."""

    limit_w: int
    throughput_permille: int
    draw_permille: int = FULL

    @property
    def name(self) -> str:
        """As a plan names it: 210W."""
        return f"{self.limit_w}W"


def of_kind(kind: DeviceKind, top_w: int | None) -> tuple[Level, ...]:
    """What was measured of a kind, in watts of its top limit; none where nobody measured it, or knows that limit."""
    if top_w is None:
        return ()
    found = (Level(top_w * row.limit // FULL, row.throughput, row.draw) for row in kind.power_levels)
    least = max(kind.min_limit_w or 0, 1)
    return tuple(level for level in found if least <= level.limit_w < top_w and 0 < level.throughput_permille <= FULL)


def tolerated(spec: JobSpec, levels: Sequence[Level]) -> tuple[Level, ...]:
    """Those at which the job does its work within the slowdown that it tolerates."""
    if not spec.tolerated_permille or spec.milli_devices <= 0:
        return ()
    most = FULL + spec.tolerated_permille
    return tuple(level for level in levels if level.throughput_permille * most >= FULL * FULL)


def at(spec: JobSpec, level: Level | None) -> JobSpec:
    """The job as asked at a level: its devices' limit, and the walltime that does the same work; None: as it is."""
    if level is None:
        return spec
    walltime_ms = extended_walltime(spec.walltime_ms, level.throughput_permille)
    return replace(spec, power=level.limit_w, walltime_ms=walltime_ms, tolerance_permille=0)
