"""Awards become accounts and limits in Slurm: what is wanted, what stands there, and making one of the other."""

from __future__ import annotations

import itertools
import logging
import pwd
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fabrique.apps.people import rights
from fabrique.apps.people.models import Person
from fabrique.apps.provision import services
from fabrique.apps.provision.services import Names, Taken
from fabrique.apps.this_hub import ThisHub
from fabrique.core import drift, provision
from fabrique.core.errors import FabriqueError
from fabrique.core.naming import Naming
from fabrique.core.provision import Found, Member, Site, Wanted
from fabrique.core.provision_plan import Change, Left, Plan, changes
from fabrique.core.units import Unit, time_unit
from fabrique.definitions.cluster import Cluster
from fabrique.engines.slurm.administer import Accounting, Refused
from fabrique.engines.slurm.commands import CommandTransport
from fabrique.engines.slurm.files import door
from fabrique.operate import out_of_service

log = logging.getLogger("fabrique.loop")

RIGHT = "cluster.provision"
Done = Callable[[int, int], None]
AT_ONCE = 8  # changes in one turn of the loop: about three seconds
ROUNDS = 3  # what is read after a change may ask for another: a first seat, then a default account


def _silent(_made: int, _of: int) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Prepared:
    """One look: what is wanted, what was found, and what turns one into the other. Nothing was written anywhere."""

    cluster: Cluster
    names: Names
    tres: Mapping[Unit, str]
    wanted: Wanted
    found: Found
    plan: Plan
    had: frozenset[str]

    @property
    def outside(self) -> list[str]:
        return [item.name for item in self.plan.left if item.why == "outside"]

    @property
    def steps(self) -> list[drift.Step]:
        return drift.steps(self.plan.changes, self.found)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an apply did: the fields it set, what was refused, and what was left as it is."""

    steps: list[drift.Step]
    refused: list[Refused]
    left: tuple[Left, ...]
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Drifted:
    since_ms: int
    differences: list[drift.Drift]
    left: tuple[Left, ...]


def cluster_of(here: ThisHub) -> Cluster:
    """Raises `provision.none` for a hub that runs on no Slurm."""
    if here.deployment.cluster is None:
        raise FabriqueError("provision.none")
    return here.deployment.cluster


def accounting_of(cluster: Cluster) -> Accounting:
    return Accounting(f"{cluster.bin}/sacctmgr", cluster.conf, cluster.cluster)


def prepare(here: ThisHub, person: Person, *, now: int) -> Prepared:
    """Raises `right.denied`, `provision.none`, `provision.rule`, `engine.unavailable`, `engine.garbage`."""
    rights.require(person, RIGHT, now=now)
    prepared = _look(here, now=now)
    left = (*prepared.plan.left, *_unknown_partitions(prepared.cluster))
    return replace(prepared, plan=replace(prepared.plan, left=left))


def apply(here: ThisHub, person: Person, *, now: int, done: Done = _silent) -> Outcome:
    """Makes the plan, reads back, and keeps what is to stand. `done` is told how many changes of how many were made.

    What Slurm refuses stops nothing else and comes back by name. Raises as `prepare` does; then nothing changed.
    """
    prepared = prepare(here, person, now=now)
    _keep(here, prepared, now=now)
    return _apply(prepared, prepared.plan.changes, str(person.id), now=now, done=done)


def look_for_drift(here: ThisHub, person: Person, *, now: int) -> Drifted | None:
    """What was changed by hand since the last apply; None where nothing was applied yet."""
    prepared = prepare(here, person, now=now)
    last = services.last_applied(prepared.cluster.engine)
    if last is None:
        return None
    differences, left = drift.drift(last.wanted, prepared.wanted, prepared.found, last.had)
    partitions = tuple(item for item in prepared.plan.left if item.why == "partition")
    return Drifted(last.at_ms, differences, (*left, *partitions))


def follow(here: ThisHub, *, now: int) -> Outcome | None:
    """For the loop: what awards and members alone changed since the last apply; None: nothing, or no apply yet.

    What somebody changed by hand stays until an operator applies. Slurm is asked only where there is something to do,
    and for so much at a time as a turn bears: the rest, and what was refused, comes with the next one.
    Raises `engine.unavailable`, `engine.garbage`.
    """
    cluster = cluster_of(here)
    last = services.last_applied(cluster.engine)
    if last is None:
        return None
    names = services.names(cluster.engine, _rules(cluster), Taken(), units=last.tres, now=now)
    if _desired(here, names, last.tres, now=now) == last.wanted:
        return None
    prepared = _look(here, now=now)
    by_hand = changes(last.wanted, prepared.found, last.had).changes
    ours = tuple(change for change in prepared.plan.changes if change not in by_hand)
    _keep(here, prepared, now=now)
    steps, refused = _make(prepared, ours[:AT_ONCE], _silent, rounds=1)
    whole = len(ours) <= AT_ONCE and not refused
    kept = prepared.wanted, prepared.tres, steps, len(refused), prepared.outside
    if whole or steps:
        services.remember(cluster.engine, "loop", *kept, now=now, whole=whole)
    return Outcome(steps, refused, prepared.plan.left, prepared.wanted)


# --- steps ------------------------------------------------------------------------------------------------------------


def _look(here: ThisHub, *, now: int) -> Prepared:
    cluster = cluster_of(here)
    accounting = accounting_of(cluster)
    found, tres = accounting.read(), _tres(cluster, accounting.tracked())
    below = {a.name for a in found.accounts.values() if a.parent == cluster.parent}
    taken = Taken(frozenset(found.accounts), frozenset(found.qos), below)
    names = services.names(cluster.engine, _rules(cluster), taken, units=tres, now=now)
    wanted = _desired(here, names, tres, now=now)
    last = services.last_applied(cluster.engine)
    had = frozenset[str]() if last is None else last.had
    return Prepared(cluster, names, tres, wanted, found, changes(wanted, found, had), had)


def _unknown_partitions(cluster: Cluster) -> list[Left]:
    """None where the controller does not say: accounts are the accounting's."""
    try:
        nodes = CommandTransport(Path(cluster.conf), Path(cluster.bin)).nodes()
    except FabriqueError as error:
        log.warning("the partitions of %s are not known now: %s", cluster.engine, error)
        return []
    found = out_of_service.unknown(cluster, nodes)
    return [Left("partition", name, where) for name, where in sorted(found.items())]


