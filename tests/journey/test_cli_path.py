"""The whole path on the command line: init, apply, submit, wait, statement, verify; with a real loop and real jobs."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

ROOT = Path(__file__).parents[2]
ANA = "ana@startup.example"


class Home(Protocol):
    path: Path
    environment: dict[str, str]

    def run(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> Any: ...
    def start(self, *arguments: str) -> subprocess.Popen[str]: ...


@pytest.fixture
def english(home: Home) -> Home:
    home.environment.update({"LC_ALL": "C.UTF-8", "COLUMNS": "200"})
    return home


@contextmanager
def loop(home: Home) -> Iterator[subprocess.Popen[str]]:
    process = home.start("operate", "--json")
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def answer(home: Home, *arguments: str, code: int = 0, stdin: str | None = None) -> Any:
    done = home.run(*arguments, "--json", stdin=stdin)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def apply(home: Home, **changes: str) -> Any:
    given = [part for name, value in changes.items() for part in ("--set", f"{name}={value}")]
    form = ["--file", str(ROOT / "examples" / "apply.yaml")]
    return home.run("apply", "--mode", "lasalle_startup", *form, *given, "--name", "Ana", "--email", ANA, "--json")


def project_of(home: Home) -> str:
    done = apply(home)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["project"])


def submit(home: Home, project: str, body: str, *options: str) -> subprocess.CompletedProcess[str]:
    script = f"#!/bin/sh\n#fabrique walltime: 1m\n{body}\n"
    done: subprocess.CompletedProcess[str] = home.run(
        "--as", ANA, "submit", "-", "--project", project, *options, stdin=script
    )
    return done


# --- the path -----------------------------------------------------------------------------------------------------


def test_from_a_stranger_to_a_statement(english: Home, tmp_path: Path) -> None:
    home = english
    code = project_of(home)
    granted = answer(home, "--as", ANA, "project", code)["allocations"][0]
    assert granted["units"][0]["granted"] == str(10 * 3_600_000) and granted["script_line"].endswith(code)
    with loop(home):
        script = (ROOT / "examples" / "train.py").read_text().replace('os.environ.get("QUICK") == "1"', "True")
        job = answer(home, "--as", ANA, "submit", "-", "--project", code, "--wait", stdin=script)
    run = job["run"]
    assert job["state"] == "completed" and run["exit_code"] == 0 and job["reason"]["code"] == "end.completed"
    assert int(run["charged"]["core-ms:local-core"]) == run["elapsed_ms"] > 0
    assert int(run["energy_mj"]) > 0 and run["energy"]["basis"] == "modelled" and int(run["charged"]["uCAD"]) > 0
    log = answer(home, "--as", ANA, "log", str(job["number"]))
    assert "epoch  4/4" in log["text"] and "saved: digits.npz" in log["text"] and log["over"]
    statement_verifies(home, code, tmp_path)
    assert answer(home, "ledger", "verify")["ok"]


def statement_verifies(home: Home, code: str, folder: Path) -> None:
    """JSON with the single-file verifier; a checkpoint in it holds against the ledger; PDF and HTML are there."""
    for name in ("s.json", "s.pdf", "s.html"):
        assert home.run("--as", ANA, "statement", code, "--output", str(folder / name)).returncode == 0
    assert (folder / "s.pdf").read_bytes().startswith(b"%PDF") and "<html" in (folder / "s.html").read_text()
    assert home.run("ledger", "verifier", "--output", str(folder / "verify.py")).returncode == 0
    verifier = [sys.executable, "-I", str(folder / "verify.py"), str(folder / "s.json")]
    assert subprocess.run(verifier, capture_output=True, timeout=60).returncode == 0
    assert answer(home, "ledger", "verify", "--checkpoint", str(folder / "s.json"))["ok"]
    again = home.run("--as", ANA, "statement", code, "--output", str(folder / "s.json"))
    assert again.returncode == 5 and "[file.exists]" in again.stderr


def test_a_waited_job_that_fails_is_exit_code_1_and_its_log_is_tamed(english: Home) -> None:
    code = project_of(english)
    with loop(english):
        done = submit(english, code, "printf '\\033[31mred\\033[0m\\n'; exit 3", "--wait")
        assert done.returncode == 1 and "exit code 3" in done.stdout and "Wh (modelled)" in done.stdout
        assert english.run("--as", ANA, "log", "1").stdout == "\x1b[31mred\x1b[0m\n", "a pipe gets the bytes"
        assert on_terminal(english, "--as", ANA, "log", "1") == "red\r\n"
        assert on_terminal(english, "--as", ANA, "log", "1", "--raw") == "\x1b[31mred\x1b[0m\r\n"
        denied = english.run("log", "1")
        assert denied.returncode == 3 and denied.stdout == ""


def on_terminal(home: Home, *arguments: str) -> str:
    """What the command writes to a terminal."""
    ours, theirs = os.openpty()
    command = [str(Path(sys.executable).parent / "fabrique"), *arguments]
    process = subprocess.Popen(command, env=home.environment, stdout=theirs, stdin=theirs)
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 4096):
            said += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait(60) == 0
    return said.decode()


def test_a_running_job_is_cancelled_and_a_waiting_one_explained(english: Home) -> None:
    code = project_of(english)
    assert submit(english, code, "sleep 60", "--cores", "1").returncode == 0
    before = english.run("--as", ANA, "why", "1")
    assert before.returncode == 0 and "The control loop does not run" in before.stdout
    with loop(english):
        state = wait_for(english, lambda job: job["state"] == "running")
        assert state["ends_by_ms"] == state["run"]["started_ms"] + 60_000
        assert english.run("--as", ANA, "cancel", "1").returncode == 0
        ended = wait_for(english, lambda job: job["state"] == "cancelled")
    assert ended["reason"]["code"] == "end.cancelled" and int(ended["run"]["charged"]["core-ms:local-core"]) > 0
    assert english.run("--as", ANA, "cancel", "1").returncode == 5


def wait_for(home: Home, holds: Callable[[Any], bool]) -> Any:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        job = answer(home, "--as", ANA, "why", "1")
        if holds(job):
            return job
        time.sleep(0.2)
    raise AssertionError(job)


# --- bad input changes nothing ------------------------------------------------------------------------------------


def test_bad_input_is_one_message_and_changes_nothing(english: Home, tmp_path: Path) -> None:
    home = english
    wrong = apply(home, hours="many", colour="blue")
    assert wrong.returncode == 2 and "  hours: " in wrong.stderr and "  colour: " in wrong.stderr
    assert home.run("--as", ANA, "projects").returncode == 4, "not even an account was made"
    code = project_of(home)
    file = tmp_path / "job.sh"
    file.write_text("#!/bin/sh\n#fabrique walltime: soon\n#fabrique colour: blue\necho\n", encoding="utf-8")
    broken = home.run("--as", ANA, "submit", str(file), "--project", code)
    assert broken.returncode == 2 and f"{file}:2: walltime:" in broken.stderr and f"{file}:3: colour:" in broken.stderr
    refused = submit(home, code, "true", "--cores", "100000")
    assert refused.returncode == 5 and "[job.refused]" in refused.stderr
    assert home.run("submit", str(file), "--project", code).returncode == 2
    assert submit(home, "p-000000", "true").returncode == 4
    assert home.run("--as", ANA, "submit", str(tmp_path / "nope"), "--project", code).returncode == 2
    assert answer(home, "--as", ANA, "jobs")["jobs"] == []
    for done in (wrong, broken, refused):
        assert "Traceback" not in done.stderr


def test_not_eligible_is_said_at_once_and_is_exit_code_1(english: Home) -> None:
    done = apply(english, country="US")
    told = json.loads(done.stdout)
    assert done.returncode == 1 and told["state"] == "ineligible" and told["allocation"] is None
    assert [a["rule"] for a in told["answers"] if a["verdict"] == "fail"] == ["country"]


def test_the_desk_decides_and_says_why(english: Home) -> None:
    form = ["--set", "title=T", "--set", "summary=S", "--set", "need=N", "--set", "method=M", "--set", "supervisor=Bo"]
    form += ["--set", "organisation_kind=researcher", "--set", "country=CA", "--set", "hours=5", "--set", "months=1"]
    form += ["--set", "civilian=yes", "--set", "data_class=public"]
    for question in "personal-data human-participants misuse automated-decision".split():
        form += ["--set", f"ethics.{question}=no"]
    made = answer(
        english, "apply", "--mode", "lasalle_research", *form, "--set", "ethics.data-rights=yes", "--email", ANA
    )
    assert made["state"] == "submitted"
    waiting = answer(english, "applications", "--waiting")["applications"]
    assert [a["id"] for a in waiting] == [made["id"]]
    assert english.run("--as", ANA, "decide", made["id"], "--accept").returncode == 3, "not on one's own"
    decided = answer(english, "decide", made["id"][:8], "--accept", "--note", "Good work")
    assert decided["state"] == "awarded" and "Good work" in decided["reason"]["sentence"]
    assert english.run("decide", made["id"], "--accept").returncode == 5


# --- the home -----------------------------------------------------------------------------------------------------


def test_the_home_is_the_hubs_own_and_init_keeps_it(english: Home) -> None:
    home = english
    for name in ("fabrique.toml", "keys/ledger.key", "keys/django.key"):
        assert stat.S_IMODE((home.path / name).stat().st_mode) == 0o600
    for path in home.path.glob("fabrique.sqlite3*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = (home.path / "keys" / "ledger.key").read_text()
    again = home.run("init", "--hub", "ca-lasalle-hub")
    assert again.returncode == 0 and (home.path / "keys" / "ledger.key").read_text() == before
    other = home.run("init", "--hub", "lu-meluxina-ai")
    assert other.returncode == 5 and "[home.exists]" in other.stderr
    assert answer(home, "ledger", "verify")["entries"] == "1"


def test_verification_names_a_divergence_and_says_when_it_cannot_run(english: Home, tmp_path: Path) -> None:
    home = english
    if "FABRIQUE_DATABASE_URL" not in home.environment:
        import sqlite3

        with sqlite3.connect(home.path / "fabrique.sqlite3") as database:
            database.execute("UPDATE ledger_posting SET amount = amount + 1 WHERE id = 1")
        database.close()
        broken = home.run("ledger", "verify", "--json")
        assert broken.returncode == 1 and json.loads(broken.stdout)["first_divergence"]["seq"] == "1"
    noise = tmp_path / "noise.json"
    noise.write_text("[[[", encoding="utf-8")
    assert home.run("ledger", "verify", "--checkpoint", str(noise)).returncode == 2
    assert home.run("--home", str(tmp_path / "nowhere"), "ledger", "verify").returncode == 2


def test_a_reader_that_goes_away_is_no_traceback(english: Home) -> None:
    command = f"{Path(sys.executable).parent / 'fabrique'} hub show ca-lasalle-hub | head -1"
    done = subprocess.run(["bash", "-c", command], env=english.environment, capture_output=True, text=True, timeout=60)
    assert done.stderr == "" and done.stdout.count("\n") == 1


def test_the_next_command_names_the_home_where_it_must(english: Home, tmp_path: Path) -> None:
    environment = {k: v for k, v in english.environment.items() if k != "FABRIQUE_HOME"}
    command = [str(Path(sys.executable).parent / "fabrique"), "--home", str(english.path), "jobs"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert f"--home {english.path} submit" in done.stdout
    assert "--home" not in english.run("jobs").stdout


def test_a_new_link_signs_in_once(english: Home) -> None:
    link = answer(english, "sign-in")["link"]
    assert link.startswith("http://127.0.0.1:8000/sign-in/") and link != answer(english, "sign-in")["link"]


def test_an_invitation_printed_by_one_person_lets_another_in(english: Home) -> None:
    code = project_of(english)
    assert english.run("project", code).returncode == 0  # the operator's role sees it, and is no member
    assert english.run("invite", code).returncode == 3
    link = english.run("--as", ANA, "invite", code).stdout.strip()
    assert link.startswith("http://127.0.0.1:8000/join/")
    assert answer(english, "join", link)["project"] == code
    again = english.run("join", link)
    assert again.returncode == 3 and "[invitation.used]" in again.stderr and "Traceback" not in again.stderr
    token = answer(english, "--as", ANA, "invite", code)["link"].rpartition("/")[2]
    joined = english.run("--as", ANA, "join", token)
    assert joined.returncode == 0 and f"You are a member of the project {code}." in joined.stdout
    assert [m["role"] for m in answer(english, "--as", ANA, "project", code)["members"]] == ["pi", "member"]


def test_yes_and_no_are_taken_in_the_readers_language(english: Home) -> None:
    english.environment["LC_ALL"] = "fr_FR.UTF-8"
    assert apply(english, civilian="Oui", **{"ethics.misuse": "non"}).returncode == 0


def test_a_refusal_tells_the_time_as_the_hub_does(english: Home) -> None:
    code = project_of(english)
    script = "#!/bin/sh\n#fabrique walltime: 10m\n#fabrique deadline: 2020-01-01T12:00Z\n"
    done = english.run("--as", ANA, "submit", "-", "--project", code, stdin=script)
    assert done.returncode == 5 and "2020, 06:50" in done.stderr, "ten minutes before noon, in Montréal"


def test_a_question_left_open_is_asked_for_not_held_against(english: Home) -> None:
    done = apply(english, **{"ethics.misuse": ""})
    assert done.returncode == 2 and "ethics.misuse: This is needed." in done.stderr
    assert answer(english, "applications")["applications"] == [], "nothing was submitted, and nothing turned down"


def test_the_durations_that_a_mode_gives_are_named(english: Home) -> None:
    shown = english.run("apply", "--mode", "lasalle_startup", "--show").stdout
    assert " 1, 2, 3\n" in shown
    assert "local-core: 1 … 5,000\n" in shown and "1000000000000" not in shown  # the mode's sizes, not the field's
