"""Plain data against a typed shape, with pydantic: each of its errors becomes a complaint at file:line."""

from __future__ import annotations

import json
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from fabrique.definitions.complaints import Complaint, by_place
from fabrique.definitions.yaml import Document, FieldPath

T = TypeVar("T")

_SHAPE_OF: Final = {
    "int": "whole-number", "float": "number", "string": "text", "bool": "yes-or-no", "date": "date",
    "list": "list", "tuple": "list", "set": "list", "frozen_set": "list",
    "dict": "mapping", "mapping": "mapping", "model": "mapping", "dataclass": "mapping", "none": "nothing",
}  # fmt: skip
_BOUNDS: Final = {
    "greater_than_equal": ("≥", "ge"), "greater_than": (">", "gt"),
    "less_than_equal": ("≤", "le"), "less_than": ("<", "lt"), "multiple_of": ("×", "multiple_of"),
    "string_too_long": ("length ≤", "max_length"), "string_too_short": ("length ≥", "min_length"),
    "too_long": ("length ≤", "max_length"), "too_short": ("length ≥", "min_length"),
}  # fmt: skip


def validate(adapter: TypeAdapter[T], document: Document, data: Any = None) -> tuple[T | None, list[Complaint]]:
    """`document.data` (or `data`, a changed copy of it) as the adapter's type, strictly: nothing is converted.

    Goes through JSON, where strict validation still lets a list be a tuple and a mapping a dataclass.
    """
    plain = document.data if data is None else data
    try:
        return adapter.validate_json(json.dumps(plain), strict=True), []
    except ValidationError as error:
        return None, from_pydantic(document, error)


def from_pydantic(document: Document, error: ValidationError) -> list[Complaint]:
    """The complaints of a validation error, each at the nearest place that the document has."""
    return by_place(
        _complaint(document, found["type"], tuple(found["loc"]), found.get("ctx", {}), found["msg"])
        for found in error.errors(include_url=False, include_input=False)
    )


def _complaint(document: Document, sort: str, loc: FieldPath, context: dict[str, Any], message: str) -> Complaint:
    missing = sort in ("missing", "missing_argument")
    path = _in_file(document, loc)
    if missing:
        return document.complaint((*path, str(loc[-1])), "value.missing", key=str(loc[-1]))
    if sort in ("extra_forbidden", "unexpected_keyword_argument"):
        return document.complaint(path, "value.unknown-key", key=str(loc[-1]))
    if sort in ("literal_error", "enum"):
        return document.complaint(path, "value.choice", expected=_choices(context))
    if sort == "string_pattern_mismatch":
        return document.complaint(path, "value.pattern", pattern=str(context.get("pattern", "")))
    if sort in _BOUNDS:
        sign, name = _BOUNDS[sort]
        return document.complaint(path, "value.bound", bound=f"{sign} {context.get(name, '')}")
    shape = next((s for kind, s in _SHAPE_OF.items() if sort.startswith(kind + "_")), None)
    if shape:
        return document.complaint(path, "value.type", expected=shape)
    return document.complaint(path, "value.refused", why=message)


def _choices(context: dict[str, Any]) -> str:
    """What may stand there, in no language: pydantic writes 'a', 'b' or 'c'."""
    return str(context.get("expected", "")).replace("' or '", "', '").replace("'", "")


def _in_file(document: Document, loc: FieldPath) -> FieldPath:
    """`loc` without the parts that pydantic adds for unions and validators, which the file doesn't have."""
    path: FieldPath = ()
    for part in loc:
        if (*path, part) in document.places:
            path = (*path, part)
    return path
