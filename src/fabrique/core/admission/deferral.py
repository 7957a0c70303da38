"""Phase 6, *Defer*: in which slots of a forecast the flexible jobs run, or why waiting is not worth it here.

The caller gives what is left after the jobs that can't wait, slot by slot, and takes what comes out as a wish: it plans
again whenever it knows more. Without a limit on room an unbroken run starts at the optimum; otherwise jobs choose in
order of slack, each the cheapest slots that those before it left, and those that may be paused for nothing then make
way for each other. A job is never put past its latest end while it fits before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from fabrique.core.units import HOUR_MS

Ints = npt.NDArray[np.int64]

UNLIMITED: Final = 2**62
_SLACKS: Final = 5  # quantiles of slack that expected jobs are made with


class Verdict(IntEnum):
    """What phase 6 says of a job."""

    RUN_NOW = 0  # nothing is cheaper than its soonest start
    NOT_WORTH = 1  # something is, by less than the site's floor
    DEFERRED = 2  # later, or paused, until `start_ms`
    NO_SLACK = 3  # it has to start, or to go on


class Began(IntEnum):
    FRESH = 0  # it never ran: its first start is free
    PAUSED = 1  # it waits at a checkpoint: starting costs a restart
    RUNNING = 2  # going on is free, going on later costs a restart


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Slots [edges_ms[s], edges_ms[s+1]), the first of which begins now; values per kWh (mg, or micro-currency).

    `milli_devices` and `power_mw` are what flexible jobs may use in each slot; `UNLIMITED` where there is no limit.
    """

    edges_ms: Ints
    value: Ints
    milli_devices: Ints
    power_mw: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Flexible:
    """Jobs as int64 columns of one length. `end_ms`: the latest end; `run_ms`: what is left to run, restarts aside.

    `milli_devices` and `power_mw` are the whole job's; `preemptible` 0 or 1; `began` of `Began`.
    """

    release_ms: Ints
    end_ms: Ints
    run_ms: Ints
    milli_devices: Ints
    power_mw: Ints
    preemptible: Ints
    began: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a restart from a checkpoint costs, and the least saving worth a wait, in values and in
    permille of the cost.
    """

    restart_ms: int = 0
    floor: int = 0
    floor_permille: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferrals:
    """One row a job. `share_ms[j, s]`: how long job j runs in slot s. Costs are value × ms for one watt.

    `cost_soonest` is that of the first start there is room for. Nothing is counted past the horizon.
    """

    verdict: Ints
    start_ms: Ints
    cost_soonest: Ints
    cost_plan: Ints
    share_ms: Ints


def in_order(forecast: Forecast, jobs: Flexible) -> npt.NDArray[np.intp]:
    """Rows by slack, then by everything else that tells two jobs apart: the order they were given in
    counts for nothing.
    """
    earliest = np.maximum(jobs.release_ms, forecast.edges_ms[0])
    slack = jobs.end_ms - earliest - jobs.run_ms
    columns = (jobs.began, jobs.preemptible, jobs.power_mw, jobs.milli_devices, jobs.run_ms, jobs.end_ms, slack)
    return np.lexsort(columns)


def in_turn(forecast: Forecast, jobs: Flexible, site: Site) -> Deferrals:
    """When each job runs, chosen in order of slack: each the cheapest slots that those before it left.

    Nothing given is changed; equal jobs and forecasts get equal answers, in any order. A job longer than what is left
    of the horizon has no slack in it and is not put off.
    """
    from fabrique.core.admission.kernels import deferral as kernel

    room, power = _left(forecast)
    answer = np.zeros((len(jobs.run_ms), kernel.ANSWER_COLUMNS), np.int64)
    share = np.zeros((len(jobs.run_ms), len(room)), np.int64)
    kernel.plan(
        forecast.edges_ms,
        forecast.value,
        room,
        power,
        _table(jobs),
        in_order(forecast, jobs),
        site.restart_ms,
        site.floor,
        site.floor_permille,
        answer,
        share,
    )
    return Deferrals(
        verdict=answer[:, kernel.VERDICT],
        start_ms=answer[:, kernel.START],
        cost_soonest=answer[:, kernel.COST_SOONEST],
        cost_plan=answer[:, kernel.COST_PLAN],
        share_ms=share,
    )


def defer(forecast: Forecast, jobs: Flexible, site: Site) -> Deferrals:
    """When each job runs: in turn; then, where a pause is free and no saving too small, jobs in pieces make way for
    each other.

    All of those together then cost no more than any plan of theirs would, if they draw the same a device; one that
    makes way may cost more than its soonest start. The rest, and all where that finds no place for some, stays as
    chosen in turn.
    """
    chosen = in_turn(forecast, jobs, site)
    may = (jobs.preemptible == 1) & (jobs.end_ms - np.maximum(jobs.release_ms, forecast.edges_ms[0]) > jobs.run_ms)
    return _making_way(forecast, jobs, chosen, may) if site == Site() and may.any() else chosen


def _making_way(forecast: Forecast, jobs: Flexible, chosen: Deferrals, may: npt.NDArray[np.bool_]) -> Deferrals:
    """`chosen`, where those that `may` are laid anew: a flow of least cost in the room that the others leave."""
    from fabrique.core.admission.kernels.deferral_flow import flow, starts

    stay, share = np.where(may, 0, 1)[:, None] * chosen.share_ms, np.zeros_like(chosen.share_ms)
    room, power = _left(forecast)
    room -= (stay * jobs.milli_devices[:, None]).sum(axis=0)
    power -= (stay * jobs.power_mw[:, None]).sum(axis=0)
    order, left = in_order(forecast, jobs), np.where(may, jobs.run_ms, 0)
    ranked = np.argsort(forecast.value, kind="stable")
    if not flow(forecast.edges_ms, ranked, room, power, _table(jobs), order[may[order]], left, share):
        return chosen
    earliest = np.maximum(jobs.release_ms, forecast.edges_ms[0])
    start = starts(forecast.edges_ms, share, earliest)
    return Deferrals(
        verdict=np.where(may, np.where(start > earliest, Verdict.DEFERRED, Verdict.RUN_NOW), chosen.verdict),
        start_ms=np.where(may, start, chosen.start_ms),
        cost_soonest=chosen.cost_soonest,
        cost_plan=np.where(may, (share * forecast.value).sum(axis=1), chosen.cost_plan),
        share_ms=stay + share,
    )


def _left(forecast: Forecast) -> tuple[Ints, Ints]:
    """(milli-devices × ms, mW × ms) of each slot."""
    lengths = np.diff(forecast.edges_ms)
    room = np.minimum(forecast.milli_devices, UNLIMITED // lengths) * lengths
    return room, np.minimum(forecast.power_mw, UNLIMITED // lengths) * lengths


def _table(jobs: Flexible) -> Ints:
    """The kernels' columns."""
    columns = (jobs.release_ms, jobs.end_ms, jobs.run_ms, jobs.milli_devices, jobs.power_mw, jobs.preemptible)
    return np.column_stack([*columns, jobs.began])


