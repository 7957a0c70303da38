"""Phase: defer. A flexible job moves to the slot of least carbon (or price) before its latest start, if that pays."""

from __future__ import annotations

from fabrique.core.admission.kernels.fast import directory as of
from fabrique.core.admission.kernels.fast.compiled import compiled
from fabrique.core.admission.kernels.fast.measure import length
from fabrique.core.admission.kernels.fast.memory import N_DEFERRALS, UNJUDGED
from fabrique.core.admission.kernels.fast.take import dequeue, plan_slots, unjudged
from fabrique.core.admission.tables import (
    AWAY,
    CLOCK_GRID,
    CLOCK_SLOT,
    JOB_AT,
    JOB_DEFERRED,
    JOB_LATEST,
    JOB_NOT_BEFORE,
    JOB_PROFILE,
    JOB_STATUS,
    JOB_VERDICT,
    OPTION_PLACE,
    PLACE_SITE,
    PPM,
    PROFILE_FIRST,
    V_DEFERRED,
    Ints,
)


@compiled
def summed(m: Ints, site: int, start_ms: int, step_ms: int, at_ms: int) -> int:
    """The series summed from its start to an instant, linear within a slot."""
    k = (at_ms - start_ms) // step_ms
    low = m[of.grid(m, site) + k]
    if k + 1 >= m[of.WIDTH_GRID]:
        return low
    return low + (m[of.grid(m, site) + k + 1] - low) * (at_ms - start_ms - k * step_ms) // step_ms


@compiled
def has_room(m: Ints, j: int, p: int, from_slot: int, last_slot: int, fill_ppm: int) -> bool:
    most = m[of.capacity(m, p)] * fill_ppm // PPM
    for k in range(from_slot, last_slot + 1):
        if m[of.planned(m, p) + k] + m[of.need(m, j)] > most:
            return False
    return True


@compiled
def best_slot(m: Ints, j: int, now_ms: int) -> int:
    """The start of least forecast cost from now to the latest start; now, where moving isn't worth it."""
    o = m[of.profile(m, m[of.job(m, j) + JOB_PROFILE]) + PROFILE_FIRST]
    p, lasts, slots = (
        m[of.option(m, o) + OPTION_PLACE],
        length(m, j, o),
        m[of.WIDTH_GRID] - 1,
    )
    site, start, step = (
        m[of.place(m, p) + PLACE_SITE],
        m[of.clock(m, CLOCK_GRID)],
        m[of.clock(m, CLOCK_SLOT)],
    )
    end = start + slots * step
    if now_ms < start or now_ms + lasts > end:
        return now_ms
    here = summed(m, site, start, step, now_ms + lasts) - summed(m, site, start, step, now_ms)
    best, least = (now_ms, here)
    k = (now_ms - start) // step + 1
    at = start + k * step
    while at <= m[of.job(m, j) + JOB_LATEST] and at + lasts <= end:
        cost = summed(m, site, start, step, at + lasts) - m[of.grid(m, site) + k]
        if cost < least and has_room(m, j, p, k, (at + lasts - 1 - start) // step, m[of.FLAG_FILL_PPM]):
            best, least = (at, cost)
        k += 1
        at += step
    saved = here - least
    if saved > 0 and saved * 1000 >= abs(here) * m[of.FLAG_FLOOR_PERMILLE]:
        return best
    return now_ms


@compiled
def put_off(m: Ints, j: int, now_ms: int) -> bool:
    """Judge once whether a flexible job moves to a later slot; whether it does."""
    if not unjudged(m, j):
        return False
    job, at = of.job(m, j), now_ms
    if now_ms < m[job + JOB_LATEST] and m[of.WIDTH_GRID] > 1:
        at = best_slot(m, j, now_ms)
    if at <= now_ms:
        m[of.work(m, UNJUDGED)] -= 1
        m[job + JOB_DEFERRED] = 3
        return False
    dequeue(m, j)
    m[job + JOB_STATUS], m[job + JOB_NOT_BEFORE], m[job + JOB_DEFERRED] = AWAY, at, 1
    m[job + JOB_VERDICT], m[job + JOB_AT] = V_DEFERRED, at
    plan_slots(m, j, 1)
    n = m[of.work(m, N_DEFERRALS)]
    m[of.deferrals(m, n)], m[of.deferrals(m, n) + 1] = j, at
    m[of.work(m, N_DEFERRALS)] = n + 1
    return True
