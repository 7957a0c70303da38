"""`/operate/rules`: by which rules the hub decides, who proposed and who consented, and what waits for a consent."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from fabrique.apps.asking import asker, may, person_for, require, said
from fabrique.apps.now import now_ms
from fabrique.apps.people import rights
from fabrique.apps.people.models import Person
from fabrique.apps.rules import replays, services
from fabrique.apps.rules.models import Proposal, ProposalState, WhatIf
from fabrique.apps.this_hub import this_hub
from fabrique.core.errors import FabriqueError
from fabrique.definitions import rules as rule_sets
from fabrique.operate.deciding import rules_in_force

SHOWN = 50


@require_GET
def rules(request: HttpRequest) -> HttpResponse:
    """The rules in force, the proposal that waits, and every step before."""
    person, now, here = asker(request), now_ms(), this_hub()
    require(person, "rules.view", now=now)
    waiting = Proposal.objects.filter(state=ProposalState.PROPOSED).select_related("proposed_by", "what_if").first()
    answer = _may_consent(person, waiting, now) if waiting else None
    known = rule_sets.catalogue()
    context = {
        "in_force": rules_in_force(here, now),
        "since": services.in_force(now),
        "coming": Proposal.objects.filter(state=ProposalState.ADOPTED, in_force_ms__gt=now).order_by("in_force_ms"),
        "waiting": waiting,
        "answer": answer,
        "mine": waiting is not None and person is not None and waiting.proposed_by_id == person.id,
        "history": Proposal.objects.select_related("proposed_by", "decided_by")[:SHOWN],
        "sets": [
            (name, said(one.purpose) if one.purpose else "", services.not_live(here, one.rules))
            for name, one in known.items()
        ],
        "may_propose": may(person, "rules.propose", now=now).allowed,
        "timezone": here.timezone,
        "now": now,
    }
    return render(request, "portal-desk/rules.html", context)


@require_POST
def propose(request: HttpRequest) -> HttpResponse:
    """An operator proposes a ready-made rule set, perhaps from a replay's result."""
    now, here = now_ms(), this_hub()
    person = person_for(request, "rules.propose", now=now)
    name = request.POST.get("rules", "")
    found = rule_sets.catalogue().get(name)
    if found is None:
        raise FabriqueError("definition.missing", kind="rules", id=name[:80])
    services.propose(
        here,
        person,
        found.rules,
        note=request.POST.get("note", ""),
        from_ms=_instant(request.POST.get("from", ""), here.timezone),
        what_if=_replay(request.POST.get("what_if", "")),
        now=now,
    )
    messages.success(request, _("Proposed. Nothing changes until a second person consents."))
    return redirect("rules")


@require_POST
def decide(request: HttpRequest, key: UUID) -> HttpResponse:
    """The second person consents or turns it down; the proposer may take it back."""
    now = now_ms()
    verdict = request.POST.get("decision", "")
    if verdict == "withdraw":
        services.withdraw(key, person_for(request, "rules.propose", now=now), now=now)
        messages.success(request, _("The proposal is withdrawn."))
        return redirect("rules")
    person = person_for(request, "rules.consent", now=now)
    if verdict not in ("accept", "refuse"):
        raise FabriqueError("request.broken", field="decision")
    found = services.consent(key, person, verdict == "accept", request.POST.get("note", ""), now=now)
    if found.state == ProposalState.ADOPTED:
        messages.success(request, _("Adopted: the loop decides by these rules from their instant on."))
    else:
        messages.success(request, _("Turned down. Nothing changes."))
    return redirect("rules")


def _may_consent(person: Person | None, waiting: Proposal, now: int) -> rights.Answer:
    return rights.may(person, "rules.consent", now=now, relations=services.relations(person, waiting, now))


def _instant(text: str, timezone: str) -> int | None:
    """A local date and time as a form sends it; None where it is empty. Raises `rules.from`."""
    if not text:
        return None
    try:
        local = datetime.fromisoformat(text[:16])
        return round(local.replace(tzinfo=ZoneInfo(timezone)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise FabriqueError("rules.from", from_ms=text[:40]) from None


def _replay(text: str) -> WhatIf | None:
    if not text:
        return None
    try:
        return replays.find(UUID(text))
    except ValueError:
        raise FabriqueError("what-if.missing", what_if=text[:40]) from None
