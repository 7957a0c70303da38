"""`/projects`: what is left, in which unit, until when, which line to write. Joins awards, ledger, jobs and data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from babel.dates import format_skeleton
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from fabrique import charts
from fabrique.apps.access import queries
from fabrique.apps.access.models import Project
from fabrique.apps.access.queries import AllocationSummary, BudgetLine
from fabrique.apps.access.shown import rounded_down
from fabrique.apps.asking import asker, may, person_for, require, said
from fabrique.apps.catalogue.models import Dataset
from fabrique.apps.jobs import services as jobs
from fabrique.apps.ledger.models import Posting
from fabrique.apps.now import now_ms
from fabrique.apps.people import rights
from fabrique.apps.provision.services import sbatch_line
from fabrique.charts import Axis, Chart
from fabrique.core.booking import account
from fabrique.core.units import is_time, scale
from fabrique.language import Speaker
from fabrique.language.quantities import LOCALES
from fabrique.portal.periods import months_of
from fabrique.portal.speaker import current

DAY_MS = 86_400_000
JOBS_SHOWN = 20
PROJECTS_SHOWN = 200
POINTS = 400  # of a curve; more would not be seen


@dataclass(frozen=True, slots=True)
class Budget:
    """One allocation as its members read it; `time` is its line of computing time."""

    summary: AllocationSummary
    mode: str
    lines: tuple[BudgetLine, ...]
    time: BudgetLine | None
    days_left: int
    chart: Chart | None
    acknowledgement: str
    sbatch_line: str


@require_GET
def projects(request: HttpRequest) -> HttpResponse:
    """Your projects, each with what is left and until when; every project for those who run the desk."""
    now = now_ms()
    person = person_for(request, "application.create", now=now)
    mine = [(p, _budgets(p, now)) for p in queries.projects_of(person, now=now)]
    every = rights.may(person, "project.view", now=now).allowed
    others = Project.objects.exclude(pk__in=[p.pk for p, _ in mine]) if every else Project.objects.none()
    context = {
        "mine": mine,
        "others": others.select_related("organisation")[:PROJECTS_SHOWN],
        "others_count": others.count(),
        "every": every,
    }
    return render(request, "portal-desk/projects.html", context)


@require_GET
def project(request: HttpRequest, code: str) -> HttpResponse:
    """My project: what is used, held and still bookable, when it ends, and the lines to copy."""
    person, now = asker(request), now_ms()
    found = jobs.find_project(code)
    require(person, "project.view", now=now, project=found)
    recent = found.jobs.order_by("-number")
    budgets = _budgets(found, now)
    sees_jobs = may(person, "job.view", now=now, project=found).allowed
    context = {
        "project": found,
        "budgets": budgets,
        "members": queries.members_of(found, now=now),
        "jobs": [(j, jobs.reason_of(j)) for j in recent[:JOBS_SHOWN]] if sees_jobs else [],
        "jobs_count": recent.count(),
        "sees_jobs": sees_jobs,
        "datasets": list(Dataset.objects.filter(owner=found.organisation)),
        "may_submit": may(person, "job.submit", now=now, project=found).allowed,
        "may_manage": may(person, "project.manage", now=now, project=found).allowed,
        "may_state": may(person, "statement.view", now=now, project=found).allowed,
        "periods": months_of(found.created_ms, now, current()),
        "now": now,
    }
    return render(request, "portal-desk/project.html", context)


def _budgets(found: Project, now: int) -> list[Budget]:
    """The project's allocations, open ones first."""
    summaries = queries.project_summary(found, now=now).allocations
    return [_budget(s, now) for s in sorted(summaries, key=lambda s: (not s.open, s.allocation.ends_ms))]


def _budget(summary: AllocationSummary, now: int) -> Budget:
    lines = tuple(rounded_down(x) for x in summary.lines)
    time = next((x for x in lines if is_time(x.unit)), None)
    left = max(summary.allocation.ends_ms - now, 0)
    chart = burn(summary, time, current(), now) if time and time.granted > 0 else None
    mode, thanks = said(summary.mode.name), said(summary.acknowledgement)
    return Budget(summary, mode, lines, time, -(-left // DAY_MS), chart, thanks, sbatch_line(summary.allocation.pk))


def burn(summary: AllocationSummary, line: BudgetLine, speaker: Speaker, now: int) -> Chart:
    """What is left of the computing time against the even pace to the end."""
    allocation = summary.allocation
    whole = scale(line.unit)
    points = [(allocation.starts_ms, line.granted / whole)]
    points += [(at, (line.granted - used) / whole) for at, used in _used(str(allocation.id), line.unit)]
    points.append((min(max(now, points[-1][0]), allocation.ends_ms), points[-1][1]))
    title = _("What is left, against an even pace")
    desc = _("In %(unit)s, from the award to the end on %(date)s.") % {
        "unit": speaker.unit_name(line.unit),
        "date": speaker.date(allocation.ends_ms),
    }
    head = (_("when"), speaker.unit_name(line.unit))
    names = (_("left"), _("even pace"))
    key = f"burn-{allocation.id.hex[:8]}"
    return charts.burn_down(key, title, desc, points, allocation.ends_ms, _axis(speaker), names, head)


def _used(allocation: str, unit: str) -> Sequence[tuple[int, int]]:
    """(instant, used so far) after each posting that changed it, thinned out to what a picture shows."""
    rows = Posting.objects.filter(account=account(allocation, "used"), unit=unit).order_by("n")
    found = list(rows.values_list("entry__at_ms", "balance"))
    step = -(-len(found) // POINTS) or 1
    return [*found[:-1:step], found[-1]] if found else []


def _axis(speaker: Speaker) -> Axis:
    def day(ms: int) -> str:
        return str(format_skeleton("MMMd", speaker.local(ms), locale=LOCALES[speaker.language])).replace(" ", "\u00a0")

    return Axis(speaker.number, day, speaker.instant, lambda ms: speaker.local(ms).hour)
