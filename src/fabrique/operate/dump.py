"""PostgreSQL's own tools for a backup: pg_dump and pg_restore. The password goes by the environment alone."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from django.db import connection

from fabrique.core.errors import FabriqueError


def is_postgresql() -> bool:
    return connection.vendor == "postgresql"


def write(target: Path) -> Path:
    """One consistent state of the database. Raises `program.missing`, `home.broken`."""
    _run(["pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={target}"])
    return target


def read(source: Path, then: str, values: Sequence[int]) -> None:
    """The dump into the database that the settings name, which must be empty; then one statement.

    Raises `home.exists`, `program.missing`, `home.broken`, and `backup.broken` where no database is named.
    """
    if not is_postgresql():
        raise FabriqueError("backup.broken", why="PostgreSQL: FABRIQUE_DATABASE_URL")
    if connection.introspection.table_names():
        raise FabriqueError("home.exists", home="FABRIQUE_DATABASE_URL")
    name = str(connection.settings_dict["NAME"])
    _run(["pg_restore", "--no-owner", "--no-privileges", "--single-transaction", f"--dbname={name}", str(source)])
    with connection.cursor() as cursor:
        cursor.execute(then, list(values))


def _run(command: list[str]) -> None:
    program = shutil.which(command[0])
    if program is None:
        raise FabriqueError("program.missing", program=command[0])
    done = subprocess.run([program, *command[1:]], env=_environment(), capture_output=True, text=True)
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or [str(done.returncode)])[0]
        raise FabriqueError("home.broken", file=command[0], why=why[:200])


def _environment() -> dict[str, str]:
    settings = connection.settings_dict
    names = {"PGHOST": "HOST", "PGPORT": "PORT", "PGUSER": "USER", "PGPASSWORD": "PASSWORD", "PGDATABASE": "NAME"}
    return {**os.environ, **{variable: str(settings[key]) for variable, key in names.items() if settings.get(key)}}
