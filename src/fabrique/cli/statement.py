"""`fabrique statement`: what a project or a pool was given and used, as a table, a page, a PDF, or verifiable JSON.

What is said goes through the Speaker of the desk.
"""

from __future__ import annotations

import json
from datetime import date, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fabrique.cli import context, output, projects
from fabrique.cli.context import Desk
from fabrique.cli.shared import Call, command
from fabrique.core.errors import FabriqueError

if TYPE_CHECKING:
    from fabrique.apps.reports.statement import Statement, UnitAccount

app = typer.Typer()
FORMATS: Final = ("html", "pdf", "json")


@command(app, "statement")
def statement(
    call: Call,
    project: Annotated[str | None, typer.Argument(metavar="[PROJECT]", help="A project's code.")] = None,
    pool: Annotated[str | None, typer.Option("--pool", metavar="ID", help="A pool instead of a project.")] = None,
    begin: Annotated[str | None, typer.Option("--from", metavar="DATE", help="From this day or instant on.")] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="DATE", help="Up to it, and without it (else now).")
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", metavar="html|pdf|json", help="The document (else by --output's name).")
    ] = None,
    target: Annotated[Path | None, typer.Option("--output", metavar="FILE", help="A new file.")] = None,
) -> None:
    """Make a statement; without a format, a table. The JSON carries what the verifier needs."""
    desk = context.enter(call)
    kind = _format(form, target, call)
    made = _made(desk, project, pool, begin, end)
    if kind is None:
        return _table(desk, made)
    data = _document(desk, made, kind)
    if target is None:
        if kind == "pdf" and output.on_terminal():
            raise FabriqueError("request.broken", field="--output", why="--output FILE.pdf")
        return output.raw_bytes(data)
    output.write_new(target, data)
    if call.json:
        return output.document({"file": str(target), "bytes": len(data), "format": kind})
    output.line(desk.say.text("{file} is written.", file=target))
    if kind == "json":
        output.hint(
            desk.say.text("Anyone can verify it:"),
            f"fabrique ledger verifier --output verify.py; python verify.py {target}",
        )
    return None


# --- steps ------------------------------------------------------------------------------------------------------


def _format(form: str | None, target: Path | None, call: Call) -> str | None:
    if form is None and target is not None:
        form = target.suffix.removeprefix(".").lower()
    if form is None:
        return "json" if call.json else None
    if form not in FORMATS:
        raise FabriqueError("request.broken", field="--format", why=f"--format {'|'.join(FORMATS)}")
    return form


def _made(desk: Desk, project: str | None, pool: str | None, begin: str | None, end: str | None) -> Statement:
    """Raises `project.missing`, `right.denied`, `request.broken`."""
    from fabrique.apps.ledger.models import Entry
    from fabrique.apps.people import rights
    from fabrique.apps.reports import statement as reports

    now, hub = desk.now, desk.here.hub.id
    to_ms = instant(desk, "--to", end) if end else now
    if (project is None) == (pool is None):
        raise FabriqueError("request.broken", field="project", why="PROJECT | --pool ID")
    if project is not None:
        found = projects.find(desk, project, "statement.view")
        from_ms = instant(desk, "--from", begin) if begin else found.created_ms
        return reports.project_statement(found, from_ms, to_ms, now=now, hub=hub)
    rights.require(desk.person, "pool.statement", now=now, subject=str(pool))
    if pool is None or pool not in desk.here.shares:
        raise FabriqueError("request.broken", field="--pool", why=f"--pool {'|'.join(sorted(desk.here.shares))}")
    first = Entry.objects.order_by("seq").values_list("at_ms", flat=True).first() or 0
    from_ms = instant(desk, "--from", begin) if begin else first
    return reports.pool_statement(pool, from_ms, to_ms, now=now, hub=hub)


def instant(desk: Desk, option: str, text: str) -> int:
    """A day's beginning at the hub, or an instant; UTC milliseconds."""
    from zoneinfo import ZoneInfo

    zone = ZoneInfo(desk.here.timezone)
    try:
        if len(text) == 10:
            at = datetime.combine(date.fromisoformat(text), time(), zone)
        else:
            at = datetime.fromisoformat(text)
            at = at if at.tzinfo else at.replace(tzinfo=zone)
        return round(at.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise FabriqueError("request.broken", field=option, why=f"{option} 2026-11-21") from None


def _document(desk: Desk, made: Statement, kind: str) -> bytes:
    if kind == "json":
        from fabrique.apps.reports import document

        return json.dumps(document.as_json(made), ensure_ascii=False, indent=1).encode() + b"\n"
    if kind == "html":
        from fabrique.apps.reports.html import as_html

        return as_html(made, desk.say).encode()
    from fabrique.apps.reports.pdf import as_pdf

    return as_pdf(made, desk.say)


def _table(desk: Desk, made: Statement) -> None:
    """Where each unit stands at the end of the period."""
    say = desk.say
    output.line(f"{made.id}  {made.title}", "bold")
    output.line(say.interval(made.from_ms, made.to_ms))
    parts = [*((p.id[:8], u) for p in made.allocations for u in p.units), *((made.id, u) for u in made.pool)]
    for name, account in parts:
        output.line()
        output.line(f"{name}: {say.unit_name(account.unit)}", "bold")
        output.table(
            [say.text("part"), say.text("at the end"), say.text("in the period")], _rows(desk, account), (1, 2)
        )
    if not parts:
        output.line(say.text("Nothing was booked in this period."))
    which = made.id if made.kind == "project" else f"--pool {made.id}"
    output.hint(say.text("With proofs, for a verifier:"), desk.command(f"statement {which} --output statement.json"))


def _rows(desk: Desk, account: UnitAccount) -> list[tuple[Any, ...]]:
    def said(figures: Any, part: str) -> str:
        figure = figures.get(part)
        return "–" if figure is None else projects.figure(desk.say, figure.unit, figure.value)

    return [
        (desk.say.word("bucket", part), said(account.closing, part), said(account.movements, part))
        for part in account.closing
    ]
