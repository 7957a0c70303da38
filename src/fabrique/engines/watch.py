"""One running job, watched from beside it: its output, its limits, the requests made of it, its usage, its end.

Imported by the shim: the standard library only, and little of it.
"""

# Pathlib alone would take a fifth of the time the shim has to start.
# ruff: noqa: PTH110, T201

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time

from fabrique.engines import processes, records
from fabrique.engines.limits import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Record = dict[str, Any]

TICK_MS = 200
BEAT_MS = 1_000
_CHUNK = 65_536
_SETTLE_MS = 2_000  # for the output of a run whose processes are gone

asked_to_stop: list[int] = []  # TERM to the shim itself: the machine goes down


def now_ms() -> int:
    """Monotonic milliseconds: what durations are made of."""
    return time.monotonic_ns() // 1_000_000


def utc_ms() -> int:
    return time.time_ns() // 1_000_000


class Watch:
    """One running job: its output, its limits, its requests, its usage."""

    def __init__(self, order: Record, pid: int, answer: int, output: int) -> None:
        self.pid = pid
        self.answer = answer
        self.output = output
        self.log = os.open(records.LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        self.limit = int(order["output_limit"])
        self.signal: int | None = order["warning"]
        self.inside = int(order["inside"])  # how many processes stand between the shim and the run's first own
        self.start = now_ms()
        self.started = utc_ms()
        self.limits = Limits(
            self.start,
            order["walltime"],
            order["lead"],
            order["grace"],
            order["memory"],
            self.signal is not None,
            self.limit,
        )
        self.written = self.cpu = self.rss = self.most_rss = self.count = 0
        self.next_look = self.next_beat = self.start
        self.began = False
        self.verdict: Record | None = None

    def to_the_end(self) -> Record:
        """Watch until the keeper has answered or is gone; then leave nothing of the run behind."""
        while self.verdict is None:
            self._listen()
            self._heed_requests()
            self._look()
            self._act()
        self._settle()
        return self._exit_record(self.verdict)

    def _listen(self) -> None:
        """Sleep until there is output, an answer, or something to decide."""
        left = self.limits.next_at(now := now_ms()) - now
        poll = select.poll()
        poll.register(self.answer, select.POLLIN)
        if self.output >= 0:
            poll.register(self.output, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(left if 0 < left < TICK_MS else TICK_MS)}
        if self.output in ready:
            self._take_output()
        if self.answer in ready:
            self._read_answer()

    def _take_output(self) -> None:
        data = os.read(self.output, _CHUNK)
        if not data:
            os.close(self.output)
            self.output = -1
            return
        room = self.limit - self.written
        self.written += len(data)
        self._write_log(data[: max(0, room)])
        if 0 <= room < len(data):
            self._write_log(b"\n[fabrique] output limit of %d bytes reached: the job is ended\n" % self.limit)
            self.limits.see(now_ms(), self.rss, self.written)

    def _write_log(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self.log, data) :]
        except OSError as error:
            _complain("log", error)  # a full disk: the job goes on without its log

    def _read_answer(self) -> None:
        """The keeper says that the job began, then how it went; or it goes without a word."""
        text = os.read(self.answer, _CHUNK)
        for line in text.splitlines():
            word = json.loads(line)
            self.began = self.began or "began" in word
            self.verdict = word if "began" not in word else self.verdict
        if not text or self.verdict:
            _, status = os.waitpid(self.pid, 0)
            silent = {"status": status} if self.began else {"error": "the isolation could not be set up"}
            self.verdict = self.verdict or silent

    def _heed_requests(self) -> None:
        now = now_ms()
        if stopping():
            self.limits.shut_down(now)
        if os.path.exists(records.CANCEL):
            self.limits.cancel(now, _grace(records.CANCEL))
        if os.path.exists(records.PREEMPT):
            self.limits.preempt(now)

    def _look(self) -> None:
        """Measure the run, as often as its memory asks; beat each second."""
        now = now_ms()
        if now >= self.next_look:
            self._measure(now)
        if now >= self.next_beat:
            self.next_beat = now + BEAT_MS
            beat = {"at": utc_ms(), "elapsed": now - self.start, **self._usage()}
            try:
                records.write(records.HEARTBEAT, beat, durable=False)
            except OSError as error:
                _complain("heartbeat", error)

    def _measure(self, now: int) -> None:
        below = processes.descendants(self.pid)
        run = below[self.inside :]
        keepers = below[: self.inside] or [process for process in [processes.look(self.pid)] if process]
        memory = self.limits.memory
        self.count = len(run)
        reaped = sum(process.waited_ms for process in keepers)  # orphans the keeper has waited for
        self.cpu = max(self.cpu, sum(process.cpu_ms for process in run) + reaped)
        self.rss = sum(process.rss for process in run)
        if memory is not None and self.rss > memory:
            self.rss = processes.proportional(run)
        self.most_rss = max(self.most_rss, self.rss)
        self.limits.see(now, self.rss, self.written)
        self.next_look = now + (BEAT_MS if memory is None else BEAT_MS // 2 if self.rss < memory // 2 else TICK_MS)

    def _act(self) -> None:
        """Warn, TERM, KILL: whatever is due."""
        now = now_ms()
        if self.limits.wants_warning(now) and self.signal is not None:
            self._warn(self.signal)
        kill = self.limits.wants_kill(now)
        if kill or self.limits.wants_term(now):
            self.limits.ending.termed = True
            self._send(signal.SIGKILL if kill else signal.SIGTERM)

    def _warn(self, number: int) -> None:
        """Warn those who listen: a process without a handler would die of it, and lose its lead time."""
        listeners = [process for process in self._processes() if processes.catches(process.pid, number)]
        for process in listeners:
            processes.send(process.pid, number)
        self.limits.warned = bool(listeners)

    def _send(self, number: int) -> None:
        for process in self._processes():
            processes.send(process.pid, number)
            processes.send(process.pid, signal.SIGCONT)

    def _processes(self) -> list[processes.Process]:
        return processes.descendants(self.pid)[self.inside :]

    def _settle(self) -> None:
        """End whatever the keeper could not, and take the last of the output."""
        until = now_ms() + _SETTLE_MS
        while _reap_one_more():
            processes.end_below(os.getpid())
            time.sleep(0.01)
        while self.output >= 0 and now_ms() < until:
            if select.select([self.output], [], [], 0.1)[0]:
                self._take_output()

    def _usage(self) -> Record:
        return {"cpu_ms": self.cpu, "max_rss": self.most_rss, "output": self.written, "processes": self.count}

    def _exit_record(self, verdict: Record) -> Record:
        elapsed = now_ms() - self.start
        self.cpu = max(self.cpu, verdict.get("cpu_ms", 0))
        self.most_rss = max(self.most_rss, verdict.get("max_rss", 0))
        times = {"started_ms": self.started, "ended_ms": self.started + elapsed, "ended_wall_ms": utc_ms()}
        if "error" in verdict:
            told: Record = {key: verdict[key] for key in ("error", "interpreter") if key in verdict}
            return {"cause": "not-started", **times, **told, "usage": self._usage()}
        code = os.waitstatus_to_exitcode(verdict["status"])
        own = "completed" if code == 0 else "failed" if code > 0 else "signalled"
        if own == "signalled" and stopping():
            own = "lost"  # whoever takes the machine down signals the job as well as the shim
        return {
            "cause": self.limits.ending.cause if self.limits.took_effect() else own,
            "exit_code": code if code >= 0 else None,
            "signal": -code if code < 0 else None,
            **times,
            "usage": self._usage(),
        }


def _grace(path: str) -> int:
    try:
        return max(0, int((records.read(path) or {}).get("grace_ms", 0)))
    except (records.BrokenRecordError, TypeError, ValueError):
        return 0


def _reap_one_more() -> bool:
    """Whether a child, or an orphan of the run, is still there."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _complain(what: str, error: OSError) -> None:
    """To the shim's own log, which may be on the same full disk."""
    with contextlib.suppress(OSError):
        print(f"{what}: {error}", file=sys.stderr, flush=True)


def stopping() -> bool:
    return bool(asked_to_stop)
