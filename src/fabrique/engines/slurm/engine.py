"""Slurm as an engine: the runs that the hub submits, behind the protocol of every engine.

All that is observed comes from one look at the queue, shared for `look_ms`; what left the queue is asked of the
accounting. `door` adds what people bring to Slurm themselves.

What Slurm does otherwise than an engine of ours: the grace between TERM and KILL is the cluster's KillWait; limits are
whole minutes, instants whole seconds; a warning kills a script that does not listen; output beyond its limit ends the
run at the next look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from fabrique.core.errors import FabriqueError
from fabrique.engines import records
from fabrique.engines.protocol import DeviceSlot, Listing, Observation, PartitionCapacity, RunSpec
from fabrique.engines.slurm import ends, folder, placing
from fabrique.engines.slurm.door import OwnDoor
from fabrique.engines.slurm.folder import Answering, Folder
from fabrique.engines.slurm.model import OURS, THEIRS, Change, Node, QueuedJob, Record, Target, Transport, target_of
from fabrique.engines.slurm.placing import Settings
from fabrique.engines.slurm.sight import Look, Sight

_LOG_MOST: Final = 4 * 1024 * 1024
_NO_LIMIT: Final = 1 << 62
_MOST_SLOTS: Final = 1024  # of one type on one node


class SlurmEngine(OwnDoor):
    """`clock` gives UTC milliseconds."""

    def __init__(self, transport: Transport, settings: Settings, clock: Callable[[], int]) -> None:
        self.root = settings.runs.absolute()
        with Answering():
            self.root.mkdir(parents=True, exist_ok=True)
            self.root.chmod(0o711)  # jobs walk through it to their own folders
        self.settings, self._clock = settings, clock
        super().__init__(transport, Sight(transport, settings, clock))

    # --- to begin -------------------------------------------------------------------------------------------------

    def submit(self, spec: RunSpec) -> None:
        """The order is written, then Slurm is asked; by whom of several callers, the lock decides.

        Raises `engine.unavailable` while it is not certain what became of an earlier attempt.
        """
        order = placing.written(spec, self.settings.own_login)
        run = Folder(self.root, spec.intent)
        with Answering(), run.locked():
            if run.purged:
                raise FabriqueError("engine.refused", why="purged", intent=spec.intent)
            run.write_once(records.ORDER, order)
            self._sight.learn(spec.intent)
            if run.has(records.CANCEL) and not self._taken(run):
                run.write_once(folder.END, ends.never_started(self._clock()))
            if not self._taken(run):
                job = self._earlier(run)
                self._took(run, self._ask(run, spec) if job is None else job)
            if self.transport.acts_as_user and spec.user.login and not run.has(folder.END):
                self._pass_door(run, spec)

    def _pass_door(self, run: Folder, spec: RunSpec) -> None:
        """The door took it for a person's own: held it, and gave it licences for the most that it may draw.

        One that has started is refused the change, and needs none.
        """
        job = int((run.read(folder.SUBMITTED) or {})["job"])
        licences = dict(self.settings.licences(spec)) or None
        held = run.has(records.HOLD)
        if licences or not held:
            self.transport.change([Change(job, let_go=not held, licences=licences)])
            self._sight.stale()

    def _earlier(self, run: Folder) -> int | None:
        """The job that an earlier attempt made, known by name, user and account in the queue or the accounting."""
        order, asked = run.read(records.ORDER), run.read(folder.ASKED)
        if order is None:
            raise FabriqueError("engine.unavailable", why="the order can't be read")
        if asked is None and not self._sight.may_be_forgotten():
            return None
        since = None if asked is None else int(asked["at"])
        job = self._sight.earlier(run.intent, str(order["user"]), str(order["account"]), since)
        if job is None and since is not None and 0 <= self._clock() - since < self.settings.unclear_ms:
            raise FabriqueError("engine.unavailable", why="an earlier submission was not answered")
        return job

    def _ask(self, run: Folder, spec: RunSpec) -> int:
        order = placing.order(spec, run, self.settings.licences(spec), held=run.has(records.HOLD))
        run.make_work(spec.user.login)
        run.write(folder.ASKED, {"at": self._clock()})
        try:
            return self.transport.submit(order)
        except FabriqueError as error:
            if error.code in ("engine.refused", "job.field"):  # a clear no: nothing is there
                run.forget(folder.ASKED)
            raise

    def _took(self, run: Folder, job: int) -> None:
        run.write(folder.SUBMITTED, {"job": job, "at": self._clock()})
        run.forget(folder.ASKED)
        self._sight.learn(run.intent)
        self._sight.stale()

    # --- to see ---------------------------------------------------------------------------------------------------

    def observe(self, intents: Sequence[str]) -> list[Observation]:
        runs = [Folder(self.root, intent) for intent in intents]
        with Answering():
            found = {run.intent: seen for run in runs if (seen := self._kept(run)) is not None}
            if len(found) == len(set(intents)):
                return [found[intent] for intent in intents]
            left = [run for run in runs if run.intent not in found]
            self._sight.know(run.intent for run in left)
            look = self._sight.look()
            found |= {run.intent: seen for run in left if (seen := self._there(run, look)) is not None}
            gone = [run for run in left if run.intent not in found]
            found |= self._gone(gone, look) if gone else {}
            return [found[intent] for intent in intents]

    def _kept(self, run: Folder) -> Observation | None:
        """Its end, where that is certain already; nothing of one that was purged."""
        if THEIRS.fullmatch(run.intent):
            return None
        if (end := run.read(folder.END)) is None:
            return Observation(run.intent, "unknown") if run.purged else None
        return ends.remembered(run.intent, end, run.output_bytes())

    def _there(self, run: Folder, look: Look) -> Observation | None:
        """What the queue says of a job that is not over; None: ask the accounting."""
        found = look.find(run.intent)
        if found is None or ends.is_over(found[0]):
            return None
        job = found[0]
        self._sight.there_again(run)
        if not run.intent.startswith(OURS):
            return ends.underway(run.intent, job, look.at_ms, None)
        if job.restarts:  # Slurm, or an operator, put it back in the queue: a run starts once
            self._end(job)
            return None
        output = run.output_bytes()
        if job.state == "RUNNING":
            self._tend(run, job, output or 0)
        return ends.underway(run.intent, job, look.at_ms, output)

    def _tend(self, run: Folder, job: QueuedJob, output: int) -> None:
        """End what was warned long enough ago, or has said more than it may."""
        order, told = run.read(records.ORDER) or {}, run.read(records.PREEMPT)
        if told is not None and self._clock() - int(told["at"]) >= int(order.get("lead", 0)):
            self._end(job)
        elif output > int(order.get("output_limit", _NO_LIMIT)):
            run.write_once(folder.OUTPUT, {"at": self._clock()})
            self._end(job)

    def _end(self, job: QueuedJob) -> None:
        """What Slurm does not do now is asked for again at the next look: it hides nothing of the others."""
        with suppress(FabriqueError):
            self.transport.cancel([job.job_id])

    def _gone(self, runs: Sequence[Folder], look: Look) -> dict[str, Observation]:
        """By the accounting, asked for all of them at once; else by the controller, while it still knows."""
        jobs = {run.intent: job for run in runs if (job := self._job_of(run, look)) is not None}
        known, trouble = self._sight.ended(set(jobs.values()))
        trouble = trouble or ("a part of the queue can't be read" if look.unread else None)
        seen: dict[str, Observation] = {}
        for run in runs:
            found = look.find(run.intent)
            over = found[0] if found is not None and ends.is_over(found[0]) else None
            if over is not None and over.restarts and run.intent.startswith(OURS) and trouble is None:
                over = None  # the end of a second run, which we did not let be: the first one's is in the accounting
            one = known.get(run.intent, over)
            if isinstance(one, Record) and over is not None:  # sacct takes 128 off an exit code: 137 becomes 9
                one = replace(one, exit_code=over.exit_code, signal=over.signal)
            if over is not None and one is over and trouble is None and self._may_still_come(over):
                seen[run.intent] = ends.underway(run.intent, over, over.ended_ms or look.at_ms, run.output_bytes())
            elif one is not None:
                seen[run.intent] = self._ended(
                    run,
                    ends.ended(run.intent, one, run.output_bytes(), run.marks(), own_counter=self._own_counter(one)),
                )
            elif run.intent not in jobs:
                seen[run.intent] = Observation(run.intent, "unknown")
            else:
                seen[run.intent] = self._nowhere(run, trouble)
        return seen

    def _may_still_come(self, job: QueuedJob) -> bool:
        """Whether the accounting, with what the run used, is only a little behind the controller."""
        return bool(job.nodes) and job.ended_ms is not None and self._clock() - job.ended_ms < self.settings.late_ms

    def _own_counter(self, one: QueuedJob | Record) -> bool:
        """Whether what its nodes drew, if anybody counted it, it alone drew."""
        return isinstance(one, Record) and one.energy_mj is not None and self._sight.alone(one)

    def _ended(self, run: Folder, seen: Observation) -> Observation:
        if not THEIRS.fullmatch(run.intent):
            run.write_once(folder.END, ends.kept(seen))
        return seen

    def _nowhere(self, run: Folder, trouble: str | None) -> Observation:
        """Lost once the accounting, readable all the time, had its time."""
        if trouble is not None:
            self._sight.there_again(run)
            return Observation(run.intent, "unknown", error=trouble)
        now = self._clock()
        since = self._sight.missing(run, now)
        if now - since < self.settings.grace_ms:
            return Observation(run.intent, "unknown", error="not in the queue, and no end in the accounting yet")
        return Observation(run.intent, "lost", "lost", last_seen_ms=since)

    def _job_of(self, run: Folder, look: Look) -> int | None:
        if match := THEIRS.fullmatch(run.intent):
            return int(match[1])
        if (submitted := run.read(folder.SUBMITTED)) is not None:
            return int(submitted["job"])
        found = look.find(run.intent)
        return None if found is None else found[0].job_id

    def job_of(self, intent: str) -> int | None:
        """Slurm's id of a run that was submitted from here."""
        submitted = Folder(self.root, intent).read(folder.SUBMITTED)
        return None if submitted is None else int(submitted["job"])

    def list(self) -> Listing:
        """Those that have a folder here, and those in the queue that are ours though their folder was lost."""
        at = self._clock()
        with Answering():
            look = self._sight.look()
            here = {name for name in folder.intents(self.root) if self._taken(Folder(self.root, name))}
            there = {name for name in look.jobs if name.startswith(OURS) and not Folder(self.root, name).purged}
            return Listing(not look.unread, tuple(sorted(here | there)), at)

    def expect(self, intent: str, login: str | None, account: str) -> None:
        """After a restore: a job of this name is ours where it is this login's (None: our own) in this account."""
        self._sight.expect(intent, login or self.settings.own_login, account)

    def adopt(self, intent: str) -> bool:
        """Also one whose folder was lost, while queue or accounting know it as our own login's, or as expected."""
        run = Folder(self.root, intent)
        with Answering():
            if run.purged:
                return False
            if self._taken(run):
                return True
            found = self._sight.orphan(intent)
            if found is None:
                return False
            run.write_once(records.ORDER, {"user": found.user, "account": found.account, "adopted": True})
            self._took(run, found.job_id)
            return True

    def read_log(self, intent: str, offset: int, limit: int) -> tuple[bytes, int, bool]:
        """The output of a run of ours, up to its limit; of people's own jobs nothing is read."""
        run = Folder(self.root, intent)
        offset = max(0, offset)
        with Answering():
            if not self._taken(run):
                raise FabriqueError("log.missing", intent=intent)
            most = int((run.read(records.ORDER) or {}).get("output_limit", _NO_LIMIT))
            over = run.has(folder.END)
            data, size = run.log(offset, min(limit, _LOG_MOST, max(0, most - offset)))
        following = offset + len(data)
        return data, following, over and following >= min(size, most)

    def capacity(self) -> PartitionCapacity:
        """All nodes of the partitions served that run jobs, or could once they are powered up, together."""
        served = set(self.settings.partitions)
        nodes = [node for node in self.nodes() if node.up and served & set(node.partitions)]
        cores = sum(node.total.cores for node in nodes)
        slots = tuple(slot for node in nodes for slot in self._slots(node))
        return PartitionCapacity(tuple(range(cores)), sum(node.total.memory_mb for node in nodes), slots)

    def _slots(self, node: Node) -> Sequence[DeviceSlot]:
        typed = {kind: number for kind, number in node.total.gpus.items() if kind} or {"gpu": node.total.devices}
        return [
            DeviceSlot(self.settings.vendors.get(kind, ""), index, f"{node.name}/{kind}/{index}")
            for kind, number in sorted(typed.items())
            for index in range(min(number, _MOST_SLOTS))
        ]

    # --- to end ---------------------------------------------------------------------------------------------------

    def cancel(self, intent: str, grace_ms: int) -> None:
        """Slurm's own: TERM, then KILL after the cluster's KillWait, whatever the grace."""
        run = Folder(self.root, intent)
        with Answering():
            if not THEIRS.fullmatch(intent):
                run.write(records.CANCEL, {"at": self._clock()})
            target = self._target(run)
            if target is not None:
                self.transport.cancel([target])
                self._sight.stale()

    def _target(self, run: Folder) -> Target | None:
        if run.has(folder.END):
            return None
        found = self._sight.find([run.intent]).get(run.intent)
        if found is not None:
            return None if ends.is_over(found[0]) else found[1]
        submitted = run.read(folder.SUBMITTED)
        return None if submitted is None else int(submitted["job"])

    def preempt(self, intent: str) -> None:
        """The checkpoint signal now; the end after the lead time at the next look, by its limit at the latest."""
        run = Folder(self.root, intent)
        with Answering():
            run.write_once(records.PREEMPT, {"at": self._clock()})
            order = run.read(records.ORDER) or {}
            found = self._sight.find([intent]).get(intent)
            if found is None or ends.is_over(found[0]):
                return
            job, name, lead = found[0], order.get("warning"), int(order.get("lead", 0))
            if job.started_ms is None or not name or not lead:
                self.transport.cancel([target_of(job)])
                return
            self.transport.signal([job.job_id], str(name))
            limit = self._clock() - job.started_ms + lead
            if job.limit_ms is None or limit < job.limit_ms:
                self.transport.change([Change(job.job_id, limit_ms=limit)])

    def purge(self, intent: str) -> None:
        run = Folder(self.root, intent)
        if not run.path.exists():
            return
        if self.observe([intent])[0].state in ("starting", "running"):
            raise FabriqueError("engine.refused", why="running", intent=intent)
        with Answering():
            run.purge()
        self._sight.learn(intent)

    def _taken(self, run: Folder) -> bool:
        return run.has(folder.SUBMITTED) or run.has(folder.END)
