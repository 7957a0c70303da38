"""The twin's clock: events in order of time, and the decision after each. The decision itself is `step`, as in live."""

from __future__ import annotations

from fabrique.core.admission.kernels.fast import directory as of
from fabrique.core.admission.kernels.fast.compiled import compiled
from fabrique.core.admission.kernels.fast.heap import pop, push
from fabrique.core.admission.kernels.fast.measure import (
    amount,
    cap_at,
    most_free,
    scaled,
    stretched,
)
from fabrique.core.admission.kernels.fast.memory import (
    BEGUN,
    DONE_JOBS,
    FATE_AFTER,
    FATE_AT_HORIZON,
    FATE_CHILD,
    FATE_END,
    FATE_ENERGY,
    FATE_FINISH,
    FATE_LEFT,
    FATE_LOST,
    FATE_OPTION,
    FATE_RUN_LEFT,
    FATE_SAVED,
    FATE_SIBLING,
    FATE_SINCE,
    FATE_START,
    FATE_SUBMIT,
    HORIZON,
    IDLE,
    N_DEFERRALS,
    N_ENDS,
    N_PREEMPTS,
    N_RECAPS,
    N_STARTS,
    N_WAKES,
    NEXT_INSTANT,
    NEXT_JOB,
    NOW,
    RESTART,
    SCANNED,
    SIMPLE,
    SLOT_START,
    STEPS,
    TICK,
)
from fabrique.core.admission.kernels.fast.place import choose
from fabrique.core.admission.kernels.fast.step import advance, start, step
from fabrique.core.admission.kernels.fast.take import finish, make_ready
from fabrique.core.admission.tables import (
    AWAY,
    DONE,
    JOB_NOT_BEFORE,
    JOB_PREEMPTIBLE,
    JOB_RUN,
    JOB_SHAPE,
    JOB_STATUS,
    JOB_WALLTIME,
    NONE,
    OPTION_PLACE,
    OPTION_SPEED,
    PLACE_SITE,
    POOL_USED,
    RUNNING,
    UNLIMITED,
    Ints,
)

FOREVER = UNLIMITED
MOST_IDLE = 1000  # ticks with nothing running and nothing to come, after which what waits waits for ever


@compiled
def run_until(m: Ints, until_ms: int) -> int:
    """Replay every event up to and including `until_ms`; how many jobs ended so far."""
    while True:
        now = next_instant(m)
        if now > until_ms:
            break
        arrivals_only = m[of.book(m, SIMPLE)] == 1
        # 1. time passes
        pass_time(m, now)
        advance(m, now)
        # 2. what happens now
        if free_ended(m, now):
            arrivals_only = False
        first = m[of.book(m, NEXT_JOB)]
        arrive(m, now)
        if wake(m, now):
            arrivals_only = False
        if m[of.book(m, NEXT_INSTANT)] < m[of.ROWS_INSTANTS] and m[of.instants(m, m[of.book(m, NEXT_INSTANT)])] <= now:
            pass_instants(m, now)
            arrivals_only = False
        # 3. decide, and do it
        if arrivals_only and m[of.work(m, SCANNED)] > 0:
            try_newcomers(m, first, now)
        else:
            step(m, now, 0)
            record(m, now)
        m[of.book(m, STEPS)] += 1
    return m[of.book(m, DONE_JOBS)]


