"""From a proposal to rules in force: proposed by one person, consented to by a second, of another organisation."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from hashlib import sha256
from typing import Final
from uuid import UUID

from django.db import IntegrityError, transaction

from fabrique.apps.audit import services as audit
from fabrique.apps.ledger import services as ledger
from fabrique.apps.people import rights
from fabrique.apps.people.models import Person, RoleGrant
from fabrique.apps.people.services import organisation_of
from fabrique.apps.rules.models import Proposal, ProposalState, WhatIf
from fabrique.apps.this_hub import ThisHub
from fabrique.core.admission.rules import Rules
from fabrique.core.errors import FabriqueError

NOTE_MOST: Final = 2_000
AHEAD_MOST_MS: Final = 366 * 86_400_000


def not_live(here: ThisHub, rules: Rules) -> tuple[str, ...]:
    """What the live hub couldn't honour: codes that `language.words` says in sentences, under "not-live".

    No engine here changes the level of a run, to only observe is a switch of its own, and the hub defers only by hourly
    files of carbon intensity.
    """
    asked = {
        "levels": rules.watts == "levels" and not here.sets_levels,
        "water-fill": rules.water_fill,
        "recap": rules.recap,
        "observe-only": rules.observe_only,
        "price": rules.defer and rules.signal != "carbon",
        "hourly": rules.defer and rules.signal == "carbon" and here.hourly is None,
    }
    return tuple(code for code, holds in asked.items() if holds)


def propose(
    here: ThisHub,
    person: Person,
    rules: Rules,
    *,
    note: str,
    from_ms: int | None = None,
    what_if: WhatIf | None = None,
    now: int,
) -> Proposal:
    """A proposal that waits for a second person; nothing changes by it.

    Raises `right.denied`, `rules.not-live`, `rules.note`, `rules.from`, `rules.in-force`, `rules.open`.
    """
    rights.require(person, "rules.propose", now=now)
    lacking = not_live(here, rules)
    if lacking:
        raise FabriqueError("rules.not-live", rules=rules.name, why=list(lacking))
    _check_from(from_ms, now)
    told = asdict(rules)
    current = in_force(now)
    if current is not None and current.digest == digest(rules):
        raise FabriqueError("rules.in-force", rules=rules.name)
    made = Proposal(
        name=rules.name,
        version=rules.version,
        rules=told,
        digest=digest(rules),
        note=_note(note),
        what_if=what_if,
        proposed_by=person,
        organisations=sorted(organisations(person, now)),
        proposed_ms=now,
        from_ms=from_ms,
    )
    try:
        with transaction.atomic():
            made.save(force_insert=True)
            audit.record(str(person.id), "rules.propose", f"rules:{made.id}", now=now, detail=_detail(made))
    except IntegrityError:
        other = Proposal.objects.filter(state=ProposalState.PROPOSED).first()
        raise FabriqueError("rules.open", rules=other.name if other else rules.name) from None
    return made


def consent(key: UUID, person: Person, accept: bool, note: str, *, now: int) -> Proposal:
    """The second person's word. Accepted, the rules are in force from the instant asked for, or from now.

    Raises `rules.missing`, `right.denied` (also for the proposer and their organisations), `rules.state`, `rules.note`.
    """
    with transaction.atomic():
        ledger.lock()
        found = _locked(key)
        rights.require(person, "rules.consent", now=now, relations=relations(person, found, now))
        _check_open(found)
        found.decided_by, found.decided_ms, found.decision_note = person, now, _note(note)
        found.state = ProposalState.ADOPTED if accept else ProposalState.REFUSED
        if accept:
            found.in_force_ms = max(found.from_ms or now, now)
            entry = ledger.note("rules", _cause(found), now=now)
            found.entry = entry.seq
        found.save()
        action = "rules.adopt" if accept else "rules.refuse"
        audit.record(str(person.id), action, f"rules:{found.id}", now=now, detail=_detail(found))
    return found


def withdraw(key: UUID, person: Person, *, now: int) -> Proposal:
    """The proposer takes it back. Raises `rules.missing`, `right.denied`, `rules.state`."""
    rights.require(person, "rules.propose", now=now)
    with transaction.atomic():
        found = _locked(key)
        if found.proposed_by_id != person.id:
            raise FabriqueError("right.denied", action="rules.propose")
        _check_open(found)
        found.state, found.decided_ms = ProposalState.WITHDRAWN, now
        found.save()
        audit.record(str(person.id), "rules.withdraw", f"rules:{found.id}", now=now, detail=_detail(found))
    return found


# --- reading ------------------------------------------------------------------------------------------------------


def in_force(now: int) -> Proposal | None:
    """The proposal whose rules hold at `now`: the last one to come into force; None before the first adoption."""
    adopted = Proposal.objects.filter(state=ProposalState.ADOPTED, in_force_ms__lte=now)
    return adopted.order_by("-in_force_ms", "-decided_ms", "-entry").first()


def rules_of(proposal: Proposal) -> Rules:
    """What was adopted; a field that came with a later program has its default. Raises ValueError for one unknown."""
    known = {f.name for f in fields(Rules)}
    if not isinstance(proposal.rules, dict) or not set(proposal.rules) <= known:
        raise ValueError(f"the rules {proposal.name} hold what this program does not know")
    return Rules(**proposal.rules)


def find(key: UUID) -> Proposal:
    """Raises `rules.missing`."""
    found = Proposal.objects.select_related("proposed_by", "decided_by", "what_if").filter(pk=key).first()
    if found is None:
        raise FabriqueError("rules.missing", proposal=str(key))
    return found


def relations(person: Person | None, proposal: Proposal, now: int) -> frozenset[str]:
    """What keeps a person from consenting: to have proposed it, or to share an organisation with who did."""
    if person is None:
        return frozenset()
    if person.id == proposal.proposed_by_id:
        return frozenset({rights.PROPOSER})
    theirs = set(proposal.organisations) | organisations(proposal.proposed_by, now)
    shared = theirs & organisations(person, now)
    return frozenset({rights.PROPOSERS_ORGANISATION}) if shared else frozenset()


def organisations(person: Person, now: int) -> set[str]:
    """Ids of the organisations that a person belongs to or holds a role for at `now`."""
    own = organisation_of(person, now=now)
    grants = RoleGrant.objects.filter(person=person, since_ms__lte=now)
    held = {str(g.organisation_id) for g in grants if g.until_ms is None or now < g.until_ms}
    return held | ({str(own.id)} if own else set())


def digest(rules: Rules) -> str:
    """SHA-256 of every field."""
    return sha256(json.dumps(asdict(rules), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


# --- checks -------------------------------------------------------------------------------------------------------


def _locked(key: UUID) -> Proposal:
    found = Proposal.objects.select_for_update(of=("self",)).select_related("proposed_by").filter(pk=key).first()
    if found is None:
        raise FabriqueError("rules.missing", proposal=str(key))
    return found


def _check_open(found: Proposal) -> None:
    if found.state != ProposalState.PROPOSED:
        raise FabriqueError("rules.state", state=found.state)


def _check_from(from_ms: int | None, now: int) -> None:
    if from_ms is not None and not now <= from_ms <= now + AHEAD_MOST_MS:
        raise FabriqueError("rules.from", from_ms=from_ms)


def _note(text: str) -> str:
    found = text.strip()
    if not found or len(found) > NOTE_MOST or "\0" in found:
        raise FabriqueError("rules.note", most=NOTE_MOST)
    return found


def _detail(found: Proposal) -> dict[str, object]:
    told: dict[str, object] = {"rules": found.name, "version": found.version, "digest": found.digest}
    told |= {"state": str(found.state), "note": found.decision_note or found.note}
    told |= {"what_if": str(found.what_if_id) if found.what_if_id else None, "entry": found.entry}
    return told | {"in_force_ms": found.in_force_ms}


def _cause(found: Proposal) -> dict[str, object]:
    """What the ledger's entry says: pseudonymous ids, and the rules by their digest."""
    return {
        "proposal": str(found.id),
        "rules": found.name,
        "version": str(found.version),
        "digest": found.digest,
        "proposed_by": str(found.proposed_by_id),
        "consented_by": str(found.decided_by_id),
        "in_force_ms": str(found.in_force_ms),
    }
