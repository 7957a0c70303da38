"""Look-ahead: what is next is released before its turn, never more than that, and recalled when it is next no more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.clusters import ClusterBench, found_on_cluster
from tests.unit.scripted import T0

from fabrique.apps.jobs.models import Run, RunState
from fabrique.apps.ledger import services as ledger
from fabrique.apps.ledger.verify import verify
from fabrique.core import booking
from fabrique.core.units import unit
from fabrique.engines.protocol import Listing
from fabrique.engines.slurm.model import Tres
from fabrique.operate import ahead

H100 = unit("acc-ms:h100-sxm")
WHOLE = Tres(cores=4, nodes=1, gpus={"": 4})  # a node
pytestmark = pytest.mark.django_db


@pytest.fixture
def full(db: None, settings: Any, tmp_path: Path) -> ClusterBench:
    """Both nodes run: one for ten minutes, one for an hour and a half; thirty seconds are left of the ten minutes."""
    settings.HOME = tmp_path / "home"
    bench = ClusterBench(found_on_cluster(settings.HOME))
    bench.slurm.sbatch(1, asked=WHOLE, limit_ms=600_000)
    bench.slurm.sbatch(2, asked=WHOLE, limit_ms=5_400_000)
    bench.turn()
    for job_id in (1, 2):
        bench.slurm.starts(job_id, bench.now)
    bench.turn()
    bench.turn(570_000)
    return bench


def held(bench: ClusterBench) -> int:
    return ledger.balance(booking.account(str(bench.project.allocations.get().id), "held"), H100)


def test_what_is_next_waits_at_the_engine(full: ClusterBench) -> None:
    before = held(full)
    next_, later = full.slurm.sbatch(3, asked=WHOLE), full.slurm.sbatch(4, asked=WHOLE)
    full.turn()
    assert full.slurm.ahead == [next_.handle]
    assert later.handle not in full.slurm.released
    run = full.row("3").runs.get()
    assert ahead.is_ahead(run)
    assert held(full) == before + 4 * 600_000
    full.turn(6_000)
    assert full.slurm.ahead == [next_.handle]  # said once
    # Slurm starts it the moment the first one ends
    full.slurm.ends(1, full.now, exit_code=0)
    full.slurm.starts(3, full.now)
    full.turn()
    assert full.status(full.row("3")) == "running"
    assert full.row("3").reason["code"] == "place.only"  # it waits for nothing any more
    assert not ahead.is_ahead(Run.objects.get(pk=run.pk))
    assert verify().ok


def test_its_turn_comes_before_it_has_started(full: ClusterBench) -> None:
    job = full.slurm.sbatch(3, asked=WHOLE)
    full.turn()
    full.slurm.ends(1, full.now, exit_code=0)
    full.turn()
    assert full.slurm.released[-1] == job.handle  # above all that is only early
    assert not ahead.is_ahead(full.row("3").runs.get())
    assert full.row("3").reason["code"] == "place.only"
    assert Run.objects.filter(state=RunState.PLANNED).count() == 1


def test_it_is_recalled_when_another_goes_first(full: ClusterBench) -> None:
    before = held(full)
    job = full.slurm.sbatch(3, asked=WHOLE, submitted_ms=T0 + 10_000)
    full.turn()
    first = full.slurm.sbatch(4, asked=WHOLE, submitted_ms=T0 + 5_000)
    full.turn()
    assert full.slurm.ahead == [job.handle, first.handle]
    assert full.slurm.queue[3].held
    row = full.row("3")
    assert (full.status(row), row.runs.get().state) == ("pending", "abandoned")
    assert held(full) == before + 4 * 600_000
    full.turn()
    assert full.slurm.ahead == [job.handle, first.handle]  # and stays where it is
    assert verify().ok


def test_what_started_before_the_recall_stays(full: ClusterBench) -> None:
    full.slurm.sbatch(3, asked=WHOLE, submitted_ms=T0 + 10_000)
    full.turn()
    full.slurm.sbatch(4, asked=WHOLE, submitted_ms=T0 + 5_000)
    full.slurm.ends(1, full.now, exit_code=0)
    full.slurm.answers.pop(full.slurm.queue[3].handle, None)  # the loop has not seen it yet
    full.slurm.queue[3] = replace(full.slurm.queue[3], state="RUNNING")
    full.turn()
    assert Run.objects.get(handle=full.slurm.queue[3].handle).state != RunState.ABANDONED
    full.slurm.starts(3, full.now)
    full.turn()
    assert full.status(full.row("3")) == "running"


def test_without_look_ahead_nothing_is_early(db: None, settings: Any, tmp_path: Path) -> None:
    from tests.unit.clusters import CLUSTER

    settings.HOME = tmp_path / "home"
    bench = ClusterBench(found_on_cluster(settings.HOME, CLUSTER.model_copy(update={"look_ahead_s": 0})))
    for job_id in (1, 2, 3):
        bench.slurm.sbatch(job_id, asked=WHOLE, limit_ms=30_000)
    bench.turn()
    assert bench.slurm.ahead == []


def test_the_hub_s_own_jobs_are_submitted_in_their_turn_alone(full: ClusterBench) -> None:
    """They are not in the cluster's queue: there is nothing to release ahead."""
    own = full.submit(accelerators="4", walltime="10m")
    full.turn()
    assert full.status(own) == "pending"
    full.slurm.ends(1, full.now, exit_code=0)
    full.turn()
    assert full.slurm.submitted == [full.intent(own)]


def test_the_order_ahead_follows_the_plan(full: ClusterBench) -> None:
    half = Tres(cores=2, nodes=1, gpus={"": 2})
    jobs = {n: full.slurm.sbatch(n, asked=half, limit_ms=60_000, submitted_ms=T0 + n * 1_000) for n in (5, 6)}
    full.turn()
    assert full.slurm.ahead == [jobs[5].handle, jobs[6].handle]
    assert full.slurm.order == []  # as they were released, so they stand
    first = full.slurm.sbatch(3, asked=half, limit_ms=60_000, submitted_ms=T0 + 3_000)
    full.turn()
    assert full.slurm.order == [first.handle, jobs[5].handle]  # and the other is next no more


def test_what_waits_ahead_is_never_told_to_start_before_its_turn(
    full: ClusterBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full.slurm, "list", lambda: Listing(True, (), 0))  # a listing names the hub's own runs alone
    next_ = full.slurm.sbatch(3, asked=WHOLE)
    for _ in range(8):
        full.turn(3_000)
    assert full.slurm.released.count(next_.handle) == 0
    full.slurm.queue[3] = replace(full.slurm.queue[3], priority=0)  # its release was lost
    full.turn(3_000)
    assert full.slurm.released.count(next_.handle) == 0
    assert full.slurm.ahead == [next_.handle, next_.handle]


def test_nothing_goes_ahead_of_what_the_cluster_keeps_waiting(full: ClusterBench) -> None:
    """The cluster may lack watts for what was told to start; what is smaller would take them first, for ever."""
    full.slurm.ends(1, full.now, exit_code=0)
    told = full.slurm.sbatch(3, asked=WHOLE, limit_ms=60_000)
    full.turn()
    assert full.slurm.released[-1] == told.handle
    small = full.slurm.sbatch(4, asked=Tres(cores=1, nodes=1, gpus={"": 1}), limit_ms=60_000)
    full.turn()
    assert full.slurm.ahead == [small.handle]
    full.turn(6_000)  # it has not started yet
    assert full.slurm.queue[4].held
    full.slurm.starts(3, full.now)
    full.turn(6_000)
    assert full.slurm.ahead == [small.handle, small.handle]
    assert verify().ok
