"""What people bring to Slurm themselves, and what the hub does to it: hold, release in order, requeue, say why.

A handle is a run's intent, or `slurm-<id>-<submission>` for a job that came by Slurm's own door.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from fabrique.core.errors import FabriqueError
from fabrique.engines import records
from fabrique.engines.slurm import batch, folder, resized
from fabrique.engines.slurm.files.render import held_by_owner
from fabrique.engines.slurm.folder import Answering, Folder
from fabrique.engines.slurm.model import (
    OURS,
    THEIRS,
    Change,
    Denied,
    Node,
    QueuedJob,
    Record,
    Target,
    Transport,
    Unread,
    target_of,
)
from fabrique.engines.slurm.ranks import ranked
from fabrique.engines.slurm.sight import Sight

SHOWN: Final = "fabrique: "  # how what we write beside a job begins: anything else is its user's own
# Priorities, the least and the most, above what a site's own factors add up to: for now, and ahead of their turn.
NOW: Final = (3_000_000_000, 4_000_000_000)
EARLY: Final = (2_000_000_000, 2_999_999_999)
_MOST_SHOWN: Final = 300
_NONE: Final[Mapping[str, Mapping[str, int]]] = MappingProxyType({})
_MOST_AT_ONCE: Final = 500  # a millisecond and more each


class OwnDoor:
    """The part of the engine that sees all jobs, whoever submitted them."""

    root: Path

    def __init__(self, transport: Transport, sight: Sight) -> None:
        self.transport, self._sight = transport, sight
        self._last = NOW[1] + 1  # the priority that was given last

    def arrivals(self) -> Sequence[QueuedJob]:
        """Jobs that wait or run and that the hub did not submit, whatever they call themselves."""
        jobs, _ = self.queue()
        return [j for j in jobs if j.state in ("PENDING", "RUNNING", "SUSPENDED") and not j.name.startswith(OURS)]

    def ours(self) -> Sequence[QueuedJob]:
        """Jobs that wait or run and that the hub submitted."""
        jobs, _ = self.queue()
        return [j for j in jobs if j.state in ("PENDING", "RUNNING", "SUSPENDED") and j.name.startswith(OURS)]

    def queue(self) -> tuple[Sequence[QueuedJob], Sequence[Unread]]:
        """Every job of the last look; one that only pretends to be ours has a `?` before its name."""
        with Answering():
            look = self._sight.look()
        return look.all, look.unread

    def nodes(self) -> Sequence[Node]:
        with Answering():
            return self._sight.nodes()

    def records(self, since_ms: int, until_ms: int | None = None) -> tuple[Sequence[Record], Sequence[Unread]]:
        """What the accounting has that touches [since, until), runs that a requeue ended too."""
        with Answering():
            found, unread = self.transport.records(since_ms=since_ms, until_ms=until_ms)
            return self._known(found), unread

    def detailed(self, jobs: Collection[int]) -> Sequence[Record]:
        """The records of these jobs with what they used, energy too, which stands with their steps."""
        with Answering():
            return self._known(self.transport.records(jobs=jobs)[0]) if jobs else []

    def _known(self, found: Sequence[Record]) -> list[Record]:
        """With the time that each ran itself, their true names, and, where they have an energy, whether they had their
        nodes to themselves. What a job ran before a resize may have ended long before all that was found.
        """
        asked = resized.unexplained(found)
        beside = self.transport.records(jobs=asked)[0] if asked else ()
        vouched = map(self._sight.vouched, resized.told_apart(found, beside))
        return [replace(r, exclusive=self._sight.alone(r)) if r.energy_mj and r.nodes else r for r in vouched]

    def hold(self, intents: Sequence[str]) -> None:
        """Raises `engine.refused` for those that have started; the others are held. A run to come begins held."""
        started: list[str] = []
        changes: dict[str, Change] = {}
        with Answering():
            found = self._sight.find(intents)
            for intent in intents:
                run = Folder(self.root, intent)
                job, target = found.get(intent, (None, None))
                if job is None and not THEIRS.fullmatch(intent) and not run.has(folder.SUBMITTED):
                    run.write(records.HOLD, {})
                elif job is None or target is None or job.state != "PENDING":
                    started.append(intent)
                elif not job.held:
                    changes[intent] = Change(target, priority=0, begin_ms=_begin(job, self._sight.look().at_ms))
            denied = self._change(list(changes.values()))
        started += [intent for intent, change in changes.items() if change.job_id in denied]
        if started:
            raise FabriqueError("engine.refused", why="started", intents=started)

    def release(self, intents: Sequence[str], *, early: bool = False) -> None:
        """Slurm starts them in the order given, behind what was released before and waits still.

        `early`: ahead of their turn, hence behind all others; released again without it, they are no longer.
        """
        with Answering():
            for intent in intents:
                Folder(self.root, intent).forget(records.HOLD)
            found = self._sight.find(intents)
            waiting = [job for job in self._sight.look().all if job.state == "PENDING"]
            self._change(self._ahead(found.values(), waiting) if early else self._now(found.values(), waiting))

    def reshape(self, limits: Mapping[str, int], licences: Mapping[str, Mapping[str, int]] = _NONE) -> set[str]:
        """Sets the time limits of jobs that wait, in ms, and how many of some licences each takes; of others it keeps
        what it asked for. Answers those that stay as they were. A task of an array is split from it, so that it has a
        number of its own.
        """
        refused: set[str] = set()
        changes: dict[str, Change] = {}
        with Answering():
            found = self._sight.find(list(limits))
            for intent, limit_ms in limits.items():
                job, target = found.get(intent, (None, None))
                if job is None or target is None or job.state != "PENDING":
                    refused.add(intent)
                    continue
                wanted = {**job.asked.licences, **licences.get(intent, {})}
                new = {name: number for name, number in wanted.items() if number}
                same = job.limit_ms is not None and batch.minutes(job.limit_ms) == batch.minutes(limit_ms)
                same = same and job.tasks == 1  # any change splits a task from its array
                if not same or new != job.asked.licences:
                    taken = None if new == job.asked.licences else new
                    changes[intent] = Change(target, limit_ms=None if same else limit_ms, licences=taken)
            denied = self._change(list(changes.values()))
        return refused | {intent for intent, change in changes.items() if change.job_id in denied}

    def numbers(self, handles: Sequence[str]) -> Mapping[str, int]:
        """Under which number Slurm's nodes will know each: none for a task that is still a part of its array."""
        with Answering():
            found = self._sight.find(handles)
            numbers = {handle: job.job_id for handle, (job, _) in found.items() if job.tasks == 1}
            parts = {target: handle for handle, (job, target) in found.items() if job.tasks > 1}
            wanted = [target for target in parts if not isinstance(target, int)]
            for job in self.transport.tasks(wanted) if wanted else ():
                if job.array_id is not None and job.array_task is not None:
                    numbers[parts[job.array_id, job.array_task]] = job.job_id
        return numbers

    def _now(self, found: Iterable[tuple[QueuedJob, Target]], waiting: Sequence[QueuedJob]) -> list[Change]:
        least, most = NOW
        given = [job.priority for job in waiting if job.priority is not None and least <= job.priority <= most]
        last = min([self._last, *given]) if given else most + 1  # nobody waits before them
        changes = []
        for job, target in found:
            if job.held or (job.state == "PENDING" and _is_early(job)):
                last = max(least, last - 1)
                changes.append(Change(target, priority=last))
        self._last = last
        return changes

    def _ahead(self, found: Iterable[tuple[QueuedJob, Target]], waiting: Sequence[QueuedJob]) -> list[Change]:
        there = sorted((job for job in waiting if _is_early(job)), key=lambda job: -(job.priority or 0))
        new = [target for job, target in found if job.held]
        wanted = ranked([*(job.priority for job in there), *(None for _ in new)], *EARLY)
        moved = zip(there, wanted, strict=False)
        changes = [Change(target_of(job), priority=rank) for job, rank in moved if rank != job.priority]
        return changes + [Change(*pair) for pair in zip(new, wanted[len(there) :], strict=True)]

    def rank(self, intents: Sequence[str]) -> None:
        """Those that wait released ahead of their turn, in this order from now on; the others are left alone."""
        with Answering():
            found = self._sight.find(intents)
            early = [(job, target) for job, target in found.values() if job.state == "PENDING" and _is_early(job)]
            wanted = ranked([job.priority for job, _ in early], *EARLY)
            pairs = zip(early, wanted, strict=True)
            self._change([Change(target, priority=rank) for (job, target), rank in pairs if rank != job.priority])

    def put(self, reasons: Mapping[str, str]) -> None:
        """Why each job waits, where squeue shows it: in its comment; where its user wrote one, in the administrator's.

        Only what changed is sent, so many at a time: the others at the next turns. A job that runs is rid of what we
        wrote.
        """
        with Answering():
            look = self._sight.look()
            changes = {
                job.job_id: Change(job.job_id, comment="")
                for job in look.all
                if job.state == "RUNNING" and job.comment.startswith(SHOWN)
            }
            for handle, why in reasons.items():
                found = look.find(handle)
                if found is not None and found[0].state == "PENDING" and (change := _beside(found[0], why)):
                    changes.setdefault(found[0].job_id, change)
            self._change(list(changes.values())[:_MOST_AT_ONCE])

    def requeue(self, handles: Sequence[str], *, hold: bool = True) -> Sequence[Denied]:
        """Ends the runs and puts their jobs back in the queue, where each has a new handle."""
        with Answering():
            denied = self.transport.requeue([target for _, target in self._sight.find(handles).values()], hold=hold)
            self._sight.stale()
        return denied

    def _change(self, changes: Sequence[Change]) -> set[Target]:
        """What Slurm refused: a job that went on meanwhile, by which nothing is lost."""
        if not changes:
            return set()
        denied = self.transport.change(changes)
        self._sight.stale()
        return {one.job_id for one in denied}


def _begin(job: QueuedJob, now: int) -> int | None:
    """The begin that its owner chose, while that is to come; a requeued one has Slurm's own, which a hold outlasts."""
    return job.eligible_ms if not job.restarts and (job.eligible_ms or 0) > now else None


def _is_early(job: QueuedJob) -> bool:
    return EARLY[0] <= (job.priority or 0) <= EARLY[1]


def _beside(job: QueuedJob, why: str) -> Change | None:
    """None where it stands there already, or where the job's owner said that they hold it: that is their word."""
    if held_by_owner(job.comment, job.admin_comment):
        return None
    said = batch.line(why if why.startswith(SHOWN) else SHOWN + why)[:_MOST_SHOWN].strip()
    if job.comment and not job.comment.startswith(SHOWN):
        return None if job.admin_comment == said else Change(job.job_id, admin_comment=said)
    return None if job.comment == said else Change(job.job_id, comment=said)
