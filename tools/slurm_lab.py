"""A whole Slurm on this machine: `tools/slurm_lab.py VERB --folder FOLDER`.

up                     start it (made where there is none) and leave it running; prints its environment
run                    the same in the foreground: TERM or Ctrl-C stops it whole
down                   stop all of it; --remove also takes the folder away
status                 its daemons and nodes
env                    lines for a shell: eval "$(tools/slurm_lab.py env --folder FOLDER)"
node-kill N            as a power cut does, its jobs too; node-stop N stops the daemon alone; node-start N
restart-controller     stop-database, start-database

N is a node's number or name. Exit code: 0; 2 bad arguments; 69 where Slurm's parts are missing; 1 else.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from pathlib import Path

from slurm_lab import guard, packages
from slurm_lab.lab import SlurmLab
from slurm_lab.processes import LabError

NOT_INSTALLED = 69  # EX_UNAVAILABLE
OF_A_NODE = ("node-kill", "node-stop", "node-start")
VERBS = ("up", "run", "down", "status", "env", *OF_A_NODE, "restart-controller", "stop-database", "start-database")


def arguments(words: list[str]) -> argparse.Namespace:
    read = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    read.add_argument("verb", choices=(*VERBS, guard.VERB), metavar="VERB")
    read.add_argument("node", nargs="?", help="for the verbs of a node")
    read.add_argument("--folder", type=Path, required=True)
    read.add_argument("--remove", action="store_true", help="down: with its folder")
    read.add_argument("--booted", action="store_true", help="node-start: as after a start of the machine")
    read.add_argument("--nodes", type=int, default=4)
    read.add_argument("--gpus", type=int, default=8, help="of each node")
    read.add_argument("--gpu", default="h100", help="their type")
    read.add_argument("--port-base", type=int, help="its first port (else it finds free ones)")
    read.add_argument("--cluster", default="lab")
    read.add_argument("--enforce", default="associations,limits,qos,safe", help='AccountingStorageEnforce; "": none')
    read.add_argument("--extra", action="append", default=[], metavar="LINE", help="a line for slurm.conf; repeatable")
    read.add_argument("--job-submit", type=Path, metavar="FILE", help="a job_submit.lua")
    read.add_argument("--energy", action="store_true", help="energy from meter files (needs gcc and libslurm-dev)")
    read.add_argument("--power-saving", action="store_true", help="Suspend- and ResumeProgram")
    asked = read.parse_intermixed_args(words)  # a node may come before or after the options
    if (asked.verb in OF_A_NODE) != (asked.node is not None):
        read.error(f"{asked.verb} {'wants a node' if asked.node is None else 'takes no node'}")
    asked.folder = asked.folder.absolute()
    return asked


def made(asked: argparse.Namespace) -> SlurmLab:
    """The lab that is there and runs, else one as asked for."""
    try:
        there = SlurmLab.open(asked.folder)
    except LabError:
        there = None
    if there is not None and there.daemons.names():
        return there
    return SlurmLab(
        asked.folder,
        nodes=asked.nodes,
        gpus=asked.gpus,
        gpu=asked.gpu,
        port_base=asked.port_base,
        cluster=asked.cluster,
        enforce=asked.enforce,
        extra=tuple(asked.extra),
        job_submit=asked.job_submit.read_text(encoding="utf-8") if asked.job_submit else "",
        energy=asked.energy,
        power_saving=asked.power_saving,
    )


def environment(lab: SlurmLab) -> str:
    values = {**lab.environment, "SLURM_LAB_REST": lab.rest_url, "SLURM_LAB_JWT_KEY": str(lab.jwt_key)}
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in values.items())


def run(lab: SlurmLab) -> None:
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: sys.exit(0))
    with guard.running(lab):
        print(environment(lab), flush=True)
        while True:
            signal.pause()


def status(lab: SlurmLab) -> None:
    for name in lab.daemons.names():
        process = lab.daemons.find(name)
        if process is not None:
            print(f"{name:<12} {process.pid:>8}  {process.memory_info().rss // 1_000_000} MB")
    if lab.daemons.find("slurmctld"):
        print(lab.run("sinfo", check=False).stdout.rstrip())


def act(asked: argparse.Namespace) -> None:
    if asked.verb in ("up", "run"):
        lab = made(asked)
        return run(lab) if asked.verb == "run" else print(environment(lab.up()), flush=True)
    lab = SlurmLab.open(asked.folder)
    verbs = {
        "down": lambda: lab.down(remove=asked.remove),
        "status": lambda: status(lab),
        "env": lambda: print(environment(lab)),
        "node-kill": lambda: lab.node_kill(asked.node),
        "node-stop": lambda: lab.node_stop(asked.node),
        "node-start": lambda: lab.node_start(asked.node, booted=asked.booted),
        "restart-controller": lab.restart_controller,
        "stop-database": lab.stop_database,
        "start-database": lab.start_database,
        guard.VERB: lambda: guard.watch(lab, remove=asked.remove),
    }
    return verbs[asked.verb]()


def main(words: list[str]) -> int:
    asked = arguments(words)
    try:
        act(asked)
    except (LabError, ValueError) as error:
        print(f"slurm: {error}", file=sys.stderr)
        return NOT_INSTALLED if packages.missing() else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
