"""Energy of a window: who used it, how sure we are, and what is left over.

Over any window, jobs + idle + overhead + residual = the meter, to the millijoule. The residual is an account
of its own: it is what nobody can be shown to have used, it may be negative, and it is never folded into another.
How a window's energy is read off counters and samples is in `fabrique.core.readings`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Final, Literal

from fabrique.core.units import ceil_divide, divide, share_out

Basis = Literal["measured", "attributed", "modelled"]

# Per thousand, of models of a device's energy against its counter: by nameplate power 27 to 37 %, calibrated 11 %.
TDP_MODEL_ERROR: Final = 370
CALIBRATED_MODEL_ERROR: Final = 110
# A residual above this share of the meter is shown as a defect of the meters, not as a fact of the site.
RESIDUAL_BOUND: Final = 110

_CERTAINTY: Final[Mapping[str, int]] = MappingProxyType({"measured": 0, "attributed": 1, "modelled": 2})


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an energy comes from. `how` names the counter, the rule of attribution or the model.

    `error_permille` is the relative error of a model (None: nobody published one); a counter has none here.
    `tested_on` names the hardware the reading was seen on; None is said as "untested on hardware".
    """

    basis: Basis
    how: str
    error_permille: int | None = None
    tested_on: str | None = None

    def as_json(self) -> dict[str, object]:
        return {
            "basis": self.basis,
            "how": self.how,
            "error_permille": self.error_permille,
            "tested_on": self.tested_on,
        }


def measured(counter: str, tested_on: str | None = None) -> Provenance:
    return Provenance("measured", counter, tested_on=tested_on)


def attributed(how: str) -> Provenance:
    return Provenance("attributed", how)


def modelled(model: str, error_permille: int | None) -> Provenance:
    return Provenance("modelled", model, error_permille)


def least_certain(parts: Iterable[Provenance]) -> Provenance:
    """The provenance of a sum: that of its least certain part (of models, an unknown error or the largest one)."""
    return max(parts, key=lambda p: (_CERTAINTY[p.basis], p.error_permille is None, p.error_permille or 0))


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """UTC epoch milliseconds, half-open: `start_ms` belongs to it, `end_ms` does not."""

    start_ms: int
    end_ms: int

    def __post_init__(self) -> None:
        if self.end_ms < self.start_ms:
            raise ValueError("a window ends no earlier than it starts")

    @property
    def length_ms(self) -> int:
        return self.end_ms - self.start_ms

    def cut(self, other: Window) -> Window | None:
        """What both have in common, or None."""
        start, end = max(self.start_ms, other.start_ms), min(self.end_ms, other.end_ms)
        return Window(start, end) if start < end else None


@dataclass(frozen=True, slots=True)
class Claim:
    """One run's part in a meter that several share.

    `measured_mj`: what its own counters say (whole devices); it is charged exactly that.
    `weight`: its share of what the measured ones leave, in any one unit (processor time, device time).
    `most_mj`: what its devices could have drawn at the very most in the window; None when not known.
    """

    run: str
    weight: int = 0
    measured_mj: int | None = None
    most_mj: int | None = None

    def __post_init__(self) -> None:
        if min(self.weight, self.measured_mj or 0, self.most_mj or 0) < 0:
            raise ValueError("a claim is never negative")


@dataclass(frozen=True, slots=True)
class Split:
    """A meter's energy over a window, in mJ: sum(jobs) + idle + overhead + residual == meter, always."""

    window: Window
    meter_mj: int
    jobs: Mapping[str, int]
    idle_mj: int
    overhead_mj: int
    residual_mj: int
    residual_bound_mj: int

    @property
    def within_bound(self) -> bool:
        """False: the meters disagree by more than they may, and whoever reads this must be told so."""
        return abs(self.residual_mj) <= self.residual_bound_mj


