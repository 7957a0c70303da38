"""`/operate/what-if`: ask for a replay of the hub's own jobs, watch it, read what it found; only a row is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from fabrique.apps.asking import asker, may, person_for, require, said
from fabrique.apps.now import now_ms
from fabrique.apps.rules import asked as form
from fabrique.apps.rules import replays, services
from fabrique.apps.rules.asked import IN_FORCE, Asked
from fabrique.apps.rules.models import ReplayState, WhatIf
from fabrique.apps.this_hub import ThisHub, this_hub
from fabrique.core.errors import FabriqueError
from fabrique.definitions import rules as rule_sets
from fabrique.operate.deciding import rules_in_force
from fabrique.portal import what_if_words as words
from fabrique.portal.operate import loop_state
from fabrique.portal.speaker import current

SHOWN = 20
_FIELDS_MOST = 40


@require_GET
def start(request: HttpRequest) -> HttpResponse:
    """What may be asked, and the replays asked for lately."""
    person, now = asker(request), now_ms()
    require(person, "rules.view", now=now)
    return _page(request, {}, (IN_FORCE,), None, now)


@require_POST
def ask(request: HttpRequest) -> HttpResponse:
    """A request that waits for its turn; what was typed stays where a field is wrong."""
    now = now_ms()
    person = person_for(request, "what-if.run", now=now)
    chosen = request.POST.getlist("rules")[:_FIELDS_MOST]
    given = {name: str(value)[:40] for name, value in list(request.POST.items())[:_FIELDS_MOST]}
    try:
        asked = form.read(given, chosen, this_hub())
        made = replays.ask(person, asked.as_json(), now=now)
    except FabriqueError as error:
        if error.code not in ("what-if.field", "what-if.same", "what-if.busy"):
            raise
        return _page(request, given, chosen, error, now)
    return redirect("what-if-result", made.id)


def _page(
    request: HttpRequest, given: Mapping[str, str], chosen: Sequence[str], error: FabriqueError | None, now: int
) -> HttpResponse:
    person, here, say = asker(request), this_hub(), current()
    in_force = rules_in_force(here, now)
    sets = [(name, said(one.purpose) if one.purpose else "") for name, one in rule_sets.catalogue().items()]
    context = {
        "here": here,
        "in_force": in_force,
        "sets": sets,
        "chosen": chosen,
        "given": given,
        "weeks": range(1, form.WEEKS_MOST + 1),
        "week": given.get("weeks") or "4",
        "devices": [(p, f"devices.{p}", given.get(f"devices.{p}", "")) for p in form.partitions(here)],
        "has_price": form.has_price(here),
        "error": say.error(error) if error else "",
        "field": error.params.get("field") if error else "",
        "may_ask": may(person, "what-if.run", now=now).allowed,
        "recent": [(one, form.of_json(one.asked)) for one in WhatIf.objects.select_related("asked_by")[:SHOWN]],
        "alive": loop_state(now).alive,
    }
    return render(request, "portal-desk/what_if.html", context, status=400 if error else 200)


@require_GET
def result(request: HttpRequest, key: UUID) -> HttpResponse:
    """How far it is, or what it found."""
    person, now = asker(request), now_ms()
    require(person, "rules.view", now=now)
    found, here, say = replays.find(key), this_hub(), current()
    asked = form.of_json(found.asked)
    context: dict[str, Any] = {
        "found": found,
        "asked": asked,
        "changes": _changes(asked, here),
        "open": found.state in (ReplayState.WAITING, ReplayState.RUNNING),
        "left_ms": _left_ms(found, now),
        "alive": loop_state(now).alive,
        "now": now,
    }
    if found.state == ReplayState.FAILED:
        context["error"] = say.error(FabriqueError(found.error["code"], **found.error["params"]))
    if found.state == ReplayState.DONE:
        context |= {
            "headline": words.headline(say, found.result),
            "sets": words.told(say, found.result),
            "pictures": words.pictures(say, found),
            "first": found.result["runs"][0],
            "left_out": [(count, say.word("left-out", cause)) for cause, count in found.result["left_out"].items()],
            "may_propose": may(person, "rules.propose", now=now).allowed,
            "proposable": _proposable(here, found, now),
        }
    return render(request, "portal-desk/what_if_result.html", context)


def _changes(asked: Asked, here: ThisHub) -> list[tuple[str, str]]:
    """What was changed on the hub: a name of a closed list, and how much."""
    say = current()
    found = [] if asked.cap_w is None else [("cap", say.power(asked.cap_w))]
    factors = [("carbon", asked.carbon_permille), ("price", asked.price_permille)]
    factors += [(f"devices {p}", permille) for p, permille in asked.devices_permille.items()]
    return found + [(name, f"× {say.number(n / 1000, 3 if n % 10 else 2)}") for name, n in factors if n != form.AS_IS]


def _left_ms(found: WhatIf, now: int) -> int | None:
    """How much longer, at the pace so far; None while nobody can tell."""
    if found.state != ReplayState.RUNNING or not found.permille or found.started_ms is None:
        return None
    return max(0, (now - found.started_ms) * (1000 - found.permille) // found.permille)


def _proposable(here: ThisHub, found: WhatIf, now: int) -> list[str]:
    """Ready-made rule sets of the result that the live hub can decide by, and does not yet."""
    in_force = rules_in_force(here, now)
    known = {name: one for name, one in rule_sets.catalogue().items() if one.rules != in_force}
    names = dict.fromkeys(run["rules"] for run in found.result["runs"])
    return [name for name in names if name in known and not services.not_live(here, known[name].rules)]
