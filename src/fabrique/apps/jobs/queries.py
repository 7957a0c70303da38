"""What people ask about jobs: the queue, theirs, why and when. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.db.models import QuerySet

from fabrique.apps.jobs.models import FINAL, Job, Run
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
        ends = run.started_ms + int(job.spec["walltime_ms"])
    return Explanation(job, reason_of(job), starts, run, ends)


def queue() -> QuerySet[Job]:
    """Everything that is not over, oldest first."""
    return Job.objects.exclude(status__in=FINAL).select_related("project", "allocation").order_by("number")


def jobs_of(person: Person) -> QuerySet[Job]:
    """The jobs of all projects of the person, newest first."""
    mine = Job.objects.filter(project__members__person=person, project__members__until_ms__isnull=True)
    return mine.select_related("project").distinct()
