"""`/`: the hub at a glance."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from fabrique.apps.now import now_ms
from fabrique.core.carbon import Factor
from fabrique.core.hub import Hub, Machine, Partition
from fabrique.language import Speaker
from fabrique.portal import glance_charts as pictures
from fabrique.portal.glance import Glance, glance
from fabrique.portal.speaker import current, known_hub


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """200 for everyone; before `fabrique init` it says what to do."""
    here = known_hub()
    if here is None:
        return render(request, "home_before.html")
    speaker = current()
    seen = glance(here, now=now_ms(), language=speaker.language)
    known = {
        "seen": seen,
        "answer": answer(seen, speaker),
        "sort": sort_of(seen.factor, speaker),
        "power": pictures.power(seen, speaker),
        "carbon": pictures.carbon(seen, speaker),
        "devices": pictures.accelerators(seen.devices, speaker),
        "pools": pictures.pools(seen.pools, speaker),
        "unconnected": unconnected(here.hub),
        "waiting": sum(w.jobs for w in seen.waiting),
    }
    return render(request, "home.html", known)


def answer(seen: Glance, speaker: Speaker) -> str:
    """The first line of the page: what the hub draws now."""
    if seen.drawn_w is None:
        return _("Nothing has been measured yet.")
    drawn = speaker.power(seen.drawn_w)
    if seen.cap_w is None:
        return _("The hub draws %(drawn)s; it has no cap.") % {"drawn": drawn}
    return _("The hub draws %(drawn)s of its %(cap)s cap.") % {"drawn": drawn, "cap": speaker.power(seen.cap_w)}


def sort_of(factor: Factor | None, speaker: Speaker) -> str:
    """Average or marginal, lifecycle or direct, consumption or production: what the factor's source says of it."""
    parts = (factor.kind, factor.scope, factor.basis) if factor else ()
    return ", ".join(speaker.word("factor", part) for part in parts if part)


def unconnected(hub: Hub) -> list[tuple[Machine, Partition]]:
    """What the definition has and this home does not serve: shown, never granted."""
    return [(machine, partition) for machine in hub.machines for partition in machine.partitions]
