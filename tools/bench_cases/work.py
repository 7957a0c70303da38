"""What is replayed: Philly's jobs on a hub, with consents marked on them and real hours of carbon around."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final

from tools.bench_cases.figure import traces

if TYPE_CHECKING:
    from fabrique.twin.fleet import Fleet
    from fabrique.twin.grids import Grid
    from fabrique.twin.study import Study
    from fabrique.twin.trace import Trace

KTH: Final = "KTH-SP2-1996-2.1-cln.swf.gz"
PHILLY: Final = "philly_2017-09_2017-10.parquet"
CARBON: Final = "carbon_hourly_2021-2022.parquet"
HUB: Final = "gr-pharos"  # of about as many accelerators as Philly had
HOUR_MS: Final = 3_600_000
TOLERANCE: Final = 150  # permille longer, for jobs that consent


def philly() -> Trace:
    from fabrique.twin.traces.reading import read

    return read(traces() / PHILLY)


def consenting(trace: Trace, *, flexible: int = 300, preemptible: int = 500, tolerant: int = 500) -> Trace:
    """Consents in permille of the jobs: twelve hours of slack, checkpoints, a run that may take 15 % longer."""
    from fabrique.twin.load import flexed

    return flexed(
        trace,
        flexible_permille=flexible,
        slack_ms=12 * HOUR_MS,
        preemptible_permille=preemptible,
        tolerant_permille=tolerant,
        tolerance_permille=TOLERANCE,
    )


def at_load(trace: Trace, fleet: Fleet, load: str) -> Trace:
    from fabrique.twin.load import rescaled

    return rescaled(trace, fleet.milli_devices, Fraction(load))


def hub_fleet(hub: str) -> Fleet:
    from fabrique.definitions import hubs
    from fabrique.twin.fleet_of_hub import of_hub

    return of_hub(hubs.load_builtin(hub))


def grids(fleet: Fleet) -> tuple[Grid | None, ...]:
    """By site, the hours of its zone in 2021 and 2022; other years are shifted there."""
    from fabrique.grid.known import load
    from fabrique.grid.tables import Columns
    from fabrique.twin.grids import Grid

    found: list[Grid | None] = []
    for site in fleet.sites:
        if site.zone is None:
            found.append(None)
            continue
        columns = Columns(zone=site.zone, source="Electricity Maps", kind="average", basis="consumption")
        found.append(Grid(zone=site.zone, intensity=load(traces() / CARBON, columns), shift=True))
    return tuple(found)


def study(hub: str, load: str | None) -> Study:
    """Philly on a hub with its pools, power levels and carbon; `load` None: as it was recorded."""
    from fabrique.twin.study import Study

    fleet, trace = hub_fleet(hub), philly()
    trace = trace if load is None else at_load(trace, fleet, load)
    return Study(fleet=fleet, trace=consenting(trace), grids=grids(fleet))
