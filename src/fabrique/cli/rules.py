"""`fabrique rules`: by which rules the hub decides, and how two people adopt others."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from fabrique.cli import context, output
from fabrique.cli.context import Desk
from fabrique.cli.shared import Call, command
from fabrique.core.errors import FabriqueError

if TYPE_CHECKING:
    from fabrique.apps.rules.models import Proposal
    from fabrique.language.say import Speaker

app = typer.Typer(help="The rules that the hub decides by: list, show, propose, consent.", no_args_is_help=True)
SHOWN = 50
NOTE = Annotated[str, typer.Option("--note", help="Why; it stays on record.")]


@command(app, "list")
def list_rules(call: Call) -> None:
    """List the ready-made rule sets, and say which one is in force."""
    desk = context.enter(call)
    from fabrique.apps.rules import services
    from fabrique.definitions import rules as rule_sets
    from fabrique.operate.deciding import rules_in_force

    in_force = rules_in_force(desk.here, desk.now)
    known = rule_sets.catalogue()
    lacking = {name: services.not_live(desk.here, one.rules) for name, one in known.items()}
    if call.json:
        sets = [
            {"rules": name, "version": one.rules.version, "not_live": list(lacking[name])}
            for name, one in known.items()
        ]
        return output.document({"in_force": {"rules": in_force.name, "version": in_force.version}, "sets": sets})
    say: Speaker = desk.say
    rows = [
        (name, one.rules.version, desk.words(one.purpose) if one.purpose else "", say.word("yes-no", not lacking[name]))
        for name, one in known.items()
    ]
    text = say.text("The hub decides by {rules}, version {version}.", rules=in_force.name, version=in_force.version)
    output.line(text, "bold")
    output.table([say.text("rules"), say.text("version"), say.text("what for"), say.text("here")], rows, numbers=(1,))
    for name, why in lacking.items():
        if why:
            output.line(say.text("Not here: {rules}. {why}", rules=name, why=_said(desk, why)))
    return output.hint(say.text("Its fields:"), desk.command("rules show NAME"))


@command(app, "show")
def show(
    call: Call, name: Annotated[str | None, typer.Argument(metavar="NAME|FILE", help="Else those in force.")] = None
) -> None:
    """Show every field of a rule set."""
    desk = context.enter(call)
    from fabrique.apps.rules import services
    from fabrique.definitions import rules as rule_sets
    from fabrique.operate.deciding import rules_in_force

    found = rule_sets.load(Path(name) if _is_file(name) else name) if name else rules_in_force(desk.here, desk.now)
    if call.json:
        told = {"rules": asdict(found), "digest": services.digest(found)}
        return output.document({**told, "not_live": list(services.not_live(desk.here, found))})
    return output.pairs([(field, value) for field, value in asdict(found).items()])


@command(app, "propose")
def propose(
    call: Call,
    name: Annotated[str, typer.Argument(metavar="NAME|FILE", help="A rule set.")],
    note: NOTE,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="2026-12-01T00:00Z; else from the consent on.")
    ] = None,
    what_if: Annotated[str | None, typer.Option("--what-if", metavar="ID", help="The replay it stands on.")] = None,
) -> None:
    """Propose rules; nothing changes until a second person consents."""
    desk = context.enter(call)
    from fabrique.apps.rules import replays, services
    from fabrique.definitions import rules as rule_sets

    made = services.propose(
        desk.here,
        desk.person,
        rule_sets.load(Path(name) if _is_file(name) else name),
        note=note,
        from_ms=None if start is None else _instant(start),
        what_if=None if what_if is None else replays.find(_id(what_if, "what-if.missing", "what_if")),
        now=desk.now,
    )
    if call.json:
        return output.document(as_json(made))
    output.line(desk.say.text("Proposed: {rules}, version {version}.", rules=made.name, version=made.version))
    words = f'rules consent {made.id} --note "…"'
    return output.hint(desk.say.text("A second person consents:"), desk.command(words, "EMAIL"))


@command(app, "consent")
def consent(
    call: Call,
    note: NOTE,
    proposal: Annotated[str | None, typer.Argument(metavar="ID", help="Else the one that waits.")] = None,
    refuse: Annotated[bool, typer.Option("--refuse", help="Turn the proposal down.")] = False,
) -> None:
    """Consent, as the second person, to the rules that were proposed; or turn them down."""
    desk = context.enter(call)
    from fabrique.apps.rules import services

    key = _waiting() if proposal is None else _id(proposal, "rules.missing", "proposal")
    found = services.consent(key, desk.person, not refuse, note, now=desk.now)
    if call.json:
        return output.document(as_json(found))
    if found.in_force_ms is None:
        return output.line(desk.say.text("Turned down. Nothing changes."))
    time = desk.say.instant(found.in_force_ms)
    return output.line(desk.say.text("Adopted: {rules} is in force from {time}.", rules=found.name, time=time), "bold")


@command(app, "history")
def history(call: Call) -> None:
    """List what was proposed, by whom, and what became of it."""
    desk = context.enter(call)
    from fabrique.apps.people import rights
    from fabrique.apps.rules.models import Proposal

    rights.require(desk.person, "rules.view", now=desk.now)
    found = list(Proposal.objects.select_related("proposed_by", "decided_by")[:SHOWN])
    if call.json:
        return output.document({"proposals": [as_json(one) for one in found]})
    say = desk.say
    if not found:
        return output.line(say.text("No rules were proposed yet."))
    head = [say.text("id"), say.text("rules"), say.text("state"), say.text("proposed by"), say.text("decided by")]
    head.append(say.text("in force from"))
    rows = [
        (one.id, one.name, say.word("proposal", one.state), one.proposed_by, one.decided_by or "–", _from(desk, one))
        for one in found
    ]
    return output.table(head, rows)


# --- steps --------------------------------------------------------------------------------------------------------


def as_json(found: Proposal) -> dict[str, Any]:
    return {
        "id": str(found.id),
        "rules": found.name,
        "version": found.version,
        "digest": found.digest,
        "state": str(found.state),
        "note": found.note,
        "what_if": str(found.what_if_id) if found.what_if_id else None,
        "proposed_by": str(found.proposed_by_id),
        "proposed_ms": found.proposed_ms,
        "from_ms": found.from_ms,
        "decided_by": str(found.decided_by_id) if found.decided_by_id else None,
        "decided_ms": found.decided_ms,
        "decision_note": found.decision_note,
        "in_force_ms": found.in_force_ms,
        "entry": found.entry,
    }


def _said(desk: Desk, lacking: tuple[str, ...]) -> str:
    return " ".join(desk.say.word("not-live", one) for one in lacking)


def _from(desk: Desk, found: Proposal) -> str:
    return "–" if found.in_force_ms is None else desk.say.instant(found.in_force_ms)


def _waiting() -> UUID:
    from fabrique.apps.rules.models import Proposal, ProposalState

    found = Proposal.objects.filter(state=ProposalState.PROPOSED).first()
    if found is None:
        raise FabriqueError("rules.none")
    return found.id


def _is_file(name: str | None) -> bool:
    return name is not None and context.is_file(name)


def _id(text: str, code: str, name: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise FabriqueError(code, **{name: text[:80]}) from None


def _instant(text: str) -> int:
    """An ISO 8601 instant with its offset. Raises `rules.from`."""
    from datetime import datetime

    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return round(found.timestamp() * 1000)
    except (ValueError, OverflowError):
        pass
    raise FabriqueError("rules.from", from_ms=text[:40])
