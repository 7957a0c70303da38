"""`fabrique apply`, `applications`, `decide`: from the form of an access mode to the decision, and why."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fabrique.cli import context, form, output
from fabrique.cli.context import Desk
from fabrique.cli.shared import Call, command
from fabrique.core.errors import FabriqueError

if TYPE_CHECKING:
    from fabrique.apps.access.models import Application
    from fabrique.apps.people.models import Person
    from fabrique.core.access import Mode
    from fabrique.language.say import Speaker

app = typer.Typer()


@command(app, "apply")
def apply(
    call: Call,
    mode: Annotated[str | None, typer.Option("--mode", metavar="ID", help="The access mode.")] = None,
    given: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="One field of the form; repeat it.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", metavar="FORM.yaml", help="The form's fields.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Show the modes, or the fields of one, and stop.")] = False,
    name: Annotated[str, typer.Option("--name", help="Your name, for a new account.")] = "",
    email: Annotated[
        str | None, typer.Option("--email", help="Your address; an account is made for a new one.")
    ] = None,
) -> None:
    """Apply for computing time, and be told why or why not at once. On a terminal it asks for what is missing."""
    desk = context.enter(call)
    from fabrique.apps.access import services as access

    if show:
        return show_mode(desk, access.find_mode(mode, now=desk.now)) if mode else show_modes(desk)
    asking = form.can_ask(call)
    if mode is None:
        if not asking:
            raise FabriqueError("mode.missing", known=[m.id for m in access.modes(now=desk.now)])
        mode = form.ask_mode(desk, access.modes(now=desk.now))
    chosen = access.find_mode(mode, now=desk.now)
    person = _known(desk, email)
    fields = form.prefilled(desk, chosen, person, form.read(file, given or []))
    if asking:
        fields = form.ask(desk, chosen, fields)
    application = _apply(desk, chosen, fields, person, name, email)
    _tell(desk, application)
    raise typer.Exit(1 if application.state == "ineligible" else 0)


@command(app, "applications")
def applications(
    call: Call, waiting: Annotated[bool, typer.Option("--waiting", help="Those that await a decision (desk).")] = False
) -> None:
    """List your applications, or those that await a decision."""
    desk = context.enter(call)
    from fabrique.apps.access import queries
    from fabrique.apps.people import rights

    if waiting:
        rights.require(desk.person, "operate.view", now=desk.now)
    found = list(queries.waiting_applications() if waiting else queries.applications_of(desk.person))
    if call.json:
        return output.document({"applications": [as_json(desk, a) for a in found]})
    say = desk.say
    head = [say.text("id"), say.text("mode"), say.text("state"), say.text("project"), say.text("made on")]
    rows = [
        (str(a.id)[:8], a.mode, say.word("application", a.state), a.project or "", say.instant(a.created_ms))
        for a in found
    ]
    output.table(head, rows)
    if waiting and found:
        return output.hint(say.text("Decide:"), desk.command("decide ID --accept --note …"))
    return None if found else output.hint(say.text("Ask for time:"), desk.command("apply"))


@command(app, "decide")
def decide(
    call: Call,
    application: Annotated[str, typer.Argument(metavar="ID", help="An application's id, or the beginning of one.")],
    accept: Annotated[bool, typer.Option("--accept/--refuse", help="The decision.", show_default=False)],
    note: Annotated[str, typer.Option("--note", help="Why; the applicant reads it.")] = "",
) -> None:
    """Decide on an application (desk)."""
    desk = context.enter(call)
    from fabrique.apps.access import services as access

    found = find(application)
    _tell(desk, access.decide(found, desk.person, accept, note, now=desk.now))


# --- the steps of `apply` -----------------------------------------------------------------------------------------


def _known(desk: Desk, email: str | None) -> Person | None:
    """Who applies, where there is such an account: `--email`, else whom the call acts for."""
    from fabrique.apps.people.models import Person

    if email is None:
        return desk.person
    return Person.objects.filter(email__iexact=email.strip(), is_active=True).first()


def _apply(
    desk: Desk, mode: Mode, fields: Mapping[str, object], person: Person | None, name: str, email: str | None
) -> Application:
    """Judged first: a form that is not right leaves nothing behind, not even an account."""
    from django.db import transaction

    from fabrique.apps.access import forms
    from fabrique.apps.access import services as access

    now = desk.now
    found = access.assess(mode.id, fields, now=now, applicant=person)
    wrong = [*found.errors, *forms.unanswered(mode, fields)]  # what was not answered is asked for, never held against
    if wrong:
        errors = [{"field": e.field, "code": e.code, **dict(e.params)} for e in wrong]
        raise FabriqueError("application.field", errors=errors)
    with transaction.atomic():
        applicant = person or _new_person(desk, name, email or "", now=now)
        draft = access.save_draft(applicant, mode.id, fields, now=now)
        return access.submit(draft, applicant, now=now)


def _new_person(desk: Desk, name: str, email: str, *, now: int) -> Person:
    """An account that signs in by a link; it gets this login when nobody has it yet."""
    from django.core.exceptions import ValidationError
    from django.core.validators import validate_email

    from fabrique.apps.people import services as people
    from fabrique.core.fields import name_error

    if name and name_error("name", name, 200):
        raise FabriqueError("request.broken", field="--name", why="--name")
    try:
        validate_email(email)
    except ValidationError:
        raise FabriqueError("request.broken", field="--email", why="--email") from None
    login = "" if context.person_of_login() else context.login()
    return people.create_person(
        name or email.partition("@")[0], email, now=now, language=desk.say.language, login=login
    )


def find(text: str) -> Application:
    """The application of this id, or the only one whose id begins so. Raises `application.missing`."""
    from fabrique.apps.access.models import Application

    try:
        return Application.objects.get(pk=uuid.UUID(text))
    except (ValueError, Application.DoesNotExist):
        wanted = text.lower()
    ids = [
        i for i in Application.objects.values_list("id", flat=True) if len(wanted) >= 4 and str(i).startswith(wanted)
    ]
    if len(ids) != 1:
        raise FabriqueError("application.missing", application=text[:40])
    return Application.objects.get(pk=ids[0])


# --- what is said -------------------------------------------------------------------------------------------------


def _tell(desk: Desk, application: Application) -> None:
    if desk.call.json:
        return output.document(as_json(desk, application))
    say = desk.say
    answers = _answers(desk, application)
    marks = {"pass": "✓", "fail": "✗", "unknown": "?"}
    output.table(
        [say.text("rule"), "", say.text("why")],
        [(say.word("rule", a["rule"]), marks[a["verdict"]], a["reason"]["sentence"]) for a in answers],
    )
    output.line()
    state = say.word("application", application.state)
    output.line(say.text("Application {id}: {state}.", id=str(application.id)[:8], state=state), "bold")
    if application.reason:
        output.line(_reason(desk, application)["sentence"])
    return _next(desk, application)


def _next(desk: Desk, application: Application) -> None:
    say, project = desk.say, application.project
    if application.state == "awarded" and project is not None:
        acting = _acting(application)
        for line in _lines(desk, application):
            output.line(line)
        output.hint(say.text("What you were given:"), desk.command(f"project {project.code}", acting))
        return output.hint(say.text("Next:"), desk.command(f"submit SCRIPT --project {project.code} --wait", acting))
    if application.state == "submitted":
        if application.due_ms:
            output.line(
                say.text("An officer decides; the answer is due on {due}.", due=say.instant(application.due_ms))
            )
        return output.hint(
            say.text("The officer decides with:"), desk.command(f"decide {str(application.id)[:8]} --accept")
        )
    return None


def _acting(application: Application) -> str | None:
    """The address for `--as`, where the next command would act for somebody else."""
    mine = context.person_of_login()
    return None if mine is not None and mine.pk == application.applicant_id else application.applicant.email


def _lines(desk: Desk, application: Application) -> list[str]:
    """The allocation in one line a unit: how much, until when."""
    from fabrique.apps.access import queries
    from fabrique.core.units import Amount

    allocation = application.award.allocation
    summary = queries.allocation_summary(allocation, now=desk.now)
    say = desk.say
    return [
        say.text(
            "Project {project}: {amount}, until {end}.",
            project=allocation.project.code,
            amount=say.amount(Amount(line.unit, line.granted)),
            end=say.date(allocation.ends_ms),
        )
        for line in summary.lines
        if line.limited
    ]


def as_json(desk: Desk, application: Application) -> dict[str, Any]:
    project = application.project
    award = getattr(application, "award", None)
    return {
        "id": str(application.id),
        "mode": application.mode,
        "mode_version": application.mode_version,
        "state": application.state,
        "applicant": str(application.applicant_id),
        "created_ms": application.created_ms,
        "submitted_ms": application.submitted_ms,
        "due_ms": application.due_ms,
        "decided_ms": application.decided_ms,
        "reason": _reason(desk, application) if application.reason else None,
        "answers": _answers(desk, application),
        "project": project.code if project else None,
        "allocation": None
        if award is None
        else {
            "id": str(award.allocation.id),
            "pool": award.pool,
            "amounts": award.amounts,
            "starts_ms": award.starts_ms,
            "ends_ms": award.ends_ms,
        },
    }


def _reason(desk: Desk, application: Application) -> dict[str, Any]:
    from fabrique.core.reasons import from_json

    return desk.why(from_json(application.reason)) or {}


def _answers(desk: Desk, application: Application) -> list[dict[str, Any]]:
    """Each rule's last answer."""
    from fabrique.core.reasons import from_json

    last = {a.rule: a for a in application.answers.all()}
    return [{"rule": a.rule, "verdict": a.verdict, "reason": desk.why(from_json(a.reason))} for a in last.values()]


