"""Applications from the draft to the decision, awards and their allocations. Owns the transactions."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import transaction
from django.db.models import Max

from fabrique.apps.access import facts
from fabrique.apps.access.models import (
    Allocation,
    AllocationState,
    Application,
    ApplicationState,
    Award,
    EligibilityAnswer,
    Project,
    ProjectMember,
)
from fabrique.apps.access.relations import relations
from fabrique.apps.audit import services as audit
from fabrique.apps.ledger import services as ledger
from fabrique.apps.people import rights
from fabrique.apps.people import services as people
from fabrique.apps.people.models import Organisation, Person
from fabrique.apps.this_hub import this_hub
from fabrique.core import form as forms
from fabrique.core.access import Mode
from fabrique.core.booking import Exhaustion, Policy, price_of
from fabrique.core.eligibility import Answer, Verdict, asked_ms, evaluate, overall
from fabrique.core.errors import FabriqueError
from fabrique.core.fields import FieldError
from fabrique.core.ledger import amounts_json
from fabrique.core.reasons import Reason, reason
from fabrique.core.units import Amount, Unit
from fabrique.core.working_days import add_months, instant_ms
from fabrique.definitions import modes as mode_files

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Assessment:
    """What would come of submitting this form now."""

    mode: Mode
    errors: list[FieldError]
    answers: list[Answer]

    @property
    def verdict(self) -> Verdict:
        return Verdict.FAIL if self.errors else overall(self.answers)

    @property
    def failed(self) -> list[str]:
        """The rules that are not met."""
        return [a.rule for a in self.answers if a.verdict is Verdict.FAIL]


def modes(*, now: int) -> list[Mode]:
    """The modes this hub offers at `now`."""
    here = this_hub()
    return [m for m in mode_files.for_hub(here.hub.id, here.hub.group) if m.valid_at(now)]


def find_mode(mode_id: str, *, now: int, version: int | None = None) -> Mode:
    """The latest valid version, or the one an application was made under. Raises `mode.missing`."""
    here = this_hub()
    offered = mode_files.for_hub(here.hub.id, here.hub.group)
    wanted = [m for m in offered if m.id == mode_id and (m.version == version if version else m.valid_at(now))]
    if not wanted:
        raise FabriqueError("mode.missing", mode=mode_id[:80], known=sorted({m.id for m in offered}))
    return max(wanted, key=lambda m: m.version)


def assess(mode_id: str, form: Mapping[str, object], *, now: int, applicant: Person | None = None) -> Assessment:
    """The errors of the form and each rule's answer; nothing is kept."""
    mode = find_mode(mode_id, now=now)
    values, errors = forms.checked(mode, form)
    organisation = people.organisation_of(applicant, now=now) if applicant else None
    known = facts.gather(mode, values, organisation, now=now)
    return Assessment(mode, errors, evaluate(mode, values, known, now))


def assess_again(application: Application, *, now: int) -> Assessment:
    """A submitted application judged by what the hub knows at `now`; nothing is kept. Raises `mode.missing`.

    Its dates hold as on the day it was made, under the version of its mode: who was in time, or young enough, stays so.
    """
    mode = find_mode(application.mode, now=now, version=application.mode_version)
    values, errors = forms.checked(mode, application.form)
    known = facts.gather(mode, values, people.organisation_of(application.applicant, now=now), now=now)
    made = now if application.submitted_ms is None else application.submitted_ms
    return Assessment(mode, errors, evaluate(mode, values, known, made))


@transaction.atomic
def save_draft(
    person: Person, mode_id: str, form: Mapping[str, object], *, now: int, application: Application | None = None
) -> Application:
    """Keeps what was typed, right or wrong, as text; nothing is lost."""
    rights.require(person, "application.create", now=now)
    mode = find_mode(mode_id, now=now)
    kept = {str(k)[:80]: v if isinstance(v, bool | int) else str(v)[:20_000] for k, v in list(form.items())[:200]}
    if application is None:
        return Application.objects.create(
            mode=mode.id, mode_version=mode.version, applicant=person, form=kept, created_ms=now, changed_ms=now
        )
    _lock(application)
    _require_edit(application, person, ApplicationState.DRAFT, now=now)
    application.form, application.changed_ms = kept, now
    application.mode, application.mode_version = mode.id, mode.version
    application.save()
    return application


