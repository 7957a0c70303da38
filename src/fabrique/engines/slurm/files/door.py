"""What `job_submit.lua` has to know at each submission: the hub's last beat, what is free, what each account may take.

    fabrique-door 1
    beat 1800000000
    licences 528                   of 100 W, as they are set in Slurm now: no job is given more
    account p-3f9a2c 8 96          accelerators and cores that interactive work may take now
    partition gpu 12 480 7400      accelerators, cores and watts that are free now
    end

It is renewed each turn of the loop, whole. An account that may take nothing stands in it with zeros: the door knows
whose jobs it holds by this list.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MODE: Final = 0o644  # the controller reads it as its own user
STATE: Final = "slurm/door"  # in the hub's home, where the deployment says nothing else
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}")


@dataclass(frozen=True, slots=True)
class AccountRoom:
    """What interactive jobs of an account may take now, whole devices and cores."""

    account: str
    devices: int
    cores: int


@dataclass(frozen=True, slots=True)
class PartitionRoom:
    """What is free now in a partition, by Slurm's name; watts at the facility's meter, under the cap."""

    partition: str
    devices: int
    cores: int
    watts: int


def text(
    beat_ms: int, accounts: Iterable[AccountRoom], partitions: Iterable[PartitionRoom], licences: int | None = None
) -> str:
    """Raises ValueError for a name that could end a line. `licences` None: there are none, and no job gets any."""
    lines = ["fabrique-door 1", f"beat {beat_ms // 1000}", f"licences {max(licences or 0, 0)}"]
    for a in sorted(accounts, key=lambda a: a.account):
        lines.append(f"account {_plain(a.account.lower())} {max(a.devices, 0)} {max(a.cores, 0)}")
    for p in sorted(partitions, key=lambda p: p.partition):
        numbers = f"{max(p.devices, 0)} {max(p.cores, 0)} {max(p.watts, 0)}"
        lines.append(f"partition {_plain(p.partition)} {numbers}")
    return "\n".join([*lines, "end", ""])


def write(
    path: Path,
    beat_ms: int,
    accounts: Iterable[AccountRoom],
    partitions: Iterable[PartitionRoom],
    licences: int | None = None,
) -> None:
    """Renews the file; a reader sees the old one or the new one. Not synced: a beat that a crash took is no loss.

    Raises OSError.
    """
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, MODE)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        os.fchmod(file.fileno(), MODE)
        file.write(text(beat_ms, accounts, partitions, licences))
    new.replace(path)


def licences(path: Path) -> int:
    """How many the hub last said there are; 0 where it never did, or its file can't be read."""
    try:
        with path.open(encoding="ascii") as file:
            head = [file.readline(64) for _ in range(3)]
    except (OSError, ValueError):
        return 0
    word, _, number = head[2].strip().partition(" ")
    return int(number) if word == "licences" and number.isdigit() else 0


def _plain(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name in Slurm: {name!r}")
    return name