def show_modes(desk: Desk) -> None:
    from fabrique.apps.access import services as access

    modes = access.modes(now=desk.now)
    if desk.call.json:
        return output.document({"modes": [form.mode_json(desk, m) for m in modes]})
    say = desk.say
    head = [say.text("mode"), say.text("name"), say.text("for"), say.text("decision")]
    rows = [(m.id, desk.words(m.name), _audience(say, m), _decision(say, m)) for m in modes]
    output.table(head, rows)
    return output.hint(say.text("The fields of one:"), desk.command("apply --mode MODE --show"))


def show_mode(desk: Desk, mode: Mode) -> None:
    if desk.call.json:
        return output.document({"mode": form.mode_json(desk, mode)})
    say = desk.say
    output.line(desk.words(mode.name), "bold")
    output.line(desk.words(mode.summary))
    output.line()
    output.table([say.text("field"), say.text("what it asks"), say.text("values")], form.rows(desk, mode))
    return output.hint(say.text("Apply:"), desk.command(f"apply --mode {mode.id} --set FIELD=VALUE …"))


def _audience(say: Speaker, mode: Mode) -> str:
    return say.listed([say.word("organisation", a) for a in mode.audience])


def _decision(say: Speaker, mode: Mode) -> str:
    return say.text("at once") if mode.decision == "automatic" else say.text("by an officer")
