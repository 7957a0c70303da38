"""A hub with files of its grid: a hold freezes what was expected, the books take what was, the hub bears the rest."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from tests.unit.scripted import CPU, T0, Bench, ended, running
from tests.unit.test_grid_live import put

from fabrique.apps.energy.models import Window as WindowRow
from fabrique.apps.ledger import services as ledger
from fabrique.apps.ledger.models import Hold, Posting
from fabrique.apps.ledger.verify import verify
from fabrique.apps.this_hub import ThisHub
from fabrique.core.units import HOUR_MS, MG
from fabrique.definitions.deployment import GridFiles
from fabrique.operate import duties


@pytest.fixture
def hub(here: Any, tmp_path: Path) -> ThisHub:
    """A kilogram a kWh expected until nine, one and a half in fact; the files are in `tmp_path`."""
    put(tmp_path / "was.csv", 5, 1500, 1500, first_ms=T0 - HOUR_MS, zone="CA-QC")
    put(tmp_path / "told.csv", 1000, 2000, first_ms=T0, zone="CA-QC")
    files = GridFiles(zone="CA-QC", actual=str(tmp_path / "was.csv"), forecast=str(tmp_path / "told.csv"))
    return ThisHub(here.home, here.hub, here.deployment.model_copy(update={"grid": (files,)}))


def test_a_hold_freezes_the_forecast_and_the_variance_is_the_hubs(hub: ThisHub) -> None:
    bench = Bench(hub)
    job = running(bench)
    frozen = Hold.objects.get(pk=job.runs.get().hold).frozen
    assert frozen["mg_per_kwh"] == 1_000_000
    assert "forecast, published" in frozen["factor"]
    ended(bench, job, exit_code=0)
    run = job.runs.get()
    assert run.energy_mj == 720_000
    assert run.charged[MG] == "200", "0.2 Wh at what was expected"
    assert ledger.balance("hub:forecast-variance", MG) == 100, "and half as much again, as it was"
    posted = Posting.objects.filter(account="hub:forecast-variance").get()
    assert "actual_factor" in posted.detail
    assert "a test), actual" in posted.detail
    assert WindowRow.objects.order_by("-start_ms")[0].mg_per_kwh == 1_500_000
    assert verify().ok


def test_where_what_was_is_not_known_the_yearly_average_stands_in_and_says_so(hub: ThisHub, tmp_path: Path) -> None:
    bench = Bench(hub)
    job = running(bench)
    put(tmp_path / "was.csv", 5, first_ms=T0 - HOUR_MS, zone="CA-QC")
    ended(bench, job, exit_code=0)
    yearly = round(720_000 * hub.factor(T0).mg_per_kwh / 3_600_000_000)
    assert ledger.balance("hub:forecast-variance", MG) == yearly - 200
    assert (
        "yearly average in place of the hourly series: grid.gap"
        in Posting.objects.filter(account="hub:forecast-variance").get().detail
    )
    row = WindowRow.objects.order_by("-start_ms")[0]
    assert (row.mg_per_kwh, "yearly average in place" in row.provenance["factor"]) == (hub.factor(T0).mg_per_kwh, True)


def test_a_broken_file_is_told_once_and_stops_nothing(
    hub: ThisHub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "told.csv").write_text("nothing\n")
    with caplog.at_level(logging.INFO, logger="fabrique.loop"):
        for _ in range(3):
            duties.check_grid(hub, now=T0)
    assert [r.getMessage().count("told.csv:1") for r in caplog.records] == [1]
    frozen = hub.frozen(CPU, T0)
    assert frozen.mg_per_kwh == hub.factor(T0).mg_per_kwh
    assert frozen.factor.endswith("yearly average in place of the hourly series: grid.file")
    caplog.clear()
    put(tmp_path / "told.csv", 1000, first_ms=T0, zone="CA-QC")
    with caplog.at_level(logging.INFO, logger="fabrique.loop"):
        duties.check_grid(hub, now=T0)
    assert [r.getMessage() for r in caplog.records] == ["the grid's files are used again"]


def test_without_files_everything_stands_on_the_yearly_average(here: ThisHub) -> None:
    assert here.hourly is None
    assert here.expected(T0).factor == here.factor(T0)
    assert "yearly average in place" not in here.frozen(CPU, T0).factor
    duties.check_grid(here, now=T0)


def test_the_files_of_another_zone_are_not_this_machines(here: ThisHub) -> None:
    other = (GridFiles(zone="LU", actual="lu.csv"),)
    assert ThisHub(here.home, here.hub, here.deployment.model_copy(update={"grid": other})).hourly is None
