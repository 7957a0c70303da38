"""What really ran, by a cluster's accounting: every run charged once, as allocated, whatever was seen and when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.clusters import CLUSTER, ClusterBench
from tests.unit.scripted import T0

from fabrique.apps.jobs import records
from fabrique.apps.jobs.models import EarlierReading, EngineRecord, Job, RecordState, Run
from fabrique.apps.ledger import services as ledger
from fabrique.apps.ledger.models import Entry, Posting
from fabrique.apps.ledger.verify import verify
from fabrique.apps.provision.models import GivenName, NameSort
from fabrique.core import booking
from fabrique.core.errors import FabriqueError
from fabrique.core.units import Unit, unit
from fabrique.engines.slurm.model import Tres, Unread
from fabrique.operate import ingest as ingests
from fabrique.operate.doors import project_of
from fabrique.operate.ingest import DEEP_MS, EVERY_MS, OVERLAP_MS, RUNAWAY_MS, Ingest

H100 = unit("acc-ms:h100-sxm")
CORE = unit("core-ms:local-core")
HOUR = 3_600_000
pytestmark = pytest.mark.django_db


def charged(bench: ClusterBench, bucket: str = "used", u: Unit = H100) -> int:
    allocation = str(bench.project.allocations.get().id)
    return ledger.balance(booking.account(allocation, bucket), u)


def looked(bench: ClusterBench, **more: Any) -> dict[str, int]:
    """One look outside the loop, as the command has it."""
    return dict(Ingest(bench.here, CLUSTER, project_of).look(bench.slurm, None, now=bench.now, **more))


def later(bench: ClusterBench, ms: int = EVERY_MS) -> None:
    bench.turn(ms)


def test_a_run_that_came_and_went_unseen_is_charged_once(bench: ClusterBench) -> None:
    record = bench.slurm.ran(41, T0 + 1_000, 90_000)
    bench.turn(200_000)
    row = bench.row("41")
    assert (row.status, row.login, row.door) == ("completed", "alice", "lab")
    run = row.runs.get()
    assert (run.handle, run.state, run.elapsed_ms, run.bound["nodes"]) == (record.handle, "ended", 90_000, ["n1"])
    assert charged(bench) == 90_000
    kept = EngineRecord.objects.get()
    assert (kept.key, bytes(kept.raw), kept.state, kept.run) == (record.key, record.raw, RecordState.BOOKED, run)
    for _ in range(3):
        later(bench)
    assert looked(bench, back_to=0) == {}
    assert (charged(bench), Run.objects.count(), Job.objects.count(), EngineRecord.objects.count()) == (90_000, 1, 1, 1)
    assert verify().ok


def test_allocated_is_charged_never_requested(bench: ClusterBench) -> None:
    """Typed and untyped names of the same devices, more than was asked for, and whole nodes of two."""
    asked = Tres(cores=1, nodes=1, gpus={"h100": 2})
    bench.slurm.ran(1, T0, 1_000, asked=asked, given=Tres(cores=1, nodes=1, gpus={"h100": 2, "": 2}))
    bench.slurm.ran(2, T0, 1_000, asked=asked, given=Tres(cores=32, nodes=1, gpus={"": 4}))
    both = Tres(cores=64, nodes=2, gpus={"h100": 8})
    bench.slurm.ran(3, T0, 1_000, asked=asked, given=both, nodes=("n1", "n2"))
    bench.slurm.ran(4, T0, 1_000, asked=Tres(cores=1), given=Tres(cores=8, nodes=1))
    bench.turn(60_000)
    assert [r.share_milli for r in Run.objects.order_by("job__outside_id")] == [2_000, 4_000, 8_000, 8_000]
    assert charged(bench) == 14_000
    assert charged(bench, u=CORE) == 8_000


def test_each_attempt_of_a_requeued_job_is_a_run(bench: ClusterBench) -> None:
    """`sacct -D`: by (cluster, job, submission, start); two in the same second too. None lost, none doubled."""
    bench.slurm.ran(7, T0, 10_000, state="REQUEUED", exit_code=None)
    bench.slurm.ran(7, T0 + 11_000, 5_000, state="PREEMPTED", exit_code=None)
    bench.slurm.ran(7, T0 + 40_000, 20_000, submitted_ms=T0 + 30_000)
    bench.turn(100_000)
    row = bench.row("7")
    assert [r.elapsed_ms for r in row.runs.order_by("started_ms")] == [10_000, 5_000, 20_000]
    assert (row.status, charged(bench), Job.objects.count()) == ("completed", 35_000, 1)
    later(bench)
    assert charged(bench) == 35_000


@pytest.mark.parametrize("seen", [True, False])
def test_a_job_that_is_resized_while_it_runs_is_charged_for_what_it_had_when(bench: ClusterBench, seen: bool) -> None:
    """Two records: four devices for 4 s, then two of them for 36 s. Slurm's own second one starts when the job did."""
    four, two = (Tres(cores=1, nodes=1, gpus={"": n}) for n in (4, 2))
    bench.turn()
    started = bench.now // 1000 * 1000
    resized = started + 4_000
    if seen:
        bench.slurm.sbatch(7, given=four, asked=four)
        bench.slurm.starts(7, started)
        bench.turn()
    bench.slurm.ran(7, started, 4_000, state="RESIZING", exit_code=None, given=four)
    rest: dict[str, Any] = {"submitted_ms": resized, "given": two, "ended_ms": started + 40_000}
    if seen:  # the accounting says that it runs, under a name that the queue does not have: no runaway
        open_one = bench.slurm.ran(7, started, 30_000, **{**rest, "state": "RUNNING", "ended_ms": None})
        later(bench)
        later(bench, RUNAWAY_MS)
        assert EngineRecord.objects.get(key=open_one.key).reason == {}
        bench.slurm.ends(7, started + 40_000, exit_code=0)
    bench.slurm.ran(7, started, 36_000, **rest)
    bench.turn(60_000)
    for _ in range(2):
        later(bench)
    assert charged(bench) == 4 * 4_000 + 2 * 36_000
    assert (bench.row("7").status, Job.objects.count(), Run.objects.count()) == ("completed", 1, 2)
    assert {r.state for r in EngineRecord.objects.all()} == {RecordState.BOOKED}
    assert verify().ok


