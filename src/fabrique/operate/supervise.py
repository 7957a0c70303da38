"""Keep a few processes going together: start, watch, start again with back-off, and stop whole.

A child leaves the terminal's group, so that Ctrl-C reaches the supervisor alone, and gets TERM from the kernel when
the supervisor is gone, however that went (prctl(2), PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Final

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
STEADY_S: Final = 60.0  # a child that lived so long starts again without a pause
PATIENCE_S: Final = 20.0  # from TERM to KILL
_LOOK_S: Final = 0.2
_PR_SET_PDEATHSIG: Final = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Task:
    """One process to keep going. `environment` is on top of ours."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Child:
    task: Task
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = 0.0
    again_at: float = 0.0


class Supervisor:
    """Started and stopped from one thread. `say(name, what, seconds)` hears of each `ended` and `started`."""

    def __init__(self, tasks: Sequence[Task], say: Callable[[str, str, float], None]) -> None:
        self._children = [_Child(task) for task in tasks]
        self._say = say

    def start(self) -> None:
        for child in self._children:
            _start(child)

    def pids(self) -> dict[str, int]:
        """The processes that live."""
        return {c.task.name: c.process.pid for c in self._children if c.process and c.process.poll() is None}

    def look(self) -> None:
        """Notices who ended, and starts again those whose pause is over."""
        now = time.monotonic()
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                lived = now - child.started
                child.pause = 0.0 if lived > STEADY_S else _longer(child.pause)
                child.process, child.again_at = None, now + child.pause
                self._say(child.task.name, "ended", child.pause)
            if child.process is None and now >= child.again_at:
                _start(child)
                self._say(child.task.name, "started", 0.0)

    def watch(self, stop: Event, until: Callable[[], bool] = lambda: False) -> bool:
        """Looks until `stop` is set (False), or `until` says yes (True)."""
        while not stop.is_set():
            self.look()
            if until():
                return True
            stop.wait(_LOOK_S)
        return False

    def stop(self) -> None:
        """TERM to all, KILL to those that stay, and waits for every one."""
        living = [c.process for c in self._children if c.process is not None]
        for process in living:
            process.terminate()
        ends_at = time.monotonic() + PATIENCE_S
        for process in living:
            try:
                process.wait(max(ends_at - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def stop_on_signals() -> Event:
    """An event that TERM, INT and HUP set; whoever waits for it ends in order."""
    stop = Event()
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: stop.set())
    return stop


def _longer(pause: float) -> float:
    return min(pause * 2, LONGEST_PAUSE_S) if pause else FIRST_PAUSE_S


def _start(child: _Child) -> None:
    child.started = time.monotonic()
    child.process = subprocess.Popen(
        list(child.task.command),
        env={**os.environ, **child.task.environment},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=end_with(os.getpid()),
    )


def end_with(parent: int, number: signal.Signals = signal.SIGTERM) -> Callable[[], None]:
    """To be called in a child: the kernel sends it `number` when `parent` is gone."""

    def after_fork() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # it went between the fork and the call
            os._exit(0)

    return after_fork
