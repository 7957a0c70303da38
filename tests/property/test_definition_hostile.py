"""Whatever the bytes, reading answers with complaints and never raises."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabrique.definitions import hubs, template, yaml
from fabrique.definitions.complaints import say

GOOD = template.new_hub("my-hub")
ROWS = GOOD.split("\n")
NOISE = st.sampled_from(
    ["&a ", "*a", "!!str ", "{", "}", "[", "]", ":", "- ", "? ", "|", ">", "'", '"', "#", "%", "\t", "\n", "\u202e",
     "null", "-1", "1e400", "0x", "999999999999999999999", "<<: ", "---\n", "...", "path: ", ".", "assumed: 1", "é"]
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
PATHS = st.lists(
    st.sampled_from(
        ["sites", "site-1", "machines", "machine-1", "partitions", "gpu", "pue_permille", "value", "", "x"]
    ),
    max_size=6,
).map(".".join)


def answers(raw: bytes) -> None:
    """A document or complaints that can be said, and a hub or complaints; never both, never neither."""
    document, found = yaml.parse(raw, "f.yaml")
    assert (document is None) == bool(found)
    if document is not None:
        hub, found = hubs.from_document(document, sources_known=False)
        assert (hub is None) == bool(found)
    for complaint in found:
        said = say(complaint, "fr")
        assert said.isprintable() or "\u00a0" in said
        assert 0 <= complaint.line <= raw.count(b"\n") + raw.count(b"\r") + 2


@given(st.binary(max_size=400))
@settings(max_examples=150)
def test_random_bytes(raw: bytes) -> None:
    answers(raw)


@given(st.lists(NOISE | st.text(max_size=6), max_size=40).map("".join))
@settings(max_examples=200)
def test_random_yaml_words(text: str) -> None:
    answers(text.encode("utf-8", "surrogatepass"))


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 30), NOISE | st.text(max_size=8))
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_a_good_file_with_a_piece_replaced(at: int, length: int, piece: str) -> None:
    answers((GOOD[:at] + piece + GOOD[at + length :]).encode("utf-8", "surrogatepass"))


@given(st.integers(0, len(ROWS) - 1), st.integers(0, len(ROWS) - 1))
@settings(max_examples=60)
def test_a_good_file_with_two_rows_exchanged(one: int, other: int) -> None:
    rows = list(ROWS)
    rows[one], rows[other] = rows[other], rows[one]
    answers("\n".join(rows).encode())


@given(TREES, PATHS)
@settings(max_examples=100)
def test_any_tree_as_a_hub_or_as_an_assumption(tree: object, path: str) -> None:
    good, _ = yaml.parse(GOOD.encode(), "f.yaml")
    assert good is not None
    for data in (
        tree,
        {**good.data, "assumptions": [{"path": path, "value": tree, "why": "x"}]},
        {"assumptions": tree},
    ):
        document = yaml.Document("f.yaml", data, _places(data))
        hub, found = hubs.from_document(document, sources_known=False)
        assert (hub is None) == bool(found)


def _places(data: object, path: yaml.FieldPath = ()) -> dict[yaml.FieldPath, yaml.Place]:
    places = {path: (1, 1)}
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        places.update(_places(value, (*path, key)))
    return places
