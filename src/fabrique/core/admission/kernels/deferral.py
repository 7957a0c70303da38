"""When flexible jobs run: the compiled half of phase 6. Whole numbers only, ties broken to the last.

Costs are `value` × ms for one watt: `value` is mg or micro-currency per kWh. `room` is milli-devices × ms and `power`
mW × ms left in each slot: a slot is filled by area, what runs at which instant inside it is the caller's to settle.
`reference_deferral` says the same naively; `core.admission.deferral` is what callers use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit

Ints = npt.NDArray[np.int64]
F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """`function`, compiled at its first call and kept in the cache."""
    return cast(F, njit(cache=True)(function))


RUN_NOW: Final = 0
NOT_WORTH: Final = 1
DEFERRED: Final = 2
NO_SLACK: Final = 3

FRESH: Final = 0  # never ran: its first start is free
PAUSED: Final = 1  # its next start costs a restart
RUNNING: Final = 2  # going on is free, pausing costs a restart

HOUR_MS: Final = 3_600_000

# columns of a job, and of its answer
RELEASE, END, RUN, MILLI, MW, PREEMPTIBLE, BEGAN = range(7)
JOB_COLUMNS: Final = 7
VERDICT, START, COST_SOONEST, COST_PLAN = range(4)
ANSWER_COLUMNS: Final = 4


@compiled
def summed(edges: Ints, value: Ints) -> Ints:
    """The integral of `value` from the first edge to each edge."""
    total = np.zeros(len(edges), np.int64)
    for s in range(len(value)):
        total[s + 1] = total[s] + value[s] * (edges[s + 1] - edges[s])
    return total


@compiled
def slot_of(edges: Ints, at_ms: int) -> int:
    """The slot that holds `at_ms`; the first or the last one outside the horizon."""
    low, high = 0, len(edges) - 2
    while low < high:
        middle = (low + high + 1) // 2
        if edges[middle] <= at_ms:
            low = middle
        else:
            high = middle - 1
    return low


@compiled
def cost(edges: Ints, value: Ints, total: Ints, start_ms: int, end_ms: int) -> int:
    """What a watt costs over [start, end), within the horizon."""
    last = edges[len(edges) - 1]
    a, b = min(max(start_ms, edges[0]), last), min(max(end_ms, edges[0]), last)
    i, j = slot_of(edges, a), slot_of(edges, b)
    return int(total[j] + value[j] * (b - edges[j]) - total[i] - value[i] * (a - edges[i]))


@compiled
def fits(edges: Ints, room: Ints, power: Ints, start_ms: int, end_ms: int, milli: int, mw: int) -> bool:
    """Whether every slot of [start, end) has the device-time and the energy left."""
    for s in range(slot_of(edges, start_ms), len(edges) - 1):
        length = min(end_ms, edges[s + 1]) - max(start_ms, edges[s])
        if length <= 0:
            break
        if room[s] < milli * length or power[s] < mw * length:
            return False
    return True


@compiled
def best_start(
    edges: Ints,
    value: Ints,
    total: Ints,
    room: Ints,
    power: Ints,
    earliest_ms: int,
    latest_ms: int,
    run_ms: int,
    milli: int,
    mw: int,
    soonest: bool,
) -> tuple[int, int]:
    """(start, cost) of the cheapest unbroken run that starts within [earliest, latest]; the earlier one at equal cost.

    The cost is linear in the start between two starts at which either end of the run crosses an edge: those and the
    ends of the window are all there is to try, so the answer is the optimum where there is room everywhere. `soonest`
    asks for the first start that fits instead. Start -1: none fits.
    """
    slots = len(value)
    best, lowest = -1, 0
    i = slot_of(edges, earliest_ms)  # the next edge for the start
    k = slot_of(edges, earliest_ms + run_ms)  # ... and for the end
    at = earliest_ms
    while True:
        price = cost(edges, value, total, at, at + run_ms)
        if (best < 0 or price < lowest) and fits(edges, room, power, at, at + run_ms, milli, mw):
            best, lowest = at, price
            if soonest:
                break
        if at >= latest_ms:
            break
        while i <= slots and edges[i] <= at:
            i += 1
        while k <= slots and edges[k] - run_ms <= at:
            k += 1
        ahead = latest_ms
        if i <= slots:
            ahead = min(ahead, edges[i])
        if k <= slots:
            ahead = min(ahead, edges[k] - run_ms)
        at = ahead
    return best, lowest


@compiled
def lay(edges: Ints, start_ms: int, end_ms: int, share: Ints) -> None:
    """`share` of an unbroken run over [start, end)."""
    share[:] = 0
    for s in range(slot_of(edges, start_ms), len(share)):
        length = min(end_ms, edges[s + 1]) - max(start_ms, edges[s])
        if length <= 0:
            break
        share[s] = length


@compiled
def cheapest_slots(
    edges: Ints,
    value: Ints,
    ranked: Ints,
    room: Ints,
    power: Ints,
    earliest_ms: int,
    end_ms: int,
    run_ms: int,
    milli: int,
    mw: int,
    began: int,
    restart_ms: int,
    share: Ints,
) -> tuple[bool, int]:
    """(done, cost) of a run in pieces, in the cheapest slots first, restarts added to its work; `share` is filled.

    A piece beside another one joins it; a slot that would give no more than the restarts it causes is passed over.
    """
    share[:] = 0
    slots = len(value)
    need, got, price = run_ms, 0, 0
    for q in range(slots):
        s = ranked[q]
        length = min(end_ms, edges[s + 1]) - max(earliest_ms, edges[s])
        length = min(length, room[s] // max(milli, 1), power[s] // max(mw, 1))
        if length <= 0:
            continue
        joined = (s > 0 and share[s - 1] > 0) or (s + 1 < slots and share[s + 1] > 0)
        free = joined or (began == FRESH and got == 0) or (began == RUNNING and s == 0 and earliest_ms == edges[0])
        if not free:
            if length <= restart_ms:
                continue
            need += restart_ms
        length = min(length, need - got)
        share[s] = length
        got += length
        price += length * value[s]
        if got >= need:
            return True, price
    return False, price


@compiled
def worth(saving: int, cost_soonest: int, mw: int, floor: int, floor_permille: int) -> bool:
    """Whether `saving` clears the floor, in values (mg, micro-currency) and in permille of the cost of not waiting."""
    values = mw * (saving // HOUR_MS) // 1_000_000
    return saving > 0 and values >= floor and saving >= abs(cost_soonest) // 1000 * floor_permille


@compiled
def first_of(edges: Ints, share: Ints, earliest_ms: int) -> int:
    """When the first piece starts: at once, else late enough to run into a piece in the next slot."""
    for s in range(len(share)):
        if share[s] > 0:
            joined = s + 1 < len(share) and share[s + 1] > 0
            if joined and edges[s] > earliest_ms:
                return int(edges[s + 1] - share[s])
            return int(max(earliest_ms, edges[s]))
    return int(earliest_ms)


@compiled
def settle(
    edges: Ints,
    value: Ints,
    total: Ints,
    ranked: Ints,
    room: Ints,
    power: Ints,
    job: Ints,
    restart_ms: int,
    floor: int,
    floor_permille: int,
    answer: Ints,
    share: Ints,
) -> None:
    """One job's `answer`, and its `share` (ms of run in each slot)."""
    milli, mw, began = job[MILLI], job[MW], job[BEGAN]
    run = job[RUN] + (restart_ms if began == PAUSED else 0)
    earliest, end = max(job[RELEASE], edges[0]), min(job[END], edges[len(edges) - 1])
    start, length, charged, in_pieces = earliest, run, cost(edges, value, total, earliest, earliest + run), False
    soonest, at_soonest = -1, charged
    verdict = NO_SLACK
    if earliest + run < end and (began != RUNNING or job[PREEMPTIBLE] == 1):
        soonest, at_soonest = best_start(edges, value, total, room, power, earliest, end - run, run, milli, mw, True)
        best, lowest, later = -1, 0, run + (restart_ms if began == RUNNING else 0)
        if job[PREEMPTIBLE] == 1:
            done, in_slots = cheapest_slots(
                edges, value, ranked, room, power, earliest, end, job[RUN], milli, mw, began, restart_ms, share
            )
            if done:
                best, lowest, in_pieces = first_of(edges, share, earliest), in_slots, True
        if earliest + later <= end and (not in_pieces or restart_ms > 0):  # pieces cost more only where restarts do
            block, price = best_start(edges, value, total, room, power, earliest, end - later, later, milli, mw, False)
            if block >= 0 and (best < 0 or price <= lowest):
                best, lowest, in_pieces = block, price, False
        if soonest < 0:
            at_soonest = lowest if best >= 0 else charged
        if best >= 0 and (soonest < 0 or worth(at_soonest - lowest, at_soonest, mw, floor, floor_permille)):
            verdict = DEFERRED if best > earliest else RUN_NOW
            start, length, charged = best, later, lowest
        elif soonest >= 0:
            verdict = NOT_WORTH if best >= 0 and lowest < at_soonest else RUN_NOW
            start, charged, in_pieces = soonest, at_soonest, False
    if not in_pieces:
        lay(edges, start, start + length, share)
    answer[VERDICT], answer[START], answer[COST_SOONEST], answer[COST_PLAN] = verdict, start, at_soonest, charged


@compiled
def plan(
    edges: Ints,
    value: Ints,
    room: Ints,
    power: Ints,
    jobs: Ints,
    order: Ints,
    restart_ms: int,
    floor: int,
    floor_permille: int,
    answer: Ints,
    share: Ints,
) -> None:
    """Every job's answer and share, in `order`, each in what those before it left; `room` and `power` are used up.

    A job without slack takes its place whatever is left: there is nothing to choose for it.
    """
    total = summed(edges, value)
    ranked = np.argsort(value, kind="mergesort")
    for row in order:
        settle(
            edges,
            value,
            total,
            ranked,
            room,
            power,
            jobs[row],
            restart_ms,
            floor,
            floor_permille,
            answer[row],
            share[row],
        )
        for s in range(len(value)):
            room[s] -= share[row, s] * jobs[row, MILLI]
            power[s] -= share[row, s] * jobs[row, MW]
