"""Names are given and kept, what was applied is remembered; both in one transaction, before and after the engine."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.db.models import Sum

from fabrique.apps.access.models import Allocation, AllocationState, ProjectMember
from fabrique.apps.audit import services as audit
from fabrique.apps.ledger.models import AccountBalance, Budget, Posting
from fabrique.apps.provision.models import Applied, GivenName, NameSort, Place
from fabrique.apps.this_hub import this_hub
from fabrique.core import drift, provision
from fabrique.core.booking import Exhaustion, Policy, account
from fabrique.core.naming import Naming, choose, clean, fill
from fabrique.core.provision import Grant, Member, Wanted
from fabrique.core.units import Unit

GIVEN_BACK = ("refund", "frugality-rebate")  # counted by Slurm, and back in the budget
SEVERAL = 500  # accounts asked for at once


@dataclass(frozen=True, slots=True)
class Taken:
    """Names that stand on the engine and may be anybody's. `below`: those right below the top account, which a site may
    have made for our pools.
    """

    accounts: Collection[str] = ()
    qos: Collection[str] = ()
    below: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Names:
    """Of each allocation its account and QoS, of each pool its account."""

    places: Mapping[UUID, tuple[str, str]]
    pools: Mapping[str, str]


def names(engine: str, rules: Naming, taken: Taken, *, units: Collection[Unit], now: int) -> Names:
    """Those given, and for what has none yet those that the rules give; nothing is written.

    An allocation that has no time on the engine (`units`), or has not begun, or ended before it was ever given a
    name, gets none; one that has no QoS gets it once there is a rule. Raises `provision.rule`.
    """
    found = GivenName.objects.filter(engine=engine)
    accounts = {n.name: _owner(n) for n in found if n.sort == NameSort.ACCOUNT}
    budgets = {n.name: _owner(n) for n in found if n.sort == NameSort.QOS}
    pools = {n.pool: n.name for n in found if n.sort == NameSort.ACCOUNT and n.project_id is None}
    places = {
        p.allocation_id: (p.account.name, p.qos.name if p.qos else "")
        for p in Place.objects.filter(engine=engine).select_related("account", "qos")
    }
    accounts.setdefault(rules.parent, "the top account")
    for a in _begun(units, now=now):
        if a.pool not in pools:
            base = clean(f"{rules.parent}-{a.pool}", rules.longest)
            others = set(taken.accounts) - set(taken.below)
            pools[a.pool] = _take(base, f"pool:{a.pool}", accounts, others, rules)
        mine, qos = places.get(a.id, ("", ""))
        if mine and (qos or not rules.qos):
            continue
        words = {
            "project": a.project.code,
            "pool": a.pool,
            "mode": a.mode.replace("_", "-"),
            "organisation": a.project.organisation.name,
        }
        owner = f"project:{a.project_id}"
        mine = mine or _take(fill(rules.account, words, rules.longest), owner, accounts, taken.accounts, rules)
        qos = _take(fill(rules.qos, words, rules.longest), owner, budgets, taken.qos, rules) if rules.qos else ""
        places[a.id] = (mine, qos)
    return Names(places, pools)


@transaction.atomic
def keep(engine: str, given: Names, *, now: int) -> None:
    """Writes down the names that were not yet given: before the engine hears of them. What is there stays."""
    for pool, name in given.pools.items():
        GivenName.objects.get_or_create(
            engine=engine, sort=NameSort.ACCOUNT, name=name, defaults={"pool": pool, "given_ms": now}
        )
    there = {p.allocation_id: p for p in Place.objects.filter(engine=engine)}
    for a in Allocation.objects.filter(id__in=set(given.places)):
        mine, qos = given.places[a.id]
        place = there.get(a.id)
        if place is None:
            place = Place(engine=engine, allocation=a, account=_given(engine, NameSort.ACCOUNT, mine, a, now))
        if qos and place.qos_id is None:
            place.qos = _given(engine, NameSort.QOS, qos, a, now)
        elif place.pk is not None:
            continue
        place.save()


def _given(engine: str, sort: NameSort, name: str, a: Allocation, now: int) -> GivenName:
    made = {"project_id": a.project_id, "given_ms": now}
    return GivenName.objects.get_or_create(engine=engine, sort=sort, name=name, defaults=made)[0]


def place_of(engine: str, allocation: UUID) -> tuple[str, str | None] | None:
    """The account and QoS of an allocation on the engine; None until names were given."""
    found = Place.objects.filter(engine=engine, allocation=allocation).select_related("account", "qos").first()
    return None if found is None else (found.account.name, found.qos.name if found.qos else None)


def sbatch_line(allocation: UUID) -> str:
    """The line by which a script is paid from it at the hub's cluster; "" without one, or until names were given."""
    cluster = this_hub().deployment.cluster
    place = place_of(cluster.engine, allocation) if cluster is not None else None
    if place is None:
        return ""
    account, qos = place
    return f"#SBATCH --account={account}" + (f" --qos={qos}" if qos else "")


def accounts_of(engine: str) -> dict[str, UUID]:
    """Every account of a project on the engine, and whose it is."""
    rows = GivenName.objects.filter(engine=engine, sort=NameSort.ACCOUNT, project__isnull=False)
    return {n.name: n.project_id for n in rows if n.project_id is not None}


