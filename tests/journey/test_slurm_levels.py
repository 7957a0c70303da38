"""A hub on a real Slurm chooses power levels: for what it submits, and for a plain sbatch that consents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import pytest
from tests.journey.slurm_hub import SlurmHub, open_hub, until

from fabrique.definitions import deployment as d
from fabrique.engines.slurm.files import levels
from fabrique.engines.slurm.files.levels import Level
from fabrique.engines.slurm.model import OURS

if TYPE_CHECKING:
    from tools.slurm_lab.lab import SlurmLab

pytestmark = pytest.mark.slurm
TOLERATES = "tolerance: 8%"
LEVEL = Level("limit_w", 174)  # of 300 W: 929 permille of the work
MINUTES = "1:48:00"  # for a hundred


def swept(hub: SlurmHub) -> None:
    """The devices are such as somebody measured, and slurm.conf will name the prolog."""
    file = hub.home.path / d.FILE_NAME
    found, _ = d.read(file)
    assert found is not None and found.cluster is not None
    nodes = [p.model_copy(update={"device_w": 300, "limit_w": 300} if p.kind else {}) for p in found.cluster.partitions]
    cluster = found.cluster.model_copy(update={"levels": True, "cap_w": 50_000, "partitions": tuple(nodes)})
    file.write_text(d.write(found.model_copy(update={"clusters": (cluster,)})))


@pytest.fixture(scope="module")
def hub(make_slurm_lab: Callable[..., SlurmLab]) -> Iterator[SlurmHub]:
    with open_hub(make_slurm_lab, "a40", swept, nodes=1) as hub:
        bob = hub.users[1]
        hub.answer("role", "grant", bob.email, "funder")
        made = hub.answer("rules", "propose", "sparing", "--note", "less energy")
        hub.answer("rules", "consent", made["id"], "--note", "agreed", who=bob)
        yield hub


def test_a_job_that_consents_runs_longer_at_a_lower_level_and_gets_time_back(hub: SlurmHub) -> None:
    alice, folder = hub.users[0], hub.home.path / levels.LEVELS
    text = f"#!/bin/sh\n#fabrique walltime: 100m\n#fabrique accelerators: 1\n#fabrique {TOLERATES}\nsleep 15\n"

    def own(column: str) -> list[str]:
        rows = hub.lab.run("squeue", "-h", "-O", f"Name:60,{column}:60").stdout.splitlines()
        return [row[60:].strip() for row in rows if row.startswith(OURS)]

    def over(name: str) -> bool:
        return bool(hub.answer("why", name, who=alice)["state"] == "completed")

    with hub.operating():
        given = ("-A", alice.account, "--gres=gpu:h100:1", "-t", "100", f"--comment=#fabrique {TOLERATES}")
        plain = hub.lab.submit(*given, script="sleep 15", user=alice.login)
        array = hub.lab.submit(*given, "--array=1-9%3", script="sleep 15", user=alice.login)
        tasks = [f"{array}_{n}" for n in (1, 2, 3)]
        job = hub.answer("submit", "-", "--project", alice.project, stdin=text, who=alice)["number"]
        until(lambda: hub.shown(plain, "State") == "RUNNING", 30, hub.log)
        assert (hub.shown(plain, "TimeLimit"), levels.read(folder, plain)) == (MINUTES, LEVEL)
        assert hub.shown(plain, "Licenses") == "fabrique_w@fabrique:19"
        for task in tasks:
            until(lambda task=task: hub.shown(task, "State") == "RUNNING", 30, hub.log)
            assert (hub.shown(task, "TimeLimit"), hub.shown(task, "Licenses")) == (MINUTES, "fabrique_w@fabrique:19")
            assert levels.read(folder, int(hub.shown(task, "JobID"))) == LEVEL
        hub.lab.run("scancel", "--state=PENDING", str(array), user=alice.login)  # these waited in their array's row
        until(lambda: own("State") == ["RUNNING"], 30, hub.log)
        assert (own("TimeLimit"), own("Licenses")) == ([MINUTES], ["fabrique_w@fabrique:19"])
        written = [levels.read(folder, int(one.name)) for one in folder.iterdir()]
        assert written == [LEVEL] * 5
        for name in (f"job:{job}", str(plain), *tasks):
            until(partial(over, name), 60, hub.log)
            run = hub.answer("why", name, who=alice)["run"]
            assert run["level"] == {"limit_w": 174, "throughput_permille": 929, "draw_permille": 776}
    statement = json.dumps(hub.answer("statement", alice.project, who=alice))
    assert statement.count("rebate.power-level") >= 5
    assert hub.answer("ledger", "verify")["ok"]
