"""The lists that modes share: fields and questions by name, the countries of the Union, holidays.

They come with the program, in `data/modes/common/`; tests keep them right.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

from pydantic import TypeAdapter

from fabrique.core.working_days import Calendar
from fabrique.definitions.complaints import Complaint, say
from fabrique.definitions.mode_file import (
    CalendarFile,
    Countries,
    FieldFile,
    ModeFile,
    QuestionFile,
)
from fabrique.definitions.validation import validate
from fabrique.definitions.yaml import read

_FOLDER: Final = Path(__file__).parent / "data" / "modes" / "common"
T = TypeVar("T")


@cache
def fields() -> dict[str, FieldFile]:
    return _read("fields", TypeAdapter(dict[str, FieldFile]))


@cache
def questions() -> dict[str, QuestionFile]:
    return {q.id: q for q in _read("questions", TypeAdapter(tuple[QuestionFile, ...]))}


@cache
def countries() -> Countries:
    return _read("countries", TypeAdapter(Countries))


@cache
def calendars() -> dict[str, Calendar]:
    """Holidays by the id that a mode's `calendar` names."""
    files = _read("calendars", TypeAdapter(tuple[CalendarFile, ...]))
    return {c.id: Calendar(c.id, c.first, c.last, frozenset(c.holidays.value)) for c in files}


def fields_of(mode: ModeFile) -> Iterator[FieldFile]:
    """The fields of a mode's form, those it names and those it writes; a name that nothing bears is left out."""
    for entry in mode.form.value:
        field = fields().get(entry) if isinstance(entry, str) else entry
        if field is not None:
            yield field


def questions_of(mode: ModeFile) -> Iterator[QuestionFile]:
    """The questions of a mode's self-assessment, likewise."""
    for entry in mode.ethics.value:
        question = questions().get(entry) if isinstance(entry, str) else entry
        if question is not None:
            yield question


def ours(value: T | None, complaints: list[Complaint]) -> T:
    """A value of a file that comes with the program; wrong ones are our fault, not the visitor's."""
    if value is None:
        raise AssertionError("\n".join(say(c) for c in complaints))
    return value


def _read(name: str, adapter: TypeAdapter[T]) -> T:
    return ours(*validate(adapter, ours(*read(_FOLDER / f"{name}.yaml"))))
