"""Why a job waits: the kernel's verdict on its row, as a reason with names and whole units."""

from __future__ import annotations

import numpy as np

from fabrique.core.admission import tables as t
from fabrique.core.admission.prepare import Tables, job_of
from fabrique.core.admission.rules import Rules
from fabrique.core.admission.state import JobRow, RunRow
from fabrique.core.admission.tables import NONE, PPM, State
from fabrique.core.reasons import Reason, reason
from fabrique.core.units import ceil_divide

_RESOURCES = ("accelerators", "cores", "memory")


def why_it_waits(tables: Tables, state: State, row: int, rules: Rules, now_ms: int, *, ahead: int) -> Reason:
    """The binding constraint of the pending job in `row` of `state`, the tables as the decision left them.

    `ahead`: the row of the job that is not to be made late, by `not_to_be_late`.
    """
    one, cells = tables.jobs[row], state.job[row]
    if isinstance(one, RunRow):
        raise ValueError(f"job {one.job} runs")
    if rules.observe_only:
        return reason("wait.observe-only")
    if cells[t.JOB_STATUS] == t.AWAY:
        return _away(tables, state, row, one, now_ms)
    verdict, short, free = cells[[t.JOB_VERDICT, t.JOB_SHORT, t.JOB_FREE]].tolist()
    if verdict == t.V_BUDGET:
        _, unit, _ = tables.rows.rooms[short]
        return reason("wait.budget-held", unit=unit, asked=dict(one.asks)[unit], available=max(free, 0))
    if verdict == t.V_QUOTA:
        pool = tables.pools[cells[t.JOB_POOL]]
        each = tables.cores_each if one.milli_devices else 1
        return reason("wait.quota", pool=pool, asked=short // each, left=max(free, 0) // each)
    option = one.options[0]
    if verdict == t.V_POWER:
        site = next(p.site for p in tables.rows.partitions if p.id == option.partition)
        return reason("wait.power", site=site, asked_w=option.power_w, free_w=free // 1000)
    if t.V_RESOURCE <= verdict <= t.V_RESOURCE_2:
        each = tables.cores_each if verdict == t.V_RESOURCE else 1
        return _lacks(_RESOURCES[verdict - t.V_RESOURCE], option.partition, short // each, free // each)
    return _behind(tables, state, row, one, now_ms, ahead)


def not_to_be_late(state: State, rules: Rules, now_ms: int) -> int:
    """The row of the job that others may not pass if that makes it late: the first that waits, where not every start is
    reserved the nearest that is; NONE.
    """
    if rules.drain_permille == 0 or not rules.backfill:
        return int(state.clock[t.CLOCK_BLOCKED])
    rows = np.flatnonzero((state.job[:, t.JOB_STATUS] == t.READY) & (state.job[:, t.JOB_AT] != NONE))
    at = state.job[rows, t.JOB_AT]
    since = np.maximum(state.job[rows, t.JOB_SUBMIT], state.job[rows, t.JOB_NOT_BEFORE])
    away, waited = (at - now_ms).tolist(), (now_ms - since).tolist()
    reserved = [i for i in range(len(rows)) if rules.reserves(away[i], waited[i])]
    return int(rows[min(reserved, key=away.__getitem__)]) if reserved else NONE


def _away(tables: Tables, state: State, row: int, one: JobRow, now_ms: int) -> Reason:
    until = int(state.job[row, t.JOB_NOT_BEFORE])
    if state.job[row, t.JOB_DEFERRED] == 1:
        return reason("wait.deferred", time=until, saved_permille=_saved_permille(tables, state, row, now_ms))
    if until > one.not_before_ms:
        return reason("wait.backing-off", time=until)
    return reason("wait.not-before", time=until)


def _lacks(what: str, partition: str, asked: int, free: int) -> Reason:
    if what == "memory":
        return reason("wait.memory", partition=partition, asked_mb=asked, free_mb=free)
    return reason(f"wait.{what}", partition=partition, asked=asked, free=free)


def _behind(tables: Tables, state: State, row: int, one: JobRow, now_ms: int, ahead: int) -> Reason:
    """Nothing lacks now: it would make an earlier one late, or something it would meet before its end is in the way."""
    if ahead not in (NONE, row):
        return reason("wait.behind", job=job_of(tables.jobs[ahead]))
    end_ms = now_ms + ceil_divide(one.walltime_ms * PPM, one.options[0].speed_ppm)
    falls = state.cap[state.cap[:, t.CAP_KNOWN] <= now_ms, t.CAP_FROM].tolist()
    met = [at for at in [*falls, *state.block[:, t.BLOCK_FROM].tolist()] if now_ms < at < end_ms]
    return reason("wait.window", time=min(met, default=end_ms))


def _saved_permille(tables: Tables, state: State, row: int, now_ms: int) -> int:
    """What the forecast saves by waiting, of what a start now would cost."""
    option = state.option[state.profile[state.job[row, t.JOB_PROFILE], t.PROFILE_FIRST]]
    length = ceil_divide(int(state.job[row, t.JOB_WALLTIME]) * PPM, int(option[t.OPTION_SPEED]))
    sums = state.grid[state.place[option[t.OPTION_PLACE], t.PLACE_SITE]].tolist()
    start, step_ms = int(state.clock[t.CLOCK_GRID]), int(state.clock[t.CLOCK_SLOT])

    def summed(at_ms: int) -> int:
        k = min(max((at_ms - start) // step_ms, 0), len(sums) - 1)
        beyond = (sums[k + 1] - sums[k]) * (at_ms - start - k * step_ms) // step_ms if k + 1 < len(sums) else 0
        return int(sums[k] + beyond)

    slot = int(state.job[row, t.JOB_NOT_BEFORE])
    cost_now = summed(now_ms + length) - summed(now_ms)
    cost_then = summed(slot + length) - summed(slot)
    return (cost_now - cost_then) * 1000 // max(abs(cost_now), 1)
