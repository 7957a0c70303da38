"""The control loop. `Loop.cycle` is one turn: observe -> settle -> decide -> act."""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Event
from uuid import UUID

from django.db import OperationalError, close_old_connections

from fabrique.apps.jobs import cycle
from fabrique.apps.jobs.models import HubState, Intent, Job, Run
from fabrique.apps.jobs.settlement import BEGIN, LIVE
from fabrique.apps.this_hub import ThisHub
from fabrique.core.admission.plan import Plan, Preempt
from fabrique.core.admission.rules import Rules
from fabrique.core.clock import has_passed
from fabrique.core.errors import FabriqueError
from fabrique.core.job import JobState
from fabrique.core.reasons import Reason, reason
from fabrique.engines.protocol import Engine
from fabrique.operate import act, ahead, decide, duties, out_of_service, settle
from fabrique.operate.books import Books
from fabrique.operate.deciding import Deciding, rules_in_force
from fabrique.operate.doors import Doors
from fabrique.operate.metering import Metering
from fabrique.operate.observe import Sight, intent_of, look
from fabrique.operate.options import Asked
from fabrique.operate.starting import Starting
from fabrique.operate.what_if import Attendant

log = logging.getLogger("fabrique.loop")

LEASE_MS = 10_000
WINDOW_MS = 60_000  # a metering window closes at the latest then, and whenever a run ends
DUTY_MS = 60_000
_FOR_EVER = ("engine.refused", "job.field")  # asking again would change nothing


@dataclass(slots=True)
class Turn:
    """What one cycle did."""

    leader: bool = True
    started: list[Job] = field(default_factory=list)
    ended: int = 0
    waiting: int = 0
    silent: dict[str, str] = field(default_factory=dict)


