"""Traces as they are read: SWF to the letter, the one convention, tables by their columns, and clear messages."""

from __future__ import annotations

import gzip
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fabrique.core.errors import FabriqueError
from fabrique.language.say import Speaker
from fabrique.twin.traces.reading import read

HEADER = "; UnixStartTime: 1000\n; MaxProcs: 64\n"


def row(job: int, submit: int, run: int, **fields: int) -> str:
    """A line of SWF; what is not given is unknown."""
    names = (
        "job submit wait run allocated cpu memory requested time memory_requested status user group application queue "
        "partition preceding think"
    ).split()
    values = {"job": job, "submit": submit, "run": run, "requested": 1, **fields}
    assert set(values) <= set(names)
    return " ".join(str(values.get(name, -1)) for name in names)


def swf(tmp_path: Path, *lines: str, header: str = HEADER) -> Path:
    path = tmp_path / "trace.swf"
    path.write_text(header + "\n".join(lines) + "\n")
    return path


def refused(path: Path, **options: object) -> FabriqueError:
    with pytest.raises(FabriqueError) as caught:
        read(path, **options)  # type: ignore[arg-type]
    sentence = Speaker("en", "UTC").error(caught.value)
    assert "{" not in sentence and "Traceback" not in sentence
    return caught.value


# --- SWF --------------------------------------------------------------------------------------------------


def test_kth_has_the_jobs_that_every_engine_is_compared_on(traces: Path) -> None:
    begun = time.perf_counter()
    trace = read(traces / "KTH-SP2-1996-2.1-cln.swf.gz", processors=100)
    assert time.perf_counter() - begun < 5  # some 0.3 s when nothing else runs
    assert len(trace) == 28_467
    assert dict(trace.dropped) == {"no-run": 8, "no-devices": 1}
    assert (np.diff(trace.submit_ms) >= 0).all()
    assert (trace.walltime_ms >= trace.run_ms).all() and trace.run_ms.min() >= 1_000
    assert trace.submit_ms[0] == (843_480_031 + 599_850) * 1_000
    assert trace.milli_devices.max() == 100_000


def test_traces_without_estimates_or_requests_are_read(traces: Path) -> None:
    nasa = read(traces / "NASA-iPSC-1993-3.1-cln.swf.gz")
    assert len(nasa) == 18_066 and (nasa.walltime_ms == nasa.run_ms).all()
    assert len(read(traces / "lublin_256_synthetic.swf.gz", processors=256)) == 10_000
    assert len(read(traces / "HPC2N_first3194.swf.gz")) == 3_145


def test_processors_are_those_requested_else_those_allocated(tmp_path: Path) -> None:
    lines = (row(1, 0, 9, requested=8, allocated=4), row(2, 0, 9, requested=-1, allocated=4), row(3, 0, 9, requested=0))
    trace = read(swf(tmp_path, *lines, row(4, 0, 9, requested=0, allocated=2)))
    assert trace.milli_devices.tolist() == [8_000, 4_000, 2_000]
    assert dict(trace.dropped) == {"no-devices": 1}


def test_walltime_is_never_below_the_run(tmp_path: Path) -> None:
    trace = read(swf(tmp_path, row(1, 0, 50, time=20), row(2, 0, 50, time=80), row(3, 0, 50)))
    assert trace.walltime_ms.tolist() == [50_000, 80_000, 50_000]


def test_a_fraction_of_a_second_is_run_as_a_second(tmp_path: Path) -> None:
    trace = read(swf(tmp_path, row(1, 0, 50).replace(" 50 ", " 0.25 "), row(2, 0, 0), row(3, 0, -1)))
    assert trace.run_ms.tolist() == [1_000]
    assert dict(trace.dropped) == {"no-run": 2}


def test_a_job_whose_submission_is_unknown_is_dropped_and_counted(tmp_path: Path) -> None:
    trace = read(swf(tmp_path, row(1, -1, 9), row(2, 0, 9)))
    assert trace.submit_ms.tolist() == [1_000_000] and dict(trace.dropped) == {"no-submit": 1}


def test_order_is_by_submission_then_number(tmp_path: Path) -> None:
    trace = read(swf(tmp_path, row(10, 5, 1), row(9, 5, 1), row(11, 4, 1)))
    assert trace.number.tolist() == [11, 9, 10]
    assert trace.submit_ms.tolist() == [1_004_000, 1_005_000, 1_005_000]


def test_jobs_larger_than_the_machine_are_dropped_and_counted(tmp_path: Path) -> None:
    path = swf(tmp_path, row(1, 0, 9, requested=8), row(2, 0, 9, requested=9))
    assert dict(read(path, processors=8).dropped) == {"larger-than-machine": 1}
    assert len(read(path)) == 2


