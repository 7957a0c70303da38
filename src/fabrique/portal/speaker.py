"""The Speaker of a request: its language, the hub's time zone, the names of devices."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache

from django.utils.translation import get_language

from fabrique.apps.this_hub import ThisHub, this_hub
from fabrique.core.errors import FabriqueError
from fabrique.definitions import accelerators
from fabrique.language import Speaker
from fabrique.language.catalogue import language_code
from fabrique.language.marks import msg


def known_hub() -> ThisHub | None:
    """The hub of this home, or None before `fabrique init` and while its files can't be used."""
    try:
        return this_hub()
    except FabriqueError:
        return None


def current() -> Speaker:
    """For the language that the request was given."""
    here = known_hub()
    return speaker_of(language_code(get_language() or "en"), here.timezone if here else "UTC")


@lru_cache(maxsize=32)
def speaker_of(language: str, timezone: str) -> Speaker:
    return Speaker(language, timezone, _names(language))


@cache
def _names(language: str) -> Mapping[str, str]:
    """The names of kinds; the visitor's own cores are said in the language."""
    names = {kind: device.name for kind, device in accelerators.catalogue().items()}
    return names | {accelerators.LOCAL_KIND: Speaker(language).text(msg("this machine"))}
