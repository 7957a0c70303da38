"""Access modes read from their files: `load` one, the whole `catalogue`, or those of a hub.

A mode's file names fields and questions of `data/modes/common/` or writes its own. A visitor's mode is read the same
way as ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, time
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter

from fabrique.core import access
from fabrique.core.access import Bounds, CountryRule, Duty, Exhaustion, Mode, Provenance, Question, Smallness, Text
from fabrique.core.working_days import Calendar, due_ms, instant_ms
from fabrique.definitions import mode_file as f
from fabrique.definitions import mode_lists, mode_rules
from fabrique.definitions.complaints import Complaint, by_place
from fabrique.definitions.validation import validate
from fabrique.definitions.yaml import read

_DATA: Final = Path(__file__).parent / "data" / "modes"
_OWN_HUBS: Final = "own"  # the group of a hub that somebody wrote
_MODE: Final = TypeAdapter(f.ModeFile)


def load(path: Path | str) -> tuple[Mode | None, list[Complaint]]:
    """The mode in the file at `path`, or everything that is wrong with it, at file:line. Never raises."""
    document, complaints = read(path)
    if document is None:
        return None, complaints
    read_in = validate(_MODE, document)
    shape = read_in[0]
    if shape is None:
        return None, read_in[1]
    complaints = by_place(mode_rules.complaints(document, shape))
    return (None, complaints) if complaints else (_mode(shape), [])


@cache
def catalogue() -> tuple[Mode, ...]:
    """Every mode that comes with the program, by id and version."""
    modes = [mode_lists.ours(*load(path)) for path in sorted(_DATA.glob("*.yaml"))]
    return tuple(sorted(modes, key=lambda m: (m.id, m.version)))


def for_hub(hub: str, group: str) -> tuple[Mode, ...]:
    """The modes that a hub offers; `group` is that of its definition, and one we don't know counts as `own`."""
    known = {g for mode in catalogue() for g in mode.groups}
    return access.offered(catalogue(), hub, group if group in known else _OWN_HUBS)


def calendar(mode: Mode) -> Calendar:
    """The holidays that the mode's working days skip."""
    return mode_lists.calendars()[mode.calendar]


def answer_due_ms(mode: Mode, applied_ms: int) -> int | None:
    """By when an application made at `applied_ms` is to be answered; UTC milliseconds.

    Counted from the cut-off where the mode has any. None when no target, no later cut-off or no calendar of that year
    is published.
    """
    start = mode.next_cut_off(applied_ms) if mode.cut_offs else applied_ms
    if start is None or mode.target_working_days is None:
        return None
    return due_ms(start, mode.target_working_days, ZoneInfo(mode.zone), calendar(mode))


def _mode(shape: f.ModeFile) -> Mode:
    return Mode(
        id=shape.id,
        version=shape.version,
        valid_from=_midnight(shape.valid_from),
        valid_to=None if shape.valid_to is None else _midnight(shape.valid_to),
        family=shape.family,
        groups=shape.groups,
        hubs=shape.hubs,
        name=_text(shape.name),
        summary=_text(shape.summary),
        audience=shape.audience.value,
        countries=_countries(shape),
        size_acc_h=_hours(shape.size_acc_h.value),
        size_core_h=_hours(shape.size_core_h.value),
        size_qpu_h=_hours(shape.size_qpu_h.value),
        months=shape.months.value or (),
        cut_offs=_cut_offs(shape),
        zone=shape.zone,
        calendar=shape.calendar,
        target_working_days=shape.target_working_days.value,
        decision=shape.decision.value,
        rate=None if shape.rate.value == "free" else shape.rate.value,
        commercial=shape.commercial,
        smallness=None if shape.smallness is None else Smallness(**shape.smallness.value.model_dump()),
        age_most_years=None if shape.age_most_years is None else shape.age_most_years.value,
        once=shape.once.value,
        inference_most_permille=shape.inference_most_permille.value if shape.inference_most_permille else None,
        ethics=tuple(_questions(shape)),
        form=tuple(_fields(shape)),
        duties=tuple(Duty(d.id, _text(d.text), d.within_months) for d in shape.duties.value),
        exhaustion=Exhaustion(**shape.exhaustion.value.model_dump()),
        pool=shape.pool.value,
        data_kept_days=shape.data_kept_days.value,
        acknowledgement=_text(shape.acknowledgement.value),
        provenance=MappingProxyType({n: Provenance(v.status, v.sources(), v.note) for n, v in shape.policy()}),
    )


def _midnight(day: date) -> int:
    return instant_ms(day, time(0), UTC)


def _text(words: f.Texts) -> Text:
    return Text(words.en, words.fr, words.fr_ca)


def _hours(hours: f.HoursFile | None) -> Bounds:
    return Bounds() if hours is None else Bounds(hours.least, hours.most)


def _countries(shape: f.ModeFile) -> CountryRule:
    rule = shape.countries.value
    if rule == "any":
        return CountryRule("any")
    if rule == "eu-associated":
        lists = mode_lists.countries()
        return CountryRule("eu-associated", lists.members.value, lists.associated.value)
    return CountryRule("list", tuple(rule))


def _cut_offs(shape: f.ModeFile) -> tuple[int, ...]:
    policy = shape.cut_offs.value
    if not isinstance(policy, f.CutOffs):
        return ()
    place, at = ZoneInfo(policy.zone), time.fromisoformat(policy.at)
    return tuple(instant_ms(day, at, place) for day in policy.dates)


def _questions(shape: f.ModeFile) -> Iterable[Question]:
    for question in mode_lists.questions_of(shape):
        yield Question(question.id, _text(question.text), question.settled)


def _fields(shape: f.ModeFile) -> Iterable[access.Field]:
    for field in mode_lists.fields_of(shape):
        yield access.Field(
            id=field.id,
            kind=field.kind,
            label=_text(field.label),
            help=None if field.help is None else _text(field.help),
            required=field.required,
            least=field.least,
            most=field.most,
            choices=tuple(access.Choice(c.id, _text(c.label)) for c in field.choices),
            only_for=field.only_for,
        )
