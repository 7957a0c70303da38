"""A job's energy and memory stand with its steps: they are counted once, as Debian's 22.05 printed them."""

from __future__ import annotations

from dataclasses import replace

from fabrique.engines.slurm import documents, ends, rows
from fabrique.engines.slurm.model import Record
from fabrique.engines.slurm.resized import told_apart

FIELDS = [rows.DETAIL, *rows.RECORDS]
JOB = (
    "|lab|1|1|wrap|root|root|normal|gpu|COMPLETED|1795995147|1795995147|1795995149|1795995154|2|gpu01|cpu=1|"
    "cpu=96,gres/gpu=8,node=1|0:0|00:00.004||00:00:00|||5|"
)
BATCH = (
    "3293184|lab|1.batch|1.batch|batch||root|||COMPLETED|1795995149|1795995149|1795995149|1795995154||gpu01||"
    "cpu=96,gres/gpu=8,node=1|0:0|00:00.004|3514|00:00:00|||5|"
)
EXTERN = BATCH.replace("1.batch", "1.extern").replace("|batch|", "|extern|")


def read(*lines: str) -> Record:
    found, unread = rows.records("".join(f"{line}\n" for line in lines).encode(), FIELDS, "|")
    assert unread == [] and len(found) == 1
    return found[0]


def test_the_energy_of_the_script_is_the_jobs_once() -> None:
    for steps in ((BATCH,), (BATCH, EXTERN), (EXTERN, BATCH)):
        record = read(JOB, *steps)
        assert record.energy_mj == 3_514_000
        assert record.max_rss_bytes == 3_293_184
        assert record.elapsed_ms == 5_000


def test_a_job_on_two_nodes_is_not_told_by_the_first() -> None:
    assert read(JOB.replace("|gpu01|", "|gpu[01-02]|"), BATCH).energy_mj is None


def test_without_steps_nothing_is_told() -> None:
    assert read(JOB).energy_mj is None


RESIZED = JOB.replace("COMPLETED|1795995147|1795995147|1795995149|1795995154", "{}|{}|1795995149|1795995149|{}")


def test_what_a_resize_leaves_of_a_job_counts_from_the_resize() -> None:
    """As 22.05 wrote it: the second record was submitted at the resize, and started when the job was."""
    first = read(RESIZED.format("RESIZING", 1795995147, 1795995154))
    rest = read(RESIZED.format("COMPLETED", 1795995154, 1795995189).replace("|||5|", "|||40|"))
    assert (first.state, ends.has_ended(first), first.elapsed_ms, first.is_rest) == ("RESIZING", True, 5_000, False)
    assert told_apart([first, rest]) == [first, replace(rest, elapsed_ms=35_000)] and rest.is_rest
    assert told_apart([rest], [first]) == [replace(rest, elapsed_ms=35_000)]
    assert first.key != rest.key and first.handle != rest.handle


def test_rest_says_the_same_of_it() -> None:
    times = {"submission": 1795995147, "start": 1795995149, "end": 1795995154, "elapsed": 5}
    whole = {"job_id": 1, "cluster": "lab", "name": "wrap", "state": {"current": "RESIZING"}, "time": times}
    first = documents.record(whole)
    times = {"submission": 1795995154, "start": 1795995149, "end": 1795995189, "elapsed": 40}
    rest = documents.record({**whole, "state": {"current": ["COMPLETED"]}, "time": times})
    assert (first.state, ends.has_ended(first), first.elapsed_ms) == ("RESIZING", True, 5_000)
    assert [(r.elapsed_ms, r.is_rest) for r in told_apart([first, rest])] == [(5_000, False), (35_000, True)]


def test_a_clock_that_was_set_back_before_the_start_makes_no_rest() -> None:
    """Submitted at 154 by the old clock, run from 149 to 189 by the new one: all of it is the job's own."""
    job = read(RESIZED.format("COMPLETED", 1795995154, 1795995189).replace("|||5|", "|||40|"))
    other = replace(read(RESIZED.format("RESIZING", 1795995147, 1795995154)), job_id=job.job_id + 1)
    earlier = replace(other, job_id=job.job_id, ended_ms=1795995150_000)
    requeued = replace(other, job_id=job.job_id, state="REQUEUED")
    (found,) = told_apart([job], [other, earlier, requeued])
    assert (found.elapsed_ms, found.is_rest, found.key) == (40_000, False, job.key)


def test_each_size_of_a_job_that_was_resized_twice_has_its_own_time() -> None:
    first = read(RESIZED.format("RESIZING", 1795995147, 1795995154))
    second = read(RESIZED.format("RESIZING", 1795995154, 1795995164).replace("|||5|", "|||15|"))
    third = read(RESIZED.format("COMPLETED", 1795995164, 1795995189).replace("|||5|", "|||40|"))
    assert [r.elapsed_ms for r in told_apart([third, second], [first])] == [25_000, 10_000]


def test_rest_has_the_energy_of_the_script_with_its_step() -> None:
    """As 22.05 answers a question for one job; a step that a user calls `batch` has a number for its id."""

    def step(identity: str, joules: object) -> dict[str, object]:
        power = {"consumed": {"total": [{"type": "energy", "name": None, "id": 3, "count": 692}]}}
        used = {"energy": {"consumed": joules}}
        return {"step": {"job_id": 1, "id": identity, "name": "batch"}, "tres": power, "statistics": used}

    def energy(nodes: str, *steps: dict[str, object]) -> int | None:
        times = {"submission": 1795995147, "start": 1795995149, "end": 1795995154, "elapsed": 5}
        whole = {"job_id": 1, "cluster": "lab", "name": "a", "state": {"current": "COMPLETED"}, "time": times}
        return documents.record({**whole, "nodes": nodes, "steps": list(steps)}).energy_mj

    for identity in ("batch", "1.batch"):
        for joules in (4849, {"set": True, "infinite": False, "number": 4849}):
            steps = step("0", 9), step(identity, joules)
            assert energy("gpu01", *steps) == 4_849_000
            assert energy("gpu[01-02]", *steps) is None
    for sentinel in (2**64 - 2, -2, 0, None, {"set": False, "infinite": False, "number": 0}):
        assert energy("gpu01", step("batch", sentinel)) is None
