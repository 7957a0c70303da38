"""The queue as one person may see it: every job of theirs, then the others that they may know, the rest as counts.

Who may know whose job it is says the table of rights. Reads only, with a number of queries that does not grow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from fabrique.apps.access import queries as access
from fabrique.apps.jobs.models import Job, Run, RunState
from fabrique.apps.jobs.queries import queue
from fabrique.apps.jobs.services import reason_of
from fabrique.apps.people import rights
from fabrique.apps.people.models import Person
from fabrique.core.job import JobState
from fabrique.core.reasons import Reason

RUNNING = "running"
UNSEEN = ""  # the reason's code of a job that no cycle has looked at


@dataclass(frozen=True, slots=True)
class Queued:
    """A job that is not over. `place` counts those that wait from 1, in the order of their forecast starts.

    `since_ms`: its start once it runs, else when it was submitted. `starts` is the interval of its start while it waits
    and that is known, `ends_by_ms` the latest end of one that runs.
    """

    job: Job
    reason: Reason | None
    mine: bool
    place: int | None
    since_ms: int
    starts: tuple[int, int] | None
    run: Run | None
    ends_by_ms: int | None

    @property
    def waits(self) -> bool:
        return self.job.status == JobState.PENDING.value

    @property
    def group(self) -> str:
        """The code of the reason for which it waits; of any other job its state."""
        if not self.waits:
            return self.job.status
        return self.reason.code if self.reason else UNSEEN


@dataclass(frozen=True, slots=True)
class Counted:
    """Jobs of people who are not the asker's concern: how many of them, of which pool, asking for what."""

    group: str
    waits: bool
    pool: str
    device: str  # accelerator or core
    kinds: tuple[str, ...]  # any of these; any at all when empty
    jobs: int


@dataclass(frozen=True, slots=True)
class Queue:
    """`jobs`: those the person may know, theirs first; `others`: the rest. `groups`: (waits, group) -> all jobs."""

    jobs: Sequence[Queued]
    others: Sequence[Counted]
    groups: Mapping[tuple[bool, str], int]

    @property
    def waiting(self) -> int:
        return sum(n for (waits, _), n in self.groups.items() if waits)

    @property
    def started(self) -> int:
        """Those that were admitted: starting, running or ending."""
        return sum(n for (waits, _), n in self.groups.items() if not waits)


def queue_for(person: Person, *, now: int) -> Queue:
    """The whole queue at `now`, as `person` may see it."""
    found = _queued(_mine(person, now), now)
    every = rights.may(person, "job.view", now=now).allowed
    own = rights.may(person, "job.view", now=now, relations=frozenset({rights.MEMBER})).allowed
    seen = [q for q in found if every or (q.mine and own)]
    told = {q.job.pk for q in seen}
    return Queue(
        jobs=sorted(seen, key=_order),
        others=_counted(q for q in found if q.job.pk not in told),
        groups=Counter((q.waits, q.group) for q in found),
    )


def _mine(person: Person, now: int) -> set[UUID]:
    return set(access.projects_of(person, now=now).values_list("pk", flat=True))


def _queued(mine: set[UUID], now: int) -> list[Queued]:
    """A script may be large: it stays where it is."""
    jobs = list(queue().defer("script"))
    alive = Run.objects.filter(state__in=(RunState.PLANNED, RunState.RUNNING)).order_by("attempt")
    alive = alive.select_related("job").defer("job__script")
    runs = {run.job_id: run for run in alive}
    waiting = [job for job in jobs if job.status == JobState.PENDING.value]
    places = {job.pk: i for i, job in enumerate(sorted(waiting, key=_turn), 1)}
    return [_one(job, runs.get(job.pk), job.project_id in mine, places.get(job.pk), now) for job in jobs]


def _turn(job: Job) -> tuple[bool, int, int]:
    """What is forecast comes in its order, then what is not, the oldest first."""
    by = job.forecast.get("to_ms")
    return by is None, int(by or 0), job.number


def _one(job: Job, run: Run | None, mine: bool, place: int | None, now: int) -> Queued:
    by = job.forecast.get("to_ms") if place is not None else None
    started = run.started_ms if run is not None and place is None else None
    ends = None if run is None or started is None else started + run.walltime_ms
    return Queued(
        job=job,
        reason=reason_of(job),
        mine=mine,
        place=place,
        since_ms=job.submitted_ms if started is None else started,
        starts=None if by is None else (now, max(int(by), now)),
        run=run,
        ends_by_ms=ends,
    )


def _order(q: Queued) -> tuple[bool, bool, int, int]:
    """Theirs first; what runs before what waits, in its order."""
    return not q.mine, q.waits, q.place or 0, q.job.number


def _counted(rest: Iterable[Queued]) -> list[Counted]:
    counts = Counter((q.group, q.waits, q.job.allocation.pool, *_asked(q)) for q in rest)
    found = [Counted(*key, jobs=n) for key, n in counts.items()]
    return sorted(found, key=lambda c: (c.waits, -c.jobs, c.group, c.pool, c.kinds))


def _asked(q: Queued) -> tuple[str, tuple[str, ...]]:
    kinds = (q.run.kind,) if q.run is not None else tuple(q.job.spec["kinds"])
    return ("accelerator" if q.job.spec["milli_devices"] else "core"), kinds
