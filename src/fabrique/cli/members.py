"""`fabrique invite`, `join`: how a person becomes a member of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fabrique.cli import context, home, output
from fabrique.cli.projects import find
from fabrique.cli.shared import Call, command

if TYPE_CHECKING:
    from fabrique.language.say import Speaker

app = typer.Typer()
JOIN = "/join/"


@command(app, "invite")
def invite(call: Call, code: Annotated[str, typer.Argument(metavar="PROJECT", help="A project's code.")]) -> None:
    """Print a link that makes one person a member of your project, once, within 7 days."""
    desk = context.enter(call)
    from fabrique.apps.access import members

    now = desk.now
    token = members.invite(find(desk, code, "project.manage"), desk.person, now=now)
    link = f"{home.address(desk.here)}{JOIN}{token}"
    if call.json:
        return output.document({"link": link, "expires_ms": now + members.INVITATION_LIFE_MS})
    return output.line(link)


@command(app, "join")
def join(
    call: Call, given: Annotated[str, typer.Argument(metavar="LINK", help="An invitation link, or its token.")]
) -> None:
    """Join the project of an invitation; the link is used up."""
    desk = context.enter(call)
    from fabrique.apps.access import members

    member = members.accept(given.strip().rpartition(JOIN)[2].rstrip("/"), desk.person, now=desk.now)
    code = member.project.code
    if call.json:
        return output.document({"project": code, "role": member.role, "since_ms": member.since_ms})
    say: Speaker = desk.say
    output.line(say.text("You are a member of the project {project}.", project=code))
    return output.hint(say.text("What it has:"), desk.command(f"project {code}"))
