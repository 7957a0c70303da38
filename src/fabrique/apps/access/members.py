"""Who belongs to a project: invitations by a link, joining, leaving. Owns the transactions.

Addresses of people are not verified, so nobody is made a member by an address: whoever holds the link joins, once.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from fabrique.apps.access.models import Invitation, Project, ProjectMember
from fabrique.apps.access.relations import relations
from fabrique.apps.audit import services as audit
from fabrique.apps.people import rights
from fabrique.apps.people.models import Person
from fabrique.core.errors import FabriqueError

INVITATION_LIFE_MS: Final = 7 * 86_400_000


@sensitive_variables("token")
@transaction.atomic
def invite(project: Project, by: Person, *, now: int) -> str:
    """The token of an invitation for [now, now + `INVITATION_LIFE_MS`); its hash is kept. Raises `right.denied`."""
    _require_manage(project, by, now=now)
    token = secrets.token_urlsafe(32)
    expires = now + INVITATION_LIFE_MS
    made = Invitation.objects.create(
        project=project, token_hash=_hash(token), made_by=by, created_ms=now, expires_ms=expires
    )
    audit.record(str(by.id), "project.invite", f"project:{project.id}", now=now, detail={"invitation": made.pk})
    return token


@sensitive_variables("token")
def invited_to(token: str, *, now: int) -> Invitation:
    """The invitation, still to be used; looking changes nothing. Raises `invitation.used` for any other token.

    It holds while whoever made it may still choose the members.
    """
    found = Invitation.objects.filter(token_hash=_hash(token), used_ms__isnull=True, expires_ms__gt=now)
    invitation = found.select_related("project__organisation", "made_by").first()
    if invitation is None or not _may_manage(invitation.project, invitation.made_by, now=now):
        raise FabriqueError("invitation.used")
    return invitation


@sensitive_variables("token")
@transaction.atomic
def accept(token: str, person: Person, *, now: int) -> ProjectMember:
    """The person joins, and the link is used, also by a person who is a member already. Raises `invitation.used`.

    Whoever was removed after the invitation was made does not come back by it.
    """
    rights.require(person, "project.join", now=now)
    invitation = invited_to(token, now=now)
    project = Project.objects.select_for_update().get(pk=invitation.project_id)  # two links, one person: one membership
    members = ProjectMember.objects.filter(project=project, person=person)
    if members.filter(until_ms__gte=invitation.created_ms).exists():
        raise FabriqueError("invitation.used")
    if Invitation.objects.filter(pk=invitation.pk, used_ms__isnull=True).update(used_ms=now, used_by=person) != 1:
        raise FabriqueError("invitation.used")
    detail = {"invitation": invitation.pk}
    audit.record(str(person.id), "project.join", f"project:{project.id}", now=now, detail=detail)
    member = members.filter(until_ms__isnull=True).first()
    return member or ProjectMember.objects.create(project=project, person=person, role="member", since_ms=now)


@transaction.atomic
def remove_member(project: Project, person: Person, by: Person, *, now: int) -> None:
    """Ends the membership at `now`. Raises `member.missing`, and `member.pi` for the principal investigator."""
    _require_manage(project, by, now=now)
    current = ProjectMember.objects.filter(project=project, person=person, until_ms__isnull=True)
    roles = set(current.values_list("role", flat=True))
    if not roles:
        raise FabriqueError("member.missing", project=project.code)
    if "pi" in roles:
        raise FabriqueError("member.pi", project=project.code)
    current.update(until_ms=now)
    detail = {"person": str(person.id)}
    audit.record(str(by.id), "project.remove-member", f"project:{project.id}", now=now, detail=detail)


def _require_manage(project: Project, by: Person, *, now: int) -> None:
    related = relations(by, project=project, now=now)
    rights.require(by, "project.manage", now=now, relations=related, subject=project.code)


def _may_manage(project: Project, person: Person, *, now: int) -> bool:
    related = relations(person, project=project, now=now)
    return rights.may(person, "project.manage", now=now, relations=related, subject=project.code).allowed


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
