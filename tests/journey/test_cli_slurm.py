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
    assert "fabrique-prolog (mode)" in changed.stderr
    assert home.run("slurm", "install", "--json").returncode == 0
    assert home.run("slurm", "install", "--check").returncode == 0
    (on_slurm / "job_submit.lua").write_text("-- the site's own\n")
    refused = home.run("slurm", "install")
    assert (refused.returncode, "file.exists" in refused.stderr) == (5, True)
    assert (on_slurm / "job_submit.lua").read_text() == "-- the site's own\n"
