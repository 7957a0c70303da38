"""The lab's energy plugin: built where a compiler and Slurm's headers are; and the meter files that it reads."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from .processes import LabError

SOURCE: Final = Path(__file__).parent / "energy_file.c"
NAME: Final = "acct_gather_energy_file.so"  # Slurm finds a plugin by its file's name
FLAGS: Final = ("-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")


def build(folder: Path) -> Path:
    """The plugin's file, made unless it is there. LabError with the compiler's words where it can't be."""
    made = folder / NAME
    if made.exists():
        return made
    command = ["gcc", *FLAGS, "-o", str(made), str(SOURCE)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except FileNotFoundError:
        raise LabError("the energy plugin can't be built: gcc is not installed") from None
    if done.returncode != 0:
        raise LabError(f"the energy plugin can't be built:\n{done.stderr[-1500:]}")
    return made


def write(path: Path, millijoules: int, watts: int) -> None:
    """Set a meter, at once for who reads it."""
    new = path.with_suffix(".new")
    new.write_text(f"{millijoules} {watts}\n", encoding="ascii")
    new.chmod(0o644)
    new.replace(path)
