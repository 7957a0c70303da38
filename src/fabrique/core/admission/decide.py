"""The decision at its edge: rows with names in, a plan with reasons out. Pure; equal rows give equal plans.

1. What time did to what pools are owed and projects used: `passed`.
2. Rows to tables: `prepare.build`.
3. The compiled decision, the same as the twin's: `kernels.fast`.
4. Its lists and verdicts as a plan; what a start takes must be free by now, not only promised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fabrique.core.admission import prepare
from fabrique.core.admission import tables as t
from fabrique.core.admission.plan import Plan, Preempt, Recap, Start, Wait
from fabrique.core.admission.prepare import Tables
from fabrique.core.admission.rules import Rules
from fabrique.core.admission.state import History, Rows, RunRow
from fabrique.core.admission.tables import NONE, State
from fabrique.core.admission.verdicts import not_to_be_late, why_it_waits
from fabrique.core.reasons import Reason, reason

if TYPE_CHECKING:
    from fabrique.core.admission.kernels.fast import Decision


@dataclass(frozen=True, slots=True)
class Memory:
    """What one decision leaves for the next: what no row tells, and the tables as it left them (None: the first)."""

    history: History
    after: Tables | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """A decision that was taken: on which tables, what it says, and what the next one has to know."""

    tables: Tables
    plan: Plan
    memory: Memory


def step(rows: Rows, rules: Rules, now_ms: int, history: History | None = None) -> Plan:
    """The plan for every pending job. Reads `rows`, changes nothing; without a history everything begins now."""
    tables = prepare.build(rows, rules, history or History(at_ms=now_ms), now_ms)
    return _decided(tables, rules, now_ms)[0]


def take(memory: Memory, rows: Rows, rules: Rules, now_ms: int) -> Taken:
    """One decision in a row of them: `memory` is what the one before left."""
    history = passed(memory, rows, rules, now_ms)
    tables = prepare.build(rows, rules, history, now_ms)
    plan, after = _decided(tables, rules, now_ms)
    return Taken(tables, plan, Memory(history, after))


def passed(memory: Memory, rows: Rows, rules: Rules, now_ms: int) -> History:
    """The history at `now_ms`, from what ran since the last decision; at the first one, from what runs now."""
    from fabrique.core.admission.kernels import fast

    before = memory.history
    tables = memory.after or prepare.build(rows, rules, before, before.at_ms)
    state = t.copied(tables.state)
    fast.advance(state, rules.flags(), now_ms)
    known = {row.id for row in rows.jobs} | {run.job for run in rows.runs}
    return History(
        at_ms=int(state.clock[t.CLOCK_LAST]),
        owed=_column(before.owed, tables.pools, state.pool[:, t.POOL_OWED].tolist()),
        no_borrow=_column(before.no_borrow, tables.pools, state.pool[:, t.POOL_NO_BORROW].tolist()),
        use=_column(before.use, tables.projects, state.project[:, t.PROJECT_USE].tolist()),
        preempted={job: told for job, told in _preempted(before, tables, state).items() if job in known},
        deferred={job: slot for job, slot in _deferred(before, tables, state).items() if job in known},
    )


def _column(before: Mapping[str, int], names: tuple[str, ...], values: list[int]) -> dict[str, int]:
    """What is not 0, by name; of what the tables don't have, what was known before."""
    told = {**before, **dict(zip(names, values, strict=True))}
    return {name: value for name, value in told.items() if value}


def _preempted(before: History, tables: Tables, state: State) -> dict[str, tuple[int, int]]:
    found = dict(before.preempted)
    for row, one in enumerate(tables.jobs):
        if state.job[row, t.JOB_PREEMPTIONS] > found.get(prepare.job_of(one), (0, 0))[0]:
            away = int(state.job[row, t.JOB_NOT_BEFORE])
            found[prepare.job_of(one)] = int(state.job[row, t.JOB_PREEMPTIONS]), away
    return found


def _deferred(before: History, tables: Tables, state: State) -> dict[str, int]:
    found = dict(before.deferred)
    for row, one in enumerate(tables.jobs):
        if state.job[row, t.JOB_DEFERRED] == 1 and prepare.job_of(one) not in found:
            found[prepare.job_of(one)] = int(state.job[row, t.JOB_NOT_BEFORE])
    return found


# --- the plan ---------------------------------------------------------------------------------------------------


def _decided(tables: Tables, rules: Rules, now_ms: int) -> tuple[Plan, Tables]:
    from fabrique.core.admission.kernels import fast

    state = t.copied(tables.state)
    found = fast.decide(state, rules.flags(), now_ms)
    after = replace(tables, state=state)
    starts, held_back = _starts(tables, found, now_ms)
    started = {start.job for start in starts}
    waits, ahead = [], not_to_be_late(state, rules, now_ms)
    for row, one in enumerate(tables.jobs):
        if isinstance(one, RunRow) or one.id in started:
            continue
        if one.id in held_back:
            waits.append(Wait(one.id, reason("wait.reclaiming", job=held_back[one.id]), None))
            continue
        why = why_it_waits(tables, state, row, rules, now_ms, ahead=ahead)
        by_ms = int(state.job[row, t.JOB_AT])
        waits.append(Wait(one.id, why, None if by_ms == NONE or rules.observe_only else by_ms))
    named = f"{rules.name}/{rules.version}"
    plan = Plan(named, now_ms, tuple(starts), tuple(waits), _preempts(tables, found), _recaps(tables, found))
    return plan, after


