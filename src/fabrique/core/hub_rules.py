"""What must hold between the parts of a hub. Each rule answers faults as data: code, path, parameters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date
from typing import Final

from fabrique.core.catalogue import DeviceKind
from fabrique.core.hub import Hub, Machine, Money, Partition, Site, key_of, walk

WHOLE_PPM: Final = 1_000_000
MOST: Final = 10**15  # of anything counted here: far above any hub, far below 2^53

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}\Z")
_CURRENCY = re.compile(r"[A-Z]{3}\Z")
_JURISDICTION = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?\Z")


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule that does not hold at `path`: names and ids joined by dots, an item's place where its id is at fault."""

    code: str
    path: str
    params: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a hub may refer to beyond itself."""

    kinds: Mapping[str, DeviceKind]
    zones: Set[str]
    sources: Set[str] | None = None  # None: a visitor's own sources are not looked up


def faults(hub: Hub, around: Surroundings) -> list[Fault]:
    """Everything that does not hold, in the order of the hub's parts; empty when it can be loaded and simulated."""
    return [
        *_names(hub),
        *_bounds(hub),
        *_codes(hub),
        *_duplicates(hub),
        *_references(hub, around),
        *_shares(hub),
        *_sources(hub, around.sources),
        *_dates(hub),
        *_circles(hub),
        *_unsimulable(hub, around.kinds),
        *_caps(hub, around.kinds),
    ]


def device_idle_w(partition: Partition, kind: DeviceKind | None) -> int | None:
    """One device's draw with no work, in W: the partition's own, else its kind's."""
    own = partition.device_idle_w.best
    return kind.idle_w if own is None and kind is not None else own


def device_board_w(partition: Partition, kind: DeviceKind | None) -> int | None:
    """One device's power limit, in W: the partition's own, else its kind's."""
    own = partition.device_board_w.best
    return kind.board_w if own is None and kind is not None else own


def idle_draw_w(hub: Hub, site: str, kinds: Mapping[str, DeviceKind]) -> int:
    """What the machines at `site` draw with no work, in W at their own plugs; what is unknown counts nothing."""
    total = 0
    for partition in hub.partitions:
        if partition.site == site:
            each = device_idle_w(partition, kinds.get(partition.kind.best or "")) or 0
            total += (partition.devices or 0) * each
            total += (partition.nodes.best or 0) * (partition.node_idle_w.best or 0)
    return total


def _names(hub: Hub) -> Iterator[Fault]:
    names = [("id", hub.id)]
    for path, items in _lists(hub):  # by place: an id that holds a dot leads nowhere
        names += [(f"{path}.{place}", key_of(item)) for place, item in enumerate(items)]
    for path, name in names:
        if not _ID.match(name):
            yield Fault("value.pattern", path, {"pattern": "a-z, 0-9, - (1-63)"})


def _bounds(hub: Hub) -> Iterator[Fault]:
    for path, fact in walk(hub):
        least = 1000 if path.endswith("pue_permille") else 0
        most = WHOLE_PPM if path.endswith("ppm") else MOST
        for number in _numbers(fact.value) + _numbers(fact.assumed):
            if not least <= number <= most:
                yield Fault("value.bound", path, {"bound": f"{least}–{most}"})


def _numbers(value: object) -> list[int]:
    if isinstance(value, Money):
        return [value.amount, value.cents]
    if isinstance(value, Mapping):
        return [number for number in value.values() if isinstance(number, int)]
    return [value] if isinstance(value, int) else []


def _codes(hub: Hub) -> Iterator[Fault]:
    moneys = [("currency", hub.currency)]
    moneys += [(f"machines.{m.id}.cost", m.cost.value.currency) for m in hub.machines if m.cost.value]
    moneys += [(f"funding.{f.id}.amount", f.amount.value.currency) for f in hub.funding if f.amount.value]
    for path, currency in moneys:
        if not _CURRENCY.match(currency):
            yield Fault("hub.currency", path, {"currency": currency})
    places: list[tuple[str, str | None]] = [("jurisdiction", hub.jurisdiction)]
    places += [(f"sites.{s.id}.jurisdiction", s.jurisdiction.best) for s in hub.sites]
    places += [(f"partners.{p.id}.jurisdiction", p.jurisdiction) for p in hub.partners]
    for path, code in places:
        if code is not None and not _JURISDICTION.match(code):
            yield Fault("hub.jurisdiction", path, {"code": code})


def _lists(hub: Hub) -> list[tuple[str, Sequence[object]]]:
    """Every list whose items have ids that must differ, with its path."""
    return [
        ("sites", hub.sites),
        ("machines", hub.machines),
        ("pools", hub.pools),
        ("priority_classes", hub.priority_classes.best or ()),
        ("partners", hub.partners),
        ("funding", hub.funding),
        ("facts", hub.facts),
        *((f"machines.{m.id}.shares", m.shares) for m in hub.machines),
        *((f"machines.{m.id}.partitions", m.partitions) for m in hub.machines),
    ]


def _duplicates(hub: Hub) -> Iterator[Fault]:
    for path, items in _lists(hub):
        for name in _twice(key_of(item) for item in items):
            yield Fault("hub.duplicate-id", f"{path}.{name}", {"id": name})
    owners = {p.id: m.id for m in hub.machines for p in m.partitions}
    for name in _twice({(m.id, p.id): p.id for m, p in _partitions(hub)}.values()):
        yield Fault("hub.duplicate-id", f"machines.{owners[name]}.partitions.{name}", {"id": name})
    dated = Counter((a.id, a.valid_from) for a in hub.sovereignty)
    for (name, _), count in dated.items():
        if count > 1:
            yield Fault("hub.duplicate-id", f"sovereignty.{name}", {"id": name})


