"""Phase: power. A falling cap lowers levels, then stops runs; leftover power raises levels again."""

from __future__ import annotations

from fabrique.core.admission.kernels.fast import directory as of
from fabrique.core.admission.kernels.fast.compiled import compiled
from fabrique.core.admission.kernels.fast.future import (
    catch_up,
    take_critical_watts,
)
from fabrique.core.admission.kernels.fast.measure import cap_at, headroom, on_chain, watts
from fabrique.core.admission.kernels.fast.memory import (
    CRITICAL_AT,
    LEAST_RISE,
    LOWERED,
    N_CRITICAL,
    N_RECAPS,
)
from fabrique.core.admission.kernels.fast.place import even_share, next_level
from fabrique.core.admission.kernels.fast.reclaim import gives_way_before, preempt
from fabrique.core.admission.kernels.fast.take import (
    end_at,
    lowered,
    rise,
    set_level,
)
from fabrique.core.admission.tables import (
    CLOCK_RUNS,
    DOMAIN_USED,
    JOB_ELASTIC,
    JOB_PREEMPTIBLE,
    JOB_PROFILE,
    NONE,
    OPTION_MW,
    OPTION_PLACE,
    OPTION_SPEED,
    PROFILE_END,
    PROFILE_FIRST,
    RUN_CHOSEN,
    RUN_END,
    RUN_JOB,
    RUN_LEAVING,
    RUN_MW,
    RUN_OPTION,
    RUN_START,
    UNLIMITED,
    Ints,
)


@compiled
def insert_victim(m: Ints, count: int, row: int) -> int:
    at = count
    while at > 0 and gives_way_before(m, row, m[of.victims(m, at - 1)]):
        m[of.victims(m, at)] = m[of.victims(m, at - 1)]
        at -= 1
    m[of.victims(m, at)] = row
    return count + 1


@compiled
def recap(m: Ints, row: int, o: int, now_ms: int) -> None:
    n = m[of.work(m, N_RECAPS)]
    m[of.recaps(m, n)], m[of.recaps(m, n) + 1] = (m[of.run(m, row) + RUN_JOB], o)
    m[of.work(m, N_RECAPS)] = n + 1
    set_level(m, row, o, now_ms)


@compiled
def lower_option(m: Ints, row: int, over_mw: int) -> int:
    """The level at the run's place that saves `over_mw` and still draws most, else the one that draws least; NONE."""
    j, p, mw = (
        m[of.run(m, row) + RUN_JOB],
        m[of.option(m, m[of.run(m, row) + RUN_OPTION]) + OPTION_PLACE],
        m[of.run(m, row) + RUN_MW],
    )
    enough, enough_mw, least, least_mw = (NONE, 0, NONE, 0)
    f = m[of.job(m, j) + JOB_PROFILE]
    for o in range(m[of.profile(m, f) + PROFILE_FIRST], m[of.profile(m, f) + PROFILE_END]):
        if m[of.option(m, o) + OPTION_PLACE] != p:
            continue
        draws = watts(m, j, o)
        if draws >= mw:
            continue
        if mw - draws >= over_mw and (enough == NONE or draws > enough_mw):
            enough, enough_mw = (o, draws)
        if least == NONE or draws < least_mw:
            least, least_mw = (o, draws)
    return least if enough == NONE else enough


@compiled
def candidates_in(m: Ints, d: int, consent: int) -> int:
    """The runs of a domain whose jobs consent (a column of `job`), in the order in which they give way."""
    count = 0
    for i in range(m[of.clock(m, CLOCK_RUNS)]):
        row = m[of.by_end(m, i)]
        p = m[of.option(m, m[of.run(m, row) + RUN_OPTION]) + OPTION_PLACE]
        if (
            m[of.run(m, row) + RUN_LEAVING] == 0
            and m[of.job(m, m[of.run(m, row) + RUN_JOB]) + consent] == 1
            and on_chain(m, p, d)
        ):
            count = insert_victim(m, count, row)
    return count


@compiled
def obey_caps(m: Ints, now_ms: int) -> None:
    """A cap fell: lower the level of what consents, stop what writes checkpoints, spare what does neither."""
    for d in range(m[of.ROWS_DOMAIN]):
        cap = cap_at(m, d, now_ms, now_ms)
        if m[of.domain(m, d) + DOMAIN_USED] <= cap:
            continue
        count = candidates_in(m, d, JOB_ELASTIC)
        for i in range(count):
            over = m[of.domain(m, d) + DOMAIN_USED] - cap
            if over <= 0:
                break
            o = lower_option(m, m[of.victims(m, i)], over)
            if o != NONE:
                recap(m, m[of.victims(m, i)], o, now_ms)
        if m[of.domain(m, d) + DOMAIN_USED] <= cap:
            continue
        count = candidates_in(m, d, JOB_PREEMPTIBLE)
        for i in range(count):
            if m[of.domain(m, d) + DOMAIN_USED] <= cap:
                break
            preempt(m, m[of.victims(m, i)], NONE, now_ms)


