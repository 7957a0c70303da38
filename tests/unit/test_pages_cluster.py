"""Pages of a hub on a cluster: jobs that its queue put back, jobs that wait for like reasons, what a project has."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest

from fabrique.apps.access.queries import BudgetLine
from fabrique.apps.jobs.models import Job, Run
from fabrique.apps.jobs.views import _example
from fabrique.core.reasons import reason
from fabrique.core.units import unit

pytestmark = pytest.mark.django_db


def text(response: Any) -> str:
    """The page's words, without markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode())).replace("\u00a0", " ")


def test_one_that_a_cluster_put_back_is_not_told_that_nothing_was_charged(desk: Any) -> None:
    client, here = desk.client("pi"), f"/jobs/{desk.job.number}"
    assert "nothing is charged" in text(client.get(here))
    run = Run.objects.create(
        job=desk.job, engine="lab", partition="gpu", kind="h100-sxm", unit="acc-ms:h100-sxm", state="ended", attempt=1,
        share_milli=1000, hold=desk.job.key, planned_ms=1, started_ms=2, ended_ms=3, bound={},
        reason=reason("end.requeued").as_json(),
    )  # fmt: skip
    said = text(client.get(here))
    assert "nothing more is charged" in said and "It has not started" not in said
    Run.objects.filter(pk=run.pk).update(state="abandoned", started_ms=None)  # Slurm never started it
    said = text(client.get(here))
    assert "nothing is charged" in said and "since it started" not in said


def test_the_first_page_says_of_jobs_that_ask_for_different_things_what_they_have_in_common(desk: Any) -> None:
    def say(job: Job, asked: int) -> None:
        why = reason("wait.cores", partition="this-machine", asked=asked, free=0)
        Job.objects.filter(pk=job.pk).update(reason=why.as_json())

    say(desk.job, 8_000)
    assert "8 asked, 0 free" in text(desk.client().get("/"))
    other = Job.objects.get(pk=desk.job.pk)
    other.pk = other.number = None  # type: ignore[assignment]
    other.key = uuid.uuid4()
    other.save(force_insert=True)
    say(other, 1_000)
    said = text(desk.client().get("/"))
    assert "Waiting for cores 2" in said and "asked" not in said


def test_the_example_asks_for_what_the_project_has(desk: Any) -> None:
    page = text(desk.client("pi").get(f"/projects/{desk.project.code}/submit"))
    assert "#fabrique cores: 1" in page
    device = BudgetLine(unit("acc-ms:h100-sxm"), 1, 0, 0, 0, 0, 0, 1, limited=True, bookable=1, pace_per_day=None)
    assert "#fabrique accelerators: 1" in _example("p-1", [(device, 1)])
