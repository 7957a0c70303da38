"""The verifier in one file: alone, against true and false ledgers and statements, and against hostile files."""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection

from fabrique.apps.ledger.models import AccountBalance, Checkpoint, Entry, Hold, Posting
from fabrique.verifier import fabrique_verify as verifier

if TYPE_CHECKING:
    from conftest import Story

FILE = Path(verifier.__file__)
TABLES = (Entry, Posting, AccountBalance, Hold, Checkpoint)


def raw(value: object) -> object:
    """A cell as SQLite holds it, whichever database it comes from."""
    if isinstance(value, uuid.UUID):
        return value.hex
    return json.dumps(value) if isinstance(value, dict) else value


@pytest.fixture
def ledger_file(story: Story, tmp_path: Path) -> Path:
    """The story's tables in a SQLite file by themselves, their columns without any type or constraint."""
    path = tmp_path / "fabrique.sqlite3"
    with sqlite3.connect(path) as target, connection.cursor() as source:
        for model in TABLES:
            table, columns = model._meta.db_table, [str(f.column) for f in model._meta.concrete_fields]
            source.execute(f"SELECT {', '.join(columns)} FROM {table}")  # noqa: S608
            target.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
            rows = [tuple(map(raw, row)) for row in source.fetchall()]
            target.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})", rows)  # noqa: S608
    target.close()
    return path


Answer = Callable[..., tuple[int, dict[str, Any]]]


# --- by itself ----------------------------------------------------------------------------------------------------


