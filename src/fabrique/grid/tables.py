"""Series of the grid out of Parquet tables as others publish them: which column is what is said, never guessed.

Wide: a column of times and a column a zone. Long: times, zones, values. With forecasts: beside the column of what was,
one of what was expected. Times are instants (a Parquet timestamp with its zone); local ones are refused, since nobody
can tell the hour that comes twice. A null is a value that nobody published.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Final

from fabrique.core.carbon import Factor, GridBasis, Kind, Scope
from fabrique.core.energy import Window
from fabrique.grid.files import MOST_ROWS, SCALE, YEARS, Complaint, Reader, base_unit
from fabrique.grid.series import Quantity, Series, Step, refused, series, skipped

if TYPE_CHECKING:
    import polars as pl

MOST_BYTES: Final = 64 << 20
_MOST_ROWS_OF_ALL_ZONES: Final = 20_000_000
_FIRST_MS, _END_MS = (round(datetime(y, 1, 1, tzinfo=UTC).timestamp() * 1000) for y in (YEARS.start, YEARS.stop))
_ROW, _TIME, _ACTUAL, _FORECAST = "row", "time", "actual", "forecast"


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """How one zone is read from a table.

    `zone` is the file's own name of it: a value in the column `zones` of a long table, else the name of a column.
    `of_zone` is ours where it differs (LU pays the prices of DE-LU). `value` names the column of what was; None: the
    zone's own, in a wide table. `forecast` names the column of what was expected; None: the table has none. `unit` is
    gCO2e/kWh or, for prices, EUR/MWh and the like. `kind` and `basis` must be said of an intensity; `scope` None: not
    published. `year` None: that of the first row. Each value holds for `step_s` seconds from its time.
    """

    zone: str
    source: str
    of_zone: str | None = None
    quantity: Quantity = "intensity"
    unit: str = "gCO2e/kWh"
    time: str = "ts_utc"
    zones: str = "zone"
    value: str | None = None
    forecast: str | None = None
    step_s: int = 3_600
    kind: Kind | None = None
    scope: Scope | None = None
    basis: GridBasis | None = None
    year: int | None = None


_Rows = list[tuple[int, int, float | None, float | None]]  # row, UTC epoch ms, what was, what was expected


def parse(
    raw: bytes, file: str, columns: Columns, bridge_ms: int = 0
) -> tuple[tuple[Series, Series | None] | None, list[Complaint]]:
    """What was and, where the table says it, what was expected; or None and every complaint (50 at most).

    Holes up to `bridge_ms` are bridged and said. Never raises, whatever the bytes.
    """
    reader = Reader(file)
    _asked(columns, reader)
    rows = [] if reader.complaints else _rows(raw, columns, reader)
    actual = _steps(rows, 2, columns.value or columns.zone, columns, reader)
    expected = _steps(rows, 3, columns.forecast, columns, reader) if columns.forecast else []
    if not reader.complaints and not actual:
        reader.complain("", columns.value or columns.zone, "missing-key", f"no value of {columns.zone}")
    if reader.complaints:
        return None, reader.complaints
    found = _series(columns, actual, bridge_ms)
    return (found, _series(columns, expected, bridge_ms) if columns.forecast else None), []


def _asked(columns: Columns, reader: Reader) -> None:
    """What the options themselves lack."""
    if base_unit(columns.quantity, columns.unit) is None:
        reader.complain("", "unit", "not-allowed", columns.unit)
    if not 0 < columns.step_s <= 366 * 86_400:
        reader.complain("", "step_s", "not-allowed", columns.step_s)
    for name in ("kind", "basis") if columns.quantity == "intensity" else ():
        if getattr(columns, name) is None:
            reader.complain("", name, "missing-key")


def _rows(raw: bytes, columns: Columns, reader: Reader) -> _Rows:
    """The zone's rows by time, each with its number in the file from 1."""
    import polars as pl

    try:
        # From memory, never from a path: Polars expands patterns in paths.
        table = pl.scan_parquet(BytesIO(raw))
        chosen = _chosen(table, columns, reader)
        if chosen is None:
            return []
        return chosen.head(MOST_ROWS + 1).sort(_TIME, _ROW).collect().rows()
    except (pl.exceptions.PolarsError, OSError, ValueError, OverflowError) as error:
        reader.complain("", "file", "broken-table", str(error).partition("\n")[0])
    except pl.exceptions.PanicException as error:  # no Exception: it goes past every other net
        reader.complain("", "file", "broken-table", str(error).partition("\n")[0])
    return []


