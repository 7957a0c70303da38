"""What every page knows. Never fails: an error page needs it too."""

from __future__ import annotations

from django.conf import settings
from django.db import Error
from django.http import HttpRequest
from django.utils.translation import get_language

from fabrique.apps.now import now_ms
from fabrique.apps.people import rights
from fabrique.portal.speaker import known_hub


def hub(request: HttpRequest) -> dict[str, object]:
    """`hub` (None before init), `languages` with the one in use, `staff` for who may see the machine room.

    `holder` is for whoever holds a role.
    """
    here = known_hub()
    return {
        "hub": here.hub if here else None,
        "language": get_language() or settings.LANGUAGE_CODE,
        "languages": settings.LANGUAGES,
        "back": request.get_full_path() if request.method in ("GET", "HEAD") else "/",
        "staff": _may(request, "operate.view"),
        "holder": _may(request, "role.view"),
    }


def _may(request: HttpRequest, action: str) -> bool:
    try:
        person = getattr(request, "user", None)
        known = person is not None and person.is_authenticated
        return known and rights.may(person, action, now=now_ms()).allowed
    except Error:  # the database does not answer
        return False
