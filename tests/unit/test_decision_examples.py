"""The page for operators shows what the decision answers, word for word, and tells every field of a rule set."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from xml.etree import ElementTree

import pytest
from tools.decision_examples import EXAMPLES

from fabrique.core.admission import Rules

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "decision.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("number", "name"), list(enumerate(EXAMPLES, 1)))
def test_the_page_shows_what_the_decision_answers(number: int, name: str) -> None:
    _, _, section = PAGE.partition(f"\n### {number}. {name}\n")
    shown = section.partition("```text\n")[2].partition("\n```")[0]
    assert shown == "\n".join(EXAMPLES[name]())


def test_every_field_of_a_rule_set_is_told() -> None:
    table = PAGE.partition("## What a rule set says")[2].partition("\n## ")[0]
    told = {field.name for field in fields(Rules)} - {"name", "version"}
    assert [name for name in sorted(told) if f"`{name.removesuffix('_ms')}`" not in table] == []


@pytest.mark.parametrize("name", ["phases", "time", "power"])
def test_pictures_are_well_formed_and_described(name: str) -> None:
    assert f"images/decision-{name}.svg" in PAGE
    root = ElementTree.parse(DOCS / "images" / f"decision-{name}.svg").getroot()  # noqa: S314
    assert {"title", "desc"} <= {child.tag.rpartition("}")[2] for child in root}
    assert "prefers-color-scheme:dark" in "".join(root.itertext())
