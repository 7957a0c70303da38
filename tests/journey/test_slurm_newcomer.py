"""Somebody who has only ever typed sbatch, on a cluster that a hub runs: held, explained, charged to the second."""

from __future__ import annotations

import re
import time
from http.cookiejar import CookieJar
from typing import TYPE_CHECKING
from urllib.request import HTTPCookieProcessor, build_opener

import pytest
from tests.journey.slurm_hub import DEVICE, until
from tools.slurm_lab import ports

if TYPE_CHECKING:
    from tests.journey.slurm_hub import SlurmHub

pytestmark = pytest.mark.slurm
SCRIPT = """#!/bin/bash
#SBATCH --job-name=digits
#SBATCH --gres=gpu:h100:2
#SBATCH --time=00:02:00
#SBATCH --output=/dev/null
sleep 2
"""


def pages(hub: SlurmHub, email: str, *paths: str) -> list[str]:
    """What the portal shows somebody who opens their one-time link."""
    port = ports.free(1)
    serving = hub.home.start("serve", "--port", str(port))
    try:
        here = f"http://127.0.0.1:{port}"
        link = re.sub(r"^https?://[^/]+", here, hub.answer("--as", email, "sign-in")["link"])
        browser = build_opener(HTTPCookieProcessor(CookieJar()))
        until(lambda: ports.answers(port), 30)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', browser.open(link, timeout=30).read().decode())
        assert token is not None
        browser.open(link, f"csrfmiddlewaretoken={token[1]}".encode(), timeout=30)
        return [browser.open(here + path, timeout=30).read().decode() for path in paths]
    finally:
        serving.terminate()
        serving.wait(30)


def test_an_unchanged_script_is_held_explained_run_and_charged(slurm_hub: SlurmHub) -> None:
    hub, began = slurm_hub, time.time()
    alice, _ = hub.users
    with hub.operating():
        full = hub.sbatch(alice, "-N", "3", "--gres=gpu:8", "-t", "2", script="sleep 110")
        until(lambda: hub.shown(full, "State") == "RUNNING", 30, hub.log)
        done = hub.lab.run("sbatch", "--parsable", "-D", "/", text=SCRIPT, user=alice.login)
        job = int(done.stdout)
        assert hub.shown(job, "State") == "PENDING" and hub.shown(job, "Reason") == "JobHeldUser"
        until(lambda: hub.shown(job, "Comment").startswith("fabrique: "), 20, hub.log)
        comment = hub.shown(job, "Comment")
        why = hub.answer("why", str(job), "--language", "fr-ca", who=alice)  # the hub's own, where Slurm shows it
        assert (why["state"], why["outside_id"]) == ("pending", str(job))
        sentence = why["reason"]["sentence"].replace("\u00a0", " ").replace("\u202f", " ")  # squeue counts bytes
        assert comment == f"fabrique: {sentence}"
        plain = hub.home.run("--as", alice.email, "why", str(job)).stdout
        assert "Waiting for accelerators" in plain, plain
        queue = hub.home.run("--as", alice.email, "queue").stdout
        assert str(job) in queue and "digits" in queue
        hub.lab.run("scancel", str(full), user=alice.login)
        books = hub.assert_books_are_sacct_s(began, 2)
    (run,) = [run for run in books.runs if run["job"] == str(job)]
    (said,) = [row for row in hub.sacct(began) if row["JobIDRaw"] == str(job)]
    assert int(run["charged"][DEVICE]) == 2 * 1000 * int(said["ElapsedRaw"]) > 0
    ended = hub.answer("why", str(job), who=alice)
    assert ended["state"] == "completed"
    statement = hub.answer("statement", alice.project, who=alice)
    assert str(int(run["charged"][DEVICE])) in str(statement)
    project, page = pages(hub, alice.email, f"/projects/{alice.project}", f"/jobs/{ended['number']}")
    assert "digits" in project and str(job) in page


