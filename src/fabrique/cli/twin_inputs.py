"""What the commands of the twin are given: a trace, a fleet, caps and events, the grid. One mistake, one message."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from fabrique.core.errors import FabriqueError

if TYPE_CHECKING:
    from fabrique.core.admission.rules import Rules
    from fabrique.grid.known import Known
    from fabrique.grid.tables import Columns
    from fabrique.twin.fleet import Fleet
    from fabrique.twin.grids import Grid
    from fabrique.twin.study import Study
    from fabrique.twin.trace import Trace

T = TypeVar("T")
Flags = Mapping[str, str]

WORK: Final = {
    "trace": "A trace: SWF, sacct, Parquet or CSV.",
    "columns": "The trace's column map: ready-made, or a YAML file.",
    "timezone": "Of times in sacct's text (else UTC).",
    "workload": "Generate the trace by this workload instead: ready-made, or a YAML file.",
    "seed": "Of what is drawn (else 1).",
    "from": "Only jobs submitted from then on: 2026-01-31T00:00Z, or 2d after the first.",
    "until": "Only jobs submitted before then.",
    "load": "Rescale arrivals to this part of the fleet's capacity: 1.3.",
    "flexible": "Part of the jobs that may be put off: 30%, by --slack.",
    "slack": "How long they may be put off (else 12h).",
    "tolerant": "Part of the jobs that may run longer at a lower power level: 50%, by --tolerance.",
    "tolerance": "How much longer they may run (else 20%).",
    "preemptible": "Part of the jobs that write checkpoints: 40%.",
}
FLEET: Final = {
    "processors": "A bare machine of so many processors.",
    "hub": "A hub's machines: its id, or a definition's file.",
    "site": "One of the hub's sites alone.",
    "cap": "Another power cap for the site, at the meter: 2.5MW.",
    "event": "A demand response: FROM,UNTIL,CAP[,KNOWN], times as in --from; several apart by ;.",
    "pools": "The fleet's pool for pools of the trace: vc1=research,vc2=startup.",
}
GRID: Final = {
    "zone": "The site's grid zone, if it is another.",
    "grid": "Carbon intensity by the hour: our CSV or JSON, or Parquet with --grid-columns (else the yearly average).",
    "grid-columns": "How to read it: zone=DE,value=err0,forecast=err20,kind=average,basis=consumption.",
    "forecast": "What was expected of it: our CSV or JSON (else the day before).",
    "price": "Prices by the hour: our CSV or JSON, or Parquet with --price-columns.",
    "price-columns": "How to read them: zone=DE-LU,of_zone=LU,unit=EUR/MWh.",
    "bridge": "Fill holes in a series up to this long with the value before (else none): 6h.",
}
INPUTS: Final = {**WORK, **FLEET, **GRID}
_PERCENT: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9])?) ?%?")
_WATTS: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?(W|kW|MW)?")
_SCALE: Final = {None: 1, "W": 1, "kW": 1_000, "MW": 1_000_000}
_WEEK_MS: Final = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class Inputs:
    """`parse_s` is the time that reading, or generating, the trace took."""

    study: Study
    parse_s: float


def inputs(flags: Flags, shift: bool) -> Inputs:
    """Raises `twin.*`, `trace.*`, `grid.*`, `definition.*`."""
    from fabrique.twin.study import Study

    fleet = fleet_of(flags)
    before = time.perf_counter()
    trace = trace_of(flags, fleet)
    parse_s = time.perf_counter() - before
    fleet = _powered(flags, fleet, trace)
    grids = _grids(flags, fleet, trace, shift)
    return Inputs(Study(fleet=fleet, trace=trace, grids=grids, pools=_pools(flags)), parse_s)


def rules_of(names: str) -> list[Rules]:
    """Raises `definition.missing`, `definition.broken`."""
    from fabrique.definitions import rules

    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if not wanted:
        raise FabriqueError("twin.option", option="--rules", given=names, example="easy,frugal")
    return [rules.load(name) for name in wanted]


# --- fleet --------------------------------------------------------------------------------------------------------
def fleet_of(flags: Flags) -> Fleet:
    """Raises `twin.choose`, `twin.site`, `twin.fleet`, `definition.*`."""
    from fabrique.twin.fleet import bare
    from fabrique.twin.fleet_of_hub import of_hub

    _one_of(flags, "processors", "hub")
    if "processors" in flags:
        return bare(_read(flags, "processors", "100", _count))
    return of_hub(_hub(flags["hub"]), site=flags.get("site"))


def _hub(hub: str) -> Any:
    from fabrique.cli.context import is_file
    from fabrique.definitions import hubs

    if not is_file(hub):
        return hubs.load_builtin(hub)
    found, complaints = hubs.load(hub)
    if found is None:
        raise FabriqueError("definition.broken", file=hub, complaints=complaints)
    return found


def _powered(flags: Flags, fleet: Fleet, trace: Trace) -> Fleet:
    """With the cap, the events and the zone that were asked for."""
    from fabrique.twin.fleet import with_cap, with_event

    site = flags.get("site") or fleet.sites[0].id
    if len(fleet.sites) > 1 and "site" not in flags and flags.keys() & {"cap", "event", "zone"}:
        raise FabriqueError("twin.choose", options=", ".join(f"--site {s.id}" for s in fleet.sites))
    if "zone" in flags:
        zone = flags["zone"]
        fleet = replace(fleet, sites=tuple(replace(s, zone=zone) if s.id == site else s for s in fleet.sites))
    if "cap" in flags:
        fleet = with_cap(fleet, site, _read(flags, "cap", "2.5MW", _watts))
    for text in flags.get("event", "").split(";") if "event" in flags else ():
        start, end, watts, known = _event(text, trace)
        fleet = with_event(fleet, site, start, end, watts, known)
    return fleet


def _event(text: str, trace: Trace) -> tuple[int, int, int, int]:
    parts = [part.strip() for part in text.split(",")]
    try:
        start, end, watts = _instant(parts[0], trace), _instant(parts[1], trace), _watts(parts[2])
        known = _instant(parts[3], trace) if len(parts) > 3 else start
    except (ValueError, IndexError):
        raise FabriqueError("twin.option", option="--event", given=text[:80], example="2d,2d4h,1.5MW,47h") from None
    return start, end, watts, known


# --- trace --------------------------------------------------------------------------------------------------------
def trace_of(flags: Flags, fleet: Fleet | None) -> Trace:
    """Raises `twin.choose`, `twin.option`, `trace.*`, `definition.*`; `load` is of the fleet, where there is one."""
    from fabrique.twin.load import rescaled

    _one_of(flags, "trace", "workload")
    trace = _windowed(flags, _flexed(flags, _read_trace(flags) if "trace" in flags else generated(flags)))
    if "load" not in flags or fleet is None:
        return trace
    return rescaled(trace, fleet.milli_devices, _read(flags, "load", "1.3", Fraction))


def generated(flags: Flags) -> Trace:
    from fabrique.twin.generate import generate
    from fabrique.twin.workload import workload

    return generate(workload(flags["workload"]), _seed(flags))


def _read_trace(flags: Flags) -> Trace:
    from fabrique.twin.traces.reading import read

    processors = _read(flags, "processors", "100", _count) if "processors" in flags else None
    return read(
        Path(flags["trace"]),
        columns=flags.get("columns"),
        processors=processors,
        timezone=flags.get("timezone", "UTC"),
    )


# No public trace records what its users would consent to. On a hub, a trace without any is given this, and says so.
# Down to three fifths of the limit, the public sweeps lose a tenth of the throughput: most jobs would bear that.
CONSENTS: Final = {
    "flexible_permille": 200,
    "slack_ms": 12 * 3_600_000,
    "preemptible_permille": 400,
    "tolerant_permille": 1000,
    "tolerance_permille": 150,
}


def _flexed(flags: Flags, trace: Trace) -> Trace:
    from fabrique.twin.load import flexed

    if not flags.keys() & {"flexible", "tolerant", "preemptible"}:
        silent = not (trace.preemptible.any() or trace.tolerance_permille.any() or (trace.slack_ms >= 0).any())
        return flexed(trace, **CONSENTS, seed=_seed(flags)) if silent and "hub" in flags else trace
    shares = {name: _read(flags, name, "30%", _permille) for name in ("flexible", "tolerant", "preemptible")}
    return flexed(
        trace,
        flexible_permille=shares["flexible"] or 0,
        slack_ms=_read({"slack": "12h", **flags}, "slack", "12h", _duration),
        preemptible_permille=shares["preemptible"] or 0,
        tolerant_permille=shares["tolerant"] or 0,
        tolerance_permille=_read({"tolerance": "20%", **flags}, "tolerance", "20%", _permille),
        seed=_seed(flags),
    )


def _windowed(flags: Flags, trace: Trace) -> Trace:
    import numpy as np

    from fabrique.twin.study import only

    keep = np.ones(len(trace), np.bool_)
    if "from" in flags:
        keep &= trace.submit_ms >= _read(flags, "from", "2026-01-31T00:00Z", lambda text: _instant(text, trace))
    if "until" in flags:
        keep &= trace.submit_ms < _read(flags, "until", "2026-01-31T00:00Z", lambda text: _instant(text, trace))
    if not keep.any():
        raise FabriqueError("trace.empty", file=trace.source)
    return only(trace, keep, "outside-the-time-asked")


def _seed(flags: Flags) -> int:
    return _read({"seed": "1", **flags}, "seed", "1", _natural)


# --- grid ---------------------------------------------------------------------------------------------------------
def _grids(flags: Flags, fleet: Fleet, trace: Trace, shift: bool) -> tuple[Grid | None, ...]:
    """By site: the files for those of their zone, the zone's yearly average elsewhere."""
    from fabrique.twin.grids import Grid, averages

    found = list(averages(fleet))
    if not flags.keys() & {"grid", "price"}:
        return tuple(found)
    intensity, price = _known(flags, "grid", fleet), _known(flags, "price", fleet)
    used = False
    lag = _WEEK_MS if int(trace.slack_ms.max(initial=0)) > 86_400_000 else 86_400_000
    for row, (site, average) in enumerate(zip(fleet.sites, found, strict=True)):
        own = intensity if intensity and intensity.actual.zone == site.zone else average and average.intensity
        cost = price if price and price.actual.zone == site.zone else None
        if site.zone and own and (own is intensity or cost):
            used = True
            found[row] = Grid(zone=site.zone, intensity=own, price=cost, shift=shift, lag_ms=lag)
    if not used:
        given = intensity or price
        raise FabriqueError(
            "grid.zone", series=given.actual.zone if given else "", zone=", ".join(str(s.zone) for s in fleet.sites)
        )
    return tuple(found)


