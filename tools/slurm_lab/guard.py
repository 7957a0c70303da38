"""A lab that lives as long as a block of code, however that ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from .lab import SlurmLab

VERB: Final = "guard"
COMMAND: Final = Path(__file__).parents[1] / "slurm_lab.py"


@contextmanager
def running(lab: SlurmLab, *, remove: bool = False) -> Iterator[SlurmLab]:
    """The lab, up while the block runs. Where this process is killed, a guard sees its pipe close and stops the lab.

    (A signal at the parent's death, as for one server, would come at the end of a *thread*, and steps of jobs have
    left the tree of their daemons.)
    """
    lab.prepare_folder()
    command = [sys.executable, str(COMMAND), VERB, "--folder", str(lab.folder), *(["--remove"] if remove else [])]
    warden = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield lab.up()
    finally:
        lab.down(remove=remove)
        if warden.stdin is not None:
            with suppress(OSError):
                warden.stdin.close()
        warden.wait(60)


def watch(lab: SlurmLab, *, remove: bool) -> None:
    """Wait until the owner's end of the pipe closes, by its will or its death; then stop the lab, if it is still up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(InterruptedError):
        sys.stdin.buffer.read()
    lab.down(remove=remove)
