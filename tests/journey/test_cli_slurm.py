"""`fabrique slurm` as an operator types it, with a `sacctmgr` that is a real process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.unit import sacctmgr
from tests.unit.test_deployment import CLUSTER, NODES

from fabrique.definitions import deployment as d

if TYPE_CHECKING:
    from tests.conftest import Home


@pytest.fixture
def on_slurm(home: Home, tmp_path: Path) -> Path:
    """The hub's deployment now names a cluster; the folder of its `sacctmgr`."""
    folder = tmp_path / "bin"
    sacctmgr.install(folder)
    (folder / "slurm.conf").touch()
    file = home.path / d.FILE_NAME
    found, _ = d.read(file)
    assert found is not None
    nodes = NODES.model_copy(update={"core_kind": "local-core"})
    given = {"bin": str(folder), "conf": str(folder / "slurm.conf"), "partitions": (nodes,), "qos": "{project}-{pool}"}
    engine = d.EngineOf(name="lab", kind="slurm", partitions=("gpu",))
    changed = {"clusters": (CLUSTER.model_copy(update=given),), "engines": (engine,)}
    file.write_text(d.write(found.model_copy(update=changed)))
    return folder


def test_plan_apply_drift_mend(home: Home, on_slurm: Path) -> None:
    before = (on_slurm / "book.json").read_text()
    for words in (["plan"], ["apply", "--dry-run"], ["plan", "--json"], ["drift"]):
        done = home.run("slurm", *words)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    assert (on_slurm / "book.json").read_text() == before
    assert {tuple(c[:3]) for c in sacctmgr.calls(on_slurm)} == {("-n", "-P", "show")}
    done = home.run("slurm", "apply")
    assert (done.returncode, "fabrique" in done.stdout) == (0, True), done.stderr
    assert "fabrique" in json.loads((on_slurm / "book.json").read_text())["accounts"]
    assert "hand" in home.run("slurm", "drift").stdout


SCONTROL = """#!/bin/sh
case $2 in
config) echo 'ClusterName             = lab' ;;
partition) echo 'PartitionName=gpu MaxTime=UNLIMITED' ;;
--version) echo 'slurm-wlm 22.05.8' ;;
*) echo 'NodeName=n1 Partitions=gpu,flex,debug State=IDLE CfgTRES=cpu=96,mem=1000000M,gres/gpu=8,gres/gpu:h100=8'
   echo 'NodeName=n2 Partitions=elsewhere State=IDLE CfgTRES=cpu=96,mem=1000000M' ;;
esac
"""


def test_a_partition_that_the_hub_does_not_know_is_said_until_it_is_read_anew(home: Home, on_slurm: Path) -> None:
    (on_slurm / "scontrol").write_text(SCONTROL)
    (on_slurm / "scontrol").chmod(0o755)
    assert home.run("slurm", "apply").returncode == 0
    for verb in ("plan", "drift"):
        done = home.run("slurm", verb)
        assert (done.returncode, done.stdout.count("The partition debug lies on nodes of gpu")) == (0, 1), done.stdout
        assert "elsewhere" not in done.stdout and "connect --again" in done.stdout
        left = json.loads(home.run("slurm", verb, "--json").stdout)["left"]
        assert left == [{"why": "partition", "name": "debug", "where": "gpu"}]
    conf = str(on_slurm / "slurm.conf")
    words = ("slurm", "connect", "--conf", conf, "--run-as", "login")
    refused = home.run(*words)
    assert (refused.returncode, "cluster.connected" in refused.stderr) == (5, True)
    for more in ("--dry-run", "--json"):
        done = home.run(*words, "--again", more)
        assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    keys = {row["key"]: (row["before"], row["after"]) for row in told["changed"]}
    assert keys["partitions.gpu.names"] == ("gpu, flex", "gpu, flex, debug")
    found, _ = d.read(home.path / d.FILE_NAME)
    assert found is not None and found.cluster is not None
    assert (found.cluster.qos, found.cluster.bin) == ("{project}-{pool}", str(on_slurm))
    assert "debug" not in home.run("slurm", "drift").stdout
    assert "already" in home.run(*words, "--again").stdout


def test_what_does_not_answer_is_one_sentence(home: Home, on_slurm: Path) -> None:
    (on_slurm / "sacctmgr").unlink()
    done = home.run("slurm", "plan")
    assert (done.returncode, "Traceback" in done.stderr) == (6, False)
    assert "engine.unavailable" in done.stderr


def test_a_hub_without_slurm_says_so(home: Home) -> None:
    done = home.run("slurm", "plan")
    assert done.returncode == 4
    assert "provision.none" in done.stderr


def test_install_check_and_a_file_that_is_not_ours(home: Home, on_slurm: Path) -> None:
    conf = on_slurm / "slurm.conf"
    conf.write_text("ClusterName=lab\nAccountingStorageEnforce=associations,limits,qos,safe\nJobSubmitPlugins=lua\n")
    assert home.run("slurm", "install", "--check").returncode == 5  # nothing is there yet
    done = home.run("slurm", "install")
    assert done.returncode == 0, done.stderr
    assert f"Prolog={on_slurm}/fabrique-prolog" in done.stdout
    assert "JobSubmitPlugins" not in done.stdout
    assert (
        json.loads((on_slurm / "book.json").read_text())["resources"]["fabrique_w"]["count"] == (60_000 - 7_200) // 100
    )
    assert home.run("slurm", "install", "--check").returncode == 0
    (on_slurm / "fabrique-prolog").chmod(0o644)
    with (on_slurm / "job_submit.lua").open("a") as file:
        file.write("-- by hand\n")
    changed = home.run("slurm", "install", "--check")
    assert (changed.returncode, "job_submit.lua (changed)" in changed.stderr) == (5, True)
    assert "fabrique-prolog (other permissions)" in changed.stderr
    said = home.run("slurm", "install", "--check", "--language", "fr").stderr
    assert "job_submit.lua (modifié)" in said and "fabrique-prolog (autres droits d’accès)" in said
    assert home.run("slurm", "install", "--json").returncode == 0
    assert home.run("slurm", "install", "--check").returncode == 0
    (on_slurm / "job_submit.lua").write_text("-- the site's own\n")
    refused = home.run("slurm", "install")
    assert (refused.returncode, "file.exists" in refused.stderr) == (5, True)
    assert (on_slurm / "job_submit.lua").read_text() == "-- the site's own\n"
