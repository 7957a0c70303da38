"""Headers on every answer, language, privacy, and errors turned into pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.utils import translation
from django.utils.cache import patch_vary_headers

from fabrique.core.errors import FabriqueError
from fabrique.portal import errors, sizes
from fabrique.portal.choice import language_of

Handler = Callable[[HttpRequest], HttpResponse]

CONTENT_SECURITY: Final = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Content-Security-Policy": CONTENT_SECURITY,
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=(), interest-cohort=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Middleware:
    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response


class ContentSecurityMiddleware(Middleware):
    """Nothing from elsewhere, no inline script or style, no frame, no sensor: first, so that no answer goes without."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response


class SizeMiddleware(Middleware):
    """A request that is too large, or does not say how large, is answered before it is read."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return errors.too_large(request) if sizes.is_too_large(request) else self.get_response(request)


class LanguageMiddleware(Middleware):
    """The request is answered in one of our languages, and says which."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        language = language_of(request)
        translation.activate(language)
        request.LANGUAGE_CODE = language  # as Django's own middleware sets it
        response = self.get_response(request)
        patch_vary_headers(response, ("Accept-Language", "Cookie"))
        response.headers.setdefault("Content-Language", language)
        return response


class PrivateMiddleware(Middleware):
    """What a person who signed in is shown is kept nowhere: after authentication."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        person = getattr(request, "user", None)
        if person is not None and person.is_authenticated:
            response.headers.setdefault("Cache-Control", "private, no-store")
        return response


class ErrorMiddleware(Middleware):
    """A FabriqueError becomes its page, or its JSON below /api."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        return errors.answer(request, exception) if isinstance(exception, FabriqueError) else None
