"""The small files by which a shim and its engine speak, and the identity of a process.

A reader sees a record whole or not at all. Imported by the shim: the standard library only, and little of it.
"""

# Pathlib alone would take a fifth of the time the shim has to start.
# ruff: noqa: PTH104, PTH108, PTH120

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Record = dict[str, Any]

ORDER = "spec.json"
CLAIM = "claim"
STARTED = "started.json"
HEARTBEAT = "heartbeat"
EXIT = "exit.json"
LOST = "lost.json"
CANCEL = "cancel"
PREEMPT = "preempt"
HOLD = "hold"
LOG = "out.log"
WORK = "work"
TEMPORARY = "tmp"
SCRIPT = "script"

# Names the run in the environment of all its processes. A folder is one run's; an intent may be another hub's as well.
MARK = "FABRIQUE_FOLDER"

_BOOT = "/proc/sys/kernel/random/boot_id"


class BrokenRecordError(ValueError):
    """A record is there and cannot be read."""


def write_once(path: str, record: Record) -> bool:
    """Create `path` durably, whole; False when it was there already. Of any number of callers, one gets True."""
    draft = _draft(path, record, durable=True)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(draft)
    _sync_folder(path)
    return True


def write(path: str, record: Record, durable: bool = True) -> None:
    """Replace `path` whole; `durable` also survives a power cut."""
    os.rename(_draft(path, record, durable), path)
    if durable:
        _sync_folder(path)


def read(path: str) -> Record | None:
    """The record at `path`; None when there is none. Raises `BrokenRecordError`."""
    try:
        with open(path, "rb") as file:
            record = json.loads(file.read())
    except FileNotFoundError:
        return None
    except ValueError:
        raise BrokenRecordError(path) from None
    if not isinstance(record, dict):
        raise BrokenRecordError(path)
    return record


def boot_id() -> str:
    with open(_BOOT, encoding="ascii") as file:
        return file.read().strip()


def identity() -> Record:
    """This process, told apart from any other that ever has its number: pid, start in ticks since boot, boot id."""
    pid = os.getpid()
    return {"pid": pid, "start": start_of(pid), "boot": boot_id()}


def is_alive(who: Record, boot: str) -> bool:
    """Whether the process of that identity lives. A zombie does not."""
    pid, start = who.get("pid"), who.get("start")
    return who.get("boot") == boot and type(pid) is int and start is not None and start_of(pid) == start


def start_of(pid: int) -> int | None:
    """Field 22 of /proc/<pid>/stat (proc(5)); None when the process is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if not fields or fields[0] in b"ZXx" else int(fields[19])


def _draft(path: str, record: Record, durable: bool) -> str:
    draft = f"{path}.{os.getpid()}-{os.urandom(4).hex()}"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        data = json.dumps(record, sort_keys=True).encode()
        while data:
            data = data[os.write(descriptor, data) :]
        if durable:
            os.fsync(descriptor)
    except OSError:
        os.unlink(draft)
        raise
    finally:
        os.close(descriptor)
    return draft


def _sync_folder(path: str) -> None:
    descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
