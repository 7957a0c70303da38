"""What a job at a cluster's door takes, where Slurm shows less until it runs: its nodes, and what it asks of each."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.clusters import ClusterBench

from fabrique.apps.jobs import specs
from fabrique.apps.ledger import services as ledger
from fabrique.core import booking
from fabrique.core.units import HOUR_MS, unit
from fabrique.engines.slurm.model import Tres

pytestmark = pytest.mark.django_db


def test_a_job_that_names_no_nodes_takes_as_many_as_it_needs(bench: ClusterBench) -> None:
    """`--gpus=8`, `-n 48`: until it starts, Slurm shows one node for all of it, on which it has no room."""
    wide = bench.slurm.sbatch(1, asked=Tres(cores=8, nodes=1, gpus={"": 8}))
    spread = bench.slurm.sbatch(2, asked=Tres(cores=48, nodes=1, gpus={"": 1}))
    beyond = bench.slurm.sbatch(3, asked=Tres(cores=8, nodes=1, gpus={"": 9}))
    bench.turn()
    assert [specs.needs(bench.row(str(n))).nodes for n in (1, 2, 3)] == [2, 2, 3]
    assert bench.slurm.released == [wide.handle]
    assert bench.row("2").reason["code"].startswith("wait.") and spread.handle in bench.slurm.shown
    assert bench.row("3").reason["code"] == "refuse.too-large" and beyond.handle in bench.slurm.shown


def test_a_job_that_its_memory_spreads_takes_what_it_asks_of_each_node(bench: ClusterBench) -> None:
    """`-n 4 --mem-per-cpu=50G --gres=gpu:1`: Slurm gives it two nodes, and a device on each."""
    asked = Tres(cores=4, memory_mb=200_000, nodes=1, gpus={"": 1})
    bench.slurm.sbatch(1, asked=asked, devices_per_node=1)
    bench.slurm.sbatch(2, asked=asked)
    bench.turn()
    asks = [specs.needs(bench.row(str(n))) for n in (1, 2)]
    assert [(s.nodes, s.milli_devices) for s in asks] == [(2, 2_000), (2, 1_000)]


def test_whoever_takes_nodes_whole_pays_for_them_whole(bench: ClusterBench) -> None:
    """`--exclusive`, and all on a partition of whole nodes: Slurm shows what was typed, and gives all that there is."""
    for job_id, typed in ((1, {"": 1}), (2, {})):
        bench.slurm.sbatch(job_id, asked=Tres(cores=1, nodes=1, gpus=typed), exclusive=True, limit_ms=HOUR_MS)
    bench.turn()
    asks = [specs.needs(bench.row(str(n))) for n in (1, 2)]
    assert [(s.milli_devices, s.cores, s.nodes) for s in asks] == [(4_000, 32, 1)] * 2
    assert bench.slurm.released == [bench.slurm.queue[n].handle for n in (1, 2)]
    bench.slurm.queue[1] = replace(bench.slurm.queue[1], given=Tres(cores=32, nodes=1, gpus={"": 4}))
    started = bench.now
    bench.slurm.starts(1, started)
    bench.turn()
    bench.slurm.ends(1, started + 60_000)
    bench.turn(60_000)
    used = booking.account(str(bench.project.allocations.get().id), "used")
    assert ledger.balance(used, unit("acc-ms:h100-sxm")) == 4 * 60_000