def test_it_stands_alone_and_an_old_python_can_read_it() -> None:
    tree = ast.parse(FILE.read_text(encoding="utf-8"), feature_version=(3, 9))
    named = {
        alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    named |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert named - set(sys.stdlib_module_names) == {"cryptography"}


@pytest.mark.django_db
def test_it_runs_from_anywhere_with_python_and_cryptography(ledger_file: Path, tmp_path: Path) -> None:
    alone = tmp_path / "elsewhere" / "fabrique_verify.py"
    alone.parent.mkdir()
    shutil.copy(FILE, alone)
    done = subprocess.run(
        [sys.executable, "-I", str(alone), str(ledger_file)], cwd=alone.parent, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("OK: 24 entries")
    assert "not proven: no earlier checkpoint was given" in done.stdout


def test_a_reader_that_leaves_meets_no_traceback(ledger_file: Path) -> None:
    command = f'"{sys.executable}" "{FILE}" "{ledger_file}" 2>&1 1>&3 | cat; exit "${{PIPESTATUS[0]}}"'
    done = subprocess.run(
        ["bash", "-c", f"exec 3> >(true); sleep 0.5; {command}"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (141, "")


def test_usage_and_help() -> None:
    with pytest.raises(SystemExit) as usage:
        verifier.main([])
    assert usage.value.code == 2


# --- a ledger's file ------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_true_ledger(ledger_file: Path, answer: Answer, story: Story, tmp_path: Path) -> None:
    before = hashlib.sha256(ledger_file.read_bytes()).hexdigest()
    code, said = answer(ledger_file)
    assert (code, said["entries"], said["checkpoints"]) == (0, Entry.objects.count(), 2)
    assert said["postings"] == Posting.objects.count()
    earlier = tmp_path / "earlier.json"
    earlier.write_text(json.dumps(story.earlier))
    code, said = answer(ledger_file, "--checkpoint", str(earlier))
    assert (code, said["checkpoints"]) == (0, 3)
    assert not any("no earlier checkpoint" in text for text in said["unproven"])
    assert hashlib.sha256(ledger_file.read_bytes()).hexdigest() == before


FREE = {  # beside the chain, and said to be
    ("ledger_posting", "id"),
    ("ledger_accountbalance", "id"),
    ("ledger_checkpoint", "id"),
    ("ledger_hold", "pool"),
    ("ledger_hold", "frozen"),
}


@pytest.mark.django_db
@pytest.mark.parametrize("change", ["other", "null", "real", "text", "blob"])
def test_every_cell_of_a_row_counts(ledger_file: Path, answer: Answer, change: str) -> None:
    """Each column of each table, in one row, changed in kind and in value."""
    unseen = []
    for model in TABLES:
        table = model._meta.db_table
        for column in (f.column for f in model._meta.concrete_fields):
            if (table, column) in FREE:
                continue
            with sqlite3.connect(ledger_file) as database:
                middle = f"(SELECT rowid FROM {table} LIMIT 1 OFFSET (SELECT count(*) / 2 FROM {table}))"  # noqa: S608
                ((row, old),) = database.execute(f"SELECT rowid, {column} FROM {table} WHERE rowid = {middle}")  # noqa: S608
                new = changed(old, change)
                database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (new, row))  # noqa: S608
            code, said = answer(ledger_file)
            if code != 1 or not said["divergence"]:
                unseen.append((table, column, old, new, said))
            with sqlite3.connect(ledger_file) as database:
                database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (old, row))  # noqa: S608
    assert not unseen
    assert answer(ledger_file)[0] == 0


def changed(old: object, change: str) -> object:
    if change == "null":
        return None if old is not None else 1
    if change == "real":
        return 1.5
    if change == "text":
        return "\x1b[31mx"
    if change == "blob":
        return b"\xff\x00"
    return old + 1 if isinstance(old, int) else "x" + str(old)[1:]


@pytest.mark.django_db
@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM ledger_posting WHERE entry_id = 7 AND position = 3",
        "DELETE FROM ledger_posting WHERE entry_id = 24",
        "DELETE FROM ledger_entry WHERE seq = 24",
        "DELETE FROM ledger_posting WHERE entry_id = 9; DELETE FROM ledger_entry WHERE seq = 9",
        "DELETE FROM ledger_accountbalance WHERE rowid = 3",
        "DELETE FROM ledger_hold WHERE settled_id IS NULL",
        "INSERT INTO ledger_posting SELECT * FROM ledger_posting WHERE entry_id = 7 AND position = 3",
        "INSERT INTO ledger_entry SELECT * FROM ledger_entry WHERE seq = 7",
        "UPDATE ledger_posting SET position = 3 - position WHERE entry_id = 2 AND position IN (1, 2)",
        "UPDATE ledger_entry SET cause = CAST(x'ff' AS TEXT) WHERE seq = 7",
        "UPDATE ledger_hold SET amounts = '['",
        "UPDATE ledger_hold SET amounts = '{\"mJ\": [1]}'",
    ],
)
def test_rows_taken_put_in_or_swapped(ledger_file: Path, answer: Answer, sql: str) -> None:
    with sqlite3.connect(ledger_file) as database:
        database.executescript(sql)
    code, said = answer(ledger_file)
    assert code == 1, said
    assert said["divergence"]


@pytest.mark.django_db
def test_a_shortened_ledger_shows_against_a_checkpoint(ledger_file: Path, answer: Answer, story: Story) -> None:
    with sqlite3.connect(ledger_file) as database:
        for table, column in (("ledger_entry", "seq"), ("ledger_posting", "entry_id"), ("ledger_hold", "opened_id")):
            database.execute(f"DELETE FROM {table} WHERE {column} > 8")  # noqa: S608
        database.execute("UPDATE ledger_hold SET settled_id = NULL WHERE settled_id > 8")
        database.execute("DELETE FROM ledger_checkpoint")
        database.execute("DELETE FROM ledger_accountbalance")
        database.execute(
            "INSERT INTO ledger_accountbalance SELECT rowid, account, unit, balance, max(n) FROM ledger_posting"
            " GROUP BY account, unit"
        )
    assert answer(ledger_file)[0] == 0, "a shorter chain is a chain"
    code, said = answer(ledger_file, "--checkpoint", str(write(ledger_file, story.earlier)))
    assert code == 1
    assert "the chain ends at 8" in said["divergence"]


