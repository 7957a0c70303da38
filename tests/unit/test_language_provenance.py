"""What the books keep in English of an energy and of a carbon factor is said in the reader's language."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fabrique.language import Speaker, provenance
from fabrique.language.words import WORDS

SOURCES = Path(__file__).parents[2] / "src" / "fabrique"
NAMES = {"Slurm ConsumedEnergy", "powercap energy_uj", "hwmon energy1_input"}  # of counters: the same everywhere


def told() -> set[str]:
    """Every text by which the program says whence an energy comes."""
    found = set()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("measured", "attributed", "modelled"):
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    found.add(str(first.value))
    return found


def test_whence_an_energy_comes_is_a_closed_list() -> None:
    texts = told()
    assert len(texts) > 12
    assert {text for text in texts - NAMES if " " in text} == set(WORDS["how"])


@pytest.mark.parametrize("language", ["fr", "fr-ca"])
def test_none_of_it_is_english_in_french(language: str, speaker: Callable[..., Speaker]) -> None:
    say = speaker(language)
    same = {"direct", "marginal", "production"}  # in both languages
    for group in ("how", "factor", "factor-how"):
        assert {key for key in WORDS[group] if say.word(group, key) == key} <= same


def test_a_carbon_factor_is_said_in_words(speaker: Callable[..., Speaker]) -> None:
    name = "CA-QC 2024 average lifecycle consumption (Hydro-Québec (2025), p. 4)"
    assert provenance.carbon_factor(speaker(), name) == (
        "CA-QC 2024, average, lifecycle, consumption (Hydro-Québec (2025), p. 4)"
    )
    said = provenance.carbon_factor(speaker("fr"), f"{name}, forecast, daily-persistence")
    assert said.startswith("CA-QC 2024, moyen, cycle de vie") and said.endswith("prévision, comme la veille")
    instead = f"{name}, yearly average in place of the hourly series: grid.gap"
    assert "moyenne annuelle" in provenance.carbon_factor(speaker("fr"), instead)


@pytest.mark.parametrize("name", ["", "cores/1", "CA-QC 2024 average", "x\ny", "LU 2024 a b c (d) e"])
def test_what_is_no_name_of_ours_is_said_as_it_is(name: str, speaker: Callable[..., Speaker]) -> None:
    assert provenance.carbon_factor(speaker("fr"), name) == name


@pytest.mark.django_db
def test_what_a_definition_says_in_english_alone_is_marked(desk: Any) -> None:
    client = desk.client()
    client.cookies["fabrique-language"] = "fr"
    page = client.get("/hub").content.decode()
    assert '<span class="small muted" lang="en">not published; 1.1 to 1.2 is usual' in page
