"""Phase: reclaim. Who gives way, in which order, and never more than is needed."""

from __future__ import annotations

from fabrique.core.admission.kernels.fast import directory as of
from fabrique.core.admission.kernels.fast.compiled import compiled
from fabrique.core.admission.kernels.fast.future import (
    catch_up,
    take_criticals,
)
from fabrique.core.admission.kernels.fast.measure import scaled, weight
from fabrique.core.admission.kernels.fast.memory import (
    N_PREEMPTS,
)
from fabrique.core.admission.kernels.fast.order import rank_pool
from fabrique.core.admission.kernels.fast.place import fits
from fabrique.core.admission.kernels.fast.take import (
    occupy,
    send_back,
)
from fabrique.core.admission.tables import (
    CLOCK_RUNS,
    JOB_LINE,
    JOB_POOL,
    JOB_PREEMPTIBLE,
    JOB_PROFILE,
    LINE_PRIORITY,
    NONE,
    OPTION_PLACE,
    PLACE_WEIGHT,
    POOL_COHORT,
    POOL_NO_BORROW,
    POOL_NOMINAL,
    POOL_USED,
    PROFILE_FIRST,
    RUN_END,
    RUN_JOB,
    RUN_LEAVING,
    RUN_MW,
    RUN_OPTION,
    RUN_START,
    RUN_WEIGHT,
    Ints,
)


@compiled
def run_priority(m: Ints, row: int) -> int:
    return m[of.line(m, m[of.job(m, m[of.run(m, row) + RUN_JOB]) + JOB_LINE]) + LINE_PRIORITY]


@compiled
def gives_way_before(m: Ints, a: int, b: int) -> bool:
    """The lowest priority first, then who started last, then the youngest job."""
    of_a, of_b = run_priority(m, a), run_priority(m, b)
    if of_a != of_b:
        return of_a < of_b
    if m[of.run(m, a) + RUN_START] != m[of.run(m, b) + RUN_START]:
        return m[of.run(m, a) + RUN_START] > m[of.run(m, b) + RUN_START]
    return m[of.run(m, a) + RUN_JOB] > m[of.run(m, b) + RUN_JOB]


@compiled
def taken_before(m: Ints, a: int, b: int) -> bool:
    """Whom a pool takes back from: the lowest priority, then who writes checkpoints, the smallest of them first.

    A restart costs as many devices as the run has; the others lose what they did, hence who started last.
    """
    if run_priority(m, a) == run_priority(m, b):
        of_a = m[of.job(m, m[of.run(m, a) + RUN_JOB]) + JOB_PREEMPTIBLE]
        of_b = m[of.job(m, m[of.run(m, b) + RUN_JOB]) + JOB_PREEMPTIBLE]
        if of_a != of_b:
            return of_a > of_b
        if of_a == 1 and m[of.run(m, a) + RUN_WEIGHT] != m[of.run(m, b) + RUN_WEIGHT]:
            return m[of.run(m, a) + RUN_WEIGHT] < m[of.run(m, b) + RUN_WEIGHT]
    return gives_way_before(m, a, b)


@compiled
def preempt(m: Ints, row: int, wanted_by: int, now_ms: int) -> None:
    n = m[of.work(m, N_PREEMPTS)]
    m[of.preempts(m, n)], m[of.preempts(m, n) + 1] = (
        m[of.run(m, row) + RUN_JOB],
        wanted_by,
    )
    m[of.work(m, N_PREEMPTS)] = n + 1
    send_back(m, row, m[of.FLAG_BACKOFF_MS], now_ms)


@compiled
def set_aside(m: Ints, row: int, now_ms: int, sign: int) -> None:
    """Suppose a run away (sign -1), or back again (1): what it holds, now and at the critical instants."""
    j = m[of.run(m, row) + RUN_JOB]
    p, end = (
        m[of.option(m, m[of.run(m, row) + RUN_OPTION]) + OPTION_PLACE],
        max(m[of.run(m, row) + RUN_END], now_ms + 1),
    )
    occupy(
        m,
        j,
        m[of.run(m, row) + RUN_OPTION],
        m[of.run(m, row) + RUN_MW],
        m[of.run(m, row) + RUN_WEIGHT],
        sign,
    )
    take_criticals(m, j, p, m[of.run(m, row) + RUN_MW], now_ms + 1, end, sign)


@compiled
def borrows_from(m: Ints, x: int, q: int) -> bool:
    same = m[of.pool(m, x) + POOL_COHORT] == m[of.pool(m, q) + POOL_COHORT]
    return x != q and same and (m[of.pool(m, x) + POOL_USED] > m[of.pool(m, x) + POOL_NOMINAL])


@compiled
def some_borrow(m: Ints) -> bool:
    """Whether there may be somebody to reclaim from."""
    if m[of.FLAG_PREEMPT_LOWER]:
        return True
    for q in range(m[of.ROWS_POOL]):
        if m[of.pool(m, q) + POOL_USED] > m[of.pool(m, q) + POOL_NOMINAL]:
            return True
    return False


