"""A site under its cap: how much work three ways to count watts get done, also through a demand response."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from tools.bench_cases import work
from tools.bench_cases.figure import Figure, absent

if TYPE_CHECKING:
    from fabrique.twin.fleet import Fleet
    from fabrique.twin.study import Run
    from fabrique.twin.trace import Trace

LOAD: Final = "1.3"
RULES: Final = ("static-nameplate", "static-measured", "frugal")
REACH: Final = {"static-nameplate": 25.0, "static-measured": 5.0}  # % more work than
EVENT_W: Final = 2_000_000
EVENT_H: Final = 4
NOTICE_MS: Final = 1_800_000
TOLERANT: Final = (1_000, 500)  # permille of the jobs


def saturated() -> Iterator[Figure]:
    if missing := absent("a 3 MW site, saturated", work.PHILLY):
        yield missing
        return
    from fabrique.twin.fleet_of_hub import saturated_site

    fleet = saturated_site()
    for tolerant in TOLERANT:
        trace = work.consenting(work.at_load(work.philly(), fleet, LOAD), flexible=0, tolerant=tolerant)
        yield from under_the_cap(fleet, trace, f"{tolerant // 10} % of jobs tolerant")
        if tolerant == TOLERANT[0]:
            yield from through_an_event(fleet, trace)


def under_the_cap(fleet: Fleet, trace: Trace, of: str) -> Iterator[Figure]:
    found = runs(fleet, trace, RULES)
    done = {name: one.summary.figures["work_done"] for name, one in found.items()}
    for name, target in REACH.items():
        yield Figure(
            what=f"3 MW site, load {LOAD}, {of}: work of frugal above {name}'s",
            value=100 * (done["frugal"] / done[name] - 1),
            unit="%",
            reach="at least",
            target=target,
            note=f"{done['frugal']:,} against {done[name]:,} accelerator-seconds; "
            f"{found['frugal'].summary.figures['preemptions']} preemptions",
        )
    yield Figure(
        what=f"3 MW site, load {LOAD}, {of}: above the cap",
        value=found["frugal"].summary.figures["over_cap_ws"],
        unit="W.s",
        reach="at most",
        target=0,
    )


def through_an_event(fleet: Fleet, trace: Trace) -> Iterator[Figure]:
    """At the middle of the trace, half an hour's notice: two thirds of the cap for four hours."""
    from fabrique.twin.fleet import with_event

    at = int(trace.submit_ms[len(trace) // 2]) // work.HOUR_MS * work.HOUR_MS
    for notice, known in (("half an hour's notice", at - NOTICE_MS), ("no notice", at)):
        falling = with_event(fleet, fleet.sites[0].id, at, at + EVENT_H * work.HOUR_MS, EVENT_W, known)
        figures = runs(falling, trace, ("frugal",))["frugal"].summary.figures
        yield Figure(
            what=f"3 MW site, a fall to 2 MW for {EVENT_H} h, {notice}: above the cap",
            value=figures["over_cap_ws"],
            unit="W.s",
            reach="at most",
            target=0,
            note=f"{figures['preemptions']} preemptions",
        )


def runs(fleet: Fleet, trace: Trace, names: tuple[str, ...]) -> dict[str, Run]:
    """Each rule set over the jobs that all of them can start."""
    from fabrique.definitions import rules
    from fabrique.twin.compare import common
    from fabrique.twin.study import Study, run

    chosen = [rules.load(name) for name in names]
    study, _ = common(Study(fleet=fleet, trace=trace, grids=(None,) * len(fleet.sites)), chosen)
    return {one.name: run(study, one) for one in chosen}
