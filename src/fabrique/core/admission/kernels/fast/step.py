"""The compiled decision. `step` is its table of contents; the phases live in the rooms beside this one."""

from __future__ import annotations

from fabrique.core.admission.kernels.fast import directory as of
from fabrique.core.admission.kernels.fast.compiled import compiled
from fabrique.core.admission.kernels.fast.defer import put_off
from fabrique.core.admission.kernels.fast.future import foresee, postpone, reserve, take_criticals
from fabrique.core.admission.kernels.fast.measure import (
    headroom,
    in_quota,
    least_watts,
    most_free,
    weight_asked,
)
from fabrique.core.admission.kernels.fast.memory import (
    CONTENDED,
    LEAST_MW,
    LEAST_NEED,
    N_DEFERRALS,
    N_PREEMPTS,
    N_RECAPS,
    N_STARTS,
    SCANNED,
    STEP,
    UNJUDGED,
)
from fabrique.core.admission.kernels.fast.order import (
    line_up,
    next_aged,
    next_job,
    rank_pool,
)
from fabrique.core.admission.kernels.fast.place import bind, choose, contended, say
from fabrique.core.admission.kernels.fast.power import may_rise, obey_caps, raise_levels, want_more
from fabrique.core.admission.kernels.fast.reclaim import reclaim, some_borrow
from fabrique.core.admission.kernels.fast.take import begin, unjudged
from fabrique.core.admission.tables import (
    BUDGETS,
    CLOCK_BLOCKED,
    CLOCK_DAY,
    CLOCK_LAST,
    JOB_AT,
    JOB_FREE,
    JOB_NEXT,
    JOB_POOL,
    JOB_SHAPE,
    JOB_SHORT,
    JOB_VERDICT,
    LINE_FIRST,
    NONE,
    OPTION_PLACE,
    POOL_NOMINAL,
    POOL_OWED,
    POOL_PENDING,
    POOL_USED,
    PPM,
    PROJECT_RATE,
    PROJECT_USE,
    RUN_END,
    RUN_MW,
    UNLIMITED,
    V_BEHIND,
    V_BUDGET,
    V_QUOTA,
    Ints,
)

DAY_MS = 86400000
MOST_DAYS = 400


@compiled
def advance(m: Ints, now_ms: int) -> None:
    """Let time pass up to now, before the events of now: what pools are owed, what projects used."""
    passed = now_ms - m[of.clock(m, CLOCK_LAST)]
    if passed <= 0:
        return
    if m[of.FLAG_SHARE_ORDER]:
        for q in range(m[of.ROWS_POOL]):
            nominal, used = (
                m[of.pool(m, q) + POOL_NOMINAL],
                m[of.pool(m, q) + POOL_USED],
            )
            due = min(nominal, used + m[of.pool(m, q) + POOL_PENDING]) - used
            owed = m[of.pool(m, q) + POOL_OWED] + passed * due
            m[of.pool(m, q) + POOL_OWED] = min(max(owed, 0), m[of.FLAG_WINDOW_MS] * nominal)
    day = now_ms // DAY_MS
    if m[of.FLAG_FAIR]:
        for i in range(m[of.ROWS_PROJECT]):
            m[of.project(m, i) + PROJECT_USE] += passed * m[of.project(m, i) + PROJECT_RATE]
        decay(m, min(day - m[of.clock(m, CLOCK_DAY)], MOST_DAYS))
    m[of.clock(m, CLOCK_DAY)] = day
    m[of.clock(m, CLOCK_LAST)] = now_ms


@compiled
def decay(m: Ints, days: int) -> None:
    """What projects used counts for less with every day that ends."""
    for _ in range(days):
        for i in range(m[of.ROWS_PROJECT]):
            use = m[of.project(m, i) + PROJECT_USE]
            m[of.project(m, i) + PROJECT_USE] = (
                use // PPM * m[of.FLAG_DECAY_PPM] + use % PPM * m[of.FLAG_DECAY_PPM] // PPM
            )


