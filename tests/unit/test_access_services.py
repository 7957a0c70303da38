"""From a stranger's application to an allocation: decided at once, by an officer, or refused with its reason."""

from __future__ import annotations

from typing import Any

import pytest

from fabrique.apps.access import queries
from fabrique.apps.access import services as access
from fabrique.apps.access.models import Application, ApplicationState, Project
from fabrique.apps.audit.models import Record
from fabrique.apps.ledger import services as ledger
from fabrique.apps.people import rights
from fabrique.apps.people import services as people
from fabrique.apps.people.models import Person, Role
from fabrique.core.errors import FabriqueError
from fabrique.core.units import unit

CPU = unit("core-ms:local-core")
T0 = 1_800_000_000_000
pytestmark = pytest.mark.django_db


@pytest.fixture
def ana(here: Any) -> Person:
    return people.create_person("Ana", "ana@access.example", now=T0)


@pytest.fixture
def officer(here: Any) -> Person:
    person = people.create_person("Omar", "omar@access.example", now=T0)
    desk = people.create_organisation("Desk", "operator", "CA", now=T0)
    people.grant_role(person, Role.COORDINATOR, desk, now=T0)
    return person


def form(mode_id: str, **changes: object) -> dict[str, object]:
    mode = access.find_mode(mode_id, now=T0)
    given: dict[str, object] = {
        "title": "Proteins", "summary": "Fold them.", "need": "x", "method": "y", "supervisor": "z", "course": "c",
        "students": "20", "organisation_kind": "researcher" if "research" in mode_id else "startup", "country": "CA",
        "founded": "2025-01-01", "staff": "5", "turnover": "1", "kind": "local-core", "hours": "10", "months": "1",
        "civilian": "yes", "data_class": "public", "confidential": "no",
    }  # fmt: skip
    given = {k: v for k, v in given.items() if mode.field(k)}
    given |= {f"ethics.{q.id}": "yes" if q.settled else "no" for q in mode.ethics}
    return {k: v for k, v in {**given, **changes}.items() if v is not None}


def apply(person: Person, mode_id: str = "lasalle_startup", **changes: object) -> Application:
    return access.submit(access.save_draft(person, mode_id, form(mode_id, **changes), now=T0), person, now=T0)


def test_an_automatic_mode_decides_at_once(ana: Person) -> None:
    done = apply(ana)
    assert (done.state, done.reason) == ("awarded", {"code": "decide.automatic", "mode": "lasalle_startup"})
    assert done.project is not None
    summary = queries.project_summary(done.project, now=T0)
    line = summary.allocations[0].lines[0]
    assert (line.granted, line.available, line.bookable) == (36_000_000, 36_000_000, 36_000_000)
    assert summary.allocations[0].script_line == f"#fabrique project: {done.project.code}"
    words = summary.allocations[0].acknowledgement
    assert done.project.code in words.en and "local-core" not in words.en + words.fr + str(words.fr_ca)
    assert "processor cores" in words.en and "des cœurs de processeur" in words.fr
    assert ledger.balance("pool:startup:awarded", CPU) == 36_000_000


def test_an_officer_decides_the_others(ana: Person, officer: Person) -> None:
    asked = apply(ana, "lasalle_research")
    assert asked.state == "submitted"
    assert asked.due_ms is None or asked.due_ms > T0
    assert list(queries.waiting_applications()) == [asked]
    done = access.decide(asked, officer, True, "good science", now=T0 + 1)
    assert (done.state, done.decided_by) == ("awarded", officer)
    assert {a.stage for a in done.answers.all()} == {"submission", "award"}
    assert Record.objects.filter(action="application.decide", actor=str(officer.id)).count() == 1


def test_a_refusal_carries_its_note(ana: Person, officer: Person) -> None:
    done = access.decide(apply(ana, "lasalle_research"), officer, False, "too vague", now=T0 + 1)
    assert (done.state, done.reason) == ("refused", {"code": "decide.refused", "note": "too vague"})
    with pytest.raises(FabriqueError) as caught:
        access.decide(done, officer, True, "", now=T0 + 2)
    assert caught.value.code == "application.state"


def test_a_project_is_opened_by_an_award_alone(ana: Person, officer: Person) -> None:
    for changes in ({"country": "FR"}, {"hours": "20000"}):
        assert apply(ana, **changes).state == "ineligible"
    refused = access.decide(apply(ana, "lasalle_research"), officer, False, "too vague", now=T0 + 1)
    taken_back = access.withdraw(apply(ana, "lasalle_research"), ana, now=T0 + 1)
    waiting = apply(ana, "lasalle_research")
    assert {a.project for a in (refused, taken_back, waiting)} == {None}
    assert not Project.objects.exists() and not queries.projects_of(ana, now=T0 + 1).exists()
    [(told, organisation)] = queries.with_organisations(queries.waiting_applications(), now=T0)
    assert (told, organisation != "") == (waiting, True)  # an officer knows whose it is before there is a project
    done = access.decide(waiting, officer, True, "good", now=T0 + 2)
    assert done.project is not None and list(queries.projects_of(ana, now=T0 + 2)) == [done.project]
    assert done.project.organisation == people.organisation_of(ana, now=T0 + 2)
    assert done.project.members.get().role == "pi"