def test_a_multiple_of_a_node_takes_whole_nodes(tmp_path: Path) -> None:
    lines = [row(i, 0, 9, requested=n) for i, n in enumerate((1, 4, 6, 8))]
    assert read(swf(tmp_path, *lines), whole_node_devices=4).nodes.tolist() == [0, 1, 0, 2]
    assert read(swf(tmp_path, *lines)).nodes.tolist() == [0, 0, 0, 0]


def test_the_project_is_the_group_else_the_user(tmp_path: Path) -> None:
    lines = (row(1, 0, 9, user=12, group=3), row(2, 0, 9, user=12), row(3, 0, 9))
    trace = read(swf(tmp_path, *lines))
    assert [trace.projects[i] for i in trace.project] == ["g3", "u12", "unknown"]
    assert (trace.pools, trace.work_classes) == (("all",), ("any",))


def test_a_job_waits_for_the_one_it_names(tmp_path: Path) -> None:
    lines = (row(1, 0, 9), row(2, 1, 9, preceding=1, think=60), row(3, 2, 9, preceding=4), row(4, 3, 9, preceding=99))
    trace = read(swf(tmp_path, *lines))
    assert trace.after.tolist() == [-1, 0, -1, -1]
    assert any("think time" in said for said in trace.said) and any(said.startswith("2 jobs") for said in trace.said)


def test_pieces_of_a_job_do_not_run_beside_their_sum(tmp_path: Path) -> None:
    lines = (row(1, 0, 9, status=1), row(1, 0, 4, status=2), row(1, 5, 5, status=3), row(2, 0, 7, status=2))
    trace = read(swf(tmp_path, *lines))
    assert trace.run_ms.tolist() == [9_000, 7_000] and dict(trace.dropped) == {"partial": 2}


def test_without_a_start_time_that_is_said(tmp_path: Path) -> None:
    trace = read(swf(tmp_path, row(1, 7, 9), header="; Note: Universität\n"))
    assert trace.submit_ms.tolist() == [7_000] and any("UnixStartTime" in said for said in trace.said)


@pytest.mark.parametrize(
    ("line", "code", "params"),
    [
        ("1 2 3", "trace.line", {"line": 4, "found": 3, "wanted": 18}),
        (row(2, 0, 9) + " 1", "trace.line", {"line": 4, "found": 19}),
        (row(2, 0, 9).replace(" 9 ", " 9x "), "trace.value", {"line": 4, "field": "run", "value": "9x"}),
        (row(2, 0, 9).replace(" 9 ", " --9 "), "trace.value", {"line": 4, "field": "run"}),
        (row(2, 0, 9).replace(" 9 ", " nan "), "trace.value", {"line": 4, "field": "run"}),
        (row(2, 0, 9).replace(" 9 ", " 1e999 "), "trace.value", {"line": 4, "field": "run"}),
        (row(2, 0, 9).replace(" 9 ", " 9\x009 "), "trace.value", {"line": 4, "field": "run"}),
        (row(2, 0, 9).replace(" 9 ", " 1e15 "), "trace.value", {"line": 4, "field": "run"}),
        (row(2, 0, 4_000_000_000), "trace.value", {"line": 4, "field": "run"}),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, code: str, params: dict[str, object]) -> None:
    error = refused(swf(tmp_path, row(1, 0, 9), line))
    assert error.code == code and error.params["file"] == "trace.swf"
    assert params.items() <= error.params.items()


# --- the file itself --------------------------------------------------------------------------------------


def test_a_gzip_bomb_costs_no_more_than_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "bomb.swf.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(300):
            file.write(bytes(1 << 20))
    assert refused(path).code == "trace.too-large"


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("empty.swf", b"", "trace.empty"),
        ("header.swf", b"; Version: 2.2\n\n", "trace.empty"),
        ("cut.swf.gz", gzip.compress(b"1 2 3\n" * 999, mtime=0)[:-20], "trace.compressed"),
        ("noise.bin", bytes(range(256)) * 999, "trace.format"),
        ("noise.parquet", b"PAR1" + bytes(range(256)) * 99 + b"PAR1", "trace.format"),
        ("text.txt", b"un texte, tout simplement\n", "trace.format"),
        ("utf16.csv", "a,b\n1,2\n".encode("utf-16"), "trace.encoding"),
        ("latin.csv", "a,b\nété,2\n".encode("latin-1"), "trace.encoding"),
        ("broken.json", b'{"jobs": [', "trace.value"),
        ("deep.json", b'{"a":' * 99_999, "trace.format"),
        ("list.json", b"[]", "trace.format"),
    ],
)
def test_what_is_no_trace_gets_one_message(tmp_path: Path, name: str, content: bytes, code: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert refused(path).code == code


def test_what_is_no_file_gets_one_message(tmp_path: Path) -> None:
    assert refused(tmp_path / "nowhere.swf").code == "trace.missing"
    assert refused(tmp_path).code == "trace.unreadable"


def test_the_digest_is_of_the_bytes_as_they_lie(tmp_path: Path) -> None:
    import hashlib

    path = swf(tmp_path, row(1, 0, 9))
    assert read(path).digest == hashlib.sha256(path.read_bytes()).hexdigest()


# --- tables -----------------------------------------------------------------------------------------------


def table(tmp_path: Path, rows: Sequence[str], more: str = "") -> tuple[Path, Path]:
    columns = tmp_path / "mine.yaml"
    columns.write_text(
        "id: mine\nsource: a test\nsubmit: {column: at, unit: time}\nrun: {column: took, unit: min}\n"
        f"devices: gpus\nproject: who\n{more}"
    )
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(("at,took,gpus,who", *rows)) + "\n")
    return path, columns


