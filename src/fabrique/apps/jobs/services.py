"""Jobs as people ask for them: submit and cancel. What happens to them then is the loop's (`cycle.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.db import transaction

from fabrique.apps.access.models import Allocation, AllocationState, Project
from fabrique.apps.access.relations import relations
from fabrique.apps.audit import services as audit
from fabrique.apps.catalogue import services as catalogue
from fabrique.apps.jobs import specs
from fabrique.apps.jobs.models import FINAL, Job
from fabrique.apps.ledger import services as ledger
from fabrique.apps.people import rights
from fabrique.apps.people.models import Person
from fabrique.apps.this_hub import ThisHub, this_hub
from fabrique.core import booking, eligibility
from fabrique.core.admission import filter as fits
from fabrique.core.errors import FabriqueError
from fabrique.core.job import JobSpec, JobState
from fabrique.core.reasons import Reason, from_json, reason
from fabrique.core.units import Unit
from fabrique.definitions import jobscript

_NUMBER = "job:"
_TASKS_NAMED = 5  # of an array, where it is asked for as a whole


@dataclass(frozen=True, slots=True)
class Choice:
    """Where a job may run and which allocation pays: the first of its project that limits that unit."""

    offers: tuple[fits.Offer, ...]
    allocation: Allocation


def submit(person: Person, project_code: str | None, script: bytes, overrides: Mapping[str, str], *, now: int) -> Job:
    """A pending job. Raises `script.broken` with every complaint, `job.refused` with its reason.

    A refusal keeps nothing but the record of the law's answers, which are therefore asked first.
    """
    spec = read_script(script, overrides)
    project = find_project(project_code or spec.project)
    related = relations(person, project=project, now=now)
    rights.require(person, "job.submit", now=now, relations=related, subject=project.code)
    check_isolation(person, now=now)
    check_data(spec, project, now=now)
    return _create(spec, project, person, choose(spec, project, now=now), now=now)


@transaction.atomic
def _create(spec: JobSpec, project: Project, person: Person, choice: Choice, *, now: int) -> Job:
    job = Job.objects.create(
        project=project,
        allocation=choice.allocation,
        submitter=person,
        name=spec.name,
        spec=specs.to_json(spec),
        script=spec.script,
        submitted_ms=now,
        changed_ms=now,
    )
    audit.record(str(person.id), "job.submit", f"job:{job.key}", now=now)
    return job


@transaction.atomic
def cancel(job: Job, person: Person, *, now: int) -> Job:
    """A waiting job ends at once; a running one is told to end by the loop."""
    job = Job.objects.select_for_update().get(pk=job.pk)
    related = relations(person, project=job.project, now=now)
    rights.require(person, "job.cancel", now=now, relations=related, subject=job.project.code)
    if job.status in FINAL:
        raise FabriqueError("job.state", job=job.called, state=job.status)
    job.cancel_ms = job.cancel_ms or now
    if job.status == JobState.PENDING.value:
        job.status, job.reason = JobState.CANCELLED.value, reason("end.cancelled").as_json()
        job.changed_ms = now
    job.save()
    audit.record(str(person.id), "job.cancel", f"job:{job.key}", now=now)
    return job


def read_script(script: bytes, overrides: Mapping[str, str]) -> JobSpec:
    """The script's header and the flags that override it. Raises `script.broken`."""
    spec, complaints = jobscript.parse(script, "script", overrides)
    if spec is None:
        raise FabriqueError("script.broken", complaints=complaints)
    return spec


def find_project(code: str | None) -> Project:
    """Raises `project.missing`."""
    project = Project.objects.filter(code=code).first() if code else None
    if project is None:
        raise FabriqueError("project.missing", project=str(code or "")[:80])
    return project


def find_job(number: int | str) -> Job:
    """Raises `job.missing`."""
    text = str(number)
    job = Job.objects.filter(number=int(text)).first() if text.isascii() and text.isdigit() and len(text) < 18 else None
    if job is None:
        raise FabriqueError("job.missing", job=text[:40])
    return job


