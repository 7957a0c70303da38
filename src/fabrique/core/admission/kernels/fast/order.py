"""Phase: order. The next job is the best of those not yet considered in this step."""

from __future__ import annotations

from fabrique.core.admission.kernels.fast import directory as of
from fabrique.core.admission.kernels.fast.compiled import compiled
from fabrique.core.admission.kernels.fast.memory import BEST_POOL, N_RANKED
from fabrique.core.admission.tables import (
    JOB_NEXT,
    JOB_SUBMIT,
    LINE_CURSOR,
    LINE_FIRST,
    LINE_POOL,
    LINE_PRIORITY,
    LINE_PROJECT,
    NONE,
    POOL_NOMINAL,
    POOL_OWED,
    POOL_USED,
    PPM,
    PROJECT_USE,
    PROJECT_WEIGHT,
    Ints,
)


@compiled
def rank_pool(m: Ints, q: int) -> None:
    """The pool's key: what it is owed in ms at its nominal quota, then what it uses of that quota."""
    if m[of.FLAG_SHARE_ORDER]:
        nominal = max(m[of.pool(m, q) + POOL_NOMINAL], 1)
        m[of.pool_key(m, q)] = m[of.pool(m, q) + POOL_OWED] // nominal
        m[of.pool_key(m, q) + 1] = m[of.pool(m, q) + POOL_USED] * PPM // nominal
        m[of.work(m, BEST_POOL)] = NONE


@compiled
def comes_before(m: Ints, a: int, b: int) -> bool:
    """Whether line `a` is served before line `b`; lines of one pool stand together."""
    if m[of.line(m, a) + LINE_POOL] != m[of.line(m, b) + LINE_POOL]:
        return m[of.line(m, a) + LINE_POOL] < m[of.line(m, b) + LINE_POOL]
    if m[of.line(m, a) + LINE_PRIORITY] != m[of.line(m, b) + LINE_PRIORITY]:
        return m[of.line(m, a) + LINE_PRIORITY] > m[of.line(m, b) + LINE_PRIORITY]
    if m[of.excess(m, a)] != m[of.excess(m, b)]:
        return m[of.excess(m, a)] < m[of.excess(m, b)]
    return a < b


@compiled
def line_up(m: Ints, now_ms: int) -> bool:
    """Set every cursor to its line's first job; whether some job has waited so long that it goes before all.

    Lines without ready jobs leave the ranks. The others are inserted into the order of the step before, which seldom
    changed.
    """
    aged, count = False, 0
    for i in range(m[of.work(m, N_RANKED)]):
        k = m[of.rank(m, i)]
        first = m[of.line(m, k) + LINE_FIRST]
        m[of.line(m, k) + LINE_CURSOR] = first
        if first == NONE:
            m[of.ranked(m, k)] = 0
            continue
        if m[of.FLAG_AGE_MS] > 0 and now_ms - m[of.job(m, first) + JOB_SUBMIT] >= m[of.FLAG_AGE_MS]:
            aged = True
        project = m[of.line(m, k) + LINE_PROJECT]
        if m[of.FLAG_FAIR] and project != NONE:
            m[of.excess(m, k)] = m[of.project(m, project) + PROJECT_USE] // max(
                m[of.project(m, project) + PROJECT_WEIGHT], 1
            )
        at = count
        while at > 0 and comes_before(m, k, m[of.rank(m, at - 1)]):
            m[of.rank(m, at)] = m[of.rank(m, at - 1)]
            at -= 1
        m[of.rank(m, at)] = k
        count += 1
    m[of.work(m, N_RANKED)], m[of.work(m, BEST_POOL)] = count, NONE
    for q in range(m[of.ROWS_POOL]):
        m[of.pool_at(m, q)], m[of.pool_at(m, q) + 1], m[of.closed(m, q)] = (0, 0, 0)
        rank_pool(m, q)
    for i in range(count):
        q = m[of.line(m, m[of.rank(m, i)]) + LINE_POOL]
        if m[of.pool_at(m, q) + 1] == 0:
            m[of.pool_at(m, q)] = i
        m[of.pool_at(m, q) + 1] = i + 1
    return aged


@compiled
def step_cursor(m: Ints, k: int) -> int:
    j = m[of.line(m, k) + LINE_CURSOR]
    m[of.line(m, k) + LINE_CURSOR] = m[of.job(m, j) + JOB_NEXT]
    return j


@compiled
def next_aged(m: Ints, now_ms: int) -> int:
    """The oldest job that has waited `age_ms` and was not considered yet, over all lines; NONE."""
    best, where = (NONE, NONE)
    for i in range(m[of.work(m, N_RANKED)]):
        j = m[of.line(m, m[of.rank(m, i)]) + LINE_CURSOR]
        if j != NONE and now_ms - m[of.job(m, j) + JOB_SUBMIT] >= m[of.FLAG_AGE_MS] and (best == NONE or j < best):
            best, where = (j, m[of.rank(m, i)])
    return NONE if where == NONE else step_cursor(m, where)


@compiled
def next_job(m: Ints) -> int:
    """The next job by pool, then by line; NONE when all were considered."""
    if m[of.ROWS_LINE] == 1:
        return NONE if m[of.line(m, 0) + LINE_CURSOR] == NONE else step_cursor(m, 0)
    best = m[of.work(m, BEST_POOL)]
    if best == NONE or not has_next(m, best):
        best = best_pool(m)
        m[of.work(m, BEST_POOL)] = best
    return NONE if best == NONE else step_cursor(m, m[of.rank(m, m[of.pool_at(m, best)])])


@compiled
def has_next(m: Ints, q: int) -> bool:
    """Whether a pool has jobs that were not considered; then its next line is one that has."""
    while (
        m[of.pool_at(m, q)] < m[of.pool_at(m, q) + 1]
        and m[of.line(m, m[of.rank(m, m[of.pool_at(m, q)])]) + LINE_CURSOR] == NONE
    ):
        m[of.pool_at(m, q)] += 1
    return m[of.pool_at(m, q)] < m[of.pool_at(m, q) + 1]


@compiled
def best_pool(m: Ints) -> int:
    """The pool to serve next, of those that have jobs left; NONE. It stays the best until its key changes."""
    best = NONE
    for q in range(m[of.ROWS_POOL]):
        if not has_next(m, q):
            continue
        owed, used = (m[of.pool_key(m, q)], m[of.pool_key(m, q) + 1])
        if (
            best == NONE
            or owed > m[of.pool_key(m, best)]
            or (owed == m[of.pool_key(m, best)] and used < m[of.pool_key(m, best) + 1])
        ):
            best = q
    return best
