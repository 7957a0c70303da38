"""How runs on a Slurm end: nothing is invented, nobody is lost before the accounting said so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.unit.slurm_fakes import RUN, T0, FakeSlurm, submit

from fabrique.engines.slurm.engine import SlurmEngine
from fabrique.engines.slurm.model import Record, Tres


@pytest.fixture
def engine(connect: Callable[..., SlurmEngine]) -> SlurmEngine:
    return connect()


def test_an_end_comes_from_the_accounting_and_stays(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    job = submit(engine)
    slurm.start(job)
    slurm.now += 7_000
    slurm.end(job, "FAILED", exit_code=3)
    slurm.account_for(slurm.jobs[job], cpu_ms=6_500)
    seen = engine.observe([RUN])[0]
    assert (seen.state, seen.cause, seen.exit_code) == ("ended", "failed", 3)
    assert (seen.started_ms, seen.ended_ms, seen.usage.cpu_ms) == (T0, T0 + 7_000, 6_500)
    slurm.away = {"queue", "records"}
    assert engine.observe([RUN])[0] == seen


def test_an_exit_code_is_the_controller_s_while_it_knows_it(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    """sacct takes 128 off it; the oldest REST says 0 of all."""
    job = submit(engine)
    slurm.start(job)
    slurm.end(job, "FAILED", exit_code=137)
    slurm.account_for(slurm.jobs[job], exit_code=9, cpu_ms=1)
    seen = engine.observe([RUN])[0]
    assert (seen.exit_code, seen.usage.cpu_ms) == (137, 1)


def test_while_the_accounting_is_away_the_controller_s_word_counts(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    job = submit(engine)
    slurm.start(job)
    slurm.end(job, "TIMEOUT")
    slurm.away = {"records"}
    assert engine.observe([RUN])[0].cause == "walltime"


def test_a_vanished_run_is_unknown_until_the_accounting_had_its_time(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    job = submit(engine)
    slurm.start(job)
    gone = slurm.forget(job)
    seen = engine.observe([RUN])[0]
    assert seen.state == "unknown" and seen.error  # an error: nobody may conclude anything from it
    slurm.now += engine.settings.grace_ms
    assert engine.observe([RUN])[0].state == "lost"
    slurm.account_for(replace(gone, state="COMPLETED"), ended_ms=T0 + 3_000)
    assert engine.observe([RUN])[0].cause == "completed"  # late, and still believed


def test_while_the_accounting_is_away_nothing_is_lost(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    job = submit(engine)
    slurm.start(job)
    slurm.forget(job)
    engine.observe([RUN])
    slurm.away = {"records"}
    slurm.now += 10 * engine.settings.grace_ms
    assert engine.observe([RUN])[0].state == "unknown"
    slurm.away = set()
    assert engine.observe([RUN])[0].state == "unknown"  # its grace begins anew: what was queued up arrives first
    slurm.now += engine.settings.grace_ms
    assert engine.observe([RUN])[0].state == "lost"


def test_a_record_without_an_end_is_no_end(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    job = submit(engine)
    slurm.start(job)
    slurm.account_for(slurm.jobs[job])
    slurm.forget(job)
    assert engine.observe([RUN])[0].state == "unknown"


def test_a_part_that_cannot_be_read_hides_no_loss(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    from fabrique.engines.slurm.model import Unread

    job = submit(engine)
    slurm.forget(job)
    slurm.unread = [Unread(b"?", "no id")]
    slurm.now += 10 * engine.settings.grace_ms
    assert engine.observe([RUN])[0].state == "unknown" and not engine.list().complete


@pytest.mark.parametrize(
    ("state", "fields", "cause"),
    [
        ("COMPLETED", {}, "completed"),
        ("FAILED", {"exit_code": 3}, "failed"),
        ("FAILED", {"exit_code": None, "signal": 11}, "signalled"),
        ("TIMEOUT", {}, "walltime"),
        ("DEADLINE", {}, "walltime"),
        ("OUT_OF_MEMORY", {}, "memory"),
        ("NODE_FAIL", {}, "node-failed"),
        ("BOOT_FAIL", {}, "node-failed"),
        ("PREEMPTED", {}, "preempted"),
        ("CANCELLED", {}, "cancelled"),
    ],
)
def test_what_ended_it(
    engine: SlurmEngine, slurm: FakeSlurm, state: str, fields: dict[str, object], cause: str
) -> None:
    job = submit(engine)
    slurm.start(job)
    slurm.end(job, state, **fields)
    slurm.account_for(slurm.jobs[job])
    assert engine.observe([RUN])[0].cause == cause


def test_a_job_that_is_being_cleared_away_still_runs(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    job = submit(engine)
    slurm.start(job)
    slurm.end(job, flags=frozenset({"COMPLETING"}))
    assert engine.observe([RUN])[0].state == "running"


def test_cancelled_before_it_had_a_node_it_never_started(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    job = submit(engine)
    slurm.end(job, "CANCELLED", started_ms=slurm.now)  # Slurm gives such a job a start all the same
    assert engine.observe([RUN])[0].started_ms is None


def test_each_run_of_a_requeued_job_has_its_own_end(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    job = slurm.add("theirs")
    slurm.start(job.job_id)
    first = engine.arrivals()[0].handle
    slurm.account_for(slurm.jobs[job.job_id], state="REQUEUED", ended_ms=T0 + 5_000)
    slurm.now += 5_000
    slurm.jobs[job.job_id] = replace(job, submitted_ms=slurm.now, restarts=1)
    second = engine.arrivals()[0].handle
    seen = engine.observe([first, second])
    assert [(one.state, one.cause) for one in seen] == [("ended", "preempted"), ("starting", None)]


def test_who_was_alone_is_told_by_the_sizes_of_its_own_nodes(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    """A partition may hold nodes of several sizes: what fills one of them shares another."""
    for cores, nodes, exclusive in ((96, 1, None), (64, 1, None), (64, 1, True), (96, 1, False), (96, 2, None)):
        job = slurm.add("train")
        slurm.start(job.job_id)
        slurm.end(job.job_id)
        given = Tres(cores, 0, nodes)
        more = {"given": given, "nodes": ("gpu01", "gpu02")[:nodes], "exclusive": exclusive, "energy_mj": 7_000}
        slurm.account_for(slurm.jobs[job.job_id], **more)
    slurm.account_for(slurm.jobs[job.job_id], job_id=999)
    found, _ = engine.records(0)
    assert [r.exclusive for r in found] == [True, False, True, True, False, None]  # without an energy nobody asks
    assert [r.exclusive for r in engine.detailed([r.job_id for r in found])] == [r.exclusive for r in found]


def test_energy_is_a_run_s_own_where_it_had_its_nodes_alone(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    energy = []
    for intent, cores in (("run-alone-01", 96), ("run-shares-1", 4)):
        job = submit(engine, intent)
        slurm.start(job)
        slurm.end(job)
        given = replace(slurm.jobs[job].given, cores=cores)
        slurm.account_for(slurm.jobs[job], given=given, energy_mj=7_000_000)
        energy.append(engine.observe([intent])[0].usage.energy_mj)
    assert energy == [7_000_000, None]


@pytest.mark.parametrize("resized", [True, False])
def test_what_a_job_ran_before_its_resize_is_looked_for_whenever_it_ended(
    engine: SlurmEngine, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch, resized: bool
) -> None:
    """A window holds the rest alone; without an earlier part it was a clock that was set back."""
    job = slurm.add("train", "alice")
    whole = {"ended_ms": T0 + 60_000, "started_ms": T0, "elapsed_ms": 60_000}
    rest = slurm.account_for(replace(job, submitted_ms=T0 + 20_000), **whole)
    slurm.kept[:] = [rest]
    first = replace(rest, submitted_ms=T0 - 1_000, ended_ms=T0 + 20_000, elapsed_ms=20_000, state="RESIZING")
    asked: list[object] = []

    def records(*, jobs: object = (), **_: object) -> tuple[list[Record], list[object]]:
        asked.append(jobs)
        return [first, rest] if jobs and resized else [rest], []

    monkeypatch.setattr(slurm, "records", records)
    ((found,), _) = engine.records(T0)
    assert (found.elapsed_ms, found.is_rest) == ((40_000, True) if resized else (60_000, False))
    assert asked == [(), {job.job_id}]
