"""Fleets made of what is known of a hub and of what its definition assumes; and the site that power rules are tried on.

A hub's fleet is its own machines and those lent to it; others of the same operator, and devices of another sort, count
with their idle draw alone, for they share the meter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Final, TypeVar

from fabrique.core import hub as known
from fabrique.core.admission.tables import PPM
from fabrique.core.catalogue import DeviceKind
from fabrique.core.errors import FabriqueError
from fabrique.core.hub import Assumption, Hub, Machine, Partition, Sourced
from fabrique.core.hub_rules import device_board_w, device_idle_w, idle_draw_w
from fabrique.core.units import ceil_divide, share_out
from fabrique.definitions import accelerators
from fabrique.definitions.work_classes import ANY, catalogue, workload
from fabrique.twin.fleet import Domain, Fleet, Limit, Place, Pool, Site
from fabrique.twin.paces import Part, assumptions, paces, speed_ppm

T = TypeVar("T")

_LENT: Final = ("hub", "interim")
_SITE_FACTS: Final = ("power_cap_w", "power_cap_point", "pue_permille", "zone")
_NOT_SIMULATED: Final = "only its idle draw counts: the replay's jobs run on the hub's own devices of one sort"


@dataclass(frozen=True, slots=True)
class _Held:
    """A partition of the fleet with the machine that it is of."""

    machine: Machine
    partition: Partition
    part: Part

    @property
    def path(self) -> str:
        return f"machines.{self.machine.id}.partitions.{self.partition.id}"


def of_hub(hub: Hub, *, site: str | None = None, scale: Fraction | None = None) -> Fleet:
    """The fleet of a hub, or of one of its sites; `scale` of its nodes, idle draw and cap (None: all of it).

    Speeds are counted in the kind that it has most devices of. Raises `twin.site` for a site that it has not and
    `twin.fleet` for a value that is neither published nor assumed.
    """
    sites = _sites(hub, site)
    part_of = Fraction(1) if scale is None else scale
    if part_of <= 0:
        raise ValueError("a fleet is a positive part of a hub")
    held = list(_held(hub, {s.id for s in sites}, part_of))
    if not held:
        raise FabriqueError("twin.fleet", hub=hub.id, field="machines")
    reference = _reference(held)
    used = [s for s in sites if any(h.partition.site == s.id for h in held)]
    places = tuple(_place(h, hub, reference) for h in held)
    pools, shares_said = _pools(hub, held, places)
    return Fleet(
        name=hub.id if site is None else f"{hub.id}/{site}",
        reference=reference.id,
        sites=tuple(Site(id=s.id, zone=s.zone.best, base_w=_base_w(hub, s, part_of)) for s in used),
        domains=tuple(_domain(hub, s, part_of) for s in used),
        places=places,
        pools=pools,
        restart_ms=workload().restart.ms,
        said=(*_said(hub, used, held, reference, part_of), *shares_said),
    )


def saturated_site(cap_w: int = 3_000_000, most_nameplate_w: int = 4_000_000, pue_permille: int = 1150) -> Fleet:
    """A site under `cap_w` with as many eight-GPU H100 nodes as `most_nameplate_w` at the meter holds on paper."""
    node_idle_w = 700
    kind, node = accelerators.catalogue()["h100-sxm"], accelerators.node_examples()["8xh100"]
    nodes = most_nameplate_w * 1000 // (node.nameplate_w * pue_permille)
    each = node.devices
    part = Part(
        id="h100",
        kind=kind,
        devices=nodes * each,
        devices_per_node=each,
        board_w=_given(kind.board_w, kind.id, "board_w"),
        device_idle_w=_given(kind.idle_w, kind.id, "idle_w"),
        node_idle_w=node_idle_w,
    )
    base_w = ceil_divide(nodes * (each * part.device_idle_w + node_idle_w) * pue_permille, 1000)
    why = "a site to try power rules on: 3 MW for accelerators of 4 MW on paper"
    return Fleet(
        name=f"{nodes} nodes of {each} {kind.id} under {cap_w} W",
        reference=kind.id,
        sites=(Site(id="site", zone=None, base_w=base_w),),
        domains=(Domain(id="site", site="site", base_w=base_w, limits=(Limit(watts=cap_w),)),),
        places=(_as_place(part, "h100", "site", kind, pue_permille),),
        pools=(Pool(id="all", share_ppm=PPM),),
        restart_ms=workload().restart.ms,
        said=(
            Assumption("sites.site.pue_permille", pue_permille, why),
            Assumption("machines.site.partitions.h100.node_idle_w", node_idle_w, "as assumed for such nodes elsewhere"),
            *assumptions(part, kind, "machines.site.partitions.h100"),
        ),
    )


# --- machines -----------------------------------------------------------------------------------------------------
def _sites(hub: Hub, wanted: str | None) -> list[known.Site]:
    found = [s for s in hub.sites if wanted is None or s.id == wanted]
    if not found:
        raise FabriqueError("twin.site", site=str(wanted)[:80], sites=", ".join(s.id for s in hub.sites))
    return found


def _held(hub: Hub, sites: set[str], scale: Fraction) -> Iterator[_Held]:
    """The fleet's partitions: those of accelerators, else of cores."""
    ours = [(m, p) for m in hub.machines if m.use in _LENT for p in m.partitions if p.site in sites]
    devices = {p.device for _, p in ours}
    sort = "accelerator" if "accelerator" in devices else "core"
    for machine, partition in ours:
        if partition.device == sort:
            yield _Held(machine, partition, _part(hub, machine, partition, scale))


