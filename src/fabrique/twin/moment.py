"""One instant of a replay: how a job stood, what bound it, and who came before it. The decision itself says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fabrique.core.admission import tables as t
from fabrique.core.admission.kernels.fast import entries
from fabrique.core.admission.kernels.fast import memory as kept
from fabrique.core.admission.tables import NONE, PPM, State
from fabrique.core.admission.verdicts import not_to_be_late
from fabrique.core.reasons import Reason, reason
from fabrique.core.units import ceil_divide
from fabrique.twin.replay import begun
from fabrique.twin.world import World

Status = Literal["not submitted", "depends", "waits", "runs", "ended"]
_TOLD = 10  # jobs before it, by number


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """How row `row` of a world stood at `at_ms`, after the decision of that instant.

    `reason`: why it waits. `place` in the order of those that wait, from 1; `before`: rows of the first of them that
    come before it. `by_ms`: its start at the latest, by the walltimes asked; None where none was worked out.
    """

    row: int
    at_ms: int
    status: Status
    reason: Reason | None
    place: int | None
    waiting: int
    before: tuple[int, ...]
    by_ms: int | None


def moment(world: World, row: int, at_ms: int, names: list[str]) -> Moment:
    """Replays up to and including `at_ms`. `names` of the jobs, by row, for the sentences."""
    block = begun(world)
    entries.replay_of(block.cells)(block.cells, at_ms)
    status = _status(world, block, row, at_ms)
    if status != "waits":
        return _told(block, row, at_ms, status)
    entries.step(block.cells, at_ms)
    state = block.state
    if state.job[row, t.JOB_STATUS] == t.AWAY:
        return _told(block, row, at_ms, status, _away(world, state, row))
    order = _order(world, block, at_ms)
    place = order.index(row) if row in order else 0
    return Moment(
        row=row,
        at_ms=at_ms,
        status=status,
        reason=_why(world, state, row, at_ms, names),
        place=place + 1,
        waiting=len(order),
        before=tuple(order[: min(place, _TOLD)]),
        by_ms=_known(state, row),
    )


def _told(block: kept.Memory, row: int, at_ms: int, status: Status, why: Reason | None = None) -> Moment:
    waiting = int((block.state.job[:, t.JOB_STATUS] == t.READY).sum())
    return Moment(row=row, at_ms=at_ms, status=status, reason=why, place=None, waiting=waiting, before=(), by_ms=None)


def _status(world: World, block: kept.Memory, row: int, at_ms: int) -> Status:
    cell = int(block.state.job[row, t.JOB_STATUS])
    if cell == t.DONE:
        return "ended"
    if cell == t.RUNNING:
        return "runs"
    if world.submit_ms[row] > at_ms:
        return "not submitted"
    first = int(world.after[row])
    if first != NONE and block.state.job[first, t.JOB_STATUS] != t.DONE:
        return "depends"
    return "waits"


def _known(state: State, row: int) -> int | None:
    at = int(state.job[row, t.JOB_AT])
    return None if at == NONE else at


# --- why ----------------------------------------------------------------------------------------------------------
def _away(world: World, state: State, row: int) -> Reason:
    """It waits for an instant: put off by its own consent, or backing off after it was stopped."""
    until = int(state.job[row, t.JOB_NOT_BEFORE])
    if state.job[row, t.JOB_DEFERRED] and state.job[row, t.JOB_VERDICT] == t.V_DEFERRED:
        return reason("wait.not-before", time=until)
    return reason("wait.backing-off", time=until)


def _why(world: World, state: State, row: int, at_ms: int, names: list[str]) -> Reason:
    verdict, short, free = (int(state.job[row, c]) for c in (t.JOB_VERDICT, t.JOB_SHORT, t.JOB_FREE))
    option = state.option[state.profile[state.job[row, t.JOB_PROFILE], t.PROFILE_FIRST]]
    place = state.place[option[t.OPTION_PLACE]]
    if verdict == t.V_QUOTA:
        names_of = world.pools if len(state.pool) == len(world.pools) else ("all",)
        return reason("wait.quota", pool=names_of[state.job[row, t.JOB_POOL]], asked=short, left=max(free, 0))
    if verdict == t.V_POWER:
        asked_mw = ceil_divide(int(state.need[row, 0]) * int(option[t.OPTION_MW]), 1000)
        site = world.sites[place[t.PLACE_SITE]]
        return reason("wait.power", site=site, asked_w=ceil_divide(asked_mw, 1000), free_w=max(free, 0) // 1000)
    if verdict == t.V_RESOURCE:
        partition = world.places[option[t.OPTION_PLACE]]
        return reason("wait.accelerators", partition=partition, asked=short, free=max(free, 0))
    return _behind(world, state, row, at_ms, names)


def _behind(world: World, state: State, row: int, at_ms: int, names: list[str]) -> Reason:
    """Nothing lacks now: it would make an earlier one late, or a cap falls before its end."""
    first = not_to_be_late(state, world.rules, at_ms)
    if first not in (NONE, row):
        return reason("wait.behind", job=names[first])
    speed = int(state.option[state.profile[state.job[row, t.JOB_PROFILE], t.PROFILE_FIRST], t.OPTION_SPEED])
    end = at_ms + ceil_divide(int(state.job[row, t.JOB_WALLTIME]) * PPM, speed)
    falls = state.cap[state.cap[:, t.CAP_KNOWN] <= at_ms, t.CAP_FROM]
    return reason("wait.window", time=min((int(x) for x in falls if at_ms < x < end), default=end))


# --- in which order -----------------------------------------------------------------------------------------------
def _order(world: World, block: kept.Memory, at_ms: int) -> list[int]:
    """Rows of the jobs that wait, first come those that the decision looks at first."""
    state, age = block.state, world.rules.age_ms
    rows = np.flatnonzero(state.job[:, t.JOB_STATUS] == t.READY)
    job = state.job[rows]
    place_of_line = np.empty(len(state.line), np.int64)
    ranked = block.scratch.rank[: block.scratch.work[kept.N_RANKED]]
    place_of_line[ranked] = np.arange(len(ranked))
    pool = job[:, t.JOB_POOL]
    owed, used = (block.scratch.pool_key[pool, column] for column in (0, 1))
    young = np.ones(len(rows), np.int64) if not age else (at_ms - job[:, t.JOB_SUBMIT] < age).astype(np.int64)
    line = place_of_line[job[:, t.JOB_LINE]]
    keys = (rows, line * young, pool * young, used * young, -owed * young, young)  # the last one decides first
    return [int(row) for row in rows[np.lexsort(keys)]]
