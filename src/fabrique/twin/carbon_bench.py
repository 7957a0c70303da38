"""How much of the possible saving the deferral reaches: a rolling replay, planned again at every event, beside the
bound.

Jobs are drawn from a seeded generator; the intensities are real hours. The decision knows the jobs that have come and a
forecast; the bound knows everything. Both are counted on the same jobs, each within the later of its deadline and the
end that first come, first served gives it.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from fabrique.core.admission.deferral import UNLIMITED, Began, Flexible, Forecast, Site, defer, reserve, to_run
from fabrique.core.forecast import corrected
from fabrique.core.units import HOUR_MS, ceil_divide
from fabrique.twin import bound

Ints = npt.NDArray[np.int64]

DAY_MS: Final = 24 * HOUR_MS
WATTS: Final = 500  # of a device
HORIZON: Final = 96  # slots of forecast that are looked at: the longest slack and a day
MEMORY_MS: Final = 14 * DAY_MS  # of arrivals, from which the next ones are expected; and of the grid, at first
KEPT_PERMILLE: Final = 900  # of what they would want


@dataclass(frozen=True, slots=True)
class Stream:
    """Jobs in order of release, one row each; `end_ms` is the latest end."""

    release_ms: Ints
    run_ms: Ints
    milli_devices: Ints
    end_ms: Ints


@dataclass(frozen=True, slots=True)
class Hours:
    """What was expected of hours that are over, and what they were, in mg per kWh."""

    forecast: Ints
    actual: Ints


@dataclass(frozen=True, slots=True)
class Replayed:
    """`cost` in mg, restarts included; `end_ms` of each job."""

    cost: int
    end_ms: Ints
    restarts: int


def stream(seed: int, days: int, devices: int, slack_h: tuple[int, ...]) -> Stream:
    """Poisson-like arrivals of 1 to 8 devices for minutes to two days (log-normal, mean 4 h), `devices`
    busy on average.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    most = days * 24 * devices
    width = random.choice([1, 2, 4, 8], size=most, p=[0.5, 0.2, 0.2, 0.1]).astype(np.int64)
    hours = np.clip(random.lognormal(np.log(4) - 0.5, 1.0, size=most), 1 / 60, 48)
    run = np.rint(hours * HOUR_MS).astype(np.int64)
    count = int(np.searchsorted(np.cumsum(width * run), days * DAY_MS * devices))
    release = np.sort(random.integers(0, days * DAY_MS, size=count))
    slack = random.choice(slack_h, size=count).astype(np.int64) * HOUR_MS
    return Stream(release, run[:count], width[:count] * 1000, release + run[:count] + slack)


def first_come(jobs: Stream, milli_devices: int) -> Ints:
    """The end of each job, first come, first served, on so many milli-devices."""
    free, now, ends = milli_devices, 0, np.zeros(len(jobs.run_ms), np.int64)
    busy: list[tuple[int, int]] = []
    for row, (release, run, need) in enumerate(
        zip(jobs.release_ms.tolist(), jobs.run_ms.tolist(), jobs.milli_devices.tolist(), strict=True)
    ):
        now = max(now, release)
        while busy and (busy[0][0] <= now or need > free):
            ended, freed = heapq.heappop(busy)
            now, free = max(now, ended), free + freed
        free -= need
        ends[row] = now + run
        heapq.heappush(busy, (now + run, need))
    return ends


