"""The processes of a run, read from /proc (proc(5)): who they are, what they use, how they end.

Imported by the shim: the standard library only, and little of it.
"""

# Pathlib alone would take a fifth of the time the shim has to start.
# ruff: noqa: PTH208

from __future__ import annotations

import contextlib
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_TICK_MS = 1000 // os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Process:
    """One line of /proc/<pid>/stat; `cpu_ms` includes the children it has waited for."""

    __slots__ = ("cpu_ms", "parent", "pid", "rss", "waited_ms")

    def __init__(self, pid: int, fields: list[bytes]) -> None:
        self.pid = pid
        self.parent = int(fields[1])
        self.waited_ms = (int(fields[13]) + int(fields[14])) * _TICK_MS
        self.cpu_ms = (int(fields[11]) + int(fields[12])) * _TICK_MS + self.waited_ms
        self.rss = max(0, int(fields[21])) * _PAGE


def look(pid: int) -> Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return Process(pid, file.read().rpartition(b") ")[2].split())
    except (FileNotFoundError, ProcessLookupError, IndexError, ValueError):
        return None


def descendants(root: int) -> list[Process]:
    """Every process below `root`, parents first; the snapshot is as good as /proc is: read it again after acting."""
    children: dict[int, list[Process]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (process := look(int(name))):
            children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    front = [root]
    while front:
        below = children.pop(front.pop(), [])
        found += below
        front += [process.pid for process in below]
    return found


def proportional(processes: Iterable[Process]) -> int:
    """Their memory in bytes with shared pages counted once (PSS); the resident size where PSS may not be read."""
    total = 0
    for process in processes:
        try:
            with open(f"/proc/{process.pid}/smaps_rollup", "rb") as file:
                lines = [line.split() for line in file if line.startswith(b"Pss:")]
            total += int(lines[0][1]) * 1024
        except (OSError, IndexError, ValueError):
            total += process.rss
    return total


def catches(pid: int, number: int) -> bool:
    """Whether the process has a handler for that signal."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            masks = [line.split()[1] for line in file if line.startswith(b"SigCgt:")]
        return bool(masks) and bool(int(masks[0], 16) >> (number - 1) & 1)
    except (OSError, ValueError):
        return False


def send(pid: int, number: int) -> None:
    """Signal a process that may be gone, or no longer ours, by now."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def end_below(root: int) -> None:
    """KILL everything below `root` once; what is born meanwhile needs another call."""
    for process in descendants(root):
        send(process.pid, signal.SIGKILL)


def marked(marker: bytes) -> list[int]:
    """Processes whose initial environment has `marker` (NAME=value), except this one."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if marker in file.read().split(b"\0"):
                    found.append(int(name))
        except OSError:
            continue
    return found
