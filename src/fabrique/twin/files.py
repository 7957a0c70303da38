"""Tables for other programs: jobs, hours and traces as Parquet, a trace also as CSV; whole numbers in base units."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np

from fabrique.core.admission.tables import NONE, UNLIMITED
from fabrique.twin.study import Run
from fabrique.twin.trace import COLUMNS, Trace
from fabrique.twin.traces.column_map import ABOUT

Columns = Mapping[str, Any]


def parquet(columns: Columns, about: Mapping[str, Sequence[str]] | None = None) -> bytes:
    """A Parquet file; None and masked cells are null. `about` goes with it, for who reads the table."""
    import polars as pl

    out = BytesIO()
    pl.DataFrame(dict(columns)).write_parquet(out, metadata={ABOUT: json.dumps(about)} if about else None)
    return out.getvalue()


def trace_file(trace: Trace, name: str) -> bytes:
    """The trace as a table that `traces.reading` knows: CSV where the name says so, else Parquet.

    Parquet also keeps what the numbers rest on, and the order of the names.
    """
    import polars as pl

    if name.lower().endswith(".csv"):
        return pl.DataFrame(trace_columns(trace)).write_csv().encode()
    about = {"said": (trace.source, *trace.said), "projects": trace.projects, "pools": trace.pools}
    return parquet(trace_columns(trace), about | {"work_classes": trace.work_classes})


def job_columns(run: Run) -> dict[str, Any]:
    """One row a job of the world: what it asked, when it ran, what it drew."""
    trace, replay, kept, rows = run.study.trace, run.replay, run.books, run.replay.world.rows
    world = replay.world
    limits = np.where(replay.option == NONE, NONE, world.limit_permille[np.maximum(replay.option, 0)])
    return {
        "number": trace.number[rows],
        "submit_ms": world.submit_ms,
        "start_ms": _known(replay.start_ms),
        "end_ms": _known(replay.end_ms),
        "milli_devices": world.state.need[:, 0],
        "project": _names(world.projects, trace.project[rows]),
        "pool": _names(world.pools, world.pool_of),
        "work_class": _names(trace.work_classes, trace.work_class[rows]),
        "priority": trace.priority[rows],
        "power_limit_permille": _known(limits),
        "energy_mj": replay.energy_mj if kept.jobs_mj is not None else [None] * len(world),
        "carbon_mg": kept.job_carbon_mg if kept.job_carbon_mg is not None else [None] * len(world),
        "done_ms": replay.done_ms,
        "lost_ms": replay.lost_ms,
        "preemptions": replay.preemptions,
        "deferred": replay.deferred.astype(np.bool_),
        "bounded_slowdown": run.summary.slowdown,
    }


def series_columns(run: Run) -> dict[str, Any]:
    """One row a slot: energy and carbon of all sites, the caps and the draw above them, each pool's work."""
    kept, slots = run.books, len(run.books.edges_ms) - 1
    cap = np.where((kept.cap_mw >= UNLIMITED).any(axis=0), NONE, kept.cap_mw.sum(axis=0) % UNLIMITED)

    def summed(table: Any) -> Any:
        return [None] * slots if table is None else table.sum(axis=0)

    return {
        "from_ms": kept.edges_ms[:-1],
        "to_ms": kept.edges_ms[1:],
        "jobs_mj": summed(kept.jobs_mj),
        "idle_mj": summed(kept.idle_mj),
        "peak_mw": summed(kept.peak_mw),
        "cap_mw": _known(cap),
        "over_mj": summed(kept.over_mj),
        "carbon_mg": summed(kept.carbon_mg),
        "cost_micro": summed(kept.cost),
        **{f"work_{pool}": run.summary.pool_work[row] for row, pool in enumerate(run.replay.world.pools)},
    }


def trace_columns(trace: Trace) -> dict[str, Any]:
    """The columns of a trace, names in place of their rows."""
    columns: dict[str, Any] = {name: getattr(trace, name) for name in COLUMNS}
    named = {"project": trace.projects, "pool": trace.pools, "work_class": trace.work_classes}
    return columns | {name: _names(names, columns[name]) for name, names in named.items()}


def _known(column: Any) -> list[int | None]:
    return [None if value == NONE else value for value in column.tolist()]


def _names(names: tuple[str, ...], rows: Any) -> list[str]:
    return [names[row] for row in rows.tolist()]
