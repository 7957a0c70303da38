"""The one table of rights: who may do what, and why. Every face asks here; nothing else decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fabrique.apps.people.models import Person, Role, RoleGrant
from fabrique.core.errors import FabriqueError
from fabrique.core.reasons import Reason, reason

ANYONE: Final = "anyone"  # even signed out
SIGNED_IN: Final = "signed-in"
APPLICANT: Final = "applicant"  # of the application at hand
MEMBER: Final = "member"  # of the project at hand
PI: Final = "pi"  # of the project at hand
PROPOSER: Final = "proposer"  # of the rules at hand: takes a right away, as does the next
PROPOSERS_ORGANISATION: Final = "proposers-organisation"
HOLDER: Final = "holder"  # of the role at hand
FELLOW_HOLDER: Final = "fellow-holder"  # of the role at hand, for the organisation at hand
COLLECTOR: Final = "collector"  # a program with the hub's token for metrics, or on the hub's own machine
SAME_ORGANISATION: Final = "same-organisation"  # as the applicant: gives no right, takes one away

STAFF: Final = (Role.OPERATOR, Role.COORDINATOR)


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may: relations to the thing at hand and roles; and the sentence that defends it."""

    allowed: tuple[str, ...]
    why: str


ACTIONS: Final[Mapping[str, Rule]] = {
    "hub.view": Rule((ANYONE,), "What the hub is and how it fares is public."),
    "application.create": Rule((SIGNED_IN,), "Anyone with an account may ask for time."),
    "application.view": Rule((APPLICANT, *STAFF, Role.REVIEWER, Role.AUDITOR), "Who asked, who judges, who audits."),
    "application.edit": Rule((APPLICANT,), "Only who asks may change what is asked."),
    "application.decide": Rule(STAFF, "The desk decides, never on its own organisation's request."),
    "project.view": Rule((MEMBER, *STAFF, Role.AUDITOR), "Its members, the desk that helps them, the auditor."),
    "project.manage": Rule((PI,), "The person responsible chooses the members."),
    "project.join": Rule((SIGNED_IN,), "Whoever was given an invitation may use it, once."),
    "job.submit": Rule((MEMBER,), "Only members spend the project's hours."),
    "job.view": Rule((MEMBER, Role.OPERATOR, Role.AUDITOR), "Its members, who runs the machine, the auditor."),
    "job.log": Rule((MEMBER,), "What a job prints may hold data: its project's alone."),
    "job.cancel": Rule((MEMBER, Role.OPERATOR), "Its members, and who must keep the machine safe."),
    "statement.view": Rule((MEMBER, *STAFF, Role.AUDITOR), "Its members, the desk, the auditor."),
    "pool.statement": Rule((*STAFF, Role.FUNDER, Role.AUDITOR), "Who pays, who runs, who audits."),
    "operate.view": Rule((*STAFF, Role.AUDITOR), "The machine room: who runs it and who audits it."),
    "operate.resume": Rule((Role.OPERATOR,), "Only who runs the machine lets it act again."),
    "metrics.view": Rule(
        (COLLECTOR, *STAFF, Role.AUDITOR), "Sums without names: the hub's collector, who runs, audits."
    ),
    "cluster.provision": Rule((Role.OPERATOR,), "Who runs the machine sets up its accounts and limits."),
    "rules.view": Rule((*STAFF, Role.FUNDER, Role.AUDITOR), "By which rules the hub decides: who runs, pays, audits."),
    "rules.propose": Rule((Role.OPERATOR,), "Who runs the machine knows which rules it needs."),
    "rules.consent": Rule((Role.COORDINATOR, Role.FUNDER), "A second person, of another role and organisation."),
    "what-if.run": Rule((Role.OPERATOR,), "A replay takes the machine's time: who runs it asks for it."),
    "ledger.verify": Rule((*STAFF, Role.FUNDER, Role.AUDITOR), "Proof is for those who must believe it."),
    "audit.view": Rule((Role.AUDITOR, Role.COORDINATOR), "The record is read by the auditor and the desk."),
    "role.view": Rule(tuple(Role), "Who holds which role is known to all who hold one."),
    "role.begin": Rule((Role.OPERATOR,), "While nobody holds a role, who runs the machine finds the first, elsewhere."),
    "role.appoint": Rule((HOLDER,), "From then on, those who hold a role say who else does: no other role can."),
    "role.end": Rule((FELLOW_HOLDER,), "Who holds a role in an organisation's name is that organisation's to end."),
    "people.search": Rule(STAFF, "Names are shown to the desk alone."),
}
SEPARATED: Final = ("application.decide", "rules.consent")  # never on what is one's own, or one's organisation's


@dataclass(frozen=True, slots=True)
class Answer:
    allowed: bool
    reason: Reason


def roles_of(person: Person, *, now: int) -> set[str]:
    """The roles held at `now`."""
    grants = RoleGrant.objects.filter(person=person, since_ms__lte=now)
    return {g.role for g in grants if g.until_ms is None or now < g.until_ms}


def may(
    person: Person | None, action: str, *, now: int, relations: frozenset[str] = frozenset(), subject: str = ""
) -> Answer:
    """Whether `person`, who stands in `relations` to the `subject`, may do `action`.

    The caller that knows the subject names the relations (`applicant`, `member`, `pi`, `same-organisation`,
    `collector`, `holder`): this table knows no table but its own. Raises KeyError on an action that is not in it.
    """
    rule = ACTIONS[action]
    if ANYONE in rule.allowed:
        return Answer(True, reason("right.own"))
    if relations & {COLLECTOR} & set(rule.allowed):
        return Answer(True, reason("right.collector"))
    if person is None or not person.is_active:
        return Answer(False, reason("right.none"))
    if action in SEPARATED and relations:
        return Answer(False, reason("right.separation", role="decide", other=min(relations)))
    if SIGNED_IN in rule.allowed or relations & {APPLICANT} & set(rule.allowed):
        return Answer(True, reason("right.own"))
    if relations & {HOLDER, FELLOW_HOLDER} & set(rule.allowed):
        return Answer(True, reason("right.role", role=subject))
    if relations & set(rule.allowed):
        return Answer(True, reason("right.member", project=subject))
    held = sorted(roles_of(person, now=now) & set(rule.allowed))
    return Answer(True, reason("right.role", role=held[0])) if held else Answer(False, reason("right.none"))


def require(
    person: Person | None, action: str, *, now: int, relations: frozenset[str] = frozenset(), subject: str = ""
) -> None:
    """Raises `right.denied`, or `sign-in.needed` for a person not known yet."""
    answer = may(person, action, now=now, relations=relations, subject=subject)
    if not answer.allowed:
        if person is None:
            raise FabriqueError("sign-in.needed", action=action)
        raise FabriqueError("right.denied", action=action, reason=answer.reason.as_json())