def _known(flags: Flags, name: str, fleet: Fleet) -> Known | None:
    from fabrique.grid import known

    if name not in flags:
        return None
    bridge = _read({"bridge": "0s", **flags}, "bridge", "6h", _duration)
    forecast = Path(flags["forecast"]) if name == "grid" and "forecast" in flags else None
    return known.load(Path(flags[name]), _columns(flags, name, fleet), forecast=forecast, bridge_ms=bridge)


def _columns(flags: Flags, name: str, fleet: Fleet) -> Columns | None:
    """The columns of a Parquet table; the site's zone is that of the values, whatever the table calls it."""
    from dataclasses import fields

    from fabrique.grid.tables import Columns

    option = f"{name}-columns"
    if option not in flags:
        return None
    known = {f.name for f in fields(Columns)}
    example = "zone=DE,kind=average,basis=consumption" if name == "grid" else "zone=DE-LU,unit=EUR/MWh"
    pairs = dict(part.strip().partition("=")[::2] for part in flags[option].split(","))
    if not pairs.get("zone") or pairs.keys() - known or not all(pairs.values()):
        raise FabriqueError("twin.option", option=f"--{option}", given=flags[option][:80], example=example)
    given: dict[str, Any] = {"source": Path(flags[name]).name, "of_zone": fleet.sites[0].zone, **pairs}
    for number in ("step_s", "year"):
        if number in given:
            given[number] = _read({option: given[number]}, option, example, _count)
    if name == "price":
        given = {"quantity": "price", "unit": "EUR/MWh", **given}
    return Columns(**given)


