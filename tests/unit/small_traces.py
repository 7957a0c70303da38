"""A few jobs, and a fleet of two unlike places: what the tests of the twin's tables are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fabrique.core.admission import tables as t
from fabrique.core.admission.tables import PPM
from fabrique.twin.fleet import Domain, Fleet, Pace, Place, Pool, Site
from fabrique.twin.trace import COLUMNS, Trace
from fabrique.twin.world import World

DEFAULTS = {
    "run_ms": 1000,
    "walltime_ms": 2000,
    "milli_devices": 1000,
    "nodes": 0,
    "project": 0,
    "pool": 0,
    "work_class": 0,
    "priority": 0,
    "slack_ms": -1,
    "tolerance_permille": 0,
    "preemptible": 0,
    "after": -1,
}


def trace(
    rows: Sequence[dict[str, int]],
    *,
    pools: tuple[str, ...] = ("all",),
    projects: tuple[str, ...] = ("p", "q", "r"),
    work_classes: tuple[str, ...] = ("training-compute", "training-memory", "any"),
) -> Trace:
    """Jobs a second apart, with what a row says in place of the defaults."""
    full = [{"number": i + 1, "submit_ms": 1_000_000 + i * 1000, **DEFAULTS, **row} for i, row in enumerate(rows)]
    columns = {name: np.array([row[name] for row in full], np.int64) for name in COLUMNS}
    names = {"projects": projects, "pools": pools, "work_classes": work_classes}
    return Trace(source="test", digest="0", **names, **columns)  # type: ignore[arg-type]


def pair(**changes: object) -> Fleet:
    """Two places: a small one of nodes of 4, a large one of nodes of 8 that is half as fast and thriftier."""

    def pace(limit: int, speed: int, booked: int) -> Pace:
        return Pace(limit_permille=limit, speed_ppm=speed, nameplate_mw=1200, measured_mw=booked, draw_mw=booked // 2)

    fast = (pace(1000, 1_000_000, 1000), pace(700, 900_000, 600))
    slow = (pace(1000, 500_000, 300), pace(700, 400_000, 200))
    shared = {"site": "s", "kind": "k", "domain": "s"}
    fleet = Fleet(
        name="pair",
        reference="k",
        sites=(Site(id="s", zone=None, base_w=1),),
        domains=(Domain(id="s", site="s", base_w=1),),
        places=(
            Place(id="fast", milli_devices=8000, devices_per_node=4, weight_ppm=PPM, paces={"any": fast}, **shared),
            Place(
                id="slow", milli_devices=32000, devices_per_node=8, weight_ppm=PPM // 2, paces={"any": slow}, **shared
            ),
        ),
        pools=(Pool(id="a", share_ppm=600_000), Pool(id="b", share_ppm=400_000)),
        restart_ms=1,
    )
    return replace(fleet, **changes)  # type: ignore[arg-type]


def options_of(made: World, row: int) -> list[tuple[int, int, int]]:
    """(place, limit, booked mW) of a job's options, best first."""
    first, end = made.state.profile[made.state.job[row, t.JOB_PROFILE], :2]
    return [
        (
            int(made.state.option[o, t.OPTION_PLACE]),
            int(made.limit_permille[o]),
            int(made.state.option[o, t.OPTION_MW]),
        )
        for o in range(first, end)
    ]
