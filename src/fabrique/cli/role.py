"""`fabrique role`: who holds which role, and who is given one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabrique.cli import context, output
from fabrique.cli.shared import Call, command

if TYPE_CHECKING:
    from fabrique.apps.people.models import RoleGrant
    from fabrique.language.say import Speaker

app = typer.Typer(help="Who holds which role: list, grant, end.", no_args_is_help=True)
EMAIL = Annotated[str, typer.Argument(metavar="EMAIL", help="Of a person with an account on this hub.")]
ROLE = Annotated[str, typer.Argument(metavar="ROLE", help="operator, coordinator, reviewer, funder or auditor.")]
YES = Annotated[bool, typer.Option("--yes", help="Don't ask whether this is the person you mean.")]


@command(app, "list")
def list_roles(call: Call) -> None:
    """List who holds which role, for which organisation, since when."""
    desk = context.enter(call)
    from fabrique.apps import roles
    from fabrique.apps.people import rights

    now = desk.now
    rights.require(desk.person, "role.view", now=now)
    found, mine = roles.held(now=now), roles.may_appoint(desk.person, now=now)
    if call.json:
        return output.document({"roles": [as_json(one) for one in found], "may_appoint": [str(r) for r in mine]})
    say: Speaker = desk.say
    rows = [
        (say.word("role", g.role), g.person, g.person.email or "–", g.organisation.name, say.date(g.since_ms))
        for g in found
    ]
    head = [say.text("role"), say.text("person"), say.text("e-mail"), say.text("organisation"), say.text("since")]
    output.table(head, rows)
    if not mine:
        return output.line(say.text("You give no role here."))
    names = say.listed([say.word("role", role) for role in mine])
    output.line(say.text("You may give: {roles}.", roles=names))
    return output.hint(say.text("To give it:"), desk.command(f"role grant EMAIL {mine[0]}"))


@command(app, "grant")
def grant(
    call: Call,
    email: EMAIL,
    role: ROLE,
    organisation: Annotated[
        str, typer.Option("--organisation", metavar="NAME", help="For a person who has named none.")
    ] = "",
    kind: Annotated[str, typer.Option("--kind", metavar="KIND", help="Of a new organisation: public-body, sme …")] = "",
    country: Annotated[str, typer.Option("--country", metavar="CODE", help="Of a new organisation: CA, LU …")] = "",
    yes: YES = False,
) -> None:
    """Give a person a role; the ledger and the record tell it."""
    desk = context.enter(call)
    from fabrique.apps import roles
    from fabrique.apps.people import services as people

    person = people.find_person(email)
    say: Speaker = desk.say
    if not (yes or call.json) and sys.stdin.isatty():
        own = people.organisation_of(person, now=desk.now)
        whose = own.name if own else organisation or "–"
        since = say.date(person.created_ms)
        text = say.text(
            "{name}, {organisation}, with an account since {since}", name=person, organisation=whose, since=since
        )
        output.line(text)
        typer.confirm(say.text("Is this the person you mean?"), abort=True)
    made = roles.grant(desk.person, person, role, roles.Named(organisation, kind, country), now=desk.now)
    if call.json:
        return output.document(as_json(made))
    word = say.word("role", made.role)
    output.line(
        say.text(
            "{name} holds the role for {organisation}: {role}.",
            name=made.person,
            organisation=made.organisation.name,
            role=word,
        )
    )
    return output.hint(say.text("Everybody who holds one:"), desk.command("role list"))


@command(app, "end")
def end(call: Call, email: EMAIL, role: ROLE) -> None:
    """End a role of your own, or of a person of your organisation who holds yours."""
    desk = context.enter(call)
    from fabrique.apps import roles
    from fabrique.apps.people import services as people

    ended = roles.end(desk.person, people.find_person(email), role, now=desk.now)
    if call.json:
        return output.document(as_json(ended))
    word = desk.say.word("role", ended.role)
    return output.line(desk.say.text("{name} no longer holds the role: {role}.", name=ended.person, role=word))


def as_json(one: RoleGrant) -> dict[str, Any]:
    return {
        "role": str(one.role),
        "person": str(one.person_id),
        "name": one.person.name,
        "email": one.person.email,
        "organisation": one.organisation.name,
        "organisation_id": str(one.organisation_id),
        "since_ms": one.since_ms,
        "until_ms": one.until_ms,
        "granted_by": str(one.granted_by) if one.granted_by else None,
    }
