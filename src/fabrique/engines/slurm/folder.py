"""What the engine itself remembers of a run that it submits: one folder a run, on a file system that the nodes share.

runs/<intent>/spec.json       the order, written before Slurm is asked; the first one wins
runs/<intent>/asked.json      when Slurm was asked, and has not answered yet
runs/<intent>/submitted.json  Slurm's id of the job
runs/<intent>/end.json        how it ended, once that is certain
runs/<intent>/cancel, preempt, hold, output, missing
runs/<intent>/work/           the job's own: its script, its output
"""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from fabrique.core.errors import FabriqueError
from fabrique.engines import records
from fabrique.engines.protocol import check_intent

ASKED: Final = "asked.json"
SUBMITTED: Final = "submitted.json"
END: Final = "end.json"
MISSING: Final = "missing"
OUTPUT: Final = "output"
_LOCK: Final = "lock"
_PURGED: Final = ".purged"


class Answering:
    """Turns what the operating system refuses into `engine.unavailable`."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, OSError):
            raise FabriqueError("engine.unavailable", why=error.strerror or str(error)) from None


class Folder:
    """One run's. Raises `job.field` for an intent that is no safe name; a full or broken disk as what it is."""

    def __init__(self, root: Path, intent: str) -> None:
        self.root, self.intent = root, check_intent(intent)
        self.path = root / intent
        self.work = self.path / records.WORK
        self.output = self.work / records.LOG

    def read(self, name: str) -> dict[str, Any] | None:
        """None also for one that can't be read: then it proves nothing."""
        try:
            return records.read(str(self.path / name))
        except records.BrokenRecordError:
            return None

    def has(self, name: str) -> bool:
        return (self.path / name).exists()

    def write(self, name: str, record: dict[str, Any]) -> None:
        self.make()
        records.write(str(self.path / name), record)

    def write_once(self, name: str, record: dict[str, Any]) -> bool:
        self.make()
        return records.write_once(str(self.path / name), record)

    def forget(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def marks(self) -> Mapping[str, int]:
        """What was done to end it, and when: `preempt`, `output`."""
        told = {name: self.read(name) for name in (records.PREEMPT, OUTPUT)}
        return {name: int(record.get("at", 0)) for name, record in told.items() if record is not None}

    def make(self) -> None:
        # jobs under their own users walk through it to what is theirs, and can list nothing
        self.path.mkdir(mode=0o711, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One caller at a time, of whatever process."""
        self.make()
        descriptor = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def make_work(self, user: str | None) -> None:
        """The job's own folder. Raises `engine.refused` when it can't be given to its user."""
        self.make()
        try:
            self.work.mkdir(mode=0o700, exist_ok=True)
            if user is not None:
                entry = pwd.getpwnam(user)
                os.chown(self.work, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
        except (KeyError, PermissionError) as error:
            raise FabriqueError("engine.refused", why=f"a folder for {user}: {error}") from None

    def log(self, offset: int, limit: int) -> tuple[bytes, int]:
        """Bytes of the job's output, and its size. The job owns that file and may have put anything in its place."""
        try:
            descriptor = os.open(self.output, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return b"", 0
        try:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode) or about.st_nlink != 1:
                return b"", 0
            return os.pread(descriptor, max(0, limit), offset), about.st_size
        finally:
            os.close(descriptor)

    def output_bytes(self) -> int | None:
        try:
            about = self.output.lstat()
        except OSError:
            return None
        return about.st_size if stat.S_ISREG(about.st_mode) else None

    def purge(self) -> None:
        """Gone with all that is in it; that it was stays known for as long as Slurm may speak of it."""
        graves = self.root / _PURGED
        graves.mkdir(mode=0o700, exist_ok=True)
        (graves / self.intent).touch(mode=0o600)
        gone = self.root / f".{self.intent}.{os.urandom(4).hex()}"
        with suppress(FileNotFoundError):
            self.path.rename(gone)
            _delete(gone)

    @property
    def purged(self) -> bool:
        return (self.root / _PURGED / self.intent).exists()


def intents(root: Path) -> list[str]:
    """The runs that have a folder, in the order of their names."""
    with os.scandir(root) as entries:
        return sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir(follow_symlinks=False))


def _delete(folder: Path) -> None:
    """Symbolic links are removed, never followed; folders that their owner closed are opened where they are ours."""
    if os.geteuid() != 0:
        for parent, folders, _ in os.walk(folder):
            for path in (Path(parent, name) for name in folders):
                if not path.is_symlink():
                    path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)
