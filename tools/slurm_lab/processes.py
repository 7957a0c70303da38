"""The daemons of one lab: started in their foreground, known by pid and start time, and none left behind.

Each has SLURM_LAB=<folder> in its environment, so that even one whose file is lost is found again. The steps of jobs
leave the tree of their node's daemon, and what they run is another user's: they are looked for.
"""

from __future__ import annotations

import grp
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import psutil

MARK: Final = "SLURM_LAB"
NODE: Final = "SLURM_LAB_NODE"
PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
PAUSE_S: Final = 0.02


class LabError(RuntimeError):
    """The lab can't do it; the message says why, with the end of the log that knows."""


class PortTakenError(LabError):
    """A daemon found its port in use."""


def until(condition: Callable[[], Any], seconds: float, what: str, pause_s: float = PAUSE_S) -> Any:
    """The first true answer of `condition`; LabError when there was none in time."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise LabError(f"not in {seconds:g} s: {what}")
        time.sleep(pause_s)
    return answer


def as_user(name: str) -> dict[str, Any]:
    """Popen's arguments that make a process this user's; none where we are that user."""
    entry = pwd.getpwnam(name)
    if entry.pw_uid == os.geteuid():
        return {}
    groups = [group.gr_gid for group in grp.getgrall() if name in group.gr_mem]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}


class Daemons:
    """The processes of the lab in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, command: Sequence[str], user: str, more: Mapping[str, str]) -> None:
        """Start it unless it runs. Its output goes to `log/NAME.out`."""
        if self.find(name):
            return
        environment = {"PATH": PATH, "LANG": "C.UTF-8", MARK: str(self.folder), **more}
        with self._log(name).open("wb") as out:
            made = subprocess.Popen(
                command,
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                **as_user(user),
            )
        self._children[name] = made
        with suppress(psutil.NoSuchProcess):
            self._file(name).write_text(f"{made.pid} {psutil.Process(made.pid).create_time()}", encoding="ascii")

    def find(self, name: str) -> psutil.Process | None:
        """The running process of that name. A zombie is dead, and another's process with the same pid isn't ours."""
        try:
            pid, began = self._file(name).read_text(encoding="ascii").split()
            process = psutil.Process(int(pid))
            alive = process.create_time() == float(began) and process.status() != psutil.STATUS_ZOMBIE
        except (OSError, ValueError, psutil.Error):
            return None
        return process if alive else None

    def names(self) -> list[str]:
        """Those that run."""
        return [name for path in sorted((self.folder / "run").glob("*.pid")) if self.find(name := path.stem)]

    def ready(self, name: str, condition: Callable[[], Any], seconds: float) -> None:
        """Wait until a daemon answers. Raises at once when it died: `PortTakenError` where that is why."""

        def answers_or_died() -> Any:
            return condition() or self.find(name) is None

        try:
            until(answers_or_died, seconds, f"{name} answers")
        except LabError as late:
            raise LabError(f"{late}\n{self.tail(name)}") from None
        if self.find(name) is None:
            told = self.tail(name)
            taken = "already in use" in told or "unable to bind" in told.lower()
            raise (PortTakenError if taken else LabError)(f"{name} ended at its start:\n{told}")

    def tail(self, name: str, size: int = 1500) -> str:
        """The end of what it wrote."""
        paths = [self._log(name), self.folder / "log" / name]
        return "\n".join(p.read_text(encoding="utf-8", errors="replace")[-size:] for p in paths if p.exists())

    def stop(self, *names: str, how: int = signal.SIGTERM, within_s: float = 10) -> None:
        """Stop them, all at once; what did not end in time is killed."""
        found = {name: process for name in names if (process := self.find(name))}
        end(found.values(), how, within_s)
        for name in names:
            if name in self._children:
                with suppress(subprocess.TimeoutExpired):
                    self._children.pop(name).wait(within_s)
            self._file(name).unlink(missing_ok=True)

    def steps(self, node: str | None = None) -> list[psutil.Process]:
        """What is the lab's and no daemon: the steps of jobs with all beneath them, and orphans. `node`: its alone."""
        daemons = {process.pid for name in self.names() if (process := self.find(name))}
        ours = [p for p in psutil.process_iter() if p.pid not in daemons | {os.getpid()} and self._is_ours(p, node)]
        return list({p.pid: p for process in ours for p in [process, *_beneath(process)]}.values())

    def _is_ours(self, process: psutil.Process, node: str | None) -> bool:
        """A step writes its title over its environment: it is known by the log of its node, which it has open."""
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            if process.name() == "slurmstepd":
                logs = {Path(opened.path) for opened in process.open_files()}
                if any(log.parent == self.folder / "log" and node in (None, log.name) for log in logs):
                    return True
            environment = process.environ()
        except (psutil.Error, OSError):
            return False
        conf = str(self.folder / "etc" / "slurm.conf")
        orphan = "SLURM_JOB_ID" in environment and environment.get("SLURM_CONF") == conf
        whose = environment.get(NODE) or environment.get("SLURMD_NODENAME")
        return (environment.get(MARK) == str(self.folder) or orphan) and node in (None, whose)

    def sweep(self) -> None:
        """Kill what is left of the lab, jobs too. Twice, for what was being started."""
        for _ in range(2):
            end(self.steps(), signal.SIGKILL, 5)

    def _file(self, name: str) -> Path:
        return self.folder / "run" / f"{name}.pid"

    def _log(self, name: str) -> Path:
        return self.folder / "log" / f"{name}.out"


def _beneath(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def end(processes: Iterable[psutil.Process], how: int, within_s: float) -> None:
    """Signal them all, wait, kill the rest. A process that is gone is no error."""
    left = list(processes)
    for send in (how, signal.SIGKILL):
        for process in left:
            with suppress(psutil.Error):
                process.send_signal(send)
        left = [p for p in left if _lives(p)]
        deadline = time.monotonic() + within_s
        while left and time.monotonic() < deadline:
            time.sleep(PAUSE_S)
            left = [p for p in left if _lives(p)]


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
