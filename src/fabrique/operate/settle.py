"""Settle: what was seen, written down; what is over, charged once. One run that can't be settled stops no other."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from fabrique.apps.jobs import cycle, settlement
from fabrique.apps.jobs.models import HubState, Intent, Run, RunState
from fabrique.apps.jobs.settlement import BEGIN, Seen, Settlement
from fabrique.apps.ledger import services as ledger
from fabrique.apps.this_hub import ThisHub
from fabrique.core.clock import has_passed
from fabrique.core.energy import Window
from fabrique.core.job import EndState
from fabrique.operate.metering import Metering
from fabrique.operate.observe import Sight, intent_of

log = logging.getLogger("fabrique.loop")

INTENT_TIMEOUT_MS = 2_000
ABSENCES = 2  # complete listings without it, after the timeout, before an absence proves anything
_ENDS = frozenset(e.value for e in EndState)


def write_down(runs: Sequence[Run], sight: Sight, *, now: int) -> list[Run]:
    """Signs of life into the runs' rows; answers those that are over, as ended or lost."""
    alive: list[tuple[Run, Seen]] = []
    for run in runs:
        seen = sight.runs.get(str(run.id))
        if seen is None:
            continue
        if seen.state == "ended" and seen.cause not in _ENDS:
            # an answer we can't read proves nothing, and a run without proof of its end is lost
            seen = replace(seen, state="lost", cause="lost", error=f"cause {seen.cause}")
            sight.runs[str(run.id)] = seen
        elif seen.state == "unknown" and run.state == RunState.RUNNING and _vanished(run, seen, sight, now):
            sight.runs[str(run.id)] = Seen(
                intent_of(run), "lost", "lost", started_ms=run.started_ms, last_seen_ms=run.seen_ms
            )
        else:
            alive.append((run, seen))
    settlement.observe(alive, now=now)
    return [r for r in runs if (s := sight.runs.get(str(r.id))) and s.state in ("ended", "lost")]


def _vanished(run: Run, seen: Seen, sight: Sight, now: int) -> bool:
    """A run that ran, and that two complete listings after the timeout did not show."""
    if seen.error or run.engine not in sight.listed or intent_of(run) in sight.listed[run.engine]:
        return False
    if not has_passed(run.seen_ms or run.planned_ms, INTENT_TIMEOUT_MS, now=now):
        return False
    intent = Intent.objects.filter(run=run, act__in=BEGIN).first()
    if intent is None:
        return True
    intent.absences += 1
    intent.save(update_fields=["absences"])
    return intent.absences >= ABSENCES


def book(
    here: ThisHub,
    metering: Metering,
    state: HubState,
    runs: Sequence[Run],
    over: Sequence[Run],
    sight: Sight,
    epoch: int,
    *,
    now: int,
) -> set[UUID]:
    """The energy of the window and the charges of what is over, as one entry. Answers the runs that are settled."""
    settled = set()
    metering.ready()
    with ledger.batch("cycle", {"epoch": epoch}, now=now) as acts:
        cycle.check_lease(epoch)
        metering.close(acts, state, runs, sight.runs)
        ends = Settlement(acts, over, now=now)
        for run in over:
            try:
                with acts.apart_in_lines():
                    seen = sight.runs[str(run.id)]
                    was = here.actual(_life(run, seen, now))
                    ends.settle(run, seen, was.factor.mg_per_kwh, was.name if here.hourly else "")
                settled.add(run.pk)
            except Exception:
                log.exception("run %s can't be settled; its hold stands until it can", run.id)
        ends.write()
    return settled


def _life(run: Run, seen: Seen, now: int) -> Window:
    """From its start to its end or its last sign of life: the time over which a run's energy is taken to be even."""
    end = seen.ended_ms or seen.last_seen_ms or now
    start = seen.started_ms or run.started_ms or end
    return Window(min(start, end), end)


def refused(run: Run, why: str, epoch: int, *, now: int) -> None:
    """The engine will never take it: the run did not start, and its hold goes back."""
    seen = Seen(intent_of(run), "ended", "not-started", error=why)
    with ledger.batch("cycle", {"epoch": epoch}, now=now) as acts:
        cycle.check_lease(epoch)
        settlement.settle(acts, run, seen, 0, now=now)
    run.state = RunState.ABANDONED
