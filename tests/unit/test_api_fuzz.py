"""Whatever is sent to the API, as its own description says or not: an answer or an error that is the sender's."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.django_db
NOISE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=40),
    st.sampled_from(["\0", "\ud800", "9" * 400, "../..", "' OR 1=1 --", "{{7*7}}", "p-000000"]),
)
JSON = st.recursive(
    NOISE, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner), max_leaves=8
)
KEYS = ["00000000-0000-0000-0000-000000000000", "x", "\0", "1" * 30, "-1", "0", "startup", "lasalle_startup", "é", "%"]


@st.composite
def requests(draw: Any, schema: dict[str, Any]) -> tuple[str, str, str]:
    """Method, address and body for one operation of the description, more or less as it asks."""
    address = draw(st.sampled_from(sorted(schema["paths"])))
    method = draw(st.sampled_from(sorted(schema["paths"][address])))
    told = schema["paths"][address][method]
    query = []
    for parameter in told.get("parameters", ()):
        value = str(draw(st.sampled_from(KEYS) | NOISE))
        value = quote(value.encode("utf-8", "surrogatepass"), safe="")
        if parameter["in"] == "path":
            address = address.replace("{" + parameter["name"] + "}", value or "0")
        elif draw(st.booleans()):
            query.append(f"{parameter['name']}={value}")
    content = told.get("requestBody", {}).get("content", {}).get("application/json", {})
    body = draw(shaped(content.get("schema", {}), schema) | JSON)
    text = draw(st.sampled_from([json.dumps(body), json.dumps(body)[:-1], ""]))
    return method, address + ("?" + "&".join(query) if query else ""), text


def shaped(shape: dict[str, Any], schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values of a shape, with noise in the place of some."""
    if "$ref" in shape:
        shape = schema["components"]["schemas"][shape["$ref"].rsplit("/", 1)[1]]
    if "anyOf" in shape:
        return st.one_of([shaped(s, schema) for s in shape["anyOf"]])
    if shape.get("type") == "object" and "properties" in shape:
        inner = {name: shaped(field, schema) for name, field in shape["properties"].items()}
        return st.fixed_dictionaries({}, optional=inner) | st.fixed_dictionaries(inner)
    if shape.get("type") == "object":
        names = st.sampled_from(["title", "hours", "country", "kind", "cores", "walltime", "ethics.misuse"])
        return st.dictionaries(names | st.text(max_size=9), NOISE, max_size=6)
    if shape.get("type") == "array":
        return st.lists(shaped(shape.get("items", {}), schema), max_size=3)
    likely: dict[str, st.SearchStrategy[Any]] = {
        "string": st.sampled_from(["lasalle_startup", "lasalle_research", "#!/bin/sh\ntrue\n", "a@b.example", "x"]),
        "boolean": st.booleans(),
        "integer": st.integers(-2, 2**64),
    }
    return likely.get(str(shape.get("type")), NOISE) | NOISE


@pytest.mark.parametrize("who", ["", "pi", "operator"])
def test_nothing_that_is_sent_is_a_fault_of_ours(desk: Any, who: str) -> None:
    from django.db import transaction

    client = desk.client(who, raise_request_exception=False)
    schema = client.get("/api/v1/openapi.json").json()

    @settings(
        max_examples=int(os.environ.get("FUZZ_EXAMPLES", "120")),
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(requests(schema))
    def sent(asked: tuple[str, str, str]) -> None:
        method, address, text = asked
        body = text.encode("utf-8", "surrogatepass")
        saved = transaction.savepoint()
        response = client.generic(method.upper(), address, body, content_type="application/json")
        transaction.savepoint_rollback(saved)
        assert response.status_code < 500, (method, address, text, response.content[:300])
        if response.status_code >= 400:
            assert set(response.json()) == {"error"}

    sent()
