"""`fabrique up` with real processes: ready, stopped whole by every signal, killed, restarted, busy port, data kept."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

FABRIQUE = Path(sys.executable).parent / "fabrique"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Up:
    """One `fabrique up --json` and the events it wrote."""

    def __init__(self, environment: dict[str, str], port: int) -> None:
        command = [str(FABRIQUE), "up", "--hub", "ca-lasalle-hub", "--port", str(port), "--json"]
        self.marker, self.port = environment["FABRIQUE_HOME"], port
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        self.ready = self.hear("ready")

    def hear(self, event: str) -> dict[str, Any]:
        """The next such event."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            told: dict[str, Any] = json.loads(line)
            if told["event"] == event:
                return told
        raise AssertionError(f"ended without {event}: {self.process.wait()}")

    def family(self) -> dict[int, str]:
        """Every process of this home but `up` itself: pid and command line."""
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != self.process.pid:
                command = command_of(folder)
                if self.marker in command and "fabrique.cli" in command:
                    found[int(folder.name)] = command
        return found

    def pid_of(self, word: str) -> int:
        """The first process of the command `word`: the parent of its workers."""
        return min(pid for pid, command in self.family().items() if f" {word}" in command)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def command_of(folder: Path) -> str:
    try:
        return (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def until(holds: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.1)
    return holds()


def answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


@pytest.fixture
def environment(fresh_environment: dict[str, str]) -> dict[str, str]:
    return {**fresh_environment, "LC_ALL": "C.UTF-8"}


def ask(environment: dict[str, str], *arguments: str) -> Any:
    done = subprocess.run(
        [str(FABRIQUE), *arguments, "--json"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_opens_is_stopped_whole_and_keeps_its_data(environment: dict[str, str]) -> None:
    port = free_port()
    first = Up(environment, port)
    assert first.ready["address"] == f"http://127.0.0.1:{port}" and answers(port)
    assert first.ready["sign_in"].startswith(f"http://127.0.0.1:{port}/sign-in/")
    assert first.ready["isolation"] in ("own-user", "bubblewrap", "landlock", "none")
    a_second_one_says_that_the_port_is_busy(environment, port)
    head = ask(environment, "ledger", "verify")["head"]
    assert len(first.family()) >= 3, "portal, its workers, loop"
    assert first.end(signal.SIGHUP) == 0
    assert first.family() == {} and not answers(port)
    second = Up(environment, port)
    try:
        assert ask(environment, "ledger", "verify")["ok"]
        assert ask(environment, "ledger", "verify")["head"] == head or ask(environment, "jobs")["jobs"] == []
    finally:
        assert second.end(signal.SIGTERM) == 0
    assert second.family() == {}


def a_second_one_says_that_the_port_is_busy(environment: dict[str, str], port: int) -> None:
    for words in (["up"], ["serve"]):
        done = subprocess.run(
            [str(FABRIQUE), *words, "--port", str(port)], env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 5 and f"Port {port} is in use" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_who_ends_is_started_again_and_killed_outright_nothing_stays(environment: dict[str, str]) -> None:
    up = Up(environment, free_port())
    for word, event in (("operate", "loop-started"), ("serve", "portal-started")):
        os.kill(up.pid_of(word), signal.SIGKILL)
        up.hear(event)
    assert until(lambda: answers(up.port))
    assert up.end(signal.SIGKILL) == -signal.SIGKILL
    assert until(lambda: up.family() == {}), up.family()
    assert until(lambda: not answers(up.port))


def test_a_busy_port_makes_no_home(environment: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [str(FABRIQUE), "up", "--port", port], env=environment, capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 5 and "[port.busy]" in done.stderr
    assert not Path(environment["FABRIQUE_HOME"]).exists()


def test_an_unknown_hub_is_one_message(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [str(FABRIQUE), "up", "--hub", "nowhere", "--port", str(free_port())],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 4 and "[definition.missing]" in done.stderr and "Traceback" not in done.stderr
    assert not Path(environment["FABRIQUE_HOME"]).exists()
