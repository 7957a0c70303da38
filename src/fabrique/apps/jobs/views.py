"""Jobs as people ask for them: submit a script, see the queue and one's own, cancel. The job's page is the portal's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from fabrique.apps.access import queries as access
from fabrique.apps.access.models import Project
from fabrique.apps.access.queries import BudgetLine
from fabrique.apps.access.shown import rounded_down
from fabrique.apps.asking import asker, may, person_for, require
from fabrique.apps.jobs import forms, queries, services
from fabrique.apps.jobs.models import FINAL, Job
from fabrique.apps.now import now_ms
from fabrique.apps.people.models import Person
from fabrique.apps.this_hub import this_hub
from fabrique.core.errors import FabriqueError
from fabrique.core.job import JobState
from fabrique.core.reasons import Reason
from fabrique.core.units import device_of, is_time

SHOWN = 100  # rows of a list; what is beyond is counted


@dataclass(frozen=True, slots=True)
class Row:
    """One job in a list; `visible` says whether the asker may know whose it is."""

    job: Job
    reason: Reason | None
    visible: bool

    @property
    def asked(self) -> Fraction:
        """Devices, or cores where it asks for none."""
        return Fraction(int(self.job.spec["milli_devices"]) or int(self.job.spec["cores"]) * 1000, 1000)

    @property
    def device(self) -> str:
        return "accelerator" if self.job.spec["milli_devices"] else "core"


@require_GET
def jobs(request: HttpRequest) -> HttpResponse:
    """The queue, why each job in it waits, and your own jobs."""
    person, now = asker(request), now_ms()
    require(person, "hub.view", now=now)
    waiting = queries.queue()
    mine = queries.jobs_of(person) if person else Job.objects.none()
    context = {
        "person": person,
        "queue": _rows(waiting[:SHOWN], person, now),
        "queue_count": waiting.count(),
        "waiting_count": waiting.filter(status=JobState.PENDING.value).count(),
        "mine": _rows(mine[:SHOWN], person, now),
        "mine_count": mine.count(),
        "projects": list(access.projects_of(person, now=now)) if person else [],
        "now": now,
    }
    return render(request, "jobs/jobs.html", context)


def _rows(found: Iterable[Job], person: Person | None, now: int) -> list[Row]:
    """Rights are asked once a project, not once a job."""
    allowed: dict[str, bool] = {}
    rows = []
    for job in found:
        code = job.project.code
        if code not in allowed:
            allowed[code] = may(person, "job.view", now=now, project=job.project).allowed
        rows.append(Row(job, services.reason_of(job), allowed[code]))
    return rows


@require_http_methods(["GET", "POST"])
def submit(request: HttpRequest, code: str) -> HttpResponse:
    """Submit a script: paste it or choose a file, and override its header where you like."""
    now = now_ms()
    project = services.find_project(code)
    person = person_for(request, "job.submit", now=now, project=project)
    left = _left(project, now)
    context: dict[str, object] = {
        "project": project,
        "script": _example(code, left),
        "values": {},
        "header": forms.HEADER,
        "flags": [(key, *forms.HEADER[key], "") for key in forms.FLAGS],
        "kinds": sorted(this_hub().units),
        "left": left,
    }
    if request.method == "GET":
        return render(request, "jobs/submit.html", context)
    script, flags = forms.script_of(request), forms.flags_of(request)
    context["script"] = script.decode("utf-8", "replace")
    context["flags"] = [(key, *forms.HEADER[key], flags.get(key, "")) for key in forms.FLAGS]
    try:
        job = services.submit(person, code, script, flags, now=now)
    except FabriqueError as error:
        if error.code not in ("script.broken", "job.refused", "dataset.missing"):
            raise
        context["error"] = error
        context["troubles"] = forms.troubles(error, script) if error.code == "script.broken" else []
        context["refusal"] = error.params.get("reason")
        return render(request, "jobs/submit.html", context, status=409 if error.code == "job.refused" else 400)
    return redirect("job", job.number)


def _left(project: Project, now: int) -> list[tuple[BudgetLine, int]]:
    """What open allocations limit, each with its end."""
    found = access.project_summary(project, now=now).allocations
    return [(rounded_down(x), a.allocation.ends_ms) for a in found if a.open for x in a.lines if x.limited]


def _example(code: str, left: Sequence[tuple[BudgetLine, int]]) -> str:
    """One that starts here: it asks for what the project has."""
    devices = {device_of(line.unit) for line, _ in left if is_time(line.unit)}
    asks = "accelerators" if "accelerator" in devices and "core" not in devices else "cores"
    return (
        "#!/usr/bin/env python3\n"
        f"#fabrique project: {code}\n"
        "#fabrique name: hello\n"
        f"#fabrique {asks}: 1\n"
        "#fabrique walltime: 10m\n\n"
        'print("hello")\n'
    )


@require_POST
def cancel(request: HttpRequest, number: int) -> HttpResponse:
    """Cancel a job; one that runs asks for its number to be typed, for its work so far is lost and charged."""
    now = now_ms()
    job = services.find_job(number)
    person = person_for(request, "job.cancel", now=now, project=job.project)
    runs = job.status not in (JobState.PENDING.value, *FINAL)
    if runs and request.POST.get("confirm", "").strip() != str(job.number):
        messages.error(request, _("Nothing was cancelled: type the job's number to confirm."))
        return redirect("job", job.number)
    services.cancel(job, person, now=now)
    return redirect("job", job.number)
