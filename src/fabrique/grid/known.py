"""What a file says of one zone: what was and, kept apart, what was expected; with the file's digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fabrique.core.errors import FabriqueError
from fabrique.grid import files, tables
from fabrique.grid.files import Complaint
from fabrique.grid.series import Series

_TOLD = 5  # complaints in one message: the first ones tell what is wrong with a file


@dataclass(frozen=True, slots=True)
class Known:
    """`actual` and `forecast` are of one zone and unit. `digests`: each file read and the SHA-256 of its bytes."""

    actual: Series
    forecast: Series | None
    digests: tuple[tuple[str, str], ...]


def load(
    path: Path, columns: tables.Columns | None = None, *, forecast: Path | None = None, bridge_ms: int = 0
) -> Known:
    """What `path` says: our CSV or JSON, or a Parquet table read by `columns`. Holes up to `bridge_ms` are bridged.

    `forecast` is a second file of our format, of what was expected. Raises `grid.file` with every complaint's place.
    """
    if path.suffix.lower() == ".parquet":
        actual, expected, digest = _table(path, columns)(bridge_ms)
    else:
        (actual, digest), expected = _own(path, bridge_ms), None
    if forecast is None:
        return Known(actual, expected, ((path.name, digest),))
    told, digest_of_forecast = _own(forecast, bridge_ms)
    for name in ("zone", "quantity", "unit"):
        if getattr(told, name) != getattr(actual, name):
            raise _broken([Complaint(forecast.name, name, "not-allowed", getattr(told, name))])
    return Known(actual, told, ((path.name, digest), (forecast.name, digest_of_forecast)))
