"""A hub as it is known: sites, machines, pools, partners, money, law; every fact with its source and status.

Nothing is invented: what nobody published is None, and may carry an assumption beside it so that the hub can be
simulated. `best` takes the fact, else the assumption; `rests_on` names every value that an assumption stands for.

Counts are whole numbers in the unit that the name ends with: W, MB, thousandths (permille), parts per million
(ppm), millionths of a currency unit (micro). Dates are ISO 8601 texts in UTC; intervals of dates are half-open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from dataclasses import field as default
from typing import Generic, Literal, TypeVar

from fabrique.core.catalogue import Device
from fabrique.core.units import MICRO, Amount, money

T = TypeVar("T")

Status = Literal["seed", "sourced", "derived", "unverified", "not-found"]
Phase = Literal["announced", "building", "operational", "unknown"]
Group = Literal["sovereign-hub", "first-seven", "six-more", "own"]
Role = Literal["operator", "coordinator", "host", "owner", "funder", "research", "vendor", "partner"]
PoolKind = Literal["union", "national", "research", "startup", "commercial", "local"]
CapPoint = Literal["facility", "IT"]
Language = Literal["fr-CA", "fr-FR", "en", "fi", "de", "es", "it", "sv", "el", "bg", "pl", "sl", "lb"]
AttributeId = Literal[
    "site-jurisdiction",
    "operator-jurisdiction",
    "operator-kind",
    "operator-parent-jurisdiction",
    "system-owner",
    "accelerator-vendor-jurisdiction",
    "us-nexus",
    "certifications",
]


@dataclass(frozen=True, slots=True)
class Sourced(Generic[T]):
    """A fact: `value` (None: not published) with the ids of its sources; `assumed` stands in for it, and says `why`."""

    value: T | None = None
    source: tuple[str, ...] = ()
    status: Status = "not-found"
    note: str | None = None
    assumed: T | None = None
    why: str | None = None

    @property
    def best(self) -> T | None:
        return self.assumed if self.value is None else self.value

    @property
    def rests_on_assumption(self) -> bool:
        return self.value is None and self.assumed is not None


def _unknown() -> Sourced[T]:
    return Sourced()


@dataclass(frozen=True, slots=True)
class Money:
    """`amount` whole units and `cents` hundredths of `currency` (ISO 4217)."""

    amount: int
    currency: str
    cents: int = 0

    @property
    def exact(self) -> Amount:
        return Amount(money(self.currency), self.amount * MICRO + self.cents * (MICRO // 100))


@dataclass(frozen=True, slots=True)
class Site:
    """One place with one grid zone, one jurisdiction (ISO 3166-1 or -2), one power cap and where it is metered."""

    id: str
    name: Sourced[str]
    jurisdiction: Sourced[str]
    zone: Sourced[str]
    timezone: str
    power_cap_w: Sourced[int]
    power_cap_point: Sourced[CapPoint]
    pue_permille: Sourced[int]
    cooling: Sourced[str] = default(default_factory=_unknown)
    energy_contract: Sourced[str] = default(default_factory=_unknown)
    heat_reuse: Sourced[str] = default(default_factory=_unknown)


@dataclass(frozen=True, slots=True)
class Partition:
    """Like nodes at one site, under the engine's name for them.

    `device` says what is handed out (an accelerator, a core or a QPU) of which `kind` of the catalogue;
    `cores_per_node` are the host's. `node_idle_w` is a node's draw without its devices; `device_idle_w` and
    `device_board_w` are one device's, taken from its kind where they are not given here.
    """

    id: str
    name: str
    site: str
    device: Device
    kind: Sourced[str]
    nodes: Sourced[int]
    devices_per_node: Sourced[int]
    cores_per_node: Sourced[int]
    memory_mb_per_node: Sourced[int]
    node_idle_w: Sourced[int] = default(default_factory=_unknown)
    device_idle_w: Sourced[int] = default(default_factory=_unknown)
    device_board_w: Sourced[int] = default(default_factory=_unknown)

    @property
    def devices(self) -> int | None:
        """How many devices the partition holds in all."""
        nodes, each = self.nodes.best, self.devices_per_node.best
        return None if nodes is None or each is None else nodes * each


@dataclass(frozen=True, slots=True)
class Share:
    """A pool's entitlement on one machine; `ceiling_ppm` is the most that the law allows."""

    pool: str
    ppm: Sourced[int]
    ceiling_ppm: Sourced[int] = default(default_factory=_unknown)


