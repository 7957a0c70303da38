"""`/api/v1/docs`: the API described as a page, from its own schema. No script, nothing from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET
from ninja.responses import NinjaJSONEncoder

from fabrique.apps.asking import asker, require
from fabrique.apps.now import now_ms
from fabrique.portal.api.root import api

PREFIX: Final = "/api/v1/"


@dataclass(frozen=True, slots=True)
class Operation:
    method: str
    path: str
    summary: str
    description: str
    parameters: tuple[tuple[str, str, str], ...]  # name, where, type
    body: str
    answer: str


@require_GET
def docs(request: HttpRequest) -> HttpResponse:
    """The JSON API: every address, what it takes and what it answers."""
    require(asker(request), "hub.view", now=now_ms())
    schema = described()
    operations = list(_operations(schema))
    shapes = [
        (name, shape.get("description", ""), _fields(shape)) for name, shape in schema["components"]["schemas"].items()
    ]
    return render(request, "portal-desk/api.html", {"operations": operations, "shapes": shapes})


@require_GET
def openapi(request: HttpRequest) -> HttpResponse:
    """The JSON API as an OpenAPI document."""
    require(asker(request), "hub.view", now=now_ms())
    return JsonResponse(dict(described()), encoder=NinjaJSONEncoder)


@cache
def described() -> Mapping[str, Any]:
    return api.get_openapi_schema(path_prefix=PREFIX)


def addresses() -> list[URLPattern]:
    """One address a path, each saying what it answers; the description is served here, and there is no root page."""
    said: dict[str, list[str]] = {}
    for address, methods in described()["paths"].items():
        route = re.sub(r"\{(\w+)\}", r"<\1>", address.removeprefix(PREFIX))
        said[route] = [f"{method.upper()}: {told['summary']}." for method, told in methods.items()]
    found = {re.sub(r"<\w+:", "<", str(p.pattern)): p for p in api.urls[0] if isinstance(p, URLPattern)}
    return [_address(found[route], " ".join(words)) for route, words in said.items()]


def _address(pattern: URLPattern, words: str) -> URLPattern:
    callback: Callable[..., HttpResponse] = pattern.callback

    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return callback(request, *args, **kwargs)

    answer.__doc__ = words
    answer.csrf_exempt = True  # type: ignore[attr-defined]  # `strict.Session` checks the token itself
    return path(str(pattern.pattern), answer)


def _operations(schema: Mapping[str, Any]) -> Iterator[Operation]:
    for address, methods in schema["paths"].items():
        for method, told in methods.items():
            parameters = tuple((p["name"], p["in"], _type(p["schema"])) for p in told.get("parameters", ()))
            body = told.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            answers = (a.get("content", {}).get("application/json", {}) for a in told["responses"].values())
            answer = next((_type(a["schema"]) for a in answers if "schema" in a), "")
            description = told.get("description", "")
            yield Operation(method.upper(), address, told["summary"], description, parameters, _type(body), answer)


def _fields(shape: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, _type(field)) for name, field in shape.get("properties", {}).items()]


def _type(schema: Mapping[str, Any]) -> str:
    """One word or two: the name of a shape, a list of one, or a plain type."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[1]
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_type(s) for s in schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"[{_type(schema.get('items', {}))}]"
    return str(schema.get("type", ""))
