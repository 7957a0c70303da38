"""What `twin generate` writes, `twin run` reads: every column, in Parquet and CSV, without a column map."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabrique.core.errors import FabriqueError
from fabrique.twin import files
from fabrique.twin.generate import generate
from fabrique.twin.load import flexed
from fabrique.twin.trace import COLUMNS, Trace
from fabrique.twin.traces.column_map import ABOUT
from fabrique.twin.traces.reading import read
from fabrique.twin.workload import ready_made, workload

FORMS = ("g.parquet", "g.csv", "odd name")
NAMED = ("project", "pool", "work_class")


def told(trace: Trace) -> dict[str, list[Any]]:
    """Every column, with names in place of their rows: two readers may number names otherwise."""
    return {name: list(column) for name, column in files.trace_columns(trace).items()}


def written(trace: Trace, tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    path.write_bytes(files.trace_file(trace, name))
    return path


@pytest.fixture(scope="module")
def work() -> Trace:
    made = generate(workload("ai-hub"), 3)
    made = flexed(made, flexible_permille=300, slack_ms=3_600_000, preemptible_permille=400, tolerant_permille=500,
                  tolerance_permille=200, seed=1)  # fmt: skip
    after = np.full(len(made), -1, np.int64)
    after[5], after[9] = 2, 8
    return replace(made, after=after, priority=np.arange(len(made)) % 3 - 1, pools=('a "b", c', *made.pools[1:]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ready_made())
def test_each_workload_comes_back(name: str, form: str, tmp_path: Path) -> None:
    made = generate(workload(name), 1)
    assert told(read(written(made, tmp_path, form))) == told(made)


@pytest.mark.parametrize("form", FORMS)
def test_every_column_comes_back(work: Trace, form: str, tmp_path: Path) -> None:
    assert all(len(np.unique(getattr(work, column))) > 1 for column in COLUMNS)  # none can be lost unseen
    found = read(written(work, tmp_path, form))
    assert told(found) == told(work)
    if form != "g.csv":  # what a fleet lacks is given out in turn: the order of the names is part of the trace
        used = {work.pools[row] for row in work.pool}
        assert found.pools == tuple(name for name in work.pools if name in used)


def test_also_gzipped_and_with_its_columns_in_another_order(work: Trace, tmp_path: Path) -> None:
    table = pl.read_csv(written(work, tmp_path, "g.csv"))
    path = tmp_path / "turned.csv.gz"
    path.write_bytes(gzip.compress(table.select(reversed(table.columns)).write_csv().encode()))
    assert told(read(path)) == told(work)


def test_a_row_left_out_takes_nobody_else_s_place(work: Trace, tmp_path: Path) -> None:
    columns = dict(files.trace_columns(work))
    columns["run_ms"] = np.where(np.arange(len(work)) == 2, 0, work.run_ms)  # row 5 waits for row 2
    path = tmp_path / "g.parquet"
    path.write_bytes(files.parquet(columns))
    found = read(path)
    assert dict(found.dropped) == {"no-run": 1}
    assert found.after[4] == -1 and found.number[found.after[8]] == work.number[8]


def test_what_it_rests_on_comes_with_it(work: Trace, tmp_path: Path) -> None:
    said = read(written(work, tmp_path, "g.parquet")).said
    assert f"The table says: {work.source}" in said
    assert any("Assumed, not recorded" in text for text in said)


@pytest.mark.parametrize(
    "about", ["[", "{}", "[1, null]", '["\\u001b[2J"]', json.dumps(["x" * 9_000] * 90), "[" * 9_999]
)
def test_metadata_of_anybody_s_harm_nothing(about: str, work: Trace, tmp_path: Path) -> None:
    path = tmp_path / "g.parquet"
    pl.DataFrame(files.trace_columns(work)).write_parquet(path, metadata={ABOUT: about})
    found = read(path)
    said = found.said
    assert told(found) == told(work)
    assert len(said) <= 21 and all(len(text) < 500 and "\x1b" not in text for text in said)


@pytest.mark.parametrize(
    ("column", "value"),
    [("nodes", 1 << 60), ("priority", -(10**9)), ("slack_ms", 1 << 50), ("tolerance_permille", 99_999),
     ("preemptible", 2)],
)  # fmt: skip
@pytest.mark.parametrize("form", FORMS[:2])
def test_a_value_out_of_range_is_one_message(column: str, value: int, form: str, work: Trace, tmp_path: Path) -> None:
    columns = {**files.trace_columns(work), column: [value] * len(work)}
    path = tmp_path / form
    table = pl.DataFrame(columns)
    path.write_bytes(table.write_csv().encode() if form.endswith("csv") else files.parquet(columns))
    with pytest.raises(FabriqueError) as error:
        read(path)
    assert error.value.code == "trace.value"


@given(st.lists(st.integers(-(1 << 40), 1 << 40), min_size=1, max_size=6))
def test_rows_that_wait_never_wait_in_a_circle(after: list[int]) -> None:
    from fabrique.twin.traces.rows import _after_row

    found = _after_row(np.array(after, np.int64), np.arange(len(after))[::-1].copy())
    assert (found < np.arange(len(after))).all() and (found >= -1).all()
