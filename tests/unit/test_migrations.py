"""Tables are made, unmade and made again, on the database under test, and models and migrations agree."""

from __future__ import annotations

import subprocess
import sys

import pytest

APPS = ("people", "audit", "ledger", "access", "jobs", "energy", "catalogue", "rules")
BOTH_WAYS = f"""
import django; django.setup()
from django.core.management import call_command
from django.db import connection
def ours():
    print(*sorted(t for t in connection.introspection.table_names() if t.split("_")[0] in {APPS!r}))
call_command("migrate", verbosity=0); ours()
for app in {APPS[::-1]!r}:
    call_command("migrate", app, "zero", verbosity=0)
ours()
call_command("migrate", verbosity=0); ours()
"""


def django(environment: dict[str, str], *args: str) -> str:
    environment = {**environment, "DJANGO_SETTINGS_MODULE": "fabrique.portal.settings"}
    done = subprocess.run([sys.executable, *args], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def environment(fresh_environment: dict[str, str]) -> dict[str, str]:
    from pathlib import Path

    Path(fresh_environment["FABRIQUE_HOME"]).mkdir()
    return fresh_environment


def test_migrations_run_both_ways(environment: dict[str, str]) -> None:
    made, unmade, again = django(environment, "-c", BOTH_WAYS).splitlines()
    assert {"ledger_posting", "jobs_run", "people_person", "access_allocation"} <= set(made.split())
    assert unmade == ""
    assert again == made


def test_every_model_change_has_its_migration(environment: dict[str, str]) -> None:
    django(environment, "-m", "django", "makemigrations", "--check", "--dry-run")
