"""Errors carry a code and parameters; a face turns them into a status, an exit code and a sentence.

The list is closed: a code that is not here cannot be raised, and a test fails while one is untranslated.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class Sort(Enum):
    """What went wrong, by who can mend it. The value is the exit code of the command line."""

    INPUT = 2  # what was given is wrong: mend it and try again
    DENIED = 3  # this person may not do this
    MISSING = 4  # there is no such thing
    CONFLICT = 5  # it can't be done in this state
    UNAVAILABLE = 6  # a part of the hub does not answer


ERRORS: Final[Mapping[str, Sort]] = {
    # units
    "units.mixed": Sort.INPUT,
    "units.unknown": Sort.INPUT,
    "units.not-a-number": Sort.INPUT,
    "units.not-exact": Sort.INPUT,
    # definitions and files
    "definition.broken": Sort.INPUT,
    "definition.missing": Sort.MISSING,
    "deployment.broken": Sort.INPUT,
    "script.broken": Sort.INPUT,
    # the home of a hub
    "home.missing": Sort.MISSING,
    "home.exists": Sort.CONFLICT,
    "home.several": Sort.INPUT,
    "home.broken": Sort.UNAVAILABLE,
    "home.observe-only": Sort.CONFLICT,
    "port.busy": Sort.CONFLICT,
    "port.refused": Sort.INPUT,
    "file.exists": Sort.CONFLICT,
    "program.missing": Sort.UNAVAILABLE,
    "backup.broken": Sort.INPUT,
    # people and rights
    "right.denied": Sort.DENIED,
    "sign-in.link-used": Sort.DENIED,
    "sign-in.needed": Sort.DENIED,
    "invitation.used": Sort.DENIED,
    "person.missing": Sort.MISSING,
    "person.login": Sort.CONFLICT,
    "organisation.missing": Sort.MISSING,
    # access
    "mode.missing": Sort.MISSING,
    "application.missing": Sort.MISSING,
    "application.field": Sort.INPUT,
    "application.state": Sort.CONFLICT,
    "application.not-eligible": Sort.CONFLICT,
    "project.missing": Sort.MISSING,
    "member.missing": Sort.MISSING,
    "member.pi": Sort.CONFLICT,
    "allocation.missing": Sort.MISSING,
    "award.no-capacity": Sort.CONFLICT,
    "award.kind-not-connected": Sort.CONFLICT,
    # ledger
    "ledger.unbalanced": Sort.INPUT,
    "ledger.overdraft": Sort.CONFLICT,
    "ledger.hold-missing": Sort.MISSING,
    "ledger.hold-settled": Sort.CONFLICT,
    "ledger.broken": Sort.UNAVAILABLE,
    "ledger.rate-missing": Sort.MISSING,
    "ledger.checkpoint-broken": Sort.INPUT,
    # jobs
    "job.missing": Sort.MISSING,
    "job.array": Sort.INPUT,
    "job.refused": Sort.CONFLICT,
    "job.field": Sort.INPUT,
    "job.state": Sort.CONFLICT,
    "log.outside": Sort.MISSING,
    "log.missing": Sort.MISSING,
    # engines and the loop
    "engine.unavailable": Sort.UNAVAILABLE,
    "engine.refused": Sort.CONFLICT,
    "engine.garbage": Sort.UNAVAILABLE,
    "isolation.single-user": Sort.DENIED,
    "cluster.kind": Sort.INPUT,
    "cluster.kind-form": Sort.INPUT,
    "cluster.uncounted": Sort.INPUT,
    "cluster.root": Sort.INPUT,
    "cluster.connected": Sort.CONFLICT,
    "cluster.busy": Sort.CONFLICT,
    "lease.lost": Sort.CONFLICT,
    # provisioning of a cluster
    "provision.rule": Sort.INPUT,
    "provision.none": Sort.MISSING,
    "provision.files": Sort.CONFLICT,
    # meters and grid
    "meter.unavailable": Sort.UNAVAILABLE,
    "grid.gap": Sort.UNAVAILABLE,
    "grid.broken": Sort.INPUT,
    "grid.file": Sort.INPUT,
    "grid.zone": Sort.INPUT,
    "carbon.zone": Sort.INPUT,
    "carbon.mixed": Sort.INPUT,
    # traces and workloads of the twin
    "trace.missing": Sort.MISSING,
    "trace.unreadable": Sort.INPUT,
    "trace.too-large": Sort.INPUT,
    "trace.compressed": Sort.INPUT,
    "trace.encoding": Sort.INPUT,
    "trace.format": Sort.INPUT,
    "trace.line": Sort.INPUT,
    "trace.value": Sort.INPUT,
    "trace.column": Sort.INPUT,
    "trace.refused": Sort.INPUT,
    "trace.empty": Sort.INPUT,
    "trace.timezone": Sort.INPUT,
    "trace.load": Sort.INPUT,
    "trace.span": Sort.INPUT,
    # fleets and worlds of the twin
    "twin.site": Sort.INPUT,
    "twin.fleet": Sort.INPUT,
    "twin.cap": Sort.INPUT,
    "twin.event": Sort.INPUT,
    "twin.pool": Sort.INPUT,
    "twin.price": Sort.INPUT,
    "twin.option": Sort.INPUT,
    "twin.choose": Sort.INPUT,
    "twin.job": Sort.MISSING,
    "twin.no-log": Sort.MISSING,
    # who holds which role
    "role.unknown": Sort.INPUT,
    "role.self": Sort.DENIED,
    "role.held": Sort.CONFLICT,
    "role.separate": Sort.CONFLICT,
    "role.organisation": Sort.INPUT,
    "role.belongs": Sort.CONFLICT,
    "role.missing": Sort.MISSING,
    "role.last": Sort.CONFLICT,
    # rules adopted by two, and what would be under others
    "rules.missing": Sort.MISSING,
    "rules.none": Sort.MISSING,
    "rules.state": Sort.CONFLICT,
    "rules.open": Sort.CONFLICT,
    "rules.in-force": Sort.CONFLICT,
    "rules.not-live": Sort.CONFLICT,
    "rules.from": Sort.INPUT,
    "rules.note": Sort.INPUT,
    "what-if.missing": Sort.MISSING,
    "what-if.field": Sort.INPUT,
    "what-if.same": Sort.INPUT,
    "what-if.busy": Sort.CONFLICT,
    "what-if.few": Sort.CONFLICT,
    "what-if.failed": Sort.UNAVAILABLE,
    # everything else that a face meets
    "request.broken": Sort.INPUT,
    "request.too-large": Sort.INPUT,
    "dataset.missing": Sort.MISSING,
}


class FabriqueError(Exception):
    """`code` from the closed list and its `params`; never a sentence, never a status of HTTP."""

    def __init__(self, code: str, **params: object) -> None:
        if code not in ERRORS:
            raise ValueError(f"unknown error code: {code}")
        super().__init__(code, params)
        self.code = code
        self.params: dict[str, object] = params

    @property
    def sort(self) -> Sort:
        return ERRORS[self.code]

    def __str__(self) -> str:
        inside = ", ".join(f"{k}={v!r}" for k, v in sorted(self.params.items()))
        return f"{self.code}({inside})"