def _pools(flags: Flags) -> dict[str, str]:
    if "pools" not in flags:
        return {}
    pairs = dict(part.strip().partition("=")[::2] for part in flags["pools"].split(","))
    if not all(pairs) or not all(pairs.values()):
        raise FabriqueError("twin.option", option="--pools", given=flags["pools"][:80], example="vc1=research")
    return pairs


# --- one option ---------------------------------------------------------------------------------------------------
def _one_of(flags: Flags, *names: str) -> None:
    if sum(name in flags for name in names) != 1:
        raise FabriqueError("twin.choose", options=", ".join(f"--{name}" for name in names))


def _read(flags: Flags, name: str, example: str, reader: Callable[[str], T]) -> T:
    """The option's value; one that was not given is what an empty text means to no reader: 0 parts."""
    text = flags.get(name, "0")
    try:
        return reader(text.strip())
    except (ValueError, ZeroDivisionError, OverflowError):
        raise FabriqueError("twin.option", option=f"--{name}", given=text[:80], example=example) from None


def _count(text: str) -> int:
    value = _natural(text)
    if value < 1:
        raise ValueError(text)
    return value


def _natural(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError(text)
    return int(text)


def _permille(text: str) -> int:
    found = _PERCENT.fullmatch(text)
    if found is None or Fraction(found[1]) > 100:
        raise ValueError(text)
    return int(Fraction(found[1]) * 10)


def _watts(text: str) -> int:
    found = _WATTS.fullmatch(text)
    if found is None:
        raise ValueError(text)
    return int(Fraction(found[1]) * _SCALE[found[2]])


def _duration(text: str) -> int:
    from fabrique.definitions.job_values import NotRead, duration

    try:
        return duration(text)
    except NotRead:
        raise ValueError(text) from None


def _instant(text: str, trace: Trace) -> int:
    """An instant with its zone, or a length of time after the trace's first submission."""
    from fabrique.definitions.job_values import NotRead, instant

    try:
        return instant(text)
    except NotRead:
        return int(trace.submit_ms[0]) + _duration(text)


def instant_of(text: str, trace: Trace) -> int:
    """Raises `twin.option`."""
    return _read({"at": text}, "at", "2d4h", lambda given: _instant(given, trace))
