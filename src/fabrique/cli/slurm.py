"""`fabrique slurm`: the accounts and limits of this hub on its Slurm cluster, and the files that Slurm wants of it."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fabrique.cli import context, output
from fabrique.cli.context import Desk
from fabrique.cli.failures import NO
from fabrique.cli.shared import Call, command
from fabrique.core.errors import FabriqueError
from fabrique.language.marks import msg

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fabrique.core.drift import Step
    from fabrique.core.provision import Unseated
    from fabrique.core.provision_plan import Left
    from fabrique.language.say import Speaker

app = typer.Typer(help="A Slurm cluster: its accounts and limits, and the files it needs.", no_args_is_help=True)
DRY = typer.Option("--dry-run", help="Say what would change, and change nothing.")
SORTS: Final = {"account": msg("account"), "qos": "QoS", "user": msg("user"), "default": msg("default account")}
FIELDS: Final = {
    "exists": msg("exists"),
    "parent": msg("below"),
    "qos": "QoS",
    "default qos": msg("default QoS"),
    "decays": msg("its use fades"),
    "minutes a job": msg("minutes a job"),
    "seat": msg("new jobs"),
    "account": msg("account"),
}
VALUES: Final = {
    "yes": msg("yes"),
    "no": msg("no"),
    "open": msg("open"),
    "closed": msg("closed"),
    "half": msg("half closed"),
}
DIFFERS: Final = {
    "missing": msg("missing"),
    "changed": msg("changed"),
    "foreign": msg("not the hub's"),
    "mode": msg("other permissions"),
}
LEFT: Final = {
    "outside": msg("The account {name} stands below {where}, outside the hub's: it is left as it is."),
    "stranger": msg("The account {name}, below {where}, is not the hub's: it is left as it is."),
    "partition": msg(
        "The partition {name} lies on nodes of {where}, and the hub does not know it: its jobs take no watt licences,"
        " and are seen as others'. fabrique slurm connect --again reads it."
    ),
    "stranger-user": msg("{name} was put right into {where}, which is nobody's project: left as it is."),
}


@command(app, "plan")
def plan(call: Call) -> None:
    """Show what awards want of Slurm's accounting and what differs; change nothing."""
    desk = context.enter(call)
    _tell_plan(desk)


@command(app, "apply")
def apply(call: Call, dry_run: Annotated[bool, DRY] = False) -> None:
    """Make Slurm's accounting as the awards want it. What Slurm refuses is told and stops nothing else."""
    desk = context.enter(call)
    if dry_run:
        return _tell_plan(desk)
    from fabrique.operate import provision

    made = provision.apply(desk.here, desk.person, now=desk.now, done=_progress)
    refused = [{"change": repr(r.change), "why": r.why, "tried": r.tried} for r in made.refused]
    if call.json:
        told = {"refused": refused, **_rest(made.left, made.wanted.unseated)}
        output.document({"steps": [asdict(s) for s in made.steps], **told})
    else:
        _table(desk, made.steps)
        _tell_left(desk, made.left, made.wanted.unseated)
        for r in made.refused:
            output.line(desk.say.text("Slurm refused {change}: {why}", change=_named(r.change), why=r.why))
    if refused:
        raise typer.Exit(NO)
    return None


@command(app, "drift")
def drift(call: Call) -> None:
    """Find what was changed by hand since the last apply. Ends with 1 where something was."""
    desk = context.enter(call)
    from fabrique.operate import provision

    say: Speaker = desk.say
    found = provision.look_for_drift(desk.here, desk.person, now=desk.now)
    if found is None:
        if call.json:
            return output.document({"since_ms": None, "drift": [], "left": []})
        return output.hint(say.text("Nothing was applied yet:"), desk.command("slurm apply"))
    if call.json:
        rows = [{**asdict(d.step), "mended": d.mended} for d in found.differences]
        output.document({"since_ms": found.since_ms, "drift": rows, "left": [asdict(x) for x in found.left]})
    elif found.differences:
        head = (say.text("what"), say.text("name"), say.text("field"), say.text("applied"), say.text("found"))
        mend = say.text("the next apply sets")
        rows_shown = [(*_cells(desk, d.step), _value(desk, d.mended)) for d in found.differences]
        output.table([*head, mend], rows_shown)
        _tell_left(desk, found.left, ())
        output.hint(say.text("Mend it:"), desk.command("slurm apply"))
    else:
        since = say.instant(found.since_ms)
        output.line(say.text("Nothing was changed by hand since {time}.", time=since))
        _tell_left(desk, found.left, ())
    if found.differences:
        raise typer.Exit(NO)
    return None


