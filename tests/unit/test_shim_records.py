"""Records: whole or not there, first writer wins, a process is itself and no other."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from fabrique.engines import processes, records


def test_of_many_writers_one_wins(tmp_path: Path) -> None:
    path = str(tmp_path / "claim")
    won: list[int] = []

    def claim(number: int) -> None:
        if records.write_once(path, {"by": number}):
            won.append(number)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1 and records.read(path) == {"by": won[0]}
    assert [entry.name for entry in tmp_path.iterdir()] == ["claim"]


def test_a_record_is_replaced_whole(tmp_path: Path) -> None:
    path = str(tmp_path / "heartbeat")
    seen: set[int] = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            record = records.read(path)
            seen.add(len(record["text"]) if record else 0)

    records.write(path, {"text": ""})
    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(50):
        records.write(path, {"text": "x" * 100_000}, durable=False)
        records.write(path, {"text": ""}, durable=False)
    stop.set()
    reader.join()
    assert seen <= {0, 100_000}


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"7", b"\xff", b'{"a":1} trailing'])
def test_a_broken_record_is_said_to_be_broken(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "exit.json").write_bytes(text)
    with pytest.raises(records.BrokenRecordError):
        records.read(str(tmp_path / "exit.json"))
    assert records.read(str(tmp_path / "nothing")) is None


def test_a_record_does_not_follow_a_planted_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("whole")
    (tmp_path / "exit.json").symlink_to(tmp_path / "victim")
    records.write(str(tmp_path / "exit.json"), {"a": 1})
    assert (tmp_path / "victim").read_text() == "whole"
    assert not (tmp_path / "exit.json").is_symlink()


def test_a_process_is_alive_as_itself_only() -> None:
    me, boot = records.identity(), records.boot_id()
    assert records.is_alive(me, boot)
    assert not records.is_alive(me, "another-boot")
    assert not records.is_alive({**me, "start": me["start"] + 1}, boot)
    assert not records.is_alive({**me, "pid": 2**22 + 1}, boot)
    assert not records.is_alive({}, boot) and not records.is_alive({**me, "pid": "1"}, boot)


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["/bin/true"])
    until = time.monotonic() + 10
    while records.start_of(child.pid) is not None:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert Path(f"/proc/{child.pid}").exists()
    child.wait()


def test_a_process_with_a_difficult_name_is_read(tmp_path: Path) -> None:
    program = tmp_path / "a) R 1 (b"
    program.write_text("#!/bin/sh\nwhile :; do :; done\n")
    program.chmod(0o755)
    child = subprocess.Popen([program])
    try:
        found = processes.look(child.pid)
        assert found is not None and found.parent == os.getpid()
        assert child.pid in [process.pid for process in processes.descendants(os.getpid())]
    finally:
        child.kill()
        child.wait()
    assert processes.look(child.pid) is None
