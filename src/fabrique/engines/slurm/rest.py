"""Slurm by its REST daemon: versions 0.0.38 to 0.0.45, the newest that the daemon offers unless one is given.

A queue of ten thousand jobs takes the oldest daemon some three seconds to write; the commands take less than one. So
it is asked for what changed since the last answer: in a queue where nothing did, that is an answer without a body.
What it can't do is refused, never done another way behind one's back: it requeues nothing; 0.0.38 writes no
administrator's comment, can't have a job's script warned before its limit, and can't forbid a requeue at submission;
the later ones change no task of an array that waits without all the others.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from fabrique.core.errors import FabriqueError
from fabrique.engines.slurm import arrays, batch, documents, words
from fabrique.engines.slurm.http import Rest
from fabrique.engines.slurm.model import Change, Denied, Node, Order, QueuedJob, Record, Target, Unread

T = TypeVar("T")
OLDEST: Final = 38
NEWEST: Final = 45
_FEW: Final = 20  # jobs that are read back one by one rather than with the whole queue
_NAMES_AT_ONCE: Final = 50
_WHOLE_S: Final = 60  # the whole queue is asked for at the latest then, whatever the daemon says of changes
_OVER: Final = re.compile(
    r"invalid job id|already (completing|completed)|no longer|already finished|already/", re.IGNORECASE
)
_TASK: Final = re.compile("job array update", re.IGNORECASE)  # the same, where a task of an array was changed
_HELD: Final = re.compile("held state", re.IGNORECASE)  # said of what was done; reading back tells


@dataclass(frozen=True, slots=True)
class _Kept:
    """The last answer. `at_s` is the controller's clock before it was asked for: any later change is news."""

    at_s: int
    jobs: Sequence[QueuedJob]
    unread: Sequence[Unread]
    read: documents.Read


