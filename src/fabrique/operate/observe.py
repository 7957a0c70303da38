"""Observe: what each engine can prove of our intents, in the words of `apps.jobs`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fabrique.apps.jobs.models import Run, RunState
from fabrique.apps.jobs.settlement import Seen
from fabrique.core.energy import measured
from fabrique.core.errors import FabriqueError
from fabrique.engines.protocol import Engine, Observation

OWN_COUNTER = measured("Slurm ConsumedEnergy")  # no other engine of ours has a counter for each run


@dataclass(slots=True)
class Sight:
    """One look at the engines. `runs` has what could be proven; an engine in `silent` did not answer."""

    runs: dict[str, Seen] = field(default_factory=dict)  # run id -> what was seen
    listed: dict[str, frozenset[str]] = field(default_factory=dict)  # engine -> intents, only if complete
    silent: dict[str, str] = field(default_factory=dict)  # engine -> error code


def intent_of(run: Run) -> str:
    """The name under which the engine knows a run: our intent, or its own where it came by the engine's door."""
    return run.handle or f"run-{run.id.hex}"


def look(engines: Mapping[str, Engine], runs: Iterable[Run], with_listings: bool) -> Sight:
    """Asks each engine once for all its runs. An engine that fails delays decisions and loses nothing.

    A listing names every run the engine ever took: it is asked for only where an absence would prove something.
    """
    sight = Sight()
    by_engine: dict[str, list[Run]] = {}
    for run in runs:
        by_engine.setdefault(run.engine, []).append(run)
    for name, engine in engines.items():
        mine = by_engine.get(name, [])
        try:
            # the listing first: a run that starts in between is then seen, never missed
            listing = engine.list() if mine and with_listings else None
            observations = engine.observe([intent_of(r) for r in mine])
            if listing is None and _some_vanished(mine, observations):
                listing = engine.list()
        except FabriqueError as error:
            sight.silent[name] = error.code
            continue
        if listing is not None and listing.complete:
            sight.listed[name] = frozenset(listing.intents)
        for run, observation in zip(mine, observations, strict=True):
            sight.runs[str(run.id)] = seen(observation)
    return sight


def _some_vanished(runs: Iterable[Run], observations: Iterable[Observation]) -> bool:
    return any(
        run.state == RunState.RUNNING and o.state == "unknown" for run, o in zip(runs, observations, strict=True)
    )


def seen(o: Observation) -> Seen:
    usage = {
        "cpu_ms": o.usage.cpu_ms,
        "max_rss_bytes": o.usage.max_rss_bytes,
        "output_bytes": o.usage.output_bytes,
    }
    return Seen(
        intent=o.intent,
        state=o.state,
        cause=o.cause,
        started_ms=o.started_ms,
        ended_ms=o.ended_ms,
        last_seen_ms=o.last_seen_ms,
        exit_code=o.exit_code,
        signal=o.signal,
        cpu_ms=o.usage.cpu_ms,
        usage=usage,
        error=o.error,
        interpreter=o.interpreter,
        nodes=o.nodes,
        energy_mj=o.usage.energy_mj,
        energy_from=None if o.usage.energy_mj is None else OWN_COUNTER,
    )
