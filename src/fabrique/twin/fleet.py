"""A fleet: what a replay runs on. Places with their speeds and draws, sites under caps that vary, pools with shares.

Power is at the facility meter, PUE included; a place's is above the idle draw, which `base_w` counts whether jobs run
or not. A cap is a limit over an interval, known since an instant; what holds is the least of those in force.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from hashlib import sha256

from fabrique.core.admission.tables import PPM, UNLIMITED
from fabrique.core.errors import FabriqueError
from fabrique.core.hub import Assumption
from fabrique.core.units import ceil_divide
from fabrique.definitions.work_classes import ANY, workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """A power level of a place for one work class.

    `limit_permille` of the top power limit; `speed_ppm` of the reference device's; mW of one device at the meter above
    idle: on the nameplate, as measured at most at this level, on average.
    """

    limit_permille: int
    speed_ppm: int
    nameplate_mw: int
    measured_mw: int
    draw_mw: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Devices that are handed out alike. `weight_ppm`: the work of one, of the reference device's.

    `paces` by work class, the top level first; `domain` is the innermost one that it draws power in.
    """

    id: str
    site: str
    kind: str
    milli_devices: int
    devices_per_node: int
    weight_ppm: int
    domain: str
    paces: Mapping[str, tuple[Pace, ...]]

    def paces_of(self, work_class: str) -> tuple[Pace, ...]:
        """The levels of a work class; those of `any` where this place tells no such class apart."""
        return self.paces.get(work_class) or self.paces[ANY]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """`watts` at the meter, idle draw included, over [from_ms, until_ms), UTC epoch ms; None: for ever."""

    watts: int
    from_ms: int = 0
    until_ms: int | None = None
    known_ms: int = 0

    def holds(self, at_ms: int, now_ms: int) -> bool:
        return self.known_ms <= now_ms and self.from_ms <= at_ms and (self.until_ms is None or at_ms < self.until_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A node of the tree of power; `parent` None: its site's own. `base_w` is the idle draw under it, at the meter."""

    id: str
    site: str
    base_w: int
    parent: str | None = None
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """`zone` of the grid (None: no grid is looked at); `base_w`: idle draw at the meter."""

    id: str
    zone: str | None
    base_w: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """`share_ppm` of the fleet's normalised capacity; limits in ppm of its own nominal quota (None: no limit)."""

    id: str
    share_ppm: int
    cohort: str = "hub"
    borrow_ppm: int | None = None
    lend_ppm: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """`reference` is the kind of device that speeds are counted in; `said` every assumption that it rests on."""

    name: str
    reference: str
    sites: tuple[Site, ...]
    domains: tuple[Domain, ...]
    places: tuple[Place, ...]
    pools: tuple[Pool, ...]
    restart_ms: int
    said: tuple[Assumption, ...] = ()

    @property
    def milli_devices(self) -> int:
        return sum(place.milli_devices for place in self.places)

    @property
    def normalised(self) -> int:
        """Capacity in thousandths of the reference device, rounded down place by place."""
        return sum(place.milli_devices * place.weight_ppm // PPM for place in self.places)

    @property
    def digest(self) -> str:
        """SHA-256 of everything in it: equal fleets, equal digests."""
        return sha256(json.dumps(asdict(self), sort_keys=True, default=str).encode()).hexdigest()

    def site(self, site: str) -> Site:
        """Raises `twin.site`."""
        for known in self.sites:
            if known.id == site:
                return known
        raise FabriqueError("twin.site", site=site[:80], sites=", ".join(s.id for s in self.sites))


def bare(processors: int) -> Fleet:
    """A machine of so many like processors: one place, one pool, one speed, no power."""
    if processors < 1:
        raise ValueError("a machine has a processor")
    still = Pace(limit_permille=1000, speed_ppm=PPM, nameplate_mw=0, measured_mw=0, draw_mw=0)
    machine = Place(
        id="machine",
        site="machine",
        kind="processor",
        milli_devices=processors * 1000,
        devices_per_node=1,
        weight_ppm=PPM,
        domain="machine",
        paces={ANY: (still,)},
    )
    return Fleet(
        name=f"{processors} processors",
        reference="processor",
        sites=(Site(id="machine", zone=None, base_w=0),),
        domains=(Domain(id="machine", site="machine", base_w=0),),
        places=(machine,),
        pools=(Pool(id="all", share_ppm=PPM),),
        restart_ms=workload().restart.ms,
    )


def with_cap(fleet: Fleet, site: str, cap_w: int) -> Fleet:
    """The fleet with another lasting cap at `site`; events stay. Raises `twin.site`, `twin.cap`."""
    domain = _domain(fleet, site, cap_w)
    events = (limit for limit in domain.limits if limit.until_ms is not None)
    return _with_limits(fleet, domain, (Limit(watts=cap_w), *events))


def with_event(fleet: Fleet, site: str, at_ms: int, until_ms: int, cap_w: int, known_ms: int) -> Fleet:
    """The fleet with a demand-response event: at most `cap_w` over [at_ms, until_ms), announced at `known_ms`.

    Raises `twin.site`, `twin.cap`, and `twin.event` for one that ends before it begins.
    """
    domain = _domain(fleet, site, cap_w)
    if until_ms <= at_ms:
        raise FabriqueError("twin.event", site=site)
    event = Limit(watts=cap_w, from_ms=at_ms, until_ms=until_ms, known_ms=known_ms)
    return _with_limits(fleet, domain, (*domain.limits, event))


def _domain(fleet: Fleet, site: str, cap_w: int) -> Domain:
    """The site's own domain, where a cap of `cap_w` can be kept with no job running."""
    base_w = fleet.site(site).base_w
    if cap_w < base_w:
        raise FabriqueError("twin.cap", site=site, cap_w=cap_w, idle_w=base_w)
    return next(domain for domain in fleet.domains if domain.site == site and domain.parent is None)


def _with_limits(fleet: Fleet, changed: Domain, limits: tuple[Limit, ...]) -> Fleet:
    return replace(fleet, domains=tuple(replace(d, limits=limits) if d is changed else d for d in fleet.domains))


def nameplate_w(fleet: Fleet) -> int:
    """What the meters would show with every device at what its nameplate says, in W."""
    above_mw = sum(
        ceil_divide(place.milli_devices * max(paces[0].nameplate_mw for paces in place.paces.values()), 1000)
        for place in fleet.places
    )
    return sum(site.base_w for site in fleet.sites) + ceil_divide(above_mw, 1000)


def steps(domain: Domain) -> list[tuple[int, int, int]]:
    """The caps of a domain as rows (from ms, mW above its idle draw, known since ms), in order of from, then known.

    What holds at t, as known at now, is the last row with from <= t and known <= now; UNLIMITED where no limit holds.
    """
    rows: list[tuple[int, int, int]] = []
    for now in sorted({limit.known_ms for limit in domain.limits}):
        seen = [limit for limit in domain.limits if limit.known_ms <= now]
        edges = {limit.from_ms for limit in seen} | {x.until_ms for x in seen if x.until_ms is not None}
        for at in sorted(edges):
            watts = min((limit.watts for limit in seen if limit.holds(at, now)), default=None)
            mw = UNLIMITED if watts is None else (watts - domain.base_w) * 1000
            if mw != _held(rows, at):
                rows = sorted([*rows, (at, mw, now)], key=lambda row: (row[0], row[2]))
    return rows


def _held(rows: list[tuple[int, int, int]], at: int) -> int:
    """What `rows` say holds at an instant, all of them known."""
    return next((mw for start, mw, _ in reversed(rows) if start <= at), UNLIMITED)
