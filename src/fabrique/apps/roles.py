"""Who holds which role, and who says so: each step is an entry of the ledger and a record, by pseudonymous ids.

The table of rights says who may. Here is what else must hold: one role a person, one role an organisation, and no
role that somebody held is left without anybody.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from fabrique.apps.audit import services as audit
from fabrique.apps.ledger import services as ledger
from fabrique.apps.people import rights
from fabrique.apps.people import services as people
from fabrique.apps.people.models import Organisation, Person, Role, RoleGrant
from fabrique.core.access import AUDIENCES
from fabrique.core.errors import FabriqueError
from fabrique.core.fields import name_error


@dataclass(frozen=True, slots=True)
class Named:
    """An organisation as somebody names it, for a person who has named none; `kind` and `country` for a new one."""

    name: str = ""
    kind: str = ""
    country: str = ""  # ISO 3166-1


def grant(by: Person, person: Person, role: str, named: Named = Named(), *, now: int) -> RoleGrant:
    """`person` holds `role` from `now` on, for their organisation.

    Raises `role.unknown`, `right.denied`, `role.self`, `role.held`, `role.separate`, `role.organisation`,
    `role.belongs`; then nothing has changed.
    """
    with transaction.atomic():
        ledger.lock()  # two who appoint at once do so one after the other
        wanted = check(by, person, role, now=now)
        organisation = _organisation(person, named, now=now)
        _check_separate(organisation, wanted, now=now)
        people.join(person, organisation, now=now)
        made = people.grant_role(person, wanted, organisation, now=now, by=by)
        _keep("grant", made, by, now=now)
    return made


def check(by: Person, person: Person, role: str, *, now: int) -> Role:
    """The role, where `by` may give it to `person`. Raises `role.unknown`, `right.denied`, `role.self`, `role.held`."""
    wanted = _role(role)
    _require_appoint(by, wanted, now=now)
    if by.id == person.id:
        raise FabriqueError("role.self")
    for other in sorted(rights.roles_of(person, now=now)):
        raise FabriqueError("role.held", role=other)
    own = people.organisation_of(person, now=now)
    if own is not None:
        _check_separate(own, wanted, now=now)
    return wanted


def end(by: Person, person: Person, role: str, *, now: int) -> RoleGrant:
    """`person` holds `role` no longer. Raises `role.unknown`, `role.missing`, `right.denied`, `role.last`."""
    with transaction.atomic():
        ledger.lock()
        wanted = _role(role)
        holding = people.holders(wanted, now=now)
        found = next((g for g in holding if g.person_id == person.id), None)
        if found is None:
            if not rights.may(by, "role.view", now=now).allowed:
                raise FabriqueError("right.denied", action="role.end")
            raise FabriqueError("role.missing", role=wanted)
        related = relations(by, wanted, now=now, organisation=found.organisation)
        rights.require(by, "role.end", now=now, relations=related, subject=wanted)
        if len(holding) == 1:
            raise FabriqueError("role.last", role=wanted)
        found.until_ms = now
        found.save(update_fields=["until_ms"])
        _keep("end", found, by, now=now)
    return found


# --- reading ------------------------------------------------------------------------------------------------------


def held(*, now: int) -> list[RoleGrant]:
    """Everybody who holds a role, in the order of the roles."""
    return [g for role in Role for g in people.holders(role, now=now)]


def may_appoint(by: Person | None, *, now: int) -> list[str]:
    """The roles that `by` may give to somebody."""
    return [role for role in Role if by is not None and _may_appoint(by, role, now=now)]


def may_end(by: Person | None, grant: RoleGrant, *, now: int) -> bool:
    """Whether `by` may end it, and somebody else would still hold the role."""
    related = relations(by, grant.role, now=now, organisation=grant.organisation)
    allowed = rights.may(by, "role.end", now=now, relations=related, subject=grant.role).allowed
    return allowed and len(people.holders(grant.role, now=now)) > 1


def relations(
    person: Person | None, role: str, *, now: int, organisation: Organisation | None = None
) -> frozenset[str]:
    """`holder` of the role, and `fellow-holder` where it is for this organisation."""
    own = [g for g in people.holders(role, now=now) if person is not None and g.person_id == person.id]
    fellow = organisation is not None and any(_same(g.organisation, organisation) for g in own)
    return frozenset(name for name, holds in ((rights.HOLDER, bool(own)), (rights.FELLOW_HOLDER, fellow)) if holds)


# --- steps --------------------------------------------------------------------------------------------------------


def _role(text: str) -> Role:
    if text not in Role.values:
        raise FabriqueError("role.unknown", role=text[:40], known=list(Role.values))
    return Role(text)


def _may_appoint(by: Person, role: str, *, now: int) -> bool:
    if not people.holders(role, now=now):
        return rights.may(by, "role.begin", now=now).allowed
    return rights.may(by, "role.appoint", now=now, relations=relations(by, role, now=now), subject=role).allowed


def _require_appoint(by: Person, role: str, *, now: int) -> None:
    if people.holders(role, now=now):
        rights.require(by, "role.appoint", now=now, relations=relations(by, role, now=now), subject=role)
    else:
        rights.require(by, "role.begin", now=now)


def _organisation(person: Person, named: Named, *, now: int) -> Organisation:
    """The person's own; for one who has none, that of this name, else a new one."""
    own, name = people.organisation_of(person, now=now), " ".join(named.name.split())
    if own is not None:
        if name and not _alike(own.name, name):
            raise FabriqueError("role.belongs", organisation=own.name)
        return own
    if not name or name_error("name", name, 200):
        raise FabriqueError("role.organisation")
    for known in Organisation.objects.order_by("created_ms", "id"):
        if _alike(known.name, name):
            return known
    country = named.country.strip().upper()
    if named.kind not in AUDIENCES or not (len(country) == 2 and country.isascii() and country.isalpha()):
        raise FabriqueError("role.organisation", kinds=list(AUDIENCES))
    return people.create_organisation(name, named.kind, country, now=now)


def _check_separate(organisation: Organisation, role: str, *, now: int) -> None:
    """One organisation, one role; two of one name are taken for one: anybody may type a name."""
    for other in held(now=now):
        if other.role != role and _same(other.organisation, organisation):
            raise FabriqueError("role.separate", organisation=organisation.name, role=other.role)


def _same(left: Organisation, right: Organisation) -> bool:
    return left.pk == right.pk or _alike(left.name, right.name)


def _alike(left: str, right: str) -> bool:
    return " ".join(left.casefold().split()) == " ".join(right.casefold().split())


def _keep(act: str, grant: RoleGrant, by: Person, *, now: int) -> None:
    cause = {
        "act": act,
        "role": str(grant.role),
        "person": str(grant.person_id),
        "organisation": str(grant.organisation_id),
        "by": str(by.id),
    }
    entry = ledger.note("role", cause, now=now)
    detail = {**cause, "entry": entry.seq}
    audit.record(str(by.id), f"role.{act}", f"person:{grant.person_id}", now=now, detail=detail)