def _keep(here: ThisHub, prepared: Prepared, *, now: int) -> None:
    """The names, here and at the door, before Slurm has them: work in a new account is held from its first job on."""
    services.keep(prepared.cluster.engine, prepared.names, now=now)
    try:
        door.introduce(here.home / door.STATE, services.accounts_of(prepared.cluster.engine))
    except (OSError, ValueError) as error:  # the loop renews it
        log.warning("the door at %s does not know new accounts yet: %s", prepared.cluster.engine, error)


def _apply(prepared: Prepared, todo: tuple[Change, ...], actor: str, *, now: int, done: Done) -> Outcome:
    engine = prepared.cluster.engine
    steps, refused = _make(prepared, todo, done, ROUNDS)
    kept = prepared.wanted, prepared.tres, steps, len(refused), prepared.outside
    services.remember(engine, actor, *kept, now=now)
    return Outcome(steps, refused, prepared.plan.left, prepared.wanted)


def _make(
    prepared: Prepared, todo: tuple[Change, ...], done: Done, rounds: int
) -> tuple[list[drift.Step], list[Refused]]:
    """The fields that were set, and what is still refused after what was read back."""
    accounting, found = accounting_of(prepared.cluster), prepared.found
    steps: list[drift.Step] = []
    refused: list[Refused] = []
    made = 0
    for _ in range(rounds):
        if not todo:
            break
        steps += drift.steps(todo, found)
        count = itertools.count(made + 1)
        made += len(todo)
        refused = accounting.make(todo, lambda _change, count=count, of=made: done(next(count), of))  # type: ignore[misc]
        if any(not r.tried for r in refused):
            break  # it stopped answering: nothing can be read back either
        found = accounting.read()
        after = changes(prepared.wanted, found, prepared.had).changes
        refused = [r for r in refused if r.change in after]
        todo = () if after == todo else after
    undone = set(drift.steps([r.change for r in refused], found))
    return [s for s in dict.fromkeys(steps) if s not in undone], refused


def _desired(here: ThisHub, names: Names, tres: Mapping[Unit, str], *, now: int) -> Wanted:
    cluster, found = cluster_of(here), services.allocations(names)
    site = Site(cluster.cluster, cluster.parent, names.pools, tres)
    members = services.members(now=now)
    own = _own_login(here) if cluster.run_as == "own" else None
    if own is not None:  # who submits for everybody needs a seat everywhere
        members = {a.project: [*members.get(a.project, ()), Member("the hub", own)] for a in found}
    return provision.desired(found, members, site, now)


def _own_login(here: ThisHub) -> str | None:
    """Of the user that the hub runs as: whose its home is. Root submits for nobody."""
    uid = here.home.stat().st_uid
    try:
        return pwd.getpwuid(uid).pw_name if uid else None
    except KeyError:
        return None


def _rules(cluster: Cluster) -> Naming:
    return Naming(cluster.accounts, cluster.qos, cluster.parent)


def _tres(cluster: Cluster, tracked: frozenset[str]) -> dict[Unit, str]:
    """What Slurm calls each unit of time: by type where it counts types, else all devices together."""
    found: dict[Unit, str] = {}
    for p in cluster.partitions:
        if p.kind and p.gres:
            typed = f"gres/{p.gres}"
            found[time_unit("accelerator", p.kind)] = typed if typed in tracked else "gres/gpu"
        if p.core_kind:
            found[time_unit("core", p.core_kind)] = "cpu"
    return found
