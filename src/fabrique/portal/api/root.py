"""`/api/v1/`: the routers together, and every error in one form with the status that fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError

from fabrique.core.errors import FabriqueError
from fabrique.core.reasons import from_json
from fabrique.definitions.complaints import Complaint
from fabrique.portal.api import access, hub, jobs, ledger
from fabrique.portal.api.plain import plain
from fabrique.portal.api.strict import Bounded, Session
from fabrique.portal.errors import CSRF, STATUS
from fabrique.portal.speaker import current

NEEDS_SIGN_IN: Final = 401
SHOWN: Final = 10  # complaints about one request

api = NinjaAPI(
    title="Fabrique",
    version="1",
    description="The hub as JSON. Amounts are base units as text, instants UTC milliseconds. docs/api.md explains.",
    urls_namespace="api",
    docs_url=None,
    openapi_url=None,  # `docs` serves it
    parser=Bounded(),
    auth=Session(),
)
api.add_router("", hub.router, tags=["hub"])
api.add_router("", access.router, tags=["access"])
api.add_router("", jobs.router, tags=["jobs"])
api.add_router("", ledger.router, tags=["ledger"])


def answer(request: HttpRequest, error: FabriqueError) -> HttpResponse:
    """`{"error": {"code", "params", "sentence"}}`."""
    status = NEEDS_SIGN_IN if error.code == "sign-in.needed" else STATUS[error.sort]
    return _body(request, error.code, error.params, _sentence(error), status)


def _sentence(error: FabriqueError) -> str:
    """What went wrong, and why where the error carries a reason."""
    said, told = current().error(error), error.params.get("reason")
    if isinstance(told, Mapping) and error.code == "job.refused":
        return f"{said} {current().reason(from_json(told))}"
    return said


def _body(request: HttpRequest, code: str, params: Mapping[str, object], sentence: str, status: int) -> HttpResponse:
    shown = {key: [_complaint(c) for c in v] if isinstance(v, list) else plain(v) for key, v in params.items()}
    return api.create_response(request, {"error": {"code": code, "params": shown, "sentence": sentence}}, status=status)


def _complaint(value: object) -> object:
    return value.as_json() if isinstance(value, Complaint) else plain(value)


def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    wrong = [
        {"field": ".".join(str(p)[:40] for p in e["loc"])[:200], "why": str(e["type"])} for e in error.errors[:SHOWN]
    ]
    told = FabriqueError("request.broken", field=wrong[0]["field"] if wrong else "")
    return _body(request, told.code, {**told.params, "wrong": wrong}, current().error(told), STATUS[told.sort])


def _unread(request: HttpRequest, error: HttpError) -> HttpResponse:
    """A body that is no JSON, or a write without its token."""
    if str(error) == "csrf":
        return _body(request, "request.csrf", {}, current().text(CSRF), error.status_code)
    told = FabriqueError("request.broken")
    return _body(request, told.code, told.params, current().error(told), error.status_code)


def _missing(request: HttpRequest, error: Http404) -> HttpResponse:
    return _body(request, "page.missing", {}, current().text("The address is wrong, or what was here is gone."), 404)


# ninja types a handler's argument as the exception or its class
api.add_exception_handler(FabriqueError, answer)  # type: ignore[arg-type]
api.add_exception_handler(ValidationError, _invalid)  # type: ignore[arg-type]
api.add_exception_handler(HttpError, _unread)  # type: ignore[arg-type]
api.add_exception_handler(Http404, _missing)  # type: ignore[arg-type]
