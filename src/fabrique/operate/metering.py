"""Meter: a window of the site's energy, split into jobs, idle, overhead and residual, and booked.

Counters survive a restart of the loop, so a window that was open when the loop died is closed by the next one.

Windows follow each other without a hole: each starts where the last row ended. A source that did not answer keeps its
old reading; when it answers again, all its energy since then is in that window, shared by who was there over the
source's own interval. What falls to runs that were settled meanwhile can't be charged any more: it is residual.

A clock that stepped while this loop watched: what it showed before is dated anew, so every interval is as long as it
was, and the next window starts that long ago (`operate.steady`); the hours that the clock jumped over have no row.

A clock that stepped back while no loop of ours watched: while it is behind the last reading by a window or less,
nothing is read or booked and the counters stay; the window that closes once it has caught up has all the energy.
Further behind, the readings are dated anew, their counters kept; the energy up to the next reading is of unknown
duration, so the next window has it as residual, marked "clock-step". Where the clock passes a run's start again, up to
two windows may count as idle. One that stepped forward then is not told from time that went by.

After a step back windows run through the same hours a second time; a start that an older row already has is moved by
a millisecond.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypedDict

from fabrique.apps import in_bulk
from fabrique.apps.energy.models import Window as WindowRow
from fabrique.apps.jobs.models import HubState, Run, RunState
from fabrique.apps.jobs.settlement import Seen
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
from fabrique.core.readings import GapCause, Limits, Reading, metered
from fabrique.core.units import share_out
from fabrique.meters.modelled import CoreModel, modelled_run
from fabrique.meters.protocol import Device, Meter
from fabrique.operate.steady import Steady

# A clock behind by more than a window is not waited for.
STEP_MS: Final = 60_000
MISSED: Final = "missed"
CLOCK_STEP: Final = "clock-step"
_NOTHING = modelled("no meter answered", None)


class Kept(TypedDict, total=False):
    """The last answer of a source in `HubState.meter_state`; `mark` says what happened to a close since then."""

    at_ms: int
    counter_mj: int | None
    power_mw: int | None
    mark: str


@dataclass(frozen=True, slots=True)
class Found:
    """What one source says of the time since it last answered. `stepped`: the interval can't be trusted."""

    source: str
    interval: Window
    energy_mj: int
    provenance: Provenance
    stepped: bool


@dataclass(slots=True)
class Parts:
    """Energy of the machines over one window, in mJ, before the facility's overhead; `jobs` are those to charge."""

    jobs: dict[str, int]
    meter: int = 0
    idle: int = 0
    saved: int = 0  # not drawn, in none of the sums: what was powered down would have idled
    provenances: list[Provenance] = field(default_factory=list)
    within_bound: bool = True
    stepped: bool = False
    processors: bool = False
    of_run: dict[str, Provenance] = field(default_factory=dict)  # where a run's differs from the window's
    notes: dict[str, str] = field(default_factory=dict)  # what else the window's entry says

    def add(self, split: Split) -> None:
        self.meter += split.meter_mj
        self.idle += split.idle_mj
        self.within_bound = self.within_bound and split.within_bound
        for run in self.jobs.keys() & split.jobs.keys():
            self.jobs[run] += split.jobs[run]


