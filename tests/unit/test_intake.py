"""Jobs by a cluster's own door: admitted like any other, seen, shown, charged once; strangers stop nobody."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest
from tests.unit.clusters import ClusterBench
from tests.unit.scripted import T0

from fabrique.apps.jobs import admission
from fabrique.apps.jobs import services as jobs
from fabrique.apps.jobs.models import Job, Run
from fabrique.apps.ledger import services as ledger
from fabrique.apps.ledger.models import Hold
from fabrique.apps.ledger.verify import verify
from fabrique.apps.people import services as people
from fabrique.core import booking
from fabrique.core.units import HOUR_MS, unit
from fabrique.engines.protocol import Observation
from fabrique.engines.slurm.files.render import LET_GO, OWNER
from fabrique.engines.slurm.model import Tres
from fabrique.operate import readopt
from fabrique.operate.observe import intent_of
from fabrique.operate.why import why

H100 = unit("acc-ms:h100-sxm")
pytestmark = pytest.mark.django_db


def used(bench: ClusterBench) -> int:
    allocation = str(bench.project.allocations.get().id)
    return ledger.balance(booking.account(allocation, "used"), H100)


def test_a_plain_sbatch_is_admitted_explained_and_accounted(bench: ClusterBench) -> None:
    alice = people.create_person("Alice", "alice@lab.example", now=T0, login="alice")
    job = bench.slurm.sbatch(41)
    bench.turn()
    row = bench.row("41")
    assert (row.door, row.login, row.submitter, row.name) == ("lab", "alice", alice, "train")
    assert row.spec["milli_devices"] == 1000 and row.spec["kinds"] == ["h100-sxm"]
    assert bench.slurm.released == [job.handle]
    assert bench.status(row) == "starting"
    assert row.runs.get().handle == job.handle
    started = bench.now
    bench.slurm.starts(41, started)
    bench.turn()
    assert bench.status(row) == "running"
    bench.slurm.ends(41, started + 60_000, exit_code=0)
    bench.turn(60_000)
    assert bench.status(row) == "completed"
    assert used(bench) == 60_000
    bench.turn()
    assert (used(bench), Job.objects.count(), Run.objects.count()) == (60_000, 1, 1)
    assert verify().ok


def test_it_waits_for_the_same_reasons_and_is_told_them(bench: ClusterBench) -> None:
    for job_id in (1, 2, 3):
        bench.slurm.sbatch(job_id, asked=Tres(cores=4, nodes=1, gpus={"": 4}))
    bench.turn()
    assert bench.slurm.released == [bench.slurm.queue[1].handle, bench.slurm.queue[2].handle]
    third = bench.row("3")
    assert third.reason["code"] == "wait.accelerators"
    assert list(bench.slurm.shown) == [third.handle]
    assert bench.slurm.shown[third.handle].startswith("fabrique: ")
    assert "gpu" in bench.slurm.shown[third.handle]


def test_what_both_doors_bring_is_decided_on_together(bench: ClusterBench) -> None:
    ours = bench.submit(accelerators="4", kinds="h100-sxm")
    bench.slurm.sbatch(7, asked=Tres(cores=4, nodes=1, gpus={"": 4}), submitted_ms=T0 + 1)
    bench.slurm.sbatch(8, asked=Tres(cores=4, nodes=1, gpus={"": 4}), submitted_ms=T0 + 2)
    bench.turn()
    assert len(bench.slurm.submitted) == 1
    assert bench.status(ours) == "starting"
    assert bench.slurm.released == [bench.slurm.queue[7].handle]
    assert bench.status(bench.row("8")) == "pending"


def test_what_no_end_of_a_run_could_pay_for_is_told_so(bench: ClusterBench) -> None:
    bench.slurm.sbatch(1, asked=Tres(cores=8, nodes=1, gpus={"": 8}), limit_ms=HOUR_MS)
    bench.turn()
    bench.slurm.starts(1, bench.now)
    far = bench.slurm.sbatch(2, limit_ms=20_000 * HOUR_MS)
    bench.turn()
    bench.turn()
    assert bench.row("2").reason["code"] == "refuse.budget"
    assert bench.status(bench.row("2")) == "pending"  # things may change: a member asks for less, an award is raised
    assert "budget" in bench.slurm.shown[far.handle]


def test_a_stranger_is_told_and_stops_nobody(bench: ClusterBench) -> None:
    stranger = bench.slurm.sbatch(1, account="chemistry")
    known = bench.slurm.sbatch(2)
    bench.slurm.sbatch(3, partition="debug")
    bench.turn()
    assert bench.slurm.released == [known.handle]
    assert "chemistry" in bench.slurm.shown[stranger.handle]
    assert Job.objects.count() == 1


def test_an_array_is_a_job_a_task(bench: ClusterBench) -> None:
    bench.slurm.sbatch(50, array_id=50, tasks=3, task_ids=(0, 1, 5), asked=Tres(cores=1, nodes=1, gpus={"": 4}))
    bench.turn()
    rows = [bench.row(f"50_{task}") for task in (0, 1, 5)]
    assert [bench.status(r) for r in rows] == ["starting", "starting", "pending"]
    assert bench.slurm.released == [rows[0].handle, rows[1].handle]
    # Slurm splits what starts; the handle of the task stays
    del bench.slurm.queue[50]
    bench.slurm.sbatch(51, array_id=50, array_task=0, asked=Tres(cores=1, nodes=1, gpus={"": 4}))
    bench.slurm.sbatch(50, array_id=50, tasks=1, task_ids=(5,), asked=Tres(cores=1, nodes=1, gpus={"": 4}))
    bench.slurm.starts(51, bench.now)
    bench.turn()
    assert bench.status(rows[0]) == "running"
    assert Job.objects.count() == 3


def test_what_runs_without_our_word_is_counted(bench: ClusterBench) -> None:
    """An interactive job, or one let through while the hub was silent; its budget may not even cover it."""
    started = T0 - 1_000
    bench.slurm.sbatch(9, state="RUNNING", started_ms=started, priority=5, limit_ms=1_000 * HOUR_MS, batch=False)
    bench.slurm.starts(9, started)
    bench.turn()
    row = bench.row("9")
    assert (bench.status(row), row.reason["code"]) == ("running", "place.own-door")
    assert bench.slurm.released == []
    bench.slurm.ends(9, started + 2 * HOUR_MS, exit_code=0)
    bench.turn(2 * HOUR_MS)
    assert bench.status(row) == "completed"
    assert used(bench) == 2 * HOUR_MS
    assert verify().ok


@pytest.mark.parametrize("cause", ["node-failed", "preempted", "cancelled"])
def test_an_attempt_whose_end_is_known_late_ends_not_the_next_one(bench: ClusterBench, cause: str) -> None:
    """The queue shows the requeued job before the accounting has the end of the run before it."""
    bench.slurm.sbatch(6)
    bench.turn()
    first = bench.slurm.starts(6, bench.now)
    bench.turn()
    bench.slurm.sbatch(6, submitted_ms=bench.now + 1_000)
    bench.slurm.answers[first] = Observation(first, "unknown", error="no end in the accounting yet")
    bench.turn(2_000)
    assert bench.row("6").handle != first
    at = {"started_ms": T0, "ended_ms": bench.now}
    bench.slurm.answers[first] = Observation(first, "ended", cause, **at)  # type: ignore[arg-type]
    bench.turn()
    bench.turn()
    row = bench.row("6")
    assert [run.handle for run in row.runs.order_by("attempt")] == [first, row.handle]
    assert bench.slurm.released == [first, row.handle]
    second = bench.now
    bench.slurm.starts(6, second)
    bench.turn()
    bench.slurm.ends(6, second + 5_000)
    bench.turn(6_000)
    assert (bench.status(row), row.runs.count(), verify().ok) == ("completed", 2, True)


def test_what_no_budget_limits_is_granted_as_it_is_used(bench: ClusterBench) -> None:
    """It runs on cores, at the door, and its award is in accelerators alone."""
    cores = unit("core-ms:local-core")
    bench.slurm.sbatch(9, asked=Tres(cores=4, nodes=1), given=Tres(cores=4, nodes=1))
    bench.slurm.starts(9, T0)
    bench.turn()
    bench.slurm.ends(9, T0 + 60_000, exit_code=0)
    bench.turn(60_000)
    allocation = str(bench.project.allocations.get().id)
    assert ledger.balance(booking.account(allocation, "used"), cores) == 4 * 60_000
    assert ledger.balance("hub:overrun", cores) == 0
    assert verify().ok


def test_a_requeue_is_another_run_of_the_same_job_and_waits_held(bench: ClusterBench) -> None:
    job = bench.slurm.sbatch(5)
    bench.turn()
    started = bench.now
    bench.slurm.starts(5, started)
    bench.turn()
    row = bench.row("5")
    bench.slurm.ends(5, started + 10_000, cause="preempted")
    again = bench.slurm.sbatch(5, submitted_ms=T0 + 20_000, priority=900)  # Slurm puts it back, and holds nothing
    assert again.handle != job.handle
    bench.turn(20_000)
    bench.turn()
    assert [r.handle for r in row.runs.order_by("attempt")] == [job.handle, again.handle]
    assert bench.slurm.released == [job.handle, again.handle]
    assert used(bench) == 10_000
    started = bench.now
    bench.slurm.starts(5, started)
    bench.turn()
    bench.slurm.ends(5, started + 5_000, exit_code=0)
    bench.turn(5_000)
    assert bench.status(row) == "completed"
    assert used(bench) == 15_000
    assert Job.objects.count() == 1


def test_a_scancel_behind_our_back_closes_the_job(bench: ClusterBench) -> None:
    for job_id in (1, 2, 3):
        bench.slurm.sbatch(job_id, asked=Tres(cores=4, nodes=1, gpus={"": 4}))
    bench.turn()
    waits, admitted = bench.row("3"), bench.row("2")
    bench.slurm.ends(3, bench.now, cause="cancelled")
    bench.slurm.ends(2, bench.now, cause="cancelled")
    bench.turn()
    assert bench.status(waits) == "cancelled"
    assert bench.status(admitted) == "cancelled"
    assert [bench.row(job).reason["code"] for job in "23"] == ["end.cancelled-there"] * 2  # nobody asked the hub
    own = bench.submit(accelerators="1", kinds="h100-sxm")
    bench.turn()
    intent = intent_of(own.runs.get())
    bench.slurm.answers[intent] = Observation(intent, "ended", "cancelled", started_ms=bench.now, ended_ms=bench.now)
    bench.turn(1_000)
    assert (bench.status(own), own.reason["code"]) == ("cancelled", "end.cancelled-there")
    assert ledger.balance(booking.account(str(admitted.allocation_id), "held"), H100) == 4 * 600_000  # of the first


def test_a_member_cancels_it_here(bench: ClusterBench) -> None:
    for job_id in (1, 2, 3):
        bench.slurm.sbatch(job_id, asked=Tres(cores=4, nodes=1, gpus={"": 4}))
    bench.turn()
    bench.slurm.starts(1, bench.now)
    bench.turn()
    for name in "31":
        jobs.cancel(bench.row(name), bench.person, now=bench.now)
    bench.turn()
    assert set(bench.slurm.cancelled) == {bench.slurm.queue[job_id].handle for job_id in (3, 1)}
    assert bench.row("3").status == "cancelled"
    bench.slurm.ends(1, bench.now, cause="cancelled")
    bench.turn()
    assert [bench.row(job).reason["code"] for job in "31"] == ["end.cancelled"] * 2


def test_a_release_that_did_not_arrive_is_said_again(bench: ClusterBench) -> None:
    job = bench.slurm.sbatch(1)
    bench.turn()
    bench.slurm.queue[1] = job  # the controller was killed before it saved what it was told
    bench.turn()
    assert bench.slurm.released == [job.handle]
    bench.turn(10_000)
    assert bench.slurm.released == [job.handle, job.handle]
    assert Run.objects.count() == 1


def test_what_its_user_changes_is_decided_on(bench: ClusterBench) -> None:
    job = bench.slurm.sbatch(1, limit_ms=None)
    bench.turn()
    assert bench.slurm.released == []  # no budget covers a year
    bench.slurm.queue[1] = replace(job, limit_ms=600_000)
    bench.turn()
    assert bench.slurm.released == [job.handle]


def test_an_engine_that_is_down_delays_and_loses_nothing(bench: ClusterBench) -> None:
    job = bench.slurm.sbatch(1)
    bench.slurm.down = True
    assert bench.turn().silent == {"lab": "engine.unavailable"}
    assert Job.objects.count() == 0
    bench.slurm.down = False
    bench.turn()
    assert bench.slurm.released == [job.handle]


def test_a_hub_job_waits_for_its_account(bench: ClusterBench) -> None:
    from fabrique.apps.provision.models import Place

    Place.objects.all().delete()
    job = bench.submit(accelerators="1", kinds="h100-sxm")
    bench.turn()
    assert bench.status(job) == "pending"
    assert job.reason == {"code": "wait.account", "engine": "lab"}


def test_what_the_cap_never_lets_start_is_told_so(bench: ClusterBench) -> None:
    bench.here.cap_w = bench.here.base_w + 1_000
    bench.slurm.sbatch(1, asked=Tres(cores=4, nodes=1, gpus={"": 4}))
    bench.slurm.sbatch(2)
    bench.turn()
    told = bench.row("1").reason
    assert (told["code"], told["most_w"]) == ("refuse.power", 1_000) and told["asked_w"] > 1_000
    assert bench.slurm.released == [bench.slurm.queue[2].handle]


def test_who_asks_too_much_for_the_cap_is_told_what_it_would_let_start(bench: ClusterBench) -> None:
    bench.here.cap_w = bench.here.base_w + 1_400  # for two devices
    bench.slurm.sbatch(1, asked=Tres(cores=4, nodes=1, gpus={"": 4}))
    bench.turn()
    told = why(bench.here, bench.row("1"), now=bench.now)
    assert told is not None and told.latest_ms is None
    assert [(c.kind, c.before, c.after) for c in told.changes] == [("devices", 4_000, 2_000)]


def test_a_run_that_the_hub_forgot_is_taken_in_by_its_name(bench: ClusterBench) -> None:
    """After a restore: the cluster runs what we submitted, and no row here tells of it."""
    ours = f"run-{uuid.uuid4().hex}"
    bench.slurm.sbatch(70, name=ours, user="hub")
    bench.slurm.starts(70, T0)
    bench.turn()
    row = bench.row("70")
    assert (row.door, bench.status(row)) == ("lab", "running")
    assert row.runs.get().handle == ours
    bench.slurm.ends(70, T0 + 60_000, exit_code=0)
    bench.turn(60_000)
    assert (bench.status(row), used(bench)) == ("completed", 60_000)


def test_our_own_runs_are_never_taken_for_strangers(bench: ClusterBench) -> None:
    job = bench.submit(accelerators="1", kinds="h100-sxm")
    bench.turn()
    bench.slurm.sbatch(71, name=bench.intent(job), user="hub", priority=100)
    bench.turn()
    bench.turn()
    assert Job.objects.count() == 1


def test_attempts_of_a_job_have_names_that_follow_from_it(bench: ClusterBench) -> None:
    job = bench.submit(accelerators="1", kinds="h100-sxm")
    bench.turn()
    run = job.runs.get()
    assert run.pk == admission.run_id(job, 1) != admission.run_id(job, 2)
    # a hub that lost the row, and knows the job still, finds the run again and does not start another
    intents = dict.fromkeys((bench.intent(job), f"run-{uuid.uuid4().hex}"))
    run.intents.all().delete()
    Hold.objects.filter(pk=run.hold).delete()
    run.delete()
    Job.objects.filter(pk=job.pk).update(status="pending")
    bench.here.cap_w = bench.here.base_w + 100  # a cap that was lowered since is no reason to lose what runs
    assert list(readopt.readopt(bench.here, intents, now=bench.now).values()) == [job.number]
    assert bench.status(job) == "starting"
    assert job.runs.get().pk == admission.run_id(job, 1)
    bench.turn()
    assert len(bench.slurm.submitted) == 1


def test_what_its_owner_holds_is_not_released_until_they_let_go(bench: ClusterBench) -> None:
    job = bench.slurm.sbatch(1, admin_comment=OWNER)
    bench.turn()
    assert bench.slurm.released == []
    bench.slurm.queue[1] = replace(job, comment=LET_GO)
    bench.turn()
    assert bench.slurm.released == [job.handle]
    bench.slurm.queue[1] = replace(bench.slurm.queue[1], priority=0, comment=OWNER)  # held again before it started
    bench.turn(60_000)
    assert bench.slurm.released == [job.handle]


def test_a_run_of_the_hubs_own_that_its_owner_held_for_a_while_is_released_again(bench: ClusterBench) -> None:
    """The door gives it back held, like any other: nobody but the hub lets it go."""
    job = bench.submit(accelerators="1", kinds="h100-sxm")
    bench.turn()
    for comment, released in ((OWNER, []), (LET_GO, [bench.intent(job)])):
        bench.slurm.sbatch(71, name=bench.intent(job), user="hub", comment=comment)
        bench.turn(60_000)
        assert bench.slurm.released == released
    bench.turn(60_000)  # released, it is nobody's to release again
    assert len(bench.slurm.released) == 1


def test_shares_are_of_what_the_watts_let_be_had(bench: ClusterBench, monkeypatch: pytest.MonkeyPatch) -> None:
    from fabrique.operate import decide

    here = bench.here  # eight devices of 600 W above 1,000 W of idle nodes
    assert decide.powered_ppm(here) == 1_000_000
    monkeypatch.setattr(here, "cap_w", here.base_w + 2_400)
    assert decide.powered_ppm(here) == 500_000
    monkeypatch.setattr(here, "cap_w", here.base_w - 1)
    assert decide.powered_ppm(here) == 0
    monkeypatch.setattr(here, "cap_w", None)
    assert decide.powered_ppm(here) == 1_000_000


def test_what_starts_in_one_turn_is_held_in_one_entry_and_only_as_far_as_the_budget_goes(bench: ClusterBench) -> None:
    from fabrique.apps.ledger.models import Entry

    for job_id in range(1, 5):  # of 30 hours each: a hundred are there
        bench.slurm.sbatch(job_id, limit_ms=30 * HOUR_MS)
    bench.turn()
    assert Entry.objects.filter(kind="hold").count() == 1
    assert [bench.status(bench.row(str(n))) for n in range(1, 5)] == ["starting"] * 3 + ["pending"]
    assert bench.row("4").reason["code"] == "wait.budget-held"
    assert verify().ok
