"""What the Slurm engine does to people's own jobs, and what it reads of a run's output."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.slurm_fakes import RUN, T0, FakeSlurm, submit

from fabrique.core.errors import FabriqueError
from fabrique.engines.slurm.door import EARLY, NOW
from fabrique.engines.slurm.engine import SlurmEngine
from fabrique.engines.slurm.model import Change, Denied, Tres


@pytest.fixture
def engine(connect: Callable[..., SlurmEngine]) -> SlurmEngine:
    return connect()


def test_jobs_are_released_in_the_order_given(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    jobs = [slurm.add(f"job{n}", priority=0) for n in range(4)]
    handles = [engine.arrivals()[n].handle for n in (2, 0, 3)]
    engine.release(handles)
    engine.release([engine.arrivals()[1].handle])
    order = sorted(slurm.jobs.values(), key=lambda job: -(job.priority or 0))
    assert [job.job_id for job in order] == [jobs[n].job_id for n in (2, 0, 3, 1)]
    assert slurm.changes[0] == Change(jobs[2].job_id, priority=NOW[1])


def test_what_is_released_ahead_of_its_turn_stays_behind_until_it_comes(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    early, now = (slurm.add(f"job{n}", priority=0).handle for n in range(2))
    engine.release([early], early=True)
    engine.release([now])
    engine.release([early])
    first, *others = [change.priority or 0 for change in slurm.changes]
    assert EARLY[0] < first < EARLY[1] < NOW[0]
    assert others == [NOW[1], NOW[1] - 1]


def test_those_ahead_of_their_turn_wait_in_the_order_that_the_plan_has_now(
    engine: SlurmEngine, slurm: FakeSlurm
) -> None:
    handles = [slurm.add(f"job{n}", priority=0).handle for n in range(4)]
    engine.release(handles[:3], early=True)
    engine.release(handles[3:], early=True)
    before = len(slurm.changes)
    engine.rank(handles)
    assert len(slurm.changes) == before  # they are so already
    engine.rank([handles[3], *handles[:3]])
    assert len(slurm.changes) == before + 1  # one goes first, the others stay
    order = sorted(slurm.jobs.values(), key=lambda job: -(job.priority or 0))
    assert [job.handle for job in order] == [handles[3], *handles[:3]]
    engine.hold([handles[0]])
    engine.rank(handles)
    assert slurm.jobs[order[1].job_id].held  # an order releases nothing


def test_what_is_released_already_is_told_nothing(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    job = slurm.add("job", priority=0)
    handle = job.handle
    engine.release([handle])
    engine.release([handle])
    assert len(slurm.changes) == 1
    engine.hold([handle])
    engine.hold([handle])
    assert [change.priority for change in slurm.changes] == [NOW[1], 0]


def test_a_hold_keeps_the_begin_that_a_jobs_owner_chose(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    """A requeued job's own is Slurm's, until its credential is over: the hub decides when it starts."""
    begin = slurm.now + 3_600_000
    for fields in ({"eligible_ms": begin}, {"eligible_ms": slurm.now - 1}, {"eligible_ms": begin, "restarts": 1}, {}):
        engine.hold([slurm.add("job", priority=9, **fields).handle])
    assert [(c.priority, c.begin_ms) for c in slurm.changes] == [(0, begin), *[(0, None)] * 3]


def test_a_task_of_an_array_is_released_by_itself(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    array = slurm.add("array", priority=0, task_ids=(1, 2, 3), tasks=3)
    slurm.jobs[array.job_id] = array = replace(array, array_id=array.job_id)
    engine.release([f"slurm-{array.job_id}-t2-{T0 // 1000}", f"slurm-{array.job_id}-t9-{T0 // 1000}"])
    assert [change.job_id for change in slurm.changes] == [(array.job_id, 2)]


def test_the_last_task_of_an_array_is_called_by_its_number(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    """It bears the array's own id, by which all tasks would be meant."""
    last = slurm.add("array", priority=0, array_task=3)
    slurm.jobs[last.job_id] = replace(last, array_id=last.job_id)
    engine.cancel(engine.arrivals()[0].handle, 0)
    assert slurm.cancelled == [(last.job_id, 3)]


