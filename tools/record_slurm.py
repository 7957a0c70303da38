"""Records what a Slurm says, by commands and by REST, as the data of tests/unit/test_slurm_recorded.py.

A whole cluster is started for it, and given jobs of every kind. As root, where that release's packages are installed
and there is a user alice; it takes some two minutes:

    python tools/record_slurm.py tests/data/slurm/24.11
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from slurm_lab import guard
from slurm_lab.lab import SlurmLab
from slurm_lab.options import Group
from slurm_lab.processes import until

from fabrique.engines.slurm import commands
from fabrique.engines.slurm.http import Rest
from fabrique.engines.slurm.rest import NEWEST, OLDEST
from fabrique.engines.slurm.running import Ran

BETWEEN: Final = "|0123456789abcdef|"
PERSON, ACCOUNT, IDLE = "alice", "lab_a", "sleep 600"
PREEMPTION: Final = ("PreemptType=preempt/qos", "PreemptMode=REQUEUE")
LEFT_OUT: Final = ("job_resources", "steps")
WITH_STEPS: Final = "typed"  # one job's are kept


class Recorder(commands.CommandTransport):
    """The hub's own questions; what was answered is kept."""

    said = b""

    def _ask(self, *command: str) -> Ran:
        ran = super()._ask(*command)
        self.said = ran.output
        return ran


class Jobs:
    """One of each kind, by name."""

    def __init__(self, lab: SlurmLab) -> None:
        self.lab = lab
        self.ids: dict[str, int] = {}

    def submit(self, name: str, script: str, *arguments: str) -> None:
        self.ids[name] = self.lab.submit(
            f"--job-name={name}", f"--account={ACCOUNT}", *arguments, script=script, user=PERSON
        )

    def states(self) -> dict[str, set[str]]:
        """By name, of the accounting: a requeued job has the state of each of its runs."""
        told = self.lab.run("sacct", "-XDnPa", "-S", "now-1day", "-o", "JobIDRaw,JobID,State").stdout
        found: dict[str, set[str]] = {}
        by_id = {str(job): name for name, job in self.ids.items()}
        for raw, shown, state in (line.split("|") for line in told.splitlines()):
            name = by_id.get(raw) or by_id.get(shown.partition("_")[0], "")
            found.setdefault(name, set()).add(state.split()[0])
        return found

    def wait(self, state: str, *names: str, seconds: float = 40) -> None:
        until(lambda: all(state in self.states().get(n, ()) for n in names), seconds, f"{state}: {names}", pause_s=0.2)

    def runs(self, *names: str) -> None:
        until(lambda: all(self.now(n) == "RUNNING" for n in names), 40, f"{names} run", pause_s=0.2)

    def now(self, name: str) -> str:
        return self.lab.run("squeue", "-h", "-j", str(self.ids[name]), "-o", "%T", check=False).stdout.strip()

    def scontrol(self, *words: str) -> None:
        self.lab.run("scontrol", *words)


