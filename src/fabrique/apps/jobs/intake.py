"""Jobs that came by an engine's own door (`sbatch`): rows for them, kept up with what the engine shows.

They are decided on like any other. A job whose account nobody here knows gets no row: it is a stray, told why where it
waits, and quarantined with its record when it ran.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from django.db import transaction

from fabrique.apps.access.models import Allocation, Project
from fabrique.apps.jobs import services, specs
from fabrique.apps.jobs.models import FINAL, Job
from fabrique.apps.people.models import Person
from fabrique.core.errors import FabriqueError
from fabrique.core.job import JobSpec, JobState
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
    for one in came:
        project = projects.get(one.handle)
        if project is None:
            taken[one.handle] = reason("quarantine.account", account=one.account)
            continue
        allocation, why = _allocation(one.spec, project, now=now)
        if allocation is None:
            taken[one.handle] = why or reason("quarantine.allocation", project=project.code)
            continue
        taken[one.handle] = Job.objects.create(
            project=project,
            allocation=allocation,
            submitter=persons.get(one.login),
            door=one.engine,
            outside_id=one.outside_id,
            handle=one.handle,
            login=one.login,
            name=one.spec.name,
            spec=specs.to_json(one.spec),
            script="",
            reason={} if why is None else why.as_json(),
            submitted_ms=one.submitted_ms,
            changed_ms=now,
        )
    return taken


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
    spec = specs.to_json(came.spec)
    again = Job.objects.filter(pk=job.pk, status=JobState.FAILED.value, reason__code=REQUEUED_AFTER)
    again.update(status=JobState.PENDING.value, reason={})
    changed = Job.objects.filter(pk=job.pk).exclude(status__in=FINAL)
    changed.update(handle=came.handle, name=came.spec.name, spec=spec, changed_ms=now)
    job.handle, job.name, job.spec = came.handle, came.spec.name, spec


def waiting(engine: str) -> Iterator[Job]:
    """Those that came by this door and wait."""
    rows = Job.objects.filter(door=engine, status=JobState.PENDING.value)
    yield from rows.select_related("project", "allocation").order_by("number")


def cancelled(engine: str, *, since_ms: int) -> set[str]:
    """Handles of those that a member cancelled here while they waited there."""
    rows = Job.objects.filter(door=engine, status=JobState.CANCELLED.value, cancel_ms__gte=since_ms)
    return set(rows.values_list("handle", flat=True))


@transaction.atomic
def close(job: Job, status: JobState, why: Reason, *, now: int) -> None:
    """A job that went from the queue before it ever ran."""
    waits = Job.objects.filter(pk=job.pk, status=JobState.PENDING.value)
    waits.update(status=status.value, reason=why.as_json(), forecast={}, changed_ms=now)
