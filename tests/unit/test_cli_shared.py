"""What every command has in common: its options, the home it means, what it writes, how it fails."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from fabrique.cli import context, failures, jobs, output, shared
from fabrique.cli.main import app
from fabrique.cli.shared import Call
from fabrique.core.errors import ERRORS, FabriqueError
from fabrique.definitions import jobscript


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("FABRIQUE_HOME", "HUB", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.chdir(tmp_path)
    shared.take(None, None, None, False, anew=True)


def leaves(command: Any, name: str = "") -> list[tuple[str, Any]]:
    inside = getattr(command, "commands", {})
    if not inside:
        return [(name, command)]
    return [leaf for word, sub in inside.items() for leaf in leaves(sub, f"{name} {word}".strip())]


# --- options ------------------------------------------------------------------------------------------------------


def test_every_command_has_the_shared_options_and_a_help_text() -> None:
    found = leaves(get_command(app))
    assert len(found) > 20
    for name, command in found:
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"--json", "--home", "--language", "--as"} <= options, name
        assert command.help, name
        assert [p.name for p in command.params if not getattr(p, "help", "") and p.name != "help"] == [], name


def test_submit_has_a_flag_for_every_key_of_a_header() -> None:
    assert set(jobs.FLAGS) == set(jobscript.KEYS)


def test_options_may_stand_on_either_side_and_the_later_wins() -> None:
    run = CliRunner().invoke
    assert json.loads(run(app, ["--json", "hub", "new", "a"]).stdout)["id"] == "a"
    assert json.loads(run(app, ["hub", "new", "a", "--json"]).stdout)["id"] == "a"
    run(app, ["--language", "fr", "--home", "x", "hub", "list", "--language", "en"])
    assert shared.current.call == Call(home=Path("x"), language="en")
    run(app, ["hub", "list"])
    assert shared.current.call == Call(), "a call forgets the one before it"


@pytest.mark.parametrize("arguments", [["hub", "list", "--nope"], ["nope"], ["submit"], ["init", "--port", "0"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2 and "Traceback" not in done.output


# --- the home -----------------------------------------------------------------------------------------------------


def test_the_home_is_the_option_then_the_variable_then_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert context.home_of(Call()) == tmp_path / ".fabrique" / context.DEFAULT_HUB
    monkeypatch.setenv("HUB", "lu-meluxina-ai")
    assert context.home_of(Call()) == tmp_path / ".fabrique" / "lu-meluxina-ai"
    assert context.home_of(Call(), "ca-lasalle-hub") == tmp_path / ".fabrique" / "ca-lasalle-hub"
    monkeypatch.setenv("FABRIQUE_HOME", str(tmp_path / "h"))
    assert context.home_of(Call()) == tmp_path / "h"
    assert context.home_of(Call(home=Path("o"))) == tmp_path / "o"


def test_a_hub_of_ones_own_has_a_home_of_its_own(tmp_path: Path) -> None:
    CliRunner().invoke(app, ["hub", "new", "mine", "--output", "file.yaml"])
    assert context.home_of(Call(), "file.yaml") == tmp_path / ".fabrique" / "mine"
    with pytest.raises(FabriqueError, match=r"definition\.missing"):
        context.home_of(Call(), "nowhere")


def test_the_only_home_is_meant_and_several_must_be_told_apart(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / ".fabrique" / name).mkdir(parents=True)
        (tmp_path / ".fabrique" / name / "fabrique.toml").write_text("x", encoding="utf-8")
        if name == "one":
            assert context.home_of(Call()) == tmp_path / ".fabrique" / "one"
    with pytest.raises(FabriqueError) as caught:
        context.home_of(Call())
    assert caught.value.code == "home.several" and caught.value.params["homes"] == ["one", "two"]


def test_without_a_hub_every_desk_command_says_so() -> None:
    for words in (["jobs"], ["project", "p"], ["why", "1"], ["apply"], ["operate", "--once"], ["resume"]):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 4 and "[home.missing]" in done.stderr, words
        assert not Path(".fabrique").exists()


def test_the_next_command_means_the_same_hub_and_person(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.argv", ["fabrique"])
    other = tmp_path / "a b"
    assert context.command_line(other, "ana@x.example", "jobs") == f"fabrique --home '{other}' --as ana@x.example jobs"
    monkeypatch.setenv("FABRIQUE_HOME", str(other))
    assert context.command_line(other, None, "jobs") == "fabrique jobs"


# --- what goes wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_every_error_is_a_sentence_with_its_code(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert failures.exit_code(FabriqueError(code)) == ERRORS[code].value
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("fabrique: ") and said.err.endswith(f" [{code}]\n")


def test_fields_and_reasons_are_said_below_the_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    failures.exit_code(FabriqueError("application.field", errors=[{"field": "hours", "code": "required"}]))
    assert "  hours: " in capsys.readouterr().err
    failures.exit_code(FabriqueError("right.denied", action="x", reason={"code": "right.none"}))
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_what_the_system_refuses_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert failures.exit_code(OSError(errno.ENOSPC, "No space left on device", "ledger")) == 6
    assert "ledger (No space left on device)" in capsys.readouterr().err
    assert failures.exit_code(KeyboardInterrupt()) == 130


def test_a_locked_database_is_unavailable(capsys: pytest.CaptureFixture[str]) -> None:
    from django.db import OperationalError

    assert failures.exit_code(OperationalError("database is locked")) == 6
    assert "database is locked" in capsys.readouterr().err


def test_what_is_a_defect_stays_one() -> None:
    with pytest.raises(ZeroDivisionError):
        failures.exit_code(ZeroDivisionError())


# --- what is written ----------------------------------------------------------------------------------------------


def test_integers_that_a_reader_might_round_are_texts(capsys: pytest.CaptureFixture[str]) -> None:
    output.document({"small": 2**53, "large": [2**53 + 1, -(2**60)], "yes": True})
    assert json.loads(capsys.readouterr().out) == {
        "small": 2**53,
        "large": [str(2**53 + 1), str(-(2**60))],
        "yes": True,
    }


def test_no_line_is_broken_at_a_no_break_space(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "PIPE_WIDTH", 17)
    output._console.cache_clear()
    output.table(["a"], [["reste 12\u00a0345\u202f678\u00a0W"]])
    output._console.cache_clear()
    assert capsys.readouterr().out == "a\nreste\n12\u00a0345\u202f678\u00a0W\n"


def test_tables_hold_no_control_characters_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(["a"], [["\x1b[2J[bold]x[/bold]\x07\u202e"]])
    shown = capsys.readouterr().out
    assert "[bold]x[/bold]" in shown and not {"\x1b", "\x07", "\u202e"} & set(shown)
    assert all(line == line.rstrip() for line in shown.splitlines())