@transaction.atomic
def submit(application: Application, person: Person, *, now: int) -> Application:
    """Judges the form by the rules: ineligible at once, awarded at once, or left to an officer.

    Raises `application.field` with every error while the form is not right, `application.state` for what is no draft.
    """
    ledger.lock()  # what the pool has left must not change between the judgement and the award
    _lock(application)
    _require_edit(application, person, ApplicationState.DRAFT, now=now)
    found = assess(application.mode, application.form, now=now, applicant=person)
    if found.errors:
        raise FabriqueError(
            "application.field",
            fields=[e.field for e in found.errors],
            errors=[{"field": e.field, "code": e.code, **dict(e.params)} for e in found.errors],
        )
    values, _ = forms.checked(found.mode, application.form)
    application.mode_version = found.mode.version
    if people.organisation_of(person, now=now) is None:
        _organisation(person, values, now=now)
    application.submitted_ms = application.changed_ms = now
    application.due_ms = mode_files.answer_due_ms(found.mode, now)
    _keep_answers(application, "submission", found.answers, now=now)
    audit.record(str(person.id), "application.submit", f"application:{application.id}", now=now)
    if found.verdict is Verdict.FAIL:
        why = reason("decide.ineligible", rules=found.failed)
        return _close(application, ApplicationState.INELIGIBLE, why, now=now)
    if found.mode.decision == "automatic" and found.verdict is Verdict.PASS:
        return _award(application, found.mode, reason("decide.automatic", mode=found.mode.id), None, now=now)
    application.state = ApplicationState.SUBMITTED
    application.save()
    return application


def decide(application: Application, officer: Person, accept: bool, note: str, *, now: int) -> Application:
    """An officer's decision, with its note; eligibility is asked again before an award.

    What is unknown is the officer's to accept. A rule that is not met any more is not: `application.not-eligible`
    names it, the answers stay on record, and the application goes on waiting.
    """
    with transaction.atomic(durable=True):  # the record outlives the error, so this is nobody's inner transaction
        ledger.lock()
        _lock(application)
        failed = _decided(application, officer, accept, note, now=now)
    if failed:
        raise FabriqueError("application.not-eligible", rules=failed)
    return application


@transaction.atomic
def withdraw(application: Application, person: Person, *, now: int) -> Application:
    """The applicant takes it back, while nobody has decided. Raises `application.state`."""
    _lock(application)
    _require_edit(application, person, ApplicationState.DRAFT, ApplicationState.SUBMITTED, now=now)
    return _close(application, ApplicationState.WITHDRAWN, reason("decide.withdrawn"), now=now)


def end_allocations(*, now: int) -> int:
    """Closes what is past its end and holds nothing any more; a duty of the loop. Answers how many."""
    ended = 0
    for allocation in Allocation.objects.filter(state=AllocationState.OPEN, ends_ms__lte=now):
        with transaction.atomic():
            ledger.lock()
            held = ledger.balances(f"allocation:{allocation.id}:held")
            if any(held.values()):
                continue
            ledger.end_allocation(str(allocation.id), allocation.pool, now=now)
            allocation.state = AllocationState.ENDED
            allocation.save()
            ended += 1
    return ended


# --- steps ------------------------------------------------------------------------------------------------------


def _lock(application: Application) -> None:
    """The row as it stands now, for this transaction alone: what the caller read may be old.

    Whoever needs the ledger too locks it first; in the other order, two would wait for each other.
    """
    application.refresh_from_db(from_queryset=Application.objects.select_for_update())


def _require_edit(application: Application, person: Person, *states: str, now: int) -> None:
    rights.require(person, "application.edit", now=now, relations=relations(person, application=application, now=now))
    _in_state(application, *states)


def _in_state(application: Application, *states: str) -> None:
    if application.state not in states:
        raise FabriqueError("application.state", state=str(application.state), wanted=[str(s) for s in states])


def _decided(application: Application, officer: Person, accept: bool, note: str, *, now: int) -> list[str]:
    """Refuses or awards the locked application. Answers the rules that forbid the award."""
    related = relations(officer, application=application, now=now)
    rights.require(officer, "application.decide", now=now, relations=related, subject=str(application.id))
    _in_state(application, ApplicationState.SUBMITTED)
    found = assess_again(application, now=now) if accept else None
    failed = found.failed if found else []
    detail = {"accept": accept, "note": note} | ({"failed": failed} if failed else {})
    audit.record(str(officer.id), "application.decide", f"application:{application.id}", now=now, detail=detail)
    if found is None:
        _close(application, ApplicationState.REFUSED, reason("decide.refused", note=note), officer, now=now)
        return []
    _keep_answers(application, "award", found.answers, now=now)
    if not failed:
        _award(application, found.mode, reason("decide.officer", note=note), officer, now=now)
    return failed