def test_tasks_of_an_array_are_jobs_of_their_own(bench: ClusterBench) -> None:
    for task in range(3):
        bench.slurm.ran(50 + task, T0, 1_000 * (task + 1), array_id=50, array_task=task)
    bench.turn(60_000)
    assert sorted(Job.objects.values_list("outside_id", flat=True)) == ["50_0", "50_1", "50_2"]
    assert charged(bench) == 6_000


def test_what_never_started_charges_nothing(bench: ClusterBench) -> None:
    bench.slurm.ran(8, None, 0, state="CANCELLED", nodes=(), exit_code=None, ended_ms=T0 + 5_000)
    bench.slurm.ran(9, None, 0, state="PENDING", nodes=(), exit_code=None)
    bench.turn(60_000)
    assert (Run.objects.count(), charged(bench)) == (0, 0)
    assert [r.key for r in EngineRecord.objects.all()] == [f"lab/8/{T0 // 1000}/never"]


def test_a_cancel_is_charged_and_a_node_s_death_refunded_with_its_cause(bench: ClusterBench) -> None:
    bench.slurm.ran(1, T0, 30_000, state="CANCELLED", cancelled_by="1001", exit_code=None)
    bench.slurm.ran(2, T0, 50_000, state="NODE_FAIL", exit_code=None)
    bench.turn(60_000)
    assert (charged(bench), charged(bench, "lost")) == (30_000, 0)
    assert ledger.balance(booking.LOSSES, H100) == 50_000
    assert bench.row("1").status == "cancelled"
    assert bench.row("2").reason == {"code": "end.node-failed"}
    told = [p.detail for p in Posting.objects.filter(what="refund")]
    assert told
    assert all('"cause":"node-failed"' in detail for detail in told)
    # Slurm puts the job back in the queue: it is the same job
    bench.slurm.sbatch(2, submitted_ms=T0 + 60_000)
    bench.turn()
    assert bench.row("2").status == "starting"
    assert Job.objects.filter(outside_id="2").count() == 1


