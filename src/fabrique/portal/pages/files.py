"""`/verifier.py`, the single-file verifier; `/healthz`, whether the portal and its database answer."""

from __future__ import annotations

from importlib import resources

from django.db import Error, connection
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from fabrique.core.errors import FabriqueError


@require_safe
def verifier(request: HttpRequest) -> HttpResponse:
    """The file as it is in the package. Raises `request.broken` in an installation that lacks it."""
    try:
        source = (resources.files("fabrique.verifier") / "fabrique_verify.py").read_bytes()
    except (OSError, ModuleNotFoundError):
        raise FabriqueError("request.broken") from None
    answer = HttpResponse(source, content_type="text/x-python; charset=utf-8")
    answer.headers["Content-Disposition"] = 'attachment; filename="fabrique_verify.py"'
    return answer


@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """200 and `ok`, or 503 while the database does not answer."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return HttpResponse("database\n", status=503, content_type="text/plain")
    return HttpResponse("ok\n", content_type="text/plain")
