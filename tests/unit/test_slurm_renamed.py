"""Whose a job is when its owner, or a controller that lost its state, gives it another name or id."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.unit.slurm_fakes import RUN, T0, FakeSlurm, submit

from fabrique.engines.slurm.engine import SlurmEngine


def test_a_run_that_its_owner_renames_is_still_the_run(connect: Callable[..., SlurmEngine], slurm: FakeSlurm) -> None:
    """Else it would be lost, hence refunded, and a stranger would run in its place."""
    engine = connect()
    job = submit(engine)
    slurm.start(job)
    slurm.jobs[job] = replace(slurm.jobs[job], name="train")
    for one in (engine, connect()):  # another process of the hub, too
        assert one.observe([RUN])[0].state == "running"
        assert one.arrivals() == [] and [j.name for j in one.ours()] == [RUN]
        assert RUN in one.list().intents
    slurm.now += 5_000
    slurm.end(job)
    slurm.account_for(slurm.jobs[job])
    assert [record.name for record in engine.records(0)[0]] == [RUN]
    seen = engine.observe([RUN])[0]
    assert (seen.state, seen.cause) == ("ended", "completed")


def test_a_run_s_id_that_comes_again_is_another_job_s(connect: Callable[..., SlurmEngine], slurm: FakeSlurm) -> None:
    """A controller that lost its state begins again; whoever has the id then has to be admitted."""
    engine = connect()
    job = submit(engine)
    engine.observe([RUN])
    slurm.jobs[job] = replace(slurm.jobs[job], name="train", submitted_ms=T0 + 86_400_000)
    assert [j.name for j in engine.arrivals()] == ["train"]
    slurm.jobs[job] = replace(slurm.jobs[job], user="bob", submitted_ms=T0)
    assert [j.name for j in engine.arrivals()] == ["train"]