def attribute(
    window: Window,
    meter_mj: int,
    idle_mj: int,
    overhead_permille: int,
    claims: Sequence[Claim],
    residual_bound_permille: int = RESIDUAL_BOUND,
) -> Split:
    """Split `meter_mj` over `window` into jobs, idle, overhead and residual, exactly.

    `overhead_permille` is overhead per thousand of what the machines draw: PUE 1.350 is 350 at the facility's meter,
    and it is 0 at a device's. Runs with their own counters get what these say; what is left after them, idle and
    overhead is shared by weight (largest remainder), never beyond a run's `most_mj`. All else is residual:
    energy without a run to bear it, energy beyond what runs could draw, or, negative, counters above the meter.
    """
    if min(meter_mj, idle_mj, overhead_permille, residual_bound_permille) < 0:
        raise ValueError("a meter, its idle part, overhead and bound are never negative")
    if len({c.run for c in claims}) != len(claims):
        raise ValueError("a run claims once")
    overhead_mj = meter_mj - divide(meter_mj * 1000, 1000 + overhead_permille)
    jobs = {c.run: c.measured_mj or 0 for c in claims}
    left = meter_mj - overhead_mj - idle_mj - sum(jobs.values())
    shared = [c for c in claims if c.measured_mj is None and c.weight > 0]
    if left > 0 and shared:
        for claim, part in zip(shared, share_out(left, [c.weight for c in shared]), strict=True):
            jobs[claim.run] = part if claim.most_mj is None else min(part, claim.most_mj)
    return Split(
        window=window,
        meter_mj=meter_mj,
        jobs=MappingProxyType(jobs),
        idle_mj=idle_mj,
        overhead_mj=overhead_mj,
        residual_mj=meter_mj - sum(jobs.values()) - idle_mj - overhead_mj,
        residual_bound_mj=ceil_divide(meter_mj * residual_bound_permille, 1000),
    )


def at_facility(energy_mj: int, pue_permille: int) -> int:
    """What the facility's meter shows for `energy_mj` of the machines; `pue_permille` is PUE × 1000."""
    if pue_permille < 1000:
        raise ValueError("a PUE is 1.000 or more")
    return divide(energy_mj * pue_permille, 1000)


@dataclass(frozen=True, slots=True)
class Modelled:
    """An energy from a model, with its error in mJ (None: not known)."""

    energy_mj: int
    error_mj: int | None
    provenance: Provenance


def modelled_energy(
    cpu_ms: int,
    wall_ms: int,
    cores: int,
    idle_w: int,
    max_w: int,
    error_permille: int | None = TDP_MODEL_ERROR,
) -> Modelled:
    """Energy of `cores` over `wall_ms` with `cpu_ms` of processor time; watts are per core.

    P(u) = idle + (max - idle) × u, u being utilisation: the linear model of Fan, Weber and Barroso, "Power
    provisioning for a warehouse-sized computer", ISCA 2007. Processor time beyond `cores` × `wall_ms` is not physical
    and is cut off.
    """
    if min(cpu_ms, wall_ms, cores, idle_w) < 0 or max_w < idle_w:
        raise ValueError("times, cores and watts are never negative, and the maximum is no less than idle")
    whole_ms = cores * wall_ms
    energy_mj = idle_w * whole_ms + (max_w - idle_w) * min(cpu_ms, whole_ms)
    error_mj = None if error_permille is None else ceil_divide(energy_mj * error_permille, 1000)
    return Modelled(energy_mj, error_mj, modelled("linear in processor time", error_permille))


@dataclass(frozen=True, slots=True, order=True)
class PowerLevel:
    """One measured point: at `limit_permille` of the top limit, the throughput and draw per thousand of those there."""

    limit_permille: int
    throughput_permille: int
    draw_permille: int


def throughput_permille(limit_permille: int, levels: Sequence[PowerLevel]) -> int | None:
    """Throughput at a power limit, linear between measured levels and 1000 at the top; None below the lowest one."""
    points = sorted({1000: 1000, **{p.limit_permille: p.throughput_permille for p in levels}}.items())
    if not levels or limit_permille < points[0][0]:
        return None
    for (x0, y0), (x1, y1) in pairwise(points):
        if limit_permille <= x1:
            return y0 + divide((y1 - y0) * (limit_permille - x0), x1 - x0)
    return 1000


def frugality_rebate(charged: int, throughput_permille: int) -> int:
    """What a lower power level cost of `charged` time (any unit): the part in which no work was done."""
    if not 0 < throughput_permille <= 1000:
        raise ValueError("throughput is above 0 and at most 1000 per thousand")
    return divide(charged * (1000 - throughput_permille), 1000)


def extended_walltime(walltime_ms: int, throughput_permille: int) -> int:
    """The walltime that does the same work at a lower power level, rounded up."""
    if not 0 < throughput_permille <= 1000:
        raise ValueError("throughput is above 0 and at most 1000 per thousand")
    return ceil_divide(walltime_ms * 1000, throughput_permille)