def test_suspended_time_is_as_slurm_counts_it(bench: ClusterBench) -> None:
    """It was seen to run for 60 s; by the accounting it was suspended for 20 of them."""
    bench.slurm.sbatch(5)
    bench.turn()
    started = bench.now
    bench.slurm.starts(5, started)
    bench.turn()
    bench.slurm.ends(5, started + 60_000, exit_code=0)
    bench.turn(60_000)
    assert charged(bench) == 60_000
    bench.slurm.ran(5, started, 40_000, ended_ms=started + 60_000, suspended_ms=20_000)
    later(bench)
    assert charged(bench) == 40_000
    run = bench.row("5").runs.get()
    assert (run.elapsed_ms, run.charged[H100]) == (40_000, "40000")
    assert Posting.objects.filter(what="correction", detail__contains="correct.accounting").exists()
    entries = Entry.objects.count()
    later(bench)
    assert (charged(bench), Entry.objects.filter(kind="ingest").count()) == (40_000, 1)
    assert entries <= Entry.objects.count()
    assert verify().ok


def test_what_was_lost_and_refunded_is_charged_once_the_accounting_knows_its_end(bench: ClusterBench) -> None:
    bench.slurm.sbatch(5)
    bench.turn()
    started = bench.now
    handle = bench.slurm.starts(5, started)
    bench.turn()
    bench.slurm.queue.clear()
    bench.slurm.answers[handle] = replace(
        bench.slurm.answers[handle], state="lost", cause="lost", last_seen_ms=started + 5_000
    )
    bench.turn(10_000)
    row = bench.row("5")
    assert (row.status, charged(bench), charged(bench, "lost")) == ("lost", 0, 0)
    assert ledger.balance(booking.LOSSES, H100) == 5_000
    available = charged(bench, "available")
    bench.slurm.ran(5, started, 120_000)
    later(bench, 120_000)
    assert (bench.row("5").status, charged(bench), charged(bench, "lost")) == ("completed", 120_000, 0)
    assert ledger.balance(booking.LOSSES, H100) == 0
    assert charged(bench, "available") == available - 120_000
    assert charged(bench, "held") == 0
    assert verify().ok


def test_a_hub_job_is_compared_by_its_intent(bench: ClusterBench) -> None:
    job = bench.submit(accelerators="1", kinds="h100-sxm")
    bench.turn()
    started = bench.now
    bench.answer(job, "running", started_ms=started, last_seen_ms=started)
    bench.turn()
    bench.slurm.ran(77, started, 30_000, name=bench.intent(job))
    later(bench)
    assert EngineRecord.objects.get().state == RecordState.OPEN  # the loop has not settled it yet
    bench.answer(job, "ended", cause="completed", started_ms=started, ended_ms=started + 20_000, exit_code=0)
    bench.turn(20_000)
    later(bench)
    assert (bench.status(job), charged(bench), Run.objects.count()) == ("completed", 30_000, 1)
    assert EngineRecord.objects.get().state == RecordState.BOOKED
    # another run under the same name is another run, whoever made it
    bench.slurm.ran(78, started + 40_000, 1_000, name=bench.intent(job))
    later(bench)
    assert (charged(bench), Run.objects.count()) == (31_000, 2)


