"""The supervisor with real processes: it starts, starts again, stops whole, and takes its children with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from fabrique.operate import supervise
from fabrique.operate.supervise import Supervisor, Task

SLEEPER = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]


def until(holds: Callable[[], bool], seconds: float = 15) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.02)
    return holds()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except OSError:
        return False


def test_it_stops_every_child_and_waits() -> None:
    both = Supervisor([Task("a", SLEEPER), Task("b", SLEEPER)], lambda *_: None)
    both.start()
    pids = both.pids()
    assert set(pids) == {"a", "b"} and all(map(is_alive, pids.values()))
    both.stop()
    assert both.pids() == {} and not any(map(is_alive, pids.values()))


def test_a_child_that_ends_is_started_again_with_a_growing_pause() -> None:
    heard: list[tuple[str, str, float]] = []
    one = Supervisor([Task("a", [sys.executable, "-S", "-c", ""])], lambda *what: heard.append(what))
    one.start()
    try:
        assert one.watch(Event(), lambda: len([h for h in heard if h[1] == "ended"]) == 3)
    finally:
        one.stop()
    assert [pause for _, what, pause in heard if what == "ended"] == [0.5, 1.0, 2.0]
    assert [what for _, what, _ in heard][:3] == ["ended", "started", "ended"]


def test_a_child_that_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(supervise, "PATIENCE_S", 0.3)
    ready = tmp_path / "ready"
    deaf = f"import signal, time; signal.signal(15, signal.SIG_IGN); open({str(ready)!r}, 'w').close(); time.sleep(60)"
    one = Supervisor([Task("deaf", [sys.executable, "-S", "-c", deaf])], lambda *_: None)
    one.start()
    assert until(ready.exists)
    pid = one.pids()["deaf"]
    one.stop()
    assert not is_alive(pid)


def test_killed_outright_it_takes_its_children_with_it(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    program = (
        "import pathlib, sys, threading; from fabrique.operate.supervise import *;"
        f"s = Supervisor([Task('a', {SLEEPER!r})], print); s.start();"
        f"pathlib.Path({str(told)!r}).write_text(str(s.pids()['a'])); s.watch(threading.Event())"
    )
    supervisor = subprocess.Popen([sys.executable, "-c", program])
    try:
        assert until(lambda: told.exists() and told.read_text() != "")
        child = int(told.read_text())
        assert is_alive(child)
    finally:
        supervisor.send_signal(signal.SIGKILL)
        supervisor.wait()
    assert until(lambda: not is_alive(child))


def test_signals_set_the_event() -> None:
    before = {number: signal.getsignal(number) for number in supervise.STOP_SIGNALS}
    try:
        for number in supervise.STOP_SIGNALS:
            stop = supervise.stop_on_signals()
            os.kill(os.getpid(), number)
            assert stop.wait(5)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
