"""Meter: a window of the site's energy, split into jobs, idle, overhead and residual, and booked.

Counters survive a restart of the loop, so a window that was open when the loop died is closed by the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fabrique.apps.energy.models import Window as WindowRow
from fabrique.apps.jobs.cycle import Seen
from fabrique.apps.jobs.models import HubState, Run
from fabrique.apps.ledger import services as ledger
from fabrique.apps.this_hub import ThisHub
from fabrique.core import booking
from fabrique.core.energy import (
    Claim,
    Provenance,
    Split,
    Window,
    at_facility,
    attribute,
    least_certain,
    modelled,
)
from fabrique.core.readings import Metered, Reading, metered
from fabrique.core.units import share_out
from fabrique.meters.modelled import CoreModel, modelled_run
from fabrique.meters.protocol import Device, Meter

_NOTHING = modelled("no meter answered", None)


@dataclass(slots=True)
class Parts:
    """Energy of the machines over one window, in mJ, before the facility's overhead."""

    meter: int = 0
    idle: int = 0
    residual: int = 0
    jobs: dict[str, int] = field(default_factory=dict)
    provenances: list[Provenance] = field(default_factory=list)
    within_bound: bool = True

    def add(self, split: Split) -> None:
        self.meter += split.meter_mj
        self.idle += split.idle_mj
        self.residual += split.residual_mj
        self.within_bound = self.within_bound and split.within_bound
        for run, energy in split.jobs.items():
            self.jobs[run] = self.jobs.get(run, 0) + energy


class Metering:
    """The meters of this machine and the model of its cores."""

    def __init__(self, meters: Sequence[Meter], here: ThisHub) -> None:
        self.meters = meters
        self.here = here
        self.model = CoreModel(here.core_idle_w, here.core_max_w, here.model_error_permille)
        self.devices: dict[str, Device] = {d.source: d for m in meters for d in m.devices()}

    def close(self, acts: ledger.Batch, state: HubState, runs: Sequence[Run], seen: Mapping[str, Seen]) -> None:
        """Books the window since the last one and attributes it to `runs`; nothing at the first reading."""
        now = acts.now
        readings = {r.source: r for m in self.meters for r in m.read(now) if r.known}
        before = _from_json(state.meter_state, readings)
        state.meter_state = _to_json(readings, now)
        state.save(update_fields=["meter_state"])
        if not before or (start := min(r.at_ms for r in before.values())) >= now:
            return
        window = Window(start, now)
        parts = self._split(window, before, readings, runs, seen)
        self._book(acts, window, parts, runs, seen)

    def _split(
        self,
        window: Window,
        before: Mapping[str, Reading],
        after: Mapping[str, Reading],
        runs: Sequence[Run],
        seen: Mapping[str, Seen],
    ) -> Parts:
        parts = Parts()
        for source, reading in sorted(after.items()):
            if source not in before or source not in self.devices:
                continue
            energy = metered([before[source], reading], window, self.devices[source].limits)
            if energy.energy_mj is None or energy.provenance is None:
                continue
            parts.provenances.append(energy.provenance)
            if self.devices[source].vendor == "cpu" or source.startswith("rapl"):
                parts.add(self._cores(window, energy, runs, seen))
            else:
                parts.add(_device(window, energy, source, runs))
        return parts

    def _cores(self, window: Window, energy: Metered, runs: Sequence[Run], seen: Mapping[str, Seen]) -> Split:
        """Processors: modelled runs are charged what the model says of them, measured ones share by processor time."""
        total = energy.energy_mj or 0
        is_model = energy.provenance is not None and energy.provenance.basis == "modelled"
        claims, busy = [], 0
        for run in runs:
            sight = seen.get(str(run.id))
            wall = _overlap(run, sight, window)
            cpu = max((sight.cpu_ms if sight and sight.cpu_ms else 0) - int(run.usage.get("metered_cpu_ms", 0)), 0)
            cores = len(run.bound.get("cores", []))
            busy += cores * wall
            most = modelled_run(self.model, cores * wall, wall, cores).energy_mj
            part = modelled_run(self.model, cpu, wall, cores).energy_mj
            claims.append(Claim(str(run.id), cpu, min(part, total) if is_model else None, most))
        free_ms = max(self.here.cores * window.length_ms - busy, 0)
        idle = min(self.model.idle_w * free_ms, max(total - sum(c.measured_mj or 0 for c in claims), 0))
        return attribute(window, total, idle, 0, claims)

    def _book(
        self, acts: ledger.Batch, window: Window, parts: Parts, runs: Sequence[Run], seen: Mapping[str, Seen]
    ) -> None:
        here, factor = self.here, self.here.factor(window.end_ms)
        provenance = least_certain(parts.provenances) if parts.provenances else _NOTHING
        # what the facility adds, shared so that every part keeps its sum
        facility = at_facility(parts.meter, here.pue_permille)
        detail = {
            "provenance": provenance.as_json(),
            "start_ms": str(window.start_ms),
            "end_ms": str(window.end_ms),
            "pue_permille": str(here.pue_permille),
        }
        total_jobs = sum(parts.jobs.values())
        overhead = facility - parts.meter
        site = here.site
        acts.add(booking.meter(site, facility, total_jobs, parts.idle, overhead, str(window.start_ms), detail))
        WindowRow.objects.update_or_create(
            site=site,
            start_ms=window.start_ms,
            defaults={
                "end_ms": window.end_ms,
                "meter_mj": facility,
                "jobs_mj": total_jobs,
                "idle_mj": parts.idle,
                "overhead_mj": overhead,
                "residual_mj": facility - total_jobs - parts.idle - overhead,
                "cap_w": here.cap_w,
                "mg_per_kwh": factor.mg_per_kwh,
                "provenance": {**provenance.as_json(), "within_bound": parts.within_bound},
            },
        )
        for run in runs:
            run.energy_mj += parts.jobs.get(str(run.id), 0)
            run.energy_provenance = provenance.as_json()
            sight = seen.get(str(run.id))
            if sight and sight.cpu_ms is not None:
                run.usage = {**run.usage, "metered_cpu_ms": sight.cpu_ms}
            run.save(update_fields=["energy_mj", "energy_provenance", "usage"])


