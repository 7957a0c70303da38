"""Accounts, the door and power levels on a real Slurm."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.unit.lua import choice
from tests.unit.test_deployment import CLUSTER, NODES
from tests.unit.test_provision import NOW, SITE, allocation

from fabrique.core.booking import Policy
from fabrique.core.provision import Grant, Member, Wanted, desired
from fabrique.core.provision_plan import changes
from fabrique.core.units import HOUR_MS, Unit
from fabrique.definitions import deployment as d
from fabrique.engines.slurm.administer import Accounting
from fabrique.engines.slurm.commands import CommandTransport
from fabrique.engines.slurm.engine import SlurmEngine
from fabrique.engines.slurm.files import door, levels
from fabrique.engines.slurm.files.door import AccountRoom, PartitionRoom
from fabrique.engines.slurm.files.install import put
from fabrique.engines.slurm.files.levels import Level
from fabrique.engines.slurm.files.render import HELD, LET_GO, LUA, OPENED, OWNER, PartitionPower, generate
from fabrique.engines.slurm.placing import Settings
from fabrique.operate.at_the_door import tolerated, will_take

if TYPE_CHECKING:
    from tests.conftest import Home
    from tools.slurm_lab.lab import SlurmLab

pytestmark = pytest.mark.slurm
H100 = Unit("acc-ms:h100-sxm")
SMI = """#!/bin/sh
i=; while [ $# -gt 0 ]; do case $1 in
-i) i=$2; shift ;;
--query-gpu=power.limit) cat "$0-$i" 2>/dev/null || echo 700.00 ;;
-pl) echo "$2" >"$0-$i"; shift ;;
esac; shift; done
"""


@dataclass(frozen=True, slots=True)
class Site:
    """A lab whose Slurm asks our door and runs our prologs; `files` is where the hub writes for both."""

    lab: SlurmLab
    files: Path
    accounting: Accounting

    @property
    def user(self) -> str:
        return self.lab.people[0]

    def beat(self, devices: int, watts: int = 9_000, age_s: int = 0) -> None:
        """The hub's turn. The licences come first: a job that asks what Slurm doesn't know is refused."""
        there = door.Licences(self.accounting.licences("fabrique_w") or 0, 100)
        accounts = [AccountRoom("p-1", devices, 500)]
        partitions = [PartitionRoom("gpu", 16, 190, watts)]
        door.write(self.files / "door", int((time.time() - age_s) * 1000), accounts, partitions, there)

    def apply(self, want: Wanted) -> None:
        assert self.accounting.make(changes(want, self.accounting.read()).changes) == []
        assert changes(want, self.accounting.read()).changes == ()

    def job(self, number: int, field: str) -> str:
        return self.lab.run("squeue", "-h", "-j", str(number), "-O", f"{field}:200").stdout.strip()

    def until(self, what: Callable[[], bool], seconds: float = 15) -> None:
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, self.lab.run("squeue", "-o", "%i %T %r %u %a").stdout
            time.sleep(0.1)

    def dump(self) -> list[str]:
        shown = ("assoc", "qos", "user", "account", "resource")
        return [self.lab.run("sacctmgr", "-nP", "show", what).stdout for what in shown]


SORT = NODES.model_copy(update={"nodes": 2, "devices": 8, "cores": 96, "memory_mb": 1_000_000})


@pytest.fixture(scope="module")
def site(make_slurm_lab: Callable[..., SlurmLab]) -> Iterator[Site]:
    files = Path(tempfile.mkdtemp(prefix="door-"))
    files.chmod(0o755)
    tools = files / "tools"
    tools.mkdir()
    (tools / "nvidia-smi").write_text(SMI)
    (tools / "nvidia-smi").chmod(0o755)
    chosen = replace(
        choice(files, hub_uids=(0,) if os.geteuid() == 0 else (0, os.geteuid())),
        partitions=(PartitionPower(("gpu", "flex"), 4, 8, 96, 1_000_000, 620, 4),),
        vendors=("nvidia",),
        tools=str(tools),
        saved=str(files / "saved"),
    )
    made = generate(chosen)
    put(files / "etc", made)
    script = next(g.content for g in made if g.name == LUA).decode()
    lines = (f"Prolog={files}/etc/fabrique-prolog", f"Epilog={files}/etc/fabrique-epilog", "PrologFlags=Alloc")
    # ids that no other lab on this machine has: a job is alive while its slurmstepd is
    lines += (f"FirstJobId={100_000 + os.getpid() % 1_000_000 * 100}",)
    lab = make_slurm_lab(nodes=2, rest=False, job_submit=script, extra=lines)
    lab.account("site", lab.people[0])
    yield Site(lab, files, Accounting(shutil.which("sacctmgr") or "", str(lab.conf), lab.cluster))
    lab.down(remove=True)
    shutil.rmtree(files, ignore_errors=True)


def award(site: Site, *, open: bool = True, members: bool = True, hours: int = 100) -> Wanted:
    people = {"p-1": [Member("m", site.user)]} if members else {}
    grants = {H100: Grant(hours * HOUR_MS, policy=Policy())}
    return desired([allocation(open=open, grants=grants)], people, SITE, NOW)


def test_a_plan_is_dry_and_an_apply_is_whole(site: Site, home: Home) -> None:
    file = home.path / d.FILE_NAME
    found, _ = d.read(file)
    assert found is not None
    nodes = NODES.model_copy(update={"names": ("gpu", "flex")})
    cluster = CLUSTER.model_copy(update={"conf": str(site.lab.conf), "partitions": (nodes,)})
    engine = d.EngineOf(name="lab", kind="slurm", partitions=("gpu",))
    file.write_text(d.write(found.model_copy(update={"clusters": (cluster,), "engines": (engine,)})))
    before = site.dump()
    for words in (["plan"], ["apply", "--dry-run", "--json"]):
        done = home.run("slurm", *words)
        assert done.returncode == 0, done.stderr
    assert site.dump() == before
    done = home.run("slurm", "apply")
    assert done.returncode == 0, done.stderr
    assert site.dump() != before


def test_awards_open_and_close_and_lock_nobody_out(site: Site) -> None:
    site.apply(award(site))
    found = site.accounting.read()
    assert found.defaults[site.user] == "site"
    assert dict(found.qos["p-1-union"].limits.minutes) == {"gres/gpu:h100": 6000}
    site.beat(8)
    running = site.lab.submit("-A", "p-1", script="sleep 60", user=site.user)
    site.lab.run("scontrol", "release", str(running))
    site.until(lambda: site.job(running, "State") == "RUNNING")
    site.apply(award(site, open=False))
    assert "limit" in site.lab.run("sbatch", "-A", "p-1", "--wrap=true", user=site.user, check=False).stderr.lower()
    assert site.job(running, "State") == "RUNNING"
    site.lab.submit("-t", "1", script="true", user=site.user)  # the default account of theirs works on
    site.apply(award(site, members=False))
    assert site.accounting.read().accounts["p-1"].users == {site.user: True}
    site.apply(award(site))
    assert site.accounting.read().accounts["p-1"].users == {site.user: False}
    site.lab.run("scancel", str(running))


def test_the_door_holds_batch_work_and_judges_interactive_work(site: Site) -> None:
    site.accounting.set_watts("fabrique_w", 50)
    site.apply(award(site))
    site.beat(2)
    user, run = site.user, site.lab.run
    held = site.lab.submit("-A", "p-1", "--gres=gpu:h100:2", script="sleep 60", user=user)
    assert (site.job(held, "Reason"), site.job(held, "Licenses")) == ("JobHeldUser", "fabrique_w@fabrique:13")
    assert site.job(held, "admin_comment") == HELD
    assert run("scontrol", "release", str(held), user=user, check=False).returncode != 0
    run("scontrol", "update", f"jobid={held}", "licenses=", user=user, check=False)
    assert site.job(held, "Licenses") == "fabrique_w@fabrique:13"
    run("scontrol", "hold", str(held), user=user)
    assert site.job(held, "Comment") == OWNER
    run("scontrol", "release", str(held), user=user)
    assert (site.job(held, "State"), site.job(held, "Comment")) == ("PENDING", LET_GO)
    own = site.lab.submit("-A", "p-1", "-H", script="true", user=user)
    assert site.job(own, "admin_comment") == OWNER
    run("scontrol", "release", str(own), user=user)
    assert (site.job(own, "State"), site.job(own, "Comment")) == ("PENDING", LET_GO)
    run("scontrol", "release", str(held))
    site.until(lambda: site.job(held, "State") == "RUNNING")
    within = ("srun", "-A", "p-1", "-t", "1", "-G", "1", "hostname")
    assert run(*within, user=user).stdout.strip()
    beyond = run("srun", "-A", "p-1", "-t", "1", "-G", "3", "hostname", user=user, check=False)
    assert beyond.returncode != 0
    assert "p-1 may take" in beyond.stderr and "Fabrique\u00a0: p-1 peut prendre" in beyond.stderr
    assert run("srun", "-A", "site", "-t", "1", "hostname", user=user).stdout.strip()
    site.beat(2, age_s=3_600)
    through = site.lab.submit("-A", "p-1", script="sleep 5", user=user)
    assert site.job(through, "admin_comment") == OPENED
    assert site.accounting.set_watts("fabrique_w", 5) == 5  # below what is in use
    assert site.job(held, "State") == "RUNNING"
    run("scancel", str(held), str(through), str(own))


@pytest.mark.parametrize(
    ("asked", "nodes", "devices", "units"),
    [
        (("-n", "4", "--mem-per-cpu=400G", "--gres=gpu:1"), 2, 2, 13),
        (("-n", "100", "--gres=gpu:2"), 2, 4, 29),
        (("-n", "4", "--spread-job", "--gres=gpu:2"), 1, 2, 13),
    ],
    ids=["memory", "tasks", "spread"],
)
def test_what_a_job_takes_on_all_its_nodes_is_counted_though_it_names_none(
    site: Site, asked: tuple[str, ...], nodes: int, devices: int, units: int
) -> None:
    """Slurm shows one node until the job starts, with what was asked of that."""
    site.accounting.set_watts("fabrique_w", 100)
    site.apply(award(site))
    site.beat(8)
    job = site.lab.submit("-A", "p-1", "-t", "1", *asked, script="sleep 30", user=site.user)
    assert site.job(job, "Licenses") == f"fabrique_w@fabrique:{units}"
    waits = next(one for one in CommandTransport(site.lab.conf).queue()[0] if one.job_id == job)
    taken = will_take(waits, SORT)
    site.lab.run("scontrol", "release", str(job))
    site.until(lambda: site.job(job, "State") == "RUNNING")
    given = next(one for one in CommandTransport(site.lab.conf).queue()[0] if one.job_id == job).given
    assert (given.nodes, given.devices) == (taken.nodes, taken.devices) == (nodes, devices)
    site.lab.run("scancel", str(job))
    site.until(lambda: site.job(job, "State") != "RUNNING")


def test_a_level_is_set_for_the_job_and_put_back_after_it(site: Site) -> None:
    site.accounting.set_watts("fabrique_w", 100)
    site.apply(award(site))
    site.beat(8)
    job = site.lab.submit("-A", "p-1", "--gres=gpu:h100:2", "-t", "1", script="sleep 3", user=site.user)
    levels.put(site.files / "levels", job, Level("limit_w", 420))
    site.lab.run("scontrol", "release", str(job))

    def limits() -> list[str]:
        return sorted(p.read_text().strip() for p in (site.files / "tools").glob("nvidia-smi-*"))

    site.until(lambda: limits() == ["420", "420"])
    site.until(lambda: limits() == ["700", "700"])
    site.until(lambda: list((site.files / "saved").glob("*-*")) == [])


def test_a_consent_in_a_comment_is_judged_at_submission_and_its_limit_is_changed(site: Site) -> None:
    site.accounting.set_watts("fabrique_w", 100)
    site.apply(award(site))
    site.beat(8)
    bad = site.lab.run(
        "sbatch", "-A", "p-1", "--comment=#fabrique tolerance: 9", "--wrap=true", user=site.user, check=False
    )
    assert bad.returncode != 0 and "#fabrique tolerance: 10%" in bad.stderr
    script = '#SBATCH --comment="#fabrique tolerance: 10%"\nsleep 1'
    job = site.lab.submit("-A", "p-1", "--gres=gpu:h100:1", "-t", "100", script=script, user=site.user)
    engine = SlurmEngine(
        CommandTransport(site.lab.conf, Path(shutil.which("scontrol") or "").parent),
        Settings(cluster=site.lab.cluster, partitions=("gpu", "flex"), runs=site.files / "runs"),
        lambda: int(time.time() * 1000),
    )
    came = next(one for one in engine.arrivals() if one.job_id == job)
    assert (came.held, came.limit_ms, tolerated(came.comment)) == (True, 6_000_000, 100)
    name, taken = next(iter(came.asked.licences.items()))
    assert engine.reshape({came.handle: 6_458_558}, {came.handle: {name: taken - 1}}) == set()
    assert site.job(job, "TimeLimit") == "1:48:00"
    assert site.job(job, "Licenses") == f"{name}:{taken - 1}"
    levels.put(site.files / "levels", job, Level("limit_w", 410))
    engine.release([came.handle])
    tools = site.files / "tools"
    site.until(lambda: "410" in [p.read_text().strip() for p in tools.glob("nvidia-smi-*")])
    site.until(lambda: "410" not in [p.read_text().strip() for p in tools.glob("nvidia-smi-*")])


def test_a_node_that_dies_under_a_job_gets_its_limits_back(site: Site) -> None:
    """kill -9 of slurmd, of the steps and of what they run: no epilog ever comes."""
    site.apply(award(site))
    site.beat(8)
    job = site.lab.submit("-A", "p-1", "--gres=gpu:h100:1", "--no-requeue", script="sleep 60", user=site.user)
    levels.put(site.files / "levels", job, Level("limit_w", 430))
    site.lab.run("scontrol", "release", str(job))
    kept = site.files / "saved"
    site.until(lambda: site.job(job, "State") == "RUNNING" and [p.name for p in kept.glob("*-*/was")] == ["was"])
    device = next(kept.glob("*-*")).name.rpartition("-")[2]
    limit = site.files / "tools" / f"nvidia-smi-{device}"
    node = site.job(job, "NodeList")
    site.lab.node_kill(node)
    assert limit.read_text() == "430\n"
    for marker in kept.glob("*-*/job-*"):
        os.utime(marker, (0, 0))  # older than a job that still starts
    restore = site.files / "etc" / "fabrique-power-restore"
    assert subprocess.run([str(restore)], timeout=60).returncode == 0
    assert limit.read_text() == "700\n"
    assert list(kept.glob("*-*")) == []
    site.lab.node_start(node)
    site.lab.run("scancel", str(job), check=False)
