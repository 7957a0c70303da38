"""Watching one job: a progress line while it lives, and what it was and cost once it is over."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from fabrique.cli import output
from fabrique.cli.context import Desk
from fabrique.cli.job_json import as_json
from fabrique.language import slurm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fabrique.apps.jobs.models import Job, Run
    from fabrique.apps.jobs.queries import Explanation
    from fabrique.core.admission.explain import Explained
    from fabrique.engines.slurm.model import QueuedJob
    from fabrique.language.say import Speaker

_EVERY_S: Final = 0.5
_SILENT_MS: Final = 15_000  # the loop turns twice a second: after this long it is not there


def to_the_end(desk: Desk, job: Job) -> Job:
    """Returns the job once it is over. Ctrl-C leaves the job alone."""
    from fabrique.apps.jobs import queries

    told = ""
    with _line(desk) as line:
        while True:
            job.refresh_from_db()
            explained = queries.explain(job, now=desk.now)
            if explained.over:
                return job
            text = f"{_progress(desk, explained)} {absence(desk)}".strip()
            if line is not None:
                line.update(output.safe(text))
            elif _still(desk, explained) != told and not desk.call.json:
                told = _still(desk, explained)
                output.line(told)
            time.sleep(_EVERY_S)


def tell(desk: Desk, job: Job) -> None:
    """Where the job stands, or how it went and what it cost."""
    from fabrique.apps.jobs import queries
    from fabrique.apps.jobs.services import name_of
    from fabrique.operate.at_cluster import reason_of

    sooner = _sooner(desk, job)
    if desk.call.json:
        found = at_cluster(desk, job)
        there = None if found is None else {"id": found.job_id, "state": found.state, "reason": reason_of(found)}
        return output.document({**as_json(desk, job), "cluster": there, "sooner": _sooner_json(sooner)})
    explained = queries.explain(job, now=desk.now)
    say = desk.say
    output.line(
        say.text("Job {job} ({name}): {state}.", job=name_of(job), name=job.name, state=say.word("job", job.status)),
        "bold",
    )
    if explained.reason is not None:
        output.line(say.reason(explained.reason))
    cluster = at_cluster(desk, job) if not explained.over else None
    if cluster is not None and cluster.reason and cluster.state == "PENDING":
        output.line(slurm.sentence(say, reason_of(cluster)))
    output.pairs([*_facts(desk, explained), *_at_cluster(desk, job, cluster)])
    if sooner is not None and sooner.reason is not None:
        _tell_sooner(desk, sooner)
    if missing := absence(desk) if not explained.over else "":
        output.line(missing, "yellow")
    if explained.run is not None and not job.door:  # what others submit writes where they say
        output.hint(say.text("What it wrote:"), desk.command(f"log {name_of(job)}"))
    return None


# --- steps ------------------------------------------------------------------------------------------------------


def _line(desk: Desk) -> Any:
    """A line that is written over and over on a terminal; nothing of the sort elsewhere."""
    return output.working("") if output.on_terminal() and not desk.call.json else nullcontext()


def _progress(desk: Desk, explained: Explanation) -> str:
    """State, time, and what it waits for."""
    from fabrique.apps.jobs.services import name_of

    say, job, run = desk.say, explained.job, explained.run
    if run is not None and run.started_ms is not None and run.ended_ms is None:
        elapsed, most = say.duration(max(desk.now - run.started_ms, 0)), say.duration(run.walltime_ms)
        state = say.word("job", job.status)
        return say.text(
            "Job {job}: {state}, {elapsed} of {most}.", job=name_of(job), state=state, elapsed=elapsed, most=most
        )
    return _still(desk, explained)


def _still(desk: Desk, explained: Explanation) -> str:
    """The same without what changes by itself: said again only when something happened."""
    from fabrique.apps.jobs.services import name_of

    say, job = desk.say, explained.job
    parts = [say.text("Job {job}: {state}.", job=name_of(job), state=say.word("job", job.status))]
    if explained.reason is not None:
        parts.append(say.reason(explained.reason))
    if explained.starts is not None:
        parts.append(say.text("It starts by {time}.", time=say.instant(explained.starts[1])))
    return " ".join(parts)


def absence(desk: Desk) -> str:
    """Nothing moves while no loop turns."""
    from fabrique.apps.jobs.cycle import hub_state

    last = hub_state().last_cycle_ms
    if last is not None and desk.now - last < _SILENT_MS:
        return ""
    return desk.say.text("The control loop does not run: start it with `fabrique up`.")


def at_cluster(desk: Desk, job: Job) -> QueuedJob | None:
    """The job in its cluster's own queue; None where the hub runs on none, or it is not there."""
    cluster = desk.here.deployment.cluster
    if cluster is None:
        return None
    from fabrique.operate import at_cluster as asking
    from fabrique.operate.engines import transport_of

    return asking.queued(desk.here, job, transport_of(cluster))


