"""After a restore: what the hub has forgotten, what it can take up again, and the word that lets it act.

A run that began after the backup is known to the engine alone. On a cluster its name tells whose it is (`readopt`). On
this machine its order names the project and holds the script: when a job of that project still waits with that script,
the run is that job's, and gets its row and its hold now, so that it is charged once and not started again. Any other
run is named, and left to end by itself.
"""

from __future__ import annotations

import uuid
from binascii import a2b_base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from fabrique.apps.audit import services as audit
from fabrique.apps.jobs import cycle, intake
from fabrique.apps.jobs.models import HubState, Intent, Job, Run
from fabrique.apps.ledger import services as ledger
from fabrique.apps.people import rights
from fabrique.apps.people.models import Person
from fabrique.apps.this_hub import ThisHub
from fabrique.core.admission import filter as fits
from fabrique.core.errors import FabriqueError
from fabrique.core.job import JobState
from fabrique.core.reasons import reason
from fabrique.engines import binding, records
from fabrique.engines.local import LocalEngine
from fabrique.engines.slurm.engine import SlurmEngine
from fabrique.operate import decide, readopt
from fabrique.operate.books import Books
from fabrique.operate.observe import intent_of

_PREFIX = "run-"


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A run that the engine holds and the database does not know."""

    run_id: uuid.UUID
    project: str
    name: str
    script: str
    cores: tuple[int, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Resumed:
    """The gap [from_ms, to_ms) of which nothing is known; jobs that were taken up; intents that nobody knows."""

    from_ms: int | None
    to_ms: int
    adopted: tuple[int, ...]
    unknown: tuple[str, ...]


def forgotten(engine: LocalEngine | SlurmEngine) -> Iterator[Forgotten]:
    """Runs in the engine's folder that have no row, in the order of their names; a cluster's are found otherwise."""
    if not isinstance(engine, LocalEngine):
        return
    intents = [i for i in engine.list().intents if i.startswith(_PREFIX) and len(i) == len(_PREFIX) + 32]
    for intent in intents:
        run_id = uuid.UUID(hex=intent.removeprefix(_PREFIX))
        if Run.objects.filter(pk=run_id).exists():
            continue
        try:
            order: dict[str, Any] = records.read(str(engine.root / intent / records.ORDER)) or {}
            plan = order["plan"]
            yield Forgotten(
                run_id,
                str(plan["environment"].get("FABRIQUE_PROJECT", "")),
                str(order["name"]),
                a2b_base64(order["script"]).decode(),
                tuple(plan["cores"]),
                dict(plan["environment"]),
            )
        except (records.BrokenRecordError, KeyError, TypeError, ValueError):
            yield Forgotten(run_id, "", "", "", (), {})


def resume(here: ThisHub, engine: LocalEngine | SlurmEngine, person: Person, *, now: int) -> Resumed:
    """Takes up what can be taken up, and lets the loop act again. Raises `right.denied`; where a cluster or its
    accounting does not answer, what it raises: who can't see what runs may not act.

    A hub that acts already is left as it is.
    """
    rights.require(person, "operate.resume", now=now)
    if isinstance(engine, LocalEngine):
        return _resume(here, lambda: _take_up(here, engine, now=now), person, now=now)
    state = cycle.hub_state()
    there = readopt.look(here, engine, state.gap_from_ms or now) if state.observe_only else {}  # before any transaction
    adopted: dict[str, int] = {}

    def take_up() -> tuple[list[int], list[str]]:
        adopted.update(readopt.readopt(here, there, now=now))
        others = there.keys() - adopted.keys()
        return list(adopted.values()), sorted(others - intake.own_runs(others))

    resumed = _resume(here, take_up, person, now=now)
    for intent in adopted:
        engine.adopt(intent)
    return resumed


@transaction.atomic
def _resume(here: ThisHub, take_up: Callable[[], tuple[list[int], list[str]]], person: Person, *, now: int) -> Resumed:
    ledger.lock()
    state = HubState.objects.select_for_update().get(pk=1)
    if not state.observe_only:
        return Resumed(None, now, (), ())
    adopted, unknown = take_up()
    gap = state.gap_from_ms
    state.observe_only, state.observe_only_since_ms, state.gap_from_ms = False, None, None
    state.save()
    detail = {"gap_from_ms": str(gap), "adopted": adopted, "unknown": unknown}
    audit.record(str(person.id), "operate.resume", f"hub:{here.hub.id}", now=now, detail=detail)
    return Resumed(gap, now, tuple(adopted), tuple(unknown))


def _take_up(here: ThisHub, engine: LocalEngine, *, now: int) -> tuple[list[int], list[str]]:
    adopted, unknown = [], []
    for run in forgotten(engine):
        job = _job_of(run)
        if job is not None and _adopt(here, job, run, now=now):
            adopted.append(job.number)
        else:
            unknown.append(f"{_PREFIX}{run.run_id.hex}")
    return adopted, unknown


def _job_of(run: Forgotten) -> Job | None:
    waiting = Job.objects.filter(status=JobState.PENDING.value, project__code=run.project, script=run.script)
    return waiting.select_related("project", "allocation").order_by("number").first()


def _adopt(here: ThisHub, job: Job, run: Forgotten, *, now: int) -> bool:
    """The row, the hold and the intent that the lost database had; False when the budget does not cover it."""
    books = Books(here, now)
    ask = decide.asked(here, [job], books)[0]
    if not ask.offers:
        return False
    offer = ask.offers[0]
    bound: dict[str, object] = {"cores": list(run.cores), "devices": _devices(here, run, ask.spec.milli_devices)}
    placement = decide.place(here, ask, offer, bound, books)
    hold = uuid.uuid4()
    try:
        with ledger.batch("hold", {"run": str(run.run_id), "adopted": "after a restore"}, now=now) as acts:
            amounts = fits.as_amounts(placement.hold)
            acts.hold(str(job.allocation_id), job.allocation.pool, amounts, placement.frozen, hold)
    except FabriqueError as error:
        if error.code != "ledger.overdraft":
            raise
        return False
    row = Run.objects.create(
        id=run.run_id,
        job=job,
        attempt=job.runs.count() + 1,
        engine=offer.engine,
        partition=offer.partition,
        kind=offer.kind,
        unit=offer.unit,
        share_milli=job.spec["milli_devices"] or job.spec["cores"] * 1000,
        bound=dict(placement.bound),
        hold=hold,
        planned_ms=now,
    )
    job.status, job.reason = JobState.STARTING.value, reason("place.only", partition=offer.partition).as_json()
    job.forecast, job.changed_ms = {}, now
    job.save()
    Intent.objects.create(id=intent_of(row), run=row, act="submit", epoch=0, created_ms=now, acted_ms=now)
    return True


def _devices(here: ThisHub, run: Forgotten, milli: int) -> list[dict[str, Any]]:
    """The accelerators the run was bound to, read from what it was told of them."""
    if not milli:
        return []
    named = {name for variable in binding.VARIABLE.values() for name in run.environment.get(variable, "").split(",")}
    return [
        {"vendor": g.vendor, "index": i, "uuid": g.uuid, "milli": min(milli, 1000), "source": g.uuid}
        for i, g in enumerate(here.local.gpus)
        if g.uuid in named or (g.vendor == "intel" and str(i) in named)
    ]
