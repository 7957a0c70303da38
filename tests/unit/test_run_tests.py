"""The runner of the tests tells the truth: its exit code, its last line, and what it could not run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TALLY = """
import json, sys
sys.path.insert(0, "tools")
import run_tests
tally = run_tests.Tally()
tally.count(json.loads(sys.argv[1]), "a run")
if sys.argv[2]:
    tally.leave_out("the tests on PostgreSQL", sys.argv[2])
sys.exit(tally.end(3))
"""
PASSED = {"outcome": "passed", "test": "a", "why": ""}
FAILED = {"outcome": "failed", "test": "b", "why": ""}
SKIPPED = {"outcome": "skipped", "test": "c", "why": "no GPU here"}


def tally(lines: list[dict[str, str]], left_out: str = "", ci: str = "") -> tuple[int, list[str]]:
    command = [sys.executable, "-c", TALLY, json.dumps(lines), left_out]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "CI": ci}, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout.splitlines()


def test_the_last_line_counts_every_outcome() -> None:
    code, said = tally([PASSED, PASSED, SKIPPED])
    assert (code, said[-1]) == (0, "2 passed, 0 failed, 1 skipped in 3s")


def test_one_failure_fails_the_whole() -> None:
    code, said = tally([PASSED, FAILED])
    assert (code, said[-1]) == (1, "1 passed, 1 failed, 0 skipped in 3s")


def test_what_was_skipped_is_named_with_its_reason() -> None:
    _, said = tally([SKIPPED])
    assert "=== skipped, because …" in said
    assert said[said.index("  no GPU here") + 1].strip() == "c  [a run]"


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_a_run_left_out_is_named_and_fails_with_ci(ci: str, code: int) -> None:
    ended, said = tally([PASSED], "PostgreSQL is not installed", ci)
    assert ended == code
    assert "  PostgreSQL is not installed" in said


CASES = """
import os
import pytest
def test_part(missing): missing("Chromium is not installed")
def test_traces(traces): pass
def test_home():
    from django.conf import settings
    assert str(settings.HOME) == os.environ["FABRIQUE_HOME"] != "elsewhere"
def test_marked(request, fresh_environment): assert request.node.get_closest_marker("database")
@pytest.mark.django_db
def test_file(request):
    from django.db import connection
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert os.environ["FABRIQUE_HOME"] in connection.settings_dict["NAME"]
    assert request.node.get_closest_marker("database")
@pytest.mark.soak
def test_long(): raise AssertionError("only with --soak")
"""


@pytest.mark.database
@pytest.mark.parametrize(("ci", "outcome"), [("", "skipped"), ("true", "failed")])
def test_a_missing_part_is_skipped_or_fails_and_traces_may_always_be_absent(
    tmp_path: Path, ci: str, outcome: str
) -> None:
    (tmp_path / "conftest.py").write_bytes((ROOT / "tests" / "conftest.py").read_bytes())
    (tmp_path / "test_cases.py").write_text(CASES, encoding="utf-8")
    environment = {**os.environ, "CI": ci, "FABRIQUE_TRACES": str(tmp_path / "absent"), "FABRIQUE_HOME": "elsewhere"}
    # a command called within this process names the settings in its environment: pytest would read them too early
    stale = {"DJANGO_SETTINGS_MODULE", "FABRIQUE_DATABASE_URL"}
    left = {k: v for k, v in environment.items() if not k.startswith("PYTEST") and k not in stale}
    outcomes = tmp_path / "outcomes.jsonl"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--outcomes={outcomes}"]
    command += ["-c", str(ROOT / "pyproject.toml"), f"--rootdir={tmp_path}", "-n", "1", str(tmp_path)]
    done = subprocess.run(command, env=left, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert outcomes.exists(), done.stdout + done.stderr
    found = {line["test"].rpartition("::")[2]: line["outcome"] for line in map(json.loads, outcomes.open())}
    assert found == {
        "test_part": outcome,
        "test_traces": "skipped",
        "test_home": "passed",
        "test_marked": "passed",
        "test_file": "passed",
    }, done.stdout + done.stderr


@pytest.mark.database
def test_a_private_postgresql_answers_and_goes(missing: object) -> None:
    code = (
        "import os, psycopg; print(psycopg.connect(os.environ['FABRIQUE_DATABASE_URL']).execute('select 1').fetchone())"
    )
    command = [sys.executable, "tools/postgres.py", sys.executable, "-c", f"{code}; raise SystemExit(7)"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    if done.returncode == 69:
        missing("PostgreSQL is not installed")  # type: ignore[operator]
    assert (done.returncode, done.stdout) == (7, "(1,)\n"), done.stderr
