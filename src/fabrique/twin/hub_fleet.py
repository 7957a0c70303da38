"""The fleet of a hub that runs: what its engines hand out, its cap, its shares, as its own decision counts them.

A live hub books the most that a device may draw, under any rule set, at the level that it is set to: so does this
fleet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from fabrique.core.admission.filter import Offer
from fabrique.core.admission.levels import Level
from fabrique.core.admission.tables import PPM
from fabrique.core.hub import Assumption
from fabrique.core.units import ceil_divide
from fabrique.definitions.work_classes import ANY, workload
from fabrique.twin.fleet import Domain, Fleet, Limit, Pace, Place, Pool, Site

_ONE_SORT = "only devices of one sort are replayed; memory, and the cores beside an accelerator, are not looked at"
_ALIKE = "every kind is taken to be as fast as the others, and every job to accept each"


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """What is known of a hub's own machines. `idle_w`, in W at the meter of one device; `drawn_mw` by kind: what one
    device drew above idle on average in the runs that were replayed (absent: not known)."""

    name: str
    site: str
    zone: str | None
    cap_w: int | None
    base_w: int
    pue_permille: int
    offers: Sequence[Offer]
    shares: Mapping[str, int]
    idle_w: Mapping[str, int]
    drawn_mw: Mapping[str, int]


def sort_of(offers: Sequence[Offer]) -> str:
    """The sort of device that is replayed: accelerators, where there are any."""
    return "accelerator" if any(o.device == "accelerator" for o in offers) else "core"


def hub_fleet(own: Own) -> Fleet:
    """One place an offer of the sort that is replayed. Raises ValueError where nothing is handed out."""
    sort = sort_of(own.offers)
    offers = [o for o in own.offers if o.device == sort and o.milli_devices > 0]
    if not offers:
        raise ValueError("a hub hands out something")
    limits = () if own.cap_w is None else (Limit(watts=own.cap_w),)
    return Fleet(
        name=own.name,
        reference=max(offers, key=lambda o: o.milli_devices).kind,
        sites=(Site(id=own.site, zone=own.zone, base_w=own.base_w),),
        domains=(Domain(id=own.site, site=own.site, base_w=own.base_w, limits=limits),),
        places=tuple(_place(own, offer) for offer in offers),
        pools=_pools(own.shares),
        restart_ms=workload().restart.ms,
        said=_said(own, offers),
    )


def with_devices(fleet: Fleet, own: Own, partition: str, permille: int) -> Fleet:
    """The fleet with so many times the devices of a partition, at least one of each kind; idle draw goes with them."""
    places, more_w = [], 0
    for place in fleet.places:
        if place.id.partition("/")[0] == partition:
            devices = max(1, place.milli_devices * permille // 1_000_000)
            more_w += (devices - place.milli_devices // 1000) * own.idle_w.get(place.kind, 0)
            place = replace(place, milli_devices=devices * 1000, devices_per_node=devices)
        places.append(place)
    base_w = max(0, fleet.sites[0].base_w + more_w)
    return replace(
        fleet,
        places=tuple(places),
        sites=tuple(replace(site, base_w=base_w) for site in fleet.sites),
        domains=tuple(replace(domain, base_w=base_w) for domain in fleet.domains),
    )


def _place(own: Own, offer: Offer) -> Place:
    watts = offer.core_w if offer.device == "core" else offer.device_w
    booked_mw = ceil_divide(watts * own.pue_permille * 1000, 1000)
    drawn_mw = max(min(own.drawn_mw.get(offer.kind, booked_mw), booked_mw), 0)
    paces = [
        Pace(limit_permille=1000, speed_ppm=PPM, nameplate_mw=booked_mw, measured_mw=booked_mw, draw_mw=drawn_mw),
    ]
    for level in sorted(offer.levels, key=lambda one: -one.limit_w):
        lower_mw = level.limit_w * own.pue_permille
        if lower_mw < paces[-1].measured_mw:
            paces.append(_lower(paces[0], lower_mw, level))
    return Place(
        id=f"{offer.partition}/{offer.kind}",
        site=own.site,
        kind=offer.kind,
        milli_devices=offer.milli_devices,
        devices_per_node=max(1, offer.milli_devices // 1000),
        weight_ppm=PPM,
        domain=own.site,
        paces={ANY: tuple(paces)},
    )


def _lower(top: Pace, booked_mw: int, level: Level) -> Pace:
    """What it draws there on average goes with what it draws at the top."""
    return Pace(
        limit_permille=booked_mw * 1000 // top.measured_mw,
        speed_ppm=level.throughput_permille * PPM // 1000,
        nameplate_mw=top.nameplate_mw,
        measured_mw=booked_mw,
        draw_mw=min(top.draw_mw * level.draw_permille // 1000, booked_mw),
    )


def _pools(shares: Mapping[str, int]) -> tuple[Pool, ...]:
    given = tuple(Pool(id=pool, share_ppm=ppm) for pool, ppm in sorted(shares.items()) if ppm > 0)
    return given or (Pool(id="all", share_ppm=PPM),)


def _said(own: Own, offers: Sequence[Offer]) -> tuple[Assumption, ...]:
    said = []
    if any(o.device != "core" for o in own.offers):
        said.append(Assumption("devices", offers[0].device, _ONE_SORT))
    if len(offers) > 1:
        said.append(Assumption("devices.speed", "1", _ALIKE))
    missing = [o.kind for o in offers if o.kind not in own.drawn_mw]
    said += [Assumption(f"{k}.draw", "the most it may draw", "no run has told what it drew") for k in missing]
    return tuple(said)
