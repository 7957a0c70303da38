"""The books against the accounting, to the second; and the accounting's roll-up against its own jobs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.clusters import CLUSTER, ClusterBench
from tests.unit.scripted import T0

from fabrique.core.errors import FabriqueError
from fabrique.engines.slurm.model import Record, Tres
from fabrique.engines.slurm.sreport import read
from fabrique.operate.doors import project_of
from fabrique.operate.reconcile import Reconciled, reconcile, rolled, whole_hours

HOUR = 3_600_000


def held_against(bench: ClusterBench) -> Reconciled:
    return reconcile(bench.here, CLUSTER, bench.slurm, project_of, T0 - HOUR, bench.now)


def test_books_and_accounting_agree_whatever_became_of_the_runs(bench: ClusterBench) -> None:
    """Charged, cancelled, refunded, overrun, requeued, on cores alone."""
    bench.slurm.ran(1, T0, 30_000)
    bench.slurm.ran(2, T0, 20_000, state="CANCELLED")
    bench.slurm.ran(3, T0, 40_000, state="NODE_FAIL")
    bench.slurm.ran(4, T0, 10_000, state="REQUEUED")
    bench.slurm.ran(4, T0 + 20_000, 5_000, submitted_ms=T0 + 11_000)
    bench.slurm.ran(5, T0, 50_000, given=Tres(cores=8, nodes=1))
    bench.slurm.ran(6, T0, 120 * HOUR)
    bench.slurm.ran(7, T0, 1_000, account="chemistry")
    bench.turn(121 * HOUR)
    from fabrique.operate.ingest import Ingest

    Ingest(bench.here, CLUSTER, project_of).look(bench.slurm, None, now=bench.now, back_to=T0)
    found = held_against(bench)
    assert found.agrees, found.off
    sums = {unit: one for (_, unit), one in found.sums.items()}
    assert sums["acc-ms:h100-sxm"].books_ms == sums["acc-ms:h100-sxm"].accounting_ms == 105_000 + 120 * HOUR
    assert sums["core-ms:local-core"].books_ms == 400_000
    assert (found.aside, sums["acc-ms:h100-sxm"].accounts) == ({"quarantine.account": 1}, {"proteins"})


def test_each_difference_is_named_with_its_cause(bench: ClusterBench) -> None:
    bench.slurm.ran(1, T0, 30_000)
    gone = bench.slurm.ran(2, T0, 20_000)
    bench.turn(100_000)
    bench.slurm.ran(1, T0, 31_000)  # what the books don't know yet
    del bench.slurm.book[gone.key]
    bench.slurm.ran(3, T0, 5_000)
    found = held_against(bench)
    assert not found.agrees
    assert {(one.why, one.books_ms, one.accounting_ms) for one in found.off} == {
        ("wrong", 30_000, 31_000), ("unknown", 20_000, None), ("unread", None, 5_000),
    }  # fmt: skip


def test_the_roll_up_is_read_by_account_and_compared_over_whole_hours() -> None:
    said = (
        b"root||cpu|900\nproteins||cpu|720\nproteins|alice|cpu|700\nproteins|bob|cpu|20\nproteins|alice|gres/gpu|9\n\n"
    )
    sums = read(said)
    assert sums == {("proteins", "cpu"): 720, ("proteins", "gres/gpu"): 9}
    given = Tres(cores=2, nodes=1, gpus={"": 1})
    record = Record(
        cluster="lab", job_id=1, name="a", user="alice", account="proteins", qos="", partition="gpu", state="COMPLETED",
        submitted_ms=0, started_ms=HOUR - 5_000, ended_ms=HOUR + 9_000, elapsed_ms=14_000, nodes=("n1",), given=given,
    )  # fmt: skip
    found = {(r.account, r.resource): (r.rolled_up_s, r.jobs_s) for r in rolled([record], sums, HOUR, 2 * HOUR)}
    assert found == {("proteins", "cpu"): (720, 18), ("proteins", "gres/gpu"): (9, 9)}
    suspended = replace(record, started_ms=HOUR, ended_ms=HOUR + 60_000, elapsed_ms=50_000, suspended_ms=10_000)
    resized = replace(record, submitted_ms=HOUR + 20_000, started_ms=HOUR, ended_ms=HOUR + 60_000, elapsed_ms=40_000)
    both = {r.resource: r.jobs_s for r in rolled([suspended, resized], {}, HOUR, 2 * HOUR)}
    assert both == {"cpu": 2 * (50 + 40), "gres/gpu": 50 + 40}
    assert whole_hours(HOUR + 1, 3 * HOUR - 1) == (2 * HOUR, 2 * HOUR)


@pytest.mark.parametrize("said", [b"one|two|three\n", b"a|b|cpu|many\n", b"a|b|cpu|1e9\n", b"a|b|cpu|" + b"9" * 19])
def test_a_roll_up_that_can_t_be_read_is_said(said: bytes) -> None:
    with pytest.raises(FabriqueError, match=r"engine\.garbage"):
        read(said)
