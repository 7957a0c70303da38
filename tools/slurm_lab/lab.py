"""`SlurmLab`: a whole Slurm in one folder, on its own ports of 127.0.0.1, from Debian's packages.

As root a cluster of many users; as another user all of it is that user's. Several stand side by side. Without systemd
and containers. The folder must be one that Slurm's users can pass (not below a 0700 one) with a short path.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from . import energy, folder, packages, ports, render
from .options import Group, Options
from .processes import NODE, Daemons, LabError, PortTakenError, as_user, end, until

TRIES: Final = 5
Done = subprocess.CompletedProcess[str]


class SlurmLab:
    """`up()` starts what does not run, `down()` stops all. Commands run in `{**os.environ, **lab.environment}`."""

    def __init__(self, at: Path, *, nodes: int = 4, gpus: int = 8, gpu: str = "h100", **options: Any) -> None:
        """`options` as in `Options`; `nodes`, `gpus`, `gpu` make its one group of nodes where `groups` is not given."""
        options.setdefault("groups", (Group(count=nodes, gpus=gpus, gpu=gpu),))
        if options.get("power_saving"):  # whoever starts nodes must be as root as they are
            options.setdefault("slurm_user", "root")
        self.folder = at
        self.options = Options(**options)
        self.ports = render.Ports(self.options.port_base or 0)
        self.daemons = Daemons(at)
        self._more: dict[str, Mapping[str, str]] = {}

    @classmethod
    def open(cls, at: Path) -> SlurmLab:
        """The lab that was started in the folder `at`, by this process or another. LabError where there is none."""
        try:
            options = Options.read(at / "lab.json")
        except (OSError, ValueError, TypeError):
            raise LabError(f"{at} holds no lab") from None
        lab = cls(at)
        lab.options, lab.ports = options, render.Ports(options.port_base or 0)
        return lab

    # --- what one asks of it ------------------------------------------------------------------------------

    @property
    def conf(self) -> Path:
        return self.folder / "etc" / "slurm.conf"

    @property
    def jwt_key(self) -> Path:
        return self.folder / "secrets" / "jwt.key"

    @property
    def cluster(self) -> str:
        return self.options.cluster

    @property
    def rest_url(self) -> str:
        return f"http://{render.ADDRESS}:{self.ports.rest}"

    @property
    def environment(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.conf)}

    @property
    def nodes(self) -> tuple[str, ...]:
        return self.options.nodes

    @property
    def slurm_user(self) -> str:
        return folder.user_of("slurm", self.options.slurm_user)

    @property
    def _database_socket(self) -> Path:
        return self.folder / "run" / "mysql" / "socket"

    @property
    def people(self) -> tuple[str, ...]:
        """Users whose jobs can run here: for root some that every Debian has, else oneself."""
        return ("games", "news", "uucp") if os.geteuid() == 0 else (pwd.getpwuid(os.geteuid()).pw_name,)

    def run(
        self, *command: str, user: str = "", check: bool = True, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """A command of Slurm's, as oneself or `user`, with `text` on its input. LabError where it fails and `check`."""
        who = as_user(user) if user else {}
        environment = {**os.environ, **self.environment, **({"USER": user, "HOME": "/"} if who else {})}
        done = subprocess.run(
            command, env=environment, cwd="/", input=text, capture_output=True, text=True, timeout=60, **who
        )
        if check and done.returncode != 0:
            raise LabError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def submit(self, *arguments: str, script: str, user: str = "") -> int:
        """A batch job with this shell script; its id. Its output is thrown away unless the arguments say otherwise."""
        done = self.run(
            "sbatch", "--parsable", "-D", "/", "-o", "/dev/null", *arguments, text=f"#!/bin/sh\n{script}\n", user=user
        )
        return int(done.stdout.strip().partition(";")[0])

    def account(self, name: str, *people: str) -> None:
        """An account, with these users in it."""
        self.run("sacctmgr", "-i", "add", "account", name)
        if people:
            self.run("sacctmgr", "-i", "add", "user", ",".join(people), f"account={name}")

    def token(self, user: str, seconds: int = 600) -> str:
        """A JSON web token that lets `user` in at `rest_url`."""
        return self.run("scontrol", "token", f"username={user}", f"lifespan={seconds}").stdout.strip().partition("=")[2]

    def meter(self, node: int | str, millijoules: int, watts: int, job: int | None = None) -> None:
        """What the node's meter reads from now on, or a job's own there (with `energy=True`)."""
        name = self.options.node(node)
        energy.write(self.folder / "meters" / name / ("node" if job is None else str(job)), millijoules, watts)

    # --- up and down --------------------------------------------------------------------------------------

    def up(self) -> SlurmLab:
        """Start what does not run; returns when every node is there. LabError says what is missing or failed."""
        if absent := packages.missing({**packages.PACKAGES, **(packages.FOR_ENERGY if self.options.energy else {})}):
            raise LabError(f"Slurm is not whole here; Debian's packages that are missing: {' '.join(absent)}")
        asked = self.options
        for left in reversed(range(TRIES)):
            if not self.daemons.names():
                base = asked.port_base or ports.free(asked.ports)
                self.options, self.ports = replace(asked, port_base=base), render.Ports(base)
            self.prepare()
            try:
                self._start()
            except PortTakenError:  # an outgoing connection may sit on any port that the system gives out
                self.down()
                self.options = asked
                if not left:
                    raise
            except BaseException:
                self.down()
                raise
            else:
                break
        return self

    def prepare_folder(self) -> None:
        """Make the folder, so that another process can open the lab."""
        folder.make(self.folder, self.options)

    def prepare(self) -> None:
        """Write the lab's files. Repeating it keeps secrets and state."""
        self.prepare_folder()
        folder.fill(self.folder, self.options, self.ports)

    def down(self, *, remove: bool = False) -> None:
        """Stop everything, jobs too; `remove` takes the folder away. Nothing of the lab runs afterwards."""
        if not remove and self.daemons.find("slurmctld"):
            self._cancel_all()
        how = signal.SIGKILL if remove else signal.SIGTERM
        self.daemons.stop("slurmrestd", "slurmctld", how=how)
        self.daemons.stop(*self.nodes, how=signal.SIGKILL)
        for name in ("slurmdbd", "mariadbd", "munged"):
            self.daemons.stop(name, how=how)
        self.daemons.sweep()
        if remove:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _cancel_all(self) -> None:
        """Tell Slurm that the jobs end here; a controller that does not answer can't be told."""
        try:
            jobs = self.run("squeue", "-h", "-o", "%A").stdout.split()
            if jobs:
                self.run("scancel", "--signal=KILL", "--full", *jobs, check=False)
                self.run("scancel", *jobs, check=False)
                until(lambda: not self.run("squeue", "-h", "-t", "R,CG").stdout, 5, "jobs end")
        except (LabError, subprocess.TimeoutExpired):
            return

    # --- its parts ----------------------------------------------------------------------------------------

    def node_start(self, which: int | str, *, booted: bool = False) -> None:
        """Start a node's daemon; Slurm sees it within a second or so. `booted`: as after a start of the machine, which
        Slurm wants of a node that it powers up, and takes for a mishap of any other.
        """
        name = self.options.node(which)
        (self.folder / "spool" / name).mkdir(exist_ok=True)
        more = {NODE: name, "SLURM_LAB_METERS": str(self.folder / "meters" / name)}
        self._daemon(
            name, ["slurmd", "-D", "-N", name, *(["-b"] if booted else [])], folder.slurmd_user(self.options), more
        )

    def node_kill(self, which: int | str) -> None:
        """Kill a node as a power cut does: its daemon, the steps of its jobs, and what they run."""
        name = self.options.node(which)
        steps = self.daemons.steps(name)
        self.daemons.stop(name, how=signal.SIGKILL)
        end([*steps, *self.daemons.steps(name)], signal.SIGKILL, 5)

    def node_stop(self, which: int | str) -> None:
        """Stop a node's daemon alone; its jobs run on."""
        self.daemons.stop(self.options.node(which))

    def start_controller(self, **environment: str) -> None:
        """`environment` is added to the controller's own: LD_PRELOAD and FAKETIME make another clock."""
        self._more["slurmctld"] = environment or self._more.get("slurmctld", {})
        self._daemon("slurmctld", ["slurmctld", "-D"], self.slurm_user, self._more["slurmctld"])
        self.daemons.ready("slurmctld", lambda: "UP" in self.run("scontrol", "ping", check=False).stdout, 30)

    def wait_until_kept(self, name: str, seconds: float = 20) -> None:
        """Until the controller has written the job of that name down, some seconds late: a killed one forgets."""
        written = self.folder / "state" / "job_state"
        until(lambda: written.exists() and name.encode() in written.read_bytes(), seconds, "the controller keeps it")

    def stop_controller(self, *, kill: bool = False) -> None:
        self.daemons.stop("slurmctld", how=signal.SIGKILL if kill else signal.SIGTERM)

    def restart_controller(self, *, kill: bool = False, **environment: str) -> None:
        self.stop_controller(kill=kill)
        self.start_controller(**environment)

    def start_database(self, **environment: str) -> None:
        """The accounting's daemon; it returns when the cluster is known there. `environment`: as the controller's."""
        address = render.address_of(render.hostname()) or render.ADDRESS
        here = {"MYSQL_UNIX_PORT": str(self._database_socket)}  # the client library has no other word for it
        self._daemon("slurmdbd", ["slurmdbd", "-D"], self.slurm_user, here | environment)
        self.daemons.ready("slurmdbd", lambda: ports.answers(self.ports.accounting, address), 30)

        def known() -> bool:  # the controller's first start wants its cluster in the database
            done = self.run("sacctmgr", "-i", "add", "cluster", self.cluster, check=False)
            words.append(done.stdout + done.stderr)
            return done.returncode == 0 or "already exists" in words[-1]

        words: list[str] = []
        try:
            until(known, 60, "the accounting takes the cluster", pause_s=0.2)
        except LabError as late:
            raise LabError(f"{late}\n{words[-1]}") from None

    def stop_database(self, *, kill: bool = False) -> None:
        self.daemons.stop("slurmdbd", how=signal.SIGKILL if kill else signal.SIGTERM)

    def start_rest(self) -> None:
        more = {"SLURM_JWT": "daemon", "MALLOC_ARENA_MAX": "2", "SLURMRESTD_DEBUG": "3"}
        if os.geteuid() != 0:  # it refuses to be Slurm's user, unless told
            more["SLURMRESTD_SECURITY"] = "disable_user_check"
        command = ["slurmrestd", "-a", "rest_auth/jwt", "-t", "4", f"{render.ADDRESS}:{self.ports.rest}"]
        self._daemon("slurmrestd", command, folder.user_of("slurmrestd"), more)
        self.daemons.ready("slurmrestd", lambda: ports.answers(self.ports.rest), 15)

    def stop_rest(self) -> None:
        self.daemons.stop("slurmrestd")

    def wait_for_nodes(self, seconds: float = 30, *, resume: bool = False, set_aside: bool = False) -> None:
        """Until every node takes jobs; those that Slurm itself powers are not waited for.

        `resume`: what Slurm drained is put back, as an operator would; a killed controller drains nodes whose jobs it
        has forgotten. `set_aside`: one that answers, and was taken out of service for a reason, stays so and is there.
        """
        said = [""]

        def all_there() -> bool:
            said[0] = self.run("sinfo", "-h", "-N", "-o", "%N %t %E", check=False).stdout
            states = [line.split(" ", 2) for line in said[0].splitlines()]
            for node in {one[0] for one in states if one[1] in ("drain", "drng", "down")} if resume else ():
                self.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)
            aside = {one[0] for one in states if one[1] in ("drain", "drng", "down") and one[2] != "none"}
            there = {one[0] for one in states if one[1] in ("idle", "mix", "alloc")}
            return there | (aside if set_aside else set()) >= set(self.nodes)

        try:
            until(all_there, seconds, "every node is there")
        except LabError as late:
            raise LabError(f"{late}\n{said[0]}") from None

    def _start(self) -> None:
        self._start_munge()
        self._start_mariadb()
        self.start_database()
        self.start_controller()
        cloud = "CLOUD" in self.options.nodes_extra
        for name in () if cloud else self.nodes:
            self.node_start(name)
        if self.options.rest:
            self.start_rest()
        if not cloud:
            self.wait_for_nodes(set_aside=True)

    def _start_munge(self) -> None:
        at, key = self.folder / "run" / "munge", self.folder / "secrets" / "munge.key"
        files = [f"--key-file={key}", f"--socket={at}/socket", f"--pid-file={at}/pid", f"--seed-file={at}/seed"]
        command = ["munged", "-F", "--force", "--num-threads=4", f"--log-file={at}/log", *files]
        self._daemon("munged", command, folder.user_of("munge"), {})
        self.daemons.ready("munged", lambda: ports.answers_at(at / "socket"), 10)

    def _start_mariadb(self) -> None:
        own, user = f"--defaults-file={self.folder}/etc/mariadb.cnf", folder.user_of("mysql")
        if not (self.folder / "database" / "mysql").is_dir():
            peer = f"--auth-root-socket-user={self.slurm_user}"
            command = ["mariadb-install-db", own, "--auth-root-authentication-method=socket", peer, "--skip-test-db"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd="/", **as_user(user))
            if done.returncode != 0:
                raise LabError(f"no database could be made:\n{(done.stdout + done.stderr)[-1500:]}")
        self._daemon("mariadbd", ["mariadbd", own], user, {})
        self.daemons.ready("mariadbd", lambda: ports.answers_at(self._database_socket, greets=True), 60)
        self._make_database()

    def _make_database(self) -> None:
        """slurmdbd would make it, but dies of that with MariaDB's library of 11.8.9: a connection that was refused for
        want of a database reads no answer afterwards.
        """
        made = f"CREATE DATABASE IF NOT EXISTS {render.DATABASE}"
        who = ["--no-defaults", f"--socket={self._database_socket}", f"--user={self.slurm_user}"]
        command = ["mariadb", *who, f"--execute={made}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/", **as_user(self.slurm_user))
        if done.returncode != 0:
            raise LabError(f"no database could be made:\n{done.stderr[-1500:]}")

    def _daemon(self, name: str, command: list[str], user: str, more: Mapping[str, str]) -> None:
        path = packages.program(command[0])
        if path is None:
            raise LabError(f"{command[0]} is not installed")
        self.daemons.start(name, [path, *command[1:]], user, {**self.environment, **more})
