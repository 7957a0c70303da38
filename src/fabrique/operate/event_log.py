"""The event log on disk: every decision of the loop, so that the twin can take it again from the log alone.

`<home>/decisions/<first instant>.jsonl`, at most `KEPT` files of about `MOST_BYTES`; the oldest goes. The log is
evidence, not memory: a disk that refuses it stops no decision, and the next line that gets through is a snapshot.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Final

from fabrique.core.admission import record
from fabrique.core.admission.record import NOTHING, Json

log = logging.getLogger("fabrique.loop")

FOLDER: Final = "decisions"
MOST_BYTES: Final = 8 * 2**20
KEPT: Final = 8
_LINE_MOST: Final = 64 * 2**20


class EventLog:
    """Lines for one hub, by one process at a time: the one that holds the loop's lease."""

    def __init__(self, home: Path, most_bytes: int = MOST_BYTES) -> None:
        self.folder, self.most_bytes = home / FOLDER, most_bytes
        self._path: Path | None = None
        self._last = ""

    @property
    def wants_snapshot(self) -> bool:
        """Whether the next line has to begin a file."""
        return self._path is None

    def begin(self, at_ms: int, snapshot: Json) -> None:
        """A new file, chained to the one before it and named after it, whatever the clock says."""
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            before = files(self.folder)
            self._last = self._last or last_hash(before)
            path = self.folder / f"{max([at_ms, *(_instant(old) + 1 for old in before[-1:])]):015d}.jsonl"
            path.touch(mode=0o600)
            self._path = path
        except OSError as error:
            self._fell_silent(error)
            return
        self._write({**snapshot, "previous": self._last})
        for old in files(self.folder)[:-KEPT]:
            old.unlink(missing_ok=True)

    def append(self, body: Json) -> None:
        """One decision. A file that is full is closed: the next decision begins another."""
        if self._path is None:
            return
        self._write(body)
        try:
            if self._path is not None and self._path.stat().st_size >= self.most_bytes:
                self._path = None
        except OSError as error:
            self._fell_silent(error)

    def _write(self, body: Json) -> None:
        line, found = record.chained(self._last, body)
        try:
            with (self._path or self.folder).open("a", encoding="utf-8") as out:
                out.write(line + "\n")
        except OSError as error:
            self._fell_silent(error)
            return
        self._last = found

    def _fell_silent(self, error: OSError) -> None:
        self._path = None
        log.warning("the event log can't be written: %s", error.strerror or type(error).__name__)


def files(folder: Path) -> list[Path]:
    """The log's files, oldest first."""
    return sorted(p for p in folder.glob("*.jsonl") if p.is_file()) if folder.is_dir() else []


def _instant(path: Path) -> int:
    return int(path.stem) if path.stem.isdigit() else 0


def last_hash(found: list[Path]) -> str:
    """The hash of the last whole line of the newest file; where there is none, that of nothing."""
    if not found:
        return NOTHING
    with found[-1].open("rb") as lines:
        whole = [line for line in lines if line.endswith(b"\n") and len(line) < _LINE_MOST][-1:]
    try:
        return str(json.loads(whole[0])["hash"])
    except (IndexError, KeyError, TypeError, ValueError):
        return NOTHING
