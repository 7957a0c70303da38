"""A study: what rule sets are tried on, and one run of it. Start here to use the twin from a program.

study = Study(fleet=of_hub(hub), trace=read(path), grids=averages(fleet))
found = run(study, rules.load("frugal"))
found.summary.figures["mean_wait_s"]
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from fabrique.core.admission.kernels.fast import entries
from fabrique.core.admission.rules import Rules
from fabrique.core.admission.tables import NONE
from fabrique.core.energy import Window
from fabrique.core.units import HOUR_MS
from fabrique.twin.books import Books, books, span
from fabrique.twin.certificate import certificate
from fabrique.twin.fleet import Fleet
from fabrique.twin.grids import Grid, outlook, planned
from fabrique.twin.replay import Progress, Replay, replay
from fabrique.twin.summary import Summary, summarise
from fabrique.twin.trace import Trace
from fabrique.twin.weather import Weather
from fabrique.twin.world import World, world


@dataclass(frozen=True, kw_only=True)
class Study:
    """`grids` by site of the fleet (None: nothing is known); `pools`: the fleet's pool for pools of the trace."""

    fleet: Fleet
    trace: Trace
    grids: tuple[Grid | None, ...]
    pools: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def forecasts(self) -> tuple[Weather | None, ...]:
        """By site, over what a decision may look at. Raises `grid.gap`, `grid.zone`."""
        return self.weathers(planned(self.trace))

    def weathers(self, window: Window | None) -> tuple[Weather | None, ...]:
        """By site. Raises `grid.gap`, `grid.zone`."""
        return tuple(None if grid is None or window is None else grid.over(window) for grid in self.grids)

    def world(self, rules: Rules) -> World:
        """Raises `twin.pool`, `twin.price`, `grid.*`."""
        powered = any(site.base_w for site in self.fleet.sites)
        return world(
            self.fleet,
            self.trace,
            rules,
            weather=outlook(rules, self.forecasts if rules.defer else ()),
            tick_ms=HOUR_MS if powered else None,
            pools=self.pools,
        )

    def certificate(self, rules: Rules) -> str:
        digests = ["" if grid is None else grid.digest for grid in self.grids]
        return certificate(rules, self.trace.digest, self.fleet.digest, digests, {"pools": dict(self.pools)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of one rule set; `prepare_s` is the time that its tables took."""

    study: Study
    replay: Replay
    books: Books
    summary: Summary
    certificate: str
    prepare_s: float

    @property
    def rules(self) -> Rules:
        return self.replay.world.rules


def run(study: Study, rules: Rules, progress: Progress | None = None) -> Run:
    """One replay with its books. Raises as `Study.world` does, and `grid.gap` where its jobs outlast the series."""
    before = time.perf_counter()
    start = study.world(rules)
    prepared = time.perf_counter() - before
    return booked(study, replay(start, progress), prepared)


def booked(study: Study, done: Replay, prepare_s: float = 0.0) -> Run:
    kept = books(study.fleet, done, study.weathers(span(done)))
    return Run(
        study=study,
        replay=done,
        books=kept,
        summary=summarise(study.fleet, study.trace, done, kept),
        certificate=study.certificate(done.world.rules),
        prepare_s=prepare_s,
    )


def warm_up() -> float:
    """Seconds to load the compiled kernel, or to compile it on a machine that never did."""
    before = time.perf_counter()
    entries.load(entries.run_twin, entries.run_plain)
    return time.perf_counter() - before


def only(trace: Trace, keep: npt.NDArray[np.bool_], why: str) -> Trace:
    """The trace with the jobs of `keep` alone; who depended on one that is left out depends on nothing."""
    rows = np.flatnonzero(keep)
    columns: dict[str, Any] = dict(trace.take(rows))
    new = np.cumsum(keep, dtype=np.int64) - 1
    after = columns["after"]
    there = (after >= 0) & keep[np.maximum(after, 0)]
    columns["after"] = np.where(there, new[np.maximum(after, 0)], NONE)
    left = int(len(trace) - len(rows))
    if not left:
        return trace
    digest = sha256(trace.digest.encode() + np.packbits(keep).tobytes()).hexdigest()
    return replace(trace, digest=digest, dropped=(*trace.dropped, (why, left)), **columns)
