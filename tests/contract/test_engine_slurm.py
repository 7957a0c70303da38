"""What the Slurm engine owes beyond every engine's contract, and in place of the lines that a cluster decides; live."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from tests.contract import slurm_bench

from fabrique.core.errors import FabriqueError
from fabrique.engines.protocol import DeviceSlot, Observation, RunSpec
from fabrique.engines.slurm.engine import SlurmEngine
from fabrique.engines.slurm.model import Change, QueuedJob

if TYPE_CHECKING:
    from tools.slurm_lab.lab import SlurmLab

pytestmark = pytest.mark.slurm
T = TypeVar("T")
PATIENCE_S = 60.0


def utc_ms() -> int:
    return time.time_ns() // 1_000_000


def when(look: Callable[[], T], right: Callable[[T], bool] = bool, patience_s: float = PATIENCE_S) -> T:
    until = time.monotonic() + patience_s
    while not right(found := look()):
        assert time.monotonic() < until, f"waited too long: {found}"
        time.sleep(0.05)
    return found


class Door:
    """An engine on a lab, and people who submit round it."""

    def __init__(self, lab: SlurmLab, **changes: Any) -> None:
        self.lab = lab
        self.user, self.where = slurm_bench.user(lab), slurm_bench.where(lab)
        self.person = lab.people[0] if os.geteuid() == 0 else ""
        self.connect = slurm_bench.connector(lab, "commands", utc_ms, **changes)
        self.engine: SlurmEngine = self.connect()
        self.intents: list[str] = []

    def spec(self, text: str, **changes: Any) -> RunSpec:
        intent = f"run-{len(self.intents):04d}-{time.monotonic_ns() % 10**9}"
        self.intents.append(intent)
        script = f"#!/bin/sh\n{text}\n".encode()
        return RunSpec(intent, "a-job", script, 1, 60_000, self.user, where=self.where, **changes)

    def submit(self, text: str, **changes: Any) -> str:
        spec = self.spec(text, **changes)
        self.engine.submit(spec)
        return spec.intent

    def sbatch(self, *arguments: str, script: str = "sleep 60") -> int:
        return self.lab.submit("-A", slurm_bench.ACCOUNT, *arguments, script=script, user=self.person)

    def see(self, handle: str) -> Observation:
        return self.engine.observe([handle])[0]

    def until(self, handle: str, *states: str) -> Observation:
        return when(lambda: self.see(handle), lambda seen: seen.state in states)

    def over(self, handle: str) -> Observation:
        return self.until(handle, "ended", "lost")

    def handle_of(self, job: int) -> str:
        return when(lambda: next((j.handle for j in self.engine.arrivals() if job in (j.job_id, j.array_id)), ""))

    def says(self, job: int, field: str) -> str:
        done = self.lab.run("squeue", "--noheader", "--states=all", f"--jobs={job}", f"--Format={field}:200")
        return done.stdout.strip()

    def clear(self) -> None:
        for intent in self.intents:
            self.engine.cancel(intent, 0)
        self.lab.run("scancel", *(["-u", self.person] if self.person else ["--me"]), check=False)
        when(lambda: self.lab.run("squeue", "--noheader").stdout.strip(), lambda left: not left)


@pytest.fixture
def door(slurm_lab: SlurmLab) -> Iterator[Door]:
    made = Door(slurm_lab)
    yield made
    made.clear()


def test_a_person_s_own_job_is_seen_held_released_and_ended(door: Door) -> None:
    job = door.sbatch("--hold", script="sleep 1")
    handle = door.handle_of(job)
    (arrived,) = door.engine.arrivals()
    assert arrived.held and arrived.user == (door.person or arrived.user) and arrived.account == slurm_bench.ACCOUNT
    assert door.see(handle).state == "starting"
    door.engine.release([handle])
    door.until(handle, "running")
    seen = door.over(handle)
    assert seen.cause == "completed" and seen.nodes and seen.ended_ms is not None


@pytest.mark.parametrize("way", ["commands", "rest"])
def test_a_job_that_has_started_is_not_held_and_stays_in_the_accounting(door: Door, way: Any) -> None:
    """Slurm would take the hold, and sacct would never show the run: its time of being eligible is gone then."""
    transport = slurm_bench.connector(door.lab, way, utc_ms)().transport
    whole = ("-w", "gpu01", "--exclusive")
    runs, waits = (door.sbatch(*whole, script="sleep 4") for _ in range(2))
    handles = [door.handle_of(job) for job in (runs, waits)]
    door.until(handles[0], "running")
    denied = transport.change([Change(runs, priority=0), Change(waits, priority=0)])
    assert [one.job_id for one in denied] == [runs], denied
    shown = {job.job_id: job for job in transport.queue()[0]}
    assert shown[runs].priority and shown[waits].held
    assert door.over(handles[0]).cause == "completed"
    door.engine.release([handles[1]])  # the later start is taken back
    assert door.over(handles[1]).cause == "completed"
    told = ("sacct", "-a", "-X", "-n", "-P", "-S", "now-10minutes", "-o", "JobIDRaw")
    when(lambda: {str(runs), str(waits)} <= set(door.lab.run(*told).stdout.split()))


@pytest.mark.parametrize("way", ["commands", "rest"])
def test_a_hold_leaves_a_job_the_begin_that_its_owner_chose(door: Door, way: Any) -> None:
    transport = slurm_bench.connector(door.lab, way, utc_ms)().transport
    later = door.sbatch("--begin=now+2hours", script="true")

    def shown() -> QueuedJob:
        return next(job for job in transport.queue()[0] if job.job_id == later)

    begin_ms = shown().eligible_ms
    assert begin_ms is not None and begin_ms > utc_ms() + 7_000_000
    assert not transport.change([Change(later, priority=0, begin_ms=begin_ms)])
    assert (shown().held, shown().eligible_ms) == (True, begin_ms)
    assert not transport.change([Change(later, priority=3_000_000_000)])
    assert (shown().held, shown().eligible_ms) == (False, begin_ms)
    door.engine.cancel(shown().handle, 0)


@pytest.mark.parametrize("way", ["commands", "rest"])
def test_a_job_that_waits_takes_another_limit_and_other_licences(door: Door, way: Any) -> None:
    kind = ("servertype=test", "type=license", f"cluster={door.lab.cluster}", "percentallowed=100")
    door.lab.run("sacctmgr", "-i", "add", "resource", "name=seats", "server=here", "count=9", *kind, check=False)
    transport = slurm_bench.connector(door.lab, way, utc_ms)().transport
    when(lambda: "seats@here" in door.lab.run("scontrol", "show", "licenses").stdout)
    job = door.sbatch("--hold", "-t", "3", "-L", "seats@here:4")
    for number, limit_ms in ((2, 120_000), (3, 60_000)):
        licences = {"seats@here": number}
        assert transport.change([Change(job, limit_ms=limit_ms, licences=licences)]) == []
        (shown,) = (one for one in transport.queue()[0] if one.job_id == job)
        assert (shown.asked.licences, shown.limit_ms) == (licences, limit_ms)
    (denied,) = transport.change([Change(job, licences={"no-such": 1})])
    assert denied.job_id == job
    assert transport.change([Change(job, licences={})]) == []
    assert next(one for one in transport.queue()[0] if one.job_id == job).asked.licences == {}


def test_jobs_start_in_the_order_in_which_they_were_released(door: Door) -> None:
    """Each wants all that the first node has; they came in another order than they are let go."""
    whole = ("--hold", "-w", "gpu01", "--exclusive")
    jobs = [door.sbatch(*whole, "-J", name, script="sleep 1") for name in ("third", "first", "second")]
    handles = [door.handle_of(job) for job in jobs]
    door.engine.release([handles[1], handles[2], handles[0]])
    starts = {handle: door.over(handle).started_ms for handle in handles}
    assert sorted(handles, key=lambda handle: starts[handle] or 0) == [handles[1], handles[2], handles[0]]


def test_the_reason_stands_where_squeue_shows_it(door: Door) -> None:
    plain, theirs = door.sbatch("--hold"), door.sbatch("--hold", "--comment=my own")
    handles = [door.handle_of(job) for job in (plain, theirs)]
    door.engine.put(dict.fromkeys(handles, 'fabrique: attend 2 accélérateurs ; "14:05"'))
    assert door.says(plain, "Comment") == 'fabrique: attend 2 accélérateurs ; "14:05"'
    assert door.says(theirs, "Comment") == "my own"
    assert door.says(theirs, "admin_comment") == 'fabrique: attend 2 accélérateurs ; "14:05"'


def test_a_task_of_a_waiting_array_is_let_go_alone(door: Door) -> None:
    array = door.sbatch("--hold", "-a", "1-3", script="sleep 60")
    door.handle_of(array)
    (job,) = door.engine.arrivals()
    handles = [f"slurm-{array}-t{task}-{job.submitted_ms // 1000}" for task in (1, 2, 3)]
    assert [seen.state for seen in door.engine.observe(handles)] == ["starting"] * 3
    door.engine.release([handles[1]])
    door.until(handles[1], "running")
    assert [seen.state for seen in door.engine.observe(handles)] == ["starting", "running", "starting"]
    door.engine.cancel(handles[1], 0)
    assert door.over(handles[1]).cause == "cancelled"
    assert [door.see(handle).state for handle in (handles[0], handles[2])] == ["starting", "starting"]


@pytest.mark.parametrize("way", ["commands", "rest"])
def test_a_task_of_a_waiting_array_is_changed_alone(door: Door, way: Any) -> None:
    """It has a number of its own from then on; the other tasks stay as they were asked. The REST daemon of 24.11 and
    later refuses that: they change together.
    """
    engine = slurm_bench.connector(door.lab, way, utc_ms)()
    array = door.sbatch("--hold", "-t", "5", "-a", "1-3", script="sleep 60")
    door.handle_of(array)
    (job,) = engine.arrivals()
    handles = [f"slurm-{array}-t{task}-{job.submitted_ms // 1000}" for task in (1, 2, 3)]
    alone = engine.reshape({handles[1]: 7 * 60_000})
    if way == "rest" and engine.transport.version() >= (24, 11):
        assert alone == {handles[1]} and engine.numbers(handles) == {}
        assert engine.reshape(dict.fromkeys(handles, 7 * 60_000)) == set()
        assert next(one for one in engine.transport.queue()[0] if one.job_id == array).limit_ms == 7 * 60_000
        engine.release(handles)
        for handle in handles:
            door.until(handle, "running")
        engine.cancel(handles[1], 0)
        assert door.over(handles[1]).cause == "cancelled"
        return
    assert alone == set()
    (changed,) = engine.transport.tasks([(array, 2)])
    assert (changed.limit_ms, changed.array_task, changed.tasks) == (7 * 60_000, 2, 1)
    assert engine.numbers(handles) == {handles[1]: changed.job_id} and changed.job_id != array
    assert next(one for one in engine.transport.queue()[0] if one.job_id == array).limit_ms == 5 * 60_000
    engine.release([handles[1]])
    door.until(handles[1], "running")
    assert [seen.state for seen in door.engine.observe(handles)] == ["starting", "running", "starting"]


def test_a_requeued_job_is_another_run_and_waits_held(door: Door) -> None:
    job = door.sbatch("--requeue")
    first = door.handle_of(job)
    door.until(first, "running")
    time.sleep(1.1)  # a run is told by the second of its submission
    assert not door.engine.requeue([first], hold=True)
    second = when(lambda: door.handle_of(job), lambda handle: handle != first)
    seen = when(lambda: door.see(first), lambda seen: seen.state == "ended")
    assert seen.cause == "preempted" and seen.ended_ms is not None
    (waiting,) = door.engine.arrivals()
    assert waiting.held and door.see(second).state == "starting"


def test_a_job_that_takes_our_name_is_not_our_run(door: Door) -> None:
    intent = door.submit("sleep 60")
    spoof = door.sbatch("-J", intent, "--hold")
    when(lambda: [j.job_id for j in door.engine.arrivals()], lambda jobs: jobs == [spoof])
    door.lab.run("scancel", str(spoof))
    assert door.until(intent, "running").cause is None


def test_a_run_whose_folder_was_lost_is_found_and_not_run_again(door: Door) -> None:
    spec = door.spec("echo ready; sleep 60")
    door.engine.submit(spec)
    when(lambda: door.engine.read_log(spec.intent, 0, 100)[0], lambda log: log == b"ready\n")
    shutil.rmtree(door.engine.root / spec.intent)
    later = door.connect()
    later.submit(spec)
    jobs = [job for job in later.queue()[0] if job.name.endswith(spec.intent)]
    assert len(jobs) == 1 and later.observe([spec.intent])[0].state == "running"


def test_a_job_knows_what_it_was_given_and_nothing_of_the_hub(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_SECRET", "leaked")
    asked = {"GREETING": "salut, ça\tva", "FABRIQUE_JOB": "forged", "LD_PRELOAD": ""}
    script = "#SBATCH --array=1-9\nenv; umask; pwd; id -g"
    slots = (DeviceSlot("nvidia", 0), DeviceSlot("nvidia", 1))
    intent = door.submit(script, environment=asked, devices=slots)
    door.over(intent)
    told = door.engine.read_log(intent, 0, 100_000)[0].decode().splitlines()
    assert {"GREETING=salut, ça\tva", "FABRIQUE_JOB=a-job", "CUDA_VISIBLE_DEVICES=0,1", "0077"} <= set(told)
    assert not any("leaked" in line or line.startswith("SLURM_ARRAY") for line in told)
    assert str(door.engine.root / intent / "work") in told
    if door.person:
        assert told[-1] != "0"  # the person's group, not the hub's


def test_a_dead_node_is_the_hub_s_failure(make_slurm_lab: Callable[..., SlurmLab]) -> None:
    lab = make_slurm_lab(nodes=1, rest=False)
    door = Door(lab)
    intent = door.submit("sleep 60")
    door.until(intent, "running")
    lab.run("scontrol", "update", "NodeName=gpu01", "State=DOWN", "Reason=test")
    seen = door.over(intent)
    assert (seen.state, seen.cause) == ("ended", "node-failed") and seen.started_ms is not None
    lab.run("scontrol", "update", "NodeName=gpu01", "State=RESUME")

    # the accounting is away for a while: ends are the controller's, submissions wait, nothing is lost
    running = door.submit("sleep 2")
    door.until(running, "running")
    lab.stop_database()
    with pytest.raises(FabriqueError, match=r"engine\.unavailable"):
        door.submit("true")
    assert door.over(running).cause == "completed"
    assert door.see("slurm-999999-1800000000").state == "unknown"
    lab.start_database()
    late = door.intents[-1]

    # the controller is killed under a run: nobody knows until it is back, and then all is as it was
    slow = when(lambda: _submitted(door, "sleep 12"))
    door.until(slow, "running")
    time.sleep(6)  # the controller writes down what it knows every five seconds: a younger job would be lost with it
    lab.stop_controller(kill=True)
    time.sleep(0.3)  # longer than a look serves
    with pytest.raises(FabriqueError, match=r"engine\.unavailable"):
        door.see(slow)
    lab.start_controller()
    assert door.over(slow).cause == "completed"
    assert door.see(late).state == "unknown" and late not in door.engine.list().intents
    lab.down(remove=True)


def _submitted(door: Door, text: str) -> str:
    try:
        return door.submit(text)
    except FabriqueError:
        return ""


def test_limits_are_whole_minutes(door: Door) -> None:
    """A minute passes once for all of it: a limit is passed, and another run is warned before its own."""
    warned = "trap 'echo saved; exit 0' USR1; while :; do sleep 0.2; done"
    late = door.submit("sleep 300")
    saves = door.submit(warned, preempt_signal="USR1", lead_ms=50_000)
    with ThreadPoolExecutor(2) as two:
        ends = list(two.map(lambda intent: when(lambda: door.see(intent), _is_over, 150), (late, saves)))
    assert (ends[0].cause, ends[1].cause, ends[1].exit_code) == ("walltime", "completed", 0)
    assert (ends[0].ended_ms or 0) - (ends[0].started_ms or 0) >= 60_000
    assert door.engine.read_log(saves, 0, 100)[0] == b"saved\n"


def _is_over(seen: Observation) -> bool:
    return seen.state == "ended"


def test_what_a_run_used_comes_with_the_accounting(slurm_lab: SlurmLab) -> None:
    door = Door(slurm_lab, late_ms=20_000)
    spin = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; sleep 2"
    seen = door.over(door.submit(f"({spin}) & {spin}; wait"))
    assert seen.usage.cpu_ms is not None and seen.usage.cpu_ms > 100
    door.clear()
