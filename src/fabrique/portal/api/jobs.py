"""Jobs: submit, list, show, cancel, log; the queue as anyone may see it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.http import HttpRequest
from ninja import Path, Router
from ninja.responses import Status

from fabrique.apps.asking import asker, may, person_for, require
from fabrique.apps.jobs import queries, services
from fabrique.apps.jobs.models import Job, Run
from fabrique.apps.now import now_ms
from fabrique.portal.api import shapes
from fabrique.portal.api.plain import plain
from fabrique.portal.api.strict import Code, Number
from fabrique.portal.log_stream import latest_run, part
from fabrique.portal.speaker import current

router = Router()
MOST = 500


@router.get("/jobs", response=list[shapes.JobOut], summary="The jobs of your projects, newest first")
def jobs(request: HttpRequest, project: Code | None = None) -> list[dict[str, Any]]:
    """With `project`, those of that project alone. At most 500."""
    now = now_ms()
    if project is None:
        found = queries.jobs_of(person_for(request, "application.create", now=now))
    else:
        one = services.find_project(project)
        require(asker(request), "job.view", now=now, project=one)
        found = Job.objects.filter(project=one).select_related("project").order_by("-number")
    return [_job(j, now) for j in found[:MOST]]


@router.post("/jobs", response={201: shapes.JobOut}, summary="Submit a script")
def submit(request: HttpRequest, sent: shapes.JobIn) -> Status[dict[str, Any]]:
    """`script.broken` with every complaint at its line, `job.refused` with its reason; nothing is kept then."""
    now = now_ms()
    person = person_for(request, "application.create", now=now)
    job = services.submit(person, sent.project, sent.script.encode(), sent.flags, now=now)
    return Status(201, _job(job, now))


@router.get("/jobs/{number}", response=shapes.JobOut, summary="One job: where it stands, why, until when, what it cost")
def job(request: HttpRequest, number: Path[Number]) -> dict[str, Any]:
    now, found = now_ms(), services.find_job(number)
    require(asker(request), "job.view", now=now, project=found.project)
    return _job(found, now)


@router.post("/jobs/{number}/cancel", response=shapes.JobOut, summary="Cancel it")
def cancel(request: HttpRequest, number: Path[Number]) -> dict[str, Any]:
    now, found = now_ms(), services.find_job(number)
    person = person_for(request, "job.cancel", now=now, project=found.project)
    return _job(services.cancel(found, person, now=now), now)


@router.get("/jobs/{number}/log", response=shapes.LogOut, summary="What it printed, from an offset in bytes")
def log(request: HttpRequest, number: Path[Number], offset: Number = 0) -> dict[str, Any]:
    found = services.find_job(number)
    require(asker(request), "job.log", now=now_ms(), project=found.project)
    read = part(latest_run(found), offset)
    return {"text": read.text, "next": str(read.next), "end": read.end}


@router.get("/queue", response=list[shapes.QueuedOut], summary="Everything that is not over, oldest first")
def queue(request: HttpRequest) -> list[dict[str, Any]]:
    person, now = asker(request), now_ms()
    require(person, "hub.view", now=now)
    rows = []
    for found in queries.queue()[:MOST]:
        told = services.reason_of(found)
        visible = may(person, "job.view", now=now, project=found.project).allowed
        rows.append(
            {
                "number": found.number,
                "project": found.project.code if visible else None,
                "status": found.status,
                "reason": plain(told) if told else None,
                "sentence": current().reason(told) if told else "",
                "submitted_ms": found.submitted_ms,
                "starts_by_ms": found.forecast.get("to_ms"),
            }
        )
    return rows


def _job(found: Job, now: int) -> dict[str, Any]:
    explained = queries.explain(found, now=now)
    return {
        "number": found.number,
        "door": found.door or None,
        "outside_id": found.outside_id or None,
        "project": found.project.code,
        "name": found.name,
        "status": found.status,
        "reason": plain(explained.reason) if explained.reason else None,
        "sentence": current().reason(explained.reason) if explained.reason else "",
        "submitted_ms": found.submitted_ms,
        "starts": explained.starts,
        "ends_by_ms": explained.ends_by_ms,
        "asked": plain(found.spec),
        "run": _run(explained.run) if explained.run else None,
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "attempt": run.attempt,
        "partition": run.partition,
        "kind": run.kind,
        "state": run.state,
        "level": None if run.level is None else asdict(run.level),
        "walltime_ms": run.walltime_ms,
        "started_ms": run.started_ms,
        "ended_ms": run.ended_ms,
        "elapsed_ms": run.elapsed_ms,
        "exit_code": run.exit_code,
        "energy_mj": str(run.energy_mj),
        "energy": plain(run.energy_provenance),
        "charged": dict(run.charged),
    }
