"""Access modes: the doors of a hub, as versioned policy.

A mode says who may ask, for how much, for how long, when, who decides, what is owed in return, and what happens at
the end of the budget. It is data, read from a file by `definitions.modes`; a change is a new version with its own
interval of validity, so that an old application is always judged by the rules it was made under.

What nobody published is None. What the hub assumes in its place is marked in `Mode.provenance` as `assumption`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Status = Literal["seed", "sourced", "derived", "unverified", "not-found", "assumption"]
Family = Literal["eurohpc", "sovereign-hub", "national", "commercial", "teaching"]
Decision = Literal["automatic", "officer"]
FieldKind = Literal["text", "long-text", "integer", "choice", "date", "yes-no", "country", "device-kind"]
ExhaustionKind = Literal["stop", "degrade", "share"]
CountryKind = Literal["any", "list", "eu-associated"]

STATUSES: Final[tuple[Status, ...]] = ("seed", "sourced", "derived", "unverified", "not-found", "assumption")
LANGUAGES: Final = ("en", "fr", "fr-CA")
# Kinds of organisations and people a mode may be for.
AUDIENCES: Final = ("startup", "sme", "large-company", "researcher", "public-body", "teacher", "nonprofit")
COMMERCIAL_CAP_PERMILLE: Final = 200  # Regulation (EU) 2021/1173, Article 18: of the Union's access time
PERMILLE: Final = 1_000
PPM: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Text:
    """The same words in each language; `fr_ca` is None where Québec's form is that of France."""

    en: str
    fr: str
    fr_ca: str | None = None

    def said(self, language: str) -> str:
        """In `language` (en, fr, fr-FR, fr-CA); English for a language that is not ours."""
        if language == "fr-CA" and self.fr_ca is not None:
            return self.fr_ca
        return self.fr if language.split("-")[0] == "fr" else self.en


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a value of the policy comes from."""

    status: Status
    source: tuple[str, ...] = ()
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """Whole hours that may be asked, both ends included; None is a bound nobody published."""

    least: int | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True)
class CountryRule:
    """Where an applicant must be established; ISO 3166-1 alpha-2.

    `any`: everywhere. `list`: in `accepted`. `eu-associated`: in `accepted` (the members of the Union), or in
    `associated`, where an officer has to confirm that the association is in force.
    """

    kind: CountryKind
    accepted: tuple[str, ...] = ()
    associated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Smallness:
    """What makes an enterprise small or medium-sized; money in whole units of `currency`. None is not asked."""

    staff_below: int | None
    turnover_most: int | None
    balance_most: int | None
    currency: str


@dataclass(frozen=True, slots=True)
class Question:
    """One question of the ethics self-assessment; `settled` is the answer that calls for no explanation."""

    id: str
    text: Text
    settled: bool


@dataclass(frozen=True, slots=True)
class Choice:
    id: str
    label: Text


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a mode's form.

    `least` and `most` bound an integer (both ends included), or `most` the characters of a text.
    `only_for` names the organisation kinds that are asked; empty asks everyone.
    A `device-kind` is one of the accelerator, core or QPU kinds the hub has connected at that moment.
    """

    id: str
    kind: FieldKind
    label: Text
    help: Text | None
    required: bool
    least: int | None = None
    most: int | None = None
    choices: tuple[Choice, ...] = ()
    only_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Duty:
    """What is owed in return; `within_months` after the end of the allocation, None when no date is set."""

    id: str
    text: Text
    within_months: int | None = None


@dataclass(frozen=True, slots=True)
class Exhaustion:
    """What happens at the end of the budget.

    `stop`: a hold above the balance is refused. `degrade`: up to `margin_permille` of the grant more, at low
    priority, then refused. `share`: the grant is a target of average use, not a maximum.
    """

    kind: ExhaustionKind
    margin_permille: int = 0


@dataclass(frozen=True, slots=True)
class Mode:
    """One version of one access mode. Instants are UTC milliseconds; validity is half-open."""

    id: str
    version: int
    valid_from: int
    valid_to: int | None
    family: Family
    groups: tuple[str, ...]  # groups of hubs that offer it; "any" is every hub
    hubs: tuple[str, ...]  # these hubs only; empty leaves it to `groups`
    name: Text
    summary: Text
    audience: tuple[str, ...]
    countries: CountryRule
    size_acc_h: Bounds
    size_core_h: Bounds
    size_qpu_h: Bounds
    months: tuple[int, ...]  # durations offered; empty when not published
    cut_offs: tuple[int, ...]  # ascending instants; empty is always open
    zone: str  # where its working days are counted, as Europe/Brussels
    calendar: str  # holidays that its working days skip
    target_working_days: int | None  # from the application, or from the cut-off where there is one
    decision: Decision
    rate: str | None  # None is free
    commercial: bool
    smallness: Smallness | None
    age_most_years: int | None
    once: bool  # one award per organisation
    inference_most_permille: int | None
    ethics: tuple[Question, ...]
    form: tuple[Field, ...]
    duties: tuple[Duty, ...]
    exhaustion: Exhaustion
    pool: str
    data_kept_days: int | None  # after the end; then the project's data is deleted
    acknowledgement: Text  # with {hub}, {project} and {machine} to fill in
    provenance: Mapping[str, Provenance]

    def field(self, name: str) -> Field | None:
        return next((f for f in self.form if f.id == name), None)

    def assumed(self, *names: str) -> bool:
        """Whether any of these values, or of all values when none is named, rests on an assumption."""
        chosen = names or tuple(self.provenance)
        return any(self.provenance[n].status == "assumption" for n in chosen if n in self.provenance)

    def size(self, device: str) -> Bounds:
        """The hours that may be asked of a device: accelerator, core or qpu."""
        return {"accelerator": self.size_acc_h, "core": self.size_core_h, "qpu": self.size_qpu_h}[device]

    def valid_at(self, now_ms: int) -> bool:
        return self.valid_from <= now_ms and (self.valid_to is None or now_ms < self.valid_to)

    def next_cut_off(self, now_ms: int) -> int | None:
        """The cut-off that judges an application made at `now_ms`; one made at the instant itself is too late."""
        return next((c for c in self.cut_offs if now_ms < c), None)


def offered(modes: tuple[Mode, ...], hub: str, group: str) -> tuple[Mode, ...]:
    """Those of `modes` that the hub offers: by its id where a mode names hubs, else by its group."""
    return tuple(m for m in modes if (hub in m.hubs if m.hubs else group in m.groups or "any" in m.groups))


def in_force(modes: tuple[Mode, ...], now_ms: int) -> tuple[Mode, ...]:
    """The latest valid version of each mode at `now_ms`, in the order given."""
    latest: dict[str, Mode] = {}
    for mode in modes:
        if mode.valid_at(now_ms) and (mode.id not in latest or latest[mode.id].version < mode.version):
            latest[mode.id] = mode
    return tuple(latest.values())


def commercial_cap(capacity: int, union_share_ppm: int) -> int:
    """The most commercial time on one machine: 20 % of the Union's share of its capacity, rounded down.

    `capacity` in any base unit of time over one year; a half of the machine therefore caps at a tenth of it.
    Source: Regulation (EU) 2021/1173, Article 18.
    """
    return capacity * union_share_ppm * COMMERCIAL_CAP_PERMILLE // (PPM * PERMILLE)