def to_run(forecast: Forecast, jobs: Flexible, wish: Deferrals) -> list[int]:
    """The rows that should run now, first those to serve first: a caller starts them while they fit.

    What has no slack, or will have none within this slot; what is planned now, runs before pauses; then, into what is
    left, those planned for a dearer slot than this one, the dearest first.
    """
    now, slot_ms = forecast.edges_ms[0], forecast.edges_ms[1] - forecast.edges_ms[0]
    slack = jobs.end_ms - now - jobs.run_ms
    dearest = np.where(wish.share_ms > 0, forecast.value, np.iinfo(np.int64).min).max(axis=1)
    planned = (wish.share_ms[:, 0] > 0) | (wish.verdict == Verdict.NO_SLACK)
    rank = np.where(slack <= 0, 0, np.where(slack <= slot_ms, 1, np.where(jobs.began == Began.RUNNING, 2, 3)))
    rank = np.where(planned, rank, 4)
    gain = np.where(planned, 0, forecast.value[0] - dearest)
    order = np.lexsort((jobs.run_ms, jobs.end_ms, slack, gain, rank))
    wanted = (jobs.release_ms <= now) & (planned | (gain < 0))
    return [int(row) for row in order if wanted[row]]


def reserve(forecast: Forecast, arrived: Flexible, over_ms: int, permille: int) -> Ints:
    """What to keep free of each slot for jobs not yet known, in milli-devices: `permille` of what they would want.

    They are expected to come as those that `arrived` in the last `over_ms` did (columns as they were then): as much
    work every hour, with the same spread of slack, and planned as if they were alone. Nothing is kept of the first
    slot.
    """
    edges, lengths = forecast.edges_ms, np.diff(forecast.edges_ms)
    work = int((arrived.milli_devices * arrived.run_ms).sum())
    if not work or len(lengths) < 2:
        return np.zeros(len(lengths), np.int64)
    run = max(1, work // int(arrived.milli_devices.sum()))
    slack = np.sort(arrived.end_ms - arrived.release_ms - arrived.run_ms)
    slack = slack[(len(slack) * np.arange(1, 2 * _SLACKS, 2)) // (2 * _SLACKS)]
    milli = work // over_ms * lengths[1:] // (_SLACKS * run)
    count = (len(lengths) - 1) * _SLACKS
    release = np.repeat(edges[1:-1], _SLACKS)
    expected = Flexible(
        release_ms=release,
        end_ms=release + np.repeat(lengths[1:], _SLACKS) + run + np.tile(slack, len(lengths) - 1),
        run_ms=np.full(count, run, np.int64),
        milli_devices=np.repeat(np.maximum(milli, 1), _SLACKS),
        power_mw=np.ones(count, np.int64),
        preemptible=np.ones(count, np.int64),
        began=np.zeros(count, np.int64),
    )
    wanted = (in_turn(forecast, expected, Site()).share_ms * expected.milli_devices[:, None]).sum(axis=0) // lengths
    wanted[0] = 0
    kept: Ints = np.minimum(wanted, forecast.milli_devices) * permille // 1000
    return kept


def values(cost: int, power_mw: int) -> int:
    """`cost` (value × ms for one watt) of a job that draws `power_mw`, in values: mg or micro-currency,
    rounded down.
    """
    return cost * power_mw // (1000 * 1000 * HOUR_MS)
