"""Asking a vendor's command-line tool one question: bounded in time and size, no shell, no environment of ours."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Final

_MOST_BYTES: Final = 1 << 20
# What a tool needs to find its libraries and to print numbers with a point; nothing of the hub's own environment.
_ENVIRONMENT: Final = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


class NoAnswerError(Exception):
    """The tool is not there, failed, took too long or printed too much: said in one line for an operator."""


def ask(command: Sequence[str], timeout_s: int = 10) -> str:
    """What `command` prints on its standard output. Raises NoAnswerError."""
    program = shutil.which(command[0], path=_ENVIRONMENT["PATH"])
    if program is None:
        raise NoAnswerError(f"{command[0]} is not installed")
    # A file, not a pipe: a tool that prints without end fills neither our memory nor blocks.
    with tempfile.TemporaryFile() as out:
        try:
            done = subprocess.run(
                [program, *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.DEVNULL,
                env=_ENVIRONMENT,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise NoAnswerError(f"{command[0]} did not answer within {timeout_s} s") from None
        except OSError as error:
            raise NoAnswerError(f"{command[0]} cannot be started: {error.strerror}") from None
        if done.returncode != 0:
            raise NoAnswerError(f"{command[0]} ended with {done.returncode}")
        out.seek(0)
        answer = out.read(_MOST_BYTES + 1)
    if len(answer) > _MOST_BYTES:
        raise NoAnswerError(f"{command[0]} printed more than {_MOST_BYTES} bytes")
    return answer.decode("utf-8", "replace")


def milliwatts(cell: str) -> int | None:
    """A power as tools print it ("101", "101.5", "101 W") in mW; None for "N/A" and all else."""
    whole, _, part = cell.removesuffix("W").strip().partition(".")
    if not (whole + part).isascii() or not whole.isdigit() or (part and not part.isdigit()) or len(whole) > 7:
        return None
    return int(whole) * 1000 + int((part + "000")[:3])
