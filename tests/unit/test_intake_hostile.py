"""A user of the cluster who changes a job behind the hub's back, or writes it so that it might harm the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.clusters import ClusterBench
from tests.unit.scripted import T0

from fabrique.apps.jobs import services as jobs
from fabrique.apps.jobs.models import Job, Run, RunState
from fabrique.apps.jobs.queue import queue_for
from fabrique.apps.ledger import services as ledger
from fabrique.apps.ledger.verify import verify
from fabrique.core import booking
from fabrique.core.errors import FabriqueError
from fabrique.core.reasons import from_json
from fabrique.core.units import unit
from fabrique.engines.slurm.files.render import HELD, LET_GO, OWNER
from fabrique.engines.slurm.model import QueuedJob, Tres, handle_of
from fabrique.language.say import Speaker

H100 = unit("acc-ms:h100-sxm")
pytestmark = pytest.mark.django_db


def held(bench: ClusterBench) -> int:
    return ledger.balance(booking.account(str(bench.project.allocations.get().id), "held"), H100)


def changed(bench: ClusterBench, job_id: int, **more: Any) -> QueuedJob:
    """`scontrol update` by its owner."""
    bench.slurm.queue[job_id] = job = replace(bench.slurm.queue[job_id], **more)
    return job


def wide(gpus: int) -> Tres:
    return Tres(cores=4, memory_mb=1_000, nodes=1, gpus={"": gpus})


# --- what is changed after it was released ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [{"limit_ms": 3_600_000}, {"asked": wide(2)}, {"asked": replace(wide(1), cores=8)}],
    ids=["time", "gpu", "core"],
)
def test_a_released_job_that_asks_for_more_is_decided_on_anew(bench: ClusterBench, more: dict[str, Any]) -> None:
    """Its hold was for less: what it then takes would be at the hub's cost."""
    job = bench.slurm.sbatch(1)
    bench.turn()
    assert (bench.slurm.released, held(bench)) == ([job.handle], 600_000)
    changed(bench, 1, **more)
    bench.turn()
    assert bench.slurm.released == [job.handle, job.handle]
    assert Run.objects.filter(state=RunState.ABANDONED).count() == 1
    run = Run.objects.get(state=RunState.PLANNED)
    asked = bench.slurm.queue[1]
    assert held(bench) == (asked.limit_ms or 0) * asked.asked.devices
    assert run.share_milli == asked.asked.devices * 1000
    bench.turn(10_000)
    assert bench.slurm.released == [job.handle, job.handle]
    assert verify().ok


def test_what_the_budget_does_not_cover_waits_though_it_was_released(bench: ClusterBench) -> None:
    bench.slurm.sbatch(1)
    bench.turn()
    changed(bench, 1, limit_ms=None)
    bench.turn()
    assert bench.slurm.queue[1].held
    assert (bench.status(bench.row("1")), held(bench)) == ("pending", 0)


def test_a_change_is_remembered_until_slurm_has_taken_the_job_back(bench: ClusterBench, monkeypatch: Any) -> None:
    bench.slurm.sbatch(1)
    bench.turn()
    hold = bench.slurm.hold
    changed(bench, 1, limit_ms=None)

    def away(intents: Any) -> None:
        bench.slurm.down = True
        bench.slurm._up()

    monkeypatch.setattr(bench.slurm, "hold", away)
    bench.turn()
    bench.slurm.down = False
    monkeypatch.setattr(bench.slurm, "hold", hold)
    bench.turn()
    assert bench.slurm.queue[1].held and held(bench) == 0


def test_one_that_asks_for_less_goes_on(bench: ClusterBench) -> None:
    job = bench.slurm.sbatch(1)
    bench.turn()
    changed(bench, 1, limit_ms=300_000, name="other")
    bench.turn()
    assert bench.slurm.released == [job.handle]
    assert Run.objects.get().state == RunState.PLANNED


def test_one_that_has_started_meanwhile_is_left(bench: ClusterBench) -> None:
    bench.slurm.sbatch(1)
    bench.turn()
    changed(bench, 1, limit_ms=3_600_000)
    bench.slurm.starts(1, bench.now)
    bench.turn()
    assert bench.status(bench.row("1")) == "running"


# --- whose account it is ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("released", [False, True], ids=["waits", "released"])
def test_a_job_that_is_moved_to_another_account_is_paid_from_that_one(bench: ClusterBench, released: bool) -> None:
    first, second = bench.project, bench.another("genes")
    bench.slurm.sbatch(1, limit_ms=600_000 if released else None)
    bench.turn()
    assert bench.row("1").project == first
    changed(bench, 1, account="genes", limit_ms=600_000)
    for _ in range(3):
        bench.turn()
    row = bench.row("1")
    assert (row.project, row.allocation.project, row.status) == (second, second, "starting")
    assert held(bench) == 0
    assert len(set(bench.slurm.released)) == 1
    assert verify().ok