class Metering:
    """The meters of this machine and the model of its cores."""

    def __init__(self, meters: Sequence[Meter], here: ThisHub) -> None:
        self.meters = meters
        self.here = here
        self.model = CoreModel(here.core_idle_w, here.core_max_w, here.model_error_permille)
        self.devices: dict[str, Device] = {d.source: d for m in meters for d in m.devices()}
        self.steady = Steady()

    def ready(self) -> None:
        """Called before the transaction in which a window closes: who asks an engine asks it here."""

    def close(self, acts: ledger.Batch, state: HubState, runs: Sequence[Run], seen: Mapping[str, Seen]) -> None:
        """Books the window since the last one and attributes it to `runs`; nothing at the first reading.

        `runs` are all that live; `seen` lacks those whose engine was silent.
        """
        now = acts.now
        was: Mapping[str, Kept] = state.meter_state
        kept: dict[str, Kept] = {s: {**k, "at_ms": self.steady.seen(k["at_ms"])} for s, k in was.items()}
        self.steady.mark(now)
        reached = max((k["at_ms"] for k in kept.values()), default=now - 1)
        stepped = reached - max((k["at_ms"] for k in was.values()), default=reached)
        if now <= reached:
            _keep(state, _behind(kept, now, reached))
            return
        readings = {r.source: r for m in self.meters for r in m.read(now) if r.known}
        _keep(state, {**_marked(kept, MISSED), **_to_json(readings, now)})
        before = {source: kept[source] for source in readings if source in kept}
        if not before:
            return
        window = Window(self._start(min(k["at_ms"] for k in before.values()), reached, now), now)
        found = [f for source, k in sorted(before.items()) if (f := self._found(k, readings[source]))]
        parts = self._split(found, runs, _settled(before.values()), seen)
        if stepped:
            parts.notes["clock_stepped_ms"] = str(stepped)
        self._book(acts, window, parts, runs, seen)

    def _start(self, first: int, reached: int, now: int) -> int:
        """Where the last row ended; the first reading where there is none, the last one after a clock's step."""
        rows = WindowRow.objects.filter(site=self.here.site)
        last = rows.order_by("-pk").values_list("end_ms", flat=True).first()
        start = first if last is None else min(self.steady.seen(last), reached)
        while start < now and rows.filter(start_ms=start).exists():
            start += 1
        return start

    def _found(self, kept: Kept, reading: Reading) -> Found | None:
        """The energy of a source since its last answer; None where its readings give none."""
        device = self.devices.get(reading.source)
        if device is None:
            return None
        counter, power = kept.get("counter_mj"), kept.get("power_mw")
        before = Reading(reading.source, kept["at_ms"], reading.provenance, counter, power)
        interval = Window(before.at_ms, reading.at_ms)
        energy = metered([before, reading], interval, device.limits)
        more = difference(before, reading, device.limits)
        stepped = kept.get("mark") == CLOCK_STEP
        if not stepped and more is not None and any(g.cause is GapCause.IMPOSSIBLE for g in energy.gaps):
            # possible in the time that a clock behind by up to a window has hidden
            stepped = more <= device.limits.most_w * (interval.length_ms + STEP_MS)
        found = more if stepped else energy.energy_mj
        return None if found is None else Found(reading.source, interval, found, reading.provenance, stepped)

    def _split(
        self, found: Sequence[Found], runs: Sequence[Run], settled: Sequence[Run], seen: Mapping[str, Seen]
    ) -> Parts:
        parts = Parts({str(r.id): 0 for r in runs}, provenances=[f.provenance for f in found])
        there = [*runs, *(r for r in settled if str(r.id) not in parts.jobs)]
        processors: dict[Window, list[Found]] = defaultdict(list)
        for one in found:
            on_cores = self.devices[one.source].vendor == "cpu"
            parts.processors = parts.processors or on_cores
            if one.stepped:
                parts.stepped = True
                parts.add(attribute(one.interval, one.energy_mj, 0, 0, []))
            elif on_cores:
                processors[one.interval].append(one)
            else:
                parts.add(self._device(one, there, seen))
        # sources of one interval are one meter; those of another share the cores with it by their mean power
        powers = [sum(f.energy_mj for f in of) * 1000 // interval.length_ms for interval, of in processors.items()]
        for index, (interval, of) in enumerate(processors.items()):
            parts.add(self._cores(interval, of, there, seen, powers, index))
        return parts

    def _device(self, found: Found, runs: Sequence[Run], seen: Mapping[str, Seen]) -> Split:
        """One accelerator: each holder has its fraction for as long as it was there; what nobody held is idle."""
        held: dict[str, int] = defaultdict(int)
        for run in runs:
            for device in run.bound.get("devices", []):
                if device["uuid"] == found.source:
                    held[str(run.id)] += device["milli"] * self._overlap(run, seen.get(str(run.id)), found.interval)
        free = max(1000 * found.interval.length_ms - sum(held.values()), 0)
        *shares, idle = share_out(found.energy_mj, [*held.values(), free])
        claims = [Claim(run, 0, part) for run, part in zip(held, shares, strict=True)]
        return attribute(found.interval, found.energy_mj, idle, 0, claims)

    def _cores(
        self,
        interval: Window,
        found: Sequence[Found],
        runs: Sequence[Run],
        seen: Mapping[str, Seen],
        powers: Sequence[int],
        index: int,
    ) -> Split:
        """Processors: modelled runs are charged what the model says of them, measured ones share by processor time."""
        total = sum(f.energy_mj for f in found)
        is_model = all(f.provenance.basis == "modelled" for f in found)
        claims, busy, on_time = [], 0, 0
        for run in runs:
            sight, cores = seen.get(str(run.id)), len(run.bound.get("cores", []))
            wall = self._overlap(run, sight, interval)
            busy += cores * wall
            cpu = _cpu_ms(run, sight) if wall else 0
            most = share_out(modelled_run(self.model, cores * wall, wall, cores).energy_mj, powers)[index]
            part = None
            if is_model:
                part = min(modelled_run(self.model, cpu, wall, cores).energy_mj, total)
                on_time += part
                part += self._arrears(run, sight, interval, cpu)
            claims.append(Claim(str(run.id), cpu, part, most))
        free_ms = max(self.here.cores * interval.length_ms - busy, 0)
        idle = share_out(self.model.idle_w * free_ms, powers)[index]
        return attribute(interval, total, min(idle, max(total - on_time, 0)), 0, claims)

    def _overlap(self, run: Run, sight: Seen | None, window: Window) -> int:
        """Milliseconds of the run inside the window; none of one that is only planned or never started.

        Without a sight, the run's row says it: it is there until now unless it ended.
        """
        if sight is not None and sight.state in ("ended", "lost"):
            started, ended = sight.started_ms, sight.ended_ms or sight.last_seen_ms
            if sight.cause == "not-started":
                return 0
        else:
            started, ended = (sight.started_ms if sight else None) or run.started_ms, run.ended_ms
        if started is None:
            return 0
        started = self.steady.start(str(run.id), started)
        end = window.end_ms if ended is None else self.steady.told(ended)
        if started > end + STEP_MS:
            started = min(window.start_ms, end)  # it started before the clock stepped back
        lived = Window(started, max(end, started)).cut(window)
        return lived.length_ms if lived else 0

    def _arrears(self, run: Run, sight: Seen | None, interval: Window, cpu_ms: int) -> int:
        """Processor time of earlier windows in which the engine was silent: their residual had it, this one gives."""
        cores = len(run.bound.get("cores", []))
        since = min(int(run.usage.get("metered_ms", 0)), interval.start_ms)
        now = cores * self._overlap(run, sight, interval)
        could = cores * self._overlap(run, sight, Window(since, interval.end_ms))
        return (self.model.max_w - self.model.idle_w) * max(min(cpu_ms, could) - now, 0)

    def _book(
        self, acts: ledger.Batch, window: Window, parts: Parts, runs: Sequence[Run], seen: Mapping[str, Seen]
    ) -> None:
        here, was = self.here, self.here.actual(window)
        provenance = least_certain(parts.provenances) if parts.provenances else _NOTHING
        said = {**provenance.as_json(), **({"detail": CLOCK_STEP} if parts.stepped else {})}
        # what the facility adds, shared so that every part keeps its sum
        facility = at_facility(parts.meter, here.pue_permille)
        detail = {
            "provenance": said,
            "start_ms": str(window.start_ms),
            "end_ms": str(window.end_ms),
            "pue_permille": str(here.pue_permille),
            **({"saved_mj": str(parts.saved)} if parts.saved else {}),
            **parts.notes,
        }
        total_jobs = sum(parts.jobs.values())
        overhead = facility - parts.meter
        acts.add(booking.meter(here.site, facility, total_jobs, parts.idle, overhead, str(window.start_ms), detail))
        WindowRow.objects.create(
            site=here.site,
            start_ms=window.start_ms,
            end_ms=window.end_ms,
            meter_mj=facility,
            jobs_mj=total_jobs,
            idle_mj=parts.idle,
            overhead_mj=overhead,
            residual_mj=facility - total_jobs - parts.idle - overhead,
            saved_mj=parts.saved,
            cap_w=here.cap_w,
            mg_per_kwh=was.factor.mg_per_kwh,
            provenance={**said, "within_bound": parts.within_bound, **({"factor": was.name} if here.hourly else {})},
        )
        for run in runs:
            run.energy_mj += parts.jobs[str(run.id)]
            if parts.provenances or not run.energy_provenance:
                run.energy_provenance = parts.of_run.get(str(run.id), provenance).as_json()
            sight = seen.get(str(run.id))
            if parts.processors and sight and sight.cpu_ms is not None:
                run.usage = {**run.usage, "metered_cpu_ms": sight.cpu_ms, "metered_ms": window.end_ms}
        in_bulk.rewrite(runs, ["energy_mj", "energy_provenance", "usage"])


def _cpu_ms(run: Run, sight: Seen | None) -> int:
    """Processor time not yet metered: none known of a live run that was not seen, all of a settled one."""
    total = sight.cpu_ms if sight else run.usage.get("cpu_ms") if run.ended_ms is not None else None
    return max(int(total or 0) - int(run.usage.get("metered_cpu_ms", 0)), 0)


def _settled(before: Iterable[Kept]) -> list[Run]:
    """Runs that ended while a source was not read: they were there, and can't be charged any more."""
    missed = [k["at_ms"] for k in before if k.get("mark") == MISSED]
    if not missed:
        return []
    over = (RunState.ENDED, RunState.LOST)
    return list(Run.objects.filter(state__in=over, ended_ms__gt=min(missed)).order_by("planned_ms", "id"))


def difference(before: Reading, after: Reading, limits: Limits) -> int | None:
    """What a counter went on by, however long that took; None where it started again."""
    if before.counter_mj is None or after.counter_mj is None:
        return None
    more = after.counter_mj - before.counter_mj
    if more < 0:
        more += limits.wraps_at_mj or 0
    return more if more >= 0 else None


def _keep(state: HubState, kept: Mapping[str, Kept]) -> None:
    state.meter_state = dict(kept)
    state.save(update_fields=["meter_state"])


def _behind(kept: Mapping[str, Kept], now: int, reached: int) -> dict[str, Kept]:
    """The clock is not past the last reading: wait for it, or date the readings anew."""
    if now >= reached - STEP_MS:
        return _marked(kept, MISSED)
    return {s: {**k, "at_ms": min(k["at_ms"], now)} for s, k in _marked(kept, CLOCK_STEP).items()}


def _marked(kept: Mapping[str, Kept], mark: str) -> dict[str, Kept]:
    """A clock's step stays marked until the source answers."""
    return {s: {**k, "mark": CLOCK_STEP if k.get("mark") == CLOCK_STEP else mark} for s, k in kept.items()}


def _to_json(readings: Mapping[str, Reading], now: int) -> dict[str, Kept]:
    return {s: {"at_ms": now, "counter_mj": r.counter_mj, "power_mw": r.power_mw} for s, r in sorted(readings.items())}
