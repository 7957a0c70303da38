"""A cluster's energy: whose the nodes' meters are, what is modelled without one, what is saved when one is off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.clusters import ClusterBench, found_on_cluster

from fabrique.apps.energy.models import Window
from fabrique.apps.jobs.models import Run
from fabrique.apps.ledger import services as ledger
from fabrique.apps.ledger.models import Posting
from fabrique.apps.ledger.verify import verify
from fabrique.core.units import MJ
from fabrique.engines.protocol import Observation, Usage
from fabrique.engines.slurm.model import Node, Tres

MINUTE = 60_000
IDLE, MOST_DEVICE, MOST_CORE = 500, 600, 4
pytestmark = pytest.mark.django_db


@pytest.fixture
def bench(db: None, settings: Any, tmp_path: Path) -> ClusterBench:
    settings.HOME = tmp_path / "home"
    made = ClusterBench(found_on_cluster(settings.HOME))
    made.slurm.machines = [node("n1"), node("n2")]
    return made


def node(name: str, **more: Any) -> Node:
    plain: dict[str, Any] = {"state": "IDLE", "partitions": ("gpu",), "total": Tres(cores=32, nodes=1, gpus={"": 4})}
    return Node(name=name, **{**plain, **more})


def meter(bench: ClusterBench, **joules: int | None) -> None:
    """Each node's counter stands at so many joules; None: it says nothing now."""
    bench.slurm.machines = [
        replace(n, energy_mj=None if joules[n.name] is None else (joules[n.name] or 0) * 1000)
        for n in bench.slurm.machines
    ]


def runs(bench: ClusterBench, job_id: int, *nodes: str, gpus: int = 1, **more: Any) -> Run:
    asked = Tres(cores=4 * len(nodes), nodes=len(nodes), gpus={"": gpus})
    bench.slurm.sbatch(job_id, asked=asked, given=asked, **more)
    handle = bench.slurm.starts(job_id, bench.now + 100)
    bench.slurm.answers[handle] = replace(bench.slurm.answers[handle], nodes=nodes)
    bench.turn()
    bench.turn()
    return bench.row(str(job_id)).runs.get()


def ends(bench: ClusterBench, job_id: int, at_ms: int, **more: Any) -> None:
    bench.slurm.ends(job_id, at_ms, exit_code=0, **more)
    bench.turn(MINUTE)


def site(bench: ClusterBench, part: str) -> int:
    return ledger.balance(f"site:{bench.here.site}:{part}", MJ)


def sound() -> list[Window]:
    rows = list(Window.objects.order_by("pk"))
    assert all(w.jobs_mj + w.idle_mj + w.overhead_mj + w.residual_mj == w.meter_mj for w in rows)
    return rows


def test_a_node_s_counter_is_idle_and_the_runs_on_it(bench: ClusterBench) -> None:
    meter(bench, n1=1_000, n2=1_000)
    bench.turn()
    run = runs(bench, 1, "n1", gpus=2)
    started = run.started_ms or 0
    meter(bench, n1=1_000 + 90, n2=1_000 + 31)
    bench.turn(MINUTE)
    window = sound()[-1]
    length = window.end_ms - window.start_ms
    assert window.meter_mj == 121_000
    assert (window.idle_mj, window.jobs_mj) == (min(IDLE * length, 90_000) + 31_000, 0)  # they drew less than idle
    before = bench.now
    meter(bench, n1=1_090 + 80_000, n2=1_031 + 30_000)
    ends(bench, 1, before + MINUTE)
    run.refresh_from_db()
    above = 80_000_000 - IDLE * MINUTE
    assert run.energy_mj == above < (2 * MOST_DEVICE + 4 * MOST_CORE) * MINUTE
    assert run.energy_provenance["basis"] == "attributed"
    assert sound()[-1].idle_mj == IDLE * MINUTE + 30_000_000
    assert started < before
    assert site(bench, "charged") == run.energy_mj
    assert verify().ok


