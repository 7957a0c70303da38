"""`/language`: the visitor's own choice, kept in a cookie for a year."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from fabrique.core.errors import FabriqueError
from fabrique.portal.choice import OURS


@require_POST
def choose(request: HttpRequest) -> HttpResponse:
    """Back to the page one was on, in the language chosen; a language that is not ours is an error."""
    language = request.POST.get("language", "")
    if language not in OURS:
        raise FabriqueError("request.broken")
    response = HttpResponseRedirect(local(request.POST.get("back", "")))
    response.set_cookie(
        settings.LANGUAGE_COOKIE_NAME,
        language,
        max_age=settings.LANGUAGE_COOKIE_AGE,
        samesite="Lax",
        secure=settings.HTTPS,
        httponly=True,
    )
    return response


def local(address: str) -> str:
    """`address` if it stays on this portal, else the home page."""
    stays = address.startswith("/") and url_has_allowed_host_and_scheme(address, allowed_hosts=None)
    return address if stays and len(address) < 2000 and address.isprintable() else "/"
