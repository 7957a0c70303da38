"""`/statements/…`: the statement of a project or a pool as page, PDF or JSON, for a month or for all time."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_GET

from fabrique.apps.access.models import Project
from fabrique.apps.asking import asker, require
from fabrique.apps.jobs import services as jobs
from fabrique.apps.ledger.models import Entry
from fabrique.apps.now import now_ms
from fabrique.apps.people.models import Person
from fabrique.apps.reports.document import as_json
from fabrique.apps.reports.html import as_html
from fabrique.apps.reports.pdf import as_pdf
from fabrique.apps.reports.statement import Statement, pool_statement, project_statement
from fabrique.apps.this_hub import this_hub
from fabrique.core.errors import FabriqueError
from fabrique.portal.periods import period
from fabrique.portal.speaker import current

Writer = Callable[[HttpRequest, Statement], HttpResponse]


@require_GET
def of_project(request: HttpRequest, code: str, form: str) -> HttpResponse:
    """A project's statement; `?period=2026-11` for one month."""
    found = jobs.find_project(code)
    made = project_made(asker(request), found, request.GET.get("period", ""), now=now_ms())
    return _WRITERS[form](request, made)


@require_GET
def of_pool(request: HttpRequest, pool: str, form: str) -> HttpResponse:
    """A pool's statement, for those who fund, run or audit it."""
    made = pool_made(asker(request), pool, request.GET.get("period", ""), now=now_ms())
    return _WRITERS[form](request, made)


def project_made(person: Person | None, project: Project, key: str, *, now: int) -> Statement:
    """Raises `right.denied`, `request.broken` for a period that is none."""
    require(person, "statement.view", now=now, project=project)
    when = period(key, project.created_ms, now, current())
    return project_statement(project, when.from_ms, when.to_ms, now=now, hub=this_hub().hub.id)


def pool_made(person: Person | None, pool: str, key: str, *, now: int) -> Statement:
    """Raises `right.denied`, `request.broken`; a pool that this hub does not have is `allocation.missing`."""
    require(person, "pool.statement", now=now)
    if pool not in this_hub().shares:
        raise FabriqueError("allocation.missing", allocation=pool[:80])
    when = period(key, first_ms(now), now, current())
    return pool_statement(pool, when.from_ms, when.to_ms, now=now, hub=this_hub().hub.id)


def first_ms(now: int) -> int:
    """The instant of the ledger's first entry."""
    return Entry.objects.order_by("seq").values_list("at_ms", flat=True).first() or now


def _html(request: HttpRequest, made: Statement) -> HttpResponse:
    return HttpResponse(as_html(made, current(), request))


def _pdf(request: HttpRequest, made: Statement) -> HttpResponse:
    return _file(as_pdf(made, current()), "application/pdf", made, "pdf")


def _json(request: HttpRequest, made: Statement) -> HttpResponse:
    text = json.dumps(as_json(made), ensure_ascii=False, indent=1)
    return _file(text.encode(), "application/json", made, "json")


def _file(content: bytes, kind: str, made: Statement, suffix: str) -> HttpResponse:
    name = f"statement-{made.id}.{suffix}"
    return HttpResponse(content, content_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


_WRITERS: Final[Mapping[str, Writer]] = {"html": _html, "pdf": _pdf, "json": _json}