def test_strangers_are_quarantined_and_stop_nobody(bench: ClusterBench) -> None:
    bench.slurm.ran(1, T0, account="chemistry")
    bench.slurm.ran(2, T0, partition="debug")
    bench.slurm.ran(3, T0)
    bench.slurm.ran(4, T0, state="COMPLETED", ended_ms=None)
    bench.slurm.unread = [Unread(b"a\x1fb", "2 fields, not 25")]
    bench.turn(100_000)
    held = EngineRecord.objects.filter(state=RecordState.QUARANTINED)
    codes = sorted(r.reason["code"] for r in held)
    assert codes == [
        "quarantine.account", "quarantine.partition", "quarantine.unreadable", "quarantine.unreadable",
    ]  # fmt: skip
    assert bytes(held.get(key__startswith="unread/").raw) == b"a\x1fb"
    assert charged(bench) == 60_000
    later(bench)
    assert (held.count(), charged(bench)) == (4, 60_000)


def test_a_record_that_breaks_the_books_stops_no_other(bench: ClusterBench, monkeypatch: Any) -> None:
    bench.slurm.ran(1, T0)
    bench.slurm.ran(2, T0)
    real = ingests.recount.book

    def breaks(acts: Any, job: Job, *args: Any, **more: Any) -> Run:
        if job.outside_id == "1":
            raise ValueError("no such thing")
        return real(acts, job, *args, **more)

    monkeypatch.setattr(ingests.recount, "book", breaks)
    bench.turn(100_000)
    assert charged(bench) == 60_000
    assert EngineRecord.objects.get(key__contains="lab/1/").state == RecordState.QUARANTINED
    assert Job.objects.count() == 1
    monkeypatch.undo()
    later(bench)
    assert charged(bench) == 120_000


def test_a_stranger_s_runs_are_charged_once_its_account_is_known(bench: ClusterBench) -> None:
    bench.slurm.ran(1, T0, account="chemistry")
    bench.turn(100_000)
    assert charged(bench) == 0
    GivenName.objects.create(
        engine="lab", sort=NameSort.ACCOUNT, name="chemistry", project=bench.project, given_ms=bench.now
    )
    assert looked(bench, back_to=T0) == {"booked": 1}
    assert charged(bench) == 60_000
    assert EngineRecord.objects.get().state == RecordState.BOOKED


# --- windows ------------------------------------------------------------------------------------------------------


