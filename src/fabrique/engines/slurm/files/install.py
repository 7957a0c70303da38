"""Puts the generated files down whole, never over one that is not ours, and tells whether they still are the same."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fabrique.core.errors import FabriqueError
from fabrique.engines.slurm.files.render import MARK, Generated

MOST_BYTES = 4_194_304
Why = Literal["missing", "changed", "mode", "foreign"]


@dataclass(frozen=True, slots=True)
class Difference:
    """`foreign`: a file of that name is there which nobody generated."""

    name: str
    why: Why


def check(folder: Path, wanted: Sequence[Generated]) -> list[Difference]:
    """How what is in `folder` differs from what would be generated; nothing is written."""
    found = []
    for file in wanted:
        there = _read(folder / file.name)
        if there is None:
            found.append(Difference(file.name, "missing"))
        elif MARK.encode() not in there[0][:400]:
            found.append(Difference(file.name, "foreign"))
        elif there[0] != file.content:
            found.append(Difference(file.name, "changed"))
        elif there[1] != file.mode:
            found.append(Difference(file.name, "mode"))
    return found


def put(folder: Path, wanted: Sequence[Generated]) -> list[str]:
    """Writes what differs and answers its names. Raises `file.exists` where a file is not ours: nothing is written."""
    differences = check(folder, wanted)
    for difference in differences:
        if difference.why == "foreign":
            raise FabriqueError("file.exists", file=str(folder / difference.name))
    folder.mkdir(parents=True, exist_ok=True)
    names = [d.name for d in differences]
    for file in wanted:
        if file.name in names:
            write_whole(folder / file.name, file.content, file.mode)
    return names


def write_whole(path: Path, content: bytes, mode: int) -> None:
    """`path` holds the old content or the new one, at every instant and after a crash. Raises OSError."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> tuple[bytes, int] | None:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES), os.fstat(file.fileno()).st_mode & 0o7777
    except FileNotFoundError:
        return None
