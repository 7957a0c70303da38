"""What comes in from outside: bodies read with bounds, the asker known by session, writes guarded against forgery."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

from django.http import HttpRequest
from ninja.errors import HttpError
from ninja.parser import Parser
from ninja.security import APIKeyCookie
from pydantic import Field, StringConstraints

from fabrique.apps.asking import asker
from fabrique.apps.people.models import Person

MOST_DEEP: Final = 16
MOST_EXACT: Final = 2**53  # beyond it a reader of JSON may round
_CSRF: Final = 403

Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,40}$")]  # of a project, mode or pool
HubId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Period = Annotated[str, StringConstraints(pattern=r"^([0-9]{4}-[0-9]{2}|all)?$")]
Number = Annotated[int, Field(ge=0, lt=MOST_EXACT)]
Note = Annotated[str, StringConstraints(min_length=1, max_length=2_000, strip_whitespace=True)]
FormValue = Annotated[str, StringConstraints(strict=True, max_length=20_000)] | bool | int | None


class Bounded(Parser):
    """JSON without duplicate meanings: no NaN, no NUL, no lone surrogate, nothing nested deeper than it needs be."""

    def parse_body(self, request: HttpRequest) -> Any:
        read = json.loads(request.body, parse_constant=_refuse)
        _check(read, 0)
        return read

    def parse_querydict(self, data: Any, list_fields: list[str], request: HttpRequest) -> Any:
        found = super().parse_querydict(data, list_fields, request)
        try:
            _check(found, 0)
        except ValueError as error:
            raise HttpError(400, str(error)) from None
        return found


def _refuse(name: str) -> None:
    raise ValueError(name)


def _check(value: object, depth: int) -> None:
    """Raises ValueError on what no table can keep."""
    if depth > MOST_DEEP:
        raise ValueError("nested too deep")
    if isinstance(value, str):
        if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
            raise ValueError("a character that is none")
    elif isinstance(value, dict):
        for key, inside in value.items():
            _check(key, depth + 1)
            _check(inside, depth + 1)
    elif isinstance(value, list):
        for inside in value:
            _check(inside, depth + 1)


class Visitor:
    """Somebody who has not signed in: what they may do, the table of rights says."""


class Session(APIKeyCookie):
    """The session cookie of the pages. A write needs the `X-CSRFToken` that `GET /session` gives."""

    param_name = "sessionid"

    def _get_key(self, request: HttpRequest) -> str | None:
        try:
            return super()._get_key(request)
        except HttpError:
            raise HttpError(_CSRF, "csrf") from None

    def authenticate(self, request: HttpRequest, key: str | None) -> Person | Visitor:
        return asker(request) or Visitor()
