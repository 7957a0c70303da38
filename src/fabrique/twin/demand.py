"""What the jobs of a trace ask of a fleet: how much, and where; and how like jobs are found among a million."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fabrique.core.admission.tables import Ints
from fabrique.core.hub import Assumption
from fabrique.twin.fleet import Fleet
from fabrique.twin.trace import Trace


@dataclass(frozen=True, slots=True)
class Sort:
    """Jobs of one work class and tolerance that may go to the same places (rows of the fleet's, ascending)."""

    work_class: int
    tolerance_permille: int
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """By job: milli-devices needed, whether any place holds them (False too where it asks for none), its sort."""

    need: Ints
    fits: npt.NDArray[np.bool_]
    sort: Ints
    sorts: tuple[Sort, ...]
    said: tuple[Assumption, ...]


def demand(fleet: Fleet, trace: Trace) -> Demand:
    """A fraction of a device is a slice of it: a device is cut in equal ones. Whole nodes are those of the size that
    most of the fleet has, and so many that they hold the devices asked for."""
    whole = trace.nodes > 0
    node = _usual_node(fleet)
    devices, rest = np.divmod(trace.milli_devices, 1000)
    need = devices * 1000 + np.where(rest > 0, 1000 // np.maximum(1000 // np.maximum(rest, 1), 1), 0)
    if whole.any():
        nodes = np.maximum(trace.nodes, -(-trace.milli_devices // (node * 1000)))
        need = np.where(whole, nodes * (node * 1000), need)
    group = np.zeros(len(trace), np.int64)
    fits = need > 0
    reach: list[tuple[int, ...]] = []
    for wanted, places in ((~whole, _all(fleet)), (whole, _with_node(fleet, node))):
        sizes = np.unique([fleet.places[p].milli_devices for p in places])
        step = np.searchsorted(sizes, need)
        fits &= ~wanted | (step < len(sizes))
        group = np.where(wanted, len(reach) + np.minimum(step, len(sizes) - 1), group)
        reach += [tuple(p for p in places if fleet.places[p].milli_devices >= size) for size in sizes]
    bounds = _tolerances(fleet)
    tolerance = np.searchsorted(bounds, np.maximum(trace.tolerance_permille, 0), side="right") - 1
    sort, first = distinct((trace.work_class, False), (tolerance, False), (group, False))
    sorts = tuple(Sort(int(trace.work_class[i]), int(bounds[tolerance[i]]), reach[group[i]]) for i in first)
    return Demand(need=need, fits=fits, sort=sort, sorts=sorts, said=_said(fleet, node, bool(whole.any())))


def distinct(*columns: tuple[Ints, bool]) -> tuple[Ints, npt.NDArray[np.intp]]:
    """For each row the number of its combination of values, and for each combination its first row.

    Combinations are numbered in the order of the columns' values, the first column first; True: descending.
    """
    code = np.zeros(len(columns[0][0]), np.int64)
    count = 1
    for column, descending in columns:
        rank, size = _ranked(column)
        if descending:
            rank = size - 1 - rank
        code, count = (rank, size) if count == 1 else _ranked(code * size + rank)
    first = np.zeros(count, np.intp)
    first[code[::-1]] = np.arange(len(code) - 1, -1, -1)
    return code, first


def _ranked(column: Ints) -> tuple[Ints, int]:
    """Dense ranks of the values from 0, and how many there are; without sorting where their span allows."""
    if not len(column):
        return np.zeros(0, np.int64), 0
    low, high = int(column.min()), int(column.max())
    if high == low:
        return np.zeros(len(column), np.int64), 1
    if high - low > 4 * len(column) + 1024:
        values, ranks = np.unique(column, return_inverse=True)
        return ranks.astype(np.int64, copy=False), len(values)
    at = column - low
    seen = np.zeros(high - low + 1, np.bool_)
    seen[at] = True
    order = np.cumsum(seen, dtype=np.int64) - 1
    return order[at], int(order[-1]) + 1


def _usual_node(fleet: Fleet) -> int:
    """Devices of a node, of the size that holds most of the fleet; ties go to the larger."""
    sizes: dict[int, int] = {}
    for place in fleet.places:
        sizes[place.devices_per_node] = sizes.get(place.devices_per_node, 0) + place.milli_devices
    return max(sizes, key=lambda size: (sizes[size], size))


def _all(fleet: Fleet) -> tuple[int, ...]:
    return tuple(range(len(fleet.places)))


def _with_node(fleet: Fleet, node: int) -> tuple[int, ...]:
    return tuple(row for row, place in enumerate(fleet.places) if place.devices_per_node == node)


def _tolerances(fleet: Fleet) -> Ints:
    """The tolerances, in permille, at which a further power level comes within reach somewhere; 0 is the first."""
    needed = {0}
    for place in fleet.places:
        for top, *lower in place.paces.values():
            needed |= {max(0, -(-top.speed_ppm * 1000 // pace.speed_ppm) - 1000) for pace in lower}
    return np.array(sorted(needed), np.int64)


def _said(fleet: Fleet, node: int, whole: bool) -> tuple[Assumption, ...]:
    if not whole or all(place.devices_per_node == node for place in fleet.places):
        return ()
    why = "jobs that take whole nodes go to nodes of one size, the one that holds most of the fleet"
    return (Assumption("trace.nodes", f"{node} devices", why),)
