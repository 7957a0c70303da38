"""A hub's home is lost on a cluster that goes on: restored, it observes until resumed; each run is booked once."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import pytest
from tests.journey.slurm_hub import until
from tests.journey.slurm_stream import Stream

if TYPE_CHECKING:
    from pathlib import Path

    from tests.journey.slurm_hub import SlurmHub

pytestmark = pytest.mark.slurm


def test_ten_jobs_that_a_lost_home_knew_are_adopted_and_charged_once(slurm_hub: SlurmHub, tmp_path: Path) -> None:
    hub, lab = slurm_hub, slurm_hub.lab
    alice, bob = hub.users
    stream = Stream(hub, seed=3)
    backup, goes_on = tmp_path / "backup.tar.gz", hub.home.path.parent / "goes-on"
    goes_on.touch()
    until_told = f"while [ -e {goes_on} ]; do sleep 0.2; done"

    def two_through_us() -> None:
        """One ends, one runs on."""
        for process in (hub.submit(alice, "sleep 1"), hub.submit(bob, until_told)):
            assert process.wait(60) == 0
            stream.sent += 1

    two_through_us()  # the backup knows them as waiting
    manifest = hub.answer("backup", str(backup))
    with hub.operating():  # ten more, of which it knows nothing: six end, four run on
        two_through_us()
        stream.one(alice, "--gres=gpu:1", seconds=1)
        stream.one(bob, "-c2", seconds=2)
        stream.one(bob, "-c1", "--array=0-2", seconds=1, tasks=3)
        for user, asked in ((alice, "--gres=gpu:2"), (bob, "-c2"), (alice, "--gres=gpu:1")):
            stream.one(user, asked, script=until_told)
        assert stream.sent == 2 + 10
        until(lambda: len(names(hub, "R")) == 5 and not names(hub, "PD,CG"), 60, lambda: names(hub, "all"))
    running = lab.run("squeue", "-h", "-o", "%i %T %p", "-t", "R").stdout
    lose(hub.home.path)
    hub.answer("restore", str(backup))
    with hub.operating(acts=False):
        until(lambda: str(hub.answer("jobs", "--all")).count("wait.observe-only") == 2, 30, hub.log)
        late = stream.one(alice, "--gres=gpu:1", seconds=1)
        time.sleep(3)  # some turns
        assert hub.shown(late, "State") == "PENDING", "nothing is let go"
        assert lab.run("squeue", "-h", "-o", "%i %T %p", "-t", "R").stdout == running
        assert hub.books(stream.began).by_status == {"pending": 2}
        assert hub.home.run("--as", alice.email, "resume").returncode == 3, "only the operator"
        resumed = hub.answer("resume")
        assert (len(resumed["adopted"]), resumed["unknown"]) == (2, []), resumed
        gap = resumed["gap"]
        assert gap["from_ms"] == manifest["at_ms"] < gap["to_ms"] <= int(time.time() * 1000)
        assert gap["length_ms"] == gap["to_ms"] - gap["from_ms"]
        hub.beats()
        until(lambda: hub.books(stream.began).by_status == {"running": 5, "completed": 8}, 30, hub.log)
        goes_on.unlink()
        books = hub.assert_books_are_sacct_s(stream.began, stream.sent, 60)
    assert books.by_status == {"completed": stream.sent}
    assert [run["attempt"] for run in books.runs] == [1] * stream.sent
    ran = [row["JobID"] for row in hub.sacct(stream.began)]
    assert len(ran) == len(set(ran)) == stream.sent, "none ran again"
    assert hub.answer("resume")["gap"] is None


def names(hub: SlurmHub, state: str) -> list[str]:
    return hub.lab.run("squeue", "-h", "-t", state, "-o", "%i").stdout.split()


def lose(home: Path) -> None:
    """All of it, with the folders of runs."""
    for path in home.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
