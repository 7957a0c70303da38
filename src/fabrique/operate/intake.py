"""Intake: what came by a cluster's own door since the last turn, made into jobs of the hub.

A waiting job becomes a pending one. One that runs already (interactive, or let through while the hub was silent) is
admitted after the fact: held, counted and charged like any other. One that left the queue before it ran is closed.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, runtime_checkable

from fabrique.apps.access.models import Project
from fabrique.apps.jobs import admission, intake, specs
from fabrique.apps.jobs.intake import Came
from fabrique.apps.jobs.models import Job, Run
from fabrique.apps.this_hub import ThisHub
from fabrique.core.clock import has_passed
from fabrique.core.job import JobSpec, JobState
from fabrique.core.reasons import Reason, reason
from fabrique.definitions.cluster import Cluster
from fabrique.engines.protocol import Observation
from fabrique.engines.slurm.files.render import HELD, LET_GO
from fabrique.engines.slurm.model import QueuedJob, handle_of
from fabrique.operate import decide
from fabrique.operate.at_the_door import TASKS_AT_ONCE, came_of, partition_of
from fabrique.operate.books import Books

log = logging.getLogger("fabrique.loop")

PATIENCE_MS: Final = 10_000  # a released job that Slurm keeps for a reason of its own, such as a limit of its user
BACK_OFF_MS, LONGEST_MS = 60_000, 86_400_000  # is taken back, and tried again after so long, twice as long each time
STRAYS_MS: Final = 60_000  # whose a stranger's job is, is asked again so often
# What a released job may wait for in Slurm, and holds its place in the plan: there is room by our count.
_ITS_TURN: Final = frozenset(
    "Resources Priority Licenses BeginTime JobArrayTaskLimit Cleaning Prolog JobHeldUser JobHeldAdmin".split()
)
ProjectOf = Callable[[str, str, str], Project | None]  # of (engine, account, qos)


@runtime_checkable
class Door(Protocol):
    """An engine where people submit round us too."""

    def arrivals(self) -> Sequence[QueuedJob]: ...
    def ours(self) -> Sequence[QueuedJob]: ...
    def observe(self, intents: Sequence[str]) -> list[Observation]: ...
    def put(self, reasons: Mapping[str, str]) -> None: ...
    def release(self, intents: Sequence[str], *, early: bool = False) -> None: ...
    def rank(self, intents: Sequence[str]) -> None: ...
    def hold(self, intents: Sequence[str]) -> None: ...
    def cancel(self, intent: str, grace_ms: int) -> None: ...


@dataclass(slots=True)
class Taken:
    """One look at a door: how many are new, who has no row and why, what runs there without a run here."""

    new: int = 0
    strays: dict[str, Reason] = field(default_factory=dict)
    running: list[tuple[Job, Came]] = field(default_factory=list)
    loose: list[str] = field(default_factory=list)  # handles that wait and nobody holds: a requeue's
    held: list[str] = field(default_factory=list)  # handles that have a run here, and are held there
    changed: set[str] = field(default_factory=set)  # that have a run here, and ask for more than it was given
    waiting: frozenset[str] = frozenset()
    others: list[QueuedJob] = field(default_factory=list)  # that run and have no row here


class Intake:
    """Kept between turns, so that what is known already costs no question to the database."""

    def __init__(self, here: ThisHub, cluster: Cluster, project_of: ProjectOf) -> None:
        self.here, self.cluster, self.project_of = here, cluster, project_of
        self._rows: dict[str, Job] = {}  # handle -> its row, as it was last looked at
        self._specs: dict[str, JobSpec] = {}
        self._accounts: dict[str, tuple[str, str]] = {}  # handle -> the account and QoS by which its row was looked at
        self._moving: dict[str, tuple[Came, Project | None]] = {}  # as soon as they were taken back
        self._strays: dict[str, Reason] = {}
        self._strays_at = 0
        self._stuck: dict[str, int] = {}  # handle -> since when Slurm keeps it, though it was released
        # handle -> until when it is not tried again, how often it was, and why by Slurm's word
        self._barred: dict[str, tuple[int, int, str]] = {}
        self._together: dict[int, int] = {}  # array -> how many of its tasks may run at once
        self._own: set[str] = set()  # intents at the engine that have a run here

    def look(self, door: Door, runs: Sequence[Run], *, now: int) -> Taken:
        """Raises what the engine raises."""
        ours = {job.name: job for job in door.ours()}
        shown = self._bounded([*door.arrivals(), *self._orphans(ours)], {run.handle for run in runs})
        apart = Counter(job.array_id for job in shown if job.array_task is not None)
        came = {c.handle: c for job in shown for c in came_of(self.cluster, job, now, apart[job.array_id])}
        counted = {run.handle: run for run in runs}
        self._bar(shown, came, counted, now=now)
        taken = Taken()
        self._rows = {h: row for h, row in self._rows.items() if h in came}
        self._specs = {h: spec for h, spec in self._specs.items() if h in came}
        self._accounts = {h: name for h, name in self._accounts.items() if h in came}
        if has_passed(self._strays_at, STRAYS_MS, now=now):  # an account may be known by now
            self._strays_at = now
            self._strays = {h: why for h, why in self._strays.items() if h in self._accounts}
        self._strays = {h: why for h, why in self._strays.items() if h in came}
        self._meet([c for h, c in came.items() if h not in self._rows and h not in self._strays], taken, now=now)
        self._follow(came, counted, taken, now=now)
        taken.strays = {**self._strays, **self._elsewhere(shown)}
        for handle, row in self._rows.items():
            one = intake.as_asked(came[handle], row, counted.get(handle))
            before = self._specs.get(handle) or specs.needs(row)
            if one.started_ms is None and before != one.spec:
                intake.renew(row, one, now=now)  # its user changed what it asks for
                if handle in counted and _asks_more(before, one.spec):
                    taken.changed.add(handle)
            if handle not in taken.changed:  # until it is taken back, what it was admitted with is what counts
                self._specs[handle] = one.spec
            if one.started_ms is not None and handle not in counted:
                taken.running.append((row, one))
            elif one.started_ms is None and one.held and handle in counted:
                if handle not in taken.changed and _waits_for_us(one.spec) and handle not in self._stuck:
                    taken.held.append(handle)
            elif one.started_ms is None and not one.held and handle not in counted and one.spec.awaits != "array":
                taken.loose.append(handle)
        # one that we submitted, and that its owner held for a while: at the door it is as if it had come by it
        taken.held += [name for name in self._own & ours.keys() if ours[name].held and ours[name].comment == LET_GO]
        runs_there = (job for job in shown if job.state in ("RUNNING", "SUSPENDED"))
        taken.others = [job for job in runs_there if job.handle not in self._rows]
        taken.waiting = frozenset(h for h, c in came.items() if c.started_ms is None)
        self._farewell(door, came, now=now)
        return taken

    def _elsewhere(self, shown: Sequence[QueuedJob]) -> dict[str, Reason]:
        """Jobs that our door held, and that somebody moved out of what the hub serves: nobody releases them."""
        ours = (job for job in shown if job.held and job.admin_comment == HELD)
        away = (job for job in ours if partition_of(self.cluster, job.partition) is None)
        return {job.handle: reason("quarantine.partition", partition=job.partition) for job in away}

    def _bounded(self, shown: Sequence[QueuedJob], counted: Collection[str]) -> list[QueuedJob]:
        """Arrays with how many of their tasks may run together. squeue leaves that out as long as tasks that wait are
        split from the array, as those are that the hub released: then what it said before holds.
        """
        said, self._together = self._together, {}
        found = []
        for job in shown:
            most, tasks = job.tasks_at_once, job.task_ids[:TASKS_AT_ONCE]
            if tasks and not most and job.array_id in said and any(handle_of(job, task) in counted for task in tasks):
                most = said[job.array_id]
                job = replace(job, tasks_at_once=most)
            if most and job.array_id is not None:
                self._together[job.array_id] = most
            found.append(job)
        return found

    def decided_anew(self, handles: Iterable[str], *, now: int) -> None:
        """They were taken back: what they ask for now, from whom, is what they are admitted with next."""
        for handle in handles:
            self._specs.pop(handle, None)
            if handle in self._moving:
                self._move(*self._moving[handle], now=now)

    def _orphans(self, ours: Mapping[str, QueuedJob]) -> list[QueuedJob]:
        """Jobs that we submitted and know nothing of any more, after a restore: from now on they came by the door."""
        self._own &= ours.keys()
        unsure = ours.keys() - self._own
        if unsure:
            self._own |= intake.own_runs(unsure)
        return [job for name, job in ours.items() if name not in self._own]

    def _meet(self, strangers: Sequence[Came], taken: Taken, *, now: int) -> None:
        """Rows for those that nobody here has met, the next attempt of those that were."""
        rows = intake.known(self.cluster.engine, (c.outside_id for c in strangers))
        new = []
        for one in strangers:
            row = rows.get(one.outside_id)
            if row is None or intake.is_another(row, one):
                new.append(one)
                continue
            if row.handle != one.handle:
                intake.renew(row, one, now=now)
            self._rows[one.handle] = row
        new.sort(key=lambda c: (c.submitted_ms, _natural(c.outside_id)))  # in the order in which they came
        projects = self._projects(new)
        for handle, made in intake.take_in(new, projects, now=now).items():
            if isinstance(made, Job):
                self._rows[handle] = made
                taken.new += 1
            else:
                self._strays[handle] = made

    def _bar(self, shown: Sequence[QueuedJob], came: dict[str, Came], counted: Collection[str], *, now: int) -> None:
        """What Slurm would not start though it may is put off in `came`: it takes no room from others meanwhile."""
        kept = {handle_of(job): job.reason for job in shown if job.state == "PENDING" and _is_kept(job)}
        self._stuck = {h: self._stuck.get(h, now) for h in kept if h in counted}
        self._barred = {h: found for h, found in self._barred.items() if h in came}
        for handle, since in self._stuck.items():
            if now - since >= PATIENCE_MS and handle in came:
                _, times, _ = self._barred.get(handle, (0, 0, ""))
                again = now + min(BACK_OFF_MS << min(times, 20), LONGEST_MS)
                self._barred[handle] = again, times + 1, kept[handle]
        for handle, (until, _, why) in self._barred.items():
            one = came[handle]
            if now < until and one.started_ms is None and _waits_for_us(one.spec):
                came[handle] = replace(
                    one, spec=replace(one.spec, awaits="cluster", awaits_why=why, not_before_ms=until)
                )

    def _follow(self, came: Mapping[str, Came], counted: Collection[str], taken: Taken, *, now: int) -> None:
        """Whoever moved a job to another account pays from that one; one that was released is taken back first."""
        waits = [came[h] for h in self._rows if came[h].started_ms is None]
        moved = [c for c in waits if self._accounts.get(c.handle) != (c.account, c.qos)]
        projects = self._projects(moved)
        self._moving = {}
        for one in moved:
            row, project = self._rows[one.handle], projects.get(one.handle)
            if project is not None and project.pk == row.project_id:
                self._accounts[one.handle] = one.account, one.qos
            elif one.handle in counted:
                taken.changed.add(one.handle)
                self._moving[one.handle] = one, project
            else:
                self._move(one, project, now=now)

    def _move(self, one: Came, project: Project | None, *, now: int) -> None:
        self._accounts[one.handle] = one.account, one.qos
        why = intake.move(self._rows[one.handle], one, project, now=now)
        if why is not None:
            self._strays[one.handle] = why
            del self._rows[one.handle]

    def _projects(self, came: Iterable[Came]) -> dict[str, Project]:
        by_name: dict[tuple[str, str], Project | None] = {}
        for one in came:
            name = (one.account, one.qos)
            if name not in by_name:
                by_name[name] = self.project_of(self.cluster.engine, *name)
        found = ((c.handle, by_name[c.account, c.qos]) for c in came)
        return {handle: project for handle, project in found if project is not None}

    def _farewell(self, door: Door, came: Mapping[str, Came], *, now: int) -> None:
        """Those that waited and are not shown any more: somebody cancelled them, or they came and went unseen."""
        gone = intake.gone(self.cluster.engine, came)
        for job, seen in zip(gone, door.observe([job.handle for job in gone]), strict=True) if gone else ():
            if seen.state == "ended" and seen.started_ms is None:
                intake.close(job, JobState.CANCELLED, reason("end.cancelled-there"), now=now)
            elif seen.state == "lost" and seen.started_ms is None:
                intake.close(job, JobState.LOST, reason("end.lost", last_seen=None), now=now)


def admit_running(here: ThisHub, job: Job, came: Came, epoch: int, *, now: int) -> bool:
    """The hold and the run of a job that started at the door; what its budget does not cover is overrun."""
    books = Books(here, now)
    ask = decide.asked(here, [job], books)[0]
    offers = ask.offers or tuple(o for o in here.offers if o.partition == ask.spec.partition)
    sort = [o for o in offers if (o.device == "core") == (ask.spec.milli_devices == 0)]
    if not sort:
        log.warning("job %s runs on %s, which the hub does not serve", job.number, ask.spec.partition)
        return False
    placement = decide.place(here, ask, sort[0], {"cores": [], "devices": []}, books)
    why = reason("place.own-door", engine=came.engine)
    return admission.admit_running(job, placement, came.started_ms or now, why, epoch, now=now) is not None


def _put_off_by(spec: JobSpec) -> tuple[str | None, int | None]:
    return spec.awaits, spec.not_before_ms


def _waits_for_us(spec: JobSpec) -> bool:
    """For nobody else, and for no instant."""
    return _put_off_by(spec) == (None, None)


def _is_kept(job: QueuedJob) -> bool:
    """What no node can ever run, Slurm holds itself: let go again, it would be held again, turn after turn."""
    return bool(job.reason) and job.reason.split(",")[0] not in _ITS_TURN and not job.dependency


def _asks_more(before: JobSpec, now: JobSpec) -> bool:
    """Than its hold, its watts and its place in the plan were for."""
    sizes = ("milli_devices", "nodes", "cores", "walltime_ms")
    grown = any(getattr(now, name) > getattr(before, name) for name in sizes)
    grown = grown or (now.memory_mb or 0) > (before.memory_mb or 0) or now.partition != before.partition
    return grown or (not _waits_for_us(now) and _put_off_by(now) != _put_off_by(before))


def _natural(outside_id: str) -> tuple[int, int]:
    job, _, task = outside_id.partition("_")
    return int(job), int(task or 0)


def shown(reasons: Mapping[str, Reason], say: Callable[[Reason], str]) -> dict[str, str]:
    """By handle, the sentence that stands where the queue shows it; thousands of jobs share a few dozen."""
    sentences: dict[str, str] = {}
    found = {}
    for handle, why in reasons.items():
        key = repr(sorted(why.as_json().items(), key=str))
        if key not in sentences:
            sentences[key] = say(why)
        found[handle] = sentences[key]
    return found
