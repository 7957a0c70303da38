"""What of a cluster nobody is given: nodes out of service, what others' jobs took, what the hub does not serve."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.test import Client
from tests.unit.clusters import ClusterBench
from tests.unit.scripted import T0

from fabrique.apps.jobs.models import HubState, Job
from fabrique.apps.now import now_ms
from fabrique.apps.people import services as people
from fabrique.engines.slurm.files.render import HELD
from fabrique.engines.slurm.model import Node, Tres
from fabrique.operate import out_of_service
from fabrique.operate.out_of_service import Away
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


def test_a_node_out_of_service_is_named_in_the_machine_room_though_nothing_waits(bench: ClusterBench) -> None:
    up = Node(name="n1", state="IDLE", partitions=("gpu", "flex"))
    drained = replace(up, name="n2", flags=frozenset({"DRAIN", "CLOUD"}), reason="psu <b>failed</b>")
    bench.slurm.machines = [up, drained, replace(drained, name="n3", partitions=("elsewhere",))]
    operator = people.create_person("Op", "op@lab.example", now=T0)
    room = people.create_organisation("Room", "operator", "CA", now=now_ms())
    people.grant_role(operator, "operator", room, now=now_ms())
    client = Client()
    client.cookies["fabrique-language"] = "en"
    client.force_login(operator, backend="allauth.account.auth_backends.AuthenticationBackend")

    def page() -> str:
        bench.turn(10_000)
        HubState.objects.update(last_cycle_ms=now_ms())
        return client.get("/operate").content.decode()

    said = page()
    assert "<h1>1 node is out of service</h1>" in said
    assert "IDLE+DRAIN" in said and "psu &lt;b&gt;failed" in said and "n3" not in said
    bench.slurm.machines = [up, replace(up, name="n2")]
    said = page()
    assert "All is well" in said and "Every node of the cluster takes jobs." in said


def test_what_an_earlier_release_kept_names_no_nodes() -> None:
    assert out_of_service.kept({"away": {"blocks": [], "watts": 5}}) == Away(watts=5)
    assert out_of_service.kept({"away": {"blocks": [], "watts": 5, "nodes": [{"no": 1}]}}) == out_of_service.NOTHING
