"""The home in one file, and a home out of such a file.

A backup is a gzipped tar of the deployment, the keys, the database and the records of runs (not the jobs' own files),
with a manifest of SHA-256 sums. It holds the hub's keys: it is written readable by its owner alone.

A restored hub has forgotten what came after the backup. It starts observe-only: it follows the runs that the engine
still holds and starts none, until an operator lets it act again (`resume`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Final

from fabrique.core.errors import FabriqueError
from fabrique.definitions import deployment
from fabrique.operate import dump

FORMAT: Final = "fabrique-backup/1"
MANIFEST: Final = "manifest.json"
SQLITE, DUMP = "database.sqlite3", "database.dump"
TOML, KEYS, RUNS, HOME_DATABASE = "fabrique.toml", "keys", "runs", "fabrique.sqlite3"
_NAME: Final = re.compile(
    r"fabrique\.toml|database\.(sqlite3|dump)|keys/[a-z]+\.key|runs/[a-z0-9][a-z0-9-]{1,80}/[a-z][a-z.]{1,40}", re.ASCII
)
_MANIFEST_MOST: Final = 256 * 2**20
_CHUNK: Final = 2**20
_MOST_BYTES: Final = 2**40  # unpacked: a terabyte of runs is no backup of ours
_END_OF_TIME_MS: Final = 253_402_300_800_000  # the year 10000


# --- backup -----------------------------------------------------------------------------------------------------


def back_up(home: Path, target: Path, hub: str, *, now: int) -> dict[str, Any]:
    """Writes `target`, while the hub runs, and answers its manifest.

    Raises `file.exists`, `program.missing` (PostgreSQL without pg_dump), `home.broken`.
    """
    with tempfile.TemporaryDirectory(prefix="fabrique-backup-") as folder:
        database = _copy_database(home, Path(folder))
        files = [(TOML, home / TOML), (database.name, database), *_keys(home), *_records(home)]
        handle = _create(target)
        try:
            with os.fdopen(handle, "wb") as out:
                manifest = _write(out, files, {"format": FORMAT, "hub": hub, "at_ms": now, "database": database.name})
                out.flush()
                os.fsync(out.fileno())
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    return manifest


def _create(target: Path) -> int:
    try:
        return os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise FabriqueError("file.exists", file=str(target)) from None


def _copy_database(home: Path, folder: Path) -> Path:
    """One consistent state of the database, first: a record of a run that is younger does no harm."""
    if dump.is_postgresql():
        return dump.write(folder / DUMP)
    with (
        closing(sqlite3.connect(f"{(home / HOME_DATABASE).as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(folder / SQLITE)) as copy,
    ):
        source.backup(copy)
    return folder / SQLITE


def _keys(home: Path) -> Iterator[tuple[str, Path]]:
    return ((f"{KEYS}/{path.name}", path) for path in sorted((home / KEYS).glob("*.key")))


def _records(home: Path) -> Iterator[tuple[str, Path]]:
    """What the engine wrote of each run; the folder `work` is the job's own and stays out."""
    for run in sorted((home / RUNS).glob("run-*")):
        for path in sorted(run.iterdir()):
            name = f"{RUNS}/{run.name}/{path.name}"
            if path.is_file() and not path.is_symlink() and _NAME.fullmatch(name):
                yield name, path


def _write(out: IO[bytes], files: list[tuple[str, Path]], manifest: dict[str, Any]) -> dict[str, Any]:
    sums: dict[str, str] = {}
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, path in files:
            try:
                with path.open("rb") as file:
                    sums[name] = _add(archive, name, file)
            except FileNotFoundError:  # a record that was replaced at this moment
                continue
        whole = {**manifest, "files": sums}
        _add(archive, MANIFEST, BytesIO(json.dumps(whole, indent=1).encode()))
    return whole


def _add(archive: tarfile.TarFile, name: str, file: IO[bytes]) -> str:
    """The file as it is now, to the length it has now: a log may grow meanwhile."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    reader = _Summing(file)
    archive.addfile(entry, reader)
    return reader.sum.hexdigest()


class _Summing:
    """Reads on, and keeps the SHA-256 of what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.sum = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.sum.update(data)
        return data


# --- restore ----------------------------------------------------------------------------------------------------


