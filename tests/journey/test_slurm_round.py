"""Somebody who tries to go round the door: their job waits for the hub's word all the same, and pays what it takes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tests.journey.slurm_hub import DEVICE, until

if TYPE_CHECKING:
    from tests.journey.slurm_hub import SlurmHub

pytestmark = pytest.mark.slurm
TRIED = (
    "release {job}", "top {job}", "requeue {job}", "requeuehold {job}", "uhold {job}", "release {job}",
    "update jobid={job} priority=4000000000", "update jobid={job} nice=5", "update jobid={job} account=root",
    "update jobid={job} licenses=", "update jobid={job} licenses=fabrique_w@fabrique:1",
    "update jobid={job} qos=normal",
    "update jobid={job} starttime=now", "update jobid={job} partition=flex", "update jobid={job} comment=mine",
    "update jobid={job} admincomment=mine", "release {job}",
)  # fmt: skip


def test_a_job_waits_for_its_turn_whatever_its_owner_does_to_it(slurm_hub: SlurmHub) -> None:
    hub, began = slurm_hub, time.time()
    alice, _ = hub.users
    with hub.operating():
        full = hub.sbatch(alice, "-N", "3", "--gres=gpu:8", "-t", "2", script="sleep 110")
        until(lambda: hub.shown(full, "State") == "RUNNING", 30, hub.log)
        job = hub.sbatch(alice, "--gpus=1", "-t", "1", script="sleep 1")
        watts = hub.shown(job, "Licenses")
        assert watts.startswith("fabrique_w@fabrique:")
        for words in TRIED:
            hub.lab.run("scontrol", *words.format(job=job).split(), user=alice.login, check=False)
            assert (hub.shown(job, "State"), hub.shown(job, "PriorityLong")) == ("PENDING", "0"), words
        assert hub.shown(job, "Licenses") == watts
        until(lambda: "fabrique: " in hub.shown(job, "Comment") + hub.shown(job, "admin_comment"), 20, hub.log)
        hub.lab.run("scancel", str(full), user=alice.login)
        hub.assert_books_are_sacct_s(began, 2)


def test_a_requeue_is_not_hurried_and_whole_nodes_are_paid_whole(slurm_hub: SlurmHub) -> None:
    hub, began = slurm_hub, time.time()
    alice, _ = hub.users
    with hub.operating():
        job = hub.sbatch(alice, "--exclusive", "--gpus=1", "--requeue", "-t", "1", script="sleep 4")
        until(lambda: hub.shown(job, "State") == "RUNNING", 30, hub.log)
        hub.lab.run("scontrol", "requeue", str(job), user=alice.login)
        hurried = f"for i in $(seq 40); do scontrol update jobid={job} starttime=now; done"
        hub.lab.run("sh", "-c", hurried, user=alice.login, check=False)
        until(lambda: not hub.shown(job, "State"), 60, hub.log)
        books = hub.assert_books_are_sacct_s(began, 1)
        later = hub.lab.submit("-A", alice.account, "--begin=now+1hour", "-t", "1", script="true", user=alice.login)
        until(lambda: hub.shown(later, "Comment").startswith("fabrique: "), 20, hub.log)
        hub.lab.run("scancel", str(later), user=alice.login)
        until(lambda: not hub.shown(later, "State"), 20)
    assert hub.log().count(f"Job {job} starts.") == len(books.runs) == 2, (hub.log(), books.runs)  # each by its word
    assert books.charged[alice.account][DEVICE] % 8_000 == 0


def test_whoever_has_no_account_of_the_hub_is_bound_by_its_watts(slurm_hub: SlurmHub) -> None:
    hub, guest = slurm_hub, slurm_hub.lab.people[-1]
    hub.lab.account("guests", guest)
    with hub.operating():
        job = hub.lab.submit("-A", "guests", "--gpus=2", "-t", "1", script="sleep 2", user=guest)
        assert hub.shown(job, "Licenses").startswith("fabrique_w@fabrique:")
        until(lambda: hub.shown(job, "State") == "RUNNING", 20, hub.log)  # nobody holds it
        until(lambda: not hub.shown(job, "State"), 20, hub.log)
