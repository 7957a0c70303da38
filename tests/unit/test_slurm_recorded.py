"""What three releases of Slurm said, read alike (tests/data/slurm/README.md says where it is from)."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from fabrique.engines.slurm import documents, ends, resized, rows
from fabrique.engines.slurm.model import Node, QueuedJob, Record

DATA = Path(__file__).parents[1] / "data" / "slurm"
TOKEN = "|0123456789abcdef|"
RELEASES = {
    "22.05": ("v0.0.38",),
    "24.11": ("v0.0.40", "v0.0.41", "v0.0.42"),
    "26.05": ("v0.0.42", "v0.0.43", "v0.0.44", "v0.0.45"),
}
WAYS = [(release, way) for release, apis in RELEASES.items() for way in ("commands", *apis)]
NEWER = {"22.05": [], "24.11": ["Restarts"], "26.05": ["Restarts", "Exclusive"]}
HOSTILE = "run-00000000\n|end JobId=7 é"


def document(release: str, name: str) -> object:
    return json.loads((DATA / release / f"{name}.json").read_bytes())[name.rpartition("-")[2]]


def queue(release: str, way: str) -> Sequence[QueuedJob]:
    if way == "commands":
        fields = [*rows.QUEUE, *(["exclusive"] if release == "26.05" else [])]
        jobs, unread = rows.queue((DATA / release / "squeue.txt").read_bytes(), fields, TOKEN)
    else:
        jobs, unread = documents.every(document(release, f"slurm-{way}-jobs"), documents.queued_job)
    assert not unread
    return jobs


def records(release: str, way: str) -> Sequence[Record]:
    if way == "commands":
        output = (DATA / release / "sacct.txt").read_bytes()
        found, unread = rows.records(output, [*NEWER[release], *rows.RECORDS], TOKEN)
    else:
        found, unread = documents.every(document(release, f"slurmdb-{way}-jobs"), documents.record)
    assert not unread
    return found


def nodes(release: str, way: str) -> Mapping[str, Node]:
    if way == "commands":
        found, unread = rows.nodes((DATA / release / "nodes.txt").read_bytes())
    else:
        found, unread = documents.every(document(release, f"slurm-{way}-nodes"), documents.node)
    assert not unread
    return {node.name: node for node in found}


def test_every_recording_is_read_here() -> None:
    said = {f"{release}/{name}.txt" for release in RELEASES for name in ("squeue", "sacct", "nodes")}
    for release, apis in RELEASES.items():
        for api in apis:
            said |= {f"{release}/slurm-{api}-{what}.json" for what in ("jobs", "nodes", "ping")}
            said.add(f"{release}/slurmdb-{api}-jobs.json")
    assert said == {str(path.relative_to(DATA)) for path in DATA.glob("*/*")}


def named(jobs: Sequence[QueuedJob], name: str) -> QueuedJob:
    (found,) = (job for job in jobs if job.name == name)
    return found


@pytest.mark.parametrize(("release", "way"), WAYS)
def test_the_queue(release: str, way: str) -> None:
    jobs = queue(release, way)
    typed, pernode = named(jobs, "typed"), named(jobs, "pernode")
    assert (typed.state, typed.given.devices, typed.given.cores, typed.given.memory_mb) == ("COMPLETED", 2, 4, 8_192)
    assert typed.limit_ms == 3_600_000 and typed.user == "alice" and typed.account == "lab_a"
    assert typed.started_ms is not None and typed.ended_ms is not None and typed.ended_ms >= typed.started_ms
    assert (pernode.nodes, pernode.given.devices, pernode.given.nodes) == (("gpu01", "gpu02"), 2, 2)
    assert way == "commands" or (pernode.devices_per_node, named(jobs, "pertask").devices_per_node) == (1, 0)
    assert named(jobs, "pertask").given.devices == 2 and named(jobs, "untyped").given.devices == 1
    assert named(jobs, "nodefail").state == "NODE_FAIL" and not named(jobs, "nodefail").requeue
    failed, killed = named(jobs, "fails"), named(jobs, "segv")
    assert (failed.exit_code, failed.signal) == (3, None) and (killed.exit_code, killed.signal) == (None, 11)
    assert named(jobs, "requeued").restarts == 1 and named(jobs, "requeued").requeue
    assert all(job.batch for job in jobs)


@pytest.mark.parametrize(("release", "way"), WAYS)
def test_what_waits(release: str, way: str) -> None:
    jobs = queue(release, way)
    later, held, hostile = named(jobs, "later"), named(jobs, "heldarray"), named(jobs, HOSTILE)
    assert (later.state, later.held, later.started_ms, later.nodes) == ("PENDING", False, None, ())
    assert later.given.cores == 0 and later.asked.cores == 1
    assert held.held and held.reason == "JobHeldUser"
    assert (held.task_ids, held.tasks, held.array_id) == ((1, 2, 3, 4, 5, 9), 6, held.job_id)
    assert hostile.comment == "state=RUNNING\nx" and hostile.state == "PENDING" and hostile.held
    never = named(jobs, "cancelledpending")
    assert (
        never.state == "CANCELLED" and ends.ended("run-00000001", never, None, {}, own_counter=False).started_ms is None
    )


@pytest.mark.parametrize(("release", "way"), WAYS)
def test_tasks_that_ran_are_told_apart(release: str, way: str) -> None:
    tasks = [job for job in queue(release, way) if job.name == "array"]
    assert sorted(job.array_task or 0 for job in tasks) == [1, 2, 3, 4, 5, 6]
    assert len({job.handle for job in tasks}) == 6 and len({job.array_id for job in tasks}) == 1
    kept = [record for record in records(release, way) if record.name == "array"]
    assert {record.handle for record in kept} == {job.handle for job in tasks}


@pytest.mark.parametrize(("release", "way"), WAYS)
def test_the_accounting(release: str, way: str) -> None:
    found = records(release, way)
    assert len({record.key for record in found}) == len(found)
    by_name = {record.name: record for record in found}
    late, killed = by_name["timeout"], by_name["segv"]
    assert (late.state, late.limit_ms) == ("TIMEOUT", 60_000) and late.elapsed_ms >= 60_000
    assert late.elapsed_ms == (late.ended_ms or 0) - (late.started_ms or 0)
    assert (killed.exit_code, killed.signal) == (None, 11)
    # the oldest REST has lost the exit code: then there is none, rather than a success
    assert by_name["fails"].exit_code == (None if way == "v0.0.38" else 3) and by_name["fails"].state == "FAILED"
    assert by_name["pernode"].state == "CANCELLED" and by_name["pernode"].cancelled_by in ("0", "root")
    assert by_name["nodefail"].state == "NODE_FAIL" and by_name["nodefail"].ended_ms is not None
    assert all(record.energy_mj is None and record.raw for record in found)


@pytest.mark.parametrize(("release", "way"), WAYS)
def test_each_run_of_a_requeued_job_is_a_record(release: str, way: str) -> None:
    first, second = sorted((r for r in records(release, way) if r.name == "requeued"), key=lambda r: r.submitted_ms)
    assert first.job_id == second.job_id and first.key != second.key and first.handle != second.handle
    assert first.state == "REQUEUED" and ends.has_ended(first) and second.started_ms != first.started_ms


@pytest.mark.parametrize(("release", "way"), [one for one in WAYS if one[0] != "22.05"])
def test_each_size_of_a_resized_job_is_a_record(release: str, way: str) -> None:
    """24.11 says of the second that it started with the first, and 26.05 when it did; both were of two seconds."""
    found = resized.told_apart(records(release, way))
    first, second = sorted((r for r in found if r.name == "resized"), key=lambda r: r.submitted_ms)
    assert first.job_id == second.job_id and first.key != second.key
    assert (first.state, first.nodes, first.given.devices) == ("RESIZING", ("gpu01", "gpu02"), 2)
    assert (second.state, second.nodes, second.given.devices) == ("CANCELLED", ("gpu01",), 1)
    assert ends.has_ended(first) and first.ended_ms == second.submitted_ms
    assert (first.started_ms == second.started_ms) == (release == "24.11")
    assert first.elapsed_ms == (first.ended_ms or 0) - (first.started_ms or 0)
    assert second.elapsed_ms == (second.ended_ms or 0) - second.submitted_ms == 2_000


@pytest.mark.parametrize(("release", "way"), [one for one in WAYS if one[0] != "22.05" and one[1] != "commands"])
def test_a_job_whose_steps_were_told_has_what_it_used(release: str, way: str) -> None:
    told = [record for record in records(release, way) if record.cpu_ms is not None]
    assert [(record.name, record.energy_mj) for record in told] == [("typed", None)]
    assert 0 < (told[0].cpu_ms or 0) < 2_000


@pytest.mark.parametrize(("release", "way"), WAYS)
def test_what_is_billed_is_what_was_given(release: str, way: str) -> None:
    by_name = {record.name: record for record in records(release, way)}
    assert by_name["typed"].given.devices == 2 and by_name["typed"].given.gpus == {"": 2, "h100": 2}
    assert by_name["untyped"].asked.gpus == {"": 1} and by_name["untyped"].given.devices == 1
    assert by_name["pertask"].given.devices == 2
    assert by_name["pernode"].given.devices == 2 and by_name["pernode"].given.nodes == 2


@pytest.mark.parametrize(("release", "way"), WAYS)
def test_the_nodes(release: str, way: str) -> None:
    found = nodes(release, way)
    assert found["gpu01"].up and found["gpu01"].total.devices == 4 and found["gpu01"].total.cores == 96
    assert found["gpu01"].partitions == ("gpu", "flex") and found["gpu01"].total.memory_mb == 1_000_000
    assert not found["gpu02"].up and found["gpu02"].state == "DOWN" and "State=IDLE" in found["gpu02"].reason
    assert found["gpu01"].watts is None and found["gpu01"].energy_mj is None


@pytest.mark.parametrize("release", RELEASES)
def test_both_ways_say_the_same_of_what_is_over(release: str) -> None:
    def over(way: str) -> dict[str, tuple[object, ...]]:
        jobs = (job for job in queue(release, way) if ends.is_over(job))
        return {
            j.handle: (j.name, j.state, j.user, j.nodes, j.given, j.started_ms, j.ended_ms, j.limit_ms, j.signal)
            for j in jobs
        }

    told = over("commands")
    assert len(told) > 12
    for api in RELEASES[release]:
        rest = over(api)
        both = told.keys() & rest.keys()
        assert len(both) > 12 and {h: told[h] for h in both} == {h: rest[h] for h in both}


@pytest.mark.parametrize("release", RELEASES)
def test_both_ways_keep_the_same_accounts(release: str) -> None:
    def kept(way: str) -> dict[str, tuple[object, ...]]:
        return {
            r.key: (r.name, r.state, r.account, r.nodes, r.given, r.elapsed_ms, r.limit_ms, r.handle, r.signal)
            for r in records(release, way)
            if ends.has_ended(r)
        }

    told = kept("commands")
    assert len(told) > 12 and all(kept(api) == told for api in RELEASES[release])


def test_what_was_used_is_the_steps_own() -> None:
    """Of a job without its steps Slurm says 00:00:00, which is no measure."""
    fields = [rows.DETAIL, *rows.RECORDS]
    whole = (DATA / "22.05" / "sacct.txt").read_bytes()
    first = dict(zip(rows.RECORDS, whole.decode().split(TOKEN), strict=False))
    job = first | {rows.DETAIL: "", "TotalCPU": "00:02.500", "JobIDRaw": "7", "JobID": "7"}
    steps = [job | {"JobIDRaw": f"7.{name}", rows.DETAIL: size} for name, size in (("batch", "2812K"), ("0", "1.50M"))]
    lines = [TOKEN.join(row.get(name, "") for name in fields) + TOKEN for row in (job, *steps, job | {"JobIDRaw": "8"})]
    found, unread = rows.records("\n".join(lines).encode() + b"\n", fields, TOKEN)
    assert not unread and [record.job_id for record in found] == [7, 8]
    assert (found[0].cpu_ms, found[0].max_rss_bytes) == (2_500, 2_812 * 1_024) and found[1].max_rss_bytes is None
    assert all(record.cpu_ms is None for record in records("22.05", "commands"))


def test_rows_that_stand_as_they_did_are_not_read_again() -> None:
    output = (DATA / "22.05" / "squeue.txt").read_bytes()
    before: dict[bytes, QueuedJob] = {}
    first, _ = rows.queue(output, rows.QUEUE, TOKEN, before)
    again, unread = rows.queue(output.replace(TOKEN.encode(), b"another"), rows.QUEUE, "another", before)
    assert not unread and again == first and all(one is other for one, other in zip(again, first, strict=True))
    end = f"{TOKEN}{rows.END}\n".encode()
    one, other = (row.split(TOKEN.encode()) for row in output.split(end)[:2])
    one[rows.QUEUE.index("Nice")] = b"7"
    changed = b"".join(TOKEN.encode().join(row) + end for row in (one, other))
    now, _ = rows.queue(changed, rows.QUEUE, TOKEN, before)
    assert now == [replace(first[0], nice=7), first[1]] and now[1] is first[1]
    assert len(before) == 2  # who has left is forgotten


def test_rows_that_only_look_the_same_are_told_apart() -> None:
    """A field may hold what parts the fields of a row that is kept."""
    end = f"{TOKEN}{rows.END}\n".encode()
    first = (DATA / "22.05" / "squeue.txt").read_bytes().split(end)[0].split(TOKEN.encode())
    row = dict(zip(rows.QUEUE, first, strict=True))
    before: dict[bytes, QueuedJob] = {}
    for comment, beside in ((b"a\x1fb", b"c"), (b"a", b"b\x1fc"), (b"a\x1fb", b"c")):
        values = [*{**row, "Comment": comment, "admin_comment": beside}.values()]
        (job,), _ = rows.queue(TOKEN.encode().join(values) + end, rows.QUEUE, TOKEN, before)
        assert (job.comment.encode(), job.admin_comment.encode()) == (comment, beside)


@pytest.mark.parametrize(("release", "way"), [way for way in WAYS if way[1] != "commands"])
def test_documents_that_stand_as_they_did_are_not_read_again(release: str, way: str) -> None:
    whole = document(release, f"slurm-{way}-jobs")
    assert isinstance(whole, list)
    before: documents.Read = {}
    first, unread = documents.every(whole, documents.reader({}, before))
    assert not unread and first == queue(release, way) and before.keys() == {job.job_id for job in first}
    now: documents.Read = {}
    told = json.loads(json.dumps([{**whole[0], "comment": "new"}, *whole[1:-1]]))
    again, unread = documents.every(told, documents.reader(before, now))
    assert not unread and again[0] == replace(first[0], comment="new")
    assert all(one is other for one, other in zip(again[1:], first[1:-1], strict=True))
    assert first[-1].job_id not in now  # who has left is forgotten
    bad = json.loads(json.dumps([{**whole[0], "submit_time": "never"}, {**whole[1], "job_id": [7]}, whole[2]]))
    left, unread = documents.every(bad, documents.reader(before, {}))
    assert len(unread) == 2 and left == [first[2]]


def test_ten_thousand_jobs_are_read_in_a_moment() -> None:
    """A whole look has two seconds; squeue itself takes a third of one for so many."""
    row = (DATA / "22.05" / "squeue.txt").read_bytes().split(f"{TOKEN}{rows.END}\n".encode())[0]
    output = (row + f"{TOKEN}{rows.END}\n".encode()) * 10_000
    begin = time.process_time()
    found, unread = rows.queue(output, rows.QUEUE, TOKEN)
    assert len(found) == 10_000 and not unread and time.process_time() - begin < 1.5
