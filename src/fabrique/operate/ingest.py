"""Ingest: what really ran, by the accounting's word. Windows overlap and repeat; each run is booked once.

What the loop saw is compared, what it missed is taken in, what nobody can be charged for is quarantined and tried
again. Every batch is one transaction, with the watermark in the last: whatever is killed, the next look goes on from
what was booked.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final, Protocol, runtime_checkable

from django.db import OperationalError, transaction

from fabrique.apps.access.models import Project
from fabrique.apps.jobs import cycle, intake, records, recount
from fabrique.apps.jobs.models import FINAL, EngineRecord, Job, RecordState, Run
from fabrique.apps.jobs.records import LIVE, Shelf
from fabrique.apps.ledger import services as ledger
from fabrique.apps.this_hub import ThisHub
from fabrique.core.errors import FabriqueError
from fabrique.core.job import JobState
from fabrique.core.reasons import Reason, reason
from fabrique.definitions.cluster import Cluster
from fabrique.engines.slurm import ends
from fabrique.engines.slurm.model import OURS, THEIRS, QueuedJob, Record, Unread, handle_of
from fabrique.operate import decide
from fabrique.operate.accounted import came_of, may_be_alone, offer_of, told
from fabrique.operate.at_the_door import partition_of
from fabrique.operate.books import Books
from fabrique.operate.intake import ProjectOf
from fabrique.operate.options import Asked

log = logging.getLogger("fabrique.loop")

EVERY_MS: Final = 10_000
OVERLAP_MS: Final = 3_600_000  # slurmdbd writes late
DEEP_MS: Final = 72 * 3_600_000  # after it was away, as late as that
DEEP_EVERY_MS: Final = 6 * 3_600_000
SLICE_MS: Final = 6 * 3_600_000  # of one question to the accounting
MOST_SLICES: Final = 200
RUNAWAY_MS: Final = 3_600_000  # gone from the queue for so long while the accounting says it runs
_AT_ONCE: Final = 200  # records in one transaction
_RUNS: Final = ("RUNNING", "SUSPENDED")
_LONGEST_WHY: Final = 200


@runtime_checkable
class Accounting(Protocol):
    """An engine that keeps accounts of its own."""

    def records(self, since_ms: int, until_ms: int | None = None) -> tuple[Sequence[Record], Sequence[Unread]]: ...
    def detailed(self, jobs: Collection[int]) -> Sequence[Record]: ...
    def arrivals(self) -> Sequence[QueuedJob]: ...


class Ingest:
    """Kept between turns. `every_ms` apart, the accounting is asked again for what it may have written since."""

    def __init__(self, here: ThisHub, cluster: Cluster, project_of: ProjectOf, every_ms: int = EVERY_MS) -> None:
        self.here, self.cluster, self.project_of, self.every_ms = here, cluster, project_of, every_ms
        self._at: int | None = None
        self._deep_at: int | None = None
        self._projects: dict[tuple[str, str], Project | None] = {}
        self._missing: dict[str, int] = {}  # records that run, and since when the queue lacks them

    def turn(self, accounting: Accounting, epoch: int, *, now: int) -> bool:
        """A look when one is due, and whether it was. An accounting that does not answer delays it; the next look is
        then a deep one.
        """
        if self._at is not None and 0 <= now - self._at < self.every_ms:
            return False
        self._at = now
        deep = self._deep_at is None or not 0 <= now - self._deep_at < DEEP_EVERY_MS
        try:
            self.look(accounting, epoch, now=now, back_to=now - DEEP_MS if deep else None)
        except FabriqueError as error:
            if error.code == "lease.lost":
                raise
            log.warning("engine %s: its accounting is read later: %s", self.cluster.engine, error)
            self._deep_at = None
            return True
        if deep:
            self._deep_at = now
        return True

    def look(self, accounting: Accounting, epoch: int | None, *, now: int, back_to: int | None = None) -> Counter[str]:
        """Reads from the watermark less the overlap, or from `back_to` where that is earlier; counts what it did.

        `epoch` None: not the loop's own look. Raises what the engine raises; what was read until then stays booked.
        """
        engine = self.cluster.engine
        mark = records.read_up_to(engine)
        starts = [
            now - DEEP_MS if mark is None else min(mark, now) - OVERLAP_MS,
            back_to,
            records.unsettled_since(engine),
        ]
        start = min(s for s in starts if s is not None)
        done: Counter[str] = Counter()
        length = max(SLICE_MS, (now - start) // MOST_SLICES)
        while start < now:
            stop = start + length
            found, unread = accounting.records(start, stop if stop < now else None)
            reached = max(mark or 0, min(stop, now)) if mark is None or mark <= now else now
            done += self._take(accounting, found, unread, epoch, reached, now=now)
            self._runaways(found, accounting, now=now)
            start = stop
        return done

    # --- a batch ----------------------------------------------------------------------------------------------

    def _take(
        self,
        accounting: Accounting,
        found: Sequence[Record],
        unread: Sequence[Unread],
        epoch: int | None,
        reached: int,
        *,
        now: int,
    ) -> Counter[str]:
        """Oldest first: a job's attempts in their order."""
        engine, done = self.cluster.engine, Counter[str]()
        every = [*_parts(accounting, found), *found]
        in_order = sorted({r.key: r for r in every}.values(), key=lambda r: (r.submitted_ms, r.started_ms or 0, r.key))
        kept = records.known(engine, [r.key for r in in_order])
        fresh = [r for r in in_order if not _is_settled(kept.get(r.key), r)]
        moved = _moved(accounting, engine, [r for r in fresh if r.key not in kept], {r.key for r in in_order})
        todo: list[Record | Unread] = [*self._with_energy(accounting, fresh), *unread]
        self._projects.clear()
        for i in range(0, len(todo) or 1, _AT_ONCE):
            some = todo[i : i + _AT_ONCE]
            with ledger.batch("ingest", {"engine": engine}, now=now) as acts:
                if epoch is not None:
                    cycle.check_lease(epoch)
                keys = {_key(one) for one in some}
                records.rename(engine, {old: new for old, new in moved.items() if new in keys})
                handles = [one.handle for one in some if isinstance(one, Record)]
                shelf = Shelf(engine, [_key(one) for one in some], handles, now=now)
                for one in some:
                    done[self._apart(acts, shelf, one, now=now)] += 1
                shelf.write()
                if i + _AT_ONCE >= len(todo):
                    records.advance(engine, reached)
        return done

    def _with_energy(self, accounting: Accounting, fresh: Sequence[Record]) -> list[Record]:
        """What came is read with its steps where that may tell its own energy; asked once, outside any transaction."""
        over = [r for r in fresh if ends.has_ended(r) and not r.energy_mj and len(r.nodes) == 1]
        alone = [r for r in over if self.cluster.energy == "jobs" or may_be_alone(r, self.cluster)]
        try:
            details = {r.key: r for r in accounting.detailed({r.job_id for r in alone}) if r.energy_mj}
        except FabriqueError as error:
            log.warning("engine %s: energies are modelled: %s", self.cluster.engine, error)
            return list(fresh)
        both = [(r, details.get(r.key, r)) for r in fresh]
        return [replace(r, energy_mj=more.energy_mj, exclusive=more.exclusive) for r, more in both]

    def _apart(self, acts: ledger.Batch, shelf: Shelf, one: Record | Unread, *, now: int) -> str:
        """One that can't be booked is set aside with its reason, and stops no other."""
        found: str | Reason
        try:
            if isinstance(one, Unread):
                found = reason("quarantine.unreadable", why=one.why[:_LONGEST_WHY])
            else:
                found = self._one(acts, shelf, one, now=now)
        except OperationalError:
            raise
        except Exception as error:
            log.exception("record %s of %s can't be booked", _key(one), self.cluster.engine)
            found = reason("quarantine.unreadable", why=str(error)[:_LONGEST_WHY] or type(error).__name__)
        if isinstance(found, Reason):
            shelf.keep(_key(one), one.raw, RecordState.QUARANTINED, why=found)
            return "quarantined"
        return found

    # --- a record ---------------------------------------------------------------------------------------------

    def _one(self, acts: ledger.Batch, shelf: Shelf, r: Record, *, now: int) -> str | Reason:
        """What became of it: waits, open, booked, corrected, agreed; or why it is quarantined."""
        row = shelf.rows.get(r.key)
        if _is_settled(row, r):
            return "known"  # meanwhile, by another
        over = ends.has_ended(r)
        if not over and r.state == "PENDING":
            return "waits"
        if not over and r.state not in _RUNS:
            return reason("quarantine.unreadable", why=f"{r.state} without an end")
        if partition_of(self.cluster, r.partition) is None:
            return reason("quarantine.partition", partition=r.partition)
        handle = _handle(shelf, r)
        run, project = shelf.run(r.key, handle), self._project(r)
        if run is None and project is None:
            return reason("quarantine.account", account=r.account)
        if not over or (run is not None and run.state in LIVE):
            why = None if row is None or over else _runaway(row)
            shelf.keep(r.key, r.raw, RecordState.OPEN, run=run, why=why)
            return "open"
        if run is not None:
            return self._compare(acts, shelf, run, r, handle, now=now)
        if project is None or r.started_ms is None or not r.nodes:
            return self._never_ran(shelf, r, handle, now=now)
        return self._book(acts, shelf, project, r, handle, now=now)

    def _project(self, r: Record) -> Project | None:
        name = r.account, r.qos
        if name not in self._projects:
            self._projects[name] = self.project_of(self.cluster.engine, *name)
        return self._projects[name]

    def _compare(self, acts: ledger.Batch, shelf: Shelf, run: Run, r: Record, handle: str, *, now: int) -> str | Reason:
        said = told(self.here, self.cluster, r, handle)
        if isinstance(said, Reason):
            return said
        corrected = False
        if said.seen.started_ms is not None and recount.differs(run, said):
            with acts.apart():
                corrected = recount.correct(acts, run, said, now=now)
        shelf.keep(r.key, r.raw, RecordState.BOOKED, run=run)
        return "corrected" if corrected else "agreed"

    def _book(
        self, acts: ledger.Batch, shelf: Shelf, project: Project, r: Record, handle: str, *, now: int
    ) -> str | Reason:
        """It came and went between two looks, or while the hub was away."""
        said = told(self.here, self.cluster, r, handle)
        partition = partition_of(self.cluster, r.partition)
        if isinstance(said, Reason) or partition is None:
            return said if isinstance(said, Reason) else reason("quarantine.partition", partition=r.partition)
        offer = offer_of(self.here, r, partition)
        assert offer is not None  # noqa: S101 - `told` found it
        came = came_of(self.cluster, r, partition, handle)
        with acts.apart():
            job = self._job(came, project, same=r.is_rest, now=now)
            if isinstance(job, Reason):
                return job
            ask = Asked(job, came.spec, (offer,), None)
            bound: dict[str, object] = {"cores": [], "devices": [], "nodes": list(r.nodes)}
            placement = decide.place(self.here, ask, offer, bound, Books(self.here, r.started_ms or now))
            run = recount.book(acts, job, placement, said, now=now)
        shelf.keep(r.key, r.raw, RecordState.BOOKED, run=run)
        return "booked"

    def _job(self, came: intake.Came, project: Project, *, same: bool, now: int) -> Job | Reason:
        """The row of its job: a new one, or the one of its other attempts, whose last this may be. `same`: it is known
        to be of the last of that id.
        """
        job = intake.known(self.cluster.engine, [came.outside_id]).get(came.outside_id)
        if job is None or (not same and intake.is_another(job, came)):
            return intake.take_in([came], {came.handle: project}, now=now)[came.handle]
        if job.handle != came.handle and _submitted(job.handle) < came.submitted_ms // 1000 and not _lives(job):
            intake.renew(job, came, now=now)
        return job

    def _never_ran(self, shelf: Shelf, r: Record, handle: str, *, now: int) -> str:
        """It left the queue before it had a node: nothing to charge; the attempt before it was its last."""
        partition = partition_of(self.cluster, r.partition)
        if partition is not None and r.state == "CANCELLED":
            outside = came_of(self.cluster, r, partition, handle).outside_id
            job = intake.known(self.cluster.engine, [outside]).get(outside)
            waits = job is not None and job.status == JobState.PENDING.value
            if job is not None and waits and (job.handle == handle or job.runs.filter(handle=job.handle).exists()):
                intake.close(job, JobState.CANCELLED, reason("end.cancelled-there"), now=now)
        shelf.keep(r.key, r.raw, RecordState.BOOKED)
        return "never-ran"

    def _runaways(self, found: Sequence[Record], accounting: Accounting, *, now: int) -> None:
        """Those that run by the accounting's word alone are named; what the hub charged ended when they left."""
        running = {r.key: r for r in found if r.state in _RUNS and r.ended_ms is None and not r.name.startswith(OURS)}
        if not running:
            return
        try:
            queue = {job.job_id: job for job in accounting.arrivals()}
        except FabriqueError:
            return  # a queue that does not answer proves nothing
        shown = {handle_of(job) for job in queue.values()}
        gone = {}
        for key, r in running.items():
            there = queue.get(r.job_id)
            if r.handle in shown or (r.is_rest and there is not None and there.submitted_ms < r.submitted_ms):
                self._missing.pop(key, None)
            elif now - (since := self._missing.setdefault(key, now)) >= RUNAWAY_MS:
                gone[key] = since
        with transaction.atomic():
            shelf = Shelf(self.cluster.engine, list(gone), [], now=now)
            for key, since in gone.items():
                row = shelf.rows.get(key)
                if row is not None and row.state == RecordState.OPEN and not row.reason:
                    why = reason("quarantine.runaway", since=since)
                    shelf.keep(key, bytes(row.raw), RecordState.OPEN, run=row.run, why=why)
            shelf.write()