def _at_cluster(desk: Desk, job: Job, found: QueuedJob | None) -> Iterator[tuple[str, str]]:
    name = job.outside_id or (str(found.job_id) if found else "")
    if name:
        yield desk.say.text("At the cluster"), f"{name}, {found.state}" if found else name


def _sooner(desk: Desk, job: Job) -> Explained | None:
    """The decision, asked about a job that waits; None for any other."""
    if job.status != "pending":
        return None
    from fabrique.operate.why import why

    return why(desk.here, job, now=desk.now)


def _tell_sooner(desk: Desk, told: Explained) -> None:
    from fabrique.language.sooner import sentence

    say = desk.say
    if told.earliest_ms is not None and told.latest_ms is not None:
        text = say.text("Forecast of its start: {when}.", when=say.interval(told.earliest_ms, told.latest_ms))
        output.line(text)
    if told.deferral is not None:
        output.line(say.reason(told.deferral))
    if not told.changes:
        return output.line(say.text("Nothing that we tried would start it sooner."), "dim")
    output.line(say.text("What would start it sooner:"))
    for change in told.changes:
        output.line(f"- {sentence(say, change, desk.now)}")
    return None


def _sooner_json(told: Explained | None) -> dict[str, Any] | None:
    """The interval of the start, and the changes that were tried and help; instants in UTC milliseconds."""
    if told is None:
        return None
    return {
        "earliest_ms": told.earliest_ms,
        "latest_ms": told.latest_ms,
        "changes": [asdict(change) for change in told.changes],
        "deferral": None if told.deferral is None else told.deferral.as_json(),
    }


def _facts(desk: Desk, explained: Explanation) -> Iterator[tuple[str, str]]:
    say, run = desk.say, explained.run
    if explained.starts is not None:
        yield say.text("Starts"), say.text("by {time}", time=say.instant(explained.starts[1]))
    if run is None:
        return
    if explained.job.status == "pending":  # what follows is of a run that is over, for one that waits again
        if run.started_ms is None:
            return
        yield say.text("Attempt before"), say.number(run.attempt)
    yield say.text("Where"), f"{run.partition}, {say.kind(run.kind)}"
    if run.level is not None:
        watts, speed = say.power(run.level.limit_w), say.percent(run.level.throughput_permille)
        yield say.text("Power level"), say.text("{watts} a device, {speed} of full speed", watts=watts, speed=speed)
    if run.started_ms is not None:
        yield say.text("Started"), say.instant(run.started_ms)
    if explained.ends_by_ms is not None:
        yield say.text("Ends"), say.text("by {time}", time=say.instant(explained.ends_by_ms))
    if run.ended_ms is not None:
        yield say.text("Ended"), say.instant(run.ended_ms)
    if run.elapsed_ms is not None:
        yield say.text("Elapsed"), say.duration(run.elapsed_ms)
    if run.charged:
        yield from _cost(say, run)
    if run.exit_code is not None:
        yield say.text("Exit code"), str(run.exit_code)


def _cost(say: Speaker, run: Run) -> Iterator[tuple[str, str]]:
    """Hours, energy with where it comes from, carbon, money: what was charged, also when that is nothing."""
    from fabrique.core.units import MG, MJ, Amount, Unit, is_money, is_time

    charged = {Unit(u): int(v) for u, v in run.charged.items()}
    for unit, value in charged.items():
        if is_time(unit):
            yield say.text("Time"), say.amount(Amount(unit, value))
    basis = run.energy_provenance.get("basis")
    how = f" ({say.word('provenance', basis)})" if basis else ""
    yield say.text("Energy"), say.energy(charged.get(MJ, run.energy_mj)) + how
    yield say.text("Carbon"), say.carbon(charged.get(MG, 0))
    prices = [say.amount(Amount(u, v)) for u, v in charged.items() if is_money(u)]
    yield say.text("Cost"), say.listed(prices) if prices else say.text("no price is set")
