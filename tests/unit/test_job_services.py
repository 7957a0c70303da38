"""Jobs as they are asked for: refused at once, with the reason, when they could never start."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.scripted import SCRIPT, T0, Bench

from fabrique.apps.access.models import Allocation, Project
from fabrique.apps.audit.models import SovereigntyDecision
from fabrique.apps.catalogue import services as catalogue
from fabrique.apps.jobs import services as jobs
from fabrique.apps.jobs.models import Job
from fabrique.apps.people import services as people
from fabrique.core.errors import FabriqueError


@pytest.fixture
def bench(here: Any) -> Bench:
    return Bench(here)


def test_data_that_may_not_come_here_is_refused_when_it_is_bound(bench: Bench) -> None:
    owner = bench.project.organisation
    catalogue.register("fr-health", "Registry", owner, "health", "FR", now=T0)
    catalogue.register("weather", "Weather", owner, "public", "FR", now=T0)
    with pytest.raises(FabriqueError) as caught:
        bench.submit(datasets="fr-health")
    assert caught.value.params["reason"]["code"] == "refuse.sovereignty"  # type: ignore[index]
    bench.submit(datasets="weather")
    bench.turn()
    moments = list(SovereigntyDecision.objects.values_list("moment", "verdict"))
    assert ("placement", "pass") in moments
    with pytest.raises(FabriqueError):
        bench.submit(datasets="unheard-of")


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        ({"cores": "3"}, "refuse.too-large"),
        ({"accelerators": "1"}, "refuse.no-partition"),
        ({"kinds": "h100-sxm"}, "refuse.no-partition"),
        ({"walltime": "11h"}, "refuse.budget"),
        ({"latest-start": "2020-01-01T00:00:00Z"}, "refuse.deadline"),
        ({"nodes": "2", "cores": "2"}, "refuse.too-large"),
    ],
)
def test_what_could_never_start_is_refused_at_once_with_its_reason(
    bench: Bench, flags: dict[str, str], code: str
) -> None:
    with pytest.raises(FabriqueError) as caught:
        bench.submit(**flags)
    assert caught.value.params["reason"]["code"] == code  # type: ignore[index]
    assert not Job.objects.exists()


def test_a_project_without_an_allocation_is_told_that_it_has_no_hours(bench: Bench) -> None:
    Allocation.objects.filter(project=bench.project).update(project=_other_project(bench))
    with pytest.raises(FabriqueError) as caught:
        bench.submit()
    assert caught.value.params["reason"]["code"] == "refuse.no-budget-in-kind"  # type: ignore[index]


def _other_project(bench: Bench) -> Project:
    return Project.objects.create(
        code="p-other1", serial=99, title="Other", organisation=bench.project.organisation, created_ms=T0
    )


def test_a_stranger_submits_nothing(bench: Bench) -> None:
    stranger = people.create_person("Eve", "eve@loop.example", now=T0)
    with pytest.raises(FabriqueError) as caught:
        jobs.submit(stranger, bench.project.code, SCRIPT, {}, now=T0)
    assert caught.value.code == "right.denied"


def test_without_isolation_only_the_operator_may_submit(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = bench.here.local.model_copy(update={"isolation": "none"})
    monkeypatch.setattr(bench.here, "local", alone)
    with pytest.raises(FabriqueError) as caught:
        bench.submit()
    assert caught.value.code == "isolation.single-user"