class Loop:
    """One per process. `clock` gives UTC milliseconds; `steady`, those of a clock that never steps, if there is one."""

    def __init__(
        self,
        here: ThisHub,
        engines: Mapping[str, Engine],
        metering: Metering,
        clock: Callable[[], int],
        rules: Rules | None = None,
        steady: Callable[[], int] | None = None,
    ) -> None:
        self.here, self.engines, self.metering = here, engines, metering
        self.clock, self.steady = clock, steady
        self.rules = rules
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._deciding: tuple[int, Deciding] | None = None
        self._window_from: int | None = None
        self._duties_at = 0
        self._replays = Attendant()
        self._doors = Doors(here, engines)

    def cycle(self) -> Turn:
        """One turn. Nothing is done, and that is said, while another loop holds the lease."""
        now, begun = self.clock(), time.monotonic()
        epoch = cycle.take_lease(self.holder, now=now, life_ms=LEASE_MS)
        if epoch is None:
            return Turn(leader=False)
        state = cycle.hub_state()
        # 1. observe
        runs = cycle.live_runs()
        sight = look(self.engines, runs, with_listings=cycle.has_unresolved())
        turn = Turn(silent=sight.silent)
        # 2. settle
        settled = self._settle(state, runs, sight, epoch)
        turn.ended = len(settled)
        runs = [run for run in runs if run.pk not in settled]
        # 3. decide, 4. act
        if not state.observe_only:
            self._duties(now)
            self._resolve(runs, sight, epoch)
            admitted = self._doors.take_in(runs, sight, epoch, now=now)
            self._remember_what_is_away(state)
            if self._doors.account(epoch, now=now) or admitted or any(run.state not in LIVE for run in runs):
                runs = cycle.live_runs()
        runs += self._decide_and_act(state, runs, sight, epoch, turn)
        if not state.observe_only:
            self._doors.show(sight)
            self._doors.keep(runs, now=self.clock())
        self._replays.attend(now)
        took = round((time.monotonic() - begun) * 1000)
        last = {"last_cycle_ms": now, "last_cycle_took_ms": took, "silent": dict(sight.silent)}
        HubState.objects.filter(pk=1).update(cycles=state.cycles + 1, **last)
        return turn

    # --- settle ---------------------------------------------------------------------------------------------

    def _settle(self, state: HubState, runs: Sequence[Run], sight: Sight, epoch: int) -> set[UUID]:
        """Those that were settled."""
        now, ticks = self.clock(), self.steady() if self.steady else None
        over = settle.write_down(runs, sight, now=now)
        if ticks is not None:
            started = {str(run.id): run.started_ms for run in runs if run.started_ms is not None}
            self.metering.steady.turn(now, ticks, started)
        due = self._window_from is None or has_passed(self._window_from, WINDOW_MS, now=now)
        if not over and not due:
            return set()
        self._window_from = now
        return settle.book(self.here, self.metering, state, runs, over, sight, epoch, now=now)

    # --- act on what was intended before -----------------------------------------------------------------

    def _resolve(self, runs: Sequence[Run], sight: Sight, epoch: int) -> None:
        """Cancels that were asked for, and intents whose act may not have reached the engine."""
        now = self.clock()
        begin = cycle.unresolved(runs)
        for run in runs:
            if run.engine in sight.silent:
                continue
            if run.job.cancel_ms is not None:
                self._cancel(run, epoch)
            elif run.job.status == JobState.ENDING.value:
                for intent in Intent.objects.filter(run=run, act="preempt", acted_ms__isnull=True):
                    self._tell(intent, run, epoch)
            # a job of the cluster's own door is in its queue; a release that did not arrive is the doors' to repeat
            for intent in (one for one in begin.get(run.pk, ()) if one.act == "submit"):
                self._retry(intent, run, sight, epoch, now)

    def _cancel(self, run: Run, epoch: int) -> None:
        intent = cycle.intend(run, "cancel", epoch, now=self.clock())
        if intent is not None:
            self._tell(intent, run, epoch)

    def _retry(self, intent: Intent, run: Run, sight: Sight, epoch: int, now: int) -> None:
        """Again under the same name: once two complete listings after the timeout did not show it, or where it is there
        and the act never came to its end, as that of a run that was to be released after its level was written.
        """
        seen = sight.runs.get(str(run.id))
        present = intent_of(run) in sight.listed.get(run.engine, frozenset())
        if run.engine not in sight.listed or (seen is not None and seen.state not in ("unknown", "starting")):
            return
        if present and intent.acted_ms is not None:
            return
        if not has_passed(intent.acted_ms or intent.created_ms, settle.INTENT_TIMEOUT_MS, now=now):
            return
        if not present and not self._absent(intent):
            return
        self._tell(intent, run, epoch)

    @staticmethod
    def _absent(intent: Intent) -> bool:
        """Whether it was so often that this proves something; then it is counted anew."""
        intent.absences = (intent.absences + 1) % settle.ABSENCES
        intent.save(update_fields=["absences"])
        return intent.absences == 0

    def _tell(self, intent: Intent, run: Run, epoch: int) -> None:
        try:
            act.tell(self.engines[run.engine], self.here, intent)
        except FabriqueError as error:
            log.warning("engine %s: %s on %s", run.engine, error.code, intent.id)
            if error.code in _FOR_EVER and intent.act in BEGIN:
                settle.refused(run, str(error), epoch, now=self.clock())
            return
        cycle.acted([intent], epoch, now=self.clock())

    # --- decide ---------------------------------------------------------------------------------------------

    def _decide_and_act(
        self, state: HubState, runs: Sequence[Run], sight: Sight, epoch: int, turn: Turn
    ) -> Sequence[Run]:
        """The runs that this began."""
        now = self.clock()
        jobs = cycle.pending_jobs()
        if not state.observe_only:  # a restored hub does not know yet what became of them
            jobs = self._still_possible(jobs, now)
        turn.waiting = len(jobs)
        early = {str(run.job_id): run for run in runs if ahead.is_ahead(run)}
        jobs += [run.job for run in early.values()]
        if not jobs:
            return ()
        books = Books(self.here, now)
        asks = {str(a.job.number): a for a in decide.asked(self.here, jobs, books, capped=True)}
        rules = replace(self.rules or rules_in_force(self.here, now), observe_only=state.observe_only)
        cycle.waits([(a.job, _none_fits(a), None) for a in asks.values() if not a.offers], now=now)
        deciding = self._deciding_under(epoch, state, now)
        rows = decide.rows(self.here, list(asks.values()), runs, rules, books, self._doors.away, now=now)
        plan = deciding.plan(rows, rules, now)
        if plan is None:
            return ()
        cycle.remember({**deciding.kept(), out_of_service.KEPT: self._doors.away.as_json()})
        for stop in plan.preempts:
            self._preempt(stop, runs, epoch)
        starting = Starting(self.here, self.engines, runs, sight.silent, books, now)
        crowded = self._doors.keeps_waiting(runs, now=now)
        one_way = {row.id for row in rows.jobs if len(row.options) == 1}
        begun = self._begin(plan, asks, early, starting, epoch, one_way=one_way, crowded=crowded)
        turn.started += [run.job for run in begun if not ahead.is_ahead(run)]
        said = [(asks[w.job], w) for w in plan.waits]
        cycle.waits([(ask.job, decide.why_it_waits(ask, w.reason, books, asks), w.by_ms) for ask, w in said], now=now)
        return begun

    def _begin(
        self,
        plan: Plan,
        asks: Mapping[str, Asked],
        early: Mapping[str, Run],
        starting: Starting,
        epoch: int,
        *,
        one_way: Collection[str],
        crowded: bool,
    ) -> list[Run]:
        """What starts now, in the planned order; then, on a cluster, what is next, released ahead of its turn.

        `one_way`: jobs with one partition and one power level to start at; of others that is chosen at their turn.
        `crowded`: what was told to start still waits there, so nothing goes ahead of it.
        """
        planned = ((asks[s.job], s.partition, s.level, s.reason) for s in plan.starts if s.job not in early)
        began = starting.admit(planned, epoch)
        for intent in began:
            if intent.act == "submit":
                self._tell(intent, intent.run, epoch)
        promoted = [early[s.job] for s in plan.starts if s.job in early]
        ahead.promote(promoted)
        self._doors.release(_releases(began), promoted, epoch, now=self.clock())
        if not self._doors.look_ahead_ms:
            return [intent.run for intent in began]
        soon = [] if crowded else ahead.chosen(plan, self._doors.look_ahead_ms, self.clock())
        stays = {w.job for w in soon} | {s.job for s in plan.starts}
        self._doors.recall([run for job, run in early.items() if job not in stays], epoch, now=self.clock())
        more = starting.admit(
            (
                (asks[w.job], asks[w.job].offers[0].partition, "", w.reason)
                for w in soon
                if w.job not in early and w.job in one_way and asks[w.job].job.door  # others: in their turn
            ),
            epoch,
            early=True,
        )
        self._doors.release(_releases(more), [], epoch, now=self.clock(), early=True)
        waiting = dict(early) | {str(intent.run.job_id): intent.run for intent in more}
        self._doors.rank([waiting[w.job] for w in soon if w.job in waiting])
        return [intent.run for intent in (*began, *more)]

    def _remember_what_is_away(self, state: HubState) -> None:
        """Also while nothing waits to be decided: people look."""
        away = self._doors.away.as_json()
        if state.decided.get(out_of_service.KEPT) != away:
            state.decided = {**state.decided, out_of_service.KEPT: away}
            cycle.remember(state.decided)

    def _deciding_under(self, epoch: int, state: HubState, now: int) -> Deciding:
        """What is remembered is the leader's: who takes the lease over goes on from what was kept."""
        if self._deciding is None or self._deciding[0] != epoch:
            self._deciding = epoch, Deciding(self.here.home, state.decided, now)
        return self._deciding[1]

    def _preempt(self, stop: Preempt, runs: Sequence[Run], epoch: int) -> None:
        run = next((r for r in runs if str(r.job_id) == stop.job), None)
        if run is None:
            return
        intent = cycle.intend(run, "preempt", epoch, now=self.clock(), why=stop.reason)
        if intent is not None:
            self._tell(intent, run, epoch)

    def _still_possible(self, jobs: Sequence[Job], now: int) -> list[Job]:
        late = {job.pk: why for job in jobs if (why := decide.too_late(job, now=now)) is not None}
        for job in jobs:
            if job.pk in late:
                cycle.refuse(job, late[job.pk], now=now)
        return [job for job in jobs if job.pk not in late]

    # --- duties ---------------------------------------------------------------------------------------------

    def _duties(self, now: int) -> None:
        if not has_passed(self._duties_at, DUTY_MS, now=now):
            return
        self._duties_at = now
        duties.perform(self.here, now=now)


