"""Who works on a project: the investigator makes an invitation link and removes members; `/join/<token>` is the link.

Looking at the link changes nothing, so that a preview can't use it up.
"""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST

from fabrique.apps.access import members
from fabrique.apps.access.relations import relations
from fabrique.apps.asking import asker, person_for
from fabrique.apps.jobs.services import find_project
from fabrique.apps.now import now_ms
from fabrique.apps.people import rights
from fabrique.apps.people.models import Person
from fabrique.core.errors import FabriqueError


@sensitive_variables("token", "link")
@require_POST
def invite(request: HttpRequest, code: str) -> HttpResponse:
    """A new invitation link for a project, on the one page that ever shows it."""
    now, found = now_ms(), find_project(code)
    person = person_for(request, "project.manage", now=now, project=found)
    token = members.invite(found, person, now=now)
    link = request.build_absolute_uri(reverse("join", args=[token]))
    context = {"project": found, "link": link, "until": now + members.INVITATION_LIFE_MS}
    return render(request, "portal-desk/invitation.html", context)


@require_POST
def remove(request: HttpRequest, code: str) -> HttpResponse:
    """A person is a member no longer, once the investigator has confirmed it."""
    now, found = now_ms(), find_project(code)
    person = person_for(request, "project.manage", now=now, project=found)
    if request.POST.get("confirm") != "yes":
        messages.error(request, _("Nobody was removed: tick the box to confirm."))
        return redirect("project", found.code)
    leaving = _person(request.POST.get("person", ""), found.code)
    members.remove_member(found, leaving, person, now=now)
    messages.success(request, _("%(name)s is no longer a member.") % {"name": leaving.name})
    return redirect("project", found.code)


@never_cache
@sensitive_variables("token")
@require_http_methods(["GET", "HEAD", "POST"])
def join(request: HttpRequest, token: str) -> HttpResponse:
    """GET says who invites to what and shows the button; POST joins, once. Raises `invitation.used`."""
    now = now_ms()
    if request.method == "POST":
        member = members.accept(token, person_for(request, "project.join", now=now), now=now)
        messages.success(request, _("You are a member of this project."))
        return redirect("project", member.project.code)
    invitation, person = members.invited_to(token, now=now), asker(request)
    belongs = rights.MEMBER in relations(person, now=now, project=invitation.project)
    return render(request, "portal-desk/join.html", {"invitation": invitation, "person": person, "belongs": belongs})


def _person(key: str, project: str) -> Person:
    try:
        found = Person.objects.filter(pk=UUID(key)).first()
    except ValueError:
        found = None
    if found is None:
        raise FabriqueError("member.missing", project=project)
    return found
