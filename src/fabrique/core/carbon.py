"""Carbon of an energy: which factor, of which zone and sort, and never one sort in place of another.

Location-based is the answer; market-based (contracts, guarantees of origin) stands beside it, never instead.
Canada's average is not Québec's; what Luxembourg produces is not what it consumes: a factor says which it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from fabrique.core.energy import Window
from fabrique.core.errors import FabriqueError
from fabrique.core.units import MJ_PER_KWH, divide

Kind = Literal["average", "marginal"]
Scope = Literal["lifecycle", "direct"]
GridBasis = Literal["consumption", "production"]
Method = Literal["location", "market"]


@dataclass(frozen=True, slots=True)
class Factor:
    """Carbon intensity of a grid zone in mg CO2e per kWh (1 g/kWh is 1000).

    `zone` is the grid zone itself (CA-QC, LU), never the country around it. Valid over [`valid_from_ms`,
    `valid_to_ms`), UTC epoch milliseconds, open where None. `scope` is None where the source does not say.
    """

    zone: str
    mg_per_kwh: int
    kind: Kind
    scope: Scope | None
    basis: GridBasis
    year: int
    source: str
    method: Method = "location"
    valid_from_ms: int | None = None
    valid_to_ms: int | None = None

    def __post_init__(self) -> None:
        if type(self.mg_per_kwh) is not int or self.mg_per_kwh < 0:
            raise ValueError("an intensity is a whole number of mg/kWh, never negative")

    @property
    def sort(self) -> tuple[str, str | None, str, str]:
        """What must agree before two factors may be added or compared."""
        return self.kind, self.scope, self.basis, self.method

    def covers(self, window: Window) -> bool:
        starts = self.valid_from_ms is None or self.valid_from_ms <= window.start_ms
        return starts and (self.valid_to_ms is None or window.end_ms <= self.valid_to_ms)


def carbon_mg(energy_mj: int, factor: Factor, zone: str) -> int:
    """mg CO2e of `energy_mj` drawn in `zone`, rounded once, halves to even.

    Raises `carbon.zone` when the factor is of another zone, were it the country that `zone` lies in.
    """
    _same_zone(factor, zone)
    return at_intensity(energy_mj, factor.mg_per_kwh)


def at_intensity(energy_mj: int, mg_per_kwh: int) -> int:
    """mg CO2e of `energy_mj` at an intensity whose zone was checked before; rounded once, halves to even."""
    return divide(energy_mj * mg_per_kwh, MJ_PER_KWH)


def carbon_over(parts: Iterable[tuple[int, Factor]], zone: str) -> int:
    """mg CO2e of energies (mJ) drawn under factors that change with time; rounded once, at the end.

    Raises `carbon.zone`, and `carbon.mixed` when average and marginal, lifecycle and direct, consumption and
    production, or location and market would be added up.
    """
    weighed, first = 0, None
    for energy_mj, factor in parts:
        _same_zone(factor, zone)
        first = first or factor
        _same_sort(first, factor)
        weighed += energy_mj * factor.mg_per_kwh
    return divide(weighed, MJ_PER_KWH)


@dataclass(frozen=True, slots=True)
class Footprint:
    """The answer, location-based, and beside it the market-based one; None: no factor was published."""

    location_mg: int | None
    location: Factor | None
    market_mg: int | None
    market: Factor | None


def footprint(energy_mj: int, zone: str, location: Factor | None, market: Factor | None = None) -> Footprint:
    """Both answers for `energy_mj` in `zone`. Raises `carbon.mixed` when one method is given for the other."""
    for factor, method in ((location, "location"), (market, "market")):
        if factor is not None and factor.method != method:
            raise FabriqueError("carbon.mixed", left=method, right=factor.method)
    return Footprint(
        location_mg=None if location is None else carbon_mg(energy_mj, location, zone),
        location=location,
        market_mg=None if market is None else carbon_mg(energy_mj, market, zone),
        market=market,
    )


def sci(energy_mj: int, factor: Factor, zone: str, embodied_mg: int, functional_units: int) -> Fraction:
    """Software Carbon Intensity, ISO/IEC 21031:2024: ((E × I) + M) / R, in mg CO2e per functional unit, exactly.

    `embodied_mg` is the hardware's manufacture, the part that falls to this software; `functional_units` is what
    it served (jobs, tokens, users), above 0. The standard wants location-based I: `carbon.mixed` for any other.
    """
    if functional_units <= 0 or embodied_mg < 0:
        raise ValueError("functional units are above 0, embodied carbon is never negative")
    if factor.method != "location":
        raise FabriqueError("carbon.mixed", left="location", right=factor.method)
    _same_zone(factor, zone)
    return (Fraction(energy_mj * factor.mg_per_kwh, MJ_PER_KWH) + embodied_mg) / functional_units


def _same_zone(factor: Factor, zone: str) -> None:
    if factor.zone != zone:
        raise FabriqueError("carbon.zone", factor=factor.zone, zone=zone)


def _same_sort(left: Factor, right: Factor) -> None:
    if left.sort != right.sort:
        differing = next((a, b) for a, b in zip(left.sort, right.sort, strict=True) if a != b)
        raise FabriqueError("carbon.mixed", left=str(differing[0]), right=str(differing[1]))
