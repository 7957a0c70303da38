"""One look at the cluster, shared by all that is asked within a moment; and whose a job with one of our names is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, TypeVar

from fabrique.core.errors import FabriqueError
from fabrique.engines import records
from fabrique.engines.slurm import ends, folder
from fabrique.engines.slurm.folder import Folder
from fabrique.engines.slurm.model import (
    OURS,
    THEIRS,
    Node,
    QueuedJob,
    Record,
    Target,
    Transport,
    Unread,
    handle_of,
    target_of,
)
from fabrique.engines.slurm.placing import Settings

J = TypeVar("J", QueuedJob, Record)
_DAY_MS: Final = 86_400_000
_PAST_MS: Final = 31 * _DAY_MS  # how far back a job is looked for by its name
_NO_NODE: Final = 1 << 62  # cores of one that nobody knows any more
_BORN: Final = ".born"
_APART_MS: Final = 600_000  # at most, between our clock and Slurm's at a submission


class Look:
    """The queue at one instant. `jobs` is by handle, but for the tasks of an array that Slurm has not split yet."""

    def __init__(self, at_ms: int, jobs: Sequence[QueuedJob], unread: Sequence[Unread]) -> None:
        self.at_ms, self.all, self.unread = at_ms, jobs, unread

    @cached_property
    def jobs(self) -> Mapping[str, QueuedJob]:
        """The latest, where one name stands twice."""
        return {job.handle: job for job in sorted(self.all, key=lambda job: job.submitted_ms)}

    @cached_property
    def _tasks(self) -> Mapping[tuple[int, int], tuple[QueuedJob, frozenset[int]]]:
        arrays = (job for job in self.all if job.task_ids)
        return {
            (job.array_id or job.job_id, job.submitted_ms // 1000): (job, frozenset(job.task_ids)) for job in arrays
        }

    def find(self, handle: str) -> tuple[QueuedJob, Target] | None:
        """The job, and what to call it when something is done to it."""
        if (job := self.jobs.get(handle)) is not None:
            return job, target_of(job)
        match = THEIRS.fullmatch(handle)
        if match is None or match[2] is None:
            return None
        array, task = int(match[1]), int(match[2])
        job, tasks = self._tasks.get((array, int(match[3])), (None, frozenset()))
        return (job, (array, task)) if job is not None and task in tasks else None


@dataclass(frozen=True, slots=True)
class _Owner:
    user: str
    account: str
    job: int | None
    at_ms: int = 0  # when Slurm took it


class Sight:
    """Asks the cluster, at most once in `look_ms`, and knows ours from what only bears our names."""

    def __init__(self, transport: Transport, settings: Settings, clock: Callable[[], int]) -> None:
        self._transport, self._settings, self._clock = transport, settings, clock
        self._root = settings.runs.absolute()
        self._login = settings.own_login
        self._lock = threading.RLock()
        self._look: Look | None = None
        self._nodes: tuple[int, Sequence[Node]] | None = None
        self._owners: dict[str, _Owner] = {}
        self._named: dict[int, str] = {}  # Slurm's id of a job of ours -> the name that we gave it
        self._missing: dict[str, int] = {}
        self._born: int | None = None

    def look(self) -> Look:
        """Raises `engine.unavailable` and `engine.garbage`."""
        with self._lock:
            now = self._clock()
            if self._look is None or not 0 <= now - self._look.at_ms < self._settings.look_ms:
                jobs, unread = self._transport.queue()
                self._look = Look(self._clock(), [self.vouched(job) for job in jobs], unread)
            return self._look

    def stale(self) -> None:
        """Something was changed: the next look is a new one."""
        with self._lock:
            self._look = None

    def find(self, handles: Sequence[str]) -> dict[str, tuple[QueuedJob, Target]]:
        """Those of `handles` that the queue has; a new look where one is not in the last."""
        look = self.look()
        if any(look.find(handle) is None for handle in handles):
            self.stale()
            look = self.look()
        return {handle: found for handle in handles if (found := look.find(handle)) is not None}

    def nodes(self) -> Sequence[Node]:
        with self._lock:
            now = self._clock()
            if self._nodes is None or not 0 <= now - self._nodes[0] < self._settings.look_ms:
                self._nodes = (now, self._transport.nodes())
            return self._nodes[1]

    def alone(self, one: Record) -> bool:
        """Whether it was given its nodes whole: by the accounting's word, or by the nodes' own sizes."""
        if one.exclusive or not one.nodes:
            return bool(one.exclusive)
        cores = {node.name: node.total.cores for node in self.nodes()}
        return 0 < sum(cores.get(name, _NO_NODE) for name in one.nodes) <= one.given.cores

    # --- whose it is ----------------------------------------------------------------------------------------------

    def vouched(self, one: J) -> J:
        """The job as it is, or with a `?` before its name where that is one of ours and somebody else chose it.

        One of ours that its owner has renamed bears the name that we gave it.
        """
        given = self._named.get(one.job_id)
        if given is not None and given != one.name and self._was_given(given, one):
            return replace(one, name=given)
        if not one.name.startswith(OURS) or self._is_ours(one):
            return one
        return replace(one, name=f"?{one.name}")

    def _is_ours(self, one: QueuedJob | Record) -> bool:
        """By the order that we wrote: its user, its account, its job. Without one, only our own login's."""
        owner = self._owner(one.name)
        if owner is None:
            return one.user == self._login
        is_his = owner.user == one.user and owner.account.lower() == one.account.lower()
        return is_his and owner.job in (None, one.job_id)

    def _was_given(self, intent: str, one: QueuedJob | Record) -> bool:
        """Whether the job of that id is the one that we submitted: ids come again where a controller lost its state."""
        owner = self._owner(intent)
        is_then = owner is not None and abs(one.submitted_ms - owner.at_ms) <= _APART_MS
        return is_then and self._is_ours(replace(one, name=intent))

    def _owner(self, intent: str) -> _Owner | None:
        """None is asked again: another process of the hub may adopt it."""
        found = self._owners.get(intent) or self._read_owner(intent)
        if found is not None:
            self._owners[intent] = found
            if found.job is not None:
                self._named[found.job] = intent
        return found

    def know(self, intents: Iterable[str]) -> None:
        """Runs of ours whose jobs are known by their ids from now on, whatever they call themselves."""
        for intent in intents:
            if intent.startswith(OURS):
                self._owner(intent)

    def expect(self, intent: str, user: str, account: str) -> None:
        """A run of ours whose order may be lost: it is this user's, in this account, by the hub's own books."""
        if self._owner(intent) is None:
            self._owners[intent] = _Owner(user, account, None)
            self.stale()

    def _read_owner(self, intent: str) -> _Owner | None:
        try:
            run = Folder(self._root, intent)
        except FabriqueError:  # no name that we ever gave
            return _Owner("", "", None)
        order = run.read(records.ORDER)
        if order is None:
            return None
        submitted = run.read(folder.SUBMITTED)
        job, at_ms = (None, 0) if submitted is None else (int(submitted["job"]), int(submitted.get("at", 0)))
        return _Owner(str(order.get("user", "")), str(order.get("account", "")), job, at_ms)

    def learn(self, intent: str) -> None:
        """Its folder changed."""
        known = self._owners.pop(intent, None)
        if known is not None and known.job is not None:
            self._named.pop(known.job, None)

    # --- what the accounting knows --------------------------------------------------------------------------------

    def ended(self, jobs: Collection[int]) -> tuple[dict[str, Record], str | None]:
        """Records of runs that ended, by their names of our own; or why the accounting can't be asked.

        Of several under one name: the first of ours, which may run once; the last of anybody else's.
        """
        if not jobs:
            return {}, None
        try:
            found, unread = self._transport.records(jobs=jobs)
        except FabriqueError as error:
            if error.code not in ("engine.unavailable", "engine.garbage"):
                raise
            return {}, f"accounting: {error.params.get('why', error.code)}"
        known: dict[str, Record] = {}
        for record in sorted(map(self.vouched, found), key=lambda r: (r.submitted_ms, r.started_ms or 0)):
            handle = handle_of(record)
            if ends.has_ended(record) and not (handle in known and handle.startswith(OURS)):
                known[handle] = record
        return known, "accounting: a part can't be read" if unread else None

    def missing(self, run: Folder, now: int) -> int:
        """Since when it was nowhere."""
        if THEIRS.fullmatch(run.intent):
            return self._missing.setdefault(run.intent, now)
        run.write_once(folder.MISSING, {"at": now})
        return int((run.read(folder.MISSING) or {}).get("at", now))

    def there_again(self, run: Folder) -> None:
        """It was seen, or the accounting could not be asked: the time counts anew."""
        if THEIRS.fullmatch(run.intent):
            self._missing.pop(run.intent, None)
        else:
            run.forget(folder.MISSING)

    def may_be_forgotten(self) -> bool:
        """Whether the folder is so young that it may be a new one in place of one that was lost."""
        if self._born is None:
            path = str(self._root / _BORN)
            records.write_once(path, {"at": self._clock()})
            self._born = int((records.read(path) or {}).get("at", 0))
        return self._clock() - self._born < self._settings.forgotten_ms

    def earlier(self, intent: str, user: str, account: str, asked_ms: int | None) -> int | None:
        """The job of that name, user and account, wherever it is known.

        Raises `engine.unavailable` while one can't tell.
        """
        if asked_ms is not None:
            self.stale()
        look = self.look()
        if look.unread:
            raise FabriqueError("engine.unavailable", why="a part of the queue can't be read")
        since = (self._clock() if asked_ms is None else asked_ms - _DAY_MS) - (_PAST_MS if asked_ms is None else 0)
        found, unread = self._transport.records(names=[intent], since_ms=since)
        if unread:
            raise FabriqueError("engine.unavailable", why="a part of the accounting can't be read")
        known: list[QueuedJob | Record] = [*look.all, *found]
        same = [one.job_id for one in known if one.name.removeprefix("?") == intent and one.user == user]
        ours = {one.job_id for one in known if one.account.lower() == account.lower()}
        return min(ours.intersection(same), default=None)

    def orphan(self, intent: str) -> QueuedJob | Record | None:
        """A run of ours whose folder was lost."""
        job = self.look().jobs.get(intent)
        if job is not None:
            return job
        found, _ = self._transport.records(names=[intent], since_ms=self._clock() - _PAST_MS)
        ours = [record for record in map(self.vouched, found) if record.name == intent]
        return min(ours, key=lambda record: record.started_ms or 0, default=None)