def write(beside: Path, data: object) -> Path:
    path = beside.parent / "earlier.json"
    path.write_text(json.dumps(data))
    return path


@pytest.mark.django_db
def test_a_copy_in_wal_mode_is_read_with_what_its_log_holds(ledger_file: Path, answer: Answer, tmp_path: Path) -> None:
    writer = sqlite3.connect(ledger_file)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    writer.execute("UPDATE ledger_posting SET amount = amount + 1 WHERE entry_id = 7 AND position = 3")
    writer.commit()
    copied = tmp_path / "copy"
    copied.mkdir()
    for name in ("fabrique.sqlite3", "fabrique.sqlite3-wal"):
        shutil.copy(tmp_path / name, copied / name)
    assert answer(ledger_file)[0] == 1, "beside a hub that writes"
    assert answer(copied / "fabrique.sqlite3")[0] == 1, "from a copy of the file and its log"
    without = tmp_path / "without.sqlite3"
    shutil.copy(ledger_file, without)
    assert answer(without)[0] == 0, "the file alone is what it was"
    writer.close()


# --- hostile files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"schema": "fabrique-statement/1"}',
        '{"schema": "fabrique-statement/2"}',
        '{"schema": "fabrique-statement/1", "schema": "fabrique-statement/1"}',
        '{"schema": NaN}',
        '{"schema": ' + "9" * 100_000 + "}",
        '{"schema": "\\ud800"}',
        "\x1b[2J" * 50,
    ],
)
def test_noise_cannot_run(text: str, answer: Answer) -> None:
    code, said = answer(text)
    assert code in (1, 2)
    assert bool(said["error"]) == (code == 2)


def test_files_that_are_none(answer: Answer, tmp_path: Path) -> None:
    broken = tmp_path / "broken.sqlite3"
    empty = tmp_path / "empty.sqlite3"
    for path, content in ((broken, b"SQLite format 3\x00" + b"\xff" * 5000), (tmp_path / "latin", b"\xff\xfe{}")):
        path.write_bytes(content)
    sqlite3.connect(empty).execute("CREATE TABLE ledger_entry (seq)").connection.close()
    for path in (broken, empty, tmp_path / "latin", tmp_path / "absent", tmp_path):
        code, said = answer(path)
        assert (code, said["ok"]) == (2, False), path
        assert "\n" not in said["error"]


def test_a_view_in_a_tables_place_is_not_run(answer: Answer, tmp_path: Path) -> None:
    endless = tmp_path / "endless.sqlite3"
    with sqlite3.connect(endless) as database:
        for table in verifier.TABLES[:-1]:
            database.execute(f"CREATE TABLE {table} (seq)")
        database.execute(
            "CREATE VIEW ledger_checkpoint AS WITH RECURSIVE more(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM more)"
            " SELECT n AS hub FROM more"
        )
    code, said = answer(endless)
    assert code == 2
    assert "ledger_checkpoint is missing" in said["error"]


def test_broken_checkpoints_cannot_run(answer: Answer, tmp_path: Path) -> None:
    path = tmp_path / "mark.json"
    for text in ("{}", "[]x", '{"seq": "1"}', "[7]", '{"checkpoint": {"seq": []}}'):
        path.write_text(text)
        code, said = answer({"schema": "fabrique-statement/1"}, "--checkpoint", str(path))
        assert (code, bool(said["error"])) == (2, True), text


@pytest.mark.django_db
def test_what_a_file_says_cannot_steer_the_terminal(ledger_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with sqlite3.connect(ledger_file) as database:
        database.execute(
            "UPDATE ledger_posting SET account = ? WHERE entry_id = 7 AND position = 3", ("\x1b[2J\u202e\n",)
        )
    assert verifier.main([str(ledger_file)]) == 1
    out = capsys.readouterr().out
    assert out.startswith("DIVERGED: ")
    assert out.strip().isascii()
    assert out.strip().isprintable()
