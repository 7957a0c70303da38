"""What the hub knows when it judges an application: connected kinds, what its pools still have, the law."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from fabrique.apps.access.models import Allocation, Award
from fabrique.apps.ledger import services as ledger
from fabrique.apps.ledger.models import Posting
from fabrique.apps.people.models import Organisation
from fabrique.apps.this_hub import this_hub
from fabrique.core import sovereignty
from fabrique.core.access import Mode, commercial_cap
from fabrique.core.booking import Rate, find_rate, pool_account
from fabrique.core.eligibility import Answer, Facts
from fabrique.core.errors import FabriqueError
from fabrique.core.form import Value
from fabrique.core.units import Unit


def gather(mode: Mode, values: Mapping[str, Value], organisation: Organisation | None, *, now: int) -> Facts:
    """Everything the rules of `mode` may ask at `now`."""
    here = this_hub()
    pool = here.pool_for(mode)
    available = {k: ledger.balance(pool_account(pool, "unallocated"), u) for k, u in here.units.items()}
    country = values.get("country")
    return Facts(
        kinds={k: here.devices[k] for k in here.units},
        available=available,
        commercial_left=_commercial_left(pool) if mode.commercial else None,
        data_rule=lambda data_class: data_answer(data_class, str(country) if country else None, now=now),
        earlier_modes=_earlier(organisation),
        open_modes=_open(organisation, now),
    )


def unit_asked(values: Mapping[str, Value]) -> Unit:
    """The unit of the kind that the form asks for. Raises `award.kind-not-connected`."""
    kind = str(values.get("kind", ""))
    units = this_hub().units
    if kind not in units:
        raise FabriqueError("award.kind-not-connected", kind=kind, connected=sorted(units))
    return units[kind]


def rate_of(unit: Unit, *, now: int) -> Rate:
    return find_rate(ledger.rates(), unit, now)


def data_answer(data_class: str, origin: str | None, *, now: int) -> Answer:
    """Whether data of this class, from the applicant's country, may be worked on at this hub."""
    decision = sovereignty.decide(sovereignty.Data(data_class, origin), this_hub().place(now), now)
    trace = [dict(r.as_json()) for r in decision.trace]
    return Answer("data-class", decision.verdict, decision.ground.reason, {"trace": trace})


def _commercial_left(pool: str) -> dict[str, int] | None:
    """What commercial use may still take of each kind this year: 20 % of the Union's time, less what was awarded.

    None where the pool is not the Union's: the law caps no other. A year begins with the hours that the ledger was
    last given; what came after it is told by the order of its entries, never by a clock.
    """
    here = this_hub()
    if not any(p.id == pool and p.kind == "union" for p in here.hub.pools):
        return None
    year = ledger.last_capacity()
    if year is None:
        return {}
    commercial = Award.objects.filter(application__mode__in=[m.id for m in here.modes if m.commercial], pool=pool)
    awards = {str(pk) for pk in commercial.values_list("id", flat=True)}
    granted = Posting.objects.filter(account=pool_account(pool, "awarded"), what="grant", entry_id__gt=year.seq)
    taken: Counter[str] = Counter()
    for ref, unit, amount in granted.values_list("ref", "unit", "amount"):
        taken[unit] += amount if ref in awards else 0
    share = here.shares.get(pool, 0)
    return {k: max(commercial_cap(here.yearly_capacity(k), share) - taken[u], 0) for k, u in here.units.items()}


def _open(organisation: Organisation | None, now: int) -> frozenset[str]:
    alive = Allocation.objects.filter(project__organisation=organisation, ends_ms__gt=now)
    return frozenset(alive.values_list("mode", flat=True)) if organisation else frozenset()


def _earlier(organisation: Organisation | None) -> frozenset[str] | None:
    if organisation is None:
        return frozenset()
    awards = Award.objects.filter(application__project__organisation=organisation)
    return frozenset(awards.values_list("application__mode", flat=True))
