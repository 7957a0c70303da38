"""A job that waits for its nodes to boot: the accounting's word of its start moves."""

from __future__ import annotations

import pytest
from tests.unit.clusters import ClusterBench
from tests.unit.test_ingest import charged, later

from fabrique.apps.jobs.models import EngineRecord, RecordState, Run
from fabrique.apps.ledger.verify import verify

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("requeued", [False, True])
def test_a_start_that_moves_while_nodes_boot_is_one_run(bench: ClusterBench, requeued: bool) -> None:
    """Slurm's record has the instant when the nodes were given, then the one when they were there: nobody pays twice.
    A requeue within the second of the submission leaves both, of which each pays.
    """
    bench.slurm.sbatch(7)
    bench.turn()
    given = bench.now // 1000 * 1000
    bench.slurm.starts(7, given)
    bench.turn()
    first = bench.slurm.ran(7, given, 5_000, state="RUNNING", ended_ms=None, exit_code=None)
    later(bench)
    booted = given + 33_000
    assert EngineRecord.objects.get().state == RecordState.OPEN
    if requeued:
        bench.slurm.ran(7, given, 4_000, state="REQUEUED", exit_code=None)
    else:
        del bench.slurm.book[first.key]
    bench.slurm.starts(7, booted)
    last = bench.slurm.ran(7, booted, 1_000, state="RUNNING", ended_ms=None, exit_code=None)
    later(bench)
    bench.slurm.ends(7, booted + 6_000, exit_code=0)
    bench.slurm.ran(7, booted, 6_000)
    bench.turn(60_000)
    for _ in range(2):
        later(bench)
    assert charged(bench) == 6_000 + (4_000 if requeued else 0)
    keys = {first.key, last.key} if requeued else {last.key}
    assert {(r.key, r.state) for r in EngineRecord.objects.all()} == {(key, RecordState.BOOKED) for key in keys}
    assert (bench.row("7").status, Run.objects.count()) == ("completed", len(keys))
    assert verify().ok
