"""Column maps: which column of a table says what, and in which unit. They are YAML, ours or yours.

Ready-made maps lie in `definitions/data/columns`; where no map is named, the one whose `recognise` columns the file
has is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from fabrique.core.errors import FabriqueError
from fabrique.definitions import catalogues
from fabrique.definitions.complaints import printable

MAPS: Final = catalogues.DATA / "columns"
ABOUT: Final = "fabrique-trace"  # the key in our own Parquet table's metadata: JSON, as files.py writes it
Column = Annotated[str, Field(min_length=1, max_length=200)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Time(_Strict):
    """An instant: epoch (or any other origin's) s or ms, or `time`, a date and time (ISO 8601, or Parquet's own)."""

    column: Column
    unit: Literal["s", "ms", "time"]


class Length(_Strict):
    column: Column
    unit: Literal["ms", "s", "min", "h"]


class Condition(_Strict):
    """Rows whose `column` is one of `values` are left out, and counted as `cause`."""

    column: Column
    values: tuple[str, ...]
    cause: Annotated[str, Field(pattern="^[a-z][a-z-]{0,40}$")]


class ColumnMap(_Strict):
    """What each column of a trace means. One of `run` and (`start`, `end`) tells the run."""

    id: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]{0,40}$")]
    source: str
    recognise: tuple[Column, ...] = ()
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    timezone: str = "UTC"
    number: Column | None = None
    submit: Time
    start: Time | None = None
    end: Time | None = None
    run: Length | None = None
    walltime: Length | None = None
    devices: Column | None = None  # whole devices; 1 where only `milli_devices` is given
    milli_devices: Column | None = None  # thousandths of each device
    project: Column | None = None
    pool: Column | None = None
    work_class: Column | None = None
    nodes: Column | None = None  # whole nodes; 0 where the job shares
    priority: Column | None = None
    slack: Length | None = None  # how long it may be put off; negative: not at all
    tolerance_permille: Column | None = None
    preemptible: Column | None = None  # 1 where it writes checkpoints
    after_row: Column | None = None  # the row (from 0) of the job that must end first; negative: none
    leave_out: tuple[Condition, ...] = ()
    said: tuple[str, ...] = ()

    def columns(self) -> list[str]:
        parts = (self.submit, self.start, self.end, self.run, self.walltime, self.slack)
        names = [part.column for part in parts if part]
        names += [n for n in (self.number, self.devices, self.milli_devices) if n]
        names += [n for n in (self.project, self.pool, self.work_class, self.nodes, self.priority) if n]
        names += [n for n in (self.tolerance_permille, self.preemptible, self.after_row) if n]
        return list(dict.fromkeys([*names, *(c.column for c in self.leave_out)]))


def column_map(name: str | Path) -> ColumnMap:
    """The ready-made map `name`, or the one in the YAML file `name`. Raises `definition.missing` or `.broken`."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = MAPS / f"{name}.yaml"
        if path.parent != MAPS or not path.is_file():
            raise FabriqueError("definition.missing", id=printable(str(name), 80))
    found = catalogues.load(path, TypeAdapter(ColumnMap))
    if not (found.run or (found.start and found.end)) or not (found.devices or found.milli_devices):
        raise FabriqueError("trace.column", file=path.name, column="run" if found.devices else "devices")
    return found


def recognised(columns: Sequence[str]) -> ColumnMap | None:
    """The ready-made map whose telling columns are all there."""
    for path in sorted(MAPS.glob("*.yaml")):
        found = column_map(path)
        if found.recognise and set(found.recognise) <= set(columns):
            return found
    return None
