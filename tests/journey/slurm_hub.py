"""A hub on a lab's Slurm, as an operator sets it up: two projects, two users; and what the accounting says of both."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.conftest import Home

if TYPE_CHECKING:
    from tools.slurm_lab.lab import SlurmLab

ROOT = Path(__file__).parents[2]
FORM = ROOT / "examples" / "apply.yaml"
DEVICE, CORE = "acc-ms:h100-sxm", "core-ms:lab-core"
SLURMS = "%Y-%m-%dT%H:%M:%S"  # how Slurm writes an instant, in the zone of the machine
FINAL = {"completed", "failed", "cancelled", "refused", "lost"}


@dataclass(frozen=True, slots=True)
class User:
    """Somebody of the hub with their login on the cluster, their project and its account there."""

    email: str
    login: str
    project: str
    account: str


@dataclass(slots=True)
class SlurmHub:
    """`home` is the hub's, `lab` its cluster, `users` one with hours of accelerators, one with hours of cores."""

    lab: SlurmLab
    home: Home
    users: list[User] = field(default_factory=list)
    loops: list[subprocess.Popen[str]] = field(default_factory=list)

    def answer(self, *words: str, stdin: str | None = None, who: User | None = None) -> Any:
        """`fabrique WORDS --json`, as the operator or `who`."""
        done = self.home.run(*(("--as", who.email) if who else ()), *words, "--json", stdin=stdin)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def sbatch(self, user: User, *arguments: str, script: str) -> int:
        return self.lab.submit("-A", user.account, *arguments, script=script, user=user.login)

    def submit(self, user: User, script: str) -> subprocess.Popen[str]:
        """`fabrique submit`, under way: it takes seconds that the test need not wait for."""
        needs = "cores: 2" if user == self.users[1] else "accelerators: 1"
        text = f"#!/bin/sh\n#fabrique walltime: 2m\n#fabrique {needs}\n{script}\n"
        command = [str(Path(sys.executable).parent / "fabrique"), "--as", user.email, "submit", "-", "--json"]
        command += ["--project", user.project]
        made = subprocess.Popen(
            command, env=self.home.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert made.stdin is not None
        made.stdin.write(text)
        made.stdin.close()
        return made

    def loop(self, **environment: str) -> subprocess.Popen[str]:
        """`fabrique operate`, until it is told to stop; what it says goes to the home's `operate.log`."""
        command = [str(Path(sys.executable).parent / "fabrique"), "operate"]
        with (self.home.path.parent / "operate.log").open("a") as log:
            made = subprocess.Popen(
                command, env={**self.home.environment, **environment}, stdout=log, stderr=log, text=True
            )
        self.loops.append(made)
        return made

    @contextmanager
    def operating(self, *, acts: bool = True, **environment: str) -> Iterator[subprocess.Popen[str]]:
        """A loop while the block runs, from its first beat on; one that only observes gives none."""
        process = self.loop(**environment)
        try:
            if acts:
                self.beats()
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)

    def clear(self) -> None:
        """What a test that failed has left."""
        for process in self.loops:
            process.kill()
            process.wait()
        self.loops.clear()
        if left := self.lab.run("squeue", "-h", "-o", "%A", check=False).stdout.split():
            self.lab.run("scancel", *left, check=False)
            until(lambda: not self.lab.run("squeue", "-h", check=False).stdout, 30)

    def beats(self, after: float = 0, seconds: float = 60) -> None:
        """Until the door's file was renewed, since `after` or from now on."""
        door, since = self.home.path / "slurm" / "door", max(after, time.time())
        until(lambda: door.exists() and door.stat().st_mtime >= since, seconds, self.log)

    def log(self) -> str:
        """What the loops said last."""
        return (self.home.path.parent / "operate.log").read_text(errors="replace")[-3_000:]

    # --- what Slurm shows ---------------------------------------------------------------------------------

    def shown(self, job: int | str, column: str) -> str:
        """A field of squeue's; empty where the job has left it."""
        return self.lab.run("squeue", "-h", "-j", str(job), "-O", f"{column}:300", check=False).stdout.strip()

    def sacct(self, since_s: float) -> list[dict[str, str]]:
        """Every run submitted since then, requeued ones each, as the accounting has it."""
        fields = "JobIDRaw JobID JobName Account State Submit Start End ElapsedRaw AllocTRES NodeList".split()
        begin = time.strftime(SLURMS, time.localtime(since_s))
        command = ["sacct", "-D", "-X", "-a", "-n", "-P", "-S", begin, "-o", ",".join(fields)]
        lines = self.lab.run(*command).stdout.splitlines()
        rows = [dict(zip(fields, line.split("|"), strict=True)) for line in lines]
        return [row for row in rows if row["Submit"] >= begin]

    def by_accounting(self, since_s: float) -> dict[str, Counter[str]]:
        """By account, device-milliseconds and core-milliseconds that ran, to the second."""
        found = {user.account: Counter[str]() for user in self.users}
        for row in self.sacct(since_s):
            if row["Account"] in found and row["NodeList"] not in ("", "None assigned"):
                before = instant(row["Submit"]) - instant(row["Start"])  # of a resized job: another row has that
                _add(found[row["Account"]], row["AllocTRES"], int(row["ElapsedRaw"]) - max(before, 0))
        return found

    def by_controller(self, since_s: float) -> dict[str, Counter[str]]:
        """The same by what the controller remembers, for five minutes, of each job's last run."""
        begin = time.strftime(SLURMS, time.localtime(since_s))
        found = {user.account: Counter[str]() for user in self.users}
        for line in self.lab.run("scontrol", "-o", "show", "job").stdout.splitlines():
            job = dict(word.split("=", 1) for word in line.split() if "=" in word)
            if job["SubmitTime"] >= begin and job["Account"] in found and job["StartTime"] != "Unknown":
                start, end = (time.mktime(time.strptime(job[name], SLURMS)) for name in ("StartTime", "EndTime"))
                _add(found[job["Account"]], job["TRES"], int(end - start))
        return found

    # --- what the hub has ---------------------------------------------------------------------------------

    def books(self, since_s: float) -> Books:
        """Read by a process of its own, for this one has another hub's database open."""
        command = [sys.executable, str(Path(__file__).with_name("slurm_books.py")), str(int(since_s * 1000))]
        environment = {**self.home.environment, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        return Books(**json.loads(done.stdout))

    def settled(
        self, since_s: float, expected: int, seconds: float, ran: Callable[[float], dict[str, Counter[str]]]
    ) -> Books:
        """The books once every job is final and Slurm's queue is empty, a bounded wait."""
        ours = ",".join(user.account for user in self.users)
        until(
            lambda: not self.lab.run("squeue", "-h", "-A", ours, "-t", "PD,R,CG,S", check=False).stdout,
            seconds,
            lambda: self.lab.run("squeue", "-A", ours, "-o", "%i %j %T %r %p %k", check=False).stdout,
        )
        end = time.monotonic() + seconds
        while True:
            found = self.books(since_s)
            if found.jobs == expected and not found.open and found.agrees_with(ran(since_s)):
                return found
            if time.monotonic() > end:
                return found
            time.sleep(1)

    def assert_books_are_sacct_s(
        self,
        since_s: float,
        expected: int,
        seconds: float = 60,
        ran: Callable[[float], dict[str, Counter[str]]] | None = None,
    ) -> Books:
        """Nothing lost, doubled or mischarged since then; `expected` jobs are there, all of them over.

        `ran`: who says so, where it is not sacct.
        """
        ran = ran or self.by_accounting
        found = self.settled(since_s, expected, seconds, ran)
        by_sacct = ran(since_s)
        assert (found.jobs, found.open) == (expected, []), (found.by_status, found.runs, self.sacct(since_s))
        assert found.charged == {account: dict(sums) for account, sums in by_sacct.items()}, (
            found.runs,
            self.sacct(since_s),
        )
        assert found.held == 0 and found.open_holds == 0
        assert found.ledger_ok, found
        assert found.charged_by_ledger == found.charged, found
        return found


@dataclass(frozen=True, slots=True)
class Books:
    """What the hub has since an instant: `charged` by account and unit by its runs, `charged_by_ledger` by postings.

    What was beyond a run's hold is part of it, though the hub bears it; what was given back, `refunded`, is not.
    """

    jobs: int
    by_status: dict[str, int]
    open: list[int]
    runs: list[dict[str, Any]]
    charged: dict[str, dict[str, int]]
    charged_by_ledger: dict[str, dict[str, int]]
    refunded: dict[str, dict[str, int]]
    held: int
    open_holds: int
    quarantined: list[dict[str, Any]]
    ledger_ok: bool
    divergence: str

    def agrees_with(self, by_account: Mapping[str, Mapping[str, int]]) -> bool:
        return self.charged == {account: dict(sums) for account, sums in by_account.items()}


def instant(written: str) -> int:
    return int(time.mktime(time.strptime(written, SLURMS)))


def _add(sums: Counter[str], tres: str, seconds: int) -> None:
    given = dict(pair.split("=") for pair in tres.split(",") if pair)
    devices, cores = int(given.get("gres/gpu", 0)), int(given.get("cpu", 0))
    if seconds:
        sums[DEVICE if devices else CORE] += (devices or cores) * seconds * 1000


def until(holds: Callable[[], Any], seconds: float, told: Callable[[], object] = str) -> Any:
    """What `holds` answers once that is true; fails with what `told` says."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, told()
        time.sleep(0.1)
    return found


@contextmanager
def open_hub(
    make_slurm_lab: Callable[..., SlurmLab],
    kind: str = "h100-sxm",
    changed: Callable[[SlurmHub], None] = lambda _: None,
    **options: Any,
) -> Iterator[SlurmHub]:
    """The whole of it, set up by the commands that an operator types. `changed`: by hand in the deployment."""
    folder = Path(tempfile.mkdtemp(prefix="hub-"))
    folder.chmod(0o755)  # Slurm's users pass it
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("FABRIQUE_", "SLURM_"))}
    environment |= {"FABRIQUE_HOME": str(folder / "home"), "LC_ALL": "C.UTF-8"}
    lab = make_slurm_lab(**{"rest": False, "nodes": 3, **options})
    hub = SlurmHub(lab, Home(folder / "home", environment))
    try:
        set_up(hub, kind, changed)
        yield hub
    finally:
        lab.down(remove=True)
        shutil.rmtree(folder, ignore_errors=True)


def set_up(hub: SlurmHub, kind: str, changed: Callable[[SlurmHub], None]) -> None:
    hub.answer("init", "--hub", "ca-lasalle-hub")
    hub.answer("slurm", "connect", "--conf", str(hub.lab.conf), "--kind", f"h100={kind}", "--look-ahead", "2")
    changed(hub)
    logins = hub.lab.people[:2]
    for name, login, wanted in zip(("alice", "bob"), logins, (kind, "lab-core"), strict=False):
        email = f"{name}@example.org"
        asked = ("--set", f"kind={wanted}", "--set", "hours=50", "--set", f"title={name}", "--email", email)
        project = hub.answer("apply", "--mode", "lasalle_startup", "--file", str(FORM), *asked, "--name", name)
        hub.answer("slurm", "login", email, login)
        hub.users.append(User(email, login, project["project"], ""))
    hub.answer("slurm", "apply")
    rows = hub.lab.run("sacctmgr", "-nP", "show", "assoc", "format=account,user,parentname").stdout.splitlines()
    accounts = {user: account for account, user, _ in (row.split("|") for row in rows) if account.startswith("p-")}
    hub.users[:] = [User(u.email, u.login, u.project, accounts[u.login]) for u in hub.users]
    lines = hub.answer("slurm", "install")["lines"]
    with hub.lab.conf.open("a") as conf:
        conf.writelines(f"{line}\n" for line in lines)
    hub.lab.restart_controller()
    for node in hub.lab.nodes:  # prolog and epilog are read by each
        hub.lab.node_stop(node)
        hub.lab.node_start(node)
    hub.lab.wait_for_nodes()


@cache
def libfaketime() -> Path | None:
    """Debian's library that makes another clock."""
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)
