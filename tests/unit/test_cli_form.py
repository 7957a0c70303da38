"""The form of an access mode on the command line: what may be answered, in short."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings
from typer.testing import CliRunner

from fabrique.cli.main import app

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("language", "hours"), [("en", "local-core: 1 … 5,000"), ("fr", "local-core : 1 … 5 000")])
def test_an_open_end_is_shown_as_one(desk: Any, language: str, hours: str) -> None:
    asked = ["--home", str(settings.HOME), "--language", language, "apply", "--mode", "lasalle_startup", "--show"]
    said = CliRunner().invoke(app, asked, env={"COLUMNS": "200"}).stdout.replace("\u00a0", " ").replace("\u202f", " ")
    rows = {line.split()[0]: line for line in said.splitlines() if line.strip()}
    assert rows["turnover"].rstrip().endswith("0 …")
    assert hours in rows["hours"]
