"""How a person stands to a project or an application: what the table of rights needs to know."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Q

from fabrique.apps.access.models import Application, Project, ProjectMember
from fabrique.apps.people import rights
from fabrique.apps.people.models import Membership, Person


def relations(
    person: Person | None, *, now: int, project: Project | None = None, application: Application | None = None
) -> frozenset[str]:
    """`applicant`, `member`, `pi`, `same-organisation` (as the applicant): those that hold at `now`."""
    if person is None:
        return frozenset()
    found = set()
    if application is not None:
        project = project or application.project
        if application.applicant_id == person.id:
            found.add(rights.APPLICANT)
        elif _organisations(person, now) & _organisations(application.applicant, now):
            found.add(rights.SAME_ORGANISATION)
    if project is not None:
        current = Q(until_ms__isnull=True) | Q(until_ms__gt=now)
        for member in ProjectMember.objects.filter(current, project=project, person=person, since_ms__lte=now):
            found |= {rights.MEMBER, rights.PI} if member.role == "pi" else {rights.MEMBER}
    return frozenset(found)


def _organisations(person: Person, now: int) -> set[UUID]:
    current = Q(until_ms__isnull=True) | Q(until_ms__gt=now)
    held = Membership.objects.filter(current, person=person, since_ms__lte=now)
    return set(held.values_list("organisation_id", flat=True))