def test_windows_overlap_and_the_watermark_follows_what_was_read(bench: ClusterBench) -> None:
    bench.turn()
    first = bench.now
    assert records.read_up_to("lab") == first
    assert bench.slurm.asked[0][0] == first - DEEP_MS  # the first look goes far back, in slices
    assert bench.slurm.asked[-1][1] is None
    assert all(stop == start for (_, stop), (start, _) in zip(bench.slurm.asked, bench.slurm.asked[1:], strict=False))
    bench.slurm.asked.clear()
    bench.turn(EVERY_MS - 1)
    assert bench.slurm.asked == []
    bench.turn(1)
    assert bench.slurm.asked == [(first - OVERLAP_MS, None)]
    # a run that the database daemon wrote down half an hour late
    bench.slurm.ran(1, first - HOUR // 2, 1_000)
    later(bench)
    assert charged(bench) == 1_000


def test_an_accounting_that_was_away_is_read_far_back(bench: ClusterBench) -> None:
    bench.turn()
    mark = records.read_up_to("lab")
    bench.slurm.mute = True
    for _ in range(3):
        later(bench, HOUR)
    assert records.read_up_to("lab") == mark
    started = bench.now - 50 * HOUR
    bench.slurm.ran(1, started, 1_000, submitted_ms=started)
    bench.slurm.mute = False
    later(bench)
    assert records.read_up_to("lab") == bench.now
    assert charged(bench) == 1_000


def test_a_hub_that_was_away_for_a_week_reads_the_week(bench: ClusterBench) -> None:
    bench.turn()
    bench.slurm.ran(1, bench.now + HOUR, 1_000, submitted_ms=bench.now)
    bench.loop = bench.new_loop()
    bench.turn(7 * 24 * HOUR)
    assert charged(bench) == 1_000


def test_a_hub_that_only_observes_reads_and_books_nothing(bench: ClusterBench) -> None:
    from fabrique.apps.jobs import cycle

    bench.slurm.ran(1, T0)
    state = cycle.hub_state()
    state.observe_only = True
    state.save()
    bench.turn(100_000)
    assert (bench.slurm.asked, charged(bench), records.read_up_to("lab")) == ([], 0, None)


def test_a_budget_that_does_not_cover_it_is_overrun(bench: ClusterBench) -> None:
    bench.slurm.ran(1, T0, 150 * HOUR)
    bench.turn(200 * HOUR)
    assert (charged(bench), charged(bench, "available")) == (100 * HOUR, 0)
    assert ledger.balance("hub:overrun", H100) == 50 * HOUR
    bench.slurm.ran(1, T0, 50 * HOUR)  # mended by hand in the accounting, later
    looked(bench, back_to=T0)
    assert (charged(bench), ledger.balance("hub:overrun", H100)) == (50 * HOUR, 0)
    assert charged(bench, "available") == 50 * HOUR
    assert verify().ok


def test_what_the_books_were_made_of_is_kept_when_the_accounting_says_otherwise(bench: ClusterBench) -> None:
    bench.slurm.ran(1, T0, state="RUNNING", ended_ms=None, exit_code=None)
    looked(bench)
    first = bench.slurm.ran(1, T0, 60_000)
    looked(bench)
    assert not EarlierReading.objects.exists()  # nothing was booked of a run that went on
    second = bench.slurm.ran(1, T0, 50_000)
    for _ in range(2):
        looked(bench)
    row = EngineRecord.objects.get()
    assert (bytes(row.raw), charged(bench)) == (second.raw, 50_000)
    assert [bytes(one.raw) for one in row.earlier.all()] == [first.raw]


def test_a_killed_batch_leaves_no_trace(bench: ClusterBench, monkeypatch: Any) -> None:
    for job_id in range(1, 4):
        bench.slurm.ran(job_id, T0)

    class Killed(BaseException):
        pass

    def dies(engine: str, at_ms: int) -> None:
        raise Killed

    monkeypatch.setattr(records, "advance", dies)
    with pytest.raises(Killed):
        looked(bench)
    assert (Job.objects.count(), Run.objects.count(), EngineRecord.objects.count(), charged(bench)) == (0, 0, 0, 0)
    monkeypatch.undo()
    looked(bench)
    assert charged(bench) == 180_000


def test_a_loop_that_lost_its_lease_books_nothing(bench: ClusterBench) -> None:
    bench.slurm.ran(1, T0)
    with pytest.raises(FabriqueError, match=r"lease\.lost"):
        Ingest(bench.here, CLUSTER, project_of).look(bench.slurm, 99, now=bench.now)
    assert (Run.objects.count(), EngineRecord.objects.count()) == (0, 0)


def test_a_runaway_is_named_and_not_charged_for_ever(bench: ClusterBench) -> None:
    bench.slurm.sbatch(5, state="RUNNING", started_ms=T0, priority=5)
    bench.slurm.ran(5, T0, 0, state="RUNNING", ended_ms=None, exit_code=None)
    later(bench)
    row = EngineRecord.objects.get()
    assert (row.state, row.reason) == (RecordState.OPEN, {})
    bench.slurm.queue.clear()
    later(bench)
    since = bench.now
    later(bench, RUNAWAY_MS)
    row.refresh_from_db()
    assert (row.state, row.reason) == (RecordState.OPEN, {"code": "quarantine.runaway", "since": since})
    later(bench)
    row.refresh_from_db()
    assert row.reason["since"] == since
