"""Reading one small file of the kernel's: bounded, and never trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_MOST_BYTES: Final = 4_096


def text(path: Path) -> str | None:
    """The file's text without surrounding blanks, or None when it is not there, not ours to read or not text."""
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES).decode("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None


def whole_number(path: Path) -> int | None:
    """The file's one decimal number, never negative, below 2^64; None for anything else."""
    found = text(path)
    if found is None or not (found.isascii() and found.isdigit()) or len(found) > 20:
        return None
    return int(found)
