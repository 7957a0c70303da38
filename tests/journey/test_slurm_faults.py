"""What fails on a cluster while forty jobs go through: nothing is lost, doubled or mischarged, live on a real Slurm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.journey.slurm_hub import CORE, DEVICE, ROOT, libfaketime, until
from tests.journey.slurm_stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.journey.slurm_hub import SlurmHub

pytestmark = pytest.mark.slurm
# libfaketime leaves the monotonic clock alone, but then its sleep until an instant that has just passed fails
SLEEPS = """import time
real = time.sleep
def sleep(seconds):
    try:
        real(seconds)
    except OSError:
        pass
time.sleep = sleep
"""
# however slow the machine, such a job still runs when hands or a power cut end it; what it does again is short
LONG_AT_FIRST = "sleep $((SLURM_RESTART_COUNT ? 2 : 100))"


@pytest.mark.timeout(480)
def test_a_dead_controller_a_dead_node_and_hands_behind_our_back(slurm_hub: SlurmHub) -> None:
    hub, lab = slurm_hub, slurm_hub.lab
    alice, bob = hub.users
    stream = Stream(hub, seed=4)
    with hub.operating():
        stream.some(12, through_us=2)
        stream.one(alice, "--gres=gpu:1", "-J", "kept", seconds=1)
        lab.wait_until_kept("kept")  # else Slurm itself forgets the last
        lab.stop_controller(kill=True)
        time.sleep(2)
        lab.start_controller()
        lab.wait_for_nodes(60, resume=True)
        stream.some(6)
        # hands behind our back: at jobs that wait, that were released, that run
        runs = stream.one(alice, "--gres=gpu:1", script=LONG_AT_FIRST)
        ends = stream.one(bob, "-c2", seconds=100)
        dies = stream.one(bob, "-c2", "-w", "gpu03", script=LONG_AT_FIRST)
        stays_dead = stream.one(alice, "--gres=gpu:1", "-w", "gpu03", "--no-requeue", seconds=100)
        for job in (runs, ends, dies, stays_dead):
            stream.running(job)
        waits = stream.one(alice, "-N", "3", "--exclusive", "--gres=gpu:8", seconds=2)
        until(lambda: hub.shown(waits, "Comment").startswith("fabrique: "), 30, hub.log)
        released = stream.one(bob, "-c95", "-w", "gpu03", seconds=1)  # there is room, but not there
        until(lambda: hub.shown(released, "Reason") == "Resources", 30, hub.log)
        lab.run("scontrol", "requeue", str(runs))
        lab.run("scancel", str(ends), user=bob.login)
        lab.run("scancel", str(waits), user=alice.login)
        lab.node_kill(3)
        lab.run("scontrol", "update", "nodename=gpu03", "state=down", "reason=power")
        stream.some(8, through_us=1)
        lab.run("scancel", str(released), user=bob.login)
        lab.node_start(3)
        until(lambda: not lab.run("scontrol", "update", "nodename=gpu03", "state=resume", check=False).returncode, 10)
        stream.some(6)
        stream.arrived()
        # one that began just before the kill is unknown to its node: Slurm ends it at its limit
        books = hub.assert_books_are_sacct_s(stream.began, stream.sent, 200)
    by_job = {job: [run for run in books.runs if run["job"] == str(job)] for job in stream.ids}
    assert [run["reason"] for run in by_job[stays_dead]] == ["end.node-failed"]
    assert [run["reason"] for run in by_job[dies]] == ["end.node-failed", "end.completed"]
    assert [run["reason"] for run in by_job[runs]] == ["end.requeued", "end.completed"]
    assert [run["reason"] for run in by_job[ends]] == ["end.cancelled-there"]
    assert [run for run in by_job[waits] + by_job[released] if run["charged"]] == []
    failed = [run for run in books.runs if run["reason"] == "end.node-failed"]
    back = sum(int(v) for run in failed for unit, v in run["charged"].items() if unit in (DEVICE, CORE))
    assert back > 0 and back == sum(v for one in books.refunded.values() for v in one.values())
    assert books.quarantined == []


@pytest.mark.timeout(480)
def test_an_accounting_that_is_away_and_a_clock_that_steps(slurm_hub: SlurmHub, missing: Callable[[str], None]) -> None:
    hub, lab = slurm_hub, slurm_hub.lab
    library = libfaketime()
    if library is None:
        missing("libfaketime is not installed")
    clock = hub.home.path.parent / "clock"

    def step(seconds: int) -> None:
        new = clock.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(clock)

    step(0)
    (clock.parent / "sitecustomize.py").write_text(SLEEPS)
    fake = {
        "PYTHONPATH": str(clock.parent),
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    stream = Stream(hub, seed=11)
    with hub.operating(**fake):
        stream.some(8)
        for seconds in (300, -300, 0):  # with the accounting there
            step(seconds)
            stream.some(3)
            time.sleep(2)
        lab.stop_database()
        away = time.monotonic()
        stream.some(10, through_us=2)
        for seconds in (240, -180, 0):
            step(seconds)
            stream.some(3)
            time.sleep(3)
        stream.arrived()
        time.sleep(max(0.0, 121 - (time.monotonic() - away)))
        lab.start_database()
        hub.assert_books_are_sacct_s(stream.began, stream.sent, 60, hub.by_controller)
        until(lambda: not apart(hub, stream), 120, lambda: apart(hub, stream))  # late, the accounting is told all
        books = hub.books(stream.began)
    assert books.by_status == {"completed": stream.sent}, books
    assert not any(books.refunded.values())
    assert {one["reason"].get("why", "").partition(" ")[2] for one in books.quarantined} <= {"without an end"}


def apart(hub: SlurmHub, stream: Stream) -> list[object]:
    """What the books have otherwise than the accounting's own records, the hub's own runs too.

    Slurm 22.05 loses a start or an end that was on its way as the accounting went: of such a job sacct says no Start,
    or that it lasts until now. The hub has it from the controller. Of most it has both.
    """
    charged = {run[name]: run["elapsed_ms"] for run in hub.books(stream.began).runs for name in ("job", "handle")}
    whole = [row for row in hub.sacct(stream.began) if row["Start"] != "None" and row["End"] != "Unknown"]
    found: list[object] = [] if len(whole) > stream.sent * 3 // 4 else [f"{len(whole)} whole records of {stream.sent}"]
    for row in whole:
        name = row["JobName"] if row["JobName"].startswith("run-") else row["JobID"]
        if charged.get(name) != int(row["ElapsedRaw"]) * 1000:
            found.append((charged.get(name), row))
    return found


def test_a_loop_that_is_killed_at_any_instant_and_two_at_once(slurm_hub: SlurmHub) -> None:
    hub = slurm_hub
    began = time.time()
    command = [sys.executable, str(Path(__file__).with_name("slurm_crash.py")), str(hub.lab.folder), "20", "7"]
    needs = zip(hub.users, ("accelerators: 1", "cores: 2"), strict=True)
    people = [word for user, need in needs for word in (user.email, user.login, user.project, user.account, need)]
    environment = {**hub.home.environment, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    done = subprocess.run([*command, *people], env=environment, capture_output=True, text=True, timeout=200, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert told["kills"] == 20
    books = hub.assert_books_are_sacct_s(began, told["submitted"], 5)
    assert books.by_status == {"completed": told["submitted"]}, books


def test_a_full_disk_under_the_hub_and_under_a_node(slurm_hub: SlurmHub) -> None:
    """A hub that can't write decides nothing, and loses nothing; a node that can't either gives back its job."""
    hub, lab = slurm_hub, slurm_hub.lab
    alice, _ = hub.users
    node = lab.folder / "spool" / "gpu02"
    stream = Stream(hub, seed=23)
    lab.node_stop(2)
    with small_disk(node, "1m"), small_disk(hub.home.path, "96m", keep=True) as home:
        lab.node_start(2)
        lab.wait_for_nodes(resume=True)  # a controller that was killed before may have drained some
        with hub.operating():
            stream.some(6)
            fill(node / "full")
            refused = stream.one(alice, "--gres=gpu:1", "-w", "gpu02", seconds=1)
            fill(home / "full")
            stream.some(8)
            time.sleep(5)
            (home / "full").unlink()
            assert "No space left" in hub.log() or "the database does not answer" in hub.log()
            stream.some(4, through_us=1)
            stream.arrived()
            (node / "full").unlink()
            until(lambda: hub.shown(refused, "State") in ("", "PENDING", "COMPLETED"), 30, hub.log)
            lab.run("scontrol", "update", "nodename=gpu02", "state=resume", check=False)
            lab.run("scontrol", "release", str(refused), check=False)  # by the site, where Slurm itself has held it
            hub.assert_books_are_sacct_s(stream.began, stream.sent, 90)
        lab.node_stop(2)
    lab.node_start(2)
    lab.wait_for_nodes(resume=True)


def test_a_controller_that_can_not_write_and_one_that_hangs(slurm_hub: SlurmHub) -> None:
    """What it refuses or does not answer is asked again, and taken once."""
    hub, lab = slurm_hub, slurm_hub.lab
    stream = Stream(hub, seed=31)
    lab.stop_controller()
    with small_disk(lab.folder / "state", "8m", keep=True) as state:
        lab.start_controller()
        lab.wait_for_nodes(resume=True)
        with hub.operating():
            stream.some(6)
            fill(state / "full")
            stream.some(0, through_us=2)
            stream.arrived()
            until(lambda: "engine.unavailable on run-" in hub.log(), 30, hub.log)
            (state / "full").unlink()
            stream.some(3)
            controller = lab.daemons.find("slurmctld")
            assert controller is not None
            controller.suspend()
            try:
                stream.some(0, through_us=2)
                stream.arrived()
                time.sleep(15)  # longer than Slurm's own commands wait
            finally:
                controller.resume()
            assert "engine.unavailable" in hub.log()
            stream.some(3)
            hub.assert_books_are_sacct_s(stream.began, stream.sent, 90)
        lab.stop_controller()
    lab.start_controller()
    lab.wait_for_nodes(resume=True)


def fill(path: Path) -> None:
    """To the last byte."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        for block in (bytes(65_536), b"\0"):
            with suppress(OSError):
                while True:
                    file.write(block)


@contextmanager
def small_disk(folder: Path, size: str, *, keep: bool = False) -> Iterator[Path]:
    """A disk of so much mounted on the folder; with `keep`, what was there moves onto it, and back."""
    if os.geteuid() != 0:
        pytest.skip("a disk of its own is root's to mount")
    aside = folder.with_name(f"{folder.name}.aside")
    copied(folder, aside)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True)
    if done.returncode != 0:
        shutil.rmtree(aside)
        pytest.skip(f"no disk can be mounted here: {done.stderr.decode().strip()}")
    try:
        copied(aside, folder)
        yield folder
    finally:
        if keep:
            shutil.rmtree(aside)
            copied(folder, aside)
        subprocess.run(["umount", "-l", str(folder)], check=True)
        if keep:
            shutil.rmtree(folder)
            aside.rename(folder)
        else:
            shutil.rmtree(aside)


def copied(folder: Path, to: Path) -> None:
    """With all that is in it, and whose it is."""
    to.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", f"{folder}/.", str(to)], check=True)
