"""What Slurm goes by when the hub is passed by: the door's file, in step with what runs and what accounts have left."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.clusters import ACCOUNT, CLUSTER, ClusterBench
from tests.unit.scripted import T0

from fabrique.apps.access.models import Allocation
from fabrique.apps.jobs import cycle
from fabrique.apps.people import services as people
from fabrique.apps.people.models import Role
from fabrique.engines.slurm.files import door
from fabrique.engines.slurm.files.door import AccountRoom, PartitionRoom
from fabrique.engines.slurm.files.install import Difference
from fabrique.engines.slurm.model import Tres
from fabrique.operate import backstop
from fabrique.operate.cluster_files import Nodes, compare, full_licences, install

pytestmark = pytest.mark.django_db


def test_what_is_free_is_told_under_each_of_slurms_names(bench: ClusterBench) -> None:
    cap = 20_000 - 2 * 500
    assert list(backstop.rooms(bench.here, CLUSTER, [])) == [
        PartitionRoom("gpu", 8, 64, cap), PartitionRoom("flex", 8, 64, cap),
    ]  # fmt: skip
    bench.slurm.sbatch(1, asked=Tres(cores=4, nodes=1, gpus={"": 3}))
    bench.turn()
    drawn = 1_900  # 3 × 600 W and 4 × 4 W, in whole licences of 100 W
    told = list(backstop.rooms(bench.here, CLUSTER, cycle.live_runs()))
    assert told[0] == PartitionRoom("gpu", 5, 60, cap - drawn)


def test_an_account_may_take_what_an_hour_of_it_costs(bench: ClusterBench) -> None:
    # a hundred GPU-hours, eight GPUs: all of them, with the cores beside them
    assert list(backstop.accounts(bench.here, CLUSTER)) == [AccountRoom(ACCOUNT, 8, 64)]
    bench.slurm.sbatch(1, asked=Tres(cores=4, nodes=2, gpus={"": 8}), limit_ms=12 * 3_600_000)
    bench.turn()  # 96 of the hundred are held
    assert list(backstop.accounts(bench.here, CLUSTER)) == [AccountRoom(ACCOUNT, 4, 32)]
    Allocation.objects.update(state="ended")
    assert list(backstop.accounts(bench.here, CLUSTER)) == [AccountRoom(ACCOUNT, 0, 0)]


def test_each_turn_renews_the_file(bench: ClusterBench) -> None:
    bench.turn()
    path = Path(bench.here.home) / "slurm" / "door"
    first = path.read_text()
    assert f"account {ACCOUNT} 8 64" in first
    assert first.endswith("end\n")
    bench.turn(5_000)
    assert path.read_text() != first
    assert f"beat {bench.now // 1000}" in path.read_text()


def test_a_new_account_is_at_the_door_with_the_next_turn(bench: ClusterBench) -> None:
    """What accounts have left is asked for every ten seconds; until then its jobs would start with nobody's word."""
    bench.turn()
    bench.another("folding")
    bench.turn(500)
    assert "account folding 8 64" in (Path(bench.here.home) / "slurm" / "door").read_text()


def test_accounts_are_introduced_to_a_whole_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "door"
    door.introduce(path, ["new"])
    assert not path.exists()  # nobody has spoken: what the door does is the site's choice
    path.write_text("fabrique-door 1\nbeat 7\n")
    door.introduce(path, ["new"])
    assert path.read_text() == "fabrique-door 1\nbeat 7\n"
    door.write(path, 7_000, [AccountRoom("old", 8, 64)], [PartitionRoom("gpu", 1, 2, 3)])
    before = path.read_text()
    door.introduce(path, ["OLD"])
    assert path.read_text() == before
    door.introduce(path, ["old", "New", "new"])
    assert path.read_text() == before.removesuffix("end\n") + "account new 0 0\nend\n"
    with pytest.raises(ValueError, match="not a name"):
        door.introduce(path, ["x 8 8\nend"])


def test_install_gives_the_door_a_first_file_and_leaves_the_hub_s(bench: ClusterBench, tmp_path: Path) -> None:
    """So that a closed door knows whose jobs wait before the hub has run, and a missing file is a lost one."""
    operator, nodes, into = people.create_person("Op", "op@x.example", now=T0), Nodes(), tmp_path / "etc"
    people.grant_role(operator, Role.OPERATOR, people.create_organisation("Room", "operator", "CA", now=T0), now=T0)
    state = Path(bench.here.home) / "slurm" / "door"
    for lost in (False, True):
        install(bench.here, operator, into, nodes, now=bench.now)
        assert state.read_text() == f"fabrique-door 1\nbeat 0\nlicences 0 100\naccount {ACCOUNT} 0 0\nend\n"
        assert compare(bench.here, operator, into, nodes, now=bench.now) == []
        if not lost:
            state.unlink()
            assert compare(bench.here, operator, into, nodes, now=bench.now) == [Difference(str(state), "missing")]
    bench.turn()
    told = state.read_text()
    install(bench.here, operator, into, nodes, now=bench.now)
    assert state.read_text() == told != ""


def test_a_hub_that_starts_while_the_accounting_is_away_says_the_licences_that_were(bench: ClusterBench) -> None:
    """Else each job that comes meanwhile would hold none, and whatever goes round the hub would not be bound by it."""
    kept = backstop.Backstop(bench.here, CLUSTER)
    door.write(kept.path, 0, [], [], door.Licences(190, 100))
    backstop.Backstop(bench.here, CLUSTER).renew([], now=T0)  # no accounting answers here
    assert door.licences(kept.path) == door.Licences(190, 100)


def test_licences_are_whole_ones_above_the_idle_nodes() -> None:
    assert full_licences(CLUSTER) == 190
    assert full_licences(CLUSTER.model_copy(update={"licence_w": 7})) == 2_714
    assert full_licences(CLUSTER.model_copy(update={"cap_w": 1_099})) == 0