def _twice(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _references(hub: Hub, around: Surroundings) -> Iterator[Fault]:
    sites = {site.id for site in hub.sites}
    pools = {pool.id for pool in hub.pools}
    partners = {partner.id for partner in hub.partners}
    money = {funding.id for funding in hub.funding}
    wanted: list[tuple[str, str, str | None, Set[str]]] = []
    for site in hub.sites:
        wanted.append((f"sites.{site.id}.zone", "zone", site.zone.best, around.zones))
    for machine, partition in _partitions(hub):
        path = f"machines.{machine.id}.partitions.{partition.id}"
        wanted.append((f"{path}.site", "site", partition.site, sites))
        wanted.append((f"{path}.kind", "kind", partition.kind.best, around.kinds.keys()))
        kind = around.kinds.get(partition.kind.best or "")
        if kind is not None and kind.device != partition.device:
            about = {"id": kind.id, "actual": kind.device, "expected": partition.device}
            yield Fault("hub.device", f"{path}.kind", about)
    wanted += [(f"machines.{m.id}.shares.{s.pool}", "pool", s.pool, pools) for m in hub.machines for s in m.shares]
    wanted += [(f"pools.{p.id}.funder", "partner", p.funder, partners) for p in hub.pools]
    wanted += [(f"funding.{f.id}.funder", "partner", f.funder, partners) for f in hub.funding]
    wanted += [(f"funding.{f.id}.part_of", "funding", f.part_of, money) for f in hub.funding]
    wanted += [("prices_micro_per_hour", "kind", k, around.kinds.keys()) for k in hub.prices_micro_per_hour.best or ()]
    for path, kind_of_thing, name, known in wanted:
        if name is not None and name not in known:
            yield Fault("hub.unknown-reference", path, {"kind": kind_of_thing, "id": name})


def _partitions(hub: Hub) -> Iterator[tuple[Machine, Partition]]:
    return ((machine, partition) for machine in hub.machines for partition in machine.partitions)


def _shares(hub: Hub) -> Iterator[Fault]:
    for machine in hub.machines:
        total = sum(share.ppm.best or 0 for share in machine.shares)
        if total > WHOLE_PPM:
            yield Fault("hub.shares-above-whole", f"machines.{machine.id}.shares", {"total_ppm": total})


def _sources(hub: Hub, known: Set[str] | None) -> Iterator[Fault]:
    for path, fact in walk(hub):
        if fact.value is not None and not fact.source:
            yield Fault("hub.source-missing", path, {})
        for source in fact.source:
            if known is not None and source not in known:
                yield Fault("hub.source-unknown", path, {"id": source})


def _dates(hub: Hub) -> Iterator[Fault]:
    for attribute in hub.sovereignty:
        path = f"sovereignty.{attribute.id}"
        start, end = _date(attribute.valid_from), _date(attribute.valid_to)
        if (start is None) != (attribute.valid_from is None) or (end is None) != (attribute.valid_to is None):
            yield Fault("value.type", path, {"expected": "date"})
        elif start is not None and end is not None and end <= start:
            yield Fault("hub.dates", path, {})


def _date(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        return None


def _circles(hub: Hub) -> Iterator[Fault]:
    whole = {funding.id: funding.part_of for funding in hub.funding}
    for start in whole:
        seen, here = {start}, whole[start]
        while here is not None and here in whole and here not in seen:
            seen.add(here)
            here = whole[here]
        if here == start:
            yield Fault("hub.part-of-itself", f"funding.{start}.part_of", {})


def _unsimulable(hub: Hub, kinds: Mapping[str, DeviceKind]) -> Iterator[Fault]:
    missing = [
        f"sites.{site.id}.{name}"
        for site in hub.sites
        for name in ("power_cap_w", "power_cap_point", "pue_permille", "zone", "jurisdiction")
        if getattr(site, name).best is None
    ]
    for machine, partition in _partitions(hub):
        missing += [f"machines.{machine.id}.partitions.{partition.id}.{name}" for name in _gaps(partition, kinds)]
    missing += [
        f"machines.{machine.id}.shares.{share.pool}.ppm"
        for machine in hub.machines
        for share in machine.shares
        if share.ppm.best is None
    ]
    missing += [name for name in ("priority_classes", "prices_micro_per_hour") if not getattr(hub, name).best]
    return (Fault("hub.not-simulable", path, {}) for path in missing)


def _gaps(partition: Partition, kinds: Mapping[str, DeviceKind]) -> list[str]:
    names = ("kind", "nodes", "devices_per_node", "cores_per_node", "memory_mb_per_node", "node_idle_w")
    gaps = [name for name in names if getattr(partition, name).best is None]
    kind = kinds.get(partition.kind.best or "")
    if device_idle_w(partition, kind) is None:
        gaps.append("device_idle_w")
    if device_board_w(partition, kind) is None:
        gaps.append("device_board_w")
    return gaps


def _caps(hub: Hub, kinds: Mapping[str, DeviceKind]) -> Iterator[Fault]:
    for site in hub.sites:
        cap = site.power_cap_w.best
        idle = _at_cap_point(site, idle_draw_w(hub, site.id, kinds))
        if cap is not None and cap < idle:
            yield Fault("hub.cap-below-idle", f"sites.{site.id}.power_cap_w", {"cap_w": cap, "idle_w": idle})


def _at_cap_point(site: Site, it_w: int) -> int:
    """Watts of machines as the cap's meter sees them: at the facility, the PUE comes on top."""
    if site.power_cap_point.best != "facility" or site.pue_permille.best is None:
        return it_w
    return -(-it_w * site.pue_permille.best // 1000)
