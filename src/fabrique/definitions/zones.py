"""The catalogue of grid zones: each with the carbon factors of its own mix, and its country's beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from pydantic import ConfigDict, TypeAdapter, with_config

from fabrique.core.carbon import Factor, GridBasis, Kind, Scope
from fabrique.core.catalogue import GridZone
from fabrique.definitions import catalogues

FOLDER: Final = catalogues.DATA / "zones"


@dataclass(frozen=True, slots=True)
class _Factor:
    """A yearly factor as its file has it; `mg_per_kwh` is mg CO2e per kWh."""

    mg_per_kwh: int
    kind: Kind
    scope: Scope | None
    basis: GridBasis
    year: int
    source: str


@dataclass(frozen=True, slots=True)
class _File:
    id: str
    name: str
    country: str
    factors: tuple[_Factor, ...]
    of_country: tuple[_Factor, ...] = ()
    note: str | None = None


@cache
def catalogue() -> Mapping[str, GridZone]:
    """Every grid zone by id (CA-QC, LU, SE-SE3 …)."""
    for part in (_Factor, _File):
        with_config(ConfigDict(extra="forbid", strict=True))(part)
    adapter = TypeAdapter(_File)
    files = (catalogues.load(path, adapter) for path in sorted(FOLDER.glob("*.yaml")))
    return catalogues.by_id((_zone(file) for file in files), FOLDER)


def _zone(file: _File) -> GridZone:
    own = tuple(_factor(factor, file.id) for factor in file.factors)
    around = tuple(_factor(factor, file.country) for factor in file.of_country)
    return GridZone(file.id, file.name, file.country, own, around, file.note)


def _factor(written: _Factor, area: str) -> Factor:
    return Factor(
        zone=area,
        mg_per_kwh=written.mg_per_kwh,
        kind=written.kind,
        scope=written.scope,
        basis=written.basis,
        year=written.year,
        source=written.source,
    )