@compiled
def want_more(m: Ints, now_ms: int) -> None:
    """Jobs wait: elastic runs that were started at a slow level want the fastest one within the even share of a cap.

    They get it as those do whose level was lowered: where the watts are there to stay.
    """
    for p in range(m[of.ROWS_PLACE]):
        even = even_share(m, p, now_ms)
        if even == UNLIMITED or even < m[of.more_at(m, p)]:
            continue
        m[of.more_at(m, p)] = next_level(m, p, even)
        for i in range(m[of.clock(m, CLOCK_RUNS)]):
            row = m[of.by_end(m, i)]
            run = of.run(m, row)
            o = m[run + RUN_CHOSEN]
            if m[of.option(m, o) + OPTION_PLACE] != p or m[run + RUN_LEAVING] != 0:
                continue
            if m[of.job(m, m[run + RUN_JOB]) + JOB_ELASTIC] == 1:
                m[run + RUN_CHOSEN] = faster(m, m[run + RUN_JOB], o, even)
                if m[run + RUN_CHOSEN] != o:
                    m[of.work(m, LOWERED)] += 1 if m[run + RUN_OPTION] == o else 0
                    m[of.work(m, LEAST_RISE)] = min(m[of.work(m, LEAST_RISE)], rise(m, row))


@compiled
def faster(m: Ints, j: int, o: int, even: int) -> int:
    """The fastest option of `j` at the place of `o` that draws no more than `even`; `o` where none is faster."""
    best, f = o, m[of.job(m, j) + JOB_PROFILE]
    for other in range(m[of.profile(m, f) + PROFILE_FIRST], m[of.profile(m, f) + PROFILE_END]):
        if m[of.option(m, other) + OPTION_PLACE] != m[of.option(m, o) + OPTION_PLACE]:
            continue
        mw, gain = m[of.option(m, other) + OPTION_MW], speed_above(m, other, best)
        if mw <= even and (gain > 0 or (gain == 0 and best != o and mw < m[of.option(m, best) + OPTION_MW])):
            best = other
    return best


@compiled
def speed_above(m: Ints, a: int, b: int) -> int:
    return m[of.option(m, a) + OPTION_SPEED] - m[of.option(m, b) + OPTION_SPEED]


@compiled
def may_rise(m: Ints, mw: int) -> bool:
    """Whether some run is below the level chosen for it, and `mw` more may be enough to raise it."""
    return m[of.work(m, LOWERED)] > 0 and mw >= m[of.work(m, LEAST_RISE)]


@compiled
def given_up(m: Ints) -> int:
    """mW that runs would give back at the level chosen for them, where that draws less."""
    total = 0
    for i in range(m[of.clock(m, CLOCK_RUNS)]):
        row = m[of.by_end(m, i)]
        total += max(0, -rise(m, row)) if lowered(m, row) else 0
    return total


@compiled
def raise_levels(m: Ints, now_ms: int) -> None:
    """Water-fill: runs below the level chosen for them get it where the watts are there to stay."""
    if not may_rise(m, headroom(m, now_ms)):
        return
    count, most = 0, headroom(m, now_ms) + given_up(m)
    m[of.work(m, LEAST_RISE)] = UNLIMITED
    for i in range(m[of.clock(m, CLOCK_RUNS)]):
        row = m[of.by_end(m, i)]
        if lowered(m, row) == 0 or m[of.run(m, row) + RUN_LEAVING] != 0:
            continue
        m[of.work(m, LEAST_RISE)] = min(m[of.work(m, LEAST_RISE)], rise(m, row))
        if rise(m, row) > most:
            continue
        at = count
        while at > 0 and started_before(m, row, m[of.victims(m, at - 1)]):
            m[of.victims(m, at)] = m[of.victims(m, at - 1)]
            at -= 1
        m[of.victims(m, at)] = row
        count += 1
    if count > 0:
        catch_up(m, now_ms)
    for i in range(count):
        row = m[of.victims(m, i)]
        o, j = (m[of.run(m, row) + RUN_CHOSEN], m[of.run(m, row) + RUN_JOB])
        new = watts(m, j, o)
        end, new_end = (m[of.run(m, row) + RUN_END], end_at(m, row, o, now_ms))
        if may_raise(m, row, new, new_end, now_ms):
            p = m[of.option(m, o) + OPTION_PLACE]
            for c in range(m[of.work(m, N_CRITICAL)]):
                at = m[of.critical(m, c) + CRITICAL_AT]
                if now_ms < at < end:
                    take_critical_watts(m, c, p, -m[of.run(m, row) + RUN_MW])
                if now_ms < at < new_end:
                    take_critical_watts(m, c, p, new)
            recap(m, row, o, now_ms)


@compiled
def started_before(m: Ints, a: int, b: int) -> bool:
    if m[of.run(m, a) + RUN_START] != m[of.run(m, b) + RUN_START]:
        return m[of.run(m, a) + RUN_START] < m[of.run(m, b) + RUN_START]
    return m[of.run(m, a) + RUN_JOB] < m[of.run(m, b) + RUN_JOB]


@compiled
def may_raise(m: Ints, row: int, new_mw: int, new_end: int, now_ms: int) -> bool:
    p, old = (
        m[of.option(m, m[of.run(m, row) + RUN_OPTION]) + OPTION_PLACE],
        m[of.run(m, row) + RUN_MW],
    )
    for h in range(m[of.WIDTH_CHAIN]):
        d = m[of.chain(m, p) + h]
        if d == NONE:
            break
        if m[of.domain(m, d) + DOMAIN_USED] - old + new_mw > cap_at(m, d, now_ms, now_ms):
            return False
        for c in range(m[of.work(m, N_CRITICAL)]):
            at = m[of.critical(m, c) + CRITICAL_AT]
            if now_ms < at < new_end:
                back = old if at < m[of.run(m, row) + RUN_END] else 0
                if m[of.critical_mw(m, c) + d] + back < new_mw:
                    return False
    return True
