"""Rule sets: the ready-made ones say what they should, and a file of one's own is read or complained about by line."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from fabrique.core.admission.rules import Rules
from fabrique.core.errors import FabriqueError
from fabrique.definitions import rules

DAY, HOUR, MINUTE = 86_400_000, 3_600_000, 60_000
EASY = Rules(name="easy", backfill=True, reservations=1)
READY = {
    "fifo": Rules(name="fifo", backfill=False, reservations=1),
    "easy": EASY,
    "conservative": Rules(name="conservative", backfill=True, reservations=1000),
    "fair": replace(
        EASY,
        name="fair",
        version=2,
        reservations=8,
        pools=True,
        share_order=True,
        fair=True,
        short_first=True,
        age_ms=7 * DAY,
    ),
    "sparing": replace(
        EASY,
        name="sparing",
        reservations=8,
        pools=True,
        share_order=True,
        fair=True,
        short_first=True,
        age_ms=7 * DAY,
        watts="levels",
    ),
    "static-nameplate": replace(EASY, name="static-nameplate", depth=500, watts="nameplate"),
    "static-measured": replace(EASY, name="static-measured", depth=500, watts="measured"),
    "frugal": Rules(
        name="frugal",
        backfill=True,
        reservations=2,
        depth=100,
        pools=True,
        share_order=True,
        window_ms=28 * DAY,
        fair=True,
        age_ms=7 * DAY,
        reclaim=True,
        min_run_ms=HOUR,
        backoff_ms=30 * MINUTE,
        watts="levels",
        water_fill=True,
        recap=True,
        defer=True,
        floor_permille=50,
    ),
}


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_ready_made_rules_are_these() -> None:
    assert set(rules.catalogue()) == set(READY)


@pytest.mark.parametrize("name", READY)
def test_a_ready_made_rule_set_says_what_it_is(name: str) -> None:
    assert rules.load(name) == READY[name]


@pytest.mark.parametrize("name", READY)
def test_its_purpose_is_a_sentence_in_both_languages(name: str) -> None:
    purpose = rules.catalogue()[name].purpose
    assert purpose is not None
    assert purpose.en.endswith(".") and purpose.fr.endswith(".") and purpose.en != purpose.fr
    assert not any(f" {mark}" in purpose.fr for mark in ";:!?") and "'" not in purpose.fr


def test_what_a_file_leaves_out_is_as_in_the_core(tmp_path: Path) -> None:
    assert rules.load(written(tmp_path, "name: mine\nversion: 3\n")) == Rules(name="mine", version=3)


def test_every_field_of_the_rules_can_be_written(tmp_path: Path) -> None:
    text = """
name: mine
version: 2
backfill: false
reservations: 0
drain_permille: 20
depth: 7
pools: true
share_order: true
window: 1d
fair: true
decay_ppm: 500000
short_first: true
age: 90s
reclaim: true
reclaim_any: true
preempt_lower: true
min_run: 00:10:00
backoff: 1h30m
watts: levels
water_fill: true
recap: true
defer: true
signal: price
floor_permille: 0
fill_ppm: 1000000
observe_only: true
"""
    assert rules.load(written(tmp_path, text)) == Rules(
        name="mine",
        version=2,
        backfill=False,
        reservations=0,
        drain_permille=20,
        depth=7,
        pools=True,
        share_order=True,
        window_ms=DAY,
        fair=True,
        decay_ppm=500_000,
        short_first=True,
        age_ms=90_000,
        reclaim=True,
        reclaim_any=True,
        preempt_lower=True,
        min_run_ms=10 * MINUTE,
        backoff_ms=90 * MINUTE,
        watts="levels",
        water_fill=True,
        recap=True,
        defer=True,
        signal="price",
        floor_permille=0,
        fill_ppm=1_000_000,
        observe_only=True,
    )
    assert {f.name.removesuffix("_ms") for f in fields(Rules)} == {
        line.split(":")[0] for line in text.split("\n") if line
    }


BROKEN = {
    "depth: many": (3, "depth", "value.type"),
    "backfil: true": (3, "backfil", "value.unknown-key"),
    "watts: some": (3, "watts", "value.choice"),
    "floor_permille: 1001": (3, "floor_permille", "value.bound"),
    "reservations: -1": (3, "reservations", "value.bound"),
    "drain_permille: 1000001": (3, "drain_permille", "value.bound"),
    "age: a week": (3, "age", "value.pattern"),
    "age: 7": (3, "age", "value.type"),
    "window: 400d": (3, "window", "value.bound"),
    "backfill: 1": (3, "backfill", "value.type"),
    "reclaim: true": (3, "reclaim", "script.needs"),
    "pools: true\npreempt_lower: true": (4, "preempt_lower", "script.needs"),
    "water_fill: true": (3, "water_fill", "script.needs"),
    "watts: measured\nrecap: true": (4, "recap", "script.needs"),
    "purpose: {en: only English}": (3, "purpose.fr", "value.missing"),
}


@pytest.mark.parametrize("lines", BROKEN)
def test_a_broken_file_is_complained_about_at_its_line(tmp_path: Path, lines: str) -> None:
    path = written(tmp_path, f"name: mine\nversion: 1\n{lines}\n")
    found, complaints = rules.read(path)
    assert found is None
    assert [(c.file, c.line, c.field, c.code) for c in complaints] == [(str(path), *BROKEN[lines])]


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    _, complaints = rules.read(written(tmp_path, "name: mine\nversion: 1\nage: soon\nwindow: 1\nrecap: true\n"))
    assert [c.line for c in complaints] == [4]  # the shape first: what it holds can't be judged yet
    _, complaints = rules.read(written(tmp_path, "name: mine\nversion: 1\nage: soon\nwindow: never\nrecap: true\n"))
    assert [c.line for c in complaints] == [3, 4, 5]


def test_a_broken_file_is_no_rules(tmp_path: Path) -> None:
    path = written(tmp_path, "name: mine\nversion: 1\nage: soon\n")
    with pytest.raises(FabriqueError) as caught:
        rules.load(path)
    assert caught.value.code == "definition.broken"
    assert f"{path}:3" in str(caught.value.params["complaints"])


@pytest.mark.parametrize("name", ["frugall", "", "x" * 300])
def test_a_name_that_is_not_there_is_missing(name: str) -> None:
    with pytest.raises(FabriqueError) as caught:
        rules.load(name)
    assert caught.value.code == "definition.missing"


def test_a_file_that_is_not_there_is_said_as_a_file(tmp_path: Path) -> None:
    with pytest.raises(FabriqueError) as caught:
        rules.load(tmp_path / "none.yaml")
    assert caught.value.code == "definition.broken" and "no such file" in str(caught.value.params["complaints"])


def test_a_name_of_ours_is_ours_whatever_lies_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "easy").write_text("name: easy\nversion: 9\n", encoding="utf-8")
    assert rules.load("easy") == EASY


@pytest.mark.parametrize("name", READY)
def test_in_quebec_a_job_is_a_task(name: str) -> None:
    purpose = rules.catalogue()[name].purpose
    assert purpose is not None and "job" not in purpose.said("fr-CA")
