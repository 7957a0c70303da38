"""Slurm by its own commands: one form that every version from 22.05 to 26.05 understands.

squeue and sacct are asked for named fields with a token of this call between them and times in seconds since the epoch;
changes go to one scontrol through its standard input, numbers alone; texts go as one argument of one process.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

from fabrique.core.errors import FabriqueError
from fabrique.engines.slurm import batch, rows, running
from fabrique.engines.slurm.model import Change, Denied, Node, Order, QueuedJob, Record, Target, Unread
from fabrique.engines.slurm.running import Ran

T = TypeVar("T")
PATH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
_LONG_AGO_MS: Final = 86_400_000  # the epoch itself is no time for sacct
_AT_ONCE: Final = 400  # ids in one argument list
_ID: Final = re.compile(r"(\d{1,10})(?:;[^\s;]{1,64})?\s*")
_VERSION: Final = re.compile(r"(\d{2})\.(\d{2})")
_FOR_JOB: Final = re.compile(r"for job (\d+(?:_\d+)?)")
# What a controller that is away, starting, overloaded or out of space makes the commands say.
_AWAY: Final = re.compile(
    r"unable to contact|connect(ion)? (failure|refused|reset|timed out)|socket timed out|zero bytes|standby mode|"
    r"not connected|not running|temporarily|unable to accept|i/o error|try again|communication|"
    r"no slurmctld|persistent connection|database|unspecified|unexpected message|broken pipe|"
    r"authentication|credential|munge|configuration source|no such file|resource deadlock|no space",
    re.IGNORECASE,
)
_OVER: Final = re.compile(r"invalid job id|already (completing|completed)|no longer|already finished", re.IGNORECASE)


class CommandTransport:
    """`conf` None: the cluster that this machine's own configuration names. `binaries` None: wherever PATH has them.

    `timeout_s` bounds each command; `environment` is added to the little that they are given.
    """

    acts_as_user = False

    def __init__(
        self,
        conf: Path | None = None,
        binaries: Path | None = None,
        timeout_s: float = 20.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._binaries = binaries
        self._timeout_s = timeout_s
        self._environment = {
            "PATH": PATH,
            "LC_ALL": "C",
            "TZ": "UTC",
            "SLURM_TIME_FORMAT": "%s",
            "SLURM_BITSTR_LEN": "0",
            **(environment or {}),
        }
        if conf is not None:
            self._environment["SLURM_CONF"] = str(conf)
        self._known: dict[str, str] = {}
        self._last: dict[bytes, QueuedJob] = {}  # the rows of the last look

    def version(self) -> tuple[int, int]:
        if "version" not in self._known:
            self._known["version"] = self._ask("scontrol", "--version").output.decode("utf-8", "replace")
        match = _VERSION.search(self._known["version"])
        if match is None:
            del self._known["version"]
            raise FabriqueError("engine.garbage", why="no version")
        return int(match[1]), int(match[2])

    def queue(self) -> tuple[list[QueuedJob], list[Unread]]:
        return self._queue([], self._last)

    def tasks(self, wanted: Collection[tuple[int, int]]) -> list[QueuedJob]:
        names = [_name(task) for task in sorted(wanted)]
        found: list[QueuedJob] = []
        for start in range(0, len(names), _AT_ONCE):
            some = ",".join(names[start : start + _AT_ONCE])
            found += self._queue(["--array", f"--jobs={some}"], None)[0]
        return [job for job in found if job.job_id != job.array_id]  # its array's id: it has none of its own

    def _queue(
        self, options: Sequence[str], before: dict[bytes, QueuedJob] | None
    ) -> tuple[list[QueuedJob], list[Unread]]:
        token = _token()
        fields = [*rows.QUEUE, rows.PER_NODE, *(["exclusive"] if self.version() >= (26, 5) else [])]
        *first, last = fields
        form = ",".join([*(f"{name}:{token}" for name in first), f"{last}:{token}{rows.END}"])
        ran = self._ask("squeue", "--all", "--noheader", "--states=all", *options, f"--Format={form}")
        return _readable(rows.queue(ran.output, fields, token, before), ran)

    def nodes(self) -> list[Node]:
        ran = self._ask("scontrol", "show", "node", "--all", "--oneliner")
        if ran.output.strip() == b"No nodes in the system":
            return []
        found, _ = _readable(rows.nodes(ran.output), ran)
        return found

    def records(
        self,
        *,
        since_ms: int | None = None,
        until_ms: int | None = None,
        jobs: Collection[int] = (),
        names: Collection[str] = (),
    ) -> tuple[list[Record], list[Unread]]:
        """What they used comes with `jobs` alone: it takes their steps, of which there may be thousands."""
        if not jobs and not names:
            return self._records(since_ms, until_ms)
        found: list[Record] = []
        unread: list[Unread] = []
        for some in _chunks(sorted(map(int, jobs))):
            one, other = self._records(None, None, f"--jobs={','.join(map(str, some))}", steps=True)
            found, unread = found + one, unread + other
        for words in _chunks(sorted(names)):
            chosen = ",".join(batch.plain(word, "name") for word in words)
            one, other = self._records(since_ms or _LONG_AGO_MS, until_ms, f"--name={chosen}")
            found, unread = found + one, unread + other
        return list({r.key: r for r in found}.values()), unread

    def _records(
        self, since_ms: int | None, until_ms: int | None, *chosen: str, steps: bool = False
    ) -> tuple[list[Record], list[Unread]]:
        token = _token()
        fields = [*([rows.DETAIL] if steps else []), *self._newer_fields(), *rows.RECORDS]
        command = [
            "sacct",
            *([] if steps else ["--allocations"]),
            "--duplicates",
            "--allusers",
            "--noheader",
            "--parsable",
            "--noconvert",
        ]
        command += [f"--delimiter={token}", f"--format={','.join(fields)}", *chosen]
        command += [] if since_ms is None else [f"--starttime={_iso(since_ms)}"]
        command += [] if until_ms is None else [f"--endtime={_iso(until_ms)}"]
        ran = self._ask(*command)
        return _readable(rows.records(ran.output, fields, token), ran)

    def submit(self, order: Order) -> int:
        options = batch.options(order, _group_of(order.user))
        environment = running.written("environment", batch.environment_file(order.environment))
        try:
            ran = self._run(["sbatch", *options, f"--export-file={environment}"], order.script, keep=(environment,))
        finally:
            os.close(environment)
        if ran.code:
            away = _AWAY.search(ran.why)
            raise FabriqueError("engine.unavailable" if away else "engine.refused", why=ran.why)
        match = _ID.fullmatch(ran.output.decode("utf-8", "replace"))
        if match is None:
            raise FabriqueError("engine.garbage", why="sbatch named no job")
        return int(match[1])

    def change(self, changes: Sequence[Change]) -> list[Denied]:
        holds = [c.job_id for c in changes if c.priority == 0]
        denied = self._tell([(job, f"update JobId={_name(job)} StartTime=now+1minute") for job in holds])
        started = {one.job_id for one in denied}
        changes = [c for c in changes if c.job_id not in started]
        denied += self._tell([(c.job_id, line) for c in changes for line in _lines(c)])
        texts: dict[tuple[str | None, str | None], list[Target]] = {}
        for change in changes:
            if change.comment is not None or change.admin_comment is not None:
                texts.setdefault((change.comment, change.admin_comment), []).append(change.job_id)
        for (comment, admin), jobs in texts.items():
            for some in _chunks(jobs):
                denied += self._write(some, comment, admin)
        return denied

    def cancel(self, jobs: Sequence[Target]) -> None:
        for some in _chunks(jobs):
            self._forgiving(["scancel", *map(_name, some)])

    def signal(self, jobs: Sequence[Target], name: str) -> None:
        for some in _chunks(jobs):
            self._forgiving(["scancel", "--batch", f"--signal={batch.plain(name, 'signal')}", *map(_name, some)])

    def requeue(self, jobs: Sequence[Target], *, hold: bool) -> list[Denied]:
        verb = "requeuehold" if hold else "requeue"
        return self._tell([(job, f"{verb} {_name(job)}") for job in jobs])

    def _write(self, jobs: Sequence[Target], comment: str | None, admin: str | None) -> list[Denied]:
        """The same text to many jobs: one argument of one process, which nothing in it can leave."""
        command = ["scontrol", "update", f"JobId={','.join(map(_name, jobs))}"]
        command += [] if comment is None else [f"Comment={batch.line(comment)}"]
        command += [] if admin is None else [f"AdminComment={batch.line(admin)}"]
        ran = self._run(command)
        if not ran.code:
            return []
        said = ran.errors.decode("utf-8", "replace").splitlines()
        if not any(_FOR_JOB.search(one) for one in said) and _AWAY.search(ran.why):
            raise FabriqueError("engine.unavailable", why=ran.why)
        named = {match[1]: one.strip()[:300] for one in said if (match := _FOR_JOB.search(one))}
        return [Denied(job, named.get(_name(job), ran.why)) for job in jobs if not named or _name(job) in named]

    def _tell(self, orders: Sequence[tuple[Target, str]]) -> list[Denied]:
        """Lines for one scontrol. After each comes a word that it does not know: its complaints part the answers."""
        if not orders:
            return []
        token = _token().strip("|")
        text = "".join(f"{line}\n{token}{number}\n" for number, (_, line) in enumerate(orders))
        ran = self._run(["scontrol"], f"{text}quit\n".encode(), timeout_s=self._timeout_s + len(orders) * 0.02)
        said = ran.errors.decode("utf-8", "replace")
        denied: dict[Target, str] = {}
        for number, (job, _) in enumerate(orders):
            before, found, said = said.partition(f"{token}{number}\n")
            if not found:
                raise FabriqueError("engine.unavailable", why=ran.why)
            why = "; ".join(one for one in before.splitlines() if one.strip() and "invalid keyword" not in one)
            if why and re.search(r"unable to contact|socket timed out|connect", why, re.IGNORECASE):
                raise FabriqueError("engine.unavailable", why=why[:300])
            if why:
                denied.setdefault(job, why[:300])
        return [Denied(job, why) for job, why in denied.items()]

    def _forgiving(self, command: Sequence[str]) -> None:
        """A job that is over or unknown is no error."""
        ran = self._run(command)
        bad = [
            one for one in ran.errors.decode("utf-8", "replace").splitlines() if one.strip() and not _OVER.search(one)
        ]
        if ran.code and bad:
            away = _AWAY.search(" ".join(bad))
            raise FabriqueError("engine.unavailable" if away else "engine.refused", why=ran.why)

    def _newer_fields(self) -> list[str]:
        if "fields" not in self._known:
            self._known["fields"] = self._ask("sacct", "--helpformat").output.decode("utf-8", "replace")
        known = set(self._known["fields"].split())
        return [name for name in rows.NEWER_RECORDS if name in known]

    def _ask(self, *command: str) -> Ran:
        """A question: whatever goes wrong, it may be asked again later."""
        ran = self._run(command)
        if ran.code:
            raise FabriqueError("engine.unavailable", why=ran.why)
        return ran

    def _run(
        self,
        command: Sequence[str],
        given: bytes = b"",
        *,
        keep: Sequence[int] = (),
        timeout_s: float | None = None,
    ) -> Ran:
        name = command[0] if self._binaries is None else str(self._binaries / command[0])
        return running.run([name, *command[1:]], self._environment, timeout_s or self._timeout_s, given, keep)


def _group_of(user: str | None) -> int | None:
    """Raises `engine.refused` for a user that this machine does not know."""
    try:
        return None if user is None else pwd.getpwnam(user).pw_gid
    except KeyError:
        raise FabriqueError("engine.refused", why=f"no user {user}") from None


def _name(job: Target) -> str:
    """`7`, or `7_3` for one task of an array: digits, whatever was given."""
    return str(int(job)) if isinstance(job, int) else f"{int(job[0])}_{int(job[1])}"


def _lines(change: Change) -> Iterator[str]:
    """What one change is in scontrol's own words: numbers and plain names, so that there is nothing to quote.

    A held job takes no priority before it is released; released first, it has Slurm's own for a moment. One that is to
    be held was given a later start before, in place of which it has its own again.
    """
    job = f"JobId={_name(change.job_id)}"
    if change.limit_ms is not None:
        yield f"update {job} TimeLimit={batch.minutes(change.limit_ms)}"
    if change.licences is not None:
        yield f"update {job} Licenses={batch.licences(change.licences)}"
    if change.nice is not None:
        yield f"update {job} Nice={int(change.nice)}"
    if change.let_go or (change.priority is not None and change.priority > 0):
        yield f"release {_name(change.job_id)}"
    if change.priority is not None:
        yield f"update {job} Priority={int(change.priority)}"
    if change.priority == 0:
        yield f"update {job} StartTime={'now' if change.begin_ms is None else _iso(change.begin_ms)}"


def _readable(found: tuple[list[T], list[Unread]], ran: Ran) -> tuple[list[T], list[Unread]]:
    """Some that can't be read are set aside; an answer of nothing else is no answer."""
    good, bad = found
    if bad and not good:
        raise FabriqueError("engine.garbage", why=bad[0].why)
    return good, bad


def _token() -> str:
    """Parts the fields of one call. It starts with a sign that is no digit: a digit would be a width."""
    return f"|{secrets.token_hex(8)}|"


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(max(0, at_ms) // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _chunks(things: Iterable[T]) -> Iterator[list[T]]:
    whole = list(things)
    for start in range(0, len(whole), _AT_ONCE):
        yield whole[start : start + _AT_ONCE]