# --- what the plan is made of -----------------------------------------------------------------------------------------


def allocations(given: Names) -> list[provision.Allocation]:
    """Those that have a place, with what the ledger says of their time."""
    rows = list(Allocation.objects.filter(id__in=given.places).select_related("project"))
    grants = _grants([str(a.id) for a in rows])
    return [
        provision.Allocation(
            id=str(a.id),
            project=a.project.code,
            pool=a.pool,
            mode=a.mode,
            starts_ms=a.starts_ms,
            ends_ms=a.ends_ms,
            open=a.state == AllocationState.OPEN,
            grants=grants[str(a.id)],
            account=given.places[a.id][0],
            qos=given.places[a.id][1],
        )
        for a in rows
    ]


def members(*, now: int) -> dict[str, list[Member]]:
    """The current members of each project, by its code."""
    found: dict[str, list[Member]] = {}
    rows = ProjectMember.objects.filter(since_ms__lte=now, person__is_active=True).select_related("person", "project")
    for m in rows.order_by("id"):
        if m.until_ms is None or now < m.until_ms:
            found.setdefault(m.project.code, []).append(Member(str(m.person_id), m.person.login))
    return found


def _grants(ids: list[str]) -> dict[str, dict[Unit, Grant]]:
    """Each allocation's budgets: three questions to the ledger for every few hundred of them."""
    made: dict[str, dict[Unit, Grant]] = {i: {} for i in ids}
    for start in range(0, len(ids), SEVERAL):
        some = ids[start : start + SEVERAL]
        spent = [account(i, bucket) for i in some for bucket in ("used", "lost")]
        asked = [*(account(i, "granted") for i in some), *spent]
        values = {(row.account, row.unit): row.value for row in AccountBalance.objects.filter(account__in=asked)}
        back = Posting.objects.filter(account__in=spent, what__in=GIVEN_BACK).values("account", "unit")
        returned = {(row["account"], row["unit"]): -row["back"] for row in back.annotate(back=Sum("amount")).order_by()}
        for b in Budget.objects.filter(allocation__in=some):
            used, lost = (account(b.allocation, bucket) for bucket in ("used", "lost"))
            made[b.allocation][Unit(b.unit)] = Grant(
                granted=-values.get((account(b.allocation, "granted"), b.unit), 0),
                used=values.get((used, b.unit), 0) + values.get((lost, b.unit), 0),
                back=int(returned.get((used, b.unit), 0) + returned.get((lost, b.unit), 0)),
                policy=Policy(Exhaustion(b.exhaustion), b.margin_permille),
            )
    return made


def _begun(units: Collection[Unit], *, now: int) -> Iterable[Allocation]:
    """What is open and has begun, with a budget in `units`; the oldest first, which keeps the plain name."""
    here = Budget.objects.filter(unit__in=units).values_list("allocation", flat=True)
    known = set(here)
    rows = Allocation.objects.filter(state=AllocationState.OPEN, starts_ms__lte=now, ends_ms__gt=now)
    ordered = rows.select_related("project__organisation").order_by("starts_ms", "id")
    return [a for a in ordered if str(a.id) in known]


def _owner(given: GivenName) -> str:
    return f"pool:{given.pool}" if given.project_id is None else f"project:{given.project_id}"


def _take(base: str, owner: str, given: dict[str, str], taken: Collection[str], rules: Naming) -> str:
    name = choose(base, owner, given, taken, rules.longest)
    given[name] = owner
    return name


# --- what was applied -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Last:
    """`tres`: what the engine called each unit of time then. `had`: the accounts that stood there as the hub's own."""

    wanted: Wanted
    tres: Mapping[Unit, str]
    had: frozenset[str]
    at_ms: int


@transaction.atomic
def remember(
    engine: str,
    actor: str,
    wanted: Wanted,
    tres: Mapping[Unit, str],
    steps: Sequence[drift.Step],
    refused: int,
    outside: Collection[str] = (),
    *,
    now: int,
    whole: bool = True,
) -> None:
    """Leaves a record of each field that was set, and, where that was the `whole` of it, keeps what is to stand.

    `outside`: names among them that are somebody else's accounts, and were left to them.
    """
    if whole:
        told = {**drift.as_json(wanted), "outside": sorted(outside)}
        kept = {"wanted": told, "tres": dict(tres), "refused": refused}
        Applied.objects.create(engine=engine, at_ms=now, actor=actor, **kept)
    fields = [[s.sort, s.name, s.field, s.before, s.after] for s in steps]
    detail = {"whole": whole, "refused": refused, "steps": fields}
    audit.record(actor, "cluster.apply", f"engine:{engine}", now=now, detail=detail)


def last_applied(engine: str) -> Last | None:
    """None: nothing was applied yet."""
    row = Applied.objects.filter(engine=engine).first()
    if row is None:
        return None
    wanted = drift.from_json(row.wanted)
    had = frozenset({*wanted.frames, *wanted.accounts}.difference(row.wanted.get("outside", ())))
    return Last(wanted, {Unit(u): name for u, name in row.tres.items()}, had, row.at_ms)
