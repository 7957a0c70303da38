"""Backup and restore of a home: what comes back, observe-only, runs taken up, and backups that are none."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import signal
import stat
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import pytest

ROOT = Path(__file__).parents[2]
ANA = "ana@startup.example"


class Home(Protocol):
    path: Path
    environment: dict[str, str]

    def run(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> Any: ...
    def start(self, *arguments: str) -> subprocess.Popen[str]: ...


def answer(home: Home, *arguments: str, stdin: str | None = None) -> Any:
    done = home.run(*arguments, "--json", stdin=stdin)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@contextmanager
def loop(home: Home) -> Iterator[None]:
    process = home.start("operate", "--json")
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def until(look: Callable[[], Any], holds: Callable[[Any], bool]) -> Any:
    end = time.monotonic() + 60
    while not holds(found := look()):
        assert time.monotonic() < end, found
        time.sleep(0.2)
    return found


def state_of(home: Home, job: int) -> str:
    return str(answer(home, "--as", ANA, "why", str(job))["state"])


def lose_the_database(home: Home) -> None:
    """All but the runs, which go on: what a lost disk of the database leaves behind."""
    url = home.environment.get("FABRIQUE_DATABASE_URL")
    if url:
        import psycopg

        with psycopg.connect(url, autocommit=True) as server:
            server.execute("DROP SCHEMA public CASCADE")
            server.execute("CREATE SCHEMA public")
    for path in home.path.iterdir():
        if path.name != "runs":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture
def ready(home: Home) -> tuple[Home, str]:
    """A hub with a project."""
    home.environment["LC_ALL"] = "C.UTF-8"
    url = home.environment.get("FABRIQUE_DATABASE_URL")
    if url and shutil.which("pg_dump") is None:
        pytest.skip("pg_dump is not on the PATH")
    form = ["--file", str(ROOT / "examples" / "apply.yaml"), "--email", ANA]
    return home, str(answer(home, "apply", "--mode", "lasalle_startup", *form)["project"])


def submit(home: Home, project: str, body: str) -> int:
    script = f"#!/bin/sh\n#fabrique walltime: 2m\n#fabrique cores: 1\n{body}\n"
    return int(answer(home, "--as", ANA, "submit", "-", "--project", project, stdin=script)["number"])


def test_a_restored_hub_observes_takes_up_its_runs_and_resumes(ready: tuple[Home, str], tmp_path: Path) -> None:
    home, project = ready
    file = tmp_path / "backup.tar.gz"
    known = submit(home, project, "sleep 10")
    with loop(home):
        until(lambda: state_of(home, known), lambda state: state == "running")
    # The backup knows this job as waiting; it starts right after
    forgotten = submit(home, project, "echo once >>counted; sleep 10; cat counted")
    manifest = answer(home, "backup", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and manifest["hub"] == "ca-lasalle-hub"
    with loop(home):
        until(lambda: state_of(home, forgotten), lambda state: state == "running")
    lose_the_database(home)
    restored = home.run("restore", str(file))
    at = datetime.fromtimestamp(manifest["at_ms"] / 1000, ZoneInfo("America/Toronto"))
    assert restored.returncode == 0 and f"{at:%H:%M}" in restored.stdout, "in the hub's time"
    with loop(home):
        until(lambda: state_of(home, known), lambda state: state == "completed")
        waits = answer(home, "--as", ANA, "why", str(forgotten))
        assert waits["state"] == "pending" and waits["reason"]["code"] == "wait.observe-only"
        assert home.run("--as", ANA, "resume").returncode == 3, "only the operator"
        resumed = answer(home, "resume")
        assert resumed["adopted"] == [forgotten] and resumed["unknown"] == []
        gap = resumed["gap"]
        assert gap["from_ms"] == manifest["at_ms"] < gap["to_ms"]
        assert gap["length_ms"] == gap["to_ms"] - gap["from_ms"]
        until(lambda: state_of(home, forgotten), lambda state: state == "completed")
        assert answer(home, "--as", ANA, "log", str(forgotten))["text"] == "once\n"
        later = submit(home, project, "true")
        until(lambda: state_of(home, later), lambda state: state == "completed")
    assert answer(home, "ledger", "verify")["ok"]
    assert len(list((home.path / "runs").glob("run-*"))) == 3, "each job ran once"
    assert answer(home, "resume")["gap"] is None


def test_nothing_is_overwritten(ready: tuple[Home, str], tmp_path: Path) -> None:
    home, _ = ready
    file = tmp_path / "backup.tar.gz"
    answer(home, "backup", str(file))
    before = file.read_bytes()
    again = home.run("backup", str(file))
    assert again.returncode == 5 and "[file.exists]" in again.stderr and file.read_bytes() == before
    onto = home.run("restore", str(file))
    assert onto.returncode == 5 and "[home.exists]" in onto.stderr
    assert answer(home, "ledger", "verify")["ok"]


def test_a_backup_that_is_none_changes_nothing(ready: tuple[Home, str], tmp_path: Path) -> None:
    home, _ = ready
    file = tmp_path / "backup.tar.gz"
    answer(home, "backup", str(file))
    whole = file.read_bytes()
    flipped = bytearray(gzip.decompress(whole))
    flipped[len(flipped) // 2] ^= 1
    broken = {
        "noise": b"not a tar",
        "cut": whole[: len(whole) // 2],
        "flipped": gzip.compress(bytes(flipped), 1),
        "outside": archive({"../evil": b"x"}),
        "absolute": archive({"/tmp/evil": b"x"}),
        "stranger": archive({"keys/../../evil.key": b"x"}),
        "link": archive({}, link="keys/ledger.key"),
        "empty": archive({}),
        "forged": archive({"manifest.json": b'{"format": "fabrique-backup/1", "files": {}, "at_ms": 1}'}),
        "deep": archive({"manifest.json": b"[" * 100_000}),
    }
    for name, data in broken.items():
        path, target = tmp_path / name, tmp_path / f"home-{name}"
        path.write_bytes(data)
        done = home.run("--home", str(target), "restore", str(path))
        assert done.returncode == 2 and "[backup.broken]" in done.stderr, (name, done.stderr)
        assert "Traceback" not in done.stderr and not target.exists()
    assert not list(tmp_path.glob("**/evil*")) and not list(tmp_path.glob(".restoring-*"))


def archive(files: dict[str, bytes], link: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as made:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            made.addfile(entry, io.BytesIO(data))
        if link:
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            made.addfile(entry)
    return out.getvalue()
