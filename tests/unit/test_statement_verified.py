"""The verifier in one file against statements: the true ones, and every way of changing one."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fabrique.apps.reports import statement as statements
from fabrique.apps.reports.document import as_json
from fabrique.verifier import fabrique_verify as verifier

if TYPE_CHECKING:
    from conftest import Story

Answer = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def project_json(story: Story) -> dict[str, Any]:
    """A statement whose period begins in the middle of the story."""
    middle = story.now - 12 * 3_600_000
    made = statements.project_statement(story.projects["a"], middle, story.now + 1, now=story.now + 5, hub=story.hub)
    return as_json(made)


@pytest.fixture
def pool_json(story: Story) -> dict[str, Any]:
    made = statements.pool_statement("union", 0, story.now + 1, now=story.now + 5, hub=story.hub)
    return as_json(made)


@pytest.mark.django_db
def test_true_statements(project_json: Any, pool_json: Any, answer: Answer) -> None:
    for data in (project_json, pool_json):
        code, said = answer(data)
        assert code == 0, said
        assert said["fingerprint"] == data["fingerprint"]
        assert any("--key" in text for text in said["unproven"])


@pytest.mark.django_db
def test_the_hubs_key_and_earlier_checkpoints(project_json: Any, answer: Answer, story: Story, tmp_path: Path) -> None:
    key = project_json["checkpoint"]["public_key"]
    code, said = answer(project_json, "--key", key.upper())
    assert code == 0
    assert not any("--key" in text for text in said["unproven"])
    assert answer(project_json, "--key", "00" * 32)[0] == 1
    earlier = tmp_path / "earlier.json"
    earlier.write_text(json.dumps({"checkpoint": story.earlier, "schema": "any"}))
    assert answer(project_json, "--checkpoint", str(earlier))[1]["checkpoints"] == 2
    earlier.write_text(json.dumps({**story.earlier, "entry_hash": "0" * 64}))
    code, said = answer(project_json, "--checkpoint", str(earlier))
    assert code == 1
    assert "outside" in said["divergence"]


def leaves(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(data, dict | list):
        for key in data if isinstance(data, dict) else range(len(data)):
            yield from leaves(data[key], (*path, key))
    elif data is not None:
        yield path


def put(data: Any, path: tuple[Any, ...], value: object) -> None:
    for key in path[:-1]:
        data = data[key]
    data[path[-1]] = value


def get(data: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        data = data[key]
    return data


def other(text: str) -> str:
    """The same sort of text, another value: its last digit or letter is another one."""
    last = text[-1:] or "x"
    if text in ("left", "right"):
        return "left" if text == "right" else "right"
    return text[:-1] + ("1" if last != "1" else "2")


@pytest.mark.django_db
def test_a_statement_changed_anywhere_diverges(project_json: Any, answer: Answer) -> None:
    places = [p for p in leaves(project_json) if p != ("schema",)]
    near = [p for p in places if p[0] != "ledger"]
    far = [p for p in places if p[0] == "ledger"]
    unseen = []
    for path in [*near[::5], *far[::17]]:
        old = get(project_json, path)
        put(project_json, path, other(old))
        code, said = answer(project_json)
        if code != 1:
            unseen.append((path, old, said))
        put(project_json, path, old)
    assert not unseen
    assert answer(project_json)[0] == 0


WORDS = {"project", "pool", "mode", "starts_ms", "ends_ms", "id"}  # the hub's word, as every statement says


def resealed(data: Any) -> Any:
    """The fingerprint made anew, as who changes a number would."""
    content = {k: v for k, v in data.items() if k not in ("fingerprint", "ledger")}
    data["fingerprint"] = hashlib.sha256(verifier.canonical(content)).hexdigest()
    return data


@pytest.mark.django_db
@pytest.mark.parametrize("which", ["project_json", "pool_json"])
def test_no_number_can_be_changed_with_its_seal(which: str, answer: Answer, request: pytest.FixtureRequest) -> None:
    data = request.getfixturevalue(which)
    numbers = [p for p in leaves(data) if p[0] in ("allocations", "totals", "pool") and p[-1] not in WORDS]
    numbers += [("hub",), ("closing_seq",), ("checkpoint", "seq"), ("checkpoint", "at_ms"), ("checkpoint", "hub")]
    unseen = []
    for path in [*numbers[::5], *numbers[-5:]]:
        old = get(data, path)
        put(data, path, other(old))
        code, said = answer(resealed(data))
        if code != 1 or "fingerprint" in said["divergence"]:
            unseen.append((path, old, said))
        put(data, path, old)
    assert not unseen


@pytest.mark.django_db
def test_what_is_left_out_shows(project_json: Any, answer: Answer) -> None:
    def cut(change: Callable[[Any], object]) -> str:
        data = copy.deepcopy(project_json)
        change(data)
        code, said = answer(resealed(data))
        assert code == 1, said
        return str(said["divergence"])

    assert "n and balance" in cut(lambda d: d["ledger"]["postings"].pop(5))
    assert "the sum of allocation" in cut(lambda d: d["ledger"]["postings"].pop(0))
    assert "header" in cut(lambda d: d["ledger"]["headers"].pop(5))
    assert "no headers" in cut(lambda d: d["ledger"]["headers"].clear())
    assert "checkpoint" in cut(lambda d: d["ledger"]["headers"].pop())
    assert "lines" in cut(lambda d: d["allocations"][0]["lines"].pop())
    assert "units" in cut(lambda d: d["allocations"][0]["units"].pop())
    assert "totals" in cut(lambda d: d["totals"].pop("refund"))
    assert "account of this statement" in cut(lambda d: d["allocations"].pop())
    assert "keys" in cut(lambda d: d.update(extra="1"))
    assert "in order and once" in cut(lambda d: d["ledger"]["postings"].append(d["ledger"]["postings"][-1]))


@pytest.mark.django_db
def test_the_last_lines_of_one_account_cannot_be_left_out_alone(project_json: Any, answer: Answer) -> None:
    data = copy.deepcopy(project_json)
    rows = data["ledger"]["postings"]
    last = max(i for i, row in enumerate(rows) if row["account"].endswith(":used"))
    del rows[last]
    code, said = answer(resealed(data))
    assert code == 1
    assert "the sum of allocation" in said["divergence"]


@pytest.mark.django_db
def test_an_allocation_missing_from_its_pool_shows(story: Story, answer: Answer) -> None:
    whole = [story.allocations["a"], story.allocations["b"]]
    for found, expected in ((whole, 0), (whole[:1], 1)):
        made = statements._statement("pool", "union", "union", found, 0, story.now + 1, story.now + 5, story.hub)
        code, said = answer(as_json(made))
        assert code == expected, said
    assert "pool, awarded in" in said["divergence"]


@pytest.mark.django_db
@pytest.mark.parametrize("wrong", [None, 7, [], {}, "9" * 5000])
def test_wrong_types_never_trace(project_json: Any, answer: Answer, wrong: object) -> None:
    seen = set()
    for path in leaves(project_json):
        shape = tuple(key for key in path if isinstance(key, str))
        if shape in seen:
            continue
        seen.add(shape)
        is_word = path[0] in ("id", "made_ms", "assumptions", "unproven", "fingerprint") or path[-1] in WORDS
        for place in (path, path[:-1]) if len(path) > 1 else (path,):
            old = get(project_json, place)
            put(project_json, place, wrong)
            assert answer(project_json)[0] in (1, 2), place
            code, said = answer(resealed(project_json))
            assert code in (1, 2) or is_word, (place, said)
            put(project_json, place, old)
            resealed(project_json)
