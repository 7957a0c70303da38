"""What `job_submit.lua` has to know at each submission: the hub's last beat, what is free, what each account may take.

    fabrique-door 1
    beat 1800000000
    licences 5280 10               as many as are set in Slurm now, no job is given more; of so many watts each
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

from fabrique.core.units import ceil_divide

MODE: Final = 0o644  # the controller reads it as its own user
STATE: Final = "slurm/door"  # in the hub's home, where the deployment says nothing else
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,255}")
_LICENCES = re.compile(r"licences ([0-9]{1,10}) ([1-9][0-9]{0,3})\n")


@dataclass(frozen=True, slots=True)
class Licences:
    """Watt licences: how many there are in Slurm, and what each stands for."""

    there: int
    each_w: int

    def units(self, watts: int) -> int:
        """How many a job takes that may draw so much: never more than there are, or Slurm refuses it."""
        return min(ceil_divide(watts, self.each_w), self.there)


NONE: Final = Licences(0, 1)  # no job gets any


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
    beat_ms: int, accounts: Iterable[AccountRoom], partitions: Iterable[PartitionRoom], licences: Licences = NONE
) -> str:
    """Raises ValueError for a name that could end a line."""
    lines = ["fabrique-door 1", f"beat {beat_ms // 1000}", f"licences {max(licences.there, 0)} {licences.each_w}"]
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
    licences: Licences = NONE,
) -> None:
    """Renews the file. Raises OSError."""
    _renew(path, text(beat_ms, accounts, partitions, licences))


def introduce(path: Path, accounts: Iterable[str]) -> None:
    """Adds accounts that the file does not name yet, with nothing to take: the door holds their jobs from the first one
    on. Without a whole file nobody has spoken, and nothing is added. Raises OSError, ValueError as `text` does.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return
    known = {line.split()[1] for line in lines if line.startswith("account ")}
    new = [f"account {_plain(name)} 0 0" for name in sorted({a.lower() for a in accounts} - known)]
    if new and lines[-1:] == ["end"]:
        _renew(path, "\n".join([*lines[:-1], *new, "end", ""]))


def _renew(path: Path, content: str) -> None:
    """A reader sees the old file or the new one. Not synced: a beat that a crash took is no loss."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, MODE)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        os.fchmod(file.fileno(), MODE)
        file.write(content)
    new.replace(path)


def licences(path: Path) -> Licences:
    """As the hub last said; none where it never did, or its file can't be read."""
    try:
        with path.open(encoding="ascii") as file:
            head = [file.readline(64) for _ in range(3)]
    except (OSError, ValueError):
        return NONE
    match = _LICENCES.fullmatch(head[2])
    return Licences(int(match[1]), int(match[2])) if match else NONE


def _plain(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a name in Slurm: {name!r}")
    return name
