"""Starting a shim: a fresh, small Python that owes nothing to its starter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from fabrique.core.errors import FabriqueError
from fabrique.engines import records

SOURCE: Final = str(Path(__file__).resolve().parents[2])
SHIM_LOG: Final = "shim.log"
_TAKEN_WITHIN_S: Final = 30


def python(module: str, call: str) -> list[str]:
    """A command that runs `call` of one of our modules without site packages, environment or user's settings."""
    begin = f"import sys; sys.path.insert(0, {SOURCE!r}); from fabrique.engines import {module}; {call}"
    return [sys.executable, "-I", "-S", "-c", begin]


def launch(run: Path) -> None:
    """Start a shim on the run folder; returns once some shim has taken the run, this one or an earlier.

    Raises `engine.unavailable` when none could be started.
    """
    command = [*python("shim", "shim.main(sys.argv[1])"), str(run)]
    _call(command, run)


def launch_and_wait(run: Path, timeout_s: float) -> None:
    """The same, to the end of the run: for trying an isolation once. Raises `engine.unavailable`."""
    _call([*python("shim", "shim.main(sys.argv[1], stay=True)"), str(run)], run, timeout_s)


def _call(command: list[str], run: Path, timeout_s: float = _TAKEN_WITHIN_S) -> None:
    try:
        with open(run / SHIM_LOG, "ab") as log:
            subprocess.run(
                command,
                cwd="/",
                env={records.MARK: str(run)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                timeout=timeout_s,
                check=True,
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise FabriqueError("engine.unavailable", why=_last_line(run) or type(error).__name__) from None


def _last_line(run: Path) -> str:
    try:
        lines = (run / SHIM_LOG).read_bytes()[-2_000:].decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
