"""Whether data may be worked on at a place: rules in order, each with its answer, and the verdict of all.

Asked at application, when a dataset is bound, at placement and at export. A rule that lacks a fact answers
unknown; unknown is not a pass. Sources: Québec's Law 25, s. 17 (an assessment and a written agreement before
personal information leaves Québec; no duty of localisation); GDPR, ch. V; 18 USC 2713 (possession, custody or
control reach data wherever it is stored).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fabrique.core.eligibility import Verdict
from fabrique.core.reasons import Reason, reason

FREE: Final = ("public",)  # nothing to protect
GUARDED: Final = ("personal", "special-category", "health")  # bound to their jurisdiction without an agreement
NEVER: Final = ("classified",)  # not for a shared hub
CLASSES: Final = ("public", "internal", "personal", "special-category", "health", "trade-secret", "classified")
EEA: Final = frozenset(
    "AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IT LV LT LU MT NL PL PT RO SK SI ES SE IS LI NO".split()
)


@dataclass(frozen=True, slots=True)
class Agreement:
    """An assessment and a written agreement for one site, in force for [from_ms, to_ms)."""

    site: str
    from_ms: int
    to_ms: int | None


@dataclass(frozen=True, slots=True)
class Data:
    """`origin` is a jurisdiction, ISO 3166-1 or -2; None where nobody told."""

    data_class: str
    origin: str | None
    cloud_act_free: bool = False
    agreements: tuple[Agreement, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """A site at an instant. `nexus` of the operator with the United States: none, present, assess; None unknown."""

    site: str
    jurisdiction: str | None
    operator: str
    nexus: str | None


@dataclass(frozen=True, slots=True)
class Ruling:
    rule: str
    verdict: Verdict
    reason: Reason

    def as_json(self) -> Mapping[str, object]:
        return {"rule": self.rule, "verdict": self.verdict.value, "reason": self.reason.as_json()}


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict and the rules that made it, in the order asked."""

    verdict: Verdict
    trace: tuple[Ruling, ...]

    @property
    def ground(self) -> Ruling:
        """The ruling that decided: the first that is not a pass, else the last."""
        return next((r for r in self.trace if r.verdict is not Verdict.PASS), self.trace[-1])


def decide(data: Data, place: Place, now_ms: int) -> Decision:
    """Every rule asked of `data` at `place` at the instant `now_ms`."""
    trace = [_class(data)]
    if data.data_class not in FREE:
        trace.append(_jurisdiction(data, place, now_ms))
        if data.cloud_act_free:
            trace.append(_foreign_reach(place))
    verdicts = {r.verdict for r in trace}
    overall = next((v for v in (Verdict.FAIL, Verdict.UNKNOWN) if v in verdicts), Verdict.PASS)
    return Decision(overall, tuple(trace))


def _class(data: Data) -> Ruling:
    if data.data_class in FREE:
        return Ruling("class", Verdict.PASS, reason("sovereign.public"))
    if data.data_class not in CLASSES:
        return Ruling("class", Verdict.UNKNOWN, reason("sovereign.unknown", attribute="data-class"))
    verdict = Verdict.FAIL if data.data_class in NEVER else Verdict.PASS
    return Ruling("class", verdict, reason("sovereign.class", data_class=data.data_class))


def _jurisdiction(data: Data, place: Place, now_ms: int) -> Ruling:
    name = "jurisdiction"
    if data.origin is None or place.jurisdiction is None:
        missing = "origin" if data.origin is None else "site-jurisdiction"
        return Ruling(name, Verdict.UNKNOWN, reason("sovereign.unknown", attribute=missing))
    if _within(place.jurisdiction, data.origin) or (place.jurisdiction in EEA and data.origin in EEA):
        return Ruling(name, Verdict.PASS, reason("sovereign.same-jurisdiction", jurisdiction=place.jurisdiction))
    agreement = next((a for a in data.agreements if a.site == place.site and _in_force(a, now_ms)), None)
    if agreement is not None:
        why = reason("sovereign.agreement", origin=data.origin, site=place.site, until=agreement.to_ms)
        return Ruling(name, Verdict.PASS, why)
    why = reason("sovereign.leaves-jurisdiction", origin=data.origin, site=place.jurisdiction)
    return Ruling(name, Verdict.FAIL if data.data_class in GUARDED else Verdict.PASS, why)


def _foreign_reach(place: Place) -> Ruling:
    name = "foreign-reach"
    if place.nexus is None:
        return Ruling(name, Verdict.UNKNOWN, reason("sovereign.unknown", attribute="us-nexus"))
    verdict = {"none": Verdict.PASS, "present": Verdict.FAIL}.get(place.nexus, Verdict.UNKNOWN)
    return Ruling(name, verdict, reason("sovereign.foreign-reach", entity=place.operator, nexus=place.nexus))


def _within(site: str, origin: str) -> bool:
    """Québec's data stays in Québec: CA-QC within CA-QC, and CA's anywhere in Canada; never the other way round."""
    return site == origin or site.startswith(f"{origin}-")


def _in_force(agreement: Agreement, now_ms: int) -> bool:
    return agreement.from_ms <= now_ms and (agreement.to_ms is None or now_ms < agreement.to_ms)
