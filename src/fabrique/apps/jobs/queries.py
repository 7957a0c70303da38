"""What people ask about jobs: the queue, theirs, why and when. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.db.models import Count, F, Min, QuerySet
from django.db.models.fields.json import KT

from fabrique.apps.jobs.models import FINAL, EngineRecord, Intent, Job, Run
from fabrique.apps.jobs.services import reason_of
from fabrique.apps.people.models import Person
from fabrique.core.job import JobState
from fabrique.core.reasons import Reason


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a job stands, and why. `starts` is the interval of its start while it waits, None if not known;
    `ends_by_ms` the latest end of a running one.
    """

    job: Job
    reason: Reason | None
    starts: tuple[int, int] | None
    run: Run | None
    ends_by_ms: int | None

    @property
    def over(self) -> bool:
        return self.job.status in FINAL

    @property
    def charged(self) -> Mapping[str, str]:
        return self.run.charged if self.run else {}


def explain(job: Job, *, now: int) -> Explanation:
    run = job.runs.order_by("-attempt").first()
    starts = None
    if job.status == JobState.PENDING.value and "to_ms" in job.forecast:
        starts = (now, max(int(job.forecast["to_ms"]), now))
    ends = None
    if run is not None and run.started_ms is not None and run.ended_ms is None:
        ends = run.started_ms + run.walltime_ms
    return Explanation(job, reason_of(job), starts, run, ends)


def queue() -> QuerySet[Job]:
    """Everything that is not over, oldest first."""
    return Job.objects.exclude(status__in=FINAL).select_related("project", "allocation").order_by("number")


def jobs_of(person: Person) -> QuerySet[Job]:
    """The jobs of all projects of the person, newest first."""
    mine = Job.objects.filter(project__members__person=person, project__members__until_ms__isnull=True)
    return mine.select_related("project").distinct()


# --- counts: of jobs, never whose they are ------------------------------------------------------------------------


def alive_by_pool() -> dict[tuple[str, str], int]:
    """(state, pool) -> jobs that are not over."""
    alive = Job.objects.exclude(status__in=FINAL).order_by()
    rows = alive.values_list("status", "allocation__pool").annotate(n=Count("pk"))
    return {(status, pool): n for status, pool, n in rows}


def waiting_by_reason() -> dict[tuple[str, str, str], int]:
    """(code of the reason, partition it names, pool) -> jobs that wait; "" where there is none."""
    waiting = Job.objects.filter(status=JobState.PENDING.value).order_by()
    told = waiting.values(code=KT("reason__code"), partition=KT("reason__partition"), pool=F("allocation__pool"))
    return {(r["code"] or "", r["partition"] or "", r["pool"]): r["n"] for r in told.annotate(n=Count("pk"))}


def longest_waiting() -> int | None:
    """When the job that waits longest was submitted."""
    waiting = Job.objects.filter(status=JobState.PENDING.value)
    first: int | None = waiting.aggregate(first=Min("submitted_ms"))["first"]
    return first


def over_by_state() -> dict[str, int]:
    """State -> jobs that are over, ever."""
    over = Job.objects.filter(status__in=FINAL).order_by()
    return dict(over.values_list("status").annotate(n=Count("pk")))


def records_by_state() -> dict[tuple[str, str], int]:
    """(engine, state) -> what engines' accounting told of runs: open, booked, quarantined."""
    rows = EngineRecord.objects.order_by().values_list("engine", "state").annotate(n=Count("pk"))
    return {(engine, state): n for engine, state, n in rows}


def quarantined_by_reason() -> dict[tuple[str, str], int]:
    """(engine, code of the reason) -> records in quarantine, and those that run by the accounting's word alone."""
    rows = EngineRecord.objects.exclude(reason={}).order_by().values_list("engine", KT("reason__code"))
    return {(engine, code): n for engine, code, n in rows.annotate(n=Count("pk"))}


def unresolved_by_act() -> dict[str, int]:
    """Act -> intents that no engine has confirmed yet."""
    return dict(Intent.objects.filter(resolved_ms__isnull=True).order_by().values_list("act").annotate(n=Count("pk")))
