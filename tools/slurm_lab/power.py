"""The programs with which Slurm powers the lab's nodes up and down: the daemon starts and stops."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Final

COMMAND: Final = Path(__file__).parents[1] / "slurm_lab.py"
# Slurm runs them with its first three files closed: what is opened then would be taken for them.
PROGRAM: Final = """#!/bin/sh
exec </dev/null >>{log} 2>&1
for node in $({scontrol} show hostnames "$1"); do
    {python} {command} {verb} --folder {folder} "$node" </dev/null || exit 1
done
"""


def write(folder: Path) -> None:
    for name, verb in (("resume", "node-start --booted"), ("suspend", "node-stop")):
        words = {"log": folder / "log" / "power", "python": sys.executable, "command": COMMAND, "folder": folder}
        quoted = {key: shlex.quote(str(value)) for key, value in words.items()}
        path = folder / "etc" / name
        path.write_text(PROGRAM.format(**quoted, verb=verb, scontrol="/usr/bin/scontrol"), encoding="utf-8")
        path.chmod(0o755)