def _part(hub: Hub, machine: Machine, partition: Partition, scale: Fraction) -> Part:
    path = f"machines.{machine.id}.partitions.{partition.id}"
    kind = accelerators.catalogue()[_best(partition.kind, hub, f"{path}.kind")]
    each = _best(partition.devices_per_node, hub, f"{path}.devices_per_node")
    nodes = max(1, int(_best(partition.nodes, hub, f"{path}.nodes") * scale))
    return Part(
        id=partition.id,
        kind=kind,
        devices=nodes * each,
        devices_per_node=each,
        board_w=_given(device_board_w(partition, kind), hub.id, f"{path}.device_board_w"),
        device_idle_w=_given(device_idle_w(partition, kind), hub.id, f"{path}.device_idle_w"),
        node_idle_w=_best(partition.node_idle_w, hub, f"{path}.node_idle_w"),
        hpl_w=_hpl_w(machine, partition),
    )


def _hpl_w(machine: Machine, partition: Partition) -> Fraction | None:
    """One device's share of the HPL run's power, where the machine has no other accelerators that it could be of."""
    like = [p for p in machine.partitions if p.device == "accelerator" and p.devices == machine.accelerators.best]
    alone = [p for p in machine.partitions if p.device == "accelerator"]
    power_w, devices = machine.hpl_power_w.best, partition.devices
    ours = like == [partition] or (machine.accelerators.best is None and alone == [partition])
    return Fraction(power_w, devices) if power_w and devices and ours else None


def _reference(held: Sequence[_Held]) -> DeviceKind:
    """The kind with the most devices; ties go to the first."""
    devices: dict[str, int] = {}
    for h in held:
        devices[h.part.kind.id] = devices.get(h.part.kind.id, 0) + h.part.devices
    return accelerators.catalogue()[max(devices, key=devices.__getitem__)]


def _place(h: _Held, hub: Hub, reference: DeviceKind) -> Place:
    site = hub.site(h.partition.site)
    pue = _best(site.pue_permille, hub, f"sites.{site.id}.pue_permille")
    return _as_place(h.part, f"{h.machine.id}/{h.partition.id}", site.id, reference, pue)


def _as_place(part: Part, place: str, site: str, reference: DeviceKind, pue_permille: int) -> Place:
    return Place(
        id=place,
        site=site,
        kind=part.kind.id,
        milli_devices=part.devices * 1000,
        devices_per_node=part.devices_per_node,
        weight_ppm=speed_ppm(part.kind, reference, catalogue()[ANY]),
        domain=site,
        paces=paces(part, reference, pue_permille),
    )


