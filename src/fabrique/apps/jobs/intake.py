"""Jobs that came by an engine's own door (`sbatch`): rows for them, kept up with what the engine shows.

They are decided on like any other. A job whose account nobody here knows gets no row: it is a stray, told why where it
waits, and quarantined with its record when it ran.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import transaction

from fabrique.apps.access.models import Allocation, Project
from fabrique.apps.jobs import services, specs
from fabrique.apps.jobs.models import FINAL, Job, Run
from fabrique.apps.people.models import Person
from fabrique.core.errors import FabriqueError
from fabrique.core.job import JobSpec, JobState, whole_minutes
from fabrique.core.reasons import Reason, reason

REQUEUED_AFTER = "end.node-failed"
_AT_ONCE = 500  # names in one question to the database


@dataclass(frozen=True, slots=True, kw_only=True)
class Came:
    """What an engine shows of a job that we did not submit. `outside_id` is its own name there, the same through every
    requeue; `handle` names this attempt. `held`: it waits for our word. `started_ms` None: it waits.
    """

    engine: str
    outside_id: str
    handle: str
    login: str
    account: str
    qos: str
    submitted_ms: int
    spec: JobSpec
    held: bool
    started_ms: int | None = None


def known(engine: str, outside_ids: Iterable[str]) -> dict[str, Job]:
    """The latest row of each of these jobs of `engine`."""
    found: dict[str, Job] = {}
    ids = sorted(set(outside_ids))
    for i in range(0, len(ids), _AT_ONCE):
        rows = Job.objects.filter(door=engine, outside_id__in=ids[i : i + _AT_ONCE])
        found |= {job.outside_id: job for job in rows.select_related("project", "allocation").order_by("number")}
    return found


def own_runs(intents: Iterable[str]) -> set[str]:
    """Those of our intents of which there is a run here."""
    by_id = {found: intent for intent in intents if (found := run_of(intent)) is not None}
    ids, known = list(by_id), set[uuid.UUID]()
    for i in range(0, len(ids), _AT_ONCE):
        known.update(Run.objects.filter(pk__in=ids[i : i + _AT_ONCE]).values_list("pk", flat=True))
    return {by_id[pk] for pk in known}


def run_of(intent: str) -> uuid.UUID | None:
    """The run that an intent of ours names; None where it names none."""
    try:
        return uuid.UUID(hex=intent.removeprefix("run-"))
    except ValueError:
        return None


def is_another(job: Job, came: Came) -> bool:
    """Whether `came` is a new job under the same name: the row is closed, and this was submitted later.

    A node's death closes a row too, and Slurm may put the job back in the queue: that is the same job.
    """
    closed = job.status in FINAL and job.reason.get("code") != REQUEUED_AFTER
    return closed and came.submitted_ms > job.submitted_ms and came.handle != job.handle


@transaction.atomic
def take_in(came: Sequence[Came], projects: Mapping[str, Project], *, now: int) -> dict[str, Job | Reason]:
    """By handle, the new row, or why there can be none. `projects` are those of the handles whose account is known."""
    taken: dict[str, Job | Reason] = {}
    persons = {p.login: p for p in Person.objects.filter(login__in={c.login for c in came}, is_active=True)}
    payers: dict[tuple[Project, JobSpec], tuple[Allocation | None, Reason | None]] = {}  # most ask for the same
    new = []
    for one in came:
        project = projects.get(one.handle)
        if project is None:
            taken[one.handle] = reason("quarantine.account", account=one.account)
            continue
        alike = project, replace(one.spec, name="")
        if alike not in payers:
            payers[alike] = _allocation(one.spec, project, now=now)
        allocation, why = payers[alike]
        if allocation is None:
            taken[one.handle] = why or reason("quarantine.allocation", project=project.code)
            continue
        new.append(_row(one, project, allocation, persons.get(one.login), why, now=now))
    return taken | {job.handle: job for job in Job.objects.bulk_create(new)}


def _row(
    came: Came, project: Project, allocation: Allocation, submitter: Person | None, why: Reason | None, *, now: int
) -> Job:
    return Job(
        project=project,
        allocation=allocation,
        submitter=submitter,
        door=came.engine,
        outside_id=came.outside_id,
        handle=came.handle,
        login=came.login,
        name=came.spec.name,
        spec=specs.to_json(came.spec),
        script="",
        reason={} if why is None else why.as_json(),
        submitted_ms=came.submitted_ms,
        changed_ms=now,
    )


def _allocation(spec: JobSpec, project: Project, *, now: int) -> tuple[Allocation | None, Reason | None]:
    """Who pays; where nobody can as things stand, the one that would, and why it can't: things may change."""
    try:
        return services.choose(spec, project, now=now).allocation, None
    except FabriqueError as error:
        if error.code != "job.refused":
            raise
        why = services.reason_in(error)
    last = Allocation.objects.filter(project=project).order_by("state", "ends_ms", "id").last()
    return last, why


