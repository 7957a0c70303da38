"""The shape of a mode's file, and of the lists that the files share; `modes` turns them into core objects.

Every value of policy stands with its source and its status; a value that the hub assumes has the status `assumption`
and a note that says why.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from fabrique.core.access import AUDIENCES, Decision, ExhaustionKind, Family, FieldKind, Status

T = TypeVar("T")
Id = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Words = Annotated[str, Field(min_length=1, max_length=2_000)]
Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
Hours = Annotated[int, Field(ge=0, le=10**12)]
Months = Annotated[int, Field(ge=1, le=120)]
Audience = Literal["startup", "sme", "large-company", "researcher", "public-body", "teacher", "nonprofit"]
assert Audience.__args__ == AUDIENCES  # type: ignore[attr-defined]  # noqa: S101


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Texts(Part):
    en: Words
    fr: Words
    fr_ca: Words | None = Field(default=None, alias="fr-CA")


class Sourced(Part, Generic[T]):
    value: T
    status: Status
    source: str | tuple[str, ...] = ()
    note: Words | None = None

    def sources(self) -> tuple[str, ...]:
        return (self.source,) if isinstance(self.source, str) else self.source


class HoursFile(Part):
    least: Hours | None = None
    most: Hours | None = None


class SmallnessFile(Part):
    staff_below: int | None = Field(default=None, ge=1)
    turnover_most: int | None = Field(default=None, ge=0)
    balance_most: int | None = Field(default=None, ge=0)
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class QuestionFile(Part):
    id: Id
    text: Texts
    settled: bool


class ChoiceFile(Part):
    id: Id
    label: Texts


class FieldFile(Part):
    id: Id
    kind: FieldKind
    label: Texts
    help: Texts | None = None
    required: bool
    least: int | None = Field(default=None, ge=-(10**15), le=10**15)
    most: int | None = Field(default=None, ge=0, le=10**15)
    choices: tuple[ChoiceFile, ...] = ()
    only_for: tuple[Audience, ...] = ()


class DutyFile(Part):
    id: Id
    text: Texts
    within_months: Months | None = None


class ExhaustionFile(Part):
    kind: ExhaustionKind
    margin_permille: int = Field(default=0, ge=0, le=1_000)


class CutOffs(Part):
    at: Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    zone: Words
    dates: tuple[date, ...] = Field(min_length=1, max_length=500)


class ModeFile(Part):
    """One version of a mode. A country rule is `any`, `eu-associated` or a list; cut-offs are `open` or dates."""

    id: Id
    version: int = Field(ge=1)
    valid_from: date
    valid_to: date | None = None
    family: Family
    groups: tuple[Id, ...]
    hubs: tuple[Id, ...] = ()
    name: Texts
    summary: Texts
    sources: dict[str, Words] = {}
    audience: Sourced[tuple[Audience, ...]]
    countries: Sourced[Literal["any", "eu-associated"] | tuple[Country, ...]]
    size_acc_h: Sourced[HoursFile | None]
    size_core_h: Sourced[HoursFile | None]
    size_qpu_h: Sourced[HoursFile | None]
    months: Sourced[tuple[Months, ...] | None]
    cut_offs: Sourced[Literal["open"] | CutOffs]
    zone: Words
    calendar: Id
    target_working_days: Sourced[Annotated[int, Field(ge=0, le=1_000)] | None]
    decision: Sourced[Decision]
    rate: Sourced[Id | Literal["free"]]
    commercial: bool
    smallness: Sourced[SmallnessFile] | None = None
    age_most_years: Sourced[Annotated[int, Field(ge=1, le=100)]] | None = None
    once: Sourced[bool]
    inference_most_permille: Sourced[Annotated[int, Field(ge=0, le=1_000)]] | None = None
    ethics: Sourced[tuple[Id | QuestionFile, ...]]
    form: Sourced[tuple[Id | FieldFile, ...]]
    duties: Sourced[tuple[DutyFile, ...]]
    exhaustion: Sourced[ExhaustionFile]
    pool: Sourced[Id]
    data_kept_days: Sourced[Annotated[int, Field(ge=0, le=36_500)] | None]
    acknowledgement: Sourced[Texts]

    def policy(self) -> Iterator[tuple[str, Sourced[object]]]:
        """Each value that stands with its source, by the name of its key."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, Sourced):
                yield name, value


class Countries(Part):
    members: Sourced[tuple[Country, ...]]
    associated: Sourced[tuple[Country, ...]]


class CalendarFile(Part):
    id: Id
    first: date
    last: date
    holidays: Sourced[tuple[date, ...]]
