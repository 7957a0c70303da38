"""Our format for a series of the grid, as CSV or JSON, read from strangers: complaints with their place, no traceback.

CSV, one value a line, in order, times in UTC or with their offset; an empty value is one that nobody published:

    # fabrique-series: 1
    # zone: LU
    # quantity: intensity          (or price)
    # unit: gCO2e/kWh              (or EUR/MWh, CAD/MWh …)
    # step_s: 3600
    # source: who published it, and where
    # kind: average                (or marginal; kind, scope, basis, year: of an intensity only)
    # scope: lifecycle             (or direct, or not-published)
    # basis: consumption           (or production)
    # year: 2026
    start,value
    2026-01-01T00:00:00Z,260.6

JSON: one object with the same keys and `values`, a list of [start, value], value null where nobody published it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, cast

from fabrique.core.carbon import Factor
from fabrique.core.energy import Window
from fabrique.core.units import MICRO
from fabrique.grid.series import Quantity, Series, Step, refused, series, skipped

MOST_BYTES: Final = 32 << 20
MOST_ROWS: Final = 400_000  # eleven years of quarters of an hour
_MOST_COMPLAINTS: Final = 50
YEARS: Final = range(1990, 2200)
_MOST_STEP_S: Final = 366 * 86_400
_NUMBER: Final = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,12})?")
_PRICE: Final = re.compile(r"([A-Z]{3})/MWh")
_ZONE: Final = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,8}){0,3}")
_HEADER: Final = re.compile(r"#\s*([a-z_-]{1,40})\s*:\s*(.{1,300})")
_ALWAYS: Final = ("fabrique-series", "zone", "quantity", "unit", "step_s", "source")
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "fabrique-series": ("1",),
    "quantity": ("intensity", "price"),
    "kind": ("average", "marginal"),
    "scope": ("lifecycle", "direct", "not-published"),
    "basis": ("consumption", "production"),
}
SCALE: Final[Mapping[Quantity, int]] = {"intensity": 1_000, "price": MICRO}  # base units in one of the file's
_OF_INTENSITY: Final = ("kind", "scope", "basis", "year")


@dataclass(frozen=True, slots=True)
class Complaint:
    """What is wrong, where: `place` is file:line in CSV, file:values[n] in JSON, file:row n in a table.

    `code` is one of unreadable, too-large, not-text, broken-json, broken-table, duplicate-key, unknown-key,
    missing-key, not-allowed, not-a-time, local-time, not-a-number, not-a-row, too-many, and of a step: impossible,
    empty, overlap, order, clock-change.
    """

    place: str
    field: str
    code: str
    found: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.field}: {self.code}" + (f" ({self.found})" if self.found else "")


@dataclass(slots=True)
class Reader:
    """One file being read: what was found and what is wrong with it so far."""

    file: str
    complaints: list[Complaint] = field(default_factory=list)

    def complain(self, place: object, name: str, code: str, found: object = "") -> None:
        if len(self.complaints) < _MOST_COMPLAINTS:
            where = f"{self.file}:{place}" if place else self.file
            self.complaints.append(Complaint(where, name[:40], code, _printable(found)))


_Row = tuple[str, str, str | None]  # place, start, value as written (None: not published)


def read(path: Path, bridge_ms: int = 0) -> tuple[Series | None, list[Complaint]]:
    """The series in `path`, or None and every complaint (50 at most). Holes up to `bridge_ms` are bridged and said."""
    raw, complaint = content(path, MOST_BYTES)
    return (None, [complaint]) if complaint else parse(raw, path.name, bridge_ms)


def parse(raw: bytes, file: str, bridge_ms: int = 0) -> tuple[Series | None, list[Complaint]]:
    """The series in `raw`, cited as `file`, as `read` answers it."""
    reader = Reader(file)
    written = _text(raw, reader)
    if written is None:
        return None, reader.complaints
    keys, rows = (_json if written.lstrip().startswith("{") else _csv)(written, reader)
    keys = _checked(keys, reader)
    if reader.complaints:
        return None, reader.complaints
    steps = _steps(keys, rows, reader)
    if reader.complaints:
        return None, reader.complaints
    quantity = cast(Quantity, keys["quantity"])
    found = series(keys["zone"], quantity, _base_unit(keys), keys["source"], steps, _like(keys), bridge_ms)
    return found, []


def content(path: Path, most: int) -> tuple[bytes, Complaint | None]:
    """The bytes of a plain file of at most `most` bytes, or what stands against reading it."""
    try:
        if not path.is_file():  # a pipe would never end, a device might
            return b"", Complaint(path.name, "file", "unreadable", "no such file")
        with path.open("rb") as file:
            raw = file.read(most + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", "") or type(error).__name__
        return b"", Complaint(path.name, "file", "unreadable", why)
    if len(raw) > most:
        return b"", Complaint(path.name, "file", "too-large", f"more than {most} bytes")
    return raw, None


def _text(raw: bytes, reader: Reader) -> str | None:
    if len(raw) > MOST_BYTES:
        reader.complain("", "file", "too-large", f"more than {MOST_BYTES} bytes")
        return None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reader.complain(raw.count(b"\n", 0, error.start) + 1, "file", "not-text")
        return None


def _csv(written: str, reader: Reader) -> tuple[dict[str, str], list[_Row]]:
    keys: dict[str, str] = {}
    rows: list[_Row] = []
    for number, line in enumerate(written.split("\n"), start=1):
        line = line.strip()
        if header := _HEADER.fullmatch(line):
            if header[1] in keys:
                reader.complain(number, header[1], "duplicate-key")
            keys[header[1]] = header[2].strip()
        elif line and not line.startswith("#") and line.replace(" ", "") != "start,value":
            cells = [cell.strip() for cell in line.split(",")]
            if len(cells) != 2:
                reader.complain(number, "row", "not-a-row", line)
            elif len(rows) >= MOST_ROWS:
                reader.complain(number, "row", "too-many", f"more than {MOST_ROWS}")
                break
            else:
                rows.append((str(number), cells[0], cells[1] or None))
    return keys, rows


def _json(written: str, reader: Reader) -> tuple[dict[str, str], list[_Row]]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for name, times in Counter(name for name, _ in pairs).items():
            if times > 1:
                reader.complain("", name, "duplicate-key")
        return dict(pairs)

    try:
        # Numbers stay as they were written: no rounding, no NaN, no integer of a million digits.
        found = json.loads(written, object_pairs_hook=once, parse_float=str, parse_int=str, parse_constant=str)
    except json.JSONDecodeError as error:
        reader.complain(error.lineno, "file", "broken-json", error.msg)
        return {}, []
    except RecursionError:
        reader.complain("", "file", "broken-json", "nested too deep")
        return {}, []
    values = found.pop("values", None)
    if not isinstance(values, list) or len(values) > MOST_ROWS:
        reader.complain("", "values", "too-many" if isinstance(values, list) else "missing-key")
        values = []
    keys = {name: value for name, value in found.items() if isinstance(value, str)}
    for name in found.keys() - keys.keys():
        reader.complain("", name, "not-allowed", found[name])
    return keys, list(_json_rows(values, reader))


def _json_rows(values: list[Any], reader: Reader) -> Iterator[_Row]:
    for index, row in enumerate(values):
        place = f"values[{index}]"
        if isinstance(row, list) and len(row) == 2 and isinstance(row[0], str) and isinstance(row[1], str | None):
            yield place, row[0], row[1]
        else:
            reader.complain(place, "row", "not-a-row", row)


def _checked(keys: dict[str, str], reader: Reader) -> dict[str, str]:
    """The keys, complained about where one is missing, unknown or holds what it may not."""
    if reader.complaints and not keys:
        return keys
    wanted = _ALWAYS + (_OF_INTENSITY if keys.get("quantity") == "intensity" else ())
    for name in keys.keys() - set(wanted):
        reader.complain("", name, "unknown-key")
    for name in wanted:
        if name not in keys:
            reader.complain("", name, "missing-key")
        elif name in _CHOICES and keys[name] not in _CHOICES[name]:
            reader.complain("", name, "not-allowed", keys[name])
    for name, most in (("step_s", _MOST_STEP_S), ("year", 9999)):
        written = keys.get(name, "1")
        if not (written.isascii() and written.isdigit() and len(written) < 10 and 0 < int(written) <= most):
            reader.complain("", name, "not-allowed", written)
    if "zone" in keys and not _ZONE.fullmatch(keys["zone"]):
        reader.complain("", "zone", "not-allowed", keys["zone"])
    if not keys.get("source", "-").isprintable():
        reader.complain("", "source", "not-allowed", keys["source"])
    quantity: Quantity = "price" if keys.get("quantity") == "price" else "intensity"
    if "unit" in keys and base_unit(quantity, keys["unit"]) is None:
        reader.complain("", "unit", "not-allowed", keys["unit"])
    return keys


def _steps(keys: Mapping[str, str], rows: list[_Row], reader: Reader) -> list[Step]:
    """The rows as steps in base units, each checked against the one before it."""
    quantity, length_ms = cast(Quantity, keys["quantity"]), int(keys["step_s"]) * 1000
    scale = SCALE[quantity]
    steps: list[Step] = []
    for place, start, written in rows:
        start_ms = _time(start, place, reader)
        if start_ms is None or written is None:
            continue
        if not _NUMBER.fullmatch(written):
            reader.complain(place, "value", "not-a-number", written)
            continue
        step = Step(Window(start_ms, start_ms + length_ms), round(Fraction(written) * scale))
        before = steps[-1] if steps else None
        why = refused(quantity, step, before) or skipped(step, before)
        if why is not None:
            reader.complain(
                place, "value" if why == "impossible" else "start", why, written if why == "impossible" else start
            )
        else:
            steps.append(step)
    return steps


def _time(start: str, place: str, reader: Reader) -> int | None:
    """UTC epoch milliseconds of a time with its offset; a local one is refused: its days have 23 to 25 hours."""
    try:
        found = datetime.fromisoformat(start)
        if found.utcoffset() is None:
            reader.complain(place, "start", "local-time", start)
            return None
        if found.year in YEARS:
            return round(found.timestamp() * 1000)
    except ValueError:
        pass  # said below, as for a year out of reach
    reader.complain(place, "start", "not-a-time", start)
    return None


def _base_unit(keys: Mapping[str, str]) -> str:
    return base_unit(cast(Quantity, keys["quantity"]), keys["unit"]) or ""  # `_checked` has seen it


def base_unit(quantity: Quantity, unit: str) -> str | None:
    """The unit of a series whose file says `unit`: mg/kWh or u<ISO 4217>/MWh; None where the two don't go together."""
    if quantity == "intensity":
        return "mg/kWh" if unit == "gCO2e/kWh" else None
    price = _PRICE.fullmatch(unit)
    return f"u{price[1]}/MWh" if price else None


def _like(keys: Mapping[str, str]) -> Factor | None:
    """The sort of factor that an intensity's values are; its own value is 0 and never used."""
    if keys["quantity"] != "intensity":
        return None
    scope = None if keys["scope"] == "not-published" else keys["scope"]
    return Factor(
        zone=keys["zone"],
        mg_per_kwh=0,
        kind=cast(Any, keys["kind"]),
        scope=cast(Any, scope),
        basis=cast(Any, keys["basis"]),
        year=int(keys["year"]),
        source=keys["source"],
    )


def _printable(found: object) -> str:
    """What was found, short and safe to print: no control characters of a stranger's reach a terminal."""
    return "".join(c if c.isprintable() else "�" for c in str(found)[:80])
