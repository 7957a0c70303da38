"""Modes, assessments, applications, projects and allocations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.urls import reverse
from ninja import Path, Router
from ninja.responses import Status

from fabrique.apps.access import forms, members, queries, services
from fabrique.apps.access.models import Allocation, Application, Project
from fabrique.apps.asking import asker, person_for, require, said
from fabrique.apps.jobs.services import find_project
from fabrique.apps.now import now_ms
from fabrique.apps.provision.services import sbatch_line
from fabrique.core import form as core
from fabrique.core.access import Mode
from fabrique.core.errors import FabriqueError
from fabrique.core.fields import FieldError
from fabrique.core.reasons import from_json
from fabrique.portal.api import shapes
from fabrique.portal.api.plain import plain
from fabrique.portal.api.strict import Code
from fabrique.portal.speaker import current

router = Router()
MOST = 500  # rows of a list


@router.get("/modes", response=list[shapes.Json], summary="The ways to computing time")
def modes(request: HttpRequest) -> list[dict[str, Any]]:
    require(asker(request), "hub.view", now=now_ms())
    return [plain(mode) for mode in services.modes(now=now_ms())]


@router.get("/modes/{mode}", response=shapes.Json, summary="One access mode: its rules, its form, its sources")
def mode(request: HttpRequest, mode: Path[Code]) -> dict[str, Any]:
    require(asker(request), "hub.view", now=now_ms())
    return dict(plain(services.find_mode(mode, now=now_ms())))


@router.post("/assess", response=shapes.AssessmentOut, summary="What you would be told now; nothing is kept")
def assess(request: HttpRequest, sent: shapes.FormIn) -> dict[str, Any]:
    person, now = asker(request), now_ms()
    require(person, "hub.view", now=now)
    found = services.assess(sent.mode, sent.form, now=now, applicant=person)
    errors = [*found.errors, *forms.unanswered(found.mode, sent.form)]
    answers = [_told(a.rule, a.verdict.value, a.reason.as_json(), a.evidence) for a in found.answers]
    return {"verdict": found.verdict.value, "errors": [_wrong(e) for e in errors], "answers": answers}


# --- applications -----------------------------------------------------------------------------------------------


@router.get("/applications", response=list[shapes.ApplicationOut], summary="Your applications, or those that wait")
def applications(request: HttpRequest, waiting: bool = False) -> list[dict[str, Any]]:
    """With `waiting=true`, for those who decide: what waits for a decision."""
    now = now_ms()
    if waiting:
        require(asker(request), "application.decide", now=now)
        return [_application(a) for a in queries.waiting_applications()[:MOST]]
    return [_application(a) for a in queries.applications_of(person_for(request, "application.create", now=now))[:MOST]]


@router.post("/applications", response={201: shapes.ApplicationOut}, summary="Keep a draft")
def draft(request: HttpRequest, sent: shapes.FormIn) -> Status[dict[str, Any]]:
    now = now_ms()
    person = person_for(request, "application.create", now=now)
    return Status(201, _application(services.save_draft(person, sent.mode, sent.form, now=now)))


@router.get("/applications/{key}", response=shapes.ApplicationOut, summary="One application and its decision")
def application(request: HttpRequest, key: UUID) -> dict[str, Any]:
    found = _find(key)
    require(asker(request), "application.view", now=now_ms(), application=found)
    return _application(found)


@router.put("/applications/{key}", response=shapes.ApplicationOut, summary="Change a draft")
def change(request: HttpRequest, key: UUID, sent: shapes.FormIn) -> dict[str, Any]:
    now, found = now_ms(), _find(key)
    person = person_for(request, "application.edit", now=now, application=found)
    return _application(services.save_draft(person, sent.mode, sent.form, now=now, application=found))


@router.post("/applications/{key}/submit", response=shapes.ApplicationOut, summary="Submit it: judged at once")
def submit(request: HttpRequest, key: UUID) -> dict[str, Any]:
    """`application.field` with every field that is wrong or missing, and nothing is submitted."""
    now, found = now_ms(), _find(key)
    person = person_for(request, "application.edit", now=now, application=found)
    _require_answers(services.find_mode(found.mode, now=now), found.form)
    return _application(services.submit(found, person, now=now))


@router.post("/applications/{key}/decide", response=shapes.ApplicationOut, summary="An officer's decision")
def decide(request: HttpRequest, key: UUID, sent: shapes.DecisionIn) -> dict[str, Any]:
    now, found = now_ms(), _find(key)
    person = person_for(request, "application.decide", now=now, application=found)
    return _application(services.decide(found, person, sent.accept, sent.note, now=now))


@router.post("/applications/{key}/withdraw", response=shapes.ApplicationOut, summary="Take it back")
def withdraw(request: HttpRequest, key: UUID) -> dict[str, Any]:
    now, found = now_ms(), _find(key)
    person = person_for(request, "application.edit", now=now, application=found)
    return _application(services.withdraw(found, person, now=now))


def _require_answers(mode: Mode, form: Mapping[str, object]) -> None:
    missing = forms.unanswered(mode, form)
    if missing:
        errors = [*core.check_form(mode, form), *missing]
        raise FabriqueError("application.field", fields=[e.field for e in errors], errors=[_wrong(e) for e in errors])


def _find(key: UUID) -> Application:
    found = Application.objects.select_related("project").filter(pk=key).first()
    if found is None:
        raise FabriqueError("application.missing", application=str(key))
    return found


def _application(a: Application) -> dict[str, Any]:
    return {
        "id": a.id,
        "mode": a.mode,
        "mode_version": a.mode_version,
        "state": a.state,
        "reason": plain(a.reason) or None,
        "sentence": current().reason(from_json(a.reason)) if a.reason else "",
        "project": a.project.code if a.project else None,
        "form": plain(a.form),
        "created_ms": a.created_ms,
        "submitted_ms": a.submitted_ms,
        "due_ms": a.due_ms,
        "decided_ms": a.decided_ms,
        "answers": [_told(x.rule, x.verdict, x.reason, x.evidence) for x in a.answers.all()],
    }


def _told(rule: str, verdict: str, why: Mapping[str, object], evidence: Mapping[str, object]) -> dict[str, Any]:
    sentence = current().reason(from_json(why))
    return {
        "rule": rule,
        "verdict": verdict,
        "reason": plain(why),
        "sentence": sentence,
        "evidence": plain(evidence),
    }


def _wrong(e: FieldError) -> dict[str, Any]:
    return {"field": e.field, "code": e.code, "params": plain(e.params), "sentence": current().field_error(e)}


# --- projects ---------------------------------------------------------------------------------------------------


@router.get("/projects", response=list[shapes.ProjectOut], summary="Your projects")
def projects(request: HttpRequest) -> list[dict[str, Any]]:
    now = now_ms()
    person = person_for(request, "application.create", now=now)
    return [_project(p, now) for p in queries.projects_of(person, now=now)[:MOST]]


@router.get("/projects/{code}", response=shapes.ProjectOut, summary="One project: members, allocations, what is left")
def project(request: HttpRequest, code: Path[Code]) -> dict[str, Any]:
    now, found = now_ms(), find_project(code)
    require(asker(request), "project.view", now=now, project=found)
    return _project(found, now)


@router.post("/projects/{code}/invitations", response={201: shapes.InvitationOut}, summary="Make an invitation link")
def invite(request: HttpRequest, code: Path[Code]) -> Status[dict[str, Any]]:
    """One person who signs in joins the project by it, once. It is told here and never again."""
    now, found = now_ms(), find_project(code)
    person = person_for(request, "project.manage", now=now, project=found)
    token = members.invite(found, person, now=now)
    link = request.build_absolute_uri(reverse("join", args=[token]))
    return Status(201, {"link": link, "expires_ms": now + members.INVITATION_LIFE_MS})


@router.post("/invitations/accept", response=shapes.JoinedOut, summary="Join the project of an invitation")
def accept(request: HttpRequest, sent: shapes.TokenIn) -> dict[str, Any]:
    """The last part of the link is its token. A member who accepts stays one, and the link is used."""
    now = now_ms()
    member = members.accept(sent.token, person_for(request, "project.join", now=now), now=now)
    return {"project": member.project.code, "role": member.role, "since_ms": member.since_ms}


@router.get("/allocations/{key}", response=shapes.AllocationOut, summary="One allocation, unit by unit")
def allocation(request: HttpRequest, key: UUID) -> dict[str, Any]:
    now = now_ms()
    found = Allocation.objects.select_related("project", "award__application").filter(pk=key).first()
    if found is None:
        require(asker(request), "application.create", now=now)
        raise FabriqueError("allocation.missing", allocation=str(key))
    require(asker(request), "project.view", now=now, project=found.project)
    return _allocation(queries.allocation_summary(found, now=now))


def _project(found: Project, now: int) -> dict[str, Any]:
    summary = queries.project_summary(found, now=now)
    return {
        "code": found.code,
        "title": found.title,
        "organisation": found.organisation.name,
        "members": [{"name": m.person.name, "role": m.role, "since_ms": m.since_ms} for m in summary.members],
        "allocations": [_allocation(a) for a in summary.allocations],
    }


def _allocation(summary: queries.AllocationSummary) -> dict[str, Any]:
    a = summary.allocation
    return {
        "id": a.id,
        "project": a.project.code,
        "mode": a.mode,
        "pool": a.pool,
        "state": a.state,
        "starts_ms": a.starts_ms,
        "ends_ms": a.ends_ms,
        "data_deletion_ms": a.data_deletion_ms,
        "lines": [_line(x) for x in summary.lines],
        "script_line": summary.script_line,
        "sbatch_line": sbatch_line(a.id) or None,
        "acknowledgement": said(summary.acknowledgement),
    }


def _line(x: queries.BudgetLine) -> dict[str, Any]:
    parts = ("granted", "used", "held", "lost", "expired", "transferred", "available")
    return {
        "unit": x.unit,
        **{name: str(getattr(x, name)) for name in parts},
        "limited": x.limited,
        "bookable": None if x.bookable is None else str(x.bookable),
        "pace_per_day": None if x.pace_per_day is None else str(x.pace_per_day),
    }