@compiled
def step(m: Ints, now_ms: int, explain: int) -> None:
    """Decide now: starts, preemptions, changes of level and deferrals, done in the tables and listed.

    With `explain`, every job that waits learns why; without, the phases that only say so are left out.
    """
    m[of.work(m, N_STARTS)] = m[of.work(m, N_PREEMPTS)] = m[of.work(m, N_RECAPS)] = m[of.work(m, N_DEFERRALS)] = 0
    m[of.clock(m, CLOCK_BLOCKED)] = NONE
    m[of.work(m, STEP)] += 1
    if explain:
        forget_verdicts(m)
    if m[of.FLAG_OBSERVE_ONLY]:
        return
    # 1. a falling cap, and who could do with more power
    if m[of.FLAG_RECAP]:
        obey_caps(m, now_ms)
    if m[of.FLAG_WATER_FILL]:
        m[of.work(m, CONTENDED)] = 1 if contended(m) else 0
        if m[of.work(m, CONTENDED)] == 1:
            want_more(m, now_ms)
    room, mw = most_free(m), headroom(m, now_ms)
    if not explain and over(m, room, mw, True) and not may_rise(m, mw):
        m[of.work(m, SCANNED)] = 0
        return
    # 2. order
    aged = line_up(m, now_ms)
    foresee(m, now_ms)
    # 3. place, time, defer, lend and reclaim, job by job
    serve(m, now_ms, aged, explain, room, mw)
    # 4. leftover power
    if m[of.FLAG_WATER_FILL]:
        raise_levels(m, now_ms)


@compiled
def forget_verdicts(m: Ints) -> None:
    for k in range(m[of.ROWS_LINE]):
        j = m[of.line(m, k) + LINE_FIRST]
        while j != NONE:
            say(m, j, V_BEHIND, 0, 0)
            m[of.job(m, j) + JOB_AT] = NONE
            j = m[of.job(m, j) + JOB_NEXT]


@compiled
def serve(m: Ints, now_ms: int, some_aged: bool, explain: int, room: int, mw: int) -> None:
    """Every ready job in its order, until nothing can start any more."""
    blocked, looked, reservations = 0, 0, m[of.FLAG_RESERVATIONS]
    m[of.work(m, SCANNED)] = 0
    while True:
        if not explain and over(m, room, mw, blocked < reservations):
            return
        j, aged = NONE, False
        if some_aged:
            j = next_aged(m, now_ms)
            aged = some_aged = j != NONE  # behind those in a line there are only younger ones
        if j == NONE:
            j = next_job(m)
        if j == NONE:
            break
        if lacks(m, j):
            continue
        if blocked > 0 and not m[of.FLAG_BACKFILL]:
            break
        if blocked >= reservations:
            if remembered(m, j, explain):
                continue
            looked += 1
            if looked > m[of.FLAG_DEPTH]:
                break
            if not explain and hopeless(m, j, room, mw):
                not_yet_failed(m, j)
                continue
        if m[of.FLAG_DEFER] and put_off(m, j, now_ms):
            continue
        o = choose(m, j, now_ms)
        if o == NONE and m[of.FLAG_RECLAIM] and blocked < reservations:
            o = reclaim(m, j, now_ms)
        if o != NONE:
            start(m, j, o, now_ms)
            room, mw = most_free(m), headroom(m, now_ms)
        else:
            blocked += wait(m, j, now_ms, aged, blocked, explain)
    m[of.work(m, SCANNED)] = blocked


@compiled
def over(m: Ints, room: int, mw: int, reserving: bool) -> bool:
    """Whether no job that is left could start or be put off, so that going on would only say why."""
    if room >= m[of.work(m, LEAST_NEED)] and mw >= m[of.work(m, LEAST_MW)]:
        return False
    if m[of.FLAG_DEFER] and m[of.work(m, UNJUDGED)] > 0:
        return False
    return not (reserving and m[of.FLAG_RECLAIM] and some_borrow(m))


