"""`fabrique projects`, `project`: what a project was given, what is left, until when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabrique.cli import context, output
from fabrique.cli.context import Desk
from fabrique.cli.shared import Call, command

if TYPE_CHECKING:
    from fabrique.apps.access.models import Project
    from fabrique.apps.access.queries import AllocationSummary, BudgetLine, ProjectSummary
    from fabrique.core.units import Unit
    from fabrique.language.say import Speaker

app = typer.Typer()


@command(app, "projects")
def projects(call: Call) -> None:
    """List your projects."""
    desk = context.enter(call)
    from fabrique.apps.access import queries

    found = [queries.project_summary(p, now=desk.now) for p in queries.projects_of(desk.person, now=desk.now)]
    if call.json:
        return output.document({"projects": [as_json(desk, summary) for summary in found]})
    say = desk.say
    head = [say.text("project"), say.text("title"), say.text("still bookable"), say.text("ends")]
    output.table(head, [row for summary in found for row in _rows(say, summary)])
    if not found:
        return output.hint(say.text("Ask for time:"), desk.command("apply"))
    return output.hint(say.text("One in full:"), desk.command("project CODE"))


@command(app, "project")
def project(call: Call, code: Annotated[str, typer.Argument(metavar="CODE", help="A project's code.")]) -> None:
    """Show a project: consumed, held, left, the pace, the end, the line for a script, the acknowledgement."""
    desk = context.enter(call)
    from fabrique.apps.access import queries

    found = queries.project_summary(find(desk, code), now=desk.now)
    if call.json:
        return output.document(as_json(desk, found))
    say = desk.say
    output.line(f"{found.project.code}  {found.project.title}", "bold")
    for summary in found.allocations:
        _show(desk, summary)
    return output.hint(say.text("Submit a job:"), desk.command(f"submit SCRIPT --project {code} --wait"))


def find(desk: Desk, code: str, action: str = "project.view") -> Project:
    """A project this person may see. Raises `project.missing`, `right.denied`."""
    from fabrique.apps.access.relations import relations
    from fabrique.apps.jobs.services import find_project
    from fabrique.apps.people import rights

    found = find_project(code)
    related = relations(desk.person, project=found, now=desk.now)
    rights.require(desk.person, action, now=desk.now, relations=related, subject=found.code)
    return found


# --- what is said -------------------------------------------------------------------------------------------------


def _rows(say: Speaker, summary: ProjectSummary) -> list[tuple[str, str, str, str]]:
    project = summary.project
    if not summary.allocations:
        return [(project.code, project.title, "", "")]
    return [
        (project.code, project.title, _left(say, allocation), say.date(allocation.allocation.ends_ms))
        for allocation in summary.allocations
    ]


def _left(say: Speaker, summary: AllocationSummary) -> str:
    limited = [x for x in summary.lines if x.limited]
    return say.listed([say.text("no end") if x.bookable is None else _amount(say, x.unit, x.bookable) for x in limited])


def _show(desk: Desk, summary: AllocationSummary) -> None:
    from fabrique.apps.provision.services import sbatch_line

    say, allocation = desk.say, summary.allocation
    output.line()
    head = [say.text("unit"), say.text("granted"), say.text("used"), say.text("held"), say.text("still bookable")]
    rows = [_budget(say, line) for line in summary.lines]
    output.table([*head, say.text("pace a day")], rows, numbers=(1, 2, 3, 4, 5))
    deletion = allocation.data_deletion_ms
    state = say.word("allocation", allocation.state)
    sbatch = sbatch_line(allocation.pk)
    output.pairs(
        [
            (say.text("Access mode"), f"{desk.words(summary.mode.name)} ({state})"),
            (say.text("Begins"), say.instant(allocation.starts_ms)),
            (say.text("Ends"), _until(desk, allocation.ends_ms)),
            (say.text("Data is deleted"), say.instant(deletion) if deletion else say.text("not published")),
            (say.text("Line for a script"), summary.script_line),
            *([(say.text("Line for sbatch"), sbatch)] if sbatch else []),
            (say.text("Acknowledgement"), desk.words(summary.acknowledgement)),
        ]
    )


def _until(desk: Desk, ends_ms: int) -> str:
    say, left = desk.say, ends_ms - desk.now
    if left <= 0:
        return say.instant(ends_ms)
    return say.text("{end} (in {left})", end=say.instant(ends_ms), left=say.duration(left))


def _budget(say: Speaker, line: BudgetLine) -> tuple[str, ...]:
    """A unit that is only counted has no grant to speak of."""
    used = figure(say, line.unit, line.used)
    if not line.limited:
        return say.unit_name(line.unit), "–", used, "–", "–", "–"
    left = say.text("no end") if line.bookable is None else figure(say, line.unit, line.bookable)
    pace = "–" if line.pace_per_day is None else figure(say, line.unit, line.pace_per_day)
    return (
        say.unit_name(line.unit),
        figure(say, line.unit, line.granted),
        used,
        figure(say, line.unit, line.held),
        left,
        pace,
    )


def _amount(say: Speaker, unit: Unit, value: int) -> str:
    from fabrique.core.units import Amount

    return say.amount(Amount(unit, value))


def figure(say: Speaker, unit: Unit, value: int) -> str:
    """An amount in a row that names its unit of time; other units are as large as the amount."""
    from fabrique.core.units import Amount, is_time

    amount = Amount(unit, value)
    return say.figure(amount) if is_time(unit) else say.amount(amount)


def as_json(desk: Desk, summary: ProjectSummary) -> dict[str, Any]:
    """Amounts are text, in base units."""
    from fabrique.apps.provision.services import sbatch_line

    project = summary.project
    return {
        "code": project.code,
        "title": project.title,
        "created_ms": project.created_ms,
        "members": [{"person": str(m.person_id), "role": m.role, "since_ms": m.since_ms} for m in summary.members],
        "allocations": [
            {
                "id": str(a.allocation.id),
                "mode": a.mode.id,
                "pool": a.allocation.pool,
                "state": a.allocation.state,
                "starts_ms": a.allocation.starts_ms,
                "ends_ms": a.allocation.ends_ms,
                "data_deletion_ms": a.allocation.data_deletion_ms,
                "script_line": a.script_line,
                "sbatch_line": sbatch_line(a.allocation.pk) or None,
                "acknowledgement": desk.words(a.acknowledgement),
                "units": [_unit_json(line) for line in a.lines],
            }
            for a in summary.allocations
        ],
    }


def _unit_json(line: BudgetLine) -> dict[str, Any]:
    names = ("granted", "used", "held", "lost", "expired", "transferred", "available", "bookable", "pace_per_day")
    amounts = {name: getattr(line, name) for name in names}
    return {
        "unit": line.unit,
        "limited": line.limited,
        **{k: None if v is None else str(v) for k, v in amounts.items()},
    }