def test_tasks_behind_their_arrays_bound_are_counted_and_start_as_others_end(slurm_hub: SlurmHub) -> None:
    hub, began = slurm_hub, time.time()
    alice, _ = hub.users
    with hub.operating():
        array = hub.sbatch(alice, "-a", "1-5%2", "--gres=gpu:1", "-t", "1", script="sleep 4")
        tasks = [f"{array}_{n}" for n in range(1, 6)]
        until(lambda: [hub.shown(task, "State") for task in tasks[:2]] == ["RUNNING"] * 2, 30, hub.log)
        queue = hub.answer("queue", who=alice)
        waiting = {job["outside_id"]: job["reason"]["code"] for job in queue["jobs"] if job["state"] == "pending"}
        assert (queue["waiting"], waiting) == (3, dict.fromkeys(tasks[2:], "wait.array"))
        assert hub.answer("why", tasks[4], who=alice)["reason"]["code"] == "wait.array"
        hub.assert_books_are_sacct_s(began, 5)
    starts = sorted((row["Start"], row["End"]) for row in hub.sacct(began))
    assert all(
        later[0] >= min(one[1], other[1]) for one, other, later in zip(starts, starts[1:], starts[2:], strict=False)
    )


def test_interactive_work_is_let_in_or_refused_at_once_with_a_sentence(slurm_hub: SlurmHub) -> None:
    hub, began = slurm_hub, time.time()
    alice, _ = hub.users
    with hub.operating():
        within = ("srun", "-t", "1", "-G", "1", "hostname")
        assert hub.lab.run(*within, user=alice.login).stdout.strip()
        asked = time.monotonic()
        beyond = hub.lab.run("srun", "-t", "1", "-N", "3", "--gres=gpu:9", "hostname", user=alice.login, check=False)
        spent = hub.lab.run(
            "salloc", "-t", "1", "-N", "3", "--exclusive", "-G", "24", "true", user=alice.login, check=False
        )
        assert beyond.returncode != 0 and time.monotonic() - asked < 20
        assert "Fabrique: " in spent.stderr or spent.returncode == 0, spent.stderr
        books = hub.assert_books_are_sacct_s(began, 1 if spent.returncode else 2)
    assert {run["reason"] for run in books.runs} == {"end.completed"}


def test_a_job_beyond_the_budget_is_told_so_where_it_waits(slurm_hub: SlurmHub) -> None:
    hub = slurm_hub
    alice, _ = hub.users
    with hub.operating():
        job = hub.sbatch(alice, "--gres=gpu:8", "-t", "3-00:00:00", script="sleep 1")
        until(lambda: hub.shown(job, "Comment").startswith("fabrique: "), 20, hub.log)
        why = hub.answer("why", str(job), "--language", "fr-ca", who=alice)
        assert why["reason"]["code"] == "refuse.budget", why
        assert "Le budget ne suffit pas" in hub.shown(job, "Comment")
        hub.lab.run("scancel", str(job), user=alice.login)
        until(lambda: hub.answer("why", str(job), who=alice)["state"] == "cancelled", 20, hub.log)


def test_while_the_hub_is_silent_the_door_does_what_the_site_chose(slurm_hub: SlurmHub) -> None:
    hub, began = slurm_hub, time.time()
    alice, bob = hub.users
    door, deployment = hub.home.path / "slurm" / "door", hub.home.path / "fabrique.toml"
    with hub.operating():
        pass
    door.write_text(re.sub(r"^beat \d+", f"beat {int(time.time()) - 3_600}", door.read_text(), flags=re.MULTILINE))
    through = hub.sbatch(alice, "--gres=gpu:1", "-t", "1", script="sleep 1")
    until(lambda: hub.shown(through, "State") != "PENDING", 20)
    before = deployment.read_text()
    try:
        deployment.write_text(before.replace('door = "open"', 'door = "closed"'))
        assert before != deployment.read_text()
        hub.answer("slurm", "install")
        refused = hub.lab.run("sbatch", "--wrap=true", user=bob.login, check=False)
        assert refused.returncode != 0
        assert "the hub does not answer" in refused.stderr and "le hub ne répond pas" in refused.stderr
    finally:
        deployment.write_text(before)
        hub.answer("slurm", "install")
    with hub.operating():
        hub.assert_books_are_sacct_s(began, 1)
