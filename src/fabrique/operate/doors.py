"""The cluster's own door, turn by turn: what came is taken in, what was decided released, why others wait shown."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from fabrique.apps.access.models import Project
from fabrique.apps.jobs import cycle, intake
from fabrique.apps.jobs.models import Intent, Run, RunState
from fabrique.apps.provision import services as provision
from fabrique.apps.this_hub import ThisHub
from fabrique.core.clock import has_passed
from fabrique.core.errors import FabriqueError
from fabrique.core.reasons import from_json
from fabrique.engines.protocol import Engine
from fabrique.language.say import Speaker
from fabrique.operate import ahead, door_levels
from fabrique.operate.backstop import Backstop
from fabrique.operate.ingest import Accounting, Ingest
from fabrique.operate.intake import Door, Intake, Taken, admit_running, shown
from fabrique.operate.observe import Sight, intent_of
from fabrique.operate.out_of_service import NOTHING, HasNodes, OutOfService

log = logging.getLogger("fabrique.loop")

WAITS_MS: Final = 3_000  # longer than a cluster needs to start what has room
RELEASE_TIMEOUT_MS: Final = 5_000  # held for so long after its release: it did not arrive
CANCELLED_MS: Final = 86_400_000  # a cancel is repeated for so long while the engine still shows the job
SHOWS_REST: Final = 9  # times as long as it took, reasons are not shown anew: what starts goes first
PREFIX: Final = "fabrique: "  # of what we write beside a job


def project_of(engine: str, account: str, qos: str) -> Project | None:
    """Whose account it is there, by the names that were given; None for a stranger's."""
    found = provision.accounts_of(engine).get(account)
    return None if found is None else Project.objects.filter(pk=found).first()