def _starts(tables: Tables, found: Decision, now_ms: int) -> tuple[list[Start], dict[str, str]]:
    """Starts of what is free in fact; of the others, whose run must end first."""
    leaving = [run for run in tables.rows.runs if run.leaving]
    stopped = [tables.jobs[row] for row, _ in found.preempts]
    going = [(run.option, run) for run in [*leaving, *(run for run in stopped if isinstance(run, RunRow))]]
    free = _in_fact(tables, leaving, now_ms)
    starts: list[Start] = []
    held_back: dict[str, str] = {}
    for row, o in found.starts:
        one, option = tables.jobs[row], tables.options[o]
        if going and not free.takes(
            one.milli_devices, one.milli_cores, one.memory_mb, option.partition, option.power_w
        ):
            held_back[prepare.job_of(one)] = next(
                (run.job for place, run in going if place.partition == option.partition), going[0][1].job
            )
            continue
        starts.append(Start(prepare.job_of(one), option.partition, _ground(tables, row, o), option.level))
    return starts, held_back


@dataclass(slots=True)
class _Free:
    """What no run holds: (devices, cores, memory) by partition, W by site (None: no cap)."""

    places: dict[str, list[int]]
    site_of: dict[str, str]
    watts: dict[str, int | None]

    def takes(self, devices: int, cores: int, memory: int, partition: str, power_w: int) -> bool:
        """Takes so much, if it is there."""
        place, site = self.places[partition], self.site_of[partition]
        watts, asked = self.watts[site], (devices, cores, memory)
        if any(need > left for need, left in zip(asked, place, strict=True) if need):
            return False
        if watts is not None and power_w > watts:
            return False
        self.places[partition] = [left - need for need, left in zip(asked, place, strict=True)]
        self.watts[site] = None if watts is None else watts - power_w
        return True


def _in_fact(tables: Tables, leaving: list[RunRow], now_ms: int) -> _Free:
    state = tables.state
    free = _Free(
        {
            place: [devices // tables.cores_each, cores, memory]
            for place, (devices, cores, memory) in zip(tables.places, state.free.tolist(), strict=True)
        },
        {p.id: p.site for p in tables.rows.partitions},
        {site: _watts_left(state, d, now_ms) for d, site in enumerate(tables.sites)},
    )
    for block in tables.rows.blocks:
        if block.from_ms <= now_ms < block.until_ms:
            free.places[block.partition] = _less(
                free.places[block.partition], block.milli_devices, block.milli_cores, block.memory_mb
            )
    for run in leaving:
        place, site = run.option.partition, free.site_of[run.option.partition]
        free.places[place] = _less(free.places[place], run.milli_devices, run.milli_cores, run.memory_mb)
        watts = free.watts[site]
        free.watts[site] = None if watts is None else watts - run.option.power_w
    return free


def _less(free: list[int], *taken: int) -> list[int]:
    return [left - amount for left, amount in zip(free, taken, strict=True)]


def _watts_left(state: State, domain: int, now_ms: int) -> int | None:
    """Whole watts between what runs may draw and the cap as it is known now; None where there is none."""
    row = state.domain[domain]
    caps = state.cap[row[t.DOMAIN_CAP] : row[t.DOMAIN_CAP_END]]
    known = caps[(caps[:, t.CAP_FROM] <= now_ms) & (caps[:, t.CAP_KNOWN] <= now_ms)]
    if not len(known) or known[-1, t.CAP_MW] == t.UNLIMITED:
        return None
    return int(known[-1, t.CAP_MW] - row[t.DOMAIN_USED]) // 1000


def _ground(tables: Tables, row: int, o: int) -> Reason:
    """Why the job is put there."""
    option = tables.options[o]
    first, end = tables.state.profile[tables.state.job[row, t.JOB_PROFILE], [t.PROFILE_FIRST, t.PROFILE_END]].tolist()
    if option.level:
        return reason("place.level", partition=option.partition, level=option.level)
    only = len({other.partition for other in tables.options[first:end]}) == 1
    return reason("place.only" if only else "place.earliest", partition=option.partition)


def _preempts(tables: Tables, found: Decision) -> tuple[Preempt, ...]:
    plan = []
    for row, cause in found.preempts:
        name, run = prepare.job_of(tables.jobs[row]), tables.jobs[row]
        if cause == NONE:
            site = next(
                p.site for p in tables.rows.partitions if isinstance(run, RunRow) and p.id == run.option.partition
            )
            plan.append(Preempt(name, reason("preempt.power", site=site)))
        else:
            taker = tables.jobs[cause]
            plan.append(Preempt(name, reason("preempt.reclaim", pool=taker.pool, job=prepare.job_of(taker))))
    return tuple(plan)


def _recaps(tables: Tables, found: Decision) -> tuple[Recap, ...]:
    """The last change of each run, where it has several."""
    site_of = {p.id: p.site for p in tables.rows.partitions}
    last = {prepare.job_of(tables.jobs[row]): tables.options[o] for row, o in found.recaps}
    return tuple(
        Recap(job, o.level, reason("recap.power", site=site_of[o.partition], level=o.level)) for job, o in last.items()
    )
