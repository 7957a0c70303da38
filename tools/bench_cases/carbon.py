"""Deferral: the optimum where room is unlimited, and the part of the bound's saving where it is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from tools.bench_cases.figure import Figure, absent, best, traces

if TYPE_CHECKING:
    from fabrique.core.admission.deferral import Flexible, Forecast

Ints = npt.NDArray[np.int64]

SERIES: Final = "carbon_2022_with_forecast_error.parquet"
HOUR_MS: Final = 3_600_000
MINUTE_MS: Final = 60_000
HOURS: Final = 96
SMALL: Final = 60


def unlimited() -> Iterator[Figure]:
    """Hours known, no limit on room: every start beside the best of all minutes, then a thousand jobs at once."""
    from fabrique.core.admission.deferral import Site, defer

    hours = forecast()
    few = flexible(SMALL)
    answer = defer(hours, few, Site())
    off = sum(a != b for a, b in zip(answer.cost_plan.tolist(), brute(hours, few), strict=True))
    yield Figure(
        what=f"carbon, unlimited capacity: plans of {SMALL} jobs that cost more than the best minute",
        value=off,
        unit="jobs",
        reach="at most",
        target=0,
        anchor="a published case: optimum 17.8 %, LP 21.7 %",
    )
    many = flexible(1_000)
    yield Figure(
        what="carbon, unlimited capacity: 1,000 jobs",
        value=best(lambda: defer(hours, many, Site())) * 1000,
        unit="ms",
        reach="at most",
        target=100,
    )


def forecast() -> Forecast:
    """Four days whose intensity goes up and down with the hour, and by chance."""
    from fabrique.core.admission.deferral import UNLIMITED, Forecast

    random = np.random.Generator(np.random.PCG64(3))
    wave = 300_000 + 120_000 * np.sin(np.arange(HOURS) * np.pi / 12) + 40_000 * random.standard_normal(HOURS)
    no_limit = np.full(HOURS, UNLIMITED, np.int64)
    return Forecast(
        edges_ms=np.arange(HOURS + 1, dtype=np.int64) * HOUR_MS,
        value=np.rint(wave).astype(np.int64),
        milli_devices=no_limit,
        power_mw=no_limit,
    )


def flexible(count: int) -> Flexible:
    """Whole minutes, unbroken runs, a device of 1 kW each; all may wait."""
    from fabrique.core.admission.deferral import Flexible

    random = np.random.Generator(np.random.PCG64(4))
    run = random.integers(10, 12 * 60, count) * MINUTE_MS
    slack = random.integers(1, 60 * 60, count) * MINUTE_MS
    zeros = np.zeros(count, np.int64)
    return Flexible(
        release_ms=zeros,
        end_ms=run + slack,
        run_ms=run,
        milli_devices=zeros + 1000,
        power_mw=zeros + 1_000_000,
        preemptible=zeros,
        began=zeros,
    )


def brute(hours: Forecast, jobs: Flexible) -> list[int]:
    """The least that each costs over all starts on a whole minute: value × ms for one watt."""
    minute = np.repeat(hours.value, HOUR_MS // MINUTE_MS) * MINUTE_MS
    total = np.concatenate([[0], np.cumsum(minute)])
    found = []
    for run, end in zip((jobs.run_ms // MINUTE_MS).tolist(), (jobs.end_ms // MINUTE_MS).tolist(), strict=True):
        starts = np.arange(end - run + 1)
        found.append(int((total[starts + run] - total[starts]).min()))
    return found


def limited() -> Iterator[Figure]:
    """Room for 1.5 times the mean demand, checkpoints; real hours, with and without errors of the forecast."""
    if missing := absent("carbon, capacity 1.5 x demand", SERIES):
        yield missing
        return
    from fabrique.twin.carbon_bench import measure

    for what, told in measure(traces()):
        perfect = what.endswith("error 0 %")
        reached = re.match(r"([0-9.]+) % of", told)
        late = re.search(r"([0-9]+) late", told)
        yield Figure(
            what=what,
            value=float(reached[1]) if reached else None,
            unit="%",
            reach="at least",
            target=90 if perfect else 95,
            anchor="the LP, solved on the same forecast",
            note=told,
        )
        yield Figure(
            what=f"{what}: late, where FIFO is not",
            value=float(late[1]) if late else None,
            unit="jobs",
            reach="at most",
            target=0,
        )
