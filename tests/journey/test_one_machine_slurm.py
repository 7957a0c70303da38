"""The lab is a true Slurm: jobs run on declared devices, nodes die, the accounting counts; and it leaves nothing."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest
from tests.contract.slurm_bench import transport
from tools.slurm_lab import ports
from tools.slurm_lab.lab import SlurmLab
from tools.slurm_lab.processes import Daemons, until

from fabrique.engines.slurm.rest import RestTransport

pytestmark = pytest.mark.slurm
ROOT = Path(__file__).parents[2]
REFUSES = """
function slurm_job_submit(job, partitions, uid)
  if job.account == nil then
    slurm.log_user("name an account")
    return slurm.ERROR
  end
  if job.partition == "flex" then job.priority = 0 end
  return slurm.SUCCESS
end
function slurm_job_modify(job, record, partitions, uid) return slurm.SUCCESS end
"""


def sacct(lab: SlurmLab, job: int, *fields: str, steps: bool = False) -> list[list[str]]:
    command = ["sacct", "-D", "-n", "-P", *([] if steps else ["-X"]), "-j", str(job), "-o", ",".join(fields)]
    return [line.split("|") for line in lab.run(*command).stdout.splitlines()]


def is_running(lab: SlurmLab, job: int) -> Callable[[], bool]:
    return lambda: "RUNNING" in lab.run("squeue", "-h", "-j", str(job), "-o", "%T", check=False).stdout


def left_of(folder: Path) -> list[str]:
    """Every process that knows the folder, by its environment, arguments or open log."""
    found = [" ".join(process.cmdline()) for process in Daemons(folder).steps()]
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if process.pid != os.getpid() and any(str(folder) in word for word in words):
            found.append(" ".join(words))
    return found


def test_a_job_runs_on_declared_devices_and_the_accounting_says_so(slurm_lab: SlurmLab) -> None:
    who = slurm_lab.people[0]
    slurm_lab.account("devices", who)
    job = slurm_lab.submit("-A", "devices", "--gres=gpu:h100:2", "-c", "4", script="sleep 1", user=who)
    until(lambda: sacct(slurm_lab, job, "State") == [["COMPLETED"]], 20, "the job ends")
    ((user, given, account),) = sacct(slurm_lab, job, "User", "AllocTRES", "Account")
    assert (user, account) == (who, "devices")
    assert {"cpu=4", "gres/gpu=2", "gres/gpu:h100=2", "node=1"} <= set(given.split(","))


def test_without_an_account_nobody_submits(slurm_lab: SlurmLab) -> None:
    refused = slurm_lab.run("sbatch", "-A", "nobody-has-it", "--wrap", "true", user=slurm_lab.people[-1], check=False)
    assert refused.returncode != 0
    assert "Invalid account" in refused.stderr


def test_the_rest_daemon_lets_a_token_in_and_nobody_else(slurm_lab: SlurmLab) -> None:
    def asked(token: str) -> int:
        rest = HTTPConnection(slurm_lab.rest_url.removeprefix("http://"), timeout=10)
        rest.request("GET", f"/slurm/{api}/jobs", headers={"X-SLURM-USER-NAME": me, "X-SLURM-USER-TOKEN": token})
        return rest.getresponse().status

    me = "root" if os.geteuid() == 0 else slurm_lab.people[0]
    api = RestTransport(slurm_lab.rest_url, slurm_lab.jwt_key, me).api
    assert asked(slurm_lab.token(me)) == 200
    assert asked("nobody") >= 400


def test_secrets_are_their_owners_alone(slurm_lab: SlurmLab) -> None:
    kept = [*(slurm_lab.folder / "secrets").iterdir(), slurm_lab.folder / "etc" / "slurmdbd.conf"]
    assert len(kept) == 3
    assert {path.name for path in kept if path.stat().st_mode & 0o077} == set()


@pytest.fixture(scope="module")
def broken(make_slurm_lab: Callable[..., SlurmLab]) -> Iterator[SlurmLab]:
    """Two nodes with a door in Lua, licences and meters; the tests here break it and mend it."""
    lab = make_slurm_lab(nodes=2, gpus=4, energy=True, job_submit=REFUSES, licences={"watts": 10})
    lab.account("acme", lab.people[0])
    yield lab
    lab.down(remove=True)


def test_the_door_in_lua_refuses_and_holds(broken: SlurmLab) -> None:
    who = broken.people[0]
    refused = broken.run("sbatch", "--wrap", "true", user=who, check=False)
    assert "name an account" in refused.stderr
    held = broken.submit("-A", "acme", "-p", "flex", "-L", "watts:5", script="true", user=who)
    assert broken.run("squeue", "-h", "-j", str(held), "-o", "%T %r").stdout == "PENDING JobHeldUser\n"
    broken.run("scancel", str(held))


@contextmanager
def ticking(lab: SlurmLab, watts: int, job: int, job_watts: int) -> Iterator[None]:
    """Meters that count: the first node's, and a job's own there."""
    stop, began = threading.Event(), time.monotonic()

    def tick() -> None:
        while not stop.wait(0.1):
            passed = time.monotonic() - began
            lab.meter(1, int(passed * watts * 1000), watts)
            lab.meter(1, int(passed * job_watts * 1000), job_watts, job=job)

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_slurm_itself_counts_the_energy_of_meter_files(broken: SlurmLab) -> None:
    who = broken.people[0]
    first = broken.submit("-A", "acme", "-H", script="sleep 5", user=who)
    with ticking(broken, 700, first + 1, 100):
        second = broken.submit("-A", "acme", "-w", "gpu01", script="sleep 5", user=who)
        broken.run("scontrol", "update", f"JobId={first}", "ReqNodeList=gpu01")
        broken.run("scontrol", "release", str(first))
        for job in (first, second):
            until(lambda job=job: sacct(broken, job, "State") == [["COMPLETED"]], 20, "both jobs end")
    assert second == first + 1
    by_node, by_job = (int(sacct(broken, j, "ConsumedEnergyRaw", steps=True)[1][0]) for j in (first, second))
    assert by_node == pytest.approx(5 * 700, rel=0.4)  # to the turn of its polling, once a second
    assert by_job == pytest.approx(5 * 100, rel=0.4)
    for way in ("commands", "rest"):  # both read it, and the same
        found, _ = transport(broken, way).records(jobs=[first, second])
        assert {r.job_id: r.energy_mj for r in found} == {first: by_node * 1000, second: by_job * 1000}
    until(lambda: "CurrentWatts=700" in broken.run("scontrol", "show", "node", "gpu01").stdout, 30, "its watts", 0.5)


def test_a_node_dies_under_a_job_and_comes_back(broken: SlurmLab) -> None:
    job = broken.submit(
        "-A", "acme", "--no-requeue", "-w", "gpu02", script="sleep 301 & sleep 302", user=broken.people[0]
    )
    until(is_running(broken, job), 20, "the job runs")
    until(lambda: len(broken.daemons.steps("gpu02")) >= 3, 10, "its processes run")
    broken.node_kill(2)
    assert broken.daemons.steps("gpu02") == []
    until(lambda: sacct(broken, job, "State") == [["NODE_FAIL"]], 60, "Slurm sees it", pause_s=0.5)
    broken.node_start("gpu02")
    broken.wait_for_nodes()


def test_the_controller_and_the_accounting_come_back_with_what_they_knew(broken: SlurmLab) -> None:
    who = broken.people[0]
    job = broken.submit("-A", "acme", "-H", "-J", "kept", script="true", user=who)
    broken.wait_until_kept("kept")
    broken.restart_controller(kill=True)
    assert str(job) in broken.run("squeue", "-h", "-o", "%A").stdout.split()
    broken.stop_database()
    assert broken.run("sacct", check=False).returncode != 0
    broken.run("scontrol", "release", str(job))
    broken.start_database()
    until(lambda: sacct(broken, job, "State") == [["COMPLETED"]], 30, "the record arrives")


def test_term_stops_the_whole_lab_with_its_jobs(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"slurm-term-{os.getpid()}"
    command = [sys.executable, "tools/slurm_lab.py", "run", "--folder", str(folder), "--nodes", "1"]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        assert running.stdout.readline().startswith("export SLURM_CONF=")
        lab = SlurmLab.open(folder)
        lab.account("acme", lab.people[0])
        job = lab.submit("-A", "acme", script="sleep 303", user=lab.people[0])
        until(is_running(lab, job), 20, "the job runs")
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
        assert left_of(folder) == []
    finally:
        running.kill()
        running.wait()
        SlurmLab(folder).down(remove=True)


OWNER = """
import sys, time
sys.path.insert(0, "tools")
from pathlib import Path
from slurm_lab import guard
from slurm_lab.lab import SlurmLab
with guard.running(SlurmLab(Path(sys.argv[1]), nodes=1, rest=False), remove=True):
    print("up", flush=True)
    time.sleep(300)
