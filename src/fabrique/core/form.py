"""What was typed into a mode's form, checked field by field before anything else reads it.

A form is a mapping from field id to what came from outside: JSON values, or the strings a browser sends.
`checked` turns each into its own type, or says what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Final

from fabrique.core.access import Field, Mode
from fabrique.core.fields import FieldError, text_error, wrong

Value = str | int | bool | date
ANSWER_PREFIX: Final = "ethics."  # the answers to the ethics questions are fields named ethics.<question id>
TEXT_MOST: Final = 200
LONG_TEXT_MOST: Final = 10_000
_INTEGER: Final = re.compile(r"-?[0-9]{1,15}", re.ASCII)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_COUNTRY: Final = re.compile(r"[A-Z]{2}", re.ASCII)
_KIND: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}", re.ASCII)
_INTEGER_MOST: Final = 10**15 - 1
_YES_NO: Final = {"yes": True, "no": False, "true": True, "false": False}


def check_form(mode: Mode, form: Mapping[str, object]) -> list[FieldError]:
    """Everything that is wrong with `form`, in the order of the mode's fields; empty when it can be kept."""
    return checked(mode, form)[1]


def checked(mode: Mode, form: Mapping[str, object]) -> tuple[dict[str, Value], list[FieldError]]:
    """The typed values of the fields that are right, and what is wrong with the others.

    An optional field left empty is in neither. A field that the mode does not have is an error. An ethics question
    left open is no error here: its rule of eligibility says so.
    """
    values: dict[str, Value] = {}
    errors: list[FieldError] = []
    for field in mode.form:
        given = form.get(field.id)
        if _empty(given):
            if field.required and _asked(field, form):
                errors.append(wrong(field.id, "required"))
            continue
        _take(field.id, _read(field, given), values, errors)
    for question in mode.ethics:
        name = ANSWER_PREFIX + question.id
        if not _empty(form.get(name)):
            _take(name, _yes_no(name, form[name]), values, errors)
    errors.extend(_unknown(mode, form))
    return values, errors


def _take(name: str, read: Value | FieldError, values: dict[str, Value], errors: list[FieldError]) -> None:
    if isinstance(read, FieldError):
        errors.append(read)
    else:
        values[name] = read


def _empty(given: object) -> bool:
    return given is None or (isinstance(given, str) and not given.strip())


def _asked(field: Field, form: Mapping[str, object]) -> bool:
    return not field.only_for or form.get("organisation_kind") in field.only_for


def _unknown(mode: Mode, form: Mapping[str, object]) -> list[FieldError]:
    known = {f.id for f in mode.form} | {ANSWER_PREFIX + q.id for q in mode.ethics}
    strangers = sorted(str(name)[:80] for name in form if name not in known)
    return [wrong(_printable(name), "unknown-field") for name in strangers[:20]]


def _printable(name: str) -> str:
    return name if text_error("", name, 80) is None else ascii(name)[1:-1]


def _read(field: Field, given: object) -> Value | FieldError:
    match field.kind:
        case "integer":
            return _integer(field, given)
        case "yes-no":
            return _yes_no(field.id, given)
        case "date":
            return _date(field.id, given)
        case "country":
            return _matching(field.id, given, _COUNTRY, "not-a-country")
        case "device-kind":
            return _matching(field.id, given, _KIND, "not-a-name")
        case "choice":
            return _choice(field, given)
        case "text":
            return _text(field, given, TEXT_MOST, lines=False)
        case "long-text":
            return _text(field, given, LONG_TEXT_MOST, lines=True)


def _integer(field: Field, given: object) -> int | FieldError:
    """A whole number; a string may group digits with spaces, as people do, but has no sign `+` and no point."""
    if isinstance(given, str):
        digits = re.sub(r"(?<=[0-9])[ \u00a0\u202f](?=[0-9]{3})", "", given.strip()[:40])
        if not _INTEGER.fullmatch(digits) or len(given) > 40:
            return wrong(field.id, "not-a-number")
        given = int(digits)
    if type(given) is not int:
        return wrong(field.id, "not-a-number")
    too_small = given < (-_INTEGER_MOST if field.least is None else field.least)
    if too_small or given > (_INTEGER_MOST if field.most is None else field.most):
        return wrong(field.id, "out-of-bounds", least=field.least, most=field.most)
    return given


def _yes_no(name: str, given: object) -> bool | FieldError:
    if isinstance(given, bool):
        return given
    answer = _YES_NO.get(given.strip().lower()) if isinstance(given, str) and len(given) < 20 else None
    return wrong(name, "not-yes-no") if answer is None else answer


def _date(name: str, given: object) -> date | FieldError:
    if type(given) is date:
        return given
    if isinstance(given, str) and _DATE.fullmatch(given.strip()):
        try:
            return date.fromisoformat(given.strip())
        except ValueError:
            pass
    return wrong(name, "not-a-date")


def _matching(name: str, given: object, pattern: re.Pattern[str], code: str) -> str | FieldError:
    if isinstance(given, str) and pattern.fullmatch(given):
        return given
    return wrong(name, code)


def _choice(field: Field, given: object) -> str | FieldError:
    accepted = tuple(c.id for c in field.choices)
    if isinstance(given, str) and given in accepted:
        return given
    return wrong(field.id, "not-a-choice", accepted=accepted)


def _text(field: Field, given: object, most: int, *, lines: bool) -> str | FieldError:
    if not isinstance(given, str):
        return wrong(field.id, "not-text")
    whole = given.replace("\r\n", "\n") if lines else given
    error = text_error(field.id, whole, most if field.most is None else min(field.most, most), lines=lines)
    return whole if error is None else error
