"""What really ran on a live Slurm, to the second: twenty jobs that end in every way, and energy by its own counters."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from tests.journey.slurm_hub import SlurmHub, instant, libfaketime, open_hub, until

if TYPE_CHECKING:
    from tools.slurm_lab.lab import SlurmLab

pytestmark = pytest.mark.slurm
WATTS = 700


@pytest.fixture(scope="module")
def hub(make_slurm_lab: Callable[..., SlurmLab]) -> Iterator[SlurmHub]:
    with open_hub(make_slurm_lab, energy=True) as made:
        yield made


def reconciled(hub: SlurmHub, since_s: float, until_s: float | None = None) -> tuple[int, Any]:
    """Of what ended since, or in these whole hours."""
    begin, end = (
        time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(at)) for at in (since_s - (until_s is None), until_s or 0)
    )
    done = hub.home.run("slurm", "reconcile", "--since", begin, *(["--until", end] if until_s else []), "--json")
    return done.returncode, json.loads(done.stdout)


def ids(hub: SlurmHub) -> str:
    return hub.lab.run("squeue", "-h", "-t", "PD,R,CG,S", "-o", "%A").stdout.strip()


def test_twenty_jobs_that_end_in_every_way_reconcile_to_the_second(hub: SlurmHub) -> None:
    """Half of them while no loop runs; a node dies under one, one is requeued, one gives back a node while it runs,
    tasks of an array, two nodes.
    """
    since = time.time()
    alice, bob = hub.users
    one = ("--gres=gpu:h100:1", "-t", "2")
    hub.sbatch(alice, *one, "-a", "1-4", script="sleep 2")
    hub.sbatch(bob, "--gpus-per-node=h100:2", "-N", "2", "-t", "2", script="sleep 3")
    hub.sbatch(bob, "--gpus-per-task=1", "-n", "2", "-t", "2", script="sleep 1")
    hub.sbatch(alice, "--exclusive", "-N", "1", *one, script="sleep 2")
    hub.sbatch(alice, *one, script="exit 3")
    hub.sbatch(bob, "-c", "4", "-t", "2", script="sleep 2")
    hub.sbatch(alice, "--gres=gpu:1", "-t", "2", script="kill -9 $$")
    cancelled = hub.sbatch(bob, *one, script="sleep 60")
    requeued = hub.sbatch(alice, "--requeue", *one, script='sleep "${SLURM_RESTART_COUNT:-60}"')
    doomed = hub.sbatch(alice, "--no-requeue", "-w", hub.lab.nodes[2], *one, script="sleep 60")
    shrunk = hub.sbatch(alice, "-w", ",".join(hub.lab.nodes[:2]), "-N", "2", *one, script="sleep 12")
    running = (doomed, requeued, cancelled, shrunk)
    with hub.operating():
        until(lambda: all(hub.shown(job, "State") == "RUNNING" for job in running), 60, lambda: _queue(hub))
        time.sleep(2)  # a run of no second would be charged, and refunded, nothing
        hub.lab.run("scontrol", "update", f"JobId={shrunk}", "NumNodes=1")
        hub.lab.node_kill(hub.lab.nodes[2])
        hub.lab.run("scontrol", "requeue", str(requeued))
        hub.lab.run("scancel", str(cancelled))
        hub.lab.run("scontrol", "update", f"NodeName={hub.lab.nodes[2]}", "State=DOWN", "Reason=test")
        until(lambda: str(doomed) not in ids(hub), 60, lambda: _queue(hub))
    with hub.operating():
        until(lambda: not ids(hub), 60, lambda: _queue(hub))
        until(lambda: reconciled(hub, since)[0] == 0, 60, lambda: reconciled(hub, since))
    code, found = reconciled(hub, since)
    assert (code, found["off"], found["unread"]) == (0, [], 0)
    assert sum(row["runs"] for row in found["sums"]) == len(
        [row for row in hub.sacct(since) if row["NodeList"] not in ("", "None assigned")]
    )
    books = hub.books(since)
    assert books.ledger_ok and books.open_holds == 0
    booked: dict[str, dict[str, int]] = {}
    for row in found["sums"]:
        booked.setdefault(row["accounts"][0], {})[row["unit"]] = int(row["books"])
    assert booked == {account: dict(sums) for account, sums in hub.by_accounting(since).items()}
    failed = [run for run in books.runs if run["reason"] == "end.node-failed"]
    assert len(failed) == 1
    assert books.refunded[alice.account] == {
        k: int(v) for k, v in failed[0]["charged"].items() if k.startswith("acc-ms")
    }
    hub.lab.node_start(hub.lab.nodes[2])
    hub.lab.run("scontrol", "update", f"NodeName={hub.lab.nodes[2]}", "State=RESUME")
    hub.lab.wait_for_nodes()


def test_what_ran_while_the_hub_was_away_is_read_by_the_command_once(hub: SlurmHub) -> None:
    since = time.time()
    alice = hub.users[0]
    job = hub.sbatch(alice, "--gres=gpu:h100:1", "-t", "2", script="sleep 2")
    hub.lab.run("scontrol", "release", str(job))
    until(lambda: str(job) not in ids(hub), 60)
    until(lambda: any(r["End"] != "Unknown" for r in hub.sacct(since)), 20)
    assert reconciled(hub, since)[0] == 1
    assert hub.answer("slurm", "ingest")["booked"] == 1
    assert hub.answer("slurm", "ingest")["booked"] == 0
    assert reconciled(hub, since)[0] == 0


def test_a_job_alone_on_its_node_is_charged_what_its_counter_says(hub: SlurmHub) -> None:
    """A meter file that rises by 700 W; the plugin reports it, and the run is charged ConsumedEnergy to the joule."""
    since, alice, node = time.time(), hub.users[0], hub.lab.nodes[0]
    with hub.operating():
        began = time.monotonic()
        job = hub.sbatch(alice, "--exclusive", "-w", node, "--gres=gpu:h100:1", "-t", "2", script="sleep 6")
        while str(job) in ids(hub):
            hub.lab.meter(node, int((time.monotonic() - began) * WATTS * 1000), WATTS)
            time.sleep(0.2)
            assert time.monotonic() - began < 90, hub.log()
        line = ["sacct", "-n", "-P", "-j", f"{job}.batch", "-o", "ConsumedEnergyRaw"]
        joules = until(lambda: _energy(hub.lab.run(*line).stdout), 20)
        until(lambda: _charged(hub, since) == joules * 1000, 60, lambda: (joules, hub.books(since).runs, hub.log()))


def test_the_roll_up_says_the_same_once_there_is_one(hub: SlurmHub, missing: Callable[[str], None]) -> None:
    """Slurm rolls up at the full hour: its daemon has a clock an hour ahead until it did. Suspended time counts in
    neither; what a resized job had before is twice in Slurm's, for it counts what is left from the job's start.
    """
    library = libfaketime()
    if library is None:
        missing("libfaketime is not installed")
    bob, lab = hub.users[1], hub.lab
    job = hub.sbatch(bob, "-c", "4", "-t", "2", script="sleep 4")
    lab.run("scontrol", "release", str(job))
    until(lambda: hub.shown(job, "State") == "RUNNING", 30)
    lab.run("scontrol", "suspend", str(job))
    time.sleep(3)
    lab.run("scontrol", "resume", str(job))
    until(lambda: not ids(hub), 60)
    hour = int(lab.jwt_key.stat().st_mtime) // 3600 * 3600  # asked for earlier ones too, a new sreport says nothing
    hours = hour, (int(time.time()) // 3600 + 1) * 3600
    until(
        lambda: hub.answer("slurm", "ingest") and reconciled(hub, *hours)[0] == 0, 30, lambda: reconciled(hub, *hours)
    )
    lab.stop_database()
    lab.start_database(LD_PRELOAD=str(library), FAKETIME="+3600s")
    try:
        found = until(lambda: _rolled_up(reconciled(hub, *hours)[1]), 60, lambda: reconciled(hub, *hours))
    finally:
        lab.stop_database()
        lab.start_database()
    twice: Counter[tuple[str, str]] = Counter()
    for row in hub.sacct(hour):
        if row["NodeList"] in ("", "None assigned"):
            continue
        start, stop = (max(instant(row[name]), hour) for name in ("Start", "Submit"))
        given = dict(pair.split("=") for pair in row["AllocTRES"].split(","))
        for resource in ("cpu", "gres/gpu"):
            twice[row["Account"], resource] += max(stop - start, 0) * int(given.get(resource, 0))
    assert {one: rolled - jobs for one, (rolled, jobs) in found.items()} == {one: twice[one] for one in found}
    assert {bob.account, hub.users[0].account} <= {account for account, _ in found}


def _rolled_up(found: Any) -> dict[tuple[str, str], tuple[int, int]]:
    rows = {(row["account"], row["resource"]): (row["rolled_up_s"], row["jobs_s"]) for row in found["rolled_up"]}
    return rows if any(rolled for rolled, _ in rows.values()) else {}


def _queue(hub: SlurmHub) -> str:
    return hub.lab.run("squeue", "-o", "%i %j %T %r %p %k").stdout + hub.log()[-2000:]


def _energy(said: str) -> int:
    first = said.strip().split("|")[0]
    return int(first) if first.isdecimal() and 0 < int(first) < 1 << 40 else 0


def _charged(hub: SlurmHub, since_s: float) -> int:
    return sum(int(run["charged"].get("mJ", 0)) for run in hub.books(since_s).runs)
