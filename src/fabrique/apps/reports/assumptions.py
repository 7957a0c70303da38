"""What the numbers of a statement rest on beyond what was measured or published: said once each, beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fabrique.apps.ledger.models import Rate


@dataclass(frozen=True, slots=True, order=True)
class Assumption:
    """`code` is energy-modelled or rate-assumed; `about` names the model or the rate."""

    code: str
    about: str = ""
    error_permille: int | None = None  # None: nobody published one

    def as_json(self) -> dict[str, object]:
        return {
            "code": self.code,
            "about": self.about,
            "error_permille": None if self.error_permille is None else str(self.error_permille),
        }


def assumptions_of(facts: Iterable[Mapping[str, object]]) -> tuple[Assumption, ...]:
    """The distinct assumptions behind lines with these facts, in a fixed order."""
    assumed = {f"{name}/{version}" for name, version in _assumed_rates()}
    found: set[Assumption] = set()
    for said in facts:
        found |= _energy(said) | _rate(said, assumed)
    return tuple(sorted(found, key=lambda a: (a.code, a.about, a.error_permille or 0)))


def _assumed_rates() -> Iterable[tuple[str, int]]:
    return Rate.objects.filter(assumed=True).values_list("name", "version")


def _energy(facts: Mapping[str, object]) -> set[Assumption]:
    energy = facts.get("energy")
    if not isinstance(energy, Mapping) or energy.get("basis") != "modelled":
        return set()
    error = energy.get("error_permille")
    return {Assumption("energy-modelled", str(energy.get("how", "")), error if type(error) is int else None)}


def _rate(facts: Mapping[str, object], assumed: set[str]) -> set[Assumption]:
    name = rate_name(facts)
    return {Assumption("rate-assumed", name)} if name in assumed else set()


def rate_name(facts: Mapping[str, object]) -> str:
    """ "name/version" of the rate a line was charged at; empty where its postings name none."""
    rate = facts.get("rate")
    if isinstance(rate, Mapping):
        return f"{rate.get('name', '')}/{rate.get('version', '')}"
    return rate if isinstance(rate, str) else ""
