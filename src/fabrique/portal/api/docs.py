"""`/api/v1/docs`: the API described as a page, from its own schema. No script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from fabrique.apps.asking import asker, require
from fabrique.apps.now import now_ms


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
    from fabrique.portal.api.root import api

    require(asker(request), "hub.view", now=now_ms())
    schema: Mapping[str, Any] = api.get_openapi_schema(path_prefix="/api/v1/")
    operations = list(_operations(schema))
    shapes = [
        (name, shape.get("description", ""), _fields(shape)) for name, shape in schema["components"]["schemas"].items()
    ]
    return render(request, "portal-desk/api.html", {"operations": operations, "shapes": shapes})


def _operations(schema: Mapping[str, Any]) -> Iterator[Operation]:
    for path, methods in schema["paths"].items():
        for method, told in methods.items():
            parameters = tuple((p["name"], p["in"], _type(p["schema"])) for p in told.get("parameters", ()))
            body = told.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            answers = (a.get("content", {}).get("application/json", {}) for a in told["responses"].values())
            answer = next((_type(a["schema"]) for a in answers if "schema" in a), "")
            description = told.get("description", "")
            yield Operation(method.upper(), path, told["summary"], description, parameters, _type(body), answer)


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
