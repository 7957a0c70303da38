"""`/operate/roles`: who holds which role; who may give one says to whom, sees who that is, and confirms it.

An address alone proves nobody: what is shown before the role is given is who stands behind it.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from fabrique.apps import roles as services
from fabrique.apps.access.forms import countries
from fabrique.apps.asking import asker, may, person_for, require
from fabrique.apps.now import now_ms
from fabrique.apps.people import services as people
from fabrique.apps.people.models import Organisation, Person, RoleGrant
from fabrique.core.access import AUDIENCES
from fabrique.core.errors import FabriqueError
from fabrique.portal.speaker import current


@dataclass(frozen=True, slots=True)
class Asked:
    """A role that somebody is about to be given; `organisation` is the person's own, where they named one."""

    person: Person
    role: str
    organisation: Organisation | None
    named: services.Named


def card(person: Person | None, now: int) -> dict[str, object]:
    """What the card needs: who holds what, which of it this person may end, what they may give."""
    return {
        "held": [(g, services.may_end(person, g, now=now)) for g in services.held(now=now)],
        "may_appoint": services.may_appoint(person, now=now),
        "kinds": AUDIENCES,
        "countries": countries(current().language),
    }


@require_GET
def roles(request: HttpRequest) -> HttpResponse:
    """The card alone, for those who don't see the machine room."""
    person, now = asker(request), now_ms()
    require(person, "role.view", now=now)
    return render(request, "portal-desk/roles.html", {"roles": card(person, now)})


@require_POST
def grant(request: HttpRequest) -> HttpResponse:
    """Shows who is meant; once that is confirmed, gives the role."""
    now = now_ms()
    by = person_for(request, "role.view", now=now)
    asked = _asked(request, now)
    services.check(by, asked.person, asked.role, now=now)
    if request.POST.get("confirm") != "yes":
        return render(request, "portal-desk/roles.html", {"roles": card(by, now), "asked": asked})
    made = services.grant(by, asked.person, asked.role, asked.named, now=now)
    word = current().word("role", made.role)
    said = _("%(name)s holds the role for %(organisation)s: %(role)s.")
    messages.success(request, said % {"name": made.person, "organisation": made.organisation, "role": word})
    return redirect("roles")


@require_POST
def end(request: HttpRequest) -> HttpResponse:
    """A role ends, once that is confirmed."""
    now = now_ms()
    by = person_for(request, "role.view", now=now)
    found = _grant(request.POST.get("grant", ""))
    if request.POST.get("confirm") != "yes":
        messages.error(request, _("Nothing was changed: tick the box to confirm."))
        return redirect("roles")
    services.end(by, found.person, found.role, now=now)
    word = current().word("role", found.role)
    messages.success(request, _("%(name)s no longer holds the role: %(role)s.") % {"name": found.person, "role": word})
    return redirect("roles" if may(by, "role.view", now=now).allowed else "projects")


def _asked(request: HttpRequest, now: int) -> Asked:
    """Raises `person.missing` where nobody has this key or address."""
    given = {key: request.POST.get(key, "")[:400].strip() for key in ("email", "role", "name", "kind", "country")}
    person = people.find_person(given["email"])
    named = services.Named(given["name"], given["kind"], given["country"])
    return Asked(person, given["role"], people.organisation_of(person, now=now), named)


def _grant(key: str) -> RoleGrant:
    digits = key.isascii() and key.isdigit() and len(key) <= 18
    found = RoleGrant.objects.select_related("person").filter(pk=int(key)).first() if digits else None
    if found is None:
        raise FabriqueError("request.broken", field="grant")
    return found