# --- power --------------------------------------------------------------------------------------------------------
def _base_w(hub: Hub, site: known.Site, scale: Fraction) -> int:
    """Idle draw of everything at the site, at the facility meter."""
    pue = _best(site.pue_permille, hub, f"sites.{site.id}.pue_permille")
    return ceil(idle_draw_w(hub, site.id, accelerators.catalogue()) * scale * pue / 1000)


def _domain(hub: Hub, site: known.Site, scale: Fraction) -> Domain:
    path = f"sites.{site.id}"
    cap = _best(site.power_cap_w, hub, f"{path}.power_cap_w") * scale
    pue = _best(site.pue_permille, hub, f"{path}.pue_permille")
    if _best(site.power_cap_point, hub, f"{path}.power_cap_point") == "IT":
        cap = cap * pue / 1000
    return Domain(id=site.id, site=site.id, base_w=_base_w(hub, site, scale), limits=(Limit(watts=int(cap)),))


# --- pools --------------------------------------------------------------------------------------------------------
def _pools(hub: Hub, held: Sequence[_Held], places: Sequence[Place]) -> tuple[tuple[Pool, ...], list[Assumption]]:
    """Each pool's part of the fleet: its shares of the machines by what they can do, made to fill the whole."""
    weights = dict.fromkeys((pool.id for pool in hub.pools), 0)
    whole = 0
    for h, place in zip(held, places, strict=True):
        size = place.milli_devices * place.weight_ppm // PPM
        whole += size * PPM
        for share in h.machine.shares:
            path = f"machines.{h.machine.id}.shares.{share.pool}.ppm"
            weights[share.pool] += size * _best(share.ppm, hub, path)
    shared = {pool: weight for pool, weight in weights.items() if weight}
    if not shared:
        return (Pool(id="all", share_ppm=PPM),), []
    parts = share_out(PPM, list(shared.values()))
    pools = tuple(Pool(id=pool, share_ppm=ppm) for pool, ppm in zip(shared, parts, strict=True))
    if sum(shared.values()) == whole:
        return pools, []
    value = ", ".join(f"{pool.id} {pool.share_ppm} ppm" for pool in pools)
    return pools, [Assumption("pools.shares", value, "what no pool is entitled to is shared out as the rest is")]


# --- what is said -------------------------------------------------------------------------------------------------
def _said(
    hub: Hub, sites: Sequence[known.Site], held: Sequence[_Held], reference: DeviceKind, scale: Fraction
) -> Iterator[Assumption]:
    """The hub's own assumptions that the fleet rests on, and those that were added to them; each once."""
    wanted = {f"sites.{site.id}.{name}" for site in sites for name in _SITE_FACTS}
    prefixes = tuple(f"{h.path}." for h in held) + tuple(f"machines.{h.machine.id}.shares." for h in held)
    found = [a for a in hub.assumptions if a.path in wanted or a.path.startswith(prefixes)]
    for h in held:
        found += assumptions(h.part, reference, h.path)
    at = {site.id for site in sites}
    simulated = {h.partition.id for h in held}
    for machine in hub.machines:
        for partition in machine.partitions:
            if partition.site in at and partition.id not in simulated:
                found.append(Assumption(f"machines.{machine.id}.partitions.{partition.id}", "idle", _NOT_SIMULATED))
    if scale != 1:
        found.append(Assumption("scale", str(scale), "so much of the hub's nodes, idle draw and caps was asked for"))
    return iter({(a.path, str(a.value)): a for a in found}.values())


def _best(fact: Sourced[T], hub: Hub, path: str) -> T:
    return _given(fact.best, hub.id, path)


def _given(value: T | None, hub: str, path: str) -> T:
    if value is None:
        raise FabriqueError("twin.fleet", hub=hub, field=path)
    return value