@pytest.mark.parametrize("released", [False, True], ids=["waits", "released"])
def test_one_that_is_moved_to_a_stranger_s_account_is_nobody_s_here(bench: ClusterBench, released: bool) -> None:
    bench.slurm.sbatch(1, limit_ms=600_000 if released else None)
    bench.turn()
    changed(bench, 1, account="strangers", limit_ms=600_000)
    for _ in range(3):
        bench.turn(2_000)
    job = bench.slurm.queue[1]
    assert (bench.row("1").status, held(bench), job.held) == ("cancelled", 0, True)
    assert bench.loop._doors._taken.strays[job.handle].params == {"account": "strangers"}
    assert bench.slurm.cancelled == []


def test_a_stranger_s_job_is_taken_in_once_its_account_is_known(bench: ClusterBench) -> None:
    job = bench.slurm.sbatch(1, account="genes")
    bench.turn()
    assert bench.slurm.released == []
    bench.another("genes")
    bench.turn(60_000)
    assert bench.slurm.released == [job.handle]


# --- what Slurm would not start takes no room ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"dependency": "afterok:7(unfulfilled)"}, "wait.other-job"),
        ({"eligible_ms": T0 + 86_400_000}, "wait.not-before"),
        ({"comment": OWNER}, "wait.owner"),
    ],
    ids=["dependency", "begin", "hold"],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_slurm_would_not_start_holds_no_room(
    bench: ClusterBench, more: dict[str, Any], code: str, when: str
) -> None:
    """Else one user's jobs with a dependency that never comes would keep the whole machine idle, for nothing."""
    whole = {"asked": Tres(cores=4, nodes=2, gpus={"": 8})}
    more = more | ({"priority": 0} if "comment" in more else {})
    bench.slurm.sbatch(1, **whole, **(more if when == "before" else {}))
    bench.turn()
    if when == "after":
        changed(bench, 1, **more)
        bench.turn()
    other = bench.slurm.sbatch(2, **whole)
    bench.turn()
    assert bench.slurm.released[-1] == other.handle
    assert bench.slurm.queue[1].held
    row = bench.row("1")
    assert (row.status, row.reason["code"]) == ("pending", code)
    bench.slurm.starts(2, bench.now)
    bench.turn()
    bench.slurm.ends(2, bench.now + 1_000)
    changed(bench, 1, dependency="", eligible_ms=T0, comment=LET_GO)
    bench.turn(2_000)
    bench.turn()
    assert bench.slurm.released[-1] == bench.slurm.queue[1].handle
    assert held(bench) == 8 * 600_000
    assert verify().ok


@pytest.mark.parametrize("why", ["QOSMaxJobsPerUserLimit", "ReqNodeNotAvail,_UnavailableNodes:n1", "BadConstraints"])
def test_what_slurm_keeps_for_a_reason_of_its_own_takes_no_room_for_long(bench: ClusterBench, why: str) -> None:
    """One user's jobs on a drained node, or beyond a limit of theirs, would keep the machine from the others."""
    whole = {"asked": Tres(cores=4, nodes=2, gpus={"": 8})}
    first, other = bench.slurm.sbatch(1, **whole), bench.slurm.sbatch(2, **whole)
    bench.turn()
    assert bench.slurm.released == [first.handle]
    changed(bench, 1, reason=why)
    bench.turn()
    bench.turn(9_000)
    assert bench.slurm.released == [first.handle]
    bench.turn(2_000)
    assert bench.slurm.released == [first.handle, other.handle]
    assert bench.slurm.queue[1].held and held(bench) == 8 * 600_000
    bench.turn()
    assert bench.row("1").reason["code"] == "wait.cluster"
    bench.slurm.starts(2, bench.now)
    bench.turn()
    bench.slurm.ends(2, bench.now + 1_000)
    changed(bench, 1, reason="JobHeldAdmin")
    bench.turn(30_000)
    assert len(bench.slurm.released) == 2
    bench.turn(31_000)
    assert bench.slurm.released[2:] == [first.handle]
    assert verify().ok


def test_what_slurm_itself_holds_is_not_let_go_again_turn_after_turn(bench: ClusterBench) -> None:
    """More devices than a node has: Slurm sets its priority to zero, and would as often as the hub lets it go."""
    whole = {"asked": Tres(cores=4, nodes=2, gpus={"": 8})}
    first, other = bench.slurm.sbatch(1, **whole), bench.slurm.sbatch(2, **whole)
    bench.turn()
    changed(bench, 1, reason="BadConstraints", priority=0)
    bench.turn()
    bench.turn(9_000)
    assert bench.slurm.released == [first.handle]
    bench.turn(2_000)
    assert bench.slurm.released == [first.handle, other.handle]
    bench.turn()
    told = bench.row("1").reason
    assert told["code"] == "wait.cluster" and told["why"] == "BadConstraints"
    assert "No node has what it asks for. It is tried again" in Speaker("en").reason(from_json(told))
    assert "Aucun n" in Speaker("fr").reason(from_json(told))
    changed(bench, 1, reason="JobHeldAdmin")  # by the hub, from now on: what Slurm said before is what counts
    bench.turn()
    assert bench.row("1").reason["why"] == "BadConstraints"