class RestTransport:
    """`user` is root or SlurmUser; `api` such as "v0.0.40", None: chosen. `key_file` holds the cluster's JWT key."""

    acts_as_user = True

    def __init__(
        self,
        url: str,
        key_file: Path,
        user: str,
        api: str | None = None,
        timeout_s: float = 20.0,
        now_s: Callable[[], int] = lambda: int(time.time()),
    ) -> None:
        self._rest = Rest(url, key_file, batch.plain(user, "user"), timeout_s, now_s)
        if api is not None and not re.fullmatch(r"v0\.0\.\d{2}", api):
            raise FabriqueError("engine.unavailable", why=f"unknown version {api}")
        self._api = api
        self._kept: _Kept | None = None

    @property
    def api(self) -> str:
        """Asked of the daemon once: the newest version that serves both the queue and the accounting."""
        if self._api is None:
            offered = self._rest.ask("GET", "/openapi/v3").get("paths")
            paths = " ".join(offered) if isinstance(offered, dict) else ""
            found = [n for n in range(NEWEST, OLDEST - 1, -1) if _serves(paths, f"v0.0.{n}")]
            if not found:
                raise FabriqueError("engine.unavailable", why="slurmrestd offers no version known here")
            self._api = f"v0.0.{found[0]}"
        return self._api

    @property
    def _old(self) -> bool:
        return self.api == "v0.0.38"

    def version(self) -> tuple[int, int]:
        meta: Any = self._rest.ask("GET", f"/slurm/{self.api}/ping").get("meta")
        try:
            said = meta.get("slurm") or meta["Slurm"]
            return int(said["version"]["major"]), int(said["version"]["minor"])
        except (AttributeError, KeyError, TypeError, ValueError):
            raise FabriqueError("engine.garbage", why="no version") from None

    def queue(self) -> tuple[list[QueuedJob], list[Unread]]:
        """The controller says by the second whether any job changed; until one does, the last answer holds."""
        path, at_s, kept = f"/slurm/{self.api}/jobs", self._controller_s(), self._kept
        answer = None
        if kept is not None and at_s is not None and kept.at_s <= at_s < kept.at_s + _WHOLE_S:
            answer = self._rest.news(path, {"update_time": str(kept.at_s)})
            if answer is None:
                return list(kept.jobs), list(kept.unread)
        if not (answer and answer.get("jobs")):  # no jobs at all may be another way to say that nothing changed
            answer = self._rest.ask("GET", path)
        now: documents.Read = {}
        found = _list(answer, "jobs", documents.reader(kept.read if kept else {}, now))
        self._kept = None if at_s is None else _Kept(at_s, tuple(found[0]), tuple(found[1]), now)
        return found

    def _controller_s(self) -> int | None:
        """The controller's own clock, in seconds; None where it does not say it."""
        try:
            said = self._rest.ask("GET", f"/slurm/{self.api}/diag").get("statistics")
            return words.number(said.get("req_time")) if isinstance(said, dict) else None
        except FabriqueError as error:
            if error.code == "engine.unavailable":
                raise
            return None
        except ValueError:
            return None

    def tasks(self, wanted: Collection[tuple[int, int]]) -> list[QueuedJob]:
        return [job for job in self.queue()[0] if (job.array_id, job.array_task) in wanted]

    def nodes(self) -> list[Node]:
        answer = self._rest.ask("GET", f"/slurm/{self.api}/nodes")
        return _list(answer, "nodes", documents.node)[0]

    def records(
        self,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        jobs: Collection[int] = (),
        names: Collection[str] = (),
    ) -> tuple[list[Record], list[Unread]]:
        found: dict[str, Record] = {}
        unread: list[Unread] = []
        for query in self._queries(since_ms, until_ms, jobs, names):
            answer = self._rest.ask("GET", f"/slurmdb/{self.api}/jobs", query)
            some, bad = _list(answer, "jobs", documents.record)
            found |= {record.key: record for record in some}
            unread += bad
        return list(found.values()), unread

    def _queries(
        self, since_ms: int | None, until_ms: int | None, jobs: Collection[int], names: Collection[str]
    ) -> Iterator[dict[str, str]]:
        """One asked-for flag turns the others' defaults off: duplicates have to be asked for with it, where one can."""
        whole = {} if self._old else {"show_duplicates": "true"}
        short = whole | {"skip_steps": "true"}  # without its steps, a job's processor time is 0
        window = {} if since_ms is None else {"start_time": f"uts{max(1, since_ms // 1000)}"}
        window |= {} if until_ms is None else {"end_time": f"uts{max(1, until_ms // 1000)}"}
        if not jobs and not names:
            yield short | window
        for job in sorted(jobs):
            yield whole | {"step": str(int(job))}  # a number: the oldest daemon dies of anything else
        wanted = [batch.plain(name, "name") for name in sorted(names)]
        for start in range(0, len(wanted), _NAMES_AT_ONCE):
            yield short | window | {"job_name": ",".join(wanted[start : start + _NAMES_AT_ONCE])}

    def submit(self, order: Order) -> int:
        job = _wanted_old(order) if self._old else _wanted(order)
        body = {"script": order.script.decode("utf-8", "strict"), "job": job}
        path = f"/slurm/{self.api}/job/submit"
        # a job that is only held comes back with an error and its id: it is there
        answer = self._rest.ask(
            "POST", path, body=body, user=order.user, done=lambda said: _submitted(said) is not None
        )
        found = _submitted(answer)
        if found is None:
            raise FabriqueError("engine.garbage", why="slurmrestd named no job")
        return found

    def change(self, changes: Sequence[Change]) -> list[Denied]:
        if self._old or all(isinstance(change.job_id, int) for change in changes):
            return self._change(changes)
        whole, stands, denied = arrays.together(changes, self.queue()[0])
        for one in self._change(whole):
            denied += [Denied(target, one.why) for target in stands.get(one.job_id, (one.job_id,))]
        return denied

    def _change(self, changes: Sequence[Change]) -> list[Denied]:
        denied: list[Denied] = []
        for change in changes:
            for body in self._bodies(change):
                try:
                    self._rest.ask("POST", f"/slurm/{self.api}/job/{_name(change.job_id)}", body=body)
                except FabriqueError as error:
                    if error.code != "engine.refused":
                        raise
                    why = str(error.params.get("why", ""))
                    if _HELD.search(why) or (_TASK.search(why) and not isinstance(change.job_id, int)):
                        continue
                    denied.append(Denied(change.job_id, str(error.params.get("why", ""))))
                    break
        failed = {one.job_id for one in denied}
        return denied + self._not_taken([change for change in changes if change.job_id not in failed])

    def _bodies(self, change: Change) -> Iterator[dict[str, object]]:
        """A held job takes no priority before it is released; one that is to be held starts later first."""
        if change.admin_comment is not None and self._old:
            raise FabriqueError("engine.refused", why="slurmrestd v0.0.38 writes no administrator's comment")
        body: dict[str, object] = {}
        if change.limit_ms is not None:
            body["time_limit"] = self._number(batch.minutes(change.limit_ms))
        if change.nice is not None:
            body["nice"] = change.nice
        if change.licences is not None:
            body["licenses"] = batch.licences(change.licences)
        if change.comment is not None:
            body["comment"] = batch.line(change.comment)
        if change.admin_comment is not None:
            body["admin_comment"] = batch.line(change.admin_comment)
        if body:
            yield body
        if change.let_go or (change.priority is not None and change.priority > 0):
            yield {"hold": False}
        if change.priority == 0:
            now_s = int(time.time())
            yield {"begin_time": "now+1minute" if self._old else self._number(now_s + 60)}
            yield {"hold": True}
            begin_s = now_s if change.begin_ms is None else change.begin_ms // 1000
            yield {"begin_time": f"uts{begin_s}" if self._old else self._number(begin_s)}
        elif change.priority is not None:
            yield {"priority": str(change.priority) if self._old else self._number(change.priority)}

    def _not_taken(self, changes: Sequence[Change]) -> list[Denied]:
        """A field of a type that the daemon did not expect is passed over in silence: what counts is read back."""
        wanted = [c for c in changes if c.let_go or (c.priority, c.comment, c.limit_ms, c.licences) != (None,) * 4]
        if not wanted:
            return []
        single = [c.job_id for c in wanted if isinstance(c.job_id, int)]
        few = len(single) == len(wanted) <= _FEW
        now: dict[Target, QueuedJob] = {}
        for job in self._few(single) if few else self.queue()[0]:
            now[job.job_id] = job
            if job.array_id is not None and job.array_task is not None:
                now[job.array_id, job.array_task] = job
        return [
            Denied(change.job_id, "slurmrestd took no notice")
            for change in wanted
            if change.job_id in now and not _is(now[change.job_id], change)
        ]

    def _few(self, jobs: Sequence[int]) -> Iterator[QueuedJob]:
        for job in jobs:
            answer = self._rest.ask("GET", f"/slurm/{self.api}/job/{int(job)}")
            yield from _list(answer, "jobs", documents.queued_job)[0]

    def cancel(self, jobs: Sequence[Target]) -> None:
        for job in jobs:
            self._delete(job, {})

    def signal(self, jobs: Sequence[Target], name: str) -> None:
        query = {"signal": batch.plain(name, "signal")}
        if not self._old:
            query["flags"] = "BATCH_JOB"
        for job in jobs:
            self._delete(job, query)

    def _delete(self, job: Target, query: Mapping[str, str]) -> None:
        try:
            self._rest.ask("DELETE", f"/slurm/{self.api}/job/{_name(job)}", query)
        except FabriqueError as error:
            if not _OVER.search(str(error.params.get("why", ""))):
                raise

    def requeue(self, jobs: Sequence[Target], *, hold: bool) -> list[Denied]:
        if jobs:
            raise FabriqueError("engine.refused", why="slurmrestd can't requeue")
        return []

    def _number(self, value: int) -> object:
        return value if self._old else {"set": True, "infinite": False, "number": value}


