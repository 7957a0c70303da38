"""Slurm's accounting as a trace: what others tripped over, one test each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fabrique.core.errors import FabriqueError
from fabrique.twin.trace import Trace
from fabrique.twin.traces.reading import read

NAMES = "JobID|JobIDRaw|Cluster|Account|User|Submit|Start|End|ElapsedRaw|Timelimit|State|AllocTRES|ReqTRES|NCPUS"


def line(**given: str) -> str:
    values = {
        "JobID": "7", "Cluster": "one", "Account": "lab", "User": "ada", "Submit": "2026-01-01T00:00:00",
        "Start": "2026-01-01T00:01:00", "End": "2026-01-01T00:11:00", "ElapsedRaw": "600", "Timelimit": "01:00:00",
        "State": "COMPLETED", "AllocTRES": "billing=9,cpu=8,gres/gpu=2,mem=1G,node=1", "NCPUS": "8", **given,
    }  # fmt: skip
    values.setdefault("JobIDRaw", values["JobID"])
    return "|".join(values.get(name, "") for name in NAMES.split("|"))


def parsed(tmp_path: Path, *lines: str, end: str = "", timezone: str = "UTC") -> Trace:
    path = tmp_path / "sacct.txt"
    path.write_text("".join(f"{text}{end}\n" for text in (NAMES, *lines)))
    return read(path, timezone=timezone)


def code_of(tmp_path: Path, *lines: str) -> FabriqueError:
    with pytest.raises(FabriqueError) as caught:
        parsed(tmp_path, *lines)
    return caught.value


@pytest.mark.parametrize("end", ["", "|"])  # --parsable2 and --parsable
def test_a_run_is_what_was_allocated(tmp_path: Path, end: str) -> None:
    trace = parsed(tmp_path, line(ReqTRES="cpu=1,gres/gpu=16"), end=end)
    assert (trace.milli_devices.tolist(), trace.number.tolist()) == ([2_000], [7])
    assert (trace.submit_ms.tolist(), trace.run_ms.tolist()) == ([1_767_225_600_000], [600_000])
    assert trace.walltime_ms.tolist() == [3_600_000] and trace.projects == ("lab",)


@pytest.mark.parametrize(
    ("tres", "devices"),
    [
        ("cpu=8,gres/gpu:a100=2", 2),
        ("cpu=8,gres/gpu=2,gres/gpu:a100=2", 2),
        ("gres/gpu:a100=2,gres/gpu:v100=1", 3),
        ("billing=40,gres/gpu=1", 1),
        ("cpu=64,gres/gpu=8,node=2", 8),  # over two nodes: not multiplied twice
    ],
)
def test_accelerators_count_once_however_the_site_names_them(tmp_path: Path, tres: str, devices: int) -> None:
    assert parsed(tmp_path, line(AllocTRES=tres)).milli_devices.tolist() == [devices * 1_000]


def test_each_run_of_a_requeued_job_counts_once(tmp_path: Path) -> None:
    first = line(State="REQUEUED", ElapsedRaw="60")
    second = line(Start="2026-01-01T02:00:00", ElapsedRaw="600")
    other = line(Cluster="two")
    trace = parsed(tmp_path, first, second, second, other)
    assert sorted(trace.run_ms.tolist()) == [60_000, 600_000, 600_000]
    assert dict(trace.dropped) == {"duplicate": 1}


def test_steps_waiting_and_unfinished_jobs_are_left_out_and_counted(tmp_path: Path) -> None:
    lines = (
        line(), line(JobID="7.batch"), line(JobID="7.0"), line(JobID="8_[5-9%2]", JobIDRaw="8"),
        line(JobID="9", State="PENDING", Start="Unknown", End="Unknown"),
        line(JobID="10", State="RUNNING", End="Unknown"),
        line(JobID="11", State="CANCELLED by 1001", Start="None", ElapsedRaw="0"),
    )  # fmt: skip
    trace = parsed(tmp_path, *lines)
    assert len(trace) == 1
    assert dict(trace.dropped) == {"step": 2, "pending": 2, "unfinished": 1, "no-run": 1}


def test_a_cancelled_run_and_the_tasks_of_an_array_ran(tmp_path: Path) -> None:
    lines = (line(JobID="5_4", JobIDRaw="6", State="CANCELLED by 1001"), line(JobID="5_3", JobIDRaw="5"))
    assert parsed(tmp_path, *lines).number.tolist() == [5, 6]


@pytest.mark.parametrize("limit", ["UNLIMITED", "Partition_Limit", ""])
def test_a_walltime_that_is_none_is_the_run(tmp_path: Path, limit: str) -> None:
    assert parsed(tmp_path, line(Timelimit=limit)).walltime_ms.tolist() == [600_000]


@pytest.mark.parametrize(
    ("text", "ms"), [("1-00:00:00", 86_400_000), ("30:00", 1_800_000), ("2-12:30:15", 217_815_000)]
)
def test_lengths_are_read_as_slurm_writes_them(tmp_path: Path, text: str, ms: int) -> None:
    assert parsed(tmp_path, line(Timelimit=text)).walltime_ms.tolist() == [ms]


@pytest.mark.parametrize("unset", ["18446744073709551614", "4294967294", "-2"])
def test_a_sentinel_is_no_count(tmp_path: Path, unset: str) -> None:
    trace = parsed(tmp_path, line(JobID="1", AllocTRES=f"cpu=4,gres/gpu={unset}"), line(JobID="2"))
    assert trace.number.tolist() == [2] and dict(trace.dropped) == {"no-accelerator": 1}


def test_cores_count_only_where_nobody_had_an_accelerator(tmp_path: Path) -> None:
    bare = line(JobID="1", AllocTRES="cpu=8,mem=1G")
    trace = parsed(tmp_path, bare, line(JobID="2", AllocTRES="", NCPUS="3"))
    assert trace.milli_devices.tolist() == [8_000, 3_000]
    assert any("a device is a core" in said for said in trace.said)
    assert dict(parsed(tmp_path, bare, line()).dropped) == {"no-accelerator": 1}


def test_times_are_in_the_zone_that_is_named(tmp_path: Path) -> None:
    trace = parsed(tmp_path, line(Submit="2026-07-01T00:00:00"), timezone="Europe/Luxembourg")
    assert trace.submit_ms.tolist() == [1_782_856_800_000]  # 22:00 UTC the day before
    assert any("Europe/Luxembourg" in said for said in trace.said)
    with pytest.raises(FabriqueError, match="timezone"):
        parsed(tmp_path, line(), timezone="../../etc/passwd")


def test_a_broken_record_is_named(tmp_path: Path) -> None:
    error = code_of(tmp_path, line(), line(Submit="yesterday"))
    assert (error.code, error.params["line"], error.params["field"]) == ("trace.value", 3, "Submit")
    error = code_of(tmp_path, line(AllocTRES="gres/gpu=many"))
    assert (error.code, error.params["line"], error.params["field"]) == ("trace.value", 2, "AllocTRES")
    assert code_of(tmp_path, line(Account="a|b")).code == "trace.line"


def test_an_export_without_what_is_needed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sacct.txt"
    path.write_text("JobID|Submit|Elapsed\n7|2026-01-01T00:00:00|00:10:00\n")
    with pytest.raises(FabriqueError) as caught:
        read(path)
    assert caught.value.params == {"file": "sacct.txt", "column": "AllocTRES"}


# --- JSON -------------------------------------------------------------------------------------------------


def tri(number: int) -> dict[str, object]:
    return {"set": True, "infinite": False, "number": number}


def job(tri_state: bool, **changes: Any) -> dict[str, Any]:
    """A job as 22.05 (plain numbers, a word) or 24.11 (tri-state, a list) writes it."""
    number: Any = tri if tri_state else int
    return {
        "job_id": 7, "cluster": "one", "account": "lab", "array": {"job_id": 0, "task_id": number(0)},
        "time": {"submission": 1_767_225_600, "start": 1_767_225_660, "elapsed": 600, "limit": number(60)},
        "state": {"current": ["COMPLETED"] if tri_state else "COMPLETED", "reason": "None"},
        "tres": {
            "allocated": [
                {"type": "cpu", "name": "", "id": 1, "count": 8},
                {"type": "gres", "name": "gpu:a100", "id": 1002, "count": 2},
            ],
            "requested": [{"type": "gres", "name": "gpu", "id": 1001, "count": 16}],
        },
        **changes,
    }  # fmt: skip


def from_json(tmp_path: Path, *jobs: dict[str, Any], **beside: Any) -> Trace:
    path = tmp_path / "sacct.json"
    path.write_text(json.dumps({"meta": {}, "errors": [], "jobs": jobs, **beside}))
    return read(path)


@pytest.mark.parametrize("tri_state", [True, False])
def test_json_says_the_same_as_text(tmp_path: Path, tri_state: bool) -> None:
    trace, text = from_json(tmp_path, job(tri_state)), parsed(tmp_path, line())
    for column in ("number", "submit_ms", "run_ms", "walltime_ms", "milli_devices"):
        assert getattr(trace, column).tolist() == getattr(text, column).tolist(), column


def test_numbers_that_are_unset_or_infinite_are_unknown(tmp_path: Path) -> None:
    for limit in ({"set": False, "infinite": False, "number": 0}, {"set": True, "infinite": True, "number": 0}, -2):
        time = {**job(True)["time"], "limit": limit}
        assert from_json(tmp_path, job(True, time=time)).walltime_ms.tolist() == [600_000]


def test_runs_that_are_not_over_and_duplicates_are_left_out_of_json(tmp_path: Path) -> None:
    waiting = job(True, job_id=8, array={"task_id": {"set": False, "number": 0}, "task": "5-9"})
    running = job(True, job_id=9, state={"current": ["RUNNING"]})
    trace = from_json(tmp_path, job(True), job(True), waiting, running)
    assert dict(trace.dropped) == {"duplicate": 1, "pending": 1, "unfinished": 1}


def test_an_answer_with_errors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FabriqueError) as caught:
        from_json(tmp_path, job(True), errors=[{"error": "Unable to query"}])
    assert caught.value.code == "trace.refused"


@pytest.mark.parametrize("broken", [{"time": None}, {"job_id": "x"}, {"tres": []}, {"state": 3}, {"account": 3}])
def test_a_broken_job_is_named(tmp_path: Path, broken: dict[str, Any]) -> None:
    with pytest.raises(FabriqueError) as caught:
        from_json(tmp_path, job(True), job(True, **broken))
    assert caught.value.code == "trace.value" and caught.value.params["field"] == "jobs[1]"
