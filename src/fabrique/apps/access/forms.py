"""A mode's form as a page shows it: each field with its words, what was typed, what is known, what is wrong."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from babel import Locale
from django.utils.translation import get_language

from fabrique.apps.access.services import Assessment
from fabrique.apps.asking import said
from fabrique.apps.people.models import Organisation
from fabrique.apps.this_hub import this_hub
from fabrique.core.access import AUDIENCES, Field, Mode
from fabrique.core.eligibility import Answer, Verdict
from fabrique.core.fields import FieldError, name_error, wrong
from fabrique.core.form import ANSWER_PREFIX
from fabrique.language.say import Speaker

MOST_TYPED = 20_000
KNOWN = ("organisation_kind", "country")  # told once, with the organisation
_NO_COUNTRY = frozenset({"EU", "EZ", "UN", "QO", "XA", "XB", "ZZ"})


@dataclass(frozen=True, slots=True)
class Option:
    id: str
    label: str
    chosen: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """One field of the page. `shape` is text, lines, whole, date, choice or yes-no: which control it gets."""

    name: str
    shape: str
    label: str
    help: str
    required: bool
    value: str
    error: FieldError | None
    options: tuple[Option, ...] = ()
    only_for: tuple[str, ...] = ()
    most: int | None = None

    @property
    def html_id(self) -> str:
        return "f-" + self.name.replace(".", "-")


@dataclass(frozen=True, slots=True)
class Page:
    """`known` are the fields the hub has the answer to; `missing` counts the answers still to give."""

    fields: tuple[Shown, ...]
    known: tuple[Shown, ...]
    ethics: tuple[Shown, ...]
    missing: int
    wrong: int


@dataclass(frozen=True, slots=True)
class Told:
    """What the applicant would be told now: `verdict` pass, fail, unknown, or `open` while answers are missing."""

    verdict: str
    answers: tuple[Answer, ...]
    failed: tuple[Answer, ...] = field(default=())
    unknown: tuple[Answer, ...] = field(default=())


def typed(mode: Mode, data: Mapping[str, str]) -> dict[str, str]:
    """What a browser sent for the fields of `mode`, and nothing else; NUL, which no table keeps, is dropped."""
    names = [f.id for f in mode.form] + [ANSWER_PREFIX + q.id for q in mode.ethics]
    return {name: str(data[name])[:MOST_TYPED].replace("\0", "") for name in names if data.get(name)}


def prefilled(mode: Mode, organisation: Organisation | None) -> dict[str, str]:
    """What is known already and need not be asked."""
    if organisation is None:
        return {}
    known = {"organisation_kind": organisation.kind, "country": organisation.country}
    return {name: value for name, value in known.items() if value and mode.field(name)}


def unanswered(mode: Mode, values: Mapping[str, object]) -> list[FieldError]:
    """Ethics questions left open: the rules would turn the application down for good, so a form is not sent yet."""
    names = [ANSWER_PREFIX + q.id for q in mode.ethics]
    return [wrong(name, "required") for name in names if values.get(name) in (None, "")]


def page(mode: Mode, values: Mapping[str, object], assessment: Assessment, *, known: bool, judged: bool) -> Page:
    """The fields with their errors: those of what was typed, and once it was `judged` those of what is missing."""
    errors = {e.field: e for e in [*assessment.errors, *unanswered(mode, values)]}
    visible = {n: e for n, e in errors.items() if judged or e.code != "required"}
    fields = [_shown(mode, f, values, visible.get(f.id)) for f in mode.form]
    apart = [f for f in fields if known and f.name in KNOWN and f.error is None]
    ethics = [_question(q.id, said(q.text), values, visible) for q in mode.ethics]
    return Page(
        tuple(f for f in fields if f not in apart),
        tuple(apart),
        tuple(ethics),
        missing=sum(e.code == "required" for e in errors.values()),
        wrong=sum(e.code != "required" for e in errors.values()),
    )


def told(assessment: Assessment) -> Told:
    """A rule that fails says so at once, whatever is missing elsewhere."""
    failed = tuple(a for a in assessment.answers if a.verdict is Verdict.FAIL and a.rule != "ethics")
    unknown = tuple(a for a in assessment.answers if a.verdict is Verdict.UNKNOWN)
    incomplete = any(e.code == "required" for e in assessment.errors) or _ethics_open(assessment)
    verdict = "fail" if failed else "open" if incomplete or assessment.errors else assessment.verdict.value
    return Told(verdict, tuple(assessment.answers), failed, unknown)


def _ethics_open(assessment: Assessment) -> bool:
    return any(a.rule == "ethics" and a.verdict is Verdict.FAIL for a in assessment.answers)


# --- one field --------------------------------------------------------------------------------------------------


def _shown(mode: Mode, f: Field, values: Mapping[str, object], error: FieldError | None) -> Shown:
    value = _text(values.get(f.id))
    options = _options(mode, f, value)
    shapes = {"long-text": "lines", "integer": "whole", "yes-no": "yes-no", "date": "date", "text": "text"}
    return Shown(
        name=f.id,
        shape="choice" if options else shapes.get(f.kind, "text"),
        label=said(f.label),
        help=said(f.help) if f.help and f.kind != "country" else "",
        required=f.required,
        value=value,
        error=error,
        options=options,
        only_for=f.only_for,
        most=f.most if f.kind in ("text", "long-text") else None,
    )


def _question(name: str, words: str, values: Mapping[str, object], errors: Mapping[str, FieldError]) -> Shown:
    key = ANSWER_PREFIX + name
    return Shown(key, "yes-no", words, "", True, _text(values.get(key)), errors.get(key))


def _text(value: object) -> str:
    return "" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _options(mode: Mode, f: Field, value: str) -> tuple[Option, ...]:
    """A list to choose from, where the mode or the hub knows what can be answered."""
    language = get_language() or "en"
    if f.kind == "choice":
        allowed = mode.audience if f.id == "organisation_kind" else ()
        pairs: Iterable[tuple[str, str]] = [(c.id, said(c.label)) for c in f.choices]
        pairs = sorted(pairs, key=lambda p: bool(allowed) and p[0] not in allowed)
    elif f.kind == "country":
        pairs = countries(language)
    elif f.kind == "device-kind":
        pairs = [(kind, kind) for kind in sorted(this_hub().units)]
    elif f.id == "months" and mode.months:
        pairs = [(str(n), str(n)) for n in mode.months]
    else:
        return ()
    return tuple(Option(key, label, key == value) for key, label in pairs)


@lru_cache(maxsize=4)
def countries(language: str) -> tuple[tuple[str, str], ...]:
    """ISO 3166-1 codes with their names, in the order of the language's alphabet."""
    speaker = Speaker(language)
    territories = map(str, Locale.parse("en").territories)
    codes = [c for c in territories if len(c) == 2 and c.isalpha() and c not in _NO_COUNTRY]
    named = [(code, speaker.country(code)) for code in codes]
    return tuple(sorted(named, key=lambda pair: _plain(pair[1])))


def _plain(name: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", name) if not unicodedata.combining(c)).casefold()


# --- the organisation -------------------------------------------------------------------------------------------


def organisation_errors(data: Mapping[str, str]) -> dict[str, FieldError]:
    """What is wrong with an organisation as typed: its name, kind and country."""
    name, kind, country = (data.get(k, "").strip() for k in ("name", "kind", "country"))
    found: dict[str, FieldError | None] = {
        "name": name_error("name", name, 200),
        "kind": None if kind in AUDIENCES else wrong("kind", "required"),
        "country": None if country in dict(countries("en")) else wrong("country", "required"),
    }
    return {key: error for key, error in found.items() if error is not None}
