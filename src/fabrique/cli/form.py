"""The form of an access mode on the command line: read from a file and flags, filled with what is known, asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabrique.cli import output
from fabrique.cli.context import Desk
from fabrique.cli.shared import Call
from fabrique.core.errors import FabriqueError

if TYPE_CHECKING:
    from fabrique.apps.people.models import Person
    from fabrique.core.access import Field, Mode
    from fabrique.core.fields import FieldError
    from fabrique.language.say import Speaker

Form = dict[str, object]


def can_ask(call: Call) -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and not call.json


def read(file: Path | None, given: Sequence[str]) -> Form:
    """The fields of a YAML file, and FIELD=VALUE over them. Raises `definition.broken`, `request.broken`."""
    form: Form = dict(_flat(_of_file(file))) if file else {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise FabriqueError("request.broken", field="--set", why=f"--set {text[:60]}: FIELD=VALUE")
        form[name.strip()] = value
    return form


def _of_file(file: Path) -> Mapping[str, Any]:
    from fabrique.definitions import yaml

    document, complaints = yaml.read(file)
    if document is not None and not isinstance(document.data, dict):
        complaints = [document.complaint((), "value.type", expected="mapping")]
    if document is None or complaints:
        raise FabriqueError("definition.broken", file=str(file), complaints=complaints)
    return dict(document.data)


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """`ethics: {misuse: no}` is `ethics.misuse`."""
    for name, value in data.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def prefilled(desk: Desk, mode: Mode, person: Person | None, form: Form) -> Form:
    """What the hub knows already is not asked again: the organisation, the only kind that is connected."""
    from fabrique.apps.people import services as people

    known: Form = {}
    kinds = sorted(desk.here.units)
    if len(kinds) == 1:
        known["kind"] = kinds[0]
    organisation = people.organisation_of(person, now=desk.now) if person else None
    if organisation is not None and organisation.kind in mode.audience:
        known |= {"organisation_kind": organisation.kind, "country": organisation.country}
    return {**{k: v for k, v in known.items() if mode.field(k)}, **_plain(desk.say, mode, form)}


def _plain(say: Speaker, mode: Mode, form: Form) -> Form:
    """Yes and no as the form keeps them, where they were given in the person's own language."""
    asked = {f.id for f in mode.form if f.kind == "yes-no"} | {f"ethics.{q.id}" for q in mode.ethics}
    return {k: _yes_no(say, v) if k in asked and isinstance(v, str) else v for k, v in form.items()}


# --- asking -------------------------------------------------------------------------------------------------------


def ask_mode(desk: Desk, modes: Sequence[Mode]) -> str:
    say = desk.say
    for number, mode in enumerate(modes, 1):
        output.line(f"{number}  {desk.words(mode.name)}: {desk.words(mode.summary)}")
    while True:
        answer = _prompt(say.text("Which access mode (its number)?"))
        if answer.isdecimal() and 0 < int(answer) <= len(modes):
            return modes[int(answer) - 1].id


def ask(desk: Desk, mode: Mode, form: Form) -> Form:
    """Every field that is needed and missing or wrong, one question each, until its answer can be kept."""
    filled = dict(form)
    for field in mode.form:
        wanted = field.required and (not field.only_for or filled.get("organisation_kind") in field.only_for)
        while (wanted and field.id not in filled) or (field.id in filled and _wrong(mode, filled, field.id)):
            if field.id in filled:
                output.line(f"  {desk.say.field_error(_wrong(mode, filled, field.id)[0])}", "red")
            filled[field.id] = _ask_field(desk, mode, field)
    for question in mode.ethics:
        name = f"ethics.{question.id}"
        while name not in filled or _wrong(mode, filled, name):
            filled[name] = _yes_no(desk.say, _prompt(f"{desk.words(question.text)} [{_yes_or_no(desk.say)}]"))
    return filled


def _ask_field(desk: Desk, mode: Mode, field: Field) -> str:
    if field.help is not None:
        output.line(f"  {desk.words(field.help)}", "dim")
    choices = values(desk, mode, field)
    answer = _prompt(f"{desk.words(field.label)}{f' [{choices}]' if choices else ''}")
    return _yes_no(desk.say, answer) if field.kind == "yes-no" else answer


def _yes_no(say: Speaker, answer: str) -> str:
    """`yes` or `no`, for the answer in the person's own language."""
    own = {say.word("yes-no", "true"): "yes", say.word("yes-no", "false"): "no"}
    return own.get(answer.strip().lower(), answer)


def _yes_or_no(say: Speaker) -> str:
    return f"{say.word('yes-no', 'true')}/{say.word('yes-no', 'false')}"


def _prompt(text: str) -> str:
    import typer

    return str(typer.prompt(output.safe(text), prompt_suffix=" ")).strip()


def _wrong(mode: Mode, form: Form, name: str) -> list[FieldError]:
    from fabrique.core.form import checked

    return [e for e in checked(mode, form)[1] if e.field == name]


# --- showing ------------------------------------------------------------------------------------------------------


def values(desk: Desk, mode: Mode, field: Field) -> str:
    """What may be answered, in short."""
    if field.kind == "choice":
        return ", ".join(c.id for c in field.choices)
    if field.kind == "device-kind":
        return ", ".join(sorted(desk.here.units))
    if field.id == "months" and mode.months:
        return ", ".join(map(str, mode.months))
    if field.kind == "yes-no":
        return _yes_or_no(desk.say)
    if field.kind == "country":
        return "CA, FR, LU …"
    if field.kind == "date":
        return "2026-11-21"
    if field.id == "hours":
        return "; ".join(_hours(desk, mode))
    return _between(desk, field.least, field.most) if field.kind == "integer" else ""


def _between(desk: Desk, least: int | None, most: int | None) -> str:
    """`1 … 2,000`; where one end is open, nothing stands there."""
    ends = ("" if bound is None else desk.say.number(bound) for bound in (least, most))
    return " … ".join(ends).strip() if (least, most) != (None, None) else ""


def _hours(desk: Desk, mode: Mode) -> Iterator[str]:
    """What the mode lets one ask of each kind that this hub has, and not what the field could hold."""
    from fabrique.core.units import device_of

    for kind, unit in sorted(desk.here.units.items()):
        size = mode.size(device_of(unit))
        yield desk.say.text("{name}: {value}", name=kind, value=_between(desk, size.least or 1, size.most))


def rows(desk: Desk, mode: Mode) -> Iterator[tuple[str, str, str]]:
    word = desk.say.text("optional")
    for field in mode.form:
        optional = "" if field.required else f" ({word})"
        yield field.id, desk.words(field.label) + optional, values(desk, mode, field)
    for question in mode.ethics:
        yield f"ethics.{question.id}", desk.words(question.text), _yes_or_no(desk.say)


def mode_json(desk: Desk, mode: Mode) -> dict[str, Any]:
    return {
        "id": mode.id,
        "version": mode.version,
        "name": desk.words(mode.name),
        "summary": desk.words(mode.summary),
        "audience": list(mode.audience),
        "decision": mode.decision,
        "months": list(mode.months),
        "form": [
            {
                "id": f.id,
                "kind": f.kind,
                "label": desk.words(f.label),
                "help": None if f.help is None else desk.words(f.help),
                "required": f.required,
                "least": f.least,
                "most": f.most,
                "choices": sorted(desk.here.units) if f.kind == "device-kind" else [c.id for c in f.choices],
                "only_for": list(f.only_for),
            }
            for f in mode.form
        ],
        "ethics": [{"id": f"ethics.{q.id}", "text": desk.words(q.text), "settled": q.settled} for q in mode.ethics],
    }
