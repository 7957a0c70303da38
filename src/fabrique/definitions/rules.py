"""Rule sets read from their files: `read` one with everything wrong in it, `load` one by name or path, the `catalogue`.

A file holds the fields of `core.admission.rules.Rules`; what it leaves out is as there. Lengths of time are written
`30m`, `7d` or `HH:MM:SS`, under the field's name without its `_ms`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter

from fabrique.core.access import Text
from fabrique.core.admission.rules import Rules, Signal, Watts
from fabrique.core.errors import FabriqueError
from fabrique.definitions import catalogues
from fabrique.definitions.complaints import Complaint, by_place
from fabrique.definitions.job_values import NotRead, duration
from fabrique.definitions.mode_file import Id, Part, Texts
from fabrique.definitions.validation import validate
from fabrique.definitions.yaml import Document
from fabrique.definitions.yaml import read as read_yaml

FOLDER: Final = catalogues.DATA / "rules"

_LENGTHS: Final = ("window", "age", "min_run", "backoff")
_MOST_MS: Final = (
    366 * 86_400_000
)  # what a pool is owed, over a year of a million devices, stays a whole number of 63 bits
_NEEDS: Final = {  # a rule, and another without which it says nothing
    "reclaim": "pools: true",
    "reclaim_any": "reclaim: true",
    "preempt_lower": "reclaim: true",
    "water_fill": "watts: levels",
    "recap": "watts: levels",
}
_DEFAULT: Final = Rules(name="default")

Count = Annotated[int, Field(ge=0, le=10**9)]


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules and what they are for, in words (None: nobody said)."""

    rules: Rules
    purpose: Text | None


class _File(Part):
    name: Id
    version: Annotated[int, Field(ge=1, le=10**9)]
    purpose: Texts | None = None
    backfill: bool = _DEFAULT.backfill
    reservations: Annotated[int, Field(ge=0, le=4_096)] = _DEFAULT.reservations
    drain_permille: Annotated[int, Field(ge=0, le=1_000_000)] = _DEFAULT.drain_permille
    depth: Count = _DEFAULT.depth
    pools: bool = _DEFAULT.pools
    share_order: bool = _DEFAULT.share_order
    window: str | None = None
    fair: bool = _DEFAULT.fair
    decay_ppm: Annotated[int, Field(ge=0, le=1_000_000)] = _DEFAULT.decay_ppm
    short_first: bool = _DEFAULT.short_first
    age: str | None = None
    reclaim: bool = _DEFAULT.reclaim
    reclaim_any: bool = _DEFAULT.reclaim_any
    preempt_lower: bool = _DEFAULT.preempt_lower
    min_run: str | None = None
    backoff: str | None = None
    watts: Watts = _DEFAULT.watts
    water_fill: bool = _DEFAULT.water_fill
    recap: bool = _DEFAULT.recap
    defer: bool = _DEFAULT.defer
    signal: Signal = _DEFAULT.signal
    floor_permille: Annotated[int, Field(ge=0, le=1000)] = _DEFAULT.floor_permille
    fill_ppm: Annotated[int, Field(ge=0, le=1_000_000)] = _DEFAULT.fill_ppm
    observe_only: bool = _DEFAULT.observe_only


_ADAPTER: Final = TypeAdapter(_File)


def read(path: Path | str) -> tuple[RuleSet | None, list[Complaint]]:
    """The rule set in the file at `path`, or everything that is wrong with it, at file:line. Never raises."""
    document, complaints = read_yaml(path)
    if document is None:
        return None, complaints
    checked = validate(_ADAPTER, document)
    shape, complaints = checked
    if shape is None:
        return None, complaints
    lengths, complaints = _lengths(document, shape)
    rules = _rules(shape, lengths)
    complaints += _without_need(document, rules)
    if complaints:
        return None, by_place(complaints)
    words = shape.purpose
    return RuleSet(rules, None if words is None else Text(words.en, words.fr, words.fr_ca)), []


def load(name_or_path: Path | str) -> Rules:
    """The rules of a name that comes with the program, else those in the file at that path.

    Raises `definition.missing` where there is neither, `definition.broken` with every complaint at file:line.
    """
    known = catalogue().get(str(name_or_path))
    if known is not None:
        return known.rules
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml") and len(path.parts) < 2:  # a name, not a file
        raise FabriqueError("definition.missing", kind="rules", id=str(name_or_path)[:80])
    found, complaints = read(path)
    if found is None:
        raise catalogues.broken(path, complaints)
    return found.rules


@cache
def catalogue() -> Mapping[str, RuleSet]:
    """Every rule set that comes with the program, by name."""
    sets = {}
    for path in sorted(FOLDER.glob("*.yaml")):
        found, complaints = read(path)
        if found is None:
            raise catalogues.broken(path, complaints)
        sets[found.rules.name] = found
    return MappingProxyType(sets)


def _lengths(document: Document, shape: _File) -> tuple[dict[str, int], list[Complaint]]:
    """The lengths of time that the file gives, by field of `Rules`."""
    found: dict[str, int] = {}
    complaints = []
    for key in _LENGTHS:
        text = getattr(shape, key)
        if text is None:
            continue
        try:
            ms = duration(text.strip())
        except NotRead as wrong:
            complaints.append(document.complaint((key,), wrong.code, **wrong.params))
            continue
        if ms > _MOST_MS:
            complaints.append(document.complaint((key,), "value.bound", bound="≤ 366d"))
        found[f"{key}_ms"] = ms
    return found, complaints


def _rules(shape: _File, lengths: Mapping[str, int]) -> Rules:
    same: dict[str, Any] = {f.name: getattr(shape, f.name) for f in fields(Rules) if f.name in _File.model_fields}
    return Rules(**{**same, **lengths})


def _without_need(document: Document, rules: Rules) -> list[Complaint]:
    return [
        document.complaint((rule,), "script.needs", other=need)
        for rule, need in _NEEDS.items()
        if getattr(rules, rule) and not _holds(rules, need)
    ]


def _holds(rules: Rules, need: str) -> bool:
    key, _, value = need.partition(": ")
    return getattr(rules, key) in (True, value)
