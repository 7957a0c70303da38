"""The power level of a job, as its node's prolog reads it: one file a job, in a folder that the hub alone writes.

It never comes from what a user can write. A job without a file runs at its node's own limit.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from fabrique.engines.slurm.files.install import write_whole

LEVELS: Final = "slurm/levels"  # in the hub's home, where the deployment says nothing else
MOST: Final = 5_000  # watts or MHz: above it is no level of one device


@dataclass(frozen=True, slots=True)
class Level:
    """Of each of the job's devices: a power limit in W, or a highest clock in MHz."""

    what: Literal["limit_w", "clock_mhz"]
    value: int


def put(folder: Path, job: int, level: Level) -> None:
    """Before the job is released. Raises OSError, ValueError for a level that no device has."""
    if not 0 < level.value <= MOST or job < 1:
        raise ValueError(f"not a power level: {level} for {job}")
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_whole(folder / str(job), f"{level.what} {level.value}\n".encode(), 0o644)


def read(folder: Path, job: int) -> Level | None:
    """None: it has none."""
    try:
        words = (folder / str(job)).read_text(encoding="ascii").split()
    except FileNotFoundError:
        return None
    if len(words) == 2 and words[1].isdigit() and words[0] in ("limit_w", "clock_mhz"):
        return Level("limit_w" if words[0] == "limit_w" else "clock_mhz", int(words[1]))
    return None


def drop(folder: Path, job: int) -> None:
    """Once the job is over; no error where there is none."""
    (folder / str(job)).unlink(missing_ok=True)


def keep_only(folder: Path, jobs: Collection[int]) -> list[int]:
    """Drops every level of a job that is not among `jobs`, and answers those: a hub that was away catches up."""
    gone = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name.isdigit() and int(path.name) not in jobs:
            path.unlink(missing_ok=True)
            gone.append(int(path.name))
    return gone
