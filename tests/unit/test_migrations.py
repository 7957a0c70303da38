"""Tables are made, unmade and made again, on the database under test, and models and migrations agree."""

from __future__ import annotations

import subprocess
import sys

import pytest

APPS = ("people", "audit", "ledger", "access", "jobs", "energy", "catalogue", "rules")
OURS = """
import django; django.setup()
from django.db import connection
tables = connection.introspection.table_names()
print("\\n".join(sorted(t for t in tables if t.split("_")[0] in {apps!r})))
"""


def django(environment: dict[str, str], *args: str) -> str:
    environment = {**environment, "DJANGO_SETTINGS_MODULE": "fabrique.portal.settings"}
    done = subprocess.run([sys.executable, *args], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def our_tables(environment: dict[str, str]) -> list[str]:
    return django(environment, "-c", OURS.format(apps=set(APPS))).split()


@pytest.fixture
def environment(fresh_environment: dict[str, str]) -> dict[str, str]:
    from pathlib import Path

    Path(fresh_environment["FABRIQUE_HOME"]).mkdir()
    return fresh_environment


def test_migrations_run_both_ways(environment: dict[str, str]) -> None:
    django(environment, "-m", "django", "migrate", "--verbosity=0")
    made = our_tables(environment)
    assert {"ledger_posting", "jobs_run", "people_person", "access_allocation"} <= set(made)
    for app in reversed(APPS):
        django(environment, "-m", "django", "migrate", app, "zero", "--verbosity=0")
    assert our_tables(environment) == []
    django(environment, "-m", "django", "migrate", "--verbosity=0")
    assert our_tables(environment) == made


def test_every_model_change_has_its_migration(environment: dict[str, str]) -> None:
    django(environment, "-m", "django", "makemigrations", "--check", "--dry-run")
