"""Persons, organisations, roles, sign-in links: made and changed here alone."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

from django.db import transaction

from fabrique.apps.people.models import Membership, Organisation, Person, Role, RoleGrant, SignInLink
from fabrique.core.errors import FabriqueError
from fabrique.core.naming import login_of

LINK_LIFE_MS: Final = 24 * 3_600_000


def create_person(name: str, email: str, *, now: int, language: str = "", login: str = "") -> Person:
    """A person without a password: they sign in by a link until they choose one."""
    person = Person(name=name, email=email.strip().lower(), language=language, login=login, created_ms=now)
    person.set_unusable_password()
    person.save()
    return person


def find_person(email: str) -> Person:
    """Raises `person.missing`."""
    person = Person.objects.filter(email__iexact=email.strip(), is_active=True).first()
    if person is None:
        raise FabriqueError("person.missing", email=email[:120])
    return person


@transaction.atomic
def set_login(person: Person, login: str) -> None:
    """The account of this person on the hub's machines, which is nobody else's; "" takes it away.

    Raises `person.login` for what is no login, and for another person's. Whoever calls has the right to say so: a login
    is the right to run jobs under it.
    """
    name = login.strip()
    if name and (login_of(name) != name or Person.objects.filter(login=name).exclude(pk=person.pk).exists()):
        raise FabriqueError("person.login", login=name[:64])
    person.login = name
    person.save(update_fields=["login"])


def create_organisation(name: str, kind: str, country: str, subdivision: str = "", *, now: int) -> Organisation:
    return Organisation.objects.create(
        name=name.strip(), kind=kind, country=country.upper(), subdivision=subdivision.upper(), created_ms=now
    )


@transaction.atomic
def join(person: Person, organisation: Organisation, *, now: int) -> None:
    """The person's organisation from `now` on; an earlier one ends."""
    current = Membership.objects.filter(person=person, until_ms__isnull=True)
    if current.filter(organisation=organisation).exists():
        return
    current.update(until_ms=now)
    Membership.objects.create(person=person, organisation=organisation, since_ms=now)


def organisation_of(person: Person, *, now: int) -> Organisation | None:
    found = person.memberships.filter(since_ms__lte=now, until_ms__isnull=True).select_related("organisation").first()
    return found.organisation if found else None


def grant_role(
    person: Person, role: str, organisation: Organisation, *, now: int, by: Person | None = None
) -> RoleGrant:
    return RoleGrant.objects.create(
        person=person, role=Role(role), organisation=organisation, since_ms=now, granted_by=by.id if by else None
    )


def holders(role: str, *, now: int) -> list[RoleGrant]:
    """The grants of a role that hold at `now`, of people who still have an account; the oldest first."""
    grants = RoleGrant.objects.filter(role=role, since_ms__lte=now, person__is_active=True)
    found = grants.select_related("person", "organisation").order_by("since_ms", "id")
    return [g for g in found if g.until_ms is None or now < g.until_ms]


@transaction.atomic
def make_sign_in_link(person: Person, *, now: int, life_ms: int = LINK_LIFE_MS) -> str:
    """The token of a one-time link; only its hash is kept. An older link that nobody used is void from now on."""
    token = secrets.token_urlsafe(32)
    void_sign_in_links(person)
    SignInLink.objects.create(person=person, token_hash=_hash(token), created_ms=now, expires_ms=now + life_ms)
    return token


def void_sign_in_links(person: Person) -> None:
    """No link that is still unused signs the person in any more."""
    SignInLink.objects.filter(person=person, used_ms__isnull=True).delete()


@transaction.atomic
def use_sign_in_link(token: str, *, now: int) -> Person:
    """The person the token signs in, once. Raises `sign-in.link-used` for any other token."""
    link = SignInLink.objects.filter(token_hash=_hash(token)).select_related("person").first()
    if link is None or link.expires_ms <= now or not link.person.is_active:
        raise FabriqueError("sign-in.link-used")
    if SignInLink.objects.filter(pk=link.pk, used_ms__isnull=True).update(used_ms=now) != 1:
        raise FabriqueError("sign-in.link-used")
    return link.person


@transaction.atomic
def erase(person: Person) -> None:
    """Forgets the name and address; the pseudonymous id stays in the books."""
    person.name, person.email, person.login, person.voperson_id, person.is_active = "", None, "", None, False
    person.set_unusable_password()
    person.save()
    SignInLink.objects.filter(person=person).delete()


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