def test_runs_on_one_node_share_it_by_what_they_hold_and_never_beyond_their_most(bench: ClusterBench) -> None:
    meter(bench, n1=0, n2=0)
    bench.turn()
    one, three = runs(bench, 1, "n1", gpus=1), runs(bench, 2, "n1", gpus=3)
    meter(bench, n1=10, n2=10)
    bench.turn(MINUTE)
    meter(bench, n1=10 + 30 + 36, n2=10 + 30)
    bench.slurm.machines = [replace(n, energy_mj=(n.energy_mj or 0) * 1000) for n in bench.slurm.machines]
    bench.slurm.machines = [node("n1", energy_mj=10_000 + 66_000_000), node("n2", energy_mj=10_000 + 30_000_000)]
    bench.turn(MINUTE)
    one.refresh_from_db()
    three.refresh_from_db()
    weights = (MOST_DEVICE + 4 * MOST_CORE, 3 * MOST_DEVICE + 4 * MOST_CORE)
    assert one.energy_mj + three.energy_mj == 36_000_000
    assert abs(one.energy_mj - 36_000_000 * weights[0] // sum(weights)) <= 1
    bench.slurm.machines = [node("n1", energy_mj=66_010_000 + 400_000_000), node("n2", energy_mj=60_010_000)]
    bench.turn(MINUTE)
    one.refresh_from_db()
    assert one.energy_mj <= 36_000_000 * weights[0] // sum(weights) + 1 + weights[0] * MINUTE
    assert sound()[-1].residual_mj == 400_000_000 - IDLE * MINUTE - sum(weights) * MINUTE


def test_a_cluster_without_meters_is_modelled(bench: ClusterBench) -> None:
    bench.turn()
    run = runs(bench, 1, "n1", "n2", gpus=4)
    bench.slurm.machines = [node(n, state="MIXED", used=Tres(cores=4, nodes=1, gpus={"": 2})) for n in ("n1", "n2")]
    began = run.started_ms or 0
    ends(bench, 1, began + 30_000)
    run.refresh_from_db()
    assert run.energy_mj == (4 * MOST_DEVICE + 8 * MOST_CORE) * 30_000
    assert run.energy_provenance == {
        "basis": "modelled", "how": "idle power, and what is allocated at its most", "error_permille": 370,
        "tested_on": None,
    }  # fmt: skip
    rows = sound()
    assert sum(w.idle_mj for w in rows) == 2 * IDLE * (rows[-1].end_ms - rows[0].start_ms)
    assert all(w.provenance["basis"] == "modelled" for w in rows)


def test_what_strangers_draw_on_a_modelled_node_is_residual(bench: ClusterBench) -> None:
    bench.slurm.machines = [node("n1", state="MIXED", used=Tres(cores=8, nodes=1, gpus={"": 1})), node("n2")]
    bench.turn()
    bench.turn(MINUTE)
    row = sound()[-1]
    assert (row.jobs_mj, row.residual_mj) == (0, (MOST_DEVICE + 8 * MOST_CORE) * MINUTE)


def test_a_counter_that_starts_again_or_says_nothing_is_modelled_for_that_window(bench: ClusterBench) -> None:
    meter(bench, n1=5_000, n2=5_000)
    bench.turn()
    meter(bench, n1=100, n2=None)
    bench.turn(MINUTE)
    row = sound()[-1]
    assert row.meter_mj == 2 * IDLE * MINUTE
    assert row.provenance["basis"] == "modelled"
    meter(bench, n1=100 + 40_000, n2=7_000)
    bench.turn(MINUTE)
    assert sound()[-1].meter_mj == 40_000_000 + IDLE * MINUTE


def test_watts_are_read_where_there_is_no_counter(bench: ClusterBench) -> None:
    bench.slurm.machines = [node("n1", watts=700), node("n2", watts=500)]
    bench.turn()
    bench.slurm.machines = [node("n1", watts=900), node("n2", watts=500)]
    bench.turn(MINUTE)
    row = sound()[-1]
    assert row.meter_mj == (800 + 500) * MINUTE
    assert (row.idle_mj, row.provenance["basis"]) == (2 * IDLE * MINUTE, "measured")


def test_a_node_that_is_powered_down_draws_nothing_and_what_that_saves_is_told(bench: ClusterBench) -> None:
    off = node("n2", flags=frozenset({"POWERED_DOWN", "CLOUD"}))
    bench.slurm.machines = [node("n1"), off]
    bench.turn()
    bench.turn(MINUTE)
    row = sound()[-1]
    assert (row.meter_mj, row.idle_mj, row.saved_mj) == (IDLE * MINUTE, IDLE * MINUTE, IDLE * MINUTE)
    told = Posting.objects.filter(what="meter").latest("pk").detail
    assert f'"saved_mj":"{IDLE * MINUTE}"' in told
    bench.slurm.machines = [node("n1"), node("n2")]  # somewhere in this minute it woke up
    bench.turn(MINUTE)
    assert (sound()[-1].idle_mj, sound()[-1].saved_mj) == (IDLE * MINUTE * 3 // 2, IDLE * MINUTE // 2)


def test_a_run_s_own_counter_is_charged_and_the_difference_is_residual(bench: ClusterBench) -> None:
    meter(bench, n1=0, n2=0)
    bench.turn()
    run = runs(bench, 1, "n1", gpus=4)
    bench.slurm.machines = [node("n1", energy_mj=50_000_000), node("n2", energy_mj=30_000_000)]
    ends(bench, 1, bench.now + MINUTE, usage=Usage(energy_mj=47_000_000))
    run.refresh_from_db()
    window = sound()[-1]
    assert run.energy_mj == 47_000_000
    assert (run.energy_provenance["basis"], run.energy_provenance["how"]) == ("measured", "Slurm ConsumedEnergy")
    assert site(bench, "charged") == 47_000_000
    assert site(bench, "jobs") == 0
    assert -site(bench, "meter") == sum(site(bench, p) for p in ("charged", "idle", "overhead", "residual"))
    moved = Posting.objects.filter(what="own-counter", account__endswith=":residual").get()
    assert moved.amount == sum(w.jobs_mj for w in Window.objects.all()) - 47_000_000
    assert window.jobs_mj < 47_000_000
    assert verify().ok


def test_nodes_that_do_not_answer_close_no_window_and_lose_nothing(bench: ClusterBench) -> None:
    meter(bench, n1=0, n2=0)
    bench.turn()
    bench.slurm.down = True
    bench.turn(MINUTE)
    assert Window.objects.count() == 0
    bench.slurm.down = False
    bench.slurm.machines = [node("n1", energy_mj=60_000_000), node("n2", energy_mj=60_000_000)]
    bench.turn(MINUTE)
    row = sound()[-1]
    assert (row.meter_mj, row.idle_mj) == (120_000_000, 2 * IDLE * (row.end_ms - row.start_ms))


def test_a_run_that_only_the_accounting_told_of_is_taken_from_the_residual(bench: ClusterBench) -> None:
    meter(bench, n1=0, n2=0)
    bench.turn()
    began = bench.now
    bench.slurm.ran(1, began, 10_000)
    bench.turn(20_000)  # ingested before its window closes
    bench.slurm.machines = [node("n1", energy_mj=40_000_000), node("n2", energy_mj=30_000_000)]
    bench.turn(40_000)
    run = bench.row("1").runs.get()
    row = sound()[-1]
    assert run.energy_mj == (MOST_DEVICE + 4 * MOST_CORE) * 10_000
    assert (row.jobs_mj, row.residual_mj) == (0, 70_000_000 - row.idle_mj)
    assert site(bench, "residual") == row.residual_mj - run.energy_mj
    assert -site(bench, "meter") == sum(site(bench, p) for p in ("charged", "idle", "overhead", "residual"))


def test_a_run_whose_nodes_nobody_told_is_spread_over_its_partition(bench: ClusterBench) -> None:
    bench.turn()
    bench.slurm.sbatch(1)
    handle = bench.slurm.starts(1, bench.now + 100)
    bench.slurm.answers[handle] = Observation(handle, "running", started_ms=bench.now + 100, last_seen_ms=bench.now)
    bench.turn()
    bench.turn(MINUTE)
    run = bench.row("1").runs.get()
    assert run.energy_mj == (MOST_DEVICE + 4 * MOST_CORE) * (bench.now - (run.started_ms or 0))
    assert sound()[-1].residual_mj == 0


@pytest.mark.parametrize("step", [90_000, -90_000, 20_000, -20_000, 36_000_000, -36_000_000])
def test_a_step_of_the_clock_makes_no_modelled_energy(bench: ClusterBench, step: int) -> None:
    """Power times the time that went by, whatever the clock says of it."""
    bench.stepped_ms = 0
    bench.turn()
    run = runs(bench, 1, "n1", "n2", gpus=4)
    bench.slurm.machines = [node(n, state="MIXED", used=Tres(cores=4, nodes=1, gpus={"": 2})) for n in ("n1", "n2")]
    began, first = run.started_ms or 0, bench.now - 200
    bench.turn(MINUTE)
    bench.step(step)
    bench.turn(MINUTE)
    bench.turn(MINUTE)
    run.refresh_from_db()
    lived = bench.now - step - began
    assert run.energy_mj == (4 * MOST_DEVICE + 8 * MOST_CORE) * lived
    rows = sound()
    assert sum(w.idle_mj for w in rows) == 2 * IDLE * (bench.now - step - first)
    assert sum(w.residual_mj for w in rows) == 0
    assert verify().ok