@transaction.atomic
def renew(job: Job, came: Came, *, now: int) -> None:
    """The job's next attempt at the engine, after a requeue, or what its user changed of it there."""
    came = as_asked(came, job, job.runs.order_by("-attempt").first())
    spec = specs.to_json(came.spec)
    again = Job.objects.filter(pk=job.pk, status=JobState.FAILED.value, reason__code=REQUEUED_AFTER)
    again.update(status=JobState.PENDING.value, reason={})
    changed = Job.objects.filter(pk=job.pk).exclude(status__in=FINAL)
    changed.update(handle=came.handle, name=came.spec.name, spec=spec, changed_ms=now)
    job.handle, job.name, job.spec = came.handle, came.spec.name, spec


def as_asked(came: Came, job: Job, run: Run | None) -> Came:
    """With its user's own time limit, where the one that stands there is the hub's, for `run` at a lower level."""
    if run is None or run.level is None or came.spec.walltime_ms != whole_minutes(run.walltime_ms):
        return came
    return replace(came, spec=replace(came.spec, walltime_ms=int(job.spec["walltime_ms"])))


@transaction.atomic
def move(job: Job, came: Came, project: Project | None, *, now: int) -> Reason | None:
    """The job waits in another account at the engine: its project pays from now on. Where nobody can, it is closed here
    and the reason answered: it is a stray.
    """
    allocation, why = (None, None) if project is None else _allocation(came.spec, project, now=now)
    if project is None or allocation is None:
        whose = reason("quarantine.account", account=came.account)
        why = why or (whose if project is None else reason("quarantine.allocation", project=project.code))
        close(job, JobState.CANCELLED, why, now=now)
        return why
    told = {} if why is None else why.as_json()
    waits = Job.objects.filter(pk=job.pk, status=JobState.PENDING.value)
    if waits.update(project=project, allocation=allocation, reason=told, forecast={}, changed_ms=now):
        job.project, job.allocation = project, allocation
    return None


def gone(engine: str, handles: Collection[str]) -> list[Job]:
    """Those that came by this door and wait, and are not among `handles`."""
    waits = Job.objects.filter(door=engine, status=JobState.PENDING.value)
    missing = [number for number, handle in waits.values_list("number", "handle") if handle not in handles]
    return list(Job.objects.filter(number__in=missing).select_related("project", "allocation").order_by("number"))


def reasons(engine: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """By handle, in the order in which they came, why those wait that came by this door; none of those that nobody has
    decided on yet. Of an array's tasks the first one's reason is what its queue shows of all.
    """
    rows = Job.objects.filter(door=engine, status=JobState.PENDING.value).exclude(reason={}).order_by("number")
    yield from rows.values_list("handle", "reason")


def cancelled(engine: str, *, since_ms: int) -> set[str]:
    """Handles of those that a member cancelled here while they waited there."""
    rows = Job.objects.filter(door=engine, status=JobState.CANCELLED.value, cancel_ms__gte=since_ms)
    return set(rows.values_list("handle", flat=True))


@transaction.atomic
def close(job: Job, status: JobState, why: Reason, *, now: int) -> None:
    """A job that went from the queue before it ever ran."""
    waits = Job.objects.filter(pk=job.pk, status=JobState.PENDING.value)
    waits.update(status=status.value, reason=why.as_json(), forecast={}, changed_ms=now)
