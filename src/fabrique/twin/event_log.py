"""Live = twin, proven: every decision of an event log taken again from the log alone, hash by hash.

What a line says is looked at only once its hash is right. The first divergence is named; what comes after it is not
judged. `core.admission.record` has the words of the log.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from fabrique.core.admission import decide, plan, prepare, record
from fabrique.core.admission.decide import Memory
from fabrique.core.admission.rules import Rules
from fabrique.core.admission.state import Rows

LINE_MOST: Final = 64 * 2**20
What = Literal["broken", "chain", "state", "plan"]


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where the log and what comes of it part: a line that can't be read, a hash that is not its own or does not follow
    the line before, other tables, another plan.
    """

    file: str
    line: int
    what: What
    at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """How much was taken again, up to the first divergence if there is one. `torn`: the last line was never finished.

    `after`: the hash that the first line says it follows, of a file that is not among these; None: of nothing.
    """

    files: int
    decisions: int
    from_ms: int | None
    to_ms: int | None
    head: str
    after: str | None
    torn: bool
    divergence: Divergence | None

    @property
    def ok(self) -> bool:
        return self.divergence is None


class _BrokenLineError(Exception):
    def __init__(self, what: What, at_ms: int | None = None) -> None:
        super().__init__(what)
        self.what, self.at_ms = what, at_ms


@dataclass(slots=True)
class _Again:
    """The decisions so far, taken again."""

    head: str = ""
    after: str | None = None
    decisions: int = 0
    from_ms: int | None = None
    to_ms: int | None = None
    memory: Memory | None = None
    rows: Rows | None = None
    rules: Rules | None = None

    def take(self, body: Mapping[str, Any]) -> None:
        """One line. Raises `_BrokenLineError`."""
        self._follow(body)
        try:
            if body["kind"] == "snapshot":
                self._begin(body)
            elif body["kind"] == "decision":
                self._decide(body)
            else:
                raise _BrokenLineError("broken")
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError, IndexError, ArithmeticError):
            raise _BrokenLineError("broken") from None

    def _follow(self, body: Mapping[str, Any]) -> None:
        """The line's own hash, and the one it follows."""
        previous = self.head
        if body.get("kind") == "snapshot":
            previous = str(body.get("previous"))
            if self.head and previous != self.head:
                raise _BrokenLineError("chain")
            if not self.head and previous != record.NOTHING:
                self.after = previous
        if record.link(previous, body) != body.get("hash"):
            raise _BrokenLineError("chain")
        self.head = str(body["hash"])

    def _begin(self, body: Mapping[str, Any]) -> None:
        if body["format"] != record.FORMAT:
            raise _BrokenLineError("broken")
        self.rules, self.memory = record.rules_of(body["rules"]), Memory(record.history_of(body["history"]))
        self.rows = record.apply(None, body["rows"])

    def _decide(self, body: Mapping[str, Any]) -> None:
        at_ms = int(body["at"])
        if self.rows is None or self.rules is None or self.memory is None:
            raise _BrokenLineError("broken", at_ms)
        self.rows = record.apply(self.rows, body.get("rows", {}))
        if "rules" in body:
            self.rules = record.rules_of(body["rules"])
        taken = decide.take(self.memory, self.rows, self.rules, at_ms)
        if prepare.digest(taken.tables.state) != body["state"]:
            raise _BrokenLineError("state", at_ms)
        if plan.digest(taken.plan) != body["plan"]:
            raise _BrokenLineError("plan", at_ms)
        self.memory = taken.memory
        self.decisions += 1
        self.from_ms, self.to_ms = at_ms if self.from_ms is None else self.from_ms, at_ms


def verify(files: Sequence[Path]) -> Verified:
    """Takes the decisions of `files`, oldest first, again. Raises OSError where a file can't be read."""
    again, torn, divergence = _Again(), False, None
    for path in files:
        for number, raw in _lines(path):
            torn = not raw.endswith(b"\n")
            if torn and path == files[-1]:
                break  # the hub was stopped while it wrote: nothing was decided on this line yet
            try:
                again.take(_body(raw))
            except _BrokenLineError as wrong:
                divergence = Divergence(str(path), number, wrong.what, wrong.at_ms)
                break
        if divergence is not None:
            break
    told = (again.decisions, again.from_ms, again.to_ms, again.head, again.after)
    return Verified(len(files), *told, torn and divergence is None, divergence)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    with path.open("rb") as lines:
        while raw := lines.readline(LINE_MOST):
            number += 1
            yield number, raw


def _body(raw: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise _BrokenLineError("broken") from None
    if not isinstance(body, dict):
        raise _BrokenLineError("broken")
    return body