def _device(window: Window, energy: Metered, source: str, runs: Sequence[Run]) -> Split:
    """One accelerator: shared by the fractions handed out of it; what is not handed out is idle."""
    total = energy.energy_mj or 0
    holders = [(str(r.id), d["milli"]) for r in runs for d in r.bound.get("devices", []) if d["uuid"] == source]
    taken = sum(milli for _, milli in holders)
    shares = share_out(total, [milli for _, milli in holders] + [max(1000 - taken, 0)])
    claims = [Claim(run, 0, part) for (run, _), part in zip(holders, shares, strict=False)]
    return attribute(window, total, shares[-1], 0, claims)


def _overlap(run: Run, sight: Seen | None, window: Window) -> int:
    """Milliseconds of the run inside the window."""
    if sight is None or sight.started_ms is None:
        return 0
    end = sight.ended_ms or (sight.last_seen_ms if sight.state == "lost" else None) or window.end_ms
    lived = Window(sight.started_ms, max(end, sight.started_ms)).cut(window)
    return lived.length_ms if lived else 0


def _to_json(readings: Mapping[str, Reading], now: int) -> dict[str, object]:
    return {s: {"at_ms": now, "counter_mj": r.counter_mj, "power_mw": r.power_mw} for s, r in sorted(readings.items())}


def _from_json(state: Mapping[str, dict[str, int | None]], now: Mapping[str, Reading]) -> dict[str, Reading]:
    """The last readings of the sources that still answer."""
    return {
        source: Reading(source, at, now[source].provenance, old.get("counter_mj"), old.get("power_mw"))
        for source, old in state.items()
        if source in now and (at := old.get("at_ms")) is not None
    }