def find_named(text: str) -> Job:
    """As people call it: on a cluster by its id there, where it has one; by its number here otherwise; `job:12` is
    surely the number. Raises `job.missing`; `job.array` for an array, or a task of one that the hub has not met.
    """
    if text.startswith(_NUMBER):
        return find_job(text.removeprefix(_NUMBER))
    if this_hub().deployment.cluster is None:
        return find_job(text)
    outside = Job.objects.filter(outside_id=text[:40]).order_by("-number").first() if text else None
    if outside is not None:
        return outside
    array = text.partition("_")[0]
    if array.isascii() and array.isdigit() and len(array) < 18:
        tasks = Job.objects.filter(outside_id__startswith=f"{array}_").order_by("-number")
        if known := list(tasks.values_list("outside_id", flat=True)[:_TASKS_NAMED]):
            raise FabriqueError("job.array", array=array, tasks=known[::-1])
    found = find_job(text)
    if found.outside_id:  # the number of one that people know by another is a slip: who cancels must not hit it
        raise FabriqueError("job.missing", job=text[:40])
    return found


def name_of(job: Job, here: ThisHub | None = None) -> str:
    """What `find_named` finds it by. `here`: for who names many."""
    if (here or this_hub()).deployment.cluster is None:
        return str(job.number)
    return job.outside_id or f"{_NUMBER}{job.number}"


def choose(spec: JobSpec, project: Project, *, now: int) -> Choice:
    """Where the job could run and who pays. Raises `job.refused` when it could never start as it stands."""
    here = this_hub()
    offers, why = fits.candidates(spec, here.offers)
    if why is not None:
        raise _refused(why)
    cap = here.cap_w
    power = min(fits.power_bound(spec, o, here.pue_permille) for o in offers)
    if cap is not None and power > cap - here.base_w:
        raise _refused(reason("refuse.power", asked_w=power, most_w=max(cap - here.base_w, 0)))
    if spec.start_by_ms is not None and spec.start_by_ms < now:
        raise _refused(reason("refuse.deadline", latest_start=spec.start_by_ms))
    return _paid_by(spec, project, offers, now=now)


def _paid_by(spec: JobSpec, project: Project, offers: tuple[fits.Offer, ...], *, now: int) -> Choice:
    allocations = list(Allocation.objects.filter(project=project).order_by("ends_ms", "id"))
    alive = [a for a in allocations if a.state == AllocationState.OPEN and now < a.ends_ms]
    if allocations and not alive:
        raise _refused(reason("refuse.allocation-ended", time=max(a.ends_ms for a in allocations)))
    short: Reason | None = None
    for allocation in alive:
        limits = ledger.policies(str(allocation.id))
        paid = tuple(o for o in offers if o.unit in limits)
        for offer in paid:
            lack = _budget_lack(spec, offer, allocation, limits, now=now)
            if lack is None:
                return Choice(paid, allocation)
            short = short or lack
    raise _refused(short or reason("refuse.no-budget-in-kind", kind=", ".join(sorted({o.kind for o in offers}))))


def _budget_lack(
    spec: JobSpec, offer: fits.Offer, allocation: Allocation, limits: Mapping[Unit, booking.Policy], *, now: int
) -> Reason | None:
    """A hold that even an idle hub could not cover: more than is left and held together."""
    here = this_hub()
    for unit, asked in fits.bounds(spec, offer, limits, here.frozen(offer.unit, now), here.pue_permille).items():
        room = booking.room(str(allocation.id), unit, limits.get(unit, booking.Policy()), ledger.balance)
        held = ledger.balance(booking.account(str(allocation.id), "held"), unit)
        if room is not None and asked > room + held:
            return reason("refuse.budget", unit=unit, asked=asked, available=room)
    return None


def check_data(spec: JobSpec, project: Project, *, now: int) -> None:
    """Binds the job's datasets to this place. Raises `job.refused` unless every rule passes."""
    for name in spec.datasets:
        decision = catalogue.bind(name, f"project:{project.id}", now=now)
        if decision.verdict is not eligibility.Verdict.PASS:
            raise _refused(reason("refuse.sovereignty", dataset=name, rule=decision.ground.rule))


def check_isolation(person: Person, *, now: int) -> None:
    """Without isolation only who runs the hub may submit. Raises `isolation.single-user`."""
    if this_hub().local.isolation == "none" and "operator" not in rights.roles_of(person, now=now):
        raise FabriqueError("isolation.single-user")


def reason_of(job: Job) -> Reason | None:
    return from_json(job.reason) if job.reason else None


def _refused(why: Reason) -> FabriqueError:
    return FabriqueError("job.refused", reason=why.as_json())


def reason_in(refusal: FabriqueError) -> Reason:
    """The reason that a `job.refused` carries."""
    why: dict[str, object] = dict(refusal.params["reason"])  # type: ignore[call-overload]
    return from_json(why)
