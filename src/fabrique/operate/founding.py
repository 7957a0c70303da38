"""Found a hub: its home, keys, deployment, tables, genesis entry and operator. Repeating it makes nothing twice."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil
from django.core.management import call_command
from django.db import transaction

from fabrique.apps.jobs.models import HubState, Run, RunState
from fabrique.apps.ledger import services as ledger
from fabrique.apps.ledger.models import Entry, Posting, Rate
from fabrique.apps.people import services as people
from fabrique.apps.people.models import Person, Role, RoleGrant
from fabrique.apps.this_hub import YEAR_MS, ThisHub, load_hub, this_hub
from fabrique.core import booking
from fabrique.core.errors import FabriqueError
from fabrique.core.hub import Hub
from fabrique.core.units import Amount, Unit, money, share_out, time_unit
from fabrique.definitions import deployment as files
from fabrique.definitions import hubs
from fabrique.engines.isolation import detect
from fabrique.meters import detect as meters

PPM = 1_000_000
BRINGS = (*ledger.CAPACITY, "connected")  # the kinds of entries that bring hours
REST = "unassigned"  # what no pool is entitled to
# A desktop processor's core without a meter: round figures, an assumption that the deployment's file shows.
CORE_IDLE_W, CORE_MAX_W, MODEL_ERROR_PERMILLE = 2, 12, 370


def make_home(home: Path, hub: str, *, port: int, now: int) -> files.Deployment:
    """The folder with its keys and `fabrique.toml`; an existing one is read, and must be of the same hub.

    Raises `definition.missing`, `definition.broken`, `home.exists` (another hub's), `deployment.broken`.
    """
    target = home / files.FILE_NAME
    if target.exists():
        found, complaints = files.read(target)
        if found is None:
            raise FabriqueError("deployment.broken", complaints=complaints)
        if hub and hub not in (found.hub.id, found.hub.path):
            raise FabriqueError("home.exists", home=str(home), hub=found.hub.id, wanted=hub)
        return found
    path = hub if hub.endswith((".yaml", ".yml")) else None
    definition = load_hub(hub, path)
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    home.chmod(0o711)
    _make_keys(home / "keys")
    made = _describe(home, definition, path, port=port, now=now)
    write_whole(target, files.write(made), 0o600)
    return made


def found(*, now: int) -> ThisHub:
    """Tables, rates, genesis and operator of the home that the settings name."""
    call_command("migrate", interactive=False, verbosity=0)
    return furnish(now=now)


def furnish(*, now: int) -> ThisHub:
    """The rows a hub begins with, in tables that are there."""
    here = this_hub()
    with transaction.atomic():
        ledger.lock()
        HubState.objects.get_or_create(pk=1)
        _rates(here, now=now)
        if not Entry.objects.exists():
            _genesis(here, now=now)
        _newly_connected(here, now=now)
        _operator(here, now=now)
    ledger.checkpoint(here.hub.id, now=now)
    return here


def operator() -> Person:
    """The person who runs this hub. Raises `person.missing`."""
    grant = RoleGrant.objects.filter(role=Role.OPERATOR, until_ms__isnull=True).order_by("id").first()
    if grant is None:
        raise FabriqueError("person.missing", email="operator")
    return grant.person


# --- steps ------------------------------------------------------------------------------------------------------


def _make_keys(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    write_whole(folder / "ledger.key", secrets.token_hex(32) + "\n", 0o600)
    write_whole(folder / "django.key", secrets.token_urlsafe(48) + "\n", 0o600)
    write_whole(folder / "metrics.key", secrets.token_urlsafe(32) + "\n", 0o600)


def write_whole(path: Path, text: str, mode: int) -> None:
    """Whole or not at all, and on the disk before anything relies on it."""
    draft = path.with_name(path.name + ".new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(path)


def _describe(home: Path, hub: Hub, path: str | None, *, port: int, now: int) -> files.Deployment:
    """This machine as it is, and the hub as it is defined."""
    cores = len(os.sched_getaffinity(0))
    source = Path(path).resolve() if path else hubs.builtin()[hub.id]
    gpus = tuple(_gpus())
    board_w = sum(d.most_w or 0 for m in meters.discover() if m.name != "modelled" for d in m.devices())
    prices = {k: v for k, v in (hub.prices_micro_per_hour.best or {}).items() if k == "local-core" or _has(gpus, k)}
    isolation = detect(home, [Path(sys.prefix), Path(sys.base_prefix)])
    return files.Deployment(
        created=datetime.fromtimestamp(now / 1000, UTC),
        hub=files.HubOf(
            id=hub.id,
            sha256=hashlib.sha256(source.read_bytes()).hexdigest(),
            path=str(source) if path else None,
        ),
        portal=files.Portal(port=port),
        engines=(files.EngineOf(name="local", kind="local", partitions=("this-machine",)),),
        local=files.Local(
            zone=str(hub.sites[0].zone.best or "unknown"),
            cores=cores,
            memory_mb=psutil.virtual_memory().total // 1_000_000,
            cap_w=max(cores * CORE_MAX_W, 1) + board_w,
            cap_basis="assumed",
            job_path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            isolation=isolation.kind,
            gpus=gpus,
        ),
        energy=files.Power(idle_w=CORE_IDLE_W, max_w=CORE_MAX_W, error_permille=MODEL_ERROR_PERMILLE),
        money=files.Money(
            currency=hub.currency,
            prices={time_unit("core" if k == "local-core" else "accelerator", k): v for k, v in prices.items()},
        ),
        pools=_shares(hub),
    )


def _gpus() -> Iterator[files.Gpu]:
    """Accelerators that a meter sees and our catalogue knows."""
    for meter in meters.discover():
        for device in meter.devices():
            if device.vendor in ("nvidia", "amd", "intel") and device.kind is not None:
                yield files.Gpu(uuid=device.source, kind=device.kind, vendor=device.vendor)  # type: ignore[arg-type]


def _has(gpus: tuple[files.Gpu, ...], kind: str) -> bool:
    return any(g.kind == kind for g in gpus)


def _shares(hub: Hub) -> dict[str, int]:
    """The pools' shares on the hub's largest machine; what nobody is entitled to is a pool of its own."""
    own = [m for m in hub.machines if m.use == "hub" and m.shares] or [m for m in hub.machines if m.shares]
    shares: dict[str, int] = {}
    if own:
        largest = max(own, key=lambda m: m.accelerators.best or 0)
        shares = {s.pool: s.ppm.best for s in largest.shares if s.ppm.best}
    rest = PPM - sum(shares.values())
    return {**shares, REST: rest} if rest > 0 else shares


def _rates(here: ThisHub, *, now: int) -> None:
    """Version 1 of each price, as the deployment has it; a later version is an act of two people."""
    currency = money(here.currency)
    for unit, micro in here.deployment.money.prices.items():
        Rate.objects.get_or_create(
            name=unit,
            version=1,
            defaults={
                "unit": unit,
                "currency": currency,
                "numerator": micro,
                "from_ms": 0,
                "source": here.hub.id,
                "assumed": here.hub.prices_micro_per_hour.value is None,
            },
        )


def _genesis(here: ThisHub, *, now: int) -> None:
    """One year of what is connected, put at the disposal of the pools by their shares."""
    definition = here.deployment.hub.sha256
    detail = {"hub": here.hub.id, "definition": definition, "period": "one year of 365 days from the genesis"}
    lines = booking.genesis(yearly(here), here.hub.id, detail)
    ledger.write("genesis", {"hub": here.hub.id, "definition": definition}, lines, now=now)


def _newly_connected(here: ThisHub, *, now: int) -> None:
    """Hours of kinds that no entry brought yet, until the hub's year ends: from then on they come with the others."""
    last = ledger.last_capacity()
    known = {Unit(u) for u in Posting.objects.filter(entry__kind__in=BRINGS).values_list("unit", flat=True).distinct()}
    left_ms = max(last.at_ms + YEAR_MS - now, 0) if last else 0
    amounts = [(p, Amount(a.unit, a.value * left_ms // YEAR_MS)) for p, a in yearly(here) if a.unit not in known]
    if not amounts:
        return
    detail = {"hub": here.hub.id, "period": "until the hub's year ends", "until_ms": str(now + left_ms)}
    lines = booking.genesis(amounts, here.hub.id, detail)
    kinds = sorted({a.unit for _, a in amounts})
    ledger.write("connected", {"hub": here.hub.id, "kinds": kinds}, lines, now=now)


def runs_elsewhere(engine: str) -> bool:
    """Whether something lives on another engine than this one."""
    alive = Run.objects.filter(state__in=(RunState.PLANNED, RunState.RUNNING))
    return alive.exclude(engine=engine).exists()


def yearly(here: ThisHub) -> list[tuple[str, Amount]]:
    """A year of what is connected, shared out to the pools: (pool, amount)."""
    pools = sorted(here.shares)
    capacity = []
    for kind, unit in sorted(here.units.items()):
        parts = share_out(here.yearly_capacity(kind), [here.shares[p] for p in pools])
        capacity += [(pool, Amount(unit, part)) for pool, part in zip(pools, parts, strict=True)]
    return capacity


def _operator(here: ThisHub, *, now: int) -> None:
    if RoleGrant.objects.filter(role=Role.OPERATOR).exists():
        return
    name = str(here.hub.operator.best or here.hub.id)[:200]
    organisation = people.create_organisation(name, "operator", here.hub.jurisdiction[:2], now=now)
    person = people.create_person("Operator", f"operator@{here.hub.id}.invalid", now=now, login=_login())
    people.join(person, organisation, now=now)
    people.grant_role(person, Role.OPERATOR, organisation, now=now)


def _login() -> str:
    return psutil.Process().username()[:64]
