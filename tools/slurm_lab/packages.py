"""What a lab needs of the machine, and which of Debian's packages bring it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SBIN: Final = ("/usr/sbin", "/sbin")
PACKAGES: Final = {  # Debian's, with what is looked for
    "munge": "munged",
    "slurm-client": "sbatch",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "slurmdbd": "slurmdbd",
    "slurmrestd": "slurmrestd",
    "slurm-wlm-basic-plugins": "plugin:job_submit_lua.so",
    "slurm-wlm-jwt-plugin": "plugin:auth_jwt.so",
    "slurm-wlm-mysql-plugin": "plugin:accounting_storage_mysql.so",
    "mariadb-server": "mariadbd",
}
FOR_ENERGY: Final = {
    "gcc": "gcc",
    "libc6-dev": "header:stdio.h",
    "libslurm-dev": "header:slurm/slurm.h",
}


def program(name: str) -> str | None:
    """The path of a program; a user's PATH often lacks the folders of daemons."""
    return shutil.which(name) or next((found for f in SBIN if (found := shutil.which(name, path=f))), None)


def plugins() -> Path | None:
    """The folder of Slurm's plugins."""
    found = sorted(Path("/usr/lib").glob("*/slurm*/accounting_storage_slurmdbd.so"))
    return found[0].parent if found else None


def missing(packages: dict[str, str] = PACKAGES) -> list[str]:
    """The packages that are not there."""
    return list(_missing(packages))


def _missing(packages: dict[str, str]) -> Iterator[str]:
    folder = plugins()
    for package, sign in packages.items():
        kind, _, name = sign.rpartition(":")
        if kind == "plugin":
            here = folder is not None and (folder / name).exists()
        elif kind == "header":
            here = Path("/usr/include", name).exists()
        else:
            here = program(name) is not None
        if not here:
            yield package