@command(app, "install")
def install(
    call: Call,
    into: Annotated[
        Path | None, typer.Option("--into", metavar="DIR", help="Where to (else beside slurm.conf).")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Only say what is not as it would be generated.")] = False,
    suspend: Annotated[
        str | None, typer.Option("--suspend", metavar="COMMAND", help="The site's own, given nodes to power down.")
    ] = None,
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="COMMAND", help="The site's own, given nodes to power up.")
    ] = None,
) -> None:
    """Write job_submit.lua, prolog and epilog beside slurm.conf, and say what slurm.conf has to hold."""
    desk = context.enter(call)
    from fabrique.operate import cluster_files

    if (suspend is None) != (resume is None):
        raise typer.BadParameter("--suspend and --resume go together")
    nodes = cluster_files.Nodes(suspend, resume)
    if check:
        found = cluster_files.compare(desk.here, desk.person, into, nodes, now=desk.now)
        if found:
            told = [(d.name, d.why if call.json else desk.say.text(DIFFERS[d.why])) for d in found]
            raise FabriqueError("provision.files", files=[f"{name} ({why})" for name, why in told])
        if call.json:
            return output.document({"differences": []})
        return output.line(desk.say.text("The files are what would be generated now."))
    made = cluster_files.install(desk.here, desk.person, into, nodes, now=desk.now)
    if call.json:
        return output.document(asdict(made))
    say = desk.say
    for name in made.written:
        output.line(str(made.folder / name))
    if not made.written:
        output.line(say.text("The files are what would be generated now."))
    cluster = desk.here.deployment.cluster
    if made.licences is not None and cluster is not None:
        each = say.power(cluster.licence_w)
        output.line(say.text("Licences of {each} in Slurm: {count}.", each=each, count=made.licences))
    if made.refused is not None:
        output.line(say.text("The watt licence could not be made: {why}", why=made.refused))
    if made.lines:
        output.line(say.text("slurm.conf has to hold these lines, then `scontrol reconfigure`:"))
        for line in made.lines:
            output.line(f"  {line}")
    return None


# --- steps --------------------------------------------------------------------------------------------------------


def _tell_plan(desk: Desk) -> None:
    from fabrique.operate import provision

    found = provision.prepare(desk.here, desk.person, now=desk.now)
    if desk.call.json:
        told = {**_rest(found.plan.left, found.wanted.unseated), "unread": list(found.found.unread)}
        return output.document({"steps": [asdict(s) for s in found.steps], **told})
    say = desk.say
    _table(desk, found.steps)
    _tell_left(desk, found.plan.left, found.wanted.unseated)
    if found.found.unread:
        output.line(say.text("{count} lines of sacctmgr could not be read.", count=len(found.found.unread)))
    if found.steps:
        return output.hint(say.text("Make it so:"), desk.command("slurm apply"))
    return None


def _rest(left: Iterable[Left], unseated: Iterable[Unseated]) -> dict[str, Any]:
    return {"left": [asdict(x) for x in left], "unseated": [asdict(x) for x in unseated]}


def _table(desk: Desk, steps: Sequence[Step]) -> None:
    say = desk.say
    if not steps:
        return output.line(say.text("Slurm's accounting is as the awards want it."))
    head = (say.text("what"), say.text("name"), say.text("field"), say.text("now"), say.text("then"))
    return output.table(head, [_cells(desk, step) for step in steps])


def _cells(desk: Desk, step: Step) -> tuple[str, str, str, str, str]:
    known = step.sort != "user" and step.field in FIELDS  # a user's field is the account they sit in
    field = desk.say.text(FIELDS[step.field]) if known else step.field
    return desk.say.text(SORTS[step.sort]), step.name, field, _value(desk, step.before), _value(desk, step.after)


def _value(desk: Desk, value: str | None) -> str:
    if value is None:
        return "–"
    return desk.say.text(VALUES[value]) if value in VALUES else value


def _tell_left(desk: Desk, left: Iterable[Left], unseated: Iterable[Unseated]) -> None:
    say = desk.say
    for item in left:
        output.line(say.text(LEFT[item.why], name=item.name, where=item.where))
    for who in unseated:
        text = msg("{person} of {project} has no login on the cluster, and no seat.")
        output.line(say.text(text, person=_name(who), project=who.project))


def _name(who: Unseated) -> str:
    """Of the person, for the operator's eyes; the id once the name was erased."""
    from fabrique.apps.people.models import Person

    found = Person.objects.filter(pk=who.person).first()
    return str(found) if found is not None else who.person[:8]


def _named(change: object) -> str:
    """A change by its sort and names, as `AddUsers p-1 alice,bob`."""
    name = getattr(change, "name", None) or getattr(change, "account", "")
    logins = getattr(change, "logins", None) or (getattr(change, "login", ""),)
    return " ".join(part for part in (type(change).__name__, str(name), ",".join(logins)) if part)


def _progress(made: int, of: int) -> None:
    """One line that counts, on a terminal alone."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{made}/{of}" + ("\n" if made == of else ""))
        sys.stderr.flush()
