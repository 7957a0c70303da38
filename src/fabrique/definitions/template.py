"""A commented hub definition to start one's own from."""

from __future__ import annotations

import re
from typing import Final

from fabrique.core.errors import FabriqueError
from fabrique.definitions.catalogues import DATA

FILE: Final = DATA / "new-hub.yaml"

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")


def new_hub(hub_id: str) -> str:
    """The text of a definition that loads as it is, under the id `hub_id`.

    Raises `request.broken` for an id that isn't 1 to 63 small letters, digits and hyphens.
    """
    if not _ID.match(hub_id):
        raise FabriqueError("request.broken", field="id", why=f"ID: {hub_id[:80]}: a-z 0-9 -")
    # quoted, so that an id of digits alone stays text
    return FILE.read_text(encoding="utf-8").replace("\nid: my-hub\n", f'\nid: "{hub_id}"\n', 1)
