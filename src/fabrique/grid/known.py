"""What a file says of one zone: what was and, kept apart, what was expected; with the file's digest."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fabrique.core.errors import FabriqueError
from fabrique.grid import files, tables
from fabrique.grid.files import Complaint
from fabrique.grid.series import Series

_TOLD: Final = 5  # complaints in one message: the first ones tell what is wrong with a file


@dataclass(frozen=True, slots=True)
class Known:
    """`actual` and `forecast` are of one zone and unit. `digests`: each file read and the SHA-256 of its bytes."""

    actual: Series
    forecast: Series | None
    digests: tuple[tuple[str, str], ...]


def load(
    path: Path, columns: tables.Columns | None = None, *, forecast: Path | None = None, bridge_ms: int = 0
) -> Known:
    """What `path` says: a Parquet table, read by `columns`, or our own CSV or JSON.

    Holes up to `bridge_ms` are bridged. `forecast` is a second file, of ours, of what was expected. Raises `grid.file`
    with the places of what is wrong.
    """
    raw, (actual, expected) = _table(path, columns, bridge_ms) if columns else _own(path, bridge_ms)
    digests = [(path.name, hashlib.sha256(raw).hexdigest())]
    if forecast is not None:
        raw, (expected, _) = _own(forecast, bridge_ms)
        digests.append((forecast.name, hashlib.sha256(raw).hexdigest()))
        for name in ("zone", "quantity", "unit"):
            if getattr(expected, name) != getattr(actual, name):
                raise _broken([Complaint(forecast.name, name, "not-allowed", getattr(expected, name))])
    return Known(actual, expected, tuple(digests))


def _table(path: Path, columns: tables.Columns, bridge_ms: int) -> tuple[bytes, tuple[Series, Series | None]]:
    raw = _content(path, tables.MOST_BYTES)
    found, complaints = tables.parse(raw, path.name, columns, bridge_ms)
    if found is None:
        raise _broken(complaints)
    return raw, found


def _own(path: Path, bridge_ms: int) -> tuple[bytes, tuple[Series, None]]:
    raw = _content(path, files.MOST_BYTES)
    found, complaints = files.parse(raw, path.name, bridge_ms)
    if found is None:
        raise _broken(complaints)
    return raw, (found, None)


def _content(path: Path, most: int) -> bytes:
    raw, complaint = files.content(path, most)
    if complaint:
        raise _broken([complaint])
    return raw


def _broken(complaints: Sequence[Complaint]) -> FabriqueError:
    return FabriqueError("grid.file", complaints=[str(c) for c in complaints[:_TOLD]])
