"""Which language a request is answered in: the visitor's choice, then the hub's law, then the browser's wish."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation.trans_real import parse_accept_lang_header

from fabrique.core.hub import Hub
from fabrique.language.catalogue import language_code
from fabrique.portal.speaker import known_hub

# Where a law asks that one language be served before any other can bind: Québec's Charter of the French language
LAW: Final = {"CA-QC": "fr-ca"}
OURS: Final = tuple(code for code, _ in settings.LANGUAGES)


def language_of(request: HttpRequest) -> str:
    """One of `settings.LANGUAGES`, whatever the headers and cookies hold."""
    chosen = request.COOKIES.get(settings.LANGUAGE_COOKIE_NAME, "")
    if chosen in OURS:
        return chosen
    here = known_hub()
    law = by_law(here.hub) if here else None
    return law or by_browser(request.headers.get("Accept-Language", "")) or by_hub(here.hub if here else None)


def by_law(hub: Hub) -> str | None:
    """The language that must come first, where a law of the hub's place asks for one."""
    places = [hub.jurisdiction, *(site.jurisdiction.best or "" for site in hub.sites)]
    return next((LAW[place] for place in places if place in LAW), None)


def by_browser(header: str) -> str | None:
    """The first of our languages that the browser asks for, by weight."""
    for tag, _weight in parse_accept_lang_header(header[:500].lower()):
        if tag.split("-")[0] in ("fr", "en"):
            return language_code(tag)
    return None


def by_hub(hub: Hub | None) -> str:
    """The first of the hub's languages that is ours."""
    ours = [language_code(tag) for tag in (hub.languages if hub else ()) if tag.split("-")[0] in ("fr", "en")]
    return ours[0] if ours else "en"
