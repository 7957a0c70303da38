"""A loop with a scripted engine and a clock that the test moves: what tests of the loop and of jobs stand on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fabrique.apps.access import queries
from fabrique.apps.access import services as access
from fabrique.apps.access.models import Allocation, Project
from fabrique.apps.jobs import services as jobs
from fabrique.apps.jobs.models import Job
from fabrique.apps.people import services as people
from fabrique.apps.people.models import Person
from fabrique.core.errors import FabriqueError
from fabrique.core.units import unit
from fabrique.engines.protocol import Listing, Observation, PartitionCapacity, RunSpec, Usage
from fabrique.meters.modelled import CoreModel, ModelledMeter, ProcessorTimes
from fabrique.operate import loop as loops
from fabrique.operate.metering import Metering

CPU = unit("core-ms:local-core")
SCRIPT = b"#!/bin/sh\n#fabrique walltime: 10m\ntrue\n"
T0 = 1_800_000_000_000


class Engine:
    """Keeps what it is told; the test decides what it answers."""

    def __init__(self) -> None:
        self.submitted: list[str] = []
        self.cancelled: list[str] = []
        self.preempted: list[str] = []
        self.deaf = False  # takes nothing: the act was lost on the way
        self.down = False
        self.answers: dict[str, Observation] = {}

    def _up(self) -> None:
        if self.down:
            raise FabriqueError("engine.unavailable", engine="local")

    def submit(self, spec: RunSpec) -> None:
        self._up()
        self.submitted.append(spec.intent)
        if not self.deaf:
            self.answers.setdefault(spec.intent, Observation(spec.intent, "starting"))

    def observe(self, intents: Sequence[str]) -> list[Observation]:
        self._up()
        return [self.answers.get(i, Observation(i, "unknown")) for i in intents]

    def list(self) -> Listing:
        self._up()
        return Listing(True, tuple(self.answers), 0)

    def cancel(self, intent: str, grace_ms: int) -> None:
        self._up()
        self.cancelled.append(intent)

    def preempt(self, intent: str) -> None:
        self._up()
        self.preempted.append(intent)

    def hold(self, intents: Sequence[str]) -> None: ...
    def release(self, intents: Sequence[str]) -> None: ...
    def purge(self, intent: str) -> None: ...

    def adopt(self, intent: str) -> bool:
        return intent in self.answers

    def read_log(self, intent: str, offset: int, limit: int) -> tuple[bytes, int, bool]:
        return b"", offset, True

    def capacity(self) -> PartitionCapacity:
        return PartitionCapacity((0, 1), 1_000, ())


class Bench:
    """A loop, its engine, a clock that the test moves, a project with ten core-hours."""

    def __init__(self, here: Any) -> None:
        self.here = here
        self.now = T0
        self.stepped_ms: int | None = None  # what the clock jumped by since T0; None: the loop has no other clock
        self.engine = Engine()
        self.busy_ms = 0
        self.loop = self.new_loop()
        self.person, self.project = self._project()

    @property
    def ticks(self) -> int | None:
        """The clock that never steps."""
        return None if self.stepped_ms is None else self.now - T0 - self.stepped_ms

    def step(self, by_ms: int) -> None:
        """The clock is set while the loop watches."""
        self.now += by_ms
        self.stepped_ms = (self.stepped_ms or 0) + by_ms

    def new_loop(self) -> loops.Loop:
        model = CoreModel(2, 12, 370)
        meter = ModelledMeter(model, 2, lambda: ProcessorTimes(self.busy_ms, 2 * (self.now - T0) + 1))
        return loops.Loop(self.here, {"local": self.engine}, Metering([meter], self.here), lambda: self.now)

    def _project(self, email: str = "ana@loop.example") -> tuple[Person, Project]:
        person = people.create_person("Ana", email, now=T0)
        mode = access.find_mode("lasalle_startup", now=T0)
        form: dict[str, object] = {
            "title": "Loop", "summary": "s", "organisation_kind": "startup", "country": "CA", "founded": "2025-01-01",
            "staff": "5", "turnover": "1", "kind": "local-core", "hours": "10", "months": "1", "civilian": "yes",
            "data_class": "public", "confidential": "no",
        }  # fmt: skip
        form |= self.form()
        form |= {f"ethics.{q.id}": "yes" if q.settled else "no" for q in mode.ethics}
        done = access.submit(access.save_draft(person, mode.id, form, now=T0), person, now=T0)
        assert done.project is not None
        return person, done.project

    def form(self) -> dict[str, object]:
        """What is asked otherwise than above."""
        return {}

    def submit(self, **flags: str) -> Job:
        return jobs.submit(self.person, self.project.code, SCRIPT, flags, now=self.now)

    def turn(self, after_ms: int = 100) -> loops.Turn:
        self.now += after_ms
        self.loop.steady = None if self.stepped_ms is None else lambda: self.ticks or 0
        return self.loop.cycle()

    def intent(self, job: Job) -> str:
        return f"run-{job.runs.get().id.hex}"

    def answer(self, job: Job, state: str, **more: Any) -> None:
        name = self.intent(job)
        self.engine.answers[name] = Observation(name, state, **more)  # type: ignore[arg-type]

    def status(self, job: Job) -> str:
        job.refresh_from_db()
        return job.status

    def left(self) -> int:
        return queries.budget_lines(Allocation.objects.get(project=self.project), now=self.now)[0].available


def running(bench: Bench) -> Job:
    job = bench.submit()
    bench.turn()
    bench.answer(job, "running", started_ms=bench.now, last_seen_ms=bench.now, usage=Usage(cpu_ms=0))
    bench.turn()
    assert bench.status(job) == "running"
    return job


def ended(bench: Bench, job: Job, cause: str = "completed", after_ms: int = 60_000, **more: Any) -> None:
    started = job.runs.get().started_ms or 0
    bench.busy_ms += after_ms
    state = "lost" if cause == "lost" else "ended"
    at = {"last_seen_ms": started + after_ms} if state == "lost" else {"ended_ms": started + after_ms}
    bench.answer(job, state, cause=cause, started_ms=started, usage=Usage(cpu_ms=after_ms), **at, **more)
    bench.turn(after_ms)
