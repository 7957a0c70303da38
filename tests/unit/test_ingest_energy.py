"""A run's energy by the accounting's word: its own counter where it is one, told late or not, never blindly."""

from __future__ import annotations

import pytest
from tests.unit.clusters import ClusterBench
from tests.unit.scripted import T0
from tests.unit.test_ingest import charged, later

from fabrique.apps.ledger import services as ledger
from fabrique.apps.ledger.verify import verify
from fabrique.core.units import MJ
from fabrique.engines.slurm.model import Tres

pytestmark = pytest.mark.django_db


def test_a_counter_of_its_own_is_charged_and_the_residual_gives_it(bench: ClusterBench) -> None:
    bench.slurm.ran(1, T0, 10_000, given=Tres(cores=32, nodes=1, gpus={"": 4}), energy_mj=7_000_000)
    bench.slurm.ran(2, T0, 10_000, energy_mj=9_000_000)  # it shared its node: the counter is not its own
    bench.turn(60_000)
    own, shared = (bench.row(str(n)).runs.get() for n in (1, 2))
    assert own.energy_mj == 7_000_000
    assert own.energy_provenance["basis"] == "measured"
    assert own.energy_provenance["how"] == "Slurm ConsumedEnergy"
    assert shared.energy_mj == (600 + 4 * 4) * 10_000
    assert (shared.energy_provenance["basis"], shared.energy_provenance["error_permille"]) == ("modelled", 370)
    total = own.energy_mj + shared.energy_mj
    assert charged(bench, u=MJ) == total
    site = bench.here.site
    parts = {p: ledger.balance(f"site:{site}:{p}", MJ) for p in ("jobs", "charged", "residual")}
    assert parts == {"jobs": 0, "charged": total, "residual": -total}


def test_a_counter_that_can_t_be_is_not_believed(bench: ClusterBench) -> None:
    bench.slurm.ran(1, T0, 10_000, given=Tres(cores=32, nodes=1, gpus={"": 4}), energy_mj=10**15)
    bench.turn(60_000)
    assert bench.row("1").runs.get().energy_provenance["basis"] == "modelled"


def test_energy_that_stands_with_the_steps_is_asked_for_where_it_can_be_its_own(bench: ClusterBench) -> None:
    bench.slurm.ran(1, T0, 10_000, given=Tres(cores=32, nodes=1, gpus={"": 4}))
    bench.slurm.ran(2, T0, 10_000)
    bench.slurm.joules = {1: 6_000_000, 2: 6_000_000}
    bench.turn(60_000)
    assert bench.row("1").runs.get().energy_mj == 6_000_000
    assert bench.row("2").runs.get().energy_provenance["basis"] == "modelled"


def test_energy_that_comes_late_corrects_the_run(bench: ClusterBench) -> None:
    whole = Tres(cores=32, nodes=1, gpus={"": 4})
    bench.slurm.ran(1, T0, 10_000, given=whole)
    bench.turn(60_000)
    assert bench.row("1").runs.get().energy_mj == (4 * 600 + 32 * 4) * 10_000
    bench.slurm.ran(1, T0, 10_000, given=whole, energy_mj=5_000_000)
    later(bench)
    run = bench.row("1").runs.get()
    assert (run.energy_mj, run.energy_provenance["basis"]) == (5_000_000, "measured")
    assert charged(bench, u=MJ) == 5_000_000
    assert ledger.balance(f"site:{bench.here.site}:residual", MJ) == -5_000_000
    assert verify().ok
