"""After a restore, on a cluster: runs that the lost database had, known again at the engine by their names.

A run's id follows from its job and its attempt. So for each job that waits here, the intents of its next attempts are
looked for in the queue, in the accounting and in the engine's folder; one that is found gets its row and its hold, and
is settled like any other. What else the cluster has, the loop takes in once it may act: what waits or runs by the
intake, what ended by the ingest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from fabrique.apps.jobs import admission, cycle
from fabrique.apps.jobs.admission import Start
from fabrique.apps.jobs.models import Job
from fabrique.apps.this_hub import ThisHub
from fabrique.core.admission import levels
from fabrique.core.admission.filter import Offer
from fabrique.core.admission.levels import Level
from fabrique.core.errors import FabriqueError
from fabrique.core.job import JobSpec, whole_minutes
from fabrique.core.reasons import reason
from fabrique.engines.slurm.engine import SlurmEngine
from fabrique.engines.slurm.model import OURS
from fabrique.operate import act, decide
from fabrique.operate.books import Books

ATTEMPTS: Final = 20  # of one job, after the last that is known
BEFORE_MS: Final = 3_600_000  # the accounting writes late, and clocks differ


There = Mapping[str, int | None]  # intents, with the time limit that stands there, in ms


def look(here: ThisHub, engine: SlurmEngine, gap_from_ms: int) -> There:
    """Every intent of ours that the cluster, its accounting since the gap, or the engine's folder knows.

    Raises what the engine raises: a hub that can't see what ran while it was away may not act.
    """
    for job in _waiting():
        place = act.account(here, job)
        try:
            login = act.job_user(here, job).login
        except FabriqueError:  # it never had a login: it never ran
            continue
        if place is not None:
            for _, intent in _next(job):
                engine.expect(intent, login, place[0])
    records, _ = engine.records(gap_from_ms - BEFORE_MS)
    found: dict[str, int | None] = dict.fromkeys(engine.list().intents)
    found |= {record.name: record.limit_ms for record in records}
    found |= {job.name: job.limit_ms for job in engine.ours()}
    return {name: limit for name, limit in found.items() if name.startswith(OURS)}


def readopt(here: ThisHub, there: There, *, now: int) -> dict[str, int]:
    """Rows for those of `there` that a waiting job can be given: the number of its job, by intent."""
    adopted = {}
    for job, attempt, intent in list(_candidates(there)):
        if _adopt(here, job, attempt, there[intent], now=now):
            adopted[intent] = job.number
    return adopted


def _candidates(there: Collection[str]) -> Iterator[tuple[Job, int, str]]:
    """Each waiting job with the last attempt of it that is there; the earlier ones have ended, and are booked later."""
    for job in _waiting():
        for attempt, intent in _next(job):
            if intent in there:
                yield job, attempt, intent
                break


def _waiting() -> list[Job]:
    return [job for job in cycle.pending_jobs() if not job.door]


def _next(job: Job) -> Iterator[tuple[int, str]]:
    """The attempts that may have followed, the last first, with their intents."""
    first = job.runs.count() + 1
    for attempt in range(first + ATTEMPTS - 1, first - 1, -1):
        yield attempt, f"{OURS}{admission.run_id(job, attempt).hex}"


def _adopt(here: ThisHub, job: Job, attempt: int, limit_ms: int | None, *, now: int) -> bool:
    """The row, the hold and the intent that the lost database had; False where no budget covers it."""
    books = Books(here, now)
    ask = decide.asked(here, [job], books)[0]
    if not ask.offers:
        return False
    offer = ask.offers[0]
    level = _level_at(ask.spec, offer, limit_ms)
    placement = decide.place(here, ask, offer, {"cores": [], "devices": []}, books, level)
    start = Start(job, placement, reason("place.only", partition=offer.partition))
    return admission.readmit(start, attempt, now=now) is not None


def _level_at(spec: JobSpec, offer: Offer, limit_ms: int | None) -> Level | None:
    """The power level that explains a time limit other than the one asked for."""
    if limit_ms is None or limit_ms == whole_minutes(spec.walltime_ms):
        return None
    found = levels.tolerated(spec, offer.levels)
    return next((x for x in found if whole_minutes(levels.at(spec, x).walltime_ms) == whole_minutes(limit_ms)), None)
