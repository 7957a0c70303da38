"""`/hub`, `/hub/<id>`, `/hubs`: definitions, with the source of every value."""

from __future__ import annotations

from collections.abc import Iterable

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from fabrique.core.errors import FabriqueError
from fabrique.core.hub import Hub, nulls, rests_on, walk
from fabrique.definitions import hubs, sources
from fabrique.portal.facts import sections
from fabrique.portal.speaker import current, known_hub


@require_safe
def this(request: HttpRequest) -> HttpResponse:
    """The definition this home runs. Raises `home.missing` before `fabrique init`."""
    here = known_hub()
    if here is None:
        raise FabriqueError("home.missing")
    return _page(request, here.hub, is_this=True)


@require_safe
def one(request: HttpRequest, hub_id: str) -> HttpResponse:
    """One of the definitions that come with the program. Raises `definition.missing`."""
    here = known_hub()
    if here is not None and here.hub.id == hub_id:
        return _page(request, here.hub, is_this=True)
    return _page(request, hubs.load_builtin(hub_id), is_this=False)


@require_safe
def every(request: HttpRequest) -> HttpResponse:
    """All definitions that come with the program."""
    known = [hubs.load_builtin(hub_id) for hub_id in hubs.builtin()]
    rows = [{"hub": hub, "nulls": nulls(hub), "assumptions": len(hub.assumptions)} for hub in known]
    return render(request, "hubs.html", {"rows": rows})


def _page(request: HttpRequest, hub: Hub, *, is_this: bool) -> HttpResponse:
    known = {
        "shown": hub,
        "is_this": is_this,
        "sections": sections(hub, current()),
        "published": sum(fact.value is not None for _, fact in walk(hub)),
        "nulls": nulls(hub),
        "resting": len(rests_on(hub)),
        "citations": citations(hub),
    }
    return render(request, "hub.html", known)


def citations(hub: Hub) -> list[tuple[str, str]]:
    """Every source that the definition names, with its citation."""
    cited: Iterable[str] = {source for _, fact in walk(hub) for source in fact.source}
    catalogue = sources.catalogue()
    return [(source, catalogue.get(source, source)) for source in sorted(cited, key=str.lower)]