@dataclass(frozen=True, slots=True)
class Machine:
    """One system, with the partitions that make it up; without any it is known, but can't be simulated.

    `use` is `hub` for the hub's own machines, `interim` for those lent while it is built, `national` for others of
    the same operator. Speeds in TFLOP/s of the HPL benchmark, `hpl_power_w` the power during that run.
    """

    id: str
    name: Sourced[str]
    use: Literal["hub", "interim", "national"]
    phase: Phase
    status: Sourced[str]
    since: Sourced[str] = default(default_factory=_unknown)
    vendor: Sourced[str] = default(default_factory=_unknown)
    accelerator: Sourced[str] = default(default_factory=_unknown)
    accelerators: Sourced[int] = default(default_factory=_unknown)
    nodes: Sourced[int] = default(default_factory=_unknown)
    node: Sourced[str] = default(default_factory=_unknown)
    rmax_tflops: Sourced[int] = default(default_factory=_unknown)
    rpeak_tflops: Sourced[int] = default(default_factory=_unknown)
    hpl_power_w: Sourced[int] = default(default_factory=_unknown)
    ai_peak: Sourced[str] = default(default_factory=_unknown)
    cost: Sourced[Money] = default(default_factory=_unknown)
    funding_split: Sourced[str] = default(default_factory=_unknown)
    features: Sourced[tuple[str, ...]] = default(default_factory=_unknown)
    shares: tuple[Share, ...] = ()
    partitions: tuple[Partition, ...] = ()
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """A funder's part of the capacity; its share is set machine by machine.

    `commercial_ppm` bounds commercial use as parts per million *of this pool's own time*.
    """

    id: str
    kind: PoolKind
    name: Sourced[str]
    name_fr: str | None = None
    funder: str | None = None
    commercial_ppm: Sourced[int] = default(default_factory=_unknown)


@dataclass(frozen=True, slots=True)
class PriorityClass:
    """`rank` 0 goes first."""

    id: str
    rank: int
    name: str
    name_fr: str


@dataclass(frozen=True, slots=True)
class Partner:
    id: str
    name: Sourced[str]
    roles: tuple[Role, ...]
    jurisdiction: str | None = None


@dataclass(frozen=True, slots=True)
class Funding:
    """An amount of money: what it pays (`by` use) or who pays it (`by` source).

    `part_of` names the funding that it is a part of; `rate_ppm` is the part that EuroHPC or the Union bears.
    """

    id: str
    name: str
    by: Literal["total", "use", "source"]
    amount: Sourced[Money]
    kind: str | None = None
    funder: str | None = None
    part_of: str | None = None
    rate_ppm: Sourced[int] = default(default_factory=_unknown)


@dataclass(frozen=True, slots=True)
class Attribute:
    """A fact that law turns on, true over [`valid_from`, `valid_to`), ISO dates, open where None."""

    id: AttributeId
    fact: Sourced[str]
    valid_from: str | None = None
    valid_to: str | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """Anything else that is known of a hub, in the words of its sources."""

    id: str
    texts: Sourced[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Assumption:
    """`value` stands for the unpublished value at `path` (ids, joined by dots), because `why`."""

    path: str
    value: object
    why: str


@dataclass(frozen=True, slots=True)
class Hub:
    """All that is known of one hub. `languages` are in the order that its law asks: Québec's French comes first.

    `prices_micro_per_hour` is by kind of device, in millionths of `currency` per device-hour.
    """

    id: str
    group: Group
    name: Sourced[str]
    operator: Sourced[str]
    phase: Phase
    opening: Sourced[str]
    jurisdiction: str
    currency: str
    languages: tuple[Language, ...]
    sites: tuple[Site, ...]
    machines: tuple[Machine, ...]
    pools: tuple[Pool, ...]
    priority_classes: Sourced[tuple[PriorityClass, ...]]
    prices_micro_per_hour: Sourced[Mapping[str, int]]
    city: Sourced[str] = default(default_factory=_unknown)
    selected: Sourced[str] = default(default_factory=_unknown)
    specialisation: Sourced[tuple[str, ...]] = default(default_factory=_unknown)
    services: Sourced[tuple[str, ...]] = default(default_factory=_unknown)
    storage: Sourced[str] = default(default_factory=_unknown)
    partners: tuple[Partner, ...] = ()
    funding: tuple[Funding, ...] = ()
    sovereignty: tuple[Attribute, ...] = ()
    facts: tuple[Fact, ...] = ()
    conflicts: tuple[str, ...] = ()
    assumptions: tuple[Assumption, ...] = ()

    @property
    def partitions(self) -> tuple[Partition, ...]:
        return tuple(partition for machine in self.machines for partition in machine.partitions)

    def site(self, site_id: str) -> Site:
        return next(site for site in self.sites if site.id == site_id)


def walk(thing: object, path: str = "") -> Iterator[tuple[str, Sourced[object]]]:
    """Every fact in `thing` with its path: names and ids joined by dots, as assumptions cite them."""
    if isinstance(thing, Sourced):
        yield path, thing
    elif isinstance(thing, tuple):
        for item in thing:
            yield from walk(item, _join(path, key_of(item)))
    elif is_dataclass(thing):
        for part in fields(thing):
            yield from walk(getattr(thing, part.name), _join(path, part.name))


def key_of(item: object) -> str:
    """What names an item in a list: its id, or a share's pool."""
    return str(getattr(item, "id", None) or getattr(item, "pool", ""))


def _join(path: str, part: str) -> str:
    return f"{path}.{part}" if path else part


def nulls(hub: Hub) -> int:
    """How many of its values nobody published."""
    return sum(fact.value is None for _, fact in walk(hub))


def rests_on(hub: Hub) -> tuple[str, ...]:
    """The paths whose value, as simulated, is an assumption."""
    return tuple(path for path, fact in walk(hub) if fact.rests_on_assumption)


def published(hub: Hub) -> dict[str, Sourced[object]]:
    """The facts that someone published, by path."""
    return {path: fact for path, fact in walk(hub) if fact.value is not None}
