"""`fabrique hub`: the definitions, without a home."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fabrique.cli.main import app
from fabrique.definitions import hubs

ENGLISH = {"LC_ALL": "C.UTF-8", "COLUMNS": "200"}


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), env=env or ENGLISH)


def answer(*arguments: str) -> Any:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_list_names_every_hub_with_what_is_unknown_and_assumed() -> None:
    found = answer("hub", "list")["hubs"]
    assert [hub["id"] for hub in found] == list(hubs.builtin())
    lasalle = next(hub for hub in found if hub["id"] == "ca-lasalle-hub")
    assert lasalle["country"] == "CA-QC" and lasalle["sites"] == ["lasalle"] and lasalle["currency"] == "CAD"
    assert lasalle["nulls"] > 0 and lasalle["assumptions"] == len(hubs.load_builtin("ca-lasalle-hub").assumptions)


def test_list_is_a_table_in_the_language_of_the_reader() -> None:
    assert "not published" in run("hub", "list").stdout
    assert "non publié" in run("hub", "list", env={"LC_ALL": "fr_FR.UTF-8"}).stdout
    assert "non publié" in run("--language", "fr-ca", "hub", "list").stdout


def test_show_tells_facts_from_gaps_and_assumptions() -> None:
    facts = {fact["path"]: fact for fact in answer("hub", "show", "ca-lasalle-hub")["facts"]}
    known, assumed = facts["sites.lasalle.power_cap_w"], facts["sites.lasalle.pue_permille"]
    assert known["value"] == 3_000_000 and known["source"] and known["status"] == "seed"
    assert assumed["value"] is None and assumed["assumed"] and assumed["why"]
    shown = run("hub", "show", "ca-lasalle-hub").stdout
    assert "not published" in shown and "assumed:" in shown


def test_show_of_an_unknown_hub_is_missing() -> None:
    done = run("hub", "show", "nowhere")
    assert done.exit_code == 4 and "[definition.missing]" in done.stderr and done.stdout == ""


def test_check_says_every_complaint_at_its_line(tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("id: my-hub\nsurprise: 1\ncurrency: EURO\n", encoding="utf-8")
    done = run("hub", "check", str(file))
    assert done.exit_code == 2
    assert f"{file}:2: surprise: unknown key" in done.stderr
    assert len([line for line in done.stderr.splitlines() if f"{file}:" in line]) > 5
    assert "Traceback" not in done.output


def test_a_choice_is_named_in_no_language_but_the_readers(tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("id: my-hub\nphase: nearly\n", encoding="utf-8")
    said = run("hub", "check", str(file), env={"LC_ALL": "fr_FR.UTF-8"}).stderr
    assert "phase\u00a0: valeurs admises\u00a0: announced, building, operational, unknown\n" in said
    assert "operational, unknown\n" in run("hub", "check", str(file)).stderr


def test_check_answers_json_with_each_complaint(tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("id: [", encoding="utf-8")
    done = run("hub", "check", str(file), "--json")
    error = json.loads(done.stdout)["error"]
    assert done.exit_code == 2 and error["code"] == "definition.broken"
    assert error["params"]["complaints"][0]["file"] == str(file)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a: &x [*x, *x]", b"!!python/object:os.system x", b"\0" * 100])
def test_check_survives_hostile_files(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "hostile.yaml"
    file.write_bytes(content)
    done = run("hub", "check", str(file))
    assert done.exit_code == 2 and "Traceback" not in done.output and str(file) in done.stderr


def test_new_writes_a_definition_that_checks(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    assert run("hub", "new", "mine", "--output", str(file)).exit_code == 0
    checked = answer("hub", "check", str(file))
    assert checked["complaints"] == [] and checked["hub"]["id"] == "mine"
    assert run("hub", "new", "mine").stdout == file.read_text(encoding="utf-8")


def test_new_never_overwrites(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("precious", encoding="utf-8")
    done = run("hub", "new", "mine", "--output", str(file))
    assert done.exit_code == 5 and "[file.exists]" in done.stderr
    assert file.read_text(encoding="utf-8") == "precious"


def test_new_refuses_an_id_that_is_none() -> None:
    done = run("hub", "new", "mine.yaml")
    assert done.exit_code == 2 and "ID: mine.yaml" in done.stderr, "the message names what is wrong"
    assert run("hub", "new", "../etc").exit_code == 2
