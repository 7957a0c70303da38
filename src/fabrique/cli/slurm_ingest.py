"""`fabrique slurm ingest`, `reconcile`: what really ran, read from the accounting now, and held against the books."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fabrique.cli import context, output
from fabrique.cli.context import Desk
from fabrique.cli.failures import NO
from fabrique.cli.shared import Call, command
from fabrique.cli.statement import instant
from fabrique.core.errors import FabriqueError
from fabrique.language.marks import msg

if TYPE_CHECKING:
    from fabrique.definitions.cluster import Cluster
    from fabrique.language.say import Speaker
    from fabrique.operate.ingest import Accounting
    from fabrique.operate.reconcile import Reconciled, Rolled

app = typer.Typer()
SINCE = typer.Option("--since", metavar="DATE", help="From this day or instant on.")
UNTIL = typer.Option("--until", metavar="DATE", help="Up to this day or instant (else now).")
SHOWN: Final = 50
TOO_SHORT: Final = msg("no whole hour lies in between.")
NOT_YET: Final = msg("sreport knows none of these hours.")
DONE: Final = {
    "booked": msg("Runs that nobody had seen, booked now"),
    "corrected": msg("Runs whose books were corrected"),
    "agreed": msg("Runs whose books agreed"),
    "open": msg("Runs that are not over, or not settled yet"),
    "never-ran": msg("Jobs that never ran"),
    "quarantined": msg("Quarantined"),
}
WHY: Final = {
    "live": msg("not settled yet"),
    "unread": msg("not read yet"),
    "wrong": msg("the books say otherwise"),
    "unknown": msg("the accounting does not know it"),
}


@command(app, "ingest")
def ingest(call: Call, since: Annotated[str | None, SINCE] = None) -> None:
    """Read the accounting now, from that day on, and book what really ran: once, however often it is read."""
    desk, cluster, accounting = _enter(call, "cluster.provision")
    from fabrique.apps.jobs import cycle
    from fabrique.operate.doors import project_of
    from fabrique.operate.ingest import Ingest

    if cycle.hub_state().observe_only:
        raise FabriqueError("home.observe-only")
    back_to = instant(desk, "--since", since) if since else None
    done = Ingest(desk.here, cluster, project_of).look(accounting, None, now=desk.now, back_to=back_to)
    if call.json:
        return output.document({what: done.get(what, 0) for what in DONE})
    return output.pairs([(desk.say.text(text), done[what]) for what, text in DONE.items() if done.get(what)])


@command(app, "reconcile")
def reconcile(call: Call, since: Annotated[str, SINCE], until: Annotated[str | None, UNTIL] = None) -> None:
    """Hold the books against the accounting, to the second, for runs that ended since. Ends with 1 if they differ."""
    desk, cluster, accounting = _enter(call, "operate.view")
    from fabrique.operate import reconcile as comparing
    from fabrique.operate.doors import project_of

    from_ms = instant(desk, "--since", since)
    to_ms = instant(desk, "--until", until) if until else desk.now
    found = comparing.reconcile(desk.here, cluster, accounting, project_of, from_ms, to_ms)
    rolled, why = _rolled(cluster, accounting, from_ms, to_ms)
    if call.json:
        output.document(_as_json(found, rolled, why))
    else:
        _tell(desk, found, rolled, why)
    if not found.agrees:
        raise typer.Exit(NO)


def _enter(call: Call, right: str) -> tuple[Desk, Cluster, Accounting]:
    desk = context.enter(call)
    from fabrique.apps.people import rights
    from fabrique.operate import engines, provision

    rights.require(desk.person, right, now=desk.now)
    cluster = provision.cluster_of(desk.here)
    return desk, cluster, engines.cluster_engine(desk.here, cluster)


def _rolled(cluster: Cluster, accounting: Accounting, from_ms: int, to_ms: int) -> tuple[list[Rolled], str]:
    """The accounting's roll-up beside its jobs, or why there is none."""
    from fabrique.engines.slurm import sreport
    from fabrique.operate.reconcile import rolled, whole_hours

    start, stop = whole_hours(from_ms, to_ms)
    if stop <= start:
        return [], TOO_SHORT
    try:
        sums = sreport.by_account(Path(cluster.conf), Path(cluster.bin), cluster.cluster, start, stop)
        if not sums:  # also where the first of these hours is older than the accounting
            return [], NOT_YET
        return rolled(accounting.records(start, stop)[0], sums, start, stop), ""
    except FabriqueError as error:
        return [], str(error)


def _as_json(found: Reconciled, rolled: list[Rolled], why: str) -> dict[str, Any]:
    """Times are text, in milliseconds of devices or cores."""
    sums = [
        {
            "project": project,
            "accounts": sorted(one.accounts),
            "unit": unit,
            "runs": one.runs,
            "books": str(one.books_ms),
            "accounting": str(one.accounting_ms),
            "difference": str(one.books_ms - one.accounting_ms),
        }
        for (project, unit), one in sorted(found.sums.items())
    ]
    return {
        "agrees": found.agrees,
        "sums": sums,
        "off": [asdict(one) for one in found.off],
        "aside": dict(found.aside),
        "unread": found.unread,
        "rolled_up": [asdict(one) for one in rolled],
        "not_rolled_up": why,
    }


def _tell(desk: Desk, found: Reconciled, rolled: list[Rolled], why: str) -> None:
    say: Speaker = desk.say
    head = (say.text("project"), say.text("unit"), say.text("runs"), say.text("books"), say.text("accounting"))
    rows = [
        (project, say.unit_name(unit), one.runs, say.duration(one.books_ms), say.duration(one.accounting_ms))  # type: ignore[arg-type]
        for (project, unit), one in sorted(found.sums.items())
    ]
    if rows:
        output.table(head, rows, numbers=(2,))
    for one in found.off[:SHOWN]:
        output.line(f"{one.key}  {say.text(WHY[one.why])}")
    if found.aside:
        output.line(
            say.text("Runs of others, or that nobody can be charged for: {count}.", count=sum(found.aside.values()))
        )
    for roll in rolled:
        if roll.rolled_up_s != roll.jobs_s:
            told = {"account": roll.account, "resource": roll.resource, "rolled": roll.rolled_up_s, "jobs": roll.jobs_s}
            output.line(say.text("{account}, {resource}: sreport has {rolled} s, the jobs {jobs} s.", **told))
    if why:
        output.line(say.text("Nothing is rolled up to compare with: {why}", why=say.text(why)))
    agreed = say.text("Books and accounting agree to the second.")
    output.line(agreed if found.agrees else say.text("Runs on which they differ: {count}.", count=len(found.off)))
