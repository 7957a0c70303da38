"""What the hub is, as tables: its places with what they have, its caps, its forecasts, and what its shares share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from fabrique.core.admission import tables as t
from fabrique.core.admission.state import BlockRow, History, JobRow, PartitionRow, Rows, RunRow
from fabrique.core.admission.tables import NONE, PPM, UNLIMITED, Ints

RESOURCES: Final = 3  # devices, cores, memory
_DAY_MS: Final = 86_400_000
_SPARE_MW: Final = 999  # jobs draw whole watts: what their mW round up to never takes one from another


def cores_each(rows: Rows) -> int:
    """How many cores a device goes with, on the partitions that have devices; at least one."""
    found = [p for p in rows.partitions if p.milli_devices]
    return max(1, sum(p.milli_cores for p in found) // max(1, sum(p.milli_devices for p in found)))


def needs(things: Iterable[JobRow | RunRow | BlockRow | PartitionRow], each: int) -> Ints:
    return table([(x.milli_devices * each, x.milli_cores, x.memory_mb) for x in things], RESOURCES)


def whole(rows: Rows, each: int, both: bool) -> int:
    """What pools share: of every partition its devices or its cores, whichever weigh more; with `both`, all that jobs
    could ever weigh together, so that devices in use keep nobody from cores that are free.
    """
    join = sum if both else max
    return sum(join((p.milli_devices * each, p.milli_cores)) * p.weight_ppm // PPM for p in rows.partitions)


def places_of(rows: Rows, sites: Mapping[str, int], each: int) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """Places, what they have, and one domain a site whose caps are what is left above its base draw."""
    place = table([(sites[p.site], p.weight_ppm, 0) for p in rows.partitions], t.PLACE_COLUMNS)
    capacity = needs(rows.partitions, each)
    chain = table([(sites[p.site],) for p in rows.partitions], 1)
    domain = np.zeros((len(rows.sites), t.DOMAIN_COLUMNS), np.int64)
    np.add.at(domain[:, t.DOMAIN_FREE], chain[:, 0], capacity[:, 0])
    caps: list[tuple[int, int, int]] = []
    for row, site in zip(domain, rows.sites, strict=True):
        row[[t.DOMAIN_PARENT, t.DOMAIN_CAP]] = NONE, len(caps)
        caps.append((0, _above(site.cap_w, site.base_w), 0))
        steps = sorted(site.caps, key=lambda c: (c.from_ms, c.known_ms))
        caps += [(c.from_ms, _above(c.cap_w, site.base_w), c.known_ms) for c in steps]
        row[t.DOMAIN_CAP_END] = len(caps)
    return place, capacity, chain, domain, table(caps, t.CAP_COLUMNS)


def _above(cap_w: int | None, base_w: int) -> int:
    return UNLIMITED if cap_w is None else (cap_w - base_w) * 1000 + _SPARE_MW


def grid_of(rows: Rows, history: History) -> tuple[Ints, Ints, Ints]:
    """Forecasts summed up over their slots; sites without one have a flat one, in which nothing is worth a wait."""
    clock = np.zeros(t.CLOCK_COLUMNS, np.int64)
    clock[t.CLOCK_LAST], clock[t.CLOCK_DAY] = history.at_ms, history.at_ms // _DAY_MS
    clock[t.CLOCK_BLOCKED] = NONE
    slots = max((len(o.values) for o in rows.outlooks), default=0)
    grid = np.zeros((len(rows.sites), slots + 1), np.int64)
    of_site = {o.site: o for o in rows.outlooks}
    for row, site in zip(grid, rows.sites, strict=True):
        outlook = of_site.get(site.id)
        if outlook is not None:
            if outlook.step_ms <= 0:
                raise ValueError(f"a forecast of site {site.id} without a step")
            clock[[t.CLOCK_GRID, t.CLOCK_SLOT]] = outlook.start_ms, outlook.step_ms
            row[1:] = np.cumsum(np.array(outlook.values, np.int64)) * max(1, outlook.step_ms // 1000)
    return grid, np.zeros((len(rows.partitions), slots), np.int64), clock


def table(rows: Iterable[Sequence[int]], columns: int) -> Ints:
    return np.array(list(rows), dtype=np.int64).reshape(-1, columns)