@pytest.mark.parametrize("why", ["Resources", "Priority", "Licenses", ""])
def test_what_waits_for_room_keeps_its_place(bench: ClusterBench, why: str) -> None:
    job = bench.slurm.sbatch(1)
    bench.turn()
    changed(bench, 1, reason=why)
    for _ in range(5):
        bench.turn(60_000)
    assert bench.slurm.released == [job.handle] and not bench.slurm.queue[1].held


def test_an_array_takes_no_more_room_than_it_may_run_at_once(bench: ClusterBench) -> None:
    bench.slurm.sbatch(7, array_id=7, task_ids=tuple(range(1, 9)), tasks=8, tasks_at_once=2, admin_comment=HELD)
    bench.turn()
    assert [row.called for row in Job.objects.order_by("number")] == [f"7_{task}" for task in range(1, 9)]
    assert bench.slurm.released == [handle_of(bench.slurm.queue[7], task) for task in (1, 2)]
    assert {bench.row(f"7_{task}").reason["code"] for task in range(3, 9)} == {"wait.array"}
    array = bench.slurm.queue[7]
    bench.slurm.queue[7] = replace(array, task_ids=tuple(range(3, 9)), tasks=6)
    for number, task in ((8, 1), (9, 2)):  # Slurm starts them, each under a number of its own
        bench.slurm.queue[number] = replace(array, job_id=number, array_task=task, task_ids=(), tasks=1)
        bench.slurm.starts(number, bench.now)
    bench.turn()
    assert Job.objects.count() == 8 and len(bench.slurm.released) == 2
    assert "son tableau" in bench.slurm.shown[handle_of(array, 3)]  # why the others wait
    bench.slurm.ends(8, bench.now, exit_code=0)
    bench.turn(10_000)
    assert (Job.objects.count(), bench.slurm.released[2:]) == (8, [handle_of(array, 3)])


def test_tasks_behind_their_arrays_bound_are_counted_and_hold_no_room(bench: ClusterBench) -> None:
    """They wait, as `squeue -r` has it, and what came after them starts where there is room for it."""
    half = Tres(cores=4, nodes=1, gpus={"": 4})
    array = bench.slurm.sbatch(7, array_id=7, task_ids=(1, 2, 3), tasks=3, tasks_at_once=1, asked=half)
    bench.slurm.sbatch(8, submitted_ms=T0 + 1, asked=half)
    bench.slurm.sbatch(9, submitted_ms=T0 + 2, asked=half)
    bench.turn()
    assert bench.slurm.released == [handle_of(array, 1), bench.slurm.queue[8].handle]
    seen = queue_for(bench.person, now=bench.now)
    assert (seen.waiting, seen.started, seen.groups[True, "wait.array"]) == (3, 2, 2)
    assert list(bench.slurm.shown) == [*(handle_of(array, task) for task in (2, 3)), bench.slurm.queue[9].handle]


def test_tasks_that_were_released_are_taken_back_when_their_owner_lowers_the_bound(bench: ClusterBench) -> None:
    """Slurm would not start them, and their watts and hours are others' meanwhile."""
    array = bench.slurm.sbatch(7, array_id=7, task_ids=(1, 2, 3), tasks=3, tasks_at_once=3)
    bench.turn()
    assert bench.slurm.released == [handle_of(array, task) for task in (1, 2, 3)]
    recalled: list[str] = []
    bench.slurm.hold = lambda intents: recalled.extend(intents)  # type: ignore[method-assign]
    whole = held(bench)
    changed(bench, 7, tasks_at_once=1)
    bench.turn()
    bench.turn()
    assert sorted(set(recalled)) == [handle_of(array, task) for task in (2, 3)]
    assert [bench.row(f"7_{task}").status for task in (1, 2, 3)] == ["starting", "pending", "pending"]
    assert bench.row("7_3").reason["code"] == "wait.array" and held(bench) == whole // 3 and verify().ok


def test_a_task_of_an_open_array_is_held_before_those_behind_its_bound(bench: ClusterBench) -> None:
    """Let through while the hub was silent: Slurm starts no more of them than the bound."""
    array = bench.slurm.sbatch(7, array_id=7, task_ids=(1, 2, 3), tasks=3, tasks_at_once=1, priority=50)
    held: list[str] = []
    bench.slurm.hold = lambda intents: held.extend(intents)  # type: ignore[method-assign]
    bench.turn()
    assert held == [handle_of(array, 1)]


