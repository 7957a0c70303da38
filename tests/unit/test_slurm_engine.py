"""The Slurm engine on a Slurm in memory: once only, nothing invented, nobody's name taken for granted."""

from __future__ import annotations

import shutil
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.unit.slurm_fakes import RUN, T0, FakeSlurm, spec, submit

from fabrique.core.errors import FabriqueError
from fabrique.engines.protocol import JobUser, Where
from fabrique.engines.slurm import batch
from fabrique.engines.slurm.engine import SlurmEngine
from fabrique.engines.slurm.model import Change


@pytest.fixture
def engine(connect: Callable[..., SlurmEngine]) -> SlurmEngine:
    return connect()


def test_a_run_is_submitted_once_however_often_it_is_told(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    for _ in range(3):
        engine.submit(spec())
    assert [order.intent for order in slurm.orders] == [RUN]


def test_a_submission_without_an_answer_is_found_again(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    slurm.deaf = True
    with pytest.raises(FabriqueError, match=r"engine\.unavailable"):
        engine.submit(spec())
    slurm.deaf = False
    engine.submit(spec())
    assert len(slurm.orders) == 1 and engine.adopt(RUN)


def test_a_submission_that_never_arrived_waits_for_certainty(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    slurm.away = {"submit"}
    with pytest.raises(FabriqueError):
        engine.submit(spec())
    slurm.away = set()
    with pytest.raises(FabriqueError, match="not answered"):
        engine.submit(spec())  # it may be on its way still
    slurm.now += engine.settings.unclear_ms
    engine.submit(spec())
    assert len(slurm.orders) == 1


def test_one_that_ended_and_was_forgotten_is_found_in_the_accounting(
    connect: Callable[..., SlurmEngine], slurm: FakeSlurm
) -> None:
    slurm.deaf = True
    with pytest.raises(FabriqueError):
        connect().submit(spec())
    (job_id,) = slurm.jobs
    slurm.start(job_id)
    slurm.end(job_id)
    slurm.account_for(slurm.forget(job_id))
    slurm.deaf, slurm.now = False, slurm.now + 3_600_000
    engine = connect()
    engine.submit(spec())
    assert len(slurm.orders) == 1
    assert engine.observe([RUN])[0].cause == "completed"


def test_nothing_is_submitted_while_the_accounting_cannot_be_asked(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    slurm.away = {"records"}
    with pytest.raises(FabriqueError, match=r"engine\.unavailable"):
        engine.submit(spec())
    assert slurm.orders == []


def test_a_run_that_the_door_holds_as_its_users_own_is_let_go(
    connect: Callable[..., SlurmEngine], slurm: FakeSlurm
) -> None:
    """By REST a submission for a person is that person's; whatever died in between, it is told again."""
    slurm.acts_as_user = True
    engine = connect(licences=lambda spec: {"fabrique_w@fabrique": 3})
    job = submit(engine, user=JobUser("p", login="alice"))
    assert slurm.changes == [Change(job, let_go=True, licences={"fabrique_w@fabrique": 3})]
    assert not slurm.jobs[job].held
    slurm.jobs[job] = replace(slurm.jobs[job], priority=0)  # its release never came there
    engine.submit(spec(user=JobUser("p", login="alice")))
    assert len(slurm.orders) == 1 and not slurm.jobs[job].held
    held = "run-00000002"
    engine.hold([held])
    job = submit(engine, held, user=JobUser("p", login="alice"))
    assert slurm.changes[-1] == Change(job, licences={"fabrique_w@fabrique": 3}) and slurm.jobs[job].held
    told = len(slurm.changes)
    assert not slurm.jobs[submit(engine, "run-00000003")].held and len(slurm.changes) == told  # under its own login


def test_an_old_folder_needs_no_accounting_to_submit(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    submit(engine)
    slurm.now += engine.settings.forgotten_ms
    slurm.away = {"records"}
    engine.submit(spec("run-00000002"))
    assert len(slurm.orders) == 2


def test_a_lost_folder_submits_nothing_twice(connect: Callable[..., SlurmEngine], slurm: FakeSlurm) -> None:
    engine = connect()
    submit(engine)
    shutil.rmtree(engine.root)
    engine = connect()
    assert engine.list().intents == (RUN,)
    engine.submit(spec())
    assert len(slurm.orders) == 1 and engine.observe([RUN])[0].state == "starting"


def test_a_refusal_is_a_refusal_and_leaves_nothing(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    with pytest.raises(FabriqueError, match=r"engine\.refused"):
        engine.submit(spec(where=Where("gpu", "refused")))
    assert engine.observe([RUN])[0].state == "unknown" and engine.list().intents == ()


def test_slurm_may_not_start_a_run_again(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    job = submit(engine)
    slurm.start(job)
    first = replace(slurm.jobs[job], state="NODE_FAIL", ended_ms=slurm.now + 5_000)
    slurm.account_for(first)
    slurm.jobs[job] = replace(slurm.jobs[job], state="PENDING", restarts=1, started_ms=None, nodes=())
    (record,), slurm.kept = slurm.kept, []
    assert engine.observe([RUN])[0].state == "unknown" and slurm.cancelled == [job]
    slurm.end(job, "CANCELLED")
    assert engine.observe([RUN])[0].state == "unknown"  # that is no end of the first
    slurm.kept = [record]
    seen = engine.observe([RUN])[0]
    assert (seen.state, seen.cause, seen.ended_ms) == ("ended", "node-failed", T0 + 5_000)


# --- whose it is --------------------------------------------------------------------------------------------------


def test_a_name_of_ours_by_somebody_else_is_not_ours(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    spoof = slurm.add(RUN, "mallory", account="other")
    job = submit(engine)
    slurm.start(job)
    assert len(slurm.orders) == 1 and job != spoof.job_id
    assert engine.observe([RUN])[0].state == "running"
    assert [one.job_id for one in engine.arrivals()] == [spoof.job_id]
    assert engine.arrivals()[0].handle == f"slurm-{spoof.job_id}-{T0 // 1000}"


def test_a_record_under_our_name_ends_nothing(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    job = submit(engine)
    slurm.start(job)
    slurm.account_for(replace(slurm.jobs[job], user="mallory", state="COMPLETED"), ended_ms=T0 + 1, job_id=job)
    slurm.forget(job)
    assert engine.observe([RUN])[0].state == "unknown"


def test_one_s_own_second_job_of_the_name_is_another_s(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    """Same user, same account, same name: only the job that we made is the run."""
    job = submit(engine)
    twin = slurm.add(RUN, "root", state="RUNNING", started_ms=T0, nodes=("gpu01",))
    assert engine.observe([RUN])[0].state == "starting"
    assert [one.job_id for one in engine.arrivals()] == [twin.job_id] and twin.job_id != job


# --- what the hub does to it --------------------------------------------------------------------------------------


def test_a_run_s_directives_change_nothing(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    script = b"#!/usr/bin/env python3\n#SBATCH --array=1-100\n#SBATCH --reservation=mine\nprint(1)\n"
    submit(engine, script=script)
    given = slurm.orders[0].script
    before_first_command = given.split(b"umask")[0]
    assert b"#SBATCH" not in before_first_command and b"SBATCH" not in given
    inside = given.split(b"<<'end-of-run-00000001'")[1].split(b"\n", 1)[1].split(b"end-of-run-00000001")[0]
    assert b64decode(inside) == script


def test_an_order_says_what_the_run_may_have(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    where = Where("gpu", "lab_a", "high", nodes=2, gres="gpu:h100:4")
    submit(engine, where=where, memory_mb=1_001, core_count=15, preempt_signal="USR1", lead_ms=61_000)
    order = slurm.orders[0]
    said = set(batch.options(order, 1_002))
    assert {"--nodes=2", "--cpus-per-task=8", "--mem=501M", "--gres=gpu:h100:4", "--qos=high", "--time=2"} <= said
    assert {"--signal=B:USR1@61", "--no-requeue", "--export=ALL", "--gid=1002", f"--job-name={RUN}"} <= said
    assert order.environment["FABRIQUE_JOB"] == "a-job"


@pytest.mark.parametrize(
    ("field", "value"), [("account", "a;b"), ("account", "--uid=root"), ("partition", "gpu flex"), ("qos", "a\nb")]
)
def test_no_word_becomes_another_option(engine: SlurmEngine, slurm: FakeSlurm, field: str, value: str) -> None:
    submit(engine)
    with pytest.raises(FabriqueError, match=r"job\.field"):
        batch.options(replace(slurm.orders[0], **{field: value}), None)  # type: ignore[arg-type]


def test_a_cluster_does_not_choose_by_itself(engine: SlurmEngine) -> None:
    with pytest.raises(FabriqueError, match=r"job\.field"):
        engine.submit(spec(where=None))


def test_a_warned_run_is_ended_after_its_lead(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    job = submit(engine, preempt_signal="USR1", lead_ms=30_000)
    slurm.start(job)
    engine.preempt(RUN)
    assert slurm.signals == [(job, "USR1")]
    engine.observe([RUN])
    assert slurm.cancelled == []
    slurm.now += 30_000
    engine.observe([RUN])
    assert slurm.cancelled == [job]
    slurm.end(job, "CANCELLED")
    assert engine.observe([RUN])[0].cause == "preempted"


def test_a_node_that_dies_under_a_warned_run_is_still_the_hub_s_failure(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    job = submit(engine)
    slurm.start(job)
    engine.preempt(RUN)
    slurm.end(job, "NODE_FAIL")
    assert engine.observe([RUN])[0].cause == "node-failed"


def test_a_cancel_is_remembered_before_there_is_a_job(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    engine.cancel(RUN, 0)
    engine.submit(spec())
    seen = engine.observe([RUN])[0]
    assert slurm.orders == [] and (seen.cause, seen.started_ms) == ("cancelled", None)


def test_capacity_counts_what_runs_or_could(engine: SlurmEngine) -> None:
    capacity = engine.capacity()
    assert len(capacity.cores) == 192 and len(capacity.devices) == 8  # asleep counts, down and elsewhere do not
    assert capacity.devices[0].uuid == "gpu01/h100/0"


def test_what_was_purged_is_never_heard_of_again(engine: SlurmEngine, slurm: FakeSlurm) -> None:
    job = submit(engine)
    slurm.start(job)
    with pytest.raises(FabriqueError, match="running"):
        engine.purge(RUN)
    slurm.end(job)
    engine.observe([RUN])
    engine.purge(RUN)
    assert engine.list().intents == () and engine.observe([RUN])[0].state == "unknown"
    with pytest.raises(FabriqueError, match=r"engine\.refused"):
        engine.submit(spec())
    assert not engine.adopt(RUN)


def test_a_lost_run_is_ours_again_where_it_is_whose_the_books_say(
    connect: Callable[..., SlurmEngine], slurm: FakeSlurm
) -> None:
    """Of a hub that submits under people's logins, its folders lost: the name alone makes a job nobody's."""
    job = submit(connect())
    slurm.start(job)
    slurm.jobs[job] = replace(slurm.jobs[job], user="ana")
    loop, after = connect(), connect()
    shutil.rmtree(after.root / RUN)
    account = slurm.jobs[job].account
    assert list(loop.ours()) == [] and not after.adopt(RUN)
    for login, place in (("bob", account), ("ana", "another")):
        wrong = connect()
        wrong.expect(RUN, login, place)
        assert not wrong.adopt(RUN)
    after.expect(RUN, "ana", account)
    assert after.adopt(RUN)
    slurm.now += loop.settings.look_ms
    assert [j.name for j in loop.ours()] == [RUN]  # which had seen it before it was adopted
