"""A lab's folder: who owns what in it, its secrets, its files."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import Final

from . import energy, packages, power, render
from .options import Options
from .processes import LabError, as_user

LONGEST_PATH: Final = 70  # a socket's whole path has 107 bytes
FOLDERS: Final = ("etc", "state", "spool", "run", "log", "dev", "meters", "plugins", "secrets", "database")
OWNERS: Final = {
    "state": "slurm",
    "log": "slurm",
    "run/slurm": "slurm",
    "run/munge": "munge",
    "run/mysql": "mysql",
    "database": "mysql",
}
PRIVATE: Final = 0o600


def user_of(role: str, slurm_user: str = "") -> str:
    """Who a daemon runs as: its own user of Debian's where we are root, else ourselves."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    if role == "slurm" and slurm_user:
        return slurm_user
    try:
        return pwd.getpwnam(role).pw_name
    except KeyError:
        return "nobody"  # no package makes one for the REST daemon, which may be neither root nor Slurm's


def slurmd_user(options: Options) -> str:
    """A node's daemon becomes the user of each job: it is root's, or there is but one user."""
    return "root" if os.geteuid() == 0 else user_of("slurm", options.slurm_user)


def make(folder: Path, options: Options) -> None:
    """Its folders, and what another process must know of it. LabError where a lab can't live there."""
    if len(str(folder)) > LONGEST_PATH:
        raise LabError(f"{folder}: too long a path for a lab, whose sockets have short ones")
    for name in (*FOLDERS, *OWNERS, *(f"meters/{node}" for node in options.nodes)):
        (folder / name).mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    for name, role in OWNERS.items():
        shutil.chown(folder / name, user_of(role, options.slurm_user))
    (folder / "log").chmod(0o1777)
    if os.geteuid() == 0:
        seen = subprocess.run(["test", "-r", str(folder / "etc")], check=False, **as_user("nobody"))
        if seen.returncode != 0:
            raise LabError(f"{folder}: other users can't pass the folders above; a lab of root's needs that")
    options.write(folder / "lab.json")


def fill(folder: Path, options: Options, ports: render.Ports) -> None:
    """Write its files anew. Secrets stay as they are."""
    plugins = packages.plugins()
    if plugins is None:
        raise LabError("Slurm's plugins are not installed")
    slurm = user_of("slurm", options.slurm_user)
    _secret(folder / "secrets" / "munge.key", 1024, user_of("munge"))
    _secret(folder / "secrets" / "jwt.key", 32, slurm)
    for number in range(max((group.gpus for group in options.groups), default=0)):
        device = folder / "dev" / f"gpu{number}"
        if not device.is_symlink():
            device.symlink_to("/dev/null")
    if options.energy:
        energy.build(folder / "plugins")
    users = (slurm, slurmd_user(options))
    for name, text in render.files(options, folder, ports, plugins=plugins, users=users).items():
        (folder / "etc" / name).write_text(text, encoding="utf-8")
    _keep_to(folder / "etc" / "slurmdbd.conf", slurm)  # Slurm refuses one that others may read
    power.write(folder)


def _secret(path: Path, size: int, user: str) -> None:
    if not path.exists():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb") as file:
            file.write(secrets.token_bytes(size))
    _keep_to(path, user)


def _keep_to(path: Path, user: str) -> None:
    path.chmod(PRIVATE)
    shutil.chown(path, user)