def _parts(accounting: Accounting, found: Sequence[Record]) -> Sequence[Record]:
    """What jobs that were resized ran before: it ended then, which may be long before the window."""
    return accounting.detailed({r.job_id for r in found if r.is_rest and ends.has_ended(r)})


def _moved(accounting: Accounting, engine: str, new: Sequence[Record], read: Collection[str]) -> dict[str, str]:
    """Records known by another start, by their old keys: while its nodes boot, a job has the instant when it was given
    them, and after that the one when they were there. The accounting then has the old one no more; of a requeue within
    the same second it has both.
    """
    if not new:
        return {}
    by_run = {_run(r.key): r for r in reversed(new) if r.started_ms is not None}
    there = {key: by_run[_run(key)] for key in records.open_keys(engine) if key not in read and _run(key) in by_run}
    still = {r.key for r in accounting.detailed({r.job_id for r in there.values()})} if there else set()
    return {key: r.key for key, r in there.items() if key not in still}


def _run(key: str) -> str:
    """A record's key but for its start."""
    return key.rpartition("/")[0]


def _key(one: Record | Unread) -> str:
    return one.key if isinstance(one, Record) else f"unread/{hashlib.sha256(one.raw).hexdigest()}"


def _handle(shelf: Shelf, r: Record) -> str:
    """Its handle; where another record has that, made its own by its start: a requeue within the same second."""
    if not shelf.is_another_s(r.key, r.handle):
        return r.handle
    plain = f"slurm-{r.job_id}-{r.submitted_ms // 1000}" if r.name.startswith(OURS) else r.handle
    return f"{plain}-{(r.started_ms or 0) // 1000}"


def _is_settled(row: EngineRecord | None, r: Record) -> bool:
    return row is not None and row.state == RecordState.BOOKED and bytes(row.raw) == r.raw


def _runaway(row: EngineRecord) -> Reason | None:
    return reason("quarantine.runaway", since=row.reason["since"]) if "since" in row.reason else None


def _submitted(handle: str) -> int:
    match = THEIRS.fullmatch(handle)
    return int(match[3]) if match else 0


def _lives(job: Job) -> bool:
    return job.status not in FINAL and job.runs.filter(state__in=LIVE).exists()