class Doors:
    """The door of the hub's cluster; of a hub without one there is nothing to do here."""

    def __init__(self, here: ThisHub, engines: Mapping[str, Engine]) -> None:
        # one sentence for everybody: in the first language, with the names by which people know their devices
        self.say = Speaker(here.languages[0], here.timezone, {k: kind.name for k, kind in here.kinds.items()}).reason
        self.name, self.door = "", None
        self.look_ahead_ms = 0
        self.ingest: Ingest | None = None
        self.backstop: Backstop | None = None
        self._service: OutOfService | None = None
        cluster = here.deployment.cluster
        engine = engines.get(cluster.engine) if cluster else None
        if cluster is not None and isinstance(engine, Door):
            self.name, self.door = cluster.engine, engine
            self.intake = Intake(here, cluster, project_of)
            self.ingest = Ingest(here, cluster, project_of) if isinstance(engine, Accounting) else None
            self.backstop = Backstop(here, cluster)
            self._service = OutOfService(cluster, engine.nodes) if isinstance(engine, HasNodes) else None
            self.look_ahead_ms = cluster.look_ahead_s * 1000
        self.here = here
        self._taken = Taken()
        self.away = NOTHING
        self._shows_at = 0.0
        self._told: dict[str, int] = {}  # what was told to start, and when
        self._order: list[str] = []  # of what was released ahead, as the engine was told

    def take_in(self, runs: Sequence[Run], sight: Sight, epoch: int, *, now: int) -> bool:
        """New jobs get rows; what runs without our word is admitted after the fact; what nobody holds is held.

        True where there are other runs than before.
        """
        if self.door is None or self.name in sight.silent:
            return False
        try:
            self._taken = taken = self.intake.look(self.door, [r for r in runs if r.engine == self.name], now=now)
            self.away = self._service.look(taken.others, now=now) if self._service else NOTHING
            for job, came in taken.running:
                self._admit(job.pk, lambda job=job, came=came: admit_running(self.here, job, came, epoch, now=now))
            if taken.loose:
                self._held(taken.loose)
            grown = [run for run in runs if run.handle in taken.changed]
            if grown and self.recall(grown, epoch, now=now):  # its hold was for less: it is decided on anew
                self.intake.decided_anew(taken.changed, now=now)
            self._repeat(taken, runs, now=now)
        except FabriqueError as error:
            if error.code == "lease.lost":
                raise
            log.warning("engine %s: what came by its own door waits: %s", self.name, error)
            sight.silent[self.name] = error.code
        return bool(self._taken.running or self._taken.changed)

    def account(self, epoch: int, *, now: int) -> bool:
        """What really ran, by the accounting's word, whether or not the queue answers. True where it was due."""
        if self.ingest is not None and isinstance(self.door, Accounting):
            return self.ingest.turn(self.door, epoch, now=now)
        return False

    def _admit(self, number: int, admit: Callable[[], bool]) -> None:
        """One job that can't be booked stops no other."""
        try:
            admit()
        except FabriqueError as error:
            if error.code == "lease.lost":
                raise
            log.exception("job %s runs at %s and can't be booked yet", number, self.name)

    def _repeat(self, taken: Taken, runs: Sequence[Run], *, now: int) -> None:
        """Releases that did not arrive, and cancels of jobs that are shown still."""
        assert self.door is not None  # noqa: S101 - only called with one
        late = {intent_of(run): run for run in runs if has_passed(run.planned_ms, RELEASE_TIMEOUT_MS, now=now)}
        again = [late[handle] for handle in taken.held if handle in late]
        for early in (False, True):
            if some := [run for run in again if ahead.is_ahead(run) is early]:
                self._let_go(some, early=early)
        for handle in sorted(taken.waiting & intake.cancelled(self.name, since_ms=now - CANCELLED_MS)):
            self._cancel(handle)

    def _cancel(self, handle: str) -> None:
        """One that Slurm will not cancel, such as a part of a heterogeneous job, stops no other."""
        assert self.door is not None  # noqa: S101 - only called with one
        try:
            self.door.cancel(handle, 0)
        except FabriqueError as error:
            if error.code != "engine.refused":
                raise
            log.warning("engine %s cancels no %s: %s", self.name, handle, error)

    def release(
        self, intents: Sequence[Intent], again: Sequence[Run], epoch: int, *, now: int, early: bool = False
    ) -> None:
        """In the order given, which is the planned one. An engine that does not answer is told again next turn.

        `again`: runs released ahead whose turn has come; they go before all that is `early`.
        """
        runs = [*(intent.run for intent in intents), *again]
        handles = [intent_of(run) for run in runs]
        if not handles or self.door is None:
            return
        try:
            self._let_go(runs, early=early)
        except FabriqueError as error:
            log.warning("engine %s: %s on %d releases", self.name, error, len(handles))
            return
        cycle.acted(intents, epoch, now=now)
        if not early:
            self._told |= dict.fromkeys(handles, now)
        if early:  # behind those that are there
            self._order = [handle for handle in self._order if handle not in handles] + handles

    def _let_go(self, runs: Sequence[Run], *, early: bool) -> None:
        assert self.door is not None  # noqa: S101 - only called with one
        door_levels.prepare(self.door, self.here, runs)
        self.door.release([intent_of(run) for run in runs], early=early)

    def keeps_waiting(self, runs: Sequence[Run], *, now: int) -> bool:
        """Whether the cluster lets something wait that was told to start: it has not the room that we see.

        It may lack watts, for which it keeps no place free: whatever is smaller and released would take them first.
        """
        planned = {intent_of(run) for run in runs if run.state == RunState.PLANNED}
        self._told = {handle: at for handle, at in self._told.items() if handle in planned}
        return any(now - at > WAITS_MS for at in self._told.values())

    def rank(self, runs: Sequence[Run]) -> None:
        """What is released ahead of its turn, in the order in which the plan has it now."""
        wanted = [intent_of(run) for run in runs]
        there = set(wanted)
        if self.door is None or wanted == [handle for handle in self._order if handle in there]:
            return
        try:
            self.door.rank(wanted)
        except FabriqueError as error:
            log.warning("engine %s: %s on the order of %d", self.name, error, len(wanted))
            return
        self._order = wanted

    def recall(self, runs: Sequence[Run], epoch: int, *, now: int) -> bool:
        """What was released and shall not start yet; one that has started meanwhile stays. False: told again later."""
        if not runs or self.door is None:
            return False
        try:
            started = self._held([intent_of(run) for run in runs])
        except FabriqueError as error:
            log.warning("engine %s: %s on %d recalls", self.name, error, len(runs))
            return False
        ahead.recall([run for run in runs if intent_of(run) not in started], epoch, now=now)
        return True

    def _held(self, handles: list[str]) -> set[str]:
        """Holds them; answers those that had started. Raises what the engine raises, but for these."""
        assert self.door is not None  # noqa: S101 - only called with one
        try:
            self.door.hold(handles)
        except FabriqueError as error:
            if error.code != "engine.refused":
                raise
            started = error.params.get("intents", handles)
            return set(started) if isinstance(started, list | tuple) else set(handles)
        return set()

    def keep(self, runs: Sequence[Run], *, now: int) -> None:
        """What Slurm goes by when the hub is passed by, or away."""
        if self.backstop is not None:
            self.backstop.renew(runs, self.away, now=now)

    def show(self, sight: Sight) -> None:
        """Why each job waits, where the engine's own queue shows it; never more than a tenth of the loop's time."""
        begun = time.monotonic()
        if self.door is None or self.name in sight.silent or begun < self._shows_at:
            return
        reasons = {handle: from_json(dict(why)) for handle, why in intake.reasons(self.name)}
        reasons |= self._taken.strays
        sentences = {handle: PREFIX + text for handle, text in shown(reasons, self.say).items()}
        try:
            self.door.put(sentences)
        except FabriqueError as error:
            log.warning("engine %s: %s on reasons", self.name, error)
        now = time.monotonic()
        self._shows_at = now + SHOWS_REST * (now - begun)