def _submitted(answer: Mapping[str, Any]) -> int | None:
    found = answer.get("job_id")
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None


def _wanted_old(order: Order) -> dict[str, object]:
    """A submission in the words of v0.0.38. Raises `engine.refused` for a warning, which it can't ask for."""
    if order.signal is not None:
        raise FabriqueError("engine.refused", why="slurmrestd v0.0.38 warns no script before its limit")
    optional: dict[str, object | None] = {
        "gres": batch.gres(order),
        "environment": dict(order.environment) or {"PATH": "/usr/bin:/bin"},
    }
    return _common(order) | {k: v for k, v in optional.items() if v is not None} | {"nodes": [order.nodes, order.nodes]}


def _wanted(order: Order) -> dict[str, object]:
    """A submission in the words of v0.0.39 and later."""
    common = _common(order) | {"nodes": str(int(order.nodes)), "open_mode": ["APPEND"], "requeue": False}
    common["environment"] = [f"{name}={value}" for name, value in order.environment.items()] or ["PATH=/usr/bin:/bin"]
    gres = batch.gres(order)
    if gres is not None:
        common["tres_per_node"] = f"gres/{gres}"
    if order.signal is not None:
        common["kill_warning_signal"] = batch.plain(order.signal, "preempt_signal")
        common["kill_warning_delay"] = {"set": True, "infinite": False, "number": batch.lead_s(order)}
        common["kill_warning_flags"] = ["BATCH_JOB"]
    return common


