"""Lists of nodes and of array tasks: `gpu[01-04,09],login1` and `1-6,9-12:3%2`. Bounded, whatever is written."""

from __future__ import annotations

import re
from typing import Final

MOST: Final = 65_536
_RANGE: Final = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?(?::(\d{1,9}))?")
_CLEAN: Final = re.compile(r"[A-Za-z0-9._-]{1,255}")


def nodes(written: str) -> tuple[str, ...]:
    """The names, in the order written. Raises ValueError for what is no list of nodes, or names more than `MOST`."""
    if len(written) > 1_048_576:
        raise ValueError("a list of nodes without end")
    found: list[str] = []
    for part in _split(written):
        found += _expand(part, MOST - len(found))
    for name in found:
        if not _CLEAN.fullmatch(name):
            raise ValueError(f"not a node's name: {name[:60]!r}")
    return tuple(found)


def tasks(written: str) -> tuple[tuple[int, ...], int | None]:
    """The tasks of `1-6,9%2` in the order written, and how many may run together (2; None: all).

    `...` ends a list that Slurm cut short: its last number may be cut too. The first `MOST` tasks are told; the others
    are as those go. Raises ValueError.
    """
    listed, _, most = written.strip("[]").partition("%")
    parts = listed.removesuffix("...").split(",")
    if listed.endswith("..."):
        parts.pop()
    found: list[int] = []
    for part in parts:
        match = _RANGE.fullmatch(part)
        first, last, step = (int(match[1]), int(match[2] or match[1]), int(match[3] or 1)) if match else (1, 0, 1)
        if last < first or step < 1:
            raise ValueError(f"not a list of tasks: {written[:60]!r}")
        found += range(first, last + 1, step)[: MOST - len(found)]
    if not found:
        raise ValueError(f"not a list of tasks: {written[:60]!r}")
    return tuple(found), int(most) if most.isdecimal() and len(most) < 10 else None


def _split(written: str) -> list[str]:
    """At the commas outside brackets."""
    if not written:
        return []
    parts, depth, start = [], 0, 0
    for at, sign in enumerate(written):
        if sign == "[":
            depth += 1
        elif sign == "]":
            depth -= 1
        elif sign == "," and depth == 0:
            parts.append(written[start:at])
            start = at + 1
        if depth not in (0, 1):
            raise ValueError(f"not a list of nodes: {written[:60]!r}")
    if depth:
        raise ValueError(f"not a list of nodes: {written[:60]!r}")
    return [part for part in [*parts, written[start:]] if part]


def _expand(part: str, room: int) -> list[str]:
    """`a[1-2]b[3,5]`: every combination, the last bracket fastest."""
    found = [""]
    at = 0
    while (opened := part.find("[", at)) >= 0:
        closed = part.index("]", opened)
        numbers = _numbers(part[opened + 1 : closed], room)
        if len(found) * len(numbers) > room:
            raise ValueError("too many nodes")
        found = [f"{head}{part[at:opened]}{number}" for head in found for number in numbers]
        at = closed + 1
    if len(found) > room:
        raise ValueError("too many nodes")
    return [head + part[at:] for head in found]


def _numbers(inside: str, room: int) -> list[str]:
    """`01-03,7`, zeros kept."""
    found: list[str] = []
    for part in inside.split(","):
        match = _RANGE.fullmatch(part)
        if match is None or match[3]:
            raise ValueError(f"not a range: {part[:40]!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last - first >= room - len(found):
            raise ValueError(f"not a range: {part[:40]!r}")
        width = len(match[1]) if match[1].startswith("0") else 0
        found += [str(number).zfill(width) for number in range(first, last + 1)]
    return found
