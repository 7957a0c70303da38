"""A hub on a Slurm of one's own, to try at home: `make slurm`. Stays in the foreground; TERM or Ctrl-C stops it whole.

The cluster and the hub live in SLURM_DEMO (else /var/tmp/fabrique-slurm-UID); the next start goes on with both.
HUB= chooses the hub, PORT= the portal's port. Debian's packages of Slurm are installed where this is root.
Exit code: the hub's; 69 where Slurm's parts are missing; 1 where the cluster does not start.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

import prepare_tests
from slurm_lab import guard
from slurm_lab.lab import SlurmLab
from slurm_lab.processes import LabError

FABRIQUE: Final = str(Path(sys.executable).parent / "fabrique")
KIND: Final = "h100=h100-sxm"  # what the lab's declared devices are in our catalogue
CAP_W: Final = "20000"  # less than all of it may draw: power is scarce, as at a real hub
NOT_INSTALLED: Final = 69  # EX_UNAVAILABLE
FRENCH: Final = {
    "slurm: starting the cluster": "slurm : démarrage de la grappe",
    "slurm: the cluster is stopped, and what ran on it": "slurm : la grappe est arrêtée, et ce qui y tournait",
    "The cluster {name} runs: {nodes} nodes, partitions gpu and flex. In another terminal:": (
        "La grappe {name} tourne : {nodes} nœuds, partitions gpu et flex. Dans un autre terminal :"
    ),
    "ask for time; it ends with the project's name": "demander du temps ; à la fin, le nom du projet",
    "the project becomes an account of the same name": "le projet devient un compte du même nom",
}
STOPPING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def our_folder() -> Path:
    """Where the demonstration lives. LabError where somebody else made it: what is in it would be theirs."""
    given = os.environ.get("SLURM_DEMO")
    folder = Path(given).absolute() if given else Path("/var/tmp", f"fabrique-slurm-{os.geteuid()}")  # noqa: S108
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise LabError(f"{folder} is not ours: name another folder with SLURM_DEMO=")
    if not given:
        folder.chmod(0o755)  # Slurm's users pass it, whatever our umask
    return folder


def connect(home: Path, lab: SlurmLab) -> None:
    """Make this hub's home where there is none, and run it on the cluster: what it has, accounts, door."""
    hub, port = os.environ.get("HUB"), os.environ.get("PORT", "8000")
    fabrique(home, "init", "--port", port, *(["--hub", hub] if hub else []), quiet=True)  # `up` says it again
    deployment = home / "fabrique.toml"
    if "[[clusters]]" not in deployment.read_text(encoding="utf-8"):
        fabrique(home, "slurm", "connect", "--conf", str(lab.conf), "--kind", KIND, "--cap-w", CAP_W)
    fabrique(home, "slurm", "apply")
    install_door(home, lab)


def install_door(home: Path, lab: SlurmLab) -> None:
    """The hub's files beside slurm.conf, and the lines that name them in it: the lab writes it anew at each start."""
    done = subprocess.run(
        [FABRIQUE, "slurm", "install", "--json", "--home", str(home)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise LabError(f"fabrique slurm install: {done.stderr.strip()[:400]}")
    lines = json.loads(done.stdout)["lines"]
    if not lines:
        return
    with lab.conf.open("a", encoding="utf-8") as conf:
        conf.writelines(f"{line}\n" for line in lines)
    lab.restart_controller()
    lab.run("scontrol", "reconfigure")


def fabrique(home: Path, *words: str, quiet: bool = False) -> None:
    """A command of the hub's, on this terminal. LabError where it fails: it has said why."""
    said = subprocess.DEVNULL if quiet else None
    done = subprocess.run([FABRIQUE, *words, "--home", str(home)], stdout=said, check=False)
    if done.returncode != 0:
        raise LabError(f"fabrique {' '.join(words)} ended with {done.returncode}")


def said(text: str, **names: object) -> str:
    """In the language of the terminal, French or English, as the hub's own commands."""
    language = next((found for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (found := os.environ.get(name))), "")
    return (FRENCH[text] if language.startswith("fr") else text).format(**names)


def what_next(lab: SlurmLab, home: Path) -> str:
    """Commands for another terminal, each as it is typed; the hub itself prints its own address.

    Root opens an account for somebody else: root submits nothing at a cluster. Anybody else is there already, by login.
    """
    who, root = lab.people[0], os.geteuid() == 0
    email = "ada@example.org"
    asks = f" --name 'Ada Lovelace' --email {email}" if root else ""
    login = f"    fabrique slurm login {email} {who}\n" if root else ""
    as_them = f"setpriv --reuid {who} --regid {who} --clear-groups " if root else ""
    person = f" --as {email}" if root else ""
    runs = "The cluster {name} runs: {nodes} nodes, partitions gpu and flex. In another terminal:"
    return f"""
{said(runs, name=lab.cluster, nodes=len(lab.nodes))}

    export SLURM_CONF={lab.conf}
    alias fabrique='{FABRIQUE} --home {home}'
    fabrique apply{asks}    # {said("ask for time; it ends with the project's name")}
{login}    fabrique slurm apply    # {said("the project becomes an account of the same name")}
    {as_them}sbatch -D /tmp -t 5 -A PROJECT --gres=gpu:1 --wrap 'sleep 60'
    squeue --Format=JobArrayID,State,Comment:80
    fabrique{person} queue
    fabrique{person} why JOBID
"""


def run_hub(home: Path, stop: threading.Event) -> int:
    """Portal and loop, until they end or we are told to stop; the hub's exit code."""
    command = [FABRIQUE, "up", "--home", str(home)]
    if shutil.which("setpriv"):  # even a killed parent leaves no hub behind
        command = ["setpriv", "--pdeathsig", "TERM", *command]
    hub = subprocess.Popen(command, start_new_session=True)
    try:
        while hub.poll() is None and not stop.wait(0.2):
            pass
    finally:
        if hub.poll() is None:
            hub.terminate()
        try:
            hub.wait(30)
        except subprocess.TimeoutExpired:
            hub.kill()
            hub.wait()
    return 0 if stop.is_set() else int(hub.returncode)


class StoppedError(Exception):
    """Told to stop before the hub was open."""


def main() -> int:
    if missing := prepare_tests.provide(prepare_tests.SLURM[:1]):
        packages = " ".join(part.package for part in missing)
        print(f"slurm: Slurm is not whole here; as root: apt-get install {packages}", file=sys.stderr)
        return NOT_INSTALLED
    stop = threading.Event()

    opened = threading.Event()

    def told(*_: object) -> None:
        first = not stop.is_set()  # a second signal must not break the stopping
        stop.set()
        if first and not opened.is_set():
            raise StoppedError

    for each in STOPPING:
        signal.signal(each, told)
    try:
        folder = our_folder()
        print(said("slurm: starting the cluster"), flush=True)
        with guard.running(SlurmLab(folder / "cluster")) as lab:
            connect(folder / "home", lab)
            print(what_next(lab, folder / "home"), flush=True)
            opened.set()
            code = run_hub(folder / "home", stop)
        print(said("slurm: the cluster is stopped, and what ran on it"), flush=True)
        return code
    except StoppedError:
        return 0
    except (LabError, OSError) as error:
        print(f"slurm: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