def _common(order: Order) -> dict[str, object]:
    wanted: dict[str, object | None] = {
        "name": batch.plain(order.intent, "intent"),
        "account": batch.plain(order.account, "account"),
        "qos": None if order.qos is None else batch.plain(order.qos, "qos"),
        "partition": batch.plain(order.partition, "partition"),
        "current_working_directory": batch.path(order.folder, "folder"),
        "standard_output": batch.path(order.output, "output"),
        "standard_input": "/dev/null",
        "time_limit": batch.minutes(order.limit_ms),
        "tasks_per_node": 1,
        "tasks": int(order.nodes),
        "cpus_per_task": int(order.cores),
        "memory_per_node": order.memory_mb,
        "licenses": batch.licences(order.licences) or None,
        "comment": batch.line(order.comment) or None,
        "hold": True if order.held else None,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def _is(job: QueuedJob, change: Change) -> bool:
    """Whether the job has what the change asked for, as far as that can still be told."""
    if job.state == "PENDING" and change.priority is not None and job.priority != change.priority:
        return False
    if change.let_go and job.held:
        return False
    if change.comment is not None and job.comment != batch.line(change.comment):
        return False
    if change.licences is not None and job.asked.licences != change.licences:
        return False
    return change.limit_ms is None or job.limit_ms == batch.minutes(change.limit_ms) * 60_000


def _list(answer: dict[str, Any], name: str, read: Callable[[documents.Element], T]) -> tuple[list[T], list[Unread]]:
    try:
        good, bad = documents.every(answer.get(name), read)
    except ValueError as error:
        raise FabriqueError("engine.garbage", why=f"{name}: {error}") from None
    if bad and not good:
        raise FabriqueError("engine.garbage", why=bad[0].why)
    return good, bad


def _serves(paths: str, api: str) -> bool:
    return f"/slurm/{api}/jobs" in paths and f"/slurmdb/{api}/jobs" in paths


def _name(job: Target) -> str:
    """Digits, whatever was given: the oldest daemon dies of anything else."""
    return str(int(job)) if isinstance(job, int) else f"{int(job[0])}_{int(job[1])}"