def test_philly_is_recognised(traces: Path) -> None:
    trace = read(traces / "philly_2017-09_2017-10.parquet")
    assert len(trace) == 52_849 and trace.milli_devices.max() == 32_000
    assert len(trace.pools) == 12 and trace.submit_ms[0] == 1_504_521_041_000


def test_pods_keep_their_fractions(traces: Path) -> None:
    trace = read(traces / "openb_pod_list_default.csv.gz")
    assert dict(trace.dropped) == {"no-accelerator": 1_088, "no-run": 861}
    assert len(trace) == 8_152 - 1_088 - 861
    assert 460 in trace.milli_devices and 8_000 in trace.milli_devices


def test_eagle_is_read_with_its_walltimes_in_its_own_zone(traces: Path) -> None:
    trace = read(traces / "nrel_eagle_sample1000.csv.gz")
    assert len(trace) == 1_000 and trace.submit_ms[0] == 1_546_358_155_000  # 08:55:55 at UTC−7
    assert trace.walltime_ms[0] == 172_800_000


def test_a_map_of_ones_own_says_what_columns_mean(tmp_path: Path) -> None:
    rows = ("2026-01-01T00:00:00Z,1.5,2,a", "2026-01-01 01:00:00+01:00,1,1,", "2026-01-01T00:00:01,,1,b", ",1,1,c")
    path, columns = table(tmp_path, rows)
    trace = read(path, columns=columns)
    assert trace.submit_ms.tolist() == [1_767_225_600_000] * 2
    assert trace.run_ms.tolist() == [90_000, 60_000] and trace.milli_devices.tolist() == [2_000, 1_000]
    assert trace.projects == ("a", "unknown") and dict(trace.dropped) == {"no-run": 1, "no-submit": 1}


def test_the_hour_that_a_clock_change_repeats_is_its_first(tmp_path: Path) -> None:
    path, columns = table(tmp_path, ["2025-10-26T02:30:00,1,1,a"], "timezone: Europe/Luxembourg\n")
    assert read(path, columns=columns).submit_ms.tolist() == [1_761_438_600_000]  # 00:30 UTC


@pytest.mark.parametrize(
    ("row_text", "field"),
    [("soon,1,1,a", "at"), ("2026-01-01T00:00:00Z,long,1,a", "took"), ("2026-01-01T00:00:00Z,1,nan,a", "gpus"),
     ("2026-01-01T00:00:00Z,1,1e300,a", "gpus")],
)  # fmt: skip
def test_a_broken_cell_is_named(tmp_path: Path, row_text: str, field: str) -> None:
    path, columns = table(tmp_path, ["2026-01-01T00:00:00Z,1,1,a", row_text])
    error = refused(path, columns=columns)
    assert (error.code, error.params["line"], error.params["field"]) == ("trace.value", 3, field)


def test_a_table_that_no_map_fits_or_that_lacks_a_column_is_refused(tmp_path: Path) -> None:
    path, columns = table(tmp_path, ["2026-01-01T00:00:00Z,1,1,a"])
    assert refused(path).code == "trace.format"
    assert refused(path, columns="philly").params == {"file": "mine.csv", "column": "timestamp"}
    assert refused(path, columns="no-such-map").code == "definition.missing"
    assert refused(path, columns="../zones/lu").code == "definition.missing"
    columns.write_text("id: mine\nsource: x\nsubmit: {column: at, unit: fortnights}\nrun: 3\n")
    assert refused(path, columns=columns).code == "definition.broken"


def test_a_parquet_file_may_hold_times_of_its_own(tmp_path: Path) -> None:
    _, columns = table(tmp_path, [])
    frame = pl.DataFrame({"at": ["2026-01-01T00:00:00"], "took": [2], "gpus": [1], "who": ["a"]})
    frame = frame.with_columns(pl.col("at").str.to_datetime().dt.replace_time_zone("America/Montreal"))
    frame.write_parquet(tmp_path / "mine.parquet")
    assert read(tmp_path / "mine.parquet", columns=columns).submit_ms.tolist() == [1_767_243_600_000]