def restore(source: Path, home: Path, *, now: int) -> dict[str, Any]:
    """Makes a home of the backup, observe-only, and answers the manifest. Folders of runs still there are kept.

    Raises `backup.broken` (nothing was changed then), `home.exists`, `program.missing`.
    """
    for name in (TOML, KEYS, HOME_DATABASE):
        if (home / name).exists():
            raise FabriqueError("home.exists", home=str(home))
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".restoring-", dir=home.parent) as folder:
        draft = Path(folder)
        manifest = _unpack(source, draft)
        if deployment.read(draft / TOML)[0] is None:
            raise FabriqueError("backup.broken", why=TOML)
        _observe_only(draft, manifest, now=now)
        _put_in_place(draft, home)
    return manifest


def _unpack(source: Path, draft: Path) -> dict[str, Any]:
    """Every file of the archive below `draft`, named and summed as its manifest says."""
    sums: dict[str, str] = {}
    manifest: Any = None
    total = 0
    try:
        with tarfile.open(source, "r:gz") as archive:
            for entry in archive:
                file = archive.extractfile(entry) if entry.isreg() else None
                if file is None or entry.name in sums:
                    raise FabriqueError("backup.broken", why=ascii(entry.name)[1:81])
                if entry.name == MANIFEST and entry.size <= _MANIFEST_MOST:
                    manifest = json.loads(file.read())
                elif _NAME.fullmatch(entry.name) and (total := total + entry.size) <= _MOST_BYTES:
                    sums[entry.name] = _save(file, draft / entry.name)
                else:
                    raise FabriqueError("backup.broken", why=ascii(entry.name)[1:81])
    except (tarfile.TarError, EOFError, ValueError, RecursionError) as error:
        raise FabriqueError("backup.broken", why=str(error)[:80]) from None
    except OSError as error:
        if error.errno is None or error.filename is None:  # gzip's own complaint
            raise FabriqueError("backup.broken", why=str(error)[:80]) from None
        raise
    return _checked(manifest, sums)


def _save(file: IO[bytes], path: Path) -> str:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    total = hashlib.sha256()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        while chunk := file.read(_CHUNK):
            total.update(chunk)
            out.write(chunk)
    return total.hexdigest()


def _checked(manifest: Any, sums: dict[str, str]) -> dict[str, Any]:
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise FabriqueError("backup.broken", why=MANIFEST)
    at_ms = manifest.get("at_ms")
    if manifest.get("files") != sums or type(at_ms) is not int or not 0 <= at_ms < _END_OF_TIME_MS:
        raise FabriqueError("backup.broken", why="SHA-256")
    for needed in (f"{KEYS}/ledger.key", f"{KEYS}/django.key"):
        if needed not in sums:
            raise FabriqueError("backup.broken", why=needed)
    if TOML not in sums or manifest.get("database") not in (SQLITE, DUMP) or manifest["database"] not in sums:
        raise FabriqueError("backup.broken", why=str(manifest.get("database"))[:40])
    return manifest


def _observe_only(draft: Path, manifest: dict[str, Any], *, now: int) -> None:
    """Before the hub is where a loop could find it."""
    values = (now, manifest["at_ms"])
    statement = "UPDATE jobs_hubstate SET observe_only = {yes}, observe_only_since_ms = {p}, gap_from_ms = {p}"
    if manifest["database"] == DUMP:
        dump.read(draft / DUMP, statement.format(yes="TRUE", p="%s"), values)
        return
    try:
        with closing(sqlite3.connect(draft / SQLITE, isolation_level=None)) as database:
            if database.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise FabriqueError("backup.broken", why=SQLITE)
            database.execute(statement.format(yes="1", p="?"), values)
    except sqlite3.DatabaseError as error:
        raise FabriqueError("backup.broken", why=str(error)[:80]) from None


def _put_in_place(draft: Path, home: Path) -> None:
    """The deployment's file last: with it the home is a hub."""
    home.mkdir(mode=0o711, exist_ok=True)
    home.chmod(0o711)
    (home / RUNS).mkdir(mode=0o700, exist_ok=True)
    for run in sorted((draft / RUNS).glob("run-*")):
        if not (home / RUNS / run.name).exists():  # what is still there is younger
            shutil.move(run, home / RUNS / run.name)
    (draft / KEYS).rename(home / KEYS)
    if (draft / SQLITE).exists():
        (draft / SQLITE).rename(home / HOME_DATABASE)
    (draft / TOML).rename(home / TOML)