def test_a_reason_stands_where_squeue_shows_it_and_only_news_is_sent(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    plain, theirs = slurm.add("a"), slurm.add("b", comment="my own words")
    why = {job.handle: "waits for 2 accelerators\n--uid=root" for job in (plain, theirs)}
    engine.put(why)
    said = "fabrique: waits for 2 accelerators --uid=root"
    assert slurm.changes == [Change(plain.job_id, comment=said), Change(theirs.job_id, admin_comment=said)]
    engine.put(why)
    assert len(slurm.changes) == 2
    slurm.start(plain.job_id)
    engine.put({})
    assert slurm.changes[2:] == [Change(plain.job_id, comment="")]


def test_a_bounded_number_of_reasons_is_sent_at_once(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    why = {slurm.add(f"job{n}").handle: "waits" for n in range(700)}
    engine.put(why)
    first = len(slurm.changes)
    engine.put(why)
    assert first == 500 and len(slurm.changes) == 700


def test_one_look_serves_a_whole_turn(connect: Callable[..., SlurmEngine], slurm: FakeSlurm) -> None:
    engine = connect(look_ms=1_000)
    handles = [slurm.add(f"job{n}").handle for n in range(50)]
    engine.arrivals()
    engine.observe(handles)
    engine.put({})
    assert slurm.asked.count("queue") == 1


# --- the output is the job's own file ------------------------------------------------------------------------------


@pytest.fixture
def output(engine: SlurmEngine, slurm: FakeSlurm) -> Path:
    submit(engine, output_limit_bytes=10)
    path = engine.root / RUN / "work" / "out.log"
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    return path


def test_a_log_is_read_up_to_its_limit(engine: SlurmEngine, output: Path) -> None:
    assert engine.read_log(RUN, 0, 100) == (b"", 0, False)
    output.write_bytes(b"0123456789abcdef")
    assert engine.read_log(RUN, 0, 100) == (b"0123456789", 10, False)
    assert engine.read_log(RUN, 4, 2) == (b"45", 6, False)


def test_a_job_can_make_the_hub_read_nothing_else(engine: SlurmEngine, output: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("key")
    for trick in (output.symlink_to, output.hardlink_to):
        trick(secret)
        assert engine.read_log(RUN, 0, 100)[0] == b""
        output.unlink()
    os.mkfifo(output)
    assert engine.read_log(RUN, 0, 100)[0] == b""  # and does not hang


def test_too_much_output_ends_the_run(engine: SlurmEngine, slurm: FakeSlurm, output: Path) -> None:
    (job,) = slurm.jobs
    slurm.start(job)
    output.write_bytes(b"x" * 11)
    engine.observe([RUN])
    assert slurm.cancelled == [job]
    slurm.end(job, "CANCELLED")
    assert engine.observe([RUN])[0].cause == "output"


def test_an_end_that_slurm_refuses_hides_no_other_run(
    engine: SlurmEngine, slurm: FakeSlurm, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(jobs: object) -> None:
        raise FabriqueError("engine.refused", why="Access/permission denied")

    (job,) = slurm.jobs
    slurm.start(job)
    output.write_bytes(b"x" * 11)
    other = slurm.add("theirs").handle
    monkeypatch.setattr(slurm, "cancel", refuse)
    assert [seen.state for seen in engine.observe([RUN, other])] == ["running", "starting"]


def test_the_limit_of_a_job_that_waits_is_changed_once(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    waits, runs = slurm.add("job0", priority=0, limit_ms=6_000_000), slurm.add("job1", state="RUNNING")
    limits = {waits.handle: 6_458_558, runs.handle: 1_000, "slurm-999-1": 1_000}
    assert engine.reshape(limits) == {runs.handle, "slurm-999-1"}
    assert slurm.changes == [Change(waits.job_id, limit_ms=6_458_558)]
    slurm.jobs[waits.job_id] = replace(slurm.jobs[waits.job_id], limit_ms=6_480_000)  # as Slurm rounds it
    slurm.now += 1_000  # a new look
    assert engine.reshape({waits.handle: 6_458_558}) == set()
    assert len(slurm.changes) == 1


def test_a_task_is_split_from_its_array_whatever_its_limit_is(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    array = slurm.add("array", priority=0, limit_ms=6_000_000, task_ids=(1, 2, 3), tasks=3)
    slurm.jobs[array.job_id] = array = replace(array, array_id=array.job_id)
    assert engine.reshape({f"slurm-{array.job_id}-t2-{T0 // 1000}": 6_000_000}) == set()
    assert slurm.changes == [Change((array.job_id, 2), limit_ms=6_000_000)]


def test_a_task_has_a_number_once_it_is_split_though_the_queue_shows_its_array(
    engine: SlurmEngine, slurm: FakeSlurm
) -> None:
    plain = slurm.add("job0", priority=0)
    array = slurm.add("array", priority=0, task_ids=(1, 2, 3), tasks=3)
    slurm.jobs[array.job_id] = array = replace(array, array_id=array.job_id)
    slurm.split.append(replace(array, job_id=900, array_task=2, task_ids=(), tasks=1))
    first, second = (f"slurm-{array.job_id}-t{task}-{T0 // 1000}" for task in (1, 2))
    assert engine.numbers([plain.handle, first, second, "slurm-999-1"]) == {plain.handle: plain.job_id, second: 900}
    slurm.asked.clear()
    assert engine.numbers([plain.handle]) == {plain.handle: plain.job_id}
    assert "tasks" not in slurm.asked


def test_the_watt_licences_of_a_job_that_waits_are_changed_and_its_own_ones_kept(
    engine: SlurmEngine, slurm: FakeSlurm
) -> None:
    asked = Tres(1, 0, 1, licences={"watts@fabrique": 4, "matlab": 2})
    job = slurm.add("job0", priority=0, limit_ms=6_000_000, asked=asked)
    assert engine.reshape({job.handle: 6_000_000}, {job.handle: {"watts@fabrique": 3}}) == set()
    assert slurm.changes == [Change(job.job_id, licences={"watts@fabrique": 3, "matlab": 2})]
    slurm.jobs[job.job_id] = replace(job, asked=replace(asked, licences={"watts@fabrique": 3, "matlab": 2}))
    slurm.now += 1_000
    for watts in ({"watts@fabrique": 3}, {}):
        assert engine.reshape({job.handle: 6_000_000}, {job.handle: watts}) == set()
    assert len(slurm.changes) == 1
    assert engine.reshape({job.handle: 6_000_000}, {job.handle: {"watts@fabrique": 0}}) == set()
    assert slurm.changes[1:] == [Change(job.job_id, licences={"matlab": 2})]


def test_a_limit_that_slurm_refuses_is_told(engine: SlurmEngine, slurm: FakeSlurm, monkeypatch: Any) -> None:
    job = slurm.add("job0", priority=0, limit_ms=6_000_000)
    monkeypatch.setattr(slurm, "change", lambda changes: [Denied(c.job_id, "Access denied") for c in changes])
    assert engine.reshape({job.handle: 7_000_000}) == {job.handle}
