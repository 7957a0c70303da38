"""Where and at which power level each sort of job may run, best first: the decision's tables of options."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Final

import numpy as np

from fabrique.core.admission import tables as t
from fabrique.core.admission.rules import Watts
from fabrique.core.admission.tables import PPM, UNLIMITED, Ints
from fabrique.twin.demand import Demand, Sort
from fabrique.twin.fleet import Fleet, Pace, Place

MOST_NEED: Final = UNLIMITED // PPM


@dataclass(frozen=True, slots=True)
class Option:
    """A level of a place; `mw` is what one device books there."""

    place: int
    level: int
    mw: int
    pace: Pace


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The tables `option`, `profile` and `thrifty`; by option what is drawn, and the power limit; by profile bounds.

    `profile_of`: the profile of each sort; `most_need`: the milli-devices beyond which none of its options ever fits
    under the caps; `least_weight` in ppm. `powered`: the rules count power and a cap is known.
    """

    option: Ints
    profile: Ints
    thrifty: Ints
    profile_of: Ints
    draw_mw: Ints
    limit_permille: Ints
    most_need: Ints
    least_weight: Ints
    powered: bool


def options(fleet: Fleet, work_classes: tuple[str, ...], watts: Watts, asked: Demand) -> Options:
    """The options of every sort of job; sorts with the same options share a profile."""
    powered = watts != "none" and any(domain.limits for domain in fleet.domains)
    profiles: dict[tuple[Option, ...], int] = {}
    profile_of = [
        profiles.setdefault(_ranked(fleet, work_classes[sort.work_class], sort, watts), len(profiles))
        for sort in asked.sorts
    ]
    found = list(profiles)
    starts = [0, *accumulate(len(profile) for profile in found)]
    thrifty = [_thrifty(profile, start) for profile, start in zip(found, starts, strict=False)]
    thrifty_starts = [0, *accumulate(len(rows) for rows in thrifty)]
    flat = [option for profile in found for option in profile]
    most = {row: _most_mw(fleet, place) if powered else UNLIMITED for row, place in enumerate(fleet.places)}
    return Options(
        option=_ints([[o.place, o.level, o.mw, o.pace.speed_ppm] for o in flat], t.OPTION_COLUMNS),
        profile=_ints(
            [[starts[i], starts[i + 1], thrifty_starts[i], thrifty_starts[i + 1]] for i in range(len(found))],
            t.PROFILE_COLUMNS,
        ),
        thrifty=np.array([row for rows in thrifty for row in rows], np.int64),
        profile_of=np.array(profile_of, np.int64),
        draw_mw=np.array([o.pace.draw_mw for o in flat], np.int64),
        limit_permille=np.array([o.pace.limit_permille for o in flat], np.int64),
        most_need=np.array([max(_most_need(o, most[o.place]) for o in profile) for profile in found], np.int64),
        least_weight=np.array([min(fleet.places[o.place].weight_ppm for o in profile) for profile in found], np.int64),
        powered=powered,
    )


def _ranked(fleet: Fleet, work_class: str, sort: Sort, watts: Watts) -> tuple[Option, ...]:
    """By energy to completion, then place, then level."""
    found = [
        option for row in sort.places for option in _of_place(row, fleet.places[row].paces_of(work_class), sort, watts)
    ]
    return tuple(sorted(found, key=lambda o: (Fraction(o.mw, o.pace.speed_ppm), o.place, o.level)))


def _of_place(row: int, paces: tuple[Pace, ...], sort: Sort, watts: Watts) -> list[Option]:
    """The top level alone, or all whose runs are within the tolerance of the top one's."""
    top = paces[0]
    if watts != "levels":
        mw = {"none": 0, "nameplate": top.nameplate_mw, "measured": top.measured_mw}[watts]
        return [Option(row, 0, mw, top)]
    return [
        Option(row, level, pace.measured_mw, pace)
        for level, pace in enumerate(paces)
        if level == 0 or top.speed_ppm * 1000 <= pace.speed_ppm * (1000 + sort.tolerance_permille)
    ]


def _thrifty(profile: tuple[Option, ...], start: int) -> list[int]:
    """The rows of the option with the least watts of each place, in order of the places' first appearance."""
    least: dict[int, int] = {}
    for row, option in enumerate(profile):
        best = least.setdefault(option.place, row)
        if option.mw < profile[best].mw:
            least[option.place] = row
    return [start + row for row in least.values()]


def _most_mw(fleet: Fleet, place: Place) -> int:
    """What the lasting caps over a place leave above idle at most."""
    domains = {domain.id: domain for domain in fleet.domains}
    most, name = UNLIMITED, place.domain
    while name is not None:
        domain = domains[name]
        lasting = [x.watts for x in domain.limits if x.until_ms is None and x.from_ms <= 0]
        most = min([most, *((watts - domain.base_w) * 1000 for watts in lasting)])
        name = domain.parent  # type: ignore[assignment]  # None ends the walk
    return most


def _most_need(option: Option, most_mw: int) -> int:
    return MOST_NEED if option.mw == 0 else min(MOST_NEED, most_mw * 1000 // option.mw)


def _ints(rows: list[list[int]], columns: int) -> Ints:
    return np.array(rows, np.int64).reshape(-1, columns)