class Replay:
    """Jobs planned again at each arrival, end and hour, by what is known then."""

    def __init__(
        self,
        jobs: Stream,
        forecast: Ints,
        actual: Ints,
        milli_devices: int,
        restart_ms: int,
        before: Hours | None = None,
    ) -> None:
        self.jobs, self.forecast, self.actual = jobs, forecast, actual
        self.before = before or Hours(forecast[:0], actual[:0])
        self.expected: tuple[int, Ints] = (-1, forecast[:0])
        self.milli_devices, self.site = milli_devices, Site(restart_ms=restart_ms)
        self.left = jobs.run_ms.copy()
        self.began = np.zeros(len(self.left), np.int64)
        self.ends = np.zeros(len(self.left), np.int64)
        self.restarts, self.spent = 0, 0
        self.kept: tuple[int, Ints] = (-1, np.zeros(0, np.int64))

    def run(self) -> Replayed:
        now, known, waiting = 0, 0, np.zeros(0, np.int64)
        count = len(self.left)
        while known < count or len(waiting):
            arrived = int(np.searchsorted(self.jobs.release_ms, now, side="right"))
            waiting = np.concatenate([waiting, np.arange(known, arrived)])
            known = arrived
            chosen = self.choose(now, known, waiting) if len(waiting) else []
            upto = (now // HOUR_MS + 1) * HOUR_MS
            if known < count:
                upto = min(upto, int(self.jobs.release_ms[known]))
            upto = min([upto, *(now + int(self.left[row]) for row in chosen)])
            self.advance(chosen, now, upto)
            waiting, now = waiting[self.left[waiting] > 0], upto
        return Replayed(self.spent * WATTS // (1_000_000 * HOUR_MS), self.ends, self.restarts)

    def choose(self, now: int, known: int, waiting: Ints) -> list[int]:
        """The jobs that run from now on; pauses and restarts are booked."""
        jobs, forecast = self.rows(waiting), self.seen(now)
        kept = self.keep(forecast, now, known)
        room = Forecast(
            edges_ms=forecast.edges_ms,
            value=forecast.value,
            milli_devices=forecast.milli_devices - kept,
            power_mw=forecast.power_mw,
        )
        free, chosen = self.milli_devices, []
        for place in to_run(room, jobs, defer(room, jobs, self.site)):
            row = int(waiting[place])
            if self.jobs.milli_devices[row] <= free:
                free -= int(self.jobs.milli_devices[row])
                chosen.append(row)
        again = [row for row in chosen if self.began[row] == Began.PAUSED]
        self.restarts += len(again)
        self.left[again] += self.site.restart_ms
        running = waiting[self.began[waiting] == Began.RUNNING]
        self.began[running] = Began.PAUSED
        self.began[chosen] = Began.RUNNING
        return chosen

    def rows(self, rows: Ints) -> Flexible:
        return Flexible(
            release_ms=self.jobs.release_ms[rows],
            end_ms=self.jobs.end_ms[rows],
            run_ms=self.left[rows],
            milli_devices=self.jobs.milli_devices[rows],
            power_mw=self.jobs.milli_devices[rows] * WATTS,
            preemptible=np.ones(len(rows), np.int64),
            began=self.began[rows],
        )

    def seen(self, now: int) -> Forecast:
        hour = now // HOUR_MS
        if self.expected[0] != hour:
            forecast = np.concatenate([self.before.forecast, self.forecast[: hour + HORIZON]])
            self.expected = hour, corrected(forecast, np.concatenate([self.before.actual, self.actual[:hour]]))
        value = self.expected[1]
        edges = np.arange(hour, hour + len(value) + 1, dtype=np.int64) * HOUR_MS
        edges[0] = now
        devices = np.full(len(value), self.milli_devices, np.int64)
        return Forecast(edges_ms=edges, value=value, milli_devices=devices, power_mw=np.full_like(devices, UNLIMITED))

    def keep(self, forecast: Forecast, now: int, known: int) -> Ints:
        """What is kept for jobs to come, made anew each hour."""
        hour = now // HOUR_MS
        if self.kept[0] != hour:
            over = max(HOUR_MS, min(now, MEMORY_MS))
            recent = np.flatnonzero(self.jobs.release_ms[:known] >= now - over)
            arrived = Flexible(
                release_ms=self.jobs.release_ms[recent],
                end_ms=self.jobs.end_ms[recent],
                run_ms=self.jobs.run_ms[recent],
                milli_devices=self.jobs.milli_devices[recent],
                power_mw=self.jobs.milli_devices[recent] * WATTS,
                preemptible=np.ones(len(recent), np.int64),
                began=np.zeros(len(recent), np.int64),
            )
            self.kept = (hour, reserve(forecast, arrived, over, KEPT_PERMILLE))
        return self.kept[1]

    def advance(self, chosen: list[int], now: int, upto: int) -> None:
        width = int(self.jobs.milli_devices[chosen].sum())
        self.spent += width * (upto - now) * int(self.actual[now // HOUR_MS])
        self.left[chosen] -= upto - now
        self.ends[[row for row in chosen if self.left[row] == 0]] = upto


@dataclass(frozen=True, slots=True)
class Share:
    """`permille`: of the saving of the programme solved on the same forecast, both judged on actuals."""

    permille: int | None
    saving_permille: int
    late: int
    restarts: int


def share(jobs: Stream, forecast: Ints, actual: Ints, restart_ms: int = 0, before: Hours | None = None) -> Share:
    """One replay at a capacity of 1.5 times the mean demand, that knows the hours `before` it.

    `late`: deadlines missed that first come, first served keeps.
    """
    milli = ceil_divide(3 * int((jobs.milli_devices * jobs.run_ms).sum()), 2 * int(jobs.release_ms[-1]))
    ends = first_come(jobs, milli)
    jobs = Stream(jobs.release_ms, jobs.run_ms, jobs.milli_devices, np.maximum(jobs.end_ms, ends))
    edges = np.arange(len(actual) + 1, dtype=np.int64) * HOUR_MS
    unlimited = np.full(len(actual), 10**12, np.int64)
    slots = bound.Slots(edges_ms=edges, milli_devices=np.full(len(actual), milli), watts=unlimited, value=actual)
    baseline = bound.spent(slots, ends - jobs.run_ms, ends, jobs.milli_devices * WATTS // 1000)
    planned = bound.Slots(edges_ms=edges, milli_devices=slots.milli_devices, watts=unlimited, value=forecast)
    asked = bound.Jobs(
        release_ms=jobs.release_ms,
        deadline_ms=jobs.end_ms,
        work_ms=jobs.run_ms * jobs.milli_devices // 1000,
        milli_devices=jobs.milli_devices,
        watts=np.full(len(ends), WATTS, np.int64),
    )
    possible = baseline - int(bound.solve(planned, asked, baseline).kwh @ actual)
    done = Replay(jobs, forecast, actual, milli, restart_ms, before).run()
    saving = baseline - done.cost
    late = int((done.end_ms > jobs.end_ms).sum())
    return Share(bound.reached(saving, possible), saving * 1000 // baseline, late, done.restarts)


def measure(traces: Path, days: int = 15) -> list[tuple[str, str]]:
    """Rows (what, figure) for a table of figures, from the real series in `traces`; the seed and the
    hours are fixed.
    """
    import polars as pl

    table = pl.read_parquet(traces / "carbon_2022_with_forecast_error.parquet").sort("ts_utc")
    first, hours, before = 100 * 24, (days + 14) * 24, MEMORY_MS // HOUR_MS
    rows = []
    for zone, error in (("DE", 0), ("ES", 0), ("CA-QC", 0), ("DE", 20), ("DE", 60), ("DE", 100)):
        here = table.filter(pl.col("zone") == zone)[first - before : first + hours]
        forecast, actual = (
            np.rint(here[column].to_numpy().astype(np.float64) * 1000).astype(np.int64)
            for column in (f"err{error}", "err0")
        )
        known = Hours(forecast[:before], actual[:before])
        found = share(stream(1, days, 50, (6, 24, 72)), forecast[before:], actual[before:], before=known)
        what = f"carbon, capacity 1.5 x demand, {zone} 2022, forecast error {error} %"
        reached = "nothing to save" if found.permille is None else f"{found.permille / 10:.1f} % of the bound's saving"
        rows.append((what, f"{reached}; {found.saving_permille / 10:.1f} % saved, {found.late} late"))
    return rows
