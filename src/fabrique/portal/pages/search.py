"""`/search?q=`: projects, jobs, applications and people that one may see, and pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from fabrique.apps.access.models import Application, Project, ProjectMember
from fabrique.apps.jobs.models import Job
from fabrique.apps.now import now_ms
from fabrique.apps.people import rights
from fabrique.apps.people.models import Person
from fabrique.definitions import hubs
from fabrique.portal.speaker import current, known_hub

MOST: Final = 20  # of each sort
LONGEST: Final = 100


@dataclass(frozen=True, slots=True)
class Found:
    """One answer: its sort in words, what it is called, where it is."""

    sort: str
    name: str
    detail: str
    address: str


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """Nothing is found that the person may not see; characters that do not print are dropped."""
    text = "".join(c for c in request.GET.get("q", "")[:LONGEST] if c.isprintable()).strip()
    person = request.user if isinstance(request.user, Person) else None
    found = list(find(text, person, now=now_ms())) if text else []
    return render(request, "search.html", {"q": text, "found": found})


def find(text: str, person: Person | None, *, now: int) -> Iterator[Found]:
    if person is not None:
        projects = visible_projects(person, now=now)
        yield from _projects(text, projects)
        yield from _jobs(text, projects)
        yield from _applications(text, person, now=now)
        yield from _people(text, person, now=now)
    yield from _pages(text)


def visible_projects(person: Person, *, now: int) -> QuerySet[Project]:
    """The person's own, or all of them for a role that may see any."""
    if rights.may(person, "project.view", now=now).allowed:
        return Project.objects.all()
    open_ended = Q(until_ms__isnull=True) | Q(until_ms__gt=now)
    mine = ProjectMember.objects.filter(open_ended, person=person, since_ms__lte=now)
    return Project.objects.filter(pk__in=mine.values("project_id"))


def _projects(text: str, projects: QuerySet[Project]) -> Iterator[Found]:
    for p in projects.filter(Q(code__icontains=text) | Q(title__icontains=text))[:MOST]:
        yield Found(_("Project"), p.code, p.title, f"/projects/{p.code}")


def _jobs(text: str, projects: QuerySet[Project]) -> Iterator[Found]:
    wanted = Q(name__icontains=text)
    number = text.removeprefix("#")
    if number.isascii() and number.isdigit() and len(number) <= 18:
        wanted |= Q(number=int(number))
    if number[:1].isdigit():
        wanted |= Q(outside_id=number[:40]) | Q(outside_id__startswith=f"{number[:40]}_")
    for job in Job.objects.filter(wanted, project__in=projects)[:MOST]:
        detail = f"{job.name} – {current().word('job', job.status)}"
        yield Found(_("Job"), job.called, detail, f"/jobs/{job.number}")


def _applications(text: str, person: Person, *, now: int) -> Iterator[Found]:
    every = Application.objects.select_related("project")
    mine = every if rights.may(person, "application.view", now=now).allowed else every.filter(applicant=person)
    wanted = Q(mode__icontains=text) | Q(project__code__icontains=text) | Q(form__title__icontains=text)
    for a in mine.filter(wanted)[:MOST]:
        title = str(a.form.get("title") or a.mode) if isinstance(a.form, dict) else a.mode
        yield Found(_("Application"), title, current().word("application", a.state), f"/applications/{a.id}")


def _people(text: str, person: Person, *, now: int) -> Iterator[Found]:
    if not rights.may(person, "people.search", now=now).allowed:
        return
    for p in Person.objects.filter(Q(name__icontains=text) | Q(email__icontains=text), is_active=True)[:MOST]:
        yield Found(_("Person"), p.name, p.email or "", "")


def _pages(text: str) -> Iterator[Found]:
    """Pages by their name or address, modes of access and the hubs that come with the program."""
    pages = [
        (_("The hub at a glance"), "/"),
        (_("Apply for computing time"), "/apply"),
        (_("This hub"), "/hub"),
        (_("Hubs"), "/hubs"),
        (_("Verifier"), "/verifier.py"),
    ]
    here, speaker = known_hub(), current()
    for mode in here.modes if here else ():
        pages.append(
            (mode.name.said("fr-CA" if speaker.language == "fr-ca" else speaker.language), f"/apply/{mode.id}")
        )
    for hub_id in hubs.builtin():
        pages.append((f"{hubs.load_builtin(hub_id).name.best or hub_id} ({hub_id})", f"/hub/{hub_id}"))
    for name, address in pages:
        if text.lower() in name.lower() or text == address:
            yield Found(_("Page"), name, "", address)
