"""Who asks, as a view needs to know it. Rights are asked of `people.rights` alone; here the asker is named."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils.translation import get_language

from fabrique.apps.access.models import Application, Project
from fabrique.apps.access.relations import relations
from fabrique.apps.people import rights
from fabrique.apps.people.models import Person
from fabrique.apps.people.rights import Answer
from fabrique.core.access import Text
from fabrique.core.errors import FabriqueError


def asker(request: HttpRequest) -> Person | None:
    """The person signed in; None for a visitor."""
    user = getattr(request, "user", None)
    return user if isinstance(user, Person) and user.is_active else None


def may(
    person: Person | None,
    action: str,
    *,
    now: int,
    project: Project | None = None,
    application: Application | None = None,
) -> Answer:
    """What the table of rights says, with how the person stands to the project or application."""
    related = relations(person, now=now, project=project, application=application)
    return rights.may(person, action, now=now, relations=related, subject=_subject(project, application))


def require(
    person: Person | None,
    action: str,
    *,
    now: int,
    project: Project | None = None,
    application: Application | None = None,
) -> None:
    """Raises `right.denied`, or `sign-in.needed` for a visitor."""
    related = relations(person, now=now, project=project, application=application)
    rights.require(person, action, now=now, relations=related, subject=_subject(project, application))


def person_for(
    request: HttpRequest,
    action: str,
    *,
    now: int,
    project: Project | None = None,
    application: Application | None = None,
) -> Person:
    """Who asks, once they may: for what no visitor may do. Raises as `require` does."""
    person = asker(request)
    require(person, action, now=now, project=project, application=application)
    if person is None:
        raise FabriqueError("sign-in.needed", action=action)
    return person


def _subject(project: Project | None, application: Application | None) -> str:
    return project.code if project else str(application.id) if application else ""


def said(text: Text) -> str:
    """A text of a definition in the language of the request."""
    language = get_language() or "en"
    return text.said("fr-CA" if language.lower() == "fr-ca" else language)