"""


def test_a_killed_owner_leaves_nothing() -> None:
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"slurm-kill-{os.getpid()}"
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "up\n"
    assert left_of(folder) != []
    owner.kill()
    owner.wait()
    until(lambda: not folder.exists() and not left_of(folder), 30, "the guard stops the lab", pause_s=0.2)


def test_nothing_is_left_when_a_lab_goes(make_slurm_lab: Callable[..., SlurmLab]) -> None:
    began = time.monotonic()
    lab = make_slurm_lab(nodes=1, enforce="")
    assert time.monotonic() - began < 60
    lab.submit(script="sleep 304", user=lab.people[0])
    lab.down(remove=True)
    assert [line for line in left_of(lab.folder) if " guard " not in line] == []
    assert not lab.folder.exists()


FORM = {
    "title": "Court French", "summary": "to learn", "organisation_kind": "startup", "country": "CA",
    "founded": "2024-05-01", "staff": 5, "turnover": 0, "kind": "h100-sxm", "hours": 10, "months": 1, "civilian": "yes",
    "data_class": "public", "ethics.personal-data": "no", "ethics.data-rights": "yes", "ethics.misuse": "no",
    "ethics.automated-decision": "no",
}  # fmt: skip


def type_what_it_says(lines: list[str]) -> None:
    """Line by line, in a shell, as somebody would who has never seen any of it: a project, an account, a job, why."""

    def typed(*more: str) -> str:
        script = "\n".join(["set -e; shopt -s expand_aliases", *lines[:2], *more])
        return subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True, timeout=120).stdout

    assert [line.split()[0] for line in lines[:3]] == ["export", "alias", "fabrique"]
    form = " ".join(f"--set {shlex.quote(f'{key}={value}')}" for key, value in FORM.items())
    apply = lines[2].partition("#")[0]
    project = re.search(r"\bp-[0-9a-f]{6}\b", typed(f"{apply} --mode lasalle_startup {form}"))
    assert project is not None
    *before, squeue, queue, why = (line.replace("PROJECT", project[0]).replace("JOBID", "1") for line in lines[3:])
    assert "Submitted batch job 1" in typed(*before)
    until(lambda: "Job 1 (wrap): running." in typed(why), 30, "the job runs by the hub's word")
    assert "place.only" in typed(f"{why} --json")  # not place.own-door: it was held, and released
    assert "wrap" in typed(queue) and "RUNNING" in typed(squeue)


def test_make_slurm_opens_a_hub_on_a_cluster_and_term_stops_both() -> None:
    folder = Path(tempfile.mkdtemp(prefix="slurm-demo-"))
    folder.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FABRIQUE_")}
    environment |= {"SLURM_DEMO": str(folder), "PORT": str(ports.free(1)), "LC_ALL": "C.UTF-8"}
    command = [sys.executable, "tools/slurm_demo.py"]
    demo = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert demo.stdout is not None
        said = []
        for line in demo.stdout:  # pytest's own limit bounds it
            said.append(line)
            if line.startswith("Ctrl-C stops it"):
                break
        assert f"Portal                         http://127.0.0.1:{environment['PORT']}\n" in said
        assert any(line.strip() == f"export SLURM_CONF={folder}/cluster/etc/slurm.conf" for line in said)
        portal = HTTPConnection("127.0.0.1", int(environment["PORT"]), timeout=10)
        portal.request("GET", "/healthz")
        assert portal.getresponse().status == 200
        assert SlurmLab.open(folder / "cluster").daemons.find("slurmctld")
        type_what_it_says([line.strip() for line in said if line.startswith("    ")])
        demo.send_signal(signal.SIGTERM)
        last = demo.stdout.read().splitlines()  # to its end
        assert demo.wait(60) == 0
        assert last[-1] == "slurm: the cluster is stopped, and what ran on it"
        assert not [line for line in last if "go on" in line]  # of jobs that the next line ends
        assert left_of(folder) == []
    finally:
        demo.kill()
        demo.wait()
        SlurmLab(folder / "cluster").down(remove=True)
        shutil.rmtree(folder)