@compiled
def hopeless(m: Ints, j: int, room: int, mw: int) -> bool:
    """Whether neither devices nor watts are left for it anywhere, and nobody has to judge it."""
    if m[of.FLAG_DEFER] and unjudged(m, j):
        return False
    return m[of.need(m, j)] > room or (mw < UNLIMITED and least_watts(m, j) > mw)


@compiled
def not_yet_failed(m: Ints, j: int) -> int:
    """1 the first time that a shape is met in this step; it is remembered as one that can't start."""
    shape = m[of.job(m, j) + JOB_SHAPE]
    if shape == NONE:
        return 1
    if m[of.failed(m, shape)] == m[of.work(m, STEP)]:
        return 0
    m[of.failed(m, shape)], m[of.failed(m, shape) + 1] = (m[of.work(m, STEP)], j)
    return 1


@compiled
def remembered(m: Ints, j: int, explain: int) -> bool:
    """Whether a job alike failed in this step; then this one waits for the same reason."""
    shape = m[of.job(m, j) + JOB_SHAPE]
    if shape == NONE or m[of.failed(m, shape)] != m[of.work(m, STEP)]:
        return False
    if not explain:
        return True
    other = m[of.failed(m, shape) + 1]
    say(
        m,
        j,
        m[of.job(m, other) + JOB_VERDICT],
        m[of.job(m, other) + JOB_SHORT],
        m[of.job(m, other) + JOB_FREE],
    )
    return True


@compiled
def lacks(m: Ints, j: int) -> bool:
    """Whether its pool is closed, or a budget can't cover what it must hold."""
    q = m[of.job(m, j) + JOB_POOL]
    if m[of.closed(m, q)]:
        say(m, j, V_QUOTA, weight_asked(m, j), 0)
        return True
    if m[of.ROWS_ROOM] == 0:
        return False
    for k in range(BUDGETS):
        b = m[of.budget(m, j) + k]
        if b == NONE:
            break
        if m[of.ask(m, j) + k] > m[of.room(m, b)]:
            say(m, j, V_BUDGET, b, m[of.room(m, b)])
            return True
    return False


@compiled
def start(m: Ints, j: int, o: int, now_ms: int) -> None:
    row = begin(m, j, o, now_ms)
    take_criticals(
        m,
        j,
        m[of.option(m, o) + OPTION_PLACE],
        m[of.run(m, row) + RUN_MW],
        now_ms + 1,
        m[of.run(m, row) + RUN_END],
        1,
    )
    rank_pool(m, m[of.job(m, j) + JOB_POOL])
    n = m[of.work(m, N_STARTS)]
    m[of.starts(m, n)], m[of.starts(m, n) + 1] = (j, o)
    m[of.work(m, N_STARTS)] = n + 1


@compiled
def wait(m: Ints, j: int, now_ms: int, aged: bool, blocked: int, explain: int) -> int:
    """Say what binds it and find its earliest start while reservations are left; 1 if it counts as blocked."""
    binds_quota = False
    if explain or (m[of.FLAG_POOLS] and not in_quota(m, m[of.job(m, j) + JOB_POOL], weight_asked(m, j), now_ms)):
        binds_quota = bind(m, j, now_ms) == V_QUOTA
    not_yet_failed(m, j)
    if binds_quota:
        if aged:
            m[of.closed(m, m[of.job(m, j) + JOB_POOL])] = 1
        return 0
    if blocked < m[of.FLAG_RESERVATIONS] and (explain or not postpone(m, j)):
        at = reserve(m, j, now_ms)
        if at == NONE:
            return 0
        m[of.job(m, j) + JOB_AT] = at
    if blocked == 0:
        m[of.clock(m, CLOCK_BLOCKED)] = j
    return 1
