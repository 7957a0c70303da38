"""The hub of this home: its definition, its deployment, and what follows from both. Read, never written, here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

from django.conf import settings

from fabrique.apps import connected
from fabrique.apps.ledger import services as ledger
from fabrique.core import sovereignty
from fabrique.core.access import Mode
from fabrique.core.admission.filter import Offer
from fabrique.core.booking import Frozen, find_rate
from fabrique.core.carbon import Factor
from fabrique.core.catalogue import Device, DeviceKind
from fabrique.core.energy import Window
from fabrique.core.errors import FabriqueError
from fabrique.core.hub import Hub, Site
from fabrique.core.units import Unit, time_unit
from fabrique.definitions import accelerators, deployment, hubs, modes, zones
from fabrique.definitions.deployment import Deployment
from fabrique.grid.live import Hourly

YEAR_MS = 365 * 86_400_000


class ThisHub:
    """One home's hub. Watts are at the meter; `cap_w` bounds what is connected may draw in all."""

    def __init__(self, home: Path, hub: Hub, deployment: Deployment) -> None:
        self.home, self.hub, self.deployment = home, hub, deployment
        self.local = deployment.local
        self.connected = connected.of(deployment, _site_in(hub, deployment.local.zone).id, accelerators.catalogue())
        self.cores = self.connected.cores
        self.cap_w: int | None = self.connected.cap_w
        self.base_w = self.connected.base_w
        self.pue_permille = self.connected.pue_permille
        self.core_idle_w = deployment.energy.idle_w
        self.core_max_w = deployment.energy.max_w
        self.model_error_permille = deployment.energy.error_permille
        self.shares: Mapping[str, int] = deployment.pools
        self.currency = deployment.money.currency
        self.languages = hub.languages
        self.zone = self.connected.zone
        self.site = self.connected.site

    @cached_property
    def kinds(self) -> Mapping[str, DeviceKind]:
        return accelerators.catalogue()

    @property
    def devices(self) -> Mapping[str, Device]:
        """Each connected kind and what sort of device it is."""
        return self.connected.kinds

    @cached_property
    def units(self) -> Mapping[str, Unit]:
        return {kind: time_unit(device, kind) for kind, device in self.devices.items()}

    @property
    def offers(self) -> tuple[Offer, ...]:
        """What is handed out: accelerators by kind, and cores."""
        return self.connected.offers

    @property
    def sets_levels(self) -> bool:
        """Whether some device can be set to a power level whose speed somebody measured."""
        return any(offer.levels for offer in self.offers)

    def count(self, kind: str) -> int:
        """How many devices of `kind` are connected."""
        return self.connected.counts[kind]

    def yearly_capacity(self, kind: str) -> int:
        """Device-milliseconds of a year of 365 days."""
        return self.count(kind) * YEAR_MS

    @cached_property
    def site_of_record(self) -> Site:
        """The site of the definition that what is connected stands for: the one named, or in its zone, or the first."""
        named = next((s for s in self.hub.sites if s.id == self.site), None)
        return named or _site_in(self.hub, self.zone)

    @property
    def timezone(self) -> str:
        return self.site_of_record.timezone

    @cached_property
    def modes(self) -> tuple[Mode, ...]:
        return modes.for_hub(self.hub.id, self.hub.group)

    def pool_for(self, mode: Mode) -> str:
        """The pool a mode draws on: of its own name, else of its kind, else the largest."""
        of_kind = {p.kind: p.id for p in self.hub.pools if p.id in self.shares}
        if mode.pool in self.shares:
            return mode.pool
        by_share = max(sorted(self.shares), key=lambda p: self.shares[p])
        return of_kind.get(mode.pool.rstrip("s"), by_share)  # type: ignore[call-overload, no-any-return]

    def factor(self, now: int) -> Factor:
        """The zone's location-based average of the latest year known. Raises `grid.gap` where nobody published one."""
        zone = zones.catalogue().get(self.zone)
        if zone is None or not zone.factors:
            raise FabriqueError("grid.gap", zone=self.zone, at_ms=now)
        return zone.latest()

    @cached_property
    def hourly(self) -> Hourly | None:
        """The files that the deployment names for this machine's zone; None: it names none."""
        own = next((files for files in self.deployment.grid if files.zone == self.zone), None)
        if own is None:
            return None
        return Hourly(self.zone, self.home / own.actual, self.home / own.forecast if own.forecast else None)

    def expected(self, now: int) -> Told:
        """What holds freeze: the intensity forecast for `now`, else the yearly average. Raises `grid.gap`."""
        hourly = self.hourly
        return self._told(now, None if hourly is None else lambda: hourly.expected(now))

    def actual(self, window: Window) -> Told:
        """What the books use: the intensity as it was, else the yearly average. Raises `grid.gap`."""
        hourly = self.hourly
        return self._told(window.end_ms, None if hourly is None else lambda: hourly.actual(window))

    def _told(self, at_ms: int, ask: Callable[[], tuple[Factor, str]] | None) -> Told:
        if ask is None:
            factor = self.factor(at_ms)
            return Told(factor, _named(factor))
        try:
            factor, how = ask()
        except FabriqueError as error:
            factor = self.factor(at_ms)
            return Told(factor, f"{_named(factor)}, yearly average in place of the hourly series: {error.code}")
        return Told(factor, f"{_named(factor)}, {how}")

    def frozen(self, unit: Unit, now: int) -> Frozen:
        """The carbon factor expected and the price in force at `now`."""
        factor, name = self.expected(now)
        try:
            rate = find_rate(ledger.rates(), unit, now)
        except FabriqueError:
            return Frozen(factor.mg_per_kwh, name, Fraction(0), None, "")
        return Frozen(factor.mg_per_kwh, name, rate.price, rate.currency, f"{rate.id}/{rate.version}")

    def place(self, now: int) -> sovereignty.Place:
        """Where data would be worked on, as the law asks."""
        facts = {a.id: a.fact.value for a in self.hub.sovereignty}
        nexus = facts.get("us-nexus")
        told = None if nexus is None else str(nexus).split(":")[0].strip().lower()
        known = {"none known": "none", "none": "none", "present": "present", "true": "present", "assess": "assess"}
        return sovereignty.Place(
            site=self.site,
            jurisdiction=self.site_of_record.jurisdiction.best,
            operator=str(self.hub.operator.best or ""),
            nexus=None if told is None else known.get(told, "assess"),
        )