@compiled
def may_reclaim(m: Ints, row: int, j: int, p: int, now_ms: int) -> bool:
    """Whether a run may have to give way to `j` on place `p`."""
    other = m[of.run(m, row) + RUN_JOB]
    if m[of.option(m, m[of.run(m, row) + RUN_OPTION]) + OPTION_PLACE] != p or m[of.run(m, row) + RUN_LEAVING] != 0:
        return False
    if now_ms - m[of.run(m, row) + RUN_START] < m[of.FLAG_MIN_RUN_MS]:
        return False
    if not (m[of.FLAG_RECLAIM_ANY] or m[of.job(m, other) + JOB_PREEMPTIBLE] == 1):
        return False
    q, x = (m[of.job(m, j) + JOB_POOL], m[of.job(m, other) + JOB_POOL])
    if x == q:
        return (
            bool(m[of.FLAG_PREEMPT_LOWER])
            and run_priority(m, row) < m[of.line(m, m[of.job(m, j) + JOB_LINE]) + LINE_PRIORITY]
        )
    return borrows_from(m, x, q)


@compiled
def reclaim(m: Ints, j: int, now_ms: int) -> int:
    """Make `j` fit at its first option by sending back what borrows its pool's quota; the option, or NONE."""
    o = m[of.profile(m, m[of.job(m, j) + JOB_PROFILE]) + PROFILE_FIRST]
    p, q = (m[of.option(m, o) + OPTION_PLACE], m[of.job(m, j) + JOB_POOL])
    if m[of.pool(m, q) + POOL_USED] + weight(m, j, p) > m[of.pool(m, q) + POOL_NOMINAL]:
        return NONE
    if not some_borrow(m):
        return NONE
    count = gather(m, j, p, now_ms)
    if not may_suffice(m, j, p, q, count):
        return NONE
    catch_up(m, now_ms)
    away, left, last, enough = 0, count, count - 1, False
    while left > 0:
        row = m[of.victims(m, 0)]
        left = drop_first(m, left)
        x = m[of.job(m, m[of.run(m, row) + RUN_JOB]) + JOB_POOL]
        if x != q and not borrows_from(m, x, q):
            continue
        set_aside(m, row, now_ms, -1)
        m[of.victims(m, last - away)] = row  # where the heap no longer is
        away += 1
        if fits(m, j, o, now_ms):
            enough = True
            break
    if not enough:
        for i in range(away):
            set_aside(m, m[of.victims(m, last - i)], now_ms, 1)
        return NONE
    take_back(m, j, o, away, last, now_ms)
    return o


@compiled
def gather(m: Ints, j: int, p: int, now_ms: int) -> int:
    """The runs that may have to give way to `j` on `p`, as a heap: whom to take before all others is first."""
    count = 0
    for i in range(m[of.clock(m, CLOCK_RUNS)]):
        row = m[of.by_end(m, i)]
        if not may_reclaim(m, row, j, p, now_ms):
            continue
        at = count
        while at > 0:
            above = (at - 1) // 2
            if not taken_before(m, row, m[of.victims(m, above)]):
                break
            m[of.victims(m, at)] = m[of.victims(m, above)]
            at = above
        m[of.victims(m, at)] = row
        count += 1
    return count


@compiled
def drop_first(m: Ints, count: int) -> int:
    """Take the first off the heap; how many are left."""
    count -= 1
    row, at = m[of.victims(m, count)], 0
    while 2 * at + 1 < count:
        child = 2 * at + 1
        if child + 1 < count and taken_before(m, m[of.victims(m, child + 1)], m[of.victims(m, child)]):
            child += 1
        if not taken_before(m, m[of.victims(m, child)], row):
            break
        m[of.victims(m, at)] = m[of.victims(m, child)]
        at = child
    m[of.victims(m, at)] = row
    return count


@compiled
def may_suffice(m: Ints, j: int, p: int, q: int, count: int) -> bool:
    """A quick no: all that may be taken, while its pool still borrows, is less than what `j` lacks."""
    if count == 0:
        return False
    if m[of.FLAG_PREEMPT_LOWER]:
        return True
    largest, borrowers, beyond = 0, 0, 0
    for i in range(count):
        largest = max(largest, m[of.run(m, m[of.victims(m, i)]) + RUN_WEIGHT])
    for x in range(m[of.ROWS_POOL]):
        if borrows_from(m, x, q):
            borrowers += 1
            beyond += m[of.pool(m, x) + POOL_USED] - m[of.pool(m, x) + POOL_NOMINAL]
    if m[of.need(m, j)] == 0:
        return True
    free = scaled(max(m[of.free(m, p)], 0), m[of.place(m, p) + PLACE_WEIGHT])
    return free + beyond + borrowers * largest + count + 1 >= weight(m, j, p)


@compiled
def take_back(m: Ints, j: int, o: int, away: int, last: int, now_ms: int) -> None:
    """Of the `away` victims, kept from `last` downward, spare whom `j` doesn't need; the others are preempted."""
    gone = 0
    for i in range(away):
        row = m[of.victims(m, last - i)]
        set_aside(m, row, now_ms, 1)
        if fits(m, j, o, now_ms):
            continue
        set_aside(m, row, now_ms, -1)
        m[of.victims(m, last - gone)] = row
        gone += 1
    q = m[of.job(m, j) + JOB_POOL]
    for i in range(gone):
        row = m[of.victims(m, last - i)]
        x = m[of.job(m, m[of.run(m, row) + RUN_JOB]) + JOB_POOL]
        occupy(
            m,
            m[of.run(m, row) + RUN_JOB],
            m[of.run(m, row) + RUN_OPTION],
            m[of.run(m, row) + RUN_MW],
            m[of.run(m, row) + RUN_WEIGHT],
            1,
        )
        preempt(m, row, j, now_ms)
        if x != q:
            m[of.pool(m, x) + POOL_NO_BORROW] = now_ms + m[of.FLAG_BACKOFF_MS]
            rank_pool(m, x)
