"""Whatever the bytes, reading a trace gives a trace that keeps the convention, or one refusal with a sentence."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabrique.core.errors import FabriqueError
from fabrique.language.say import Speaker
from fabrique.twin.trace import Trace
from fabrique.twin.traces.reading import read

NAMES = ("t", "t.swf", "t.swf.gz", "t.csv", "t.parquet", "t.json", "t.txt")
PLAIN = settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
NUMBERS = st.sampled_from(
    ["-1", "0", "1", "7", "0.5", "-0", "1e3", "99999999999999999999", "1e400", "nan", "inf", "x", "\0", "1_0", "٣", ""]
)
SWF_LINE = st.lists(NUMBERS, min_size=17, max_size=19).map(" ".join)
WORDS = st.sampled_from(
    ["7", "7_1", "7.batch", "7_[1-2]", "2026-01-01T00:00:00", "2026-13-01T00:00:00", "9999-12-31T23:59:59", "Unknown",
     "1-00:00:00", "UNLIMITED", "gres/gpu=2", "gres/gpu:a=1,cpu=", "cpu=4294967294", "=", "COMPLETED", "", "-2",
     "18446744073709551614", "é", "\r", "600"]
)  # fmt: skip
SACCT = "JobID|Submit|Start|Elapsed|ElapsedRaw|Timelimit|State|AllocTRES|NCPUS"
SACCT_LINE = st.lists(WORDS, min_size=9, max_size=9).map("|".join)
KEYS = st.sampled_from(["time", "tres", "allocated", "state", "current", "array", "number", "set"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
    max_leaves=12,
)
POD_HEADER = "num_gpu,gpu_milli,creation_time,deletion_time,scheduled_time,qos"
POD_LINE = st.lists(NUMBERS | st.sampled_from(['"', "a,b", "460"]), min_size=6, max_size=6).map(",".join)


def answer(path: Path) -> Trace | None:
    try:
        trace = read(path, processors=1_000, whole_node_devices=4)
    except FabriqueError as error:
        for language in ("en", "fr"):
            sentence = Speaker(language, "UTC").error(error)
            assert sentence and "\0" not in sentence and "\x1b" not in sentence and len(sentence) < 1_000
        assert error.code.startswith("trace.")
        return None
    assert len(trace) and (np.diff(trace.submit_ms) >= 0).all() and (trace.submit_ms >= 0).all()
    assert (trace.run_ms >= 1_000).all() and (trace.walltime_ms >= trace.run_ms).all()
    assert (trace.milli_devices > 0).all() and (trace.milli_devices <= 1_000_000).all()
    assert (trace.after < np.arange(len(trace))).all()
    return trace


@PLAIN
@given(content=st.binary(max_size=400), name=st.sampled_from(NAMES), squeezed=st.booleans())
def test_noise(tmp_path: Path, content: bytes, name: str, squeezed: bool) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(content, mtime=0) if squeezed else content)
    answer(path)


@PLAIN
@given(lines=st.lists(SWF_LINE, min_size=1, max_size=6))
def test_numbers_of_swf(tmp_path: Path, lines: list[str]) -> None:
    path = tmp_path / "t.swf"
    path.write_text("; UnixStartTime: 999999999999\n" + "\n".join(lines), encoding="utf-8")
    answer(path)


@PLAIN
@given(lines=st.lists(SACCT_LINE, min_size=1, max_size=6))
def test_words_of_sacct(tmp_path: Path, lines: list[str]) -> None:
    path = tmp_path / "t.txt"
    path.write_text("\n".join((SACCT, *lines)), encoding="utf-8")
    answer(path)


@PLAIN
@given(jobs=st.lists(JSON, min_size=1, max_size=4), time=JSON, state=JSON)
def test_shapes_of_json(tmp_path: Path, jobs: list[object], time: object, state: object) -> None:
    path = tmp_path / "t.json"
    made = {"job_id": 1, "time": time, "state": state, "tres": {"allocated": [{"type": "cpu", "count": 4}]}}
    path.write_text(json.dumps({"jobs": [*jobs[1:], made]}), encoding="utf-8")
    answer(path)


@PLAIN
@given(lines=st.lists(POD_LINE, min_size=1, max_size=6))
def test_cells_of_a_table(tmp_path: Path, lines: list[str]) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\n".join((POD_HEADER, *lines)), encoding="utf-8")
    answer(path)


@PLAIN
@given(at=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_parquet_file_with_a_byte_changed(tmp_path: Path, whole_parquet: bytes, at: int, value: int) -> None:
    changed = bytearray(whole_parquet)
    changed[at % len(changed)] = value
    path = tmp_path / "t.parquet"
    path.write_bytes(changed)
    answer(path)


@pytest.fixture(scope="module")
def whole_parquet() -> bytes:
    frame = pl.DataFrame(
        {"timestamp": [1, 2, 3], "duration": [4.0, 5.0, 6.0], "num_gpus": [1, 2, 4], "cluster": ["a", "b", "a"]}
    ).with_columns(pl.col("timestamp").cast(pl.Datetime("us")))
    file = io.BytesIO()
    frame.write_parquet(file)
    return file.getvalue()