@compiled
def next_instant(m: Ints) -> int:
    """The next time at which something happens; FOREVER when nothing will."""
    at = FOREVER
    while m[of.book(m, N_ENDS)] > 0 and (not still_ends(m)):
        pop(m, m[of.OFFSET_ENDS], of.book(m, N_ENDS))
    if m[of.book(m, N_ENDS)] > 0:
        at = m[of.ends(m, 0)]
    if m[of.book(m, N_WAKES)] > 0:
        at = min(at, m[of.wakes(m, 0)])
    if m[of.book(m, NEXT_JOB)] < m[of.ROWS_FATE]:
        at = min(at, m[of.fate(m, m[of.book(m, NEXT_JOB)]) + FATE_SUBMIT])
    if at == FOREVER and m[of.book(m, DONE_JOBS)] == m[of.ROWS_FATE]:
        return at
    if m[of.book(m, NEXT_INSTANT)] < m[of.ROWS_INSTANTS]:
        at = min(at, m[of.instants(m, m[of.book(m, NEXT_INSTANT)])])
    if m[of.book(m, TICK)] > 0 and m[of.book(m, BEGUN)] == 1 and (at < FOREVER or m[of.book(m, IDLE)] < MOST_IDLE):
        m[of.book(m, IDLE)] = m[of.book(m, IDLE)] + 1 if at == FOREVER else 0
        at = min(at, (m[of.book(m, NOW)] // m[of.book(m, TICK)] + 1) * m[of.book(m, TICK)])
    return at


@compiled
def still_ends(m: Ints) -> bool:
    """Whether the soonest end on the heap is still one: a change of level or a preemption leaves stale ones."""
    j = m[of.ends(m, 0) + 1]
    return m[of.job(m, j) + JOB_STATUS] == RUNNING and m[of.fate(m, j) + FATE_FINISH] == m[of.ends(m, 0)]


@compiled
def pass_time(m: Ints, now: int) -> None:
    """Book energy, peaks and use for the time up to now, slot by slot."""
    before = m[of.book(m, NOW)]
    m[of.book(m, NOW)] = now
    if m[of.book(m, BEGUN)] == 0:
        m[of.book(m, BEGUN)] = 1
        return
    slot_ms, slots = (m[of.book(m, TICK)], m[of.WIDTH_SLOT_MJ])
    if slot_ms == 0 or now <= before:
        return
    at = before
    while at < now:
        k = (at - m[of.book(m, SLOT_START)]) // slot_ms
        until = min(now, m[of.book(m, SLOT_START)] + (k + 1) * slot_ms)
        if 0 <= k < slots:
            for i in range(m[of.ROWS_SITE_MW]):
                mw = m[of.site_mw(m, i)]
                m[of.slot_mj(m, i) + k] += millijoules(mw, until - at)
                m[of.peak_mw(m, i) + k] = max(m[of.peak_mw(m, i) + k], mw)
                if m[of.root(m, i)] != NONE:
                    cap = cap_at(m, m[of.root(m, i)], at, at)
                    if mw > cap:
                        m[of.over_mj(m, i) + k] += millijoules(mw - cap, until - at)
            for q in range(m[of.ROWS_POOL]):
                m[of.pool_work(m, q) + k] += m[of.pool(m, q) + POOL_USED] * (until - at)
        at = until


@compiled
def millijoules(mw: int, ms: int) -> int:
    """mW x ms as mJ, rounded down, in steps that never overflow."""
    return mw // 1000 * ms + mw % 1000 * ms // 1000


@compiled
def drawn_mw(m: Ints, j: int, o: int) -> int:
    return amount(m, j) * m[of.draw(m, o)] // 1000


@compiled
def draw(m: Ints, j: int, o: int, sign: int) -> None:
    site = m[of.place(m, m[of.option(m, o) + OPTION_PLACE]) + PLACE_SITE]
    m[of.site_mw(m, site)] += sign * drawn_mw(m, j, o)


@compiled
def progress(m: Ints, j: int, now: int) -> int:
    """Work of its run since it started or last changed level."""
    return min(
        m[of.fate(m, j) + FATE_RUN_LEFT],
        scaled(
            now - m[of.fate(m, j) + FATE_SINCE],
            m[of.option(m, m[of.fate(m, j) + FATE_OPTION]) + OPTION_SPEED],
        ),
    )


@compiled
def close_segment(m: Ints, j: int, now: int) -> int:
    """Book what the run drew at its level so far; the work it did there."""
    done = progress(m, j, now)
    m[of.fate(m, j) + FATE_ENERGY] += millijoules(
        drawn_mw(m, j, m[of.fate(m, j) + FATE_OPTION]),
        now - m[of.fate(m, j) + FATE_SINCE],
    )
    draw(m, j, m[of.fate(m, j) + FATE_OPTION], -1)
    m[of.fate(m, j) + FATE_RUN_LEFT] -= done
    return done


@compiled
def free_ended(m: Ints, now: int) -> bool:
    some = False
    while m[of.book(m, N_ENDS)] > 0 and m[of.ends(m, 0)] <= now:
        j, live = (m[of.ends(m, 0) + 1], still_ends(m))
        pop(m, m[of.OFFSET_ENDS], of.book(m, N_ENDS))
        if not live:
            continue
        close_segment(m, j, now)
        finish(m, m[of.job(m, j) + JOB_RUN])
        m[of.fate(m, j) + FATE_END] = now
        m[of.book(m, DONE_JOBS)] += 1
        some = True
        c = m[of.fate(m, j) + FATE_CHILD]
        while c != NONE:
            if m[of.fate(m, c) + FATE_SUBMIT] <= now:
                push(m, m[of.OFFSET_WAKES], of.book(m, N_WAKES), now, c)
            c = m[of.fate(m, c) + FATE_SIBLING]
    return some


@compiled
def may_be_ready(m: Ints, j: int, now: int) -> bool:
    if (
        m[of.job(m, j) + JOB_STATUS] != AWAY
        or m[of.job(m, j) + JOB_NOT_BEFORE] > now
        or m[of.fate(m, j) + FATE_SUBMIT] > now
    ):
        return False
    return m[of.fate(m, j) + FATE_AFTER] == NONE or m[of.job(m, m[of.fate(m, j) + FATE_AFTER]) + JOB_STATUS] == DONE


@compiled
def arrive(m: Ints, now: int) -> None:
    while m[of.book(m, NEXT_JOB)] < m[of.ROWS_FATE] and m[of.fate(m, m[of.book(m, NEXT_JOB)]) + FATE_SUBMIT] <= now:
        j = m[of.book(m, NEXT_JOB)]
        m[of.book(m, NEXT_JOB)] = j + 1
        if may_be_ready(m, j, now):
            make_ready(m, j)
        elif m[of.job(m, j) + JOB_NOT_BEFORE] > now:
            push(
                m,
                m[of.OFFSET_WAKES],
                of.book(m, N_WAKES),
                m[of.job(m, j) + JOB_NOT_BEFORE],
                j,
            )


@compiled
def wake(m: Ints, now: int) -> bool:
    some = False
    while m[of.book(m, N_WAKES)] > 0 and m[of.wakes(m, 0)] <= now:
        j = m[of.wakes(m, 0) + 1]
        pop(m, m[of.OFFSET_WAKES], of.book(m, N_WAKES))
        if may_be_ready(m, j, now):
            make_ready(m, j)
            some = True
    return some


@compiled
def pass_instants(m: Ints, now: int) -> None:
    while m[of.book(m, NEXT_INSTANT)] < m[of.ROWS_INSTANTS] and m[of.instants(m, m[of.book(m, NEXT_INSTANT)])] <= now:
        m[of.book(m, NEXT_INSTANT)] += 1
    if now == m[of.book(m, HORIZON)]:
        for j in range(m[of.ROWS_FATE]):
            if m[of.job(m, j) + JOB_STATUS] == DONE:
                m[of.fate(m, j) + FATE_AT_HORIZON] = NONE  # all of it
                continue
            m[of.fate(m, j) + FATE_AT_HORIZON] = m[of.fate(m, j) + FATE_SAVED]
            if m[of.job(m, j) + JOB_STATUS] == RUNNING:
                m[of.fate(m, j) + FATE_AT_HORIZON] += (
                    m[of.fate(m, j) + FATE_LEFT] - m[of.fate(m, j) + FATE_RUN_LEFT] + progress(m, j, now)
                )


@compiled
def record(m: Ints, now: int) -> None:
    """What `step` decided, in the book: preemptions and levels first, as it took them, then starts and deferrals."""
    for i in range(m[of.work(m, N_RECAPS)]):
        change_level(m, m[of.recaps(m, i)], m[of.recaps(m, i) + 1], now)
    for i in range(m[of.work(m, N_PREEMPTS)]):
        stop(m, m[of.preempts(m, i)], now)
    for i in range(m[of.work(m, N_STARTS)]):
        open_run(m, m[of.starts(m, i)], m[of.starts(m, i) + 1], now)
    for i in range(m[of.work(m, N_DEFERRALS)]):
        j = m[of.deferrals(m, i)]
        push(
            m,
            m[of.OFFSET_WAKES],
            of.book(m, N_WAKES),
            m[of.job(m, j) + JOB_NOT_BEFORE],
            j,
        )


@compiled
def open_run(m: Ints, j: int, o: int, now: int) -> None:
    m[of.fate(m, j) + FATE_RUN_LEFT] = m[of.fate(m, j) + FATE_LEFT]
    if m[of.fate(m, j) + FATE_START] == NONE:
        m[of.fate(m, j) + FATE_START] = now
    open_segment(m, j, o, now, now)


@compiled
def open_segment(m: Ints, j: int, o: int, now: int, earliest: int) -> None:
    """From now on `j` runs at `o`; it ends at `earliest` or later."""
    m[of.fate(m, j) + FATE_SINCE], m[of.fate(m, j) + FATE_OPTION] = (now, o)
    m[of.fate(m, j) + FATE_FINISH] = max(
        now + stretched(m[of.fate(m, j) + FATE_RUN_LEFT], m[of.option(m, o) + OPTION_SPEED]),
        earliest,
    )
    if m[of.book(m, N_ENDS)] == m[of.ROWS_ENDS]:
        forget_stale(m)
    push(m, m[of.OFFSET_ENDS], of.book(m, N_ENDS), m[of.fate(m, j) + FATE_FINISH], j)
    draw(m, j, o, 1)


@compiled
def forget_stale(m: Ints) -> None:
    """Ends that no longer are leave the heap, which has room for twice the runs there can be."""
    count, m[of.book(m, N_ENDS)] = (m[of.book(m, N_ENDS)], 0)
    for i in range(count):
        at, j = (m[of.ends(m, i)], m[of.ends(m, i) + 1])
        if m[of.job(m, j) + JOB_STATUS] == RUNNING and m[of.fate(m, j) + FATE_FINISH] == at:
            push(m, m[of.OFFSET_ENDS], of.book(m, N_ENDS), at, j)


@compiled
def change_level(m: Ints, j: int, o: int, now: int) -> None:
    """Its fate still holds the level before."""
    close_segment(m, j, now)
    open_segment(m, j, o, now, now + 1)


@compiled
def stop(m: Ints, j: int, now: int) -> None:
    """A preempted run: a checkpoint keeps its work and costs a restart; without one it is lost."""
    close_segment(m, j, now)
    done = m[of.fate(m, j) + FATE_LEFT] - m[of.fate(m, j) + FATE_RUN_LEFT]
    if m[of.job(m, j) + JOB_PREEMPTIBLE] == 1:
        m[of.fate(m, j) + FATE_LEFT] += m[of.book(m, RESTART)] - done
        m[of.fate(m, j) + FATE_SAVED] += done - m[of.book(m, RESTART)]
        m[of.fate(m, j) + FATE_LOST] += m[of.book(m, RESTART)]
        m[of.job(m, j) + JOB_WALLTIME] = max(
            m[of.fate(m, j) + FATE_LEFT],
            m[of.job(m, j) + JOB_WALLTIME] + m[of.book(m, RESTART)] - done,
        )
    else:
        m[of.fate(m, j) + FATE_LOST] += done
    m[of.job(m, j) + JOB_SHAPE] = NONE
    push(m, m[of.OFFSET_WAKES], of.book(m, N_WAKES), m[of.job(m, j) + JOB_NOT_BEFORE], j)


@compiled
def try_newcomers(m: Ints, first: int, now: int) -> None:
    """Only jobs came, behind others that wait: nothing was freed, so only they can start now."""
    if not m[of.FLAG_BACKFILL]:
        return
    for j in range(first, m[of.book(m, NEXT_JOB)]):
        if m[of.need(m, j)] > most_free(m) or m[of.job(m, j) + JOB_STATUS] == AWAY:
            continue
        o = choose(m, j, now)
        if o != NONE:
            m[of.work(m, N_STARTS)] = 0
            start(m, j, o, now)
            open_run(m, j, o, now)