def _site_in(hub: Hub, zone: str) -> Site:
    own = [s for s in hub.sites if s.zone.best == zone]
    return (own or list(hub.sites))[0]


class Told(NamedTuple):
    """A factor, and which one it is: its sort, its source, and whether it was expected, was, or stands in."""

    factor: Factor
    name: str


def _named(f: Factor) -> str:
    return f"{f.zone} {f.year} {f.kind} {f.scope or 'unstated'} {f.basis} ({f.source})"


@dataclass(frozen=True)
class _Key:
    home: Path
    changed: int


def this_hub() -> ThisHub:
    """The hub of `settings.HOME`. Raises `home.missing`, `deployment.broken`, `definition.broken`."""
    path = settings.HOME / deployment.FILE_NAME
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        raise FabriqueError("home.missing", home=str(settings.HOME)) from None
    return _load(_Key(settings.HOME, changed))


def forget() -> None:
    """The next `this_hub` reads the files again."""
    _load.cache_clear()


@lru_cache(maxsize=4)
def _load(key: _Key) -> ThisHub:
    found, complaints = deployment.read(key.home / deployment.FILE_NAME)
    if found is None:
        raise FabriqueError("deployment.broken", complaints=complaints)
    return ThisHub(key.home, load_hub(found.hub.id, found.hub.path), found)


def load_hub(hub_id: str, path: str | None) -> Hub:
    """A hub's definition: ours by id, or the visitor's file. Raises `definition.missing`, `definition.broken`."""
    if path is None:
        known = hubs.builtin()
        if hub_id not in known:
            raise FabriqueError("definition.missing", id=hub_id[:80], known=sorted(known))
        return hubs.load_builtin(hub_id)
    hub, complaints = hubs.load(path)
    if hub is None:
        raise FabriqueError("definition.broken", file=path, complaints=complaints)
    return hub
