"""Errors as answers: the status that fits, one sentence, the code one can search for. Never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.loader import render_to_string
from django.utils import translation

from fabrique.core.errors import FabriqueError, Sort
from fabrique.core.reasons import from_json
from fabrique.language.marks import msg
from fabrique.portal import speaker
from fabrique.portal.choice import language_of

STATUS: Final[Mapping[Sort, int]] = {
    Sort.INPUT: 400,
    Sort.DENIED: 403,
    Sort.MISSING: 404,
    Sort.CONFLICT: 409,
    Sort.UNAVAILABLE: 503,
}
TITLES: Final[Mapping[int, str]] = {
    400: msg("This can't be taken as it is"),
    403: msg("This is not for you"),
    404: msg("There is nothing here"),
    409: msg("Not possible now"),
    413: msg("This is too large"),
    500: msg("The hub made a mistake"),
    503: msg("A part of the hub does not answer"),
}
SENTENCES: Final[Mapping[int, str]] = {
    400: msg("The request can't be read. Nothing was changed."),
    403: msg("You may not see or do this."),
    404: msg("The address is wrong, or what was here is gone."),
    413: msg("The hub takes 2 MiB at most. Nothing was changed."),
    500: msg("It is written down for the operator. Nothing that was not confirmed has changed."),
}
CSRF: Final = msg(
    "This form was open for too long, or came from another place. Go back, reload the page, send it again."
)
_log = logging.getLogger("fabrique.portal")


def answer(request: HttpRequest, error: FabriqueError) -> HttpResponse:
    """The error as JSON below /api, else as a page; who is not signed in is asked to."""
    status = STATUS[error.sort]
    if status == 503:
        _log.error("%s", error)
    if is_api(request):
        return as_json(error, status)
    if error.code == "sign-in.needed" and request.method in ("GET", "HEAD"):
        return HttpResponseRedirect(f"{settings.LOGIN_URL}?{urlencode({'next': request.get_full_path()})}")
    return page(request, status, speaker.current().error(error), error.code, why(error))


def is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")


def as_json(error: FabriqueError, status: int) -> JsonResponse:
    said = speaker.current().error(error)
    params = {key: _plain(value) for key, value in error.params.items()}
    return JsonResponse({"error": {"code": error.code, "sentence": said, "params": params}}, status=status)


def why(error: FabriqueError) -> str:
    """The reason that an error carries, in words."""
    told = error.params.get("reason")
    try:
        return speaker.current().reason(from_json(told)) if isinstance(told, Mapping) else ""
    except (KeyError, ValueError):
        return ""


def page(request: HttpRequest, status: int, sentence: str, code: str = "", reason: str = "") -> HttpResponse:
    """An error page in the hub's layout; in plain HTML where even that fails."""
    title = speaker.current().text(TITLES.get(status, TITLES[500]))
    known = {"status": status, "title": title, "sentence": sentence, "code": code, "reason": reason}
    try:
        body = render_to_string("error.html", known, request)
    except Exception:  # an error page must come out whatever is broken
        _log.exception("the error page failed")
        body = render_to_string("error_plain.html", known)
    return HttpResponse(body, status=status)


def _generic(request: HttpRequest, status: int, code: str) -> HttpResponse:
    said = speaker.current().text(SENTENCES[status])
    if is_api(request):
        return JsonResponse({"error": {"code": code, "sentence": said, "params": {}}}, status=status)
    return page(request, status, said, code)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _generic(request, 400, "request.broken")


def denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _generic(request, 403, "right.denied")


def missing(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return _generic(request, 404, "page.missing")


def too_large(request: HttpRequest) -> HttpResponse:
    """Before anything else knows the request: its language is chosen here."""
    with translation.override(language_of(request)):
        said = speaker.current().text(SENTENCES[413])
        if is_api(request):
            return JsonResponse({"error": {"code": "request.too-large", "sentence": said, "params": {}}}, status=413)
        known = {"status": 413, "title": speaker.current().text(TITLES[413]), "sentence": said}
        return HttpResponse(render_to_string("error_plain.html", known | {"code": "request.too-large"}), status=413)


def broken(request: HttpRequest) -> HttpResponse:
    return _generic(request, 500, "hub.error")


def csrf(request: HttpRequest, reason: str = "") -> HttpResponse:
    said = speaker.current().text(CSRF)
    if is_api(request):
        return JsonResponse({"error": {"code": "request.csrf", "sentence": said, "params": {}}}, status=403)
    return page(request, 403, said, "request.csrf")


def _plain(value: object) -> object:
    """A JSON value: integers beyond what JSON holds exactly, and anything else, as text."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else str(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    as_json = getattr(value, "as_json", None)
    return as_json() if callable(as_json) else str(value)
