"""A hub is connected to the cluster that scontrol describes: its nodes by sort, its hours, nothing invented in silence.

`scontrol` is a script at a real process boundary that prints what a real one printed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.scripted import T0

from fabrique.apps import this_hub
from fabrique.apps.ledger import services as ledger
from fabrique.apps.ledger.models import Entry
from fabrique.apps.ledger.verify import verify
from fabrique.cli.slurm_connect import kinds_of
from fabrique.core.booking import pool_account
from fabrique.core.errors import FabriqueError
from fabrique.core.units import unit
from fabrique.engines.slurm.discover import Sort, named_once, sorts
from fabrique.engines.slurm.model import Node, Tres
from fabrique.operate import connect_again, connecting, founding

DATA = Path(__file__).parents[1] / "data" / "slurm" / "22.05"
PARTITIONS = """\
PartitionName=gpu AllowGroups=ALL Default=YES MaxNodes=UNLIMITED MaxTime=2-12:00:00 MinNodes=0 State=UP
PartitionName=flex AllowGroups=ALL Default=NO MaxNodes=UNLIMITED MaxTime=UNLIMITED MinNodes=0 State=UP
"""
H100 = unit("acc-ms:h100-sxm")
pytestmark = pytest.mark.django_db


@pytest.fixture
def here(db: None, settings: Any, tmp_path: Path) -> Iterator[this_hub.ThisHub]:
    """A hub in a home of its own: these tests write its deployment."""
    settings.HOME = tmp_path / "home"
    this_hub.forget()
    founding.make_home(settings.HOME, "ca-lasalle-hub", port=8000, now=T0)
    yield founding.furnish(now=T0)
    this_hub.forget()


@pytest.fixture
def binaries(tmp_path: Path) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "scontrol"
    config = "Configuration data as of today\nClusterName             = lab\nSlurmUser               = slurm(64030)\n"
    program.write_text(
        f'#!/bin/sh\ncase $2 in config) printf %s "{config}" ;; partition) printf %s "{PARTITIONS}" ;;\n'
        f'*) cat "{DATA / "nodes.txt"}" ;; esac\n'
    )
    program.chmod(0o755)
    return folder


def asked(binaries: Path, **more: Any) -> connecting.Asked:
    given = {"kinds": {"h100": "h100-sxm"}, "more": {}, **more}
    return connecting.Asked(conf=Path("/etc/slurm.conf"), binaries=binaries, **given)


def test_what_the_cluster_says_of_itself(here: Any, binaries: Path) -> None:
    found = connecting.describe(here, asked(binaries))
    (partition,) = found.cluster.partitions
    assert found.left == ()
    assert (found.cluster.cluster, found.cluster.engine, found.cluster.cap_basis) == ("lab", "lab", "assumed")
    assert partition.names == ("gpu", "flex")
    assert (partition.kind, partition.gres, partition.devices, partition.cores) == ("h100-sxm", "gpu:h100", 4, 96)
    assert partition.longest_min == 60 * 60  # of gpu, which the hub submits to
    most = partition.nodes * (partition.idle_w + 4 * partition.device_w + 96 * partition.core_w)
    assert (found.cluster.cap_w, found.cluster.licence_w) == (most, 10)
    assert connecting.describe(here, asked(binaries, cap_w=9_000)).cluster.cap_w == 9_000


def test_a_cluster_that_counts_no_devices_is_refused(here: Any, binaries: Path) -> None:
    """Its nodes look as if they had none, and jobs on them as if they took cores alone."""
    program = binaries / "scontrol"
    plain = program.read_text()
    for counted, fine in (("cpu,mem,billing", False), ("cpu,gres/gpu:h100", True), ("cpu,gres/gpu", True)):
        more = f"GresTypes               = gpu,mps\nAccountingStorageTRES   = {counted}\n"
        program.write_text(plain.replace("SlurmUser", f"{more}SlurmUser"))
        if fine:
            assert connecting.describe(here, asked(binaries)).cluster.partitions[0].devices == 4
        else:
            with pytest.raises(FabriqueError, match=r"cluster\.uncounted"):
                connecting.describe(here, asked(binaries))


def test_its_hours_come_into_the_ledger_once(here: Any, binaries: Path) -> None:
    cluster = connecting.describe(here, asked(binaries)).cluster
    half = T0 + this_hub.YEAR_MS // 2
    now = connecting.connect(here, cluster, now=half)
    assert now.deployment.cluster == cluster
    assert now.count("h100-sxm") == 4 * cluster.partitions[0].nodes
    brought = sum(ledger.balance(pool_account(pool, "unallocated"), H100) for pool in now.shares)
    assert brought == pytest.approx(now.yearly_capacity("h100-sxm") // 2, abs=10)
    entries = Entry.objects.count()
    connecting.connect(now, cluster, now=half + 1_000)
    assert Entry.objects.count() == entries
    assert verify().ok


def test_a_type_that_nobody_knows_is_asked_for(here: Any, binaries: Path) -> None:
    with pytest.raises(FabriqueError) as told:  # three kinds begin with h100
        connecting.describe(here, asked(binaries, kinds={}))
    assert told.value.code == "cluster.kind"
    assert told.value.params["gres"] == "h100"
    with pytest.raises(FabriqueError, match=r"cluster\.kind"):
        connecting.describe(here, asked(binaries, kinds={"h100": "h1000"}))
    assert kinds_of(["gpu:h100=h100-sxm", "a40=a40"]) == {"h100": "h100-sxm", "a40": "a40"}
    for wrong in ("h100", "=x", "h100=", ""):
        with pytest.raises(FabriqueError, match=r"cluster\.kind-form"):
            kinds_of([wrong])


def test_a_cluster_that_does_not_answer_changes_nothing(here: Any, tmp_path: Path) -> None:
    with pytest.raises(FabriqueError, match=r"engine\.unavailable"):
        connecting.describe(here, asked(tmp_path / "nowhere"))
    mute = tmp_path / "scontrol"
    mute.write_text("#!/bin/sh\necho nothing\n")
    mute.chmod(0o755)
    with pytest.raises(FabriqueError, match=r"engine\.garbage"):
        connecting.describe(here, asked(tmp_path))


def test_nodes_that_are_alike_and_share_a_partition_count_as_one_sort() -> None:
    """Some of them lie in a partition more: what goes to the larger may run on all of them."""

    def nodes(count: int, *partitions: str, gpus: int = 8) -> list[Node]:
        total = Tres(cores=96, memory_mb=1_000, gpus={"h100": gpus} if gpus else {})
        return [
            Node(name=f"{partitions}{gpus}{i}", state="IDLE", partitions=partitions, total=total) for i in range(count)
        ]

    found = sorts([*nodes(2, "debug", "gpu"), *nodes(6, "gpu", "flex"), *nodes(3, "gpu", gpus=0), *nodes(1, "lone")])
    assert [(s.partitions, s.nodes, s.gpus) for s in found] == [
        (("gpu", "flex", "debug"), 8, 8), (("lone",), 1, 8), (("gpu",), 3, 0),
    ]  # fmt: skip
    (joined,) = sorts([*nodes(1, "a"), *nodes(2, "b"), *nodes(1, "b", "a"), *nodes(1, "b", "c")])
    assert (joined.partitions, joined.nodes) == (("b", "a", "c"), 5)
    large = [replace(node, total=replace(node.total, memory_mb=2_000)) for node in nodes(2, "gpu", "bigmem")]
    assert [s.partitions for s in sorts([*large, *nodes(6, "gpu")])] == [("gpu",), ("gpu", "bigmem")]


def test_a_partition_over_nodes_of_two_sorts_counts_with_the_larger() -> None:
    large = Sort(("gpu", "all"), 8, 96, 1_000, "h100", 8)
    small = Sort(("old", "all"), 4, 32, 1_000, "a40", 2)
    kept, left = named_once([large, small])
    assert [(s.partitions, s.nodes) for s in kept] == [(("gpu", "all"), 8), (("old",), 4)]
    assert left == ["all"]


def test_what_an_operator_chose_stays_when_the_cluster_is_read_anew(here: Any, binaries: Path) -> None:
    """Slurm has another partition on the nodes now, and another limit; nothing else changes, and both are said."""
    first = connecting.describe(here, asked(binaries)).cluster
    (partition,) = first.partitions
    chosen = {
        "qos": "{project}-{pool}", "accounts": "x-{project}", "look_ahead_s": 7, "licence_w": 100, "door": "closed",
        "pue_permille": 1_200, "silent_s": 90, "levels": True, "run_as": "login",
        "cap_w": 7_000, "cap_basis": "measured",
    }  # fmt: skip
    watts = {"id": "h100", "idle_w": 300, "device_w": 500, "core_w": 2, "limit_w": 650, "core_kind": "cores"}
    mine = partition.model_copy(update={**watts, "names": ("flex", "gpu"), "longest_min": None})
    edited = first.model_copy(update={**chosen, "partitions": (mine,)})
    program = binaries / "scontrol"
    program.write_text(program.read_text().replace("MaxTime=UNLIMITED", "MaxTime=1:00:00"))
    (nodes := binaries / "nodes").write_text((DATA / "nodes.txt").read_text().replace("gpu,flex", "gpu,flex,debug"))
    program.write_text(program.read_text().replace(str(DATA / "nodes.txt"), str(nodes)))
    found = connecting.describe(here, asked(binaries))
    assert connect_again.kinds_in(edited) == {"h100": "h100-sxm"} and connect_again.kinds_in(None) == {}
    again = connect_again.kept(edited, found.cluster, {"conf"}, found.longest)
    (now,) = again.partitions
    assert now == mine.model_copy(update={"names": ("flex", "gpu", "debug"), "longest_min": 60})
    assert {name: getattr(again, name) for name in chosen} == chosen
    said = connect_again.differences(edited, again)
    assert [(d.key, d.before, d.after) for d in said] == [
        ("partitions.h100.names", "flex, gpu", "flex, gpu, debug"),
        ("partitions.h100.longest_min", None, "60"),
    ]
    given = connecting.describe(here, asked(binaries, cap_w=9_000, more={"door": "open"})).cluster
    told = connect_again.kept(edited, given, {"conf", "cap_w", "door"}, found.longest)
    assert (told.cap_w, told.door, told.qos) == (9_000, "open", chosen["qos"])
    assert [d.key for d in connect_again.differences(edited, told)][:2] == ["cap_w", "cap_basis"]


def test_what_nobody_chose_follows_the_cluster(here: Any, binaries: Path) -> None:
    """A cap that is all that everything draws is nobody's choice; watts of a node belong to its sort."""
    first = connecting.describe(here, asked(binaries)).cluster
    (partition,) = first.partitions
    smaller = partition.model_copy(update={"nodes": 1, "devices": 2, "device_w": 1, "longest_min": 5})
    before = first.model_copy(update={"partitions": (smaller,), "cap_w": smaller.node_w, "qos": "x"})
    longest = {"gpu": partition.longest_min or 0}
    again = connect_again.kept(before, first, {"conf"}, longest)
    assert again == first.model_copy(update={"qos": "x"})
    assert {d.key.rpartition(".")[2] for d in connect_again.differences(before, again)} == {
        "cap_w", "nodes", "devices", "device_w", "longest_min",
    }  # fmt: skip
    other = first.model_copy(update={"cluster": "another", "qos": "x"})
    assert connect_again.kept(other, first, (), {}) == first
    gone = partition.model_copy(update={"id": "old", "names": ("old",)})
    both = first.model_copy(update={"partitions": (partition, gone)})
    (left,) = connect_again.differences(both, connect_again.kept(both, first, {"conf", "cap_w"}, longest))
    assert (left.key, left.before, left.after) == ("partitions.old", "old", None)


def test_two_sorts_on_the_partitions_of_one_are_told_apart(here: Any, binaries: Path) -> None:
    first = connecting.describe(here, asked(binaries)).cluster
    (partition,) = first.partitions
    before = first.model_copy(update={"partitions": (partition.model_copy(update={"id": "flex"}),)})
    parts = tuple(partition.model_copy(update={"id": n, "names": (n,)}) for n in ("gpu", "flex"))
    again = connect_again.kept(before, first.model_copy(update={"partitions": parts}), (), {})
    assert [p.id for p in again.partitions] == ["flex", "flex-2"]
