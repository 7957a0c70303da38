"""Names that people know pools and access modes by, for the ids that rows and statements hold."""

from __future__ import annotations

from fabrique.apps.this_hub import ThisHub, this_hub
from fabrique.core.errors import FabriqueError
from fabrique.language import Speaker


def pool_name(pool: str, speaker: Speaker) -> str:
    """As the hub's definition has it, else what sort of pool it is; an id nobody knows is its own name."""
    here = _hub()
    found = next((p for p in here.hub.pools if p.id == pool), None) if here else None
    if found is None:
        return speaker.word("pool", pool)
    french = speaker.language.startswith("fr") and found.name_fr
    name = french or found.name.best or speaker.word("pool_kind", found.kind)
    return str(name)[:1].upper() + str(name)[1:]


def mode_name(mode: str, speaker: Speaker) -> str:
    """In the reader's language; a mode that the hub no longer offers keeps its id."""
    here = _hub()
    found = next((m for m in reversed(here.modes) if m.id == mode), None) if here else None
    return found.name.said({"fr-ca": "fr-CA"}.get(speaker.language, speaker.language)) if found else mode


def _hub() -> ThisHub | None:
    try:
        return this_hub()
    except FabriqueError:
        return None
