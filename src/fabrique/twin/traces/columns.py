"""Traces in Parquet and CSV, read by a column map; unknown is -1, and what is neither is one message with its line."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from fabrique.core.errors import FabriqueError
from fabrique.definitions.complaints import printable
from fabrique.twin.trace import Ints
from fabrique.twin.traces import slurm_words
from fabrique.twin.traces.column_map import ABOUT, ColumnMap, Length, Time, column_map, recognised
from fabrique.twin.traces.raw import Raw
from fabrique.twin.traces.rows import Named, Rows, everyone, named

if TYPE_CHECKING:
    import polars as pl

MOST_ROWS: Final = 10_000_000
_PER_UNIT: Final = {"ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000}
_EXACT: Final = 1 << 53


def read(raw: Raw, columns: str | Path | None) -> Rows:
    """The rows of a table. Raises `trace.format` (no map fits, not a table), `trace.column`, `trace.value`."""
    named_map = None if columns is None else column_map(columns)
    parquet = raw.content.startswith(b"PAR1")
    header = _header(raw, named_map.separator if named_map else ",", parquet)
    wanted = named_map or recognised(header)
    if wanted is None:
        raise FabriqueError("trace.format", file=raw.name)
    for name in wanted.columns():
        if name not in header:
            raise FabriqueError("trace.column", file=raw.name, column=printable(name, 80))
    return _rows(raw, _table(raw, wanted, parquet), wanted)


def _header(raw: Raw, separator: str, parquet: bool) -> list[str]:
    """The names of the columns; a table of too many rows is refused before one is decoded."""
    import polars as pl

    if not parquet:
        raw.text()
        line = raw.content.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0].decode().rstrip("\r")
        return [name.strip('"') for name in line.split(separator)]
    try:
        lazy = pl.scan_parquet(io.BytesIO(raw.content))
        names, rows = lazy.collect_schema().names(), lazy.select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError):
        raise FabriqueError("trace.format", file=raw.name) from None
    if rows > MOST_ROWS:
        raise FabriqueError("trace.too-large", file=raw.name, most=len(raw.content))
    return names


def _table(raw: Raw, wanted: ColumnMap, parquet: bool) -> pl.DataFrame:
    import polars as pl

    names = wanted.columns()
    try:
        if parquet:
            return pl.read_parquet(io.BytesIO(raw.content), columns=names)
        return pl.read_csv(raw.content, separator=wanted.separator, columns=names, infer_schema=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError):
        raise FabriqueError("trace.format", file=raw.name) from None


def _rows(raw: Raw, table: pl.DataFrame, wanted: ColumnMap) -> Rows:
    import polars as pl

    table = table.with_row_index("\0row")
    counts = {}
    for condition in wanted.leave_out:
        out = pl.col(condition.column).cast(pl.String).is_in(list(condition.values)).fill_null(False)
        counts[condition.cause] = table.filter(out).height
        table = table.filter(~out)
    # the line of a CSV (its header is the first), the row of a Parquet file
    line = table["\0row"].to_numpy().astype(np.int64) + (1 if raw.content.startswith(b"PAR1") else 2)
    reader = _Reader(raw, table, line, wanted)
    about = _about(raw)
    said = [f"The table says: {printable(text, 400)}" for text in about.get("said", ())[:20]]
    submit = reader.time(wanted.submit)
    run = reader.length(wanted.run) if wanted.run else reader.between(wanted.start, wanted.end)
    rows = Rows(
        line=line,
        number=reader.number(wanted.number, 1) if wanted.number else line,
        submit_ms=submit,
        run_ms=run,
        walltime_ms=reader.length(wanted.walltime) if wanted.walltime else np.full(len(line), -1, np.int64),
        milli_devices=reader.milli_devices(),
        project=reader.names(wanted.project, "unknown", about.get("projects", ())),
        pool=reader.names(wanted.pool, "all", about.get("pools", ())),
        work_class=reader.names(wanted.work_class, "any", about.get("work_classes", ())),
        nodes=reader.optional(wanted.nodes),
        priority=reader.optional(wanted.priority, least=-_EXACT),
        slack_ms=reader.length(wanted.slack) if wanted.slack else None,
        tolerance_permille=reader.optional(wanted.tolerance_permille),
        preemptible=reader.optional(wanted.preemptible),
        after_row=reader.optional(wanted.after_row),
        said=[f"Columns are read by the map {wanted.id}.", *wanted.said, *said],
    )
    rows.dropped.update(counts)
    return rows


def _about(raw: Raw) -> dict[str, list[str]]:
    """What our own Parquet table says of its making: lists of texts, each bounded. A file may say anything."""
    import polars as pl

    if not raw.content.startswith(b"PAR1"):
        return {}
    try:
        told = json.loads(pl.read_parquet_metadata(io.BytesIO(raw.content)).get(ABOUT, "{}"))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, ValueError, RecursionError):
        return {}
    lists = told.items() if isinstance(told, dict) else ()
    return {key: [text for text in one if isinstance(text, str)] for key, one in lists if isinstance(one, list)}


class _Reader:
    """The columns of one table as int64; unknown is -1, and what is neither is a `trace.value` with its line."""

    def __init__(self, raw: Raw, table: pl.DataFrame, line: Ints, wanted: ColumnMap) -> None:
        self.raw, self.table, self.line, self.wanted = raw, table, line, wanted

    def optional(self, column: str | None, least: int = 0) -> Ints | None:
        return None if column is None else self.number(column, 1, least)

    def number(self, column: str, scale: int, least: int = 0) -> Ints:
        import polars as pl

        given = self.table[column]
        if given.dtype == pl.String:
            given = given.str.strip_chars()
            values = given.cast(pl.Float64, strict=False)
            known = given.is_not_null() & (given != "")
        elif given.dtype.is_numeric() or given.dtype == pl.Boolean:
            values, known = given.cast(pl.Float64), given.is_not_null()
        elif given.dtype == pl.Duration:
            values, known = given.dt.total_milliseconds().cast(pl.Float64) / scale, given.is_not_null()
        else:
            raise self.raw.broken(1, column, given.dtype)
        found = values.fill_null(np.nan).to_numpy() * scale
        good = np.abs(found) < _EXACT  # neither NaN nor endless
        self._all(good | ~known.fill_null(False).to_numpy(), column)
        return np.where(good & (found >= least), np.rint(np.where(good, found, 0)), -1).astype(np.int64)

    def length(self, of: Length) -> Ints:
        return self.number(of.column, _PER_UNIT[of.unit])

    def time(self, of: Time) -> Ints:
        import polars as pl

        given = self.table[of.column]
        if of.unit != "time":
            return self.number(of.column, _PER_UNIT[of.unit])
        slurm_words.zone(self.wanted.timezone)
        when = _instants(given, self.wanted.timezone)
        known = given.is_not_null() & (given.cast(pl.String) != "")
        self._all(when.is_not_null().to_numpy() | ~known.fill_null(False).to_numpy(), of.column)
        return when.fill_null(-1).to_numpy().astype(np.int64)

    def between(self, start: Time | None, end: Time | None) -> Ints:
        """From start to end; unknown, so no run, where either is."""
        if start is None or end is None:
            raise FabriqueError("trace.column", file=self.raw.name, column="start, end")
        first, last = self.time(start), self.time(end)
        return np.where((first >= 0) & (last >= 0), last - first, -1)

    def milli_devices(self) -> Ints:
        """Devices times their thousandths, each where it is given."""
        wanted = self.wanted
        whole = self.number(wanted.devices, 1) if wanted.devices else np.ones(len(self.line), np.int64)
        part = self.number(wanted.milli_devices, 1) if wanted.milli_devices else np.full(len(whole), 1_000, np.int64)
        whole, part = np.clip(whole, 0, 1 << 31), np.clip(part, 0, 1 << 31)
        return whole * part

    def names(self, column: str | None, unknown: str, order: Sequence[str]) -> Named:
        import polars as pl

        if column is None:
            return everyone(unknown, len(self.line))
        return named(self.table[column].cast(pl.String, strict=False).to_list(), unknown, order)

    def _all(self, good: Any, column: str) -> None:
        wrong = np.flatnonzero(~good)
        if len(wrong):
            at = int(wrong[0])
            raise self.raw.broken(int(self.line[at]), column, self.table[column][at])


def _instants(given: pl.Series, timezone: str) -> pl.Series:
    """Epoch ms of dates and times; those without an offset are in `timezone`, a repeated hour is its first."""
    import polars as pl

    if given.dtype == pl.String:
        texts = given.str.strip_chars().str.replace(" ", "T", literal=True).str.replace(r"Z$", "+00:00")
        offset = texts.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", strict=False, time_unit="ms").dt.epoch("ms")
        plain = texts.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="ms")
        return offset.fill_null(_local(plain, timezone))
    if isinstance(given.dtype, pl.Datetime):
        return given.dt.epoch("ms") if given.dtype.time_zone else _local(given, timezone)
    return pl.Series([None] * len(given), dtype=pl.Int64)


def _local(plain: pl.Series, timezone: str) -> pl.Series:
    return plain.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null").dt.epoch("ms")
