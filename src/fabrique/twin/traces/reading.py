"""A trace from a file: the reader is chosen by what the file holds, then by its name, never by guessing."""

from __future__ import annotations

from pathlib import Path

from fabrique.core.errors import FabriqueError
from fabrique.twin.trace import Trace
from fabrique.twin.traces import columns as tables
from fabrique.twin.traces import sacct, sacct_json, swf
from fabrique.twin.traces.raw import Raw, load
from fabrique.twin.traces.rows import Rows, trace_of


def read(
    path: Path | str,
    *,
    columns: str | Path | None = None,
    processors: int | None = None,
    whole_node_devices: int | None = None,
    timezone: str = "UTC",
) -> Trace:
    """The trace in the file at `path`: SWF, sacct (parsable or JSON), Parquet or CSV, also compressed with gzip.

    `columns` names a column map, ready-made or a YAML file; without it a table is recognised by its header. A job of
    more than `processors` devices is dropped; one of a multiple of `whole_node_devices` takes whole nodes.
    `timezone` is that of times which name none, in sacct's text. Raises `trace.*`, `definition.missing` and
    `definition.broken` (a column map).
    """
    raw = load(Path(path))
    rows = _rows(raw, columns, timezone)
    return trace_of(raw, rows, processors=processors, whole_node_devices=whole_node_devices)


def _rows(raw: Raw, columns: str | Path | None, timezone: str) -> Rows:
    if columns is not None or raw.content.startswith(b"PAR1"):
        return tables.read(raw, columns)
    name = raw.name.lower().removesuffix(".gz")
    first = _first_line(raw)
    if name.endswith(".swf") or first.startswith(";"):
        return swf.read(raw)
    if first.startswith(("{", "[")):
        return sacct_json.read(raw)
    if sacct.is_header(first):
        return sacct.read(raw, timezone)
    if name.endswith(".csv") or "," in first:
        return tables.read(raw, None)
    if len(first.split()) == len(swf.FIELDS):
        return swf.read(raw)
    raise FabriqueError("trace.format", file=raw.name)


def _first_line(raw: Raw) -> str:
    """The first line that is not blank, within the first 64 KiB."""
    return raw.content[:65_536].removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")[0].decode("utf-8", "replace")