def _releases(intents: Iterable[Intent]) -> list[Intent]:
    """A submission is told to its engine at once; releases go together, in order."""
    return [intent for intent in intents if intent.act == "release"]


def _none_fits(ask: Asked) -> Reason:
    return ask.refusal or reason("refuse.no-budget-in-kind", kind=", ".join(ask.spec.kinds))


def run(
    loop: Loop,
    stop: Event,
    *,
    every_s: float = 0.5,
    on_turn: Callable[[Turn], None] | None = None,
    until: Callable[[], bool] = lambda: False,
) -> None:
    """Turns until `stop`, or `until` says so. What is away, engine or database, is waited for; without its home the
    loop ends.
    """
    from fabrique.core.admission.kernels import fast

    fast.load()  # before the lease: a machine that has never decided compiles for half a minute
    try:
        while not (stop.is_set() or until()):
            begun = time.monotonic()
            try:
                turn = loop.cycle()
            except FabriqueError as error:
                if error.code.startswith("home."):
                    raise
                log.warning("this turn ended early: %s", error)
                turn = Turn(leader=error.code != "lease.lost")
            except OperationalError as error:
                log.warning("the database does not answer: %s", type(error).__name__)
                close_old_connections()
                turn = Turn(leader=False)
            if on_turn:
                on_turn(turn)
            stop.wait(max(every_s - (time.monotonic() - begun), 0.05))
    finally:
        cycle.drop_lease(loop.holder)