def test_projects_that_an_earlier_program_left_empty_are_gone(ana: Person, officer: Person) -> None:
    from importlib import import_module

    from django.apps import apps

    closed, waiting = apply(ana, country="FR"), apply(ana, "lasalle_research")
    awarded = apply(ana)
    organisation = people.organisation_of(ana, now=T0)
    for serial, asked in enumerate((closed, waiting), 90):
        asked.project = Project.objects.create(
            code=f"p-{serial}", serial=serial, title="t", organisation=organisation, created_ms=T0
        )
        asked.save()
        asked.project.members.create(person=ana, role="pi", since_ms=T0)
    import_module("fabrique.apps.access.migrations.0003_no_project_without_award").drop_empty(apps, None)
    closed.refresh_from_db()
    assert closed.project is None
    assert set(Project.objects.all()) == {waiting.project, awarded.project}
    assert access.decide(waiting, officer, True, "good", now=T0 + 1).project == waiting.project


def test_nobody_decides_on_their_own(officer: Person) -> None:
    asked = apply(officer, "lasalle_research")
    with pytest.raises(FabriqueError) as caught:
        access.decide(asked, officer, True, "", now=T0)
    assert caught.value.params["reason"] == {"code": "right.separation", "role": "decide", "other": "applicant"}


def test_a_member_does_not_decide(ana: Person) -> None:
    asked = apply(ana, "lasalle_research")
    eve = people.create_person("Eve", "eve@access.example", now=T0)
    for person in (ana, eve):
        with pytest.raises(FabriqueError):
            access.decide(asked, person, True, "", now=T0)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"country": "FR"}, "country"),
        ({"civilian": "no"}, "civilian"),
        ({"staff": "500"}, "staff"),
        ({"kind": "h100-sxm"}, "kind"),
        ({"data_class": "classified"}, "data-class"),
    ],
)
def test_what_is_not_eligible_is_told_at_once_with_the_rule(ana: Person, changes: dict[str, str], rule: str) -> None:
    done = apply(ana, **changes)
    assert done.state == "ineligible"
    assert rule in done.reason["rules"]
    assert done.answers.get(rule=rule).verdict == "fail"
    assert not Project.objects.exists()


def test_what_is_unknown_goes_to_a_person(ana: Person) -> None:
    done = apply(ana, **{"ethics.personal-data": "yes"})
    assert done.state == "submitted"
    assert done.answers.get(rule="ethics").verdict == "unknown"


def test_a_form_with_errors_keeps_its_draft_and_says_all_of_them(ana: Person) -> None:
    draft = access.save_draft(ana, "lasalle_startup", form("lasalle_startup", hours="ten", country="XXX"), now=T0)
    with pytest.raises(FabriqueError) as caught:
        access.submit(draft, ana, now=T0)
    assert caught.value.params["fields"] == ["country", "hours"]
    draft.refresh_from_db()
    assert (draft.state, draft.form["hours"]) == (ApplicationState.DRAFT, "ten")
    assert not Project.objects.exists()


def test_a_draft_is_its_applicants_alone(ana: Person) -> None:
    draft = access.save_draft(ana, "lasalle_startup", {}, now=T0)
    eve = people.create_person("Eve", "eve@access.example", now=T0)
    for act in (access.submit, access.withdraw):
        with pytest.raises(FabriqueError) as caught:
            act(draft, eve, now=T0)
        assert caught.value.code == "right.denied"
    assert access.withdraw(draft, ana, now=T0).state == "withdrawn"


def test_more_than_the_pool_has_is_ineligible_and_changes_nothing(ana: Person) -> None:
    before = ledger.balances("pool:")
    done = apply(ana, hours="20000")
    assert done.state == "ineligible"
    assert {"size", "capacity"} & set(done.reason["rules"])
    assert ledger.balances("pool:") == before


def test_the_sums_of_an_allocation_close(ana: Person) -> None:
    project = apply(ana).project
    assert project is not None
    for line in queries.project_summary(project, now=T0).allocations[0].lines:
        parts = (line.used, line.held, line.lost, line.expired, line.transferred, line.available)
        assert line.granted == sum(parts)


def test_a_role_is_held_for_a_time(here: Any) -> None:
    person = people.create_person("Ola", "ola@access.example", now=T0)
    desk = people.create_organisation("Desk", "operator", "CA", now=T0)
    grant = people.grant_role(person, Role.AUDITOR, desk, now=T0)
    grant.until_ms = T0 + 10
    grant.save()
    assert rights.may(person, "audit.view", now=T0 + 9).allowed
    assert not rights.may(person, "audit.view", now=T0 + 10).allowed
    assert not rights.may(None, "audit.view", now=T0).allowed


def test_a_sign_in_link_works_once(ana: Person) -> None:
    token = people.make_sign_in_link(ana, now=T0, life_ms=1_000)
    assert people.use_sign_in_link(token, now=T0 + 1) == ana
    late = people.make_sign_in_link(ana, now=T0, life_ms=1_000)
    for attempt, at in ((token, T0 + 2), (late, T0 + 1_000), ("guess", T0)):
        with pytest.raises(FabriqueError) as caught:
            people.use_sign_in_link(attempt, now=at)
        assert caught.value.code == "sign-in.link-used"


def test_an_erased_person_leaves_no_name_behind(ana: Person) -> None:
    done = apply(ana)
    people.erase(ana)
    ana.refresh_from_db()
    assert (ana.name, ana.email, ana.is_active) == ("", None, False)
    assert done.applicant_id == ana.id
    assert not rights.may(ana, "application.create", now=T0).allowed


def test_a_second_automatic_award_at_the_same_time_is_for_a_person(ana: Person) -> None:
    assert apply(ana).state == "awarded"
    second = apply(ana)
    assert second.state == "submitted"
    assert second.answers.get(rule="open-award").verdict == "unknown"