def play(jobs: Jobs) -> None:
    """What ran first; then a node fails and a job is preempted; then what waits."""
    jobs.submit("timeout", IDLE, "--time=1", "--nodelist=gpu01")
    jobs.submit("alone", "sleep 2", "--exclusive", "--nodelist=gpu02")
    jobs.submit("fails", "exit 3")
    jobs.submit("segv", "kill -SEGV $$")
    jobs.submit("typed", "sleep 2", "--gres=gpu:h100:2", "--cpus-per-task=4", "--mem=8G")
    jobs.submit("untyped", "sleep 1", "--gres=gpu:1")
    jobs.submit("pertask", "sleep 1", "--ntasks=2", "--nodes=1", "--gpus-per-task=1")
    jobs.submit("array", "sleep 1", "--array=1-6")
    jobs.submit("pernode", IDLE, "--nodes=2", "--gpus-per-node=h100:1")
    jobs.submit("resized", IDLE, "--nodes=2", "--gres=gpu:1")
    jobs.submit("requeued", IDLE, "--nodelist=gpu01")
    jobs.runs("pernode", "requeued", "resized")
    time.sleep(2)  # two runs of a job within a second look like one
    jobs.scontrol("requeue", str(jobs.ids["requeued"]))
    jobs.scontrol("update", f"JobId={jobs.ids['resized']}", "NodeList=gpu01")
    jobs.lab.run("scancel", str(jobs.ids["pernode"]))
    time.sleep(2)
    jobs.lab.run("scancel", str(jobs.ids["resized"]))
    jobs.wait("COMPLETED", "alone", "typed", "untyped", "pertask", "array")
    jobs.submit("nodefail", IDLE, "--gres=gpu:1", "--no-requeue", "--nodelist=gpu02")
    jobs.runs("nodefail")
    time.sleep(2)
    jobs.scontrol("update", "NodeName=gpu02", "State=DOWN", "Reason=cooling State=IDLE Partitions=none")
    jobs.submit("preempted", IDLE, "--gres=gpu:4", "--nodelist=gpu01")
    jobs.runs("preempted", "requeued")
    time.sleep(2)
    jobs.submit("preemptor", "sleep 1", "--gres=gpu:4", "--nodelist=gpu01", "--qos=high")
    jobs.wait("COMPLETED", "preemptor")
    jobs.runs("preempted", "requeued")
    jobs.submit("heldarray", IDLE, "--hold", "--array=1-5,9")
    jobs.submit("run-00000000\n|end JobId=7 é", IDLE, "--hold", "--comment=state=RUNNING\nx")
    jobs.submit("later", IDLE, "--begin=now+1day")
    jobs.submit("cancelledpending", IDLE, "--hold")
    jobs.lab.run("scancel", str(jobs.ids["cancelledpending"]), user=PERSON)
    jobs.submit("running", IDLE, "--gres=gpu:h100:1")
    jobs.submit("adminheld", IDLE, "--begin=now+1day", '--comment=un deux "trois" ; quit')
    jobs.scontrol("hold", str(jobs.ids["adminheld"]))
    jobs.wait("TIMEOUT", "timeout", seconds=150)
    jobs.wait("CANCELLED", "pernode", "resized")
    jobs.wait("PENDING", "running")
    time.sleep(6)  # the accounting hears some things late


def by_commands(lab: SlurmLab) -> dict[str, bytes]:
    commands._token = lambda: BETWEEN
    asked = Recorder(lab.conf)
    said: dict[str, bytes] = {}
    for name, question in (("squeue", asked.queue), ("sacct", asked.records), ("nodes", asked.nodes)):
        question()
        said[f"{name}.txt"] = asked.said
    return said


def by_rest(lab: SlurmLab) -> dict[str, bytes]:
    rest = Rest(lab.rest_url, lab.jwt_key, "root", 60, lambda: int(time.time()))
    offered = rest.ask("GET", "/openapi/v3")["paths"]
    said: dict[str, bytes] = {}
    for api in (f"v0.0.{number}" for number in range(OLDEST, NEWEST + 1)):
        if f"/slurm/{api}/jobs/" not in offered and f"/slurm/{api}/jobs" not in offered:
            continue
        for plugin, what in (("slurm", "jobs"), ("slurm", "nodes"), ("slurm", "ping"), ("slurmdb", "jobs")):
            query = {"show_duplicates": "true"} if plugin == "slurmdb" else {}
            answer = without(rest.ask("GET", f"/{plugin}/{api}/{what}", query))
            said[f"{plugin}-{api}-{what}.json"] = json.dumps(answer).encode()
    return said


def without(answer: dict[str, Any]) -> dict[str, Any]:
    answer.get("meta", {}).pop("client", None)
    for job in answer.get("jobs", ()):
        for name in LEFT_OUT:
            if job.get("name") != WITH_STEPS or name != "steps":
                job.pop(name, None)
    return answer


def main(words: Sequence[str]) -> int:
    if len(words) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    at = Path(words[0])
    group = Group(count=2, gpus=4, features="h100,rack1")
    lab = SlurmLab(Path(tempfile.mkdtemp(prefix="slurm-")), groups=(group,), extra=PREEMPTION)
    with guard.running(lab, remove=True):
        lab.account(ACCOUNT, PERSON)
        lab.run("sacctmgr", "-i", "add", "qos", "high", "priority=1000", "preempt=normal")
        lab.run("sacctmgr", "-i", "modify", "user", PERSON, "set", "qos+=high")
        play(Jobs(lab))
        said = by_commands(lab) | by_rest(lab)
    at.mkdir(parents=True, exist_ok=True)
    for name, data in said.items():
        (at / name).write_bytes(data)
        print(f"{len(data):>8} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