def test_what_an_array_may_run_at_once_holds_while_squeue_leaves_it_out(bench: ClusterBench) -> None:
    """It does while tasks wait that were split from the array: the row then names them, and no bound."""
    array = bench.slurm.sbatch(7, array_id=7, task_ids=tuple(range(1, 6)), tasks=5, tasks_at_once=2)
    bench.turn()
    changed(bench, 7, tasks_at_once=None)
    for _ in range(2):
        bench.turn()
    assert Job.objects.filter(reason__code="wait.array").count() == 3
    bench.slurm.queue[7] = replace(array, task_ids=(3, 4, 5), tasks=3, tasks_at_once=None)  # its owner lifted it
    for number, task in ((8, 1), (9, 2)):
        bench.slurm.queue[number] = replace(array, job_id=number, array_task=task, task_ids=(), tasks=1)
        bench.slurm.starts(number, bench.now)
    bench.turn()
    assert not Job.objects.filter(reason__code="wait.array").exists() and Job.objects.count() == 5


def test_a_job_that_slurm_will_not_cancel_stops_no_other(bench: ClusterBench, monkeypatch: Any) -> None:
    """A part of a heterogeneous job: the whole cluster would be taken for silent, for a day."""

    def refuse(intent: str, grace_ms: int) -> None:
        raise FabriqueError("engine.refused", why="Operation not permitted on individual component")

    bench.slurm.sbatch(1, limit_ms=None)
    bench.turn()
    jobs.cancel(bench.row("1"), bench.person, now=bench.now)
    monkeypatch.setattr(bench.slurm, "cancel", refuse)
    other = bench.slurm.sbatch(2)
    assert bench.turn().silent == {}
    assert bench.slurm.released == [other.handle]


# --- what nobody should write -------------------------------------------------------------------------------------

HUGE = 1 << 53
WORST: dict[str, dict[str, Any]] = {
    "a name of control signs": {"name": "a\nb\x00\x1b[31m\u202e\ud800" + "x" * 10_000},
    "no name": {"name": ""},
    "our name": {"name": "?run-" + "0" * 32},
    "a login of ours": {"user": "root"},
    "no login": {"user": ""},
    "everything": {"asked": Tres(cores=HUGE, memory_mb=HUGE, nodes=HUGE, gpus={"": HUGE})},
    "nothing": {"asked": Tres()},
    "for ever": {"limit_ms": HUGE},
    "no time": {"limit_ms": 0},
    "from the end of time": {"submitted_ms": HUGE},
    "since the beginning": {"submitted_ms": 1_000},
    "not before the end": {"eligible_ms": HUGE},
    "many partitions": {"partition": ",".join(["gpu", "nowhere", "", "flex"] * 100)},
    "a word in an account": {"account": "proteins' OR 1=1 --"},
    "another's account": {"account": "\x00\ud800é" * 100},
    "comments": {"comment": "fabrique: \x00\ud800" * 1_000, "admin_comment": OWNER + "\x00"},
    "dependencies": {"dependency": "after:1(unfulfilled)," * 10_000},
    "an array": {"array_id": 7, "task_ids": tuple(range(65_536)), "tasks": 65_536},
    "a task without an array": {"array_task": 4_294_967_294},
    "a qos": {"qos": "\ud800"},
    "odd counts": {"priority": HUGE, "nice": -HUGE, "restarts": HUGE},
}


@pytest.mark.parametrize("worst", WORST, ids=str)
@pytest.mark.parametrize("begins", [False, True], ids=["waits", "runs"])
def test_one_bad_job_stops_no_other(
    bench: ClusterBench, worst: str, begins: bool, caplog: pytest.LogCaptureFixture
) -> None:
    fields = dict(WORST[worst])
    if begins:
        fields |= {"state": "RUNNING", "started_ms": T0, "given": fields.get("asked", wide(1)), "task_ids": ()}
    bench.slurm.queue[1] = replace(bench.slurm.sbatch(1), **fields)
    others = [bench.slurm.sbatch(2), bench.slurm.sbatch(3)]
    for _ in range(3):
        turn = bench.turn(2_000)
        assert turn.silent == {}
    assert {job.handle for job in others} <= set(bench.slurm.released)
    assert not [record for record in caplog.records if record.exc_info], caplog.text
    for job_id in (2, 3):
        bench.slurm.starts(job_id, bench.now)
    bench.turn()
    for job_id in (2, 3):
        bench.slurm.ends(job_id, bench.now, exit_code=0)
    del bench.slurm.queue[1]
    bench.turn(2_000)
    assert [bench.status(bench.row(str(n))) for n in (2, 3)] == ["completed", "completed"]
    assert verify().ok
