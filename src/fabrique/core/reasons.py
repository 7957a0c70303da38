"""Why: a closed list of codes with their parameters, stored as data and said in words by the faces.

A reason accompanies every wait, refusal, deferral, preemption and placement, every answer of eligibility
and every record of a right. A test fails while one is untranslated or undocumented.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

# code -> names of its parameters, in the order a sentence uses them
REASONS: Final[Mapping[str, tuple[str, ...]]] = {
    # a job waits
    "wait.accelerators": ("partition", "asked", "free"),
    "wait.cores": ("partition", "asked", "free"),
    "wait.memory": ("partition", "asked_mb", "free_mb"),
    "wait.power": ("site", "asked_w", "free_w"),
    "wait.budget-held": ("unit", "asked", "available"),
    "wait.behind": ("job",),
    "wait.not-before": ("time",),
    "wait.owner": (),
    "wait.cluster": ("why", "time"),
    "wait.other-job": (),
    "wait.array": (),
    "wait.engine": ("engine",),
    "wait.account": ("engine",),
    "wait.observe-only": (),
    "wait.allocation-start": ("time",),
    "wait.quota": ("pool", "asked", "left"),
    "wait.window": ("time",),
    "wait.deferred": ("time", "saved_permille"),
    "wait.not-worth-deferring": ("saved_permille", "floor_permille"),
    "wait.backing-off": ("time",),
    "wait.reclaiming": ("job",),
    # a job was placed
    "place.only": ("partition",),
    "place.earliest": ("partition",),
    "place.level": ("partition", "level"),
    "place.own-door": ("engine",),
    # a run is stopped, or its power level set
    "preempt.reclaim": ("pool", "job"),
    "preempt.power": ("site",),
    "recap.power": ("site", "level"),
    # a job is refused: it could never start as it stands
    "refuse.no-partition": ("kind",),
    "refuse.too-large": ("partition", "resource", "asked", "most"),
    "refuse.budget": ("unit", "asked", "available"),
    "refuse.allocation-ended": ("time",),
    "refuse.no-budget-in-kind": ("kind",),
    "refuse.power": ("asked_w", "most_w"),
    "refuse.deadline": ("latest_start",),
    "refuse.sovereignty": ("dataset", "rule"),
    "refuse.no-walltime": (),
    # what an engine's accounting says and nobody can be charged for yet
    "quarantine.account": ("account",),
    "quarantine.allocation": ("project",),
    "quarantine.partition": ("partition",),
    "quarantine.unreadable": ("why",),
    "quarantine.runaway": ("since",),
    # how a run ended
    "end.completed": (),
    "end.failed": ("exit_code",),
    "end.signalled": ("signal",),
    "end.cancelled": (),
    "end.cancelled-there": (),
    "end.walltime": ("walltime_ms",),
    "end.memory": ("limit_mb",),
    "end.output": ("limit_bytes",),
    "end.preempted": (),
    "end.requeued": (),
    "end.lost": ("last_seen",),
    "end.node-failed": (),
    "end.not-started": ("error",),
    "end.no-interpreter": ("interpreter",),
    # money and hours given back, and why
    "refund.hub-failure": ("cause",),
    "refund.reclaim": ("pool",),
    "refund.correction": ("note",),
    "correct.accounting": ("engine",),
    "rebate.power-level": ("level", "throughput_permille"),
    # eligibility: each rule answers pass, fail or unknown with one of these
    "eligible.organisation-kind": ("kind", "accepted"),
    "eligible.country": ("country", "accepted"),
    "eligible.country-association": ("country",),
    "eligible.size": ("asked", "least", "most", "unit"),
    "eligible.size-not-published": ("unit",),
    "eligible.duration": ("months", "accepted"),
    "eligible.mode-open": ("mode", "until"),
    "eligible.mode-closed": ("mode", "status"),
    "eligible.cut-off": ("cut_off",),
    "eligible.kind-connected": ("kind",),
    "eligible.capacity": ("unit", "asked", "available"),
    "eligible.civilian": ("answer",),
    "eligible.ethics": ("missing",),
    "eligible.ethics-to-explain": ("questions",),
    "eligible.inference": ("asked", "most"),
    "eligible.staff": ("staff", "most"),
    "eligible.turnover": ("turnover", "most"),
    "eligible.age": ("years", "most"),
    "eligible.data-class": ("data_class", "rule"),
    "eligible.once": ("mode",),
    "eligible.open-award": ("mode",),
    "eligible.commercial-cap": ("asked", "left"),
    # decisions on an application
    "decide.automatic": ("mode",),
    "decide.officer": ("note",),
    "decide.refused": ("note",),
    "decide.ineligible": ("rules",),
    "decide.withdrawn": (),
    # sovereignty: which rule answered
    "sovereign.public": (),
    "sovereign.class": ("data_class",),
    "sovereign.same-jurisdiction": ("jurisdiction",),
    "sovereign.leaves-jurisdiction": ("origin", "site"),
    "sovereign.agreement": ("origin", "site", "until"),
    "sovereign.foreign-reach": ("entity", "nexus"),
    "sovereign.unknown": ("attribute",),
    # rights: why a person may or may not
    "right.own": (),
    "right.collector": (),
    "right.role": ("role",),
    "right.member": ("project",),
    "right.none": (),
    "right.separation": ("role", "other"),
}


@dataclass(frozen=True, slots=True)
class Reason:
    """One code of `REASONS` with exactly its parameters (JSON values)."""

    code: str
    params: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wanted = REASONS.get(self.code)
        if wanted is None:
            raise ValueError(f"unknown reason: {self.code}")
        if set(self.params) != set(wanted):
            raise ValueError(f"{self.code} takes {wanted}, not {tuple(self.params)}")
        object.__setattr__(self, "params", MappingProxyType(dict(self.params)))

    def as_json(self) -> dict[str, object]:
        return {"code": self.code, **self.params}


def reason(code: str, **params: object) -> Reason:
    return Reason(code, params)


def from_json(data: Mapping[str, object]) -> Reason:
    """The inverse of `Reason.as_json`. What an earlier release wrote may have had other parameters: one that it lacks
    is None, one that is known no more is left out. Raises `ValueError` for an unknown code.
    """
    code = str(data["code"])
    return Reason(code, {name: data.get(name) for name in REASONS.get(code, ())})