def _keep_answers(application: Application, stage: str, answers: list[Answer], *, now: int) -> None:
    EligibilityAnswer.objects.bulk_create(
        EligibilityAnswer(
            application=application,
            stage=stage,
            rule=a.rule,
            verdict=a.verdict.value,
            reason=a.reason.as_json(),
            evidence=dict(a.evidence),
            at_ms=now,
        )
        for a in answers
    )


def _close(
    application: Application, state: str, why: Reason, officer: Person | None = None, *, now: int
) -> Application:
    application.state, application.reason = state, why.as_json()
    application.changed_ms = now
    application.decided_by = officer
    if state != ApplicationState.WITHDRAWN:
        application.decided_ms = now
    application.save()
    return application


def _project(application: Application, values: Mapping[str, forms.Value], *, now: int) -> Project:
    """The project that an award opens, with the applicant as its PI; one of an earlier program is there already."""
    if application.project is not None:
        return application.project
    person = application.applicant
    organisation = people.organisation_of(person, now=now) or _organisation(person, values, now=now)
    title = str(values.get("title", "")) or str(application.id)[:8]
    serial = (Project.objects.aggregate(last=Max("serial"))["last"] or 0) + 1
    project = Project.objects.create(
        code=_code(), serial=serial, title=title, organisation=organisation, created_ms=now
    )
    ProjectMember.objects.create(project=project, person=person, role="pi", since_ms=now)
    return project


def _organisation(person: Person, values: Mapping[str, forms.Value], *, now: int) -> Organisation:
    name = str(values.get("organisation", "")) or person.name or "—"
    kind, country = str(values.get("organisation_kind", "")), str(values.get("country", ""))
    organisation = people.create_organisation(name, kind, country, now=now)
    people.join(person, organisation, now=now)
    return organisation


def _code() -> str:
    while True:
        code = f"p-{secrets.token_hex(3)}"
        if not Project.objects.filter(code=code).exists():
            return code


def _award(application: Application, mode: Mode, why: Reason, officer: Person | None, *, now: int) -> Application:
    """Project, award, allocation, and its hours in the ledger.

    Raises `award.no-capacity`, `award.kind-not-connected`.
    """
    values, _ = forms.checked(mode, application.form)
    unit = facts.unit_asked(values)
    amount = Amount(unit, asked_ms(values) or 0)
    pool = this_hub().pool_for(mode)
    ends = _after_months(now, int(str(values.get("months", 1))))
    limits = _limits(mode, amount, now=now)
    application.project = project = _project(application, values, now=now)
    award = Award.objects.create(
        application=application,
        pool=pool,
        amounts=amounts_json(Amount(u, v) for u, (v, _) in limits.items()),
        starts_ms=now,
        ends_ms=ends,
        decided_ms=now,
    )
    allocation = Allocation.objects.create(
        award=award,
        project=project,
        pool=pool,
        mode=mode.id,
        starts_ms=now,
        ends_ms=ends,
        data_deletion_ms=None if mode.data_kept_days is None else ends + mode.data_kept_days * DAY_MS,
    )
    ledger.open_allocation(str(allocation.id), pool, limits, ref=str(award.id), now=now)
    return _close(application, ApplicationState.AWARDED, why, officer, now=now)


def _limits(mode: Mode, asked: Amount, *, now: int) -> dict[Unit, tuple[int, Policy]]:
    """The time asked under the mode's policy; where the mode has a price, the money that this time costs."""
    policy = Policy(Exhaustion(mode.exhaustion.kind), mode.exhaustion.margin_permille)
    limits = {asked.unit: (asked.value, policy)}
    if mode.rate is not None:
        rate = facts.rate_of(asked.unit, now=now)
        limits[rate.currency] = (price_of(asked.value, rate.price), policy)
    return limits


def _after_months(now: int, months: int) -> int:
    """The same instant `months` later, on the last day of a shorter month."""
    at = datetime.fromtimestamp(now / 1000, UTC)
    return instant_ms(add_months(at.date(), months), at.time(), UTC)