def _chosen(table: pl.LazyFrame, columns: Columns, reader: Reader) -> pl.LazyFrame | None:
    """Row, time, actual and forecast of the zone alone; None with a complaint where a column is missing or wrong."""
    import polars as pl

    schema = table.collect_schema()
    is_long = columns.zones in schema
    value = columns.value if is_long or columns.value else columns.zone
    wanted = {"value": value, "time": columns.time, **({"forecast": columns.forecast} if columns.forecast else {})}
    for option, name in wanted.items():
        if name is None or name not in schema:
            reader.complain("", option, "missing-key", name or f"one of {', '.join(schema)}")
        elif option != "time" and not schema[name].is_numeric():
            reader.complain("", name, "not-a-number", schema[name])
    at = schema.get(columns.time)
    if at is not None and not (isinstance(at, pl.Datetime) and at.time_zone):
        reader.complain("", columns.time, "local-time" if at == pl.Datetime else "not-a-time", at)
    if reader.complaints:
        return None
    if table.select(pl.len()).collect().item() > _MOST_ROWS_OF_ALL_ZONES:
        reader.complain("", "row", "too-many", f"more than {_MOST_ROWS_OF_ALL_ZONES}")
        return None
    numbered = table.with_row_index(_ROW_INDEX, offset=1)
    own = numbered.filter(pl.col(columns.zones).cast(pl.String) == columns.zone) if is_long else numbered
    return own.select(
        pl.col(_ROW_INDEX).alias(_ROW),
        pl.col(columns.time).dt.timestamp("ms").alias(_TIME),
        pl.col(str(value)).cast(pl.Float64).alias(_ACTUAL),
        (pl.col(columns.forecast).cast(pl.Float64) if columns.forecast else pl.lit(None)).alias(_FORECAST),
    )


_ROW_INDEX: Final = "\x00row"  # no column of a file is called so


def _steps(rows: _Rows, at: int, name: str, columns: Columns, reader: Reader) -> list[Step]:
    """The values in place `at` of each row as steps in base units, each checked against the one before it."""
    if len(rows) > MOST_ROWS:
        reader.complain("", "row", "too-many", f"more than {MOST_ROWS}")
        return []
    steps: list[Step] = []
    for row in rows:
        number, start_ms, value = row[0], row[1], row[at]
        if start_ms is None or not _FIRST_MS <= start_ms < _END_MS:
            reader.complain(f"row {number}", columns.time, "not-a-time", start_ms)
        elif value is not None and not math.isfinite(value):
            reader.complain(f"row {number}", name, "not-a-number", value)
        elif value is not None:
            window = Window(start_ms, start_ms + columns.step_s * 1000)
            step = Step(window, round(value * SCALE[columns.quantity]))
            before = steps[-1] if steps else None
            why = refused(columns.quantity, step, before) or skipped(step, before)
            if why is None:
                steps.append(step)
            else:
                is_value = why == "impossible"
                found = value if is_value else datetime.fromtimestamp(start_ms / 1000, UTC).isoformat()
                reader.complain(f"row {number}", name if is_value else columns.time, why, found)
    return steps


def _series(columns: Columns, steps: list[Step], bridge_ms: int) -> Series:
    zone = columns.of_zone or columns.zone
    like = None
    if columns.kind is not None and columns.basis is not None and columns.quantity == "intensity":
        first = datetime.fromtimestamp(steps[0].window.start_ms / 1000, UTC).year if steps else 0
        year = columns.year or first
        like = Factor(zone, 0, columns.kind, columns.scope, columns.basis, year, columns.source)
    unit = base_unit(columns.quantity, columns.unit) or ""  # `_asked` has seen it
    return series(zone, columns.quantity, unit, columns.source, steps, like, bridge_ms)
