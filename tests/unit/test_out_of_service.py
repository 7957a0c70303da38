"""What of a cluster nobody is given: nodes out of service, what others' jobs took, what the hub does not serve."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.clusters import ClusterBench
from tests.unit.scripted import T0

from fabrique.apps.jobs.models import Job
from fabrique.engines.slurm.files.render import HELD
from fabrique.engines.slurm.model import Node, Tres
from fabrique.operate.why import why
from fabrique.portal import glance, metrics

pytestmark = pytest.mark.django_db


def test_what_is_drained_or_taken_by_others_is_given_to_nobody(bench: ClusterBench) -> None:
    up = Node(name="n1", state="MIXED", partitions=("gpu", "flex"), total=Tres(32, 100_000, 0, {"": 4}))
    bench.slurm.machines = [up, replace(up, name="n2", state="IDLE", flags=frozenset({"DRAIN"}))]
    theirs = {"account": "chemistry", "state": "RUNNING", "started_ms": T0, "nodes": ("n1",), "partition": "debug"}
    bench.slurm.sbatch(1, **theirs, given=Tres(cores=2, nodes=1, gpus={"": 1}))
    for job_id in (2, 3):
        bench.slurm.sbatch(job_id, asked=Tres(cores=4, nodes=1, gpus={"": 2}))
    bench.turn()
    assert bench.slurm.released == [bench.slurm.queue[2].handle]  # of eight, four and one are away
    assert bench.row("3").reason["code"] == "wait.accelerators"
    told = why(bench.here, bench.row("3"), now=bench.now)  # who asks is told what the loop knew
    assert told is not None and told.reason is not None and told.reason.code == "wait.accelerators"
    lines = (bench.here.home / "slurm" / "door").read_text().splitlines()
    free_w = 20_000 - 2 * 500 - (600 + 2 * 4) - 1_300  # others' own, then two devices and four cores in licences
    assert f"partition gpu 1 26 {free_w}" in lines
    bench.slurm.machines = [up, replace(up, name="n2", state="IDLE")]
    bench.turn()
    assert len(bench.slurm.released) == 1  # asked again in ten seconds
    bench.turn(10_000)
    assert bench.slurm.released == [bench.slurm.queue[n].handle for n in (2, 3)]


def test_what_our_door_holds_where_the_hub_serves_nobody_is_told_so(bench: ClusterBench) -> None:
    """A partition that was taken out of the deployment, or to which an administrator moved the job."""
    held = bench.slurm.sbatch(1, partition="debug", admin_comment=HELD)
    own = bench.slurm.sbatch(2, partition="debug")
    bench.turn()
    assert "debug" in bench.slurm.shown[held.handle] and own.handle not in bench.slurm.shown
    assert not bench.slurm.released and not Job.objects.exists()


def test_a_partition_on_our_nodes_that_nobody_knows_is_said_once(
    bench: ClusterBench, caplog: pytest.LogCaptureFixture
) -> None:
    up = Node(name="n1", state="IDLE", partitions=("gpu", "flex", "debug"), total=Tres(32, 100_000, 0, {"": 4}))
    bench.slurm.machines = [up, replace(up, name="n2"), replace(up, name="n3", partitions=("elsewhere",))]
    for _ in range(3):
        bench.turn(10_000)
    said = [record.getMessage() for record in caplog.records if "debug" in record.getMessage()]
    assert len(said) == 1 and "connect --again" in said[0] and "elsewhere" not in caplog.text
    bench.slurm.machines = [replace(up, partitions=("gpu",))]
    bench.turn(10_000)
    bench.slurm.machines = [up]
    bench.turn(10_000)
    assert caplog.text.count("debug") == 2


def test_what_is_away_is_shown_as_such_and_not_as_free(bench: ClusterBench) -> None:
    up = Node(name="n1", state="IDLE", partitions=("gpu", "flex"), total=Tres(32, 100_000, 0, {"": 4}))
    bench.slurm.machines = [up, replace(up, name="n2", state="DOWN")]
    bench.slurm.sbatch(1, asked=Tres(cores=4, nodes=1, gpus={"": 3}))
    bench.turn()
    found = {d.kind: (d.used, d.down, d.free) for d in glance.glance(bench.here, now=bench.now).devices}
    assert found == {"h100-sxm": (3_000, 4_000, 1_000), "local-core": (4_000, 32_000, 28_000)}
    told = {s.labels["kind"]: s.value for m in metrics.devices(bench.here, []) for s in m.samples if "down" in s.name}
    assert told == {"h100-sxm": 4, "local-core": 32}
