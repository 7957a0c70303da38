"""What a start, an end, a stop and a change of level do to the tables. Each undoes exactly what the other did."""

from __future__ import annotations

from fabrique.core.admission.kernels.fast import directory as of
from fabrique.core.admission.kernels.fast.compiled import compiled
from fabrique.core.admission.kernels.fast.measure import (
    length,
    watts,
    weight,
    weight_asked,
)
from fabrique.core.admission.kernels.fast.memory import LEAST_RISE, LOWERED, N_FREE_ROWS, N_RANKED, UNJUDGED
from fabrique.core.admission.tables import (
    AWAY,
    BUDGETS,
    CLOCK_GRID,
    CLOCK_RUNS,
    CLOCK_SLOT,
    COHORT_USED,
    DOMAIN_FREE,
    DOMAIN_USED,
    DONE,
    JOB_DEFERRED,
    JOB_ELASTIC,
    JOB_LATEST,
    JOB_LINE,
    JOB_NEXT,
    JOB_NOT_BEFORE,
    JOB_POOL,
    JOB_PREEMPTIONS,
    JOB_PREVIOUS,
    JOB_PROFILE,
    JOB_PROJECT,
    JOB_RUN,
    JOB_STATUS,
    LINE_FIRST,
    LINE_LAST,
    NONE,
    OPTION_MW,
    OPTION_PLACE,
    OPTION_SPEED,
    POOL_COHORT,
    POOL_PENDING,
    POOL_USED,
    PROFILE_END,
    PROFILE_FIRST,
    PROJECT_RATE,
    READY,
    RUN_CHOSEN,
    RUN_END,
    RUN_JOB,
    RUN_LEAVING,
    RUN_MW,
    RUN_OPTION,
    RUN_START,
    RUN_WEIGHT,
    RUNNING,
    UNLIMITED,
    Ints,
)


@compiled
def enqueue(m: Ints, j: int) -> None:
    """Into its line, in order of rows; nearly always at its end."""
    job = of.job(m, j)
    line = of.line(m, m[job + JOB_LINE])
    if m[line + LINE_FIRST] == NONE:
        rank_line(m, m[job + JOB_LINE])
    before = m[line + LINE_LAST]
    while before != NONE and before > j:
        before = m[of.job(m, before) + JOB_PREVIOUS]
    after = m[line + LINE_FIRST] if before == NONE else m[of.job(m, before) + JOB_NEXT]
    m[job + JOB_PREVIOUS], m[job + JOB_NEXT] = before, after
    join(m, line, before, after, j, j)
    m[of.pool(m, m[job + JOB_POOL]) + POOL_PENDING] += weight_asked(m, j)
    m[of.work(m, UNJUDGED)] += unjudged(m, j)


@compiled
def rank_line(m: Ints, k: int) -> None:
    """A line that has jobs again comes after those that have some; the next step puts it in its place."""
    if m[of.ranked(m, k)] == 0:
        count = of.work(m, N_RANKED)
        m[of.rank(m, m[count])], m[of.ranked(m, k)] = k, 1
        m[count] += 1


@compiled
def dequeue(m: Ints, j: int) -> None:
    job = of.job(m, j)
    before, after = m[job + JOB_PREVIOUS], m[job + JOB_NEXT]
    join(m, of.line(m, m[job + JOB_LINE]), before, after, after, before)
    m[job + JOB_PREVIOUS], m[job + JOB_NEXT] = NONE, NONE
    m[of.pool(m, m[job + JOB_POOL]) + POOL_PENDING] -= weight_asked(m, j)
    m[of.work(m, UNJUDGED)] -= unjudged(m, j)


@compiled
def join(m: Ints, line: int, before: int, after: int, follows: int, leads: int) -> None:
    """`follows` comes after `before`, `leads` before `after`; an end of the line where one is NONE."""
    if before == NONE:
        m[line + LINE_FIRST] = follows
    else:
        m[of.job(m, before) + JOB_NEXT] = follows
    if after == NONE:
        m[line + LINE_LAST] = leads
    else:
        m[of.job(m, after) + JOB_PREVIOUS] = leads


@compiled
def unjudged(m: Ints, j: int) -> int:
    """1 for a flexible job of which nobody asked yet whether putting it off pays."""
    job = of.job(m, j)
    return 1 if m[job + JOB_LATEST] != NONE and m[job + JOB_DEFERRED] == 0 else 0


@compiled
def plan_slots(m: Ints, j: int, sign: int) -> None:
    """Promise a deferred job its slots, or take the promise back."""
    from_ms = m[of.job(m, j) + JOB_NOT_BEFORE]
    first = m[of.profile(m, m[of.job(m, j) + JOB_PROFILE]) + PROFILE_FIRST]
    p = m[of.option(m, first) + OPTION_PLACE]
    start, step = (m[of.clock(m, CLOCK_GRID)], m[of.clock(m, CLOCK_SLOT)])
    last = (from_ms + length(m, j, first) - 1 - start) // step
    for k in range((from_ms - start) // step, last + 1):
        m[of.planned(m, p) + k] += sign * m[of.need(m, j)]


@compiled
def make_ready(m: Ints, j: int) -> None:
    """An event: the job may start from now on."""
    if m[of.job(m, j) + JOB_DEFERRED] == 1:
        plan_slots(m, j, -1)
        m[of.job(m, j) + JOB_DEFERRED] = 2
    m[of.job(m, j) + JOB_STATUS] = READY
    enqueue(m, j)


@compiled
def occupy(m: Ints, j: int, o: int, mw: int, share: int, sign: int) -> None:
    """Take (sign 1) or give back (-1) everything that a run of `j` at `o` holds but its budgets."""
    p, job, need = m[of.option(m, o) + OPTION_PLACE], of.job(m, j), of.need(m, j)
    free, chain = of.free(m, p), of.chain(m, p)
    for r in range(m[of.WIDTH_NEED]):
        m[free + r] -= sign * m[need + r]
    for h in range(m[of.WIDTH_CHAIN]):
        d = m[chain + h]
        if d == NONE:
            break
        domain = of.domain(m, d)
        m[domain + DOMAIN_USED] += sign * mw
        m[domain + DOMAIN_FREE] -= sign * m[need]
        if m[job + JOB_ELASTIC] == 1:
            m[of.elastic(m, d)] += sign * mw
            m[of.elastic(m, d) + 1] += sign * m[need]
    pool = of.pool(m, m[job + JOB_POOL])
    m[pool + POOL_USED] += sign * share
    m[of.cohort(m, m[pool + POOL_COHORT]) + COHORT_USED] += sign * share
    m[of.project(m, m[job + JOB_PROJECT]) + PROJECT_RATE] += sign * share


@compiled
def hold(m: Ints, j: int, sign: int) -> None:
    if m[of.ROWS_ROOM] == 0:
        return
    for k in range(BUDGETS):
        b = m[of.budget(m, j) + k]
        if b != NONE:
            m[of.room(m, b)] -= sign * m[of.ask(m, j) + k]


@compiled
def rank_of_end(m: Ints, count: int, end_ms: int, j: int) -> int:
    """How many of the first `count` runs in `by_end` come before (end, job)."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        at = of.run(m, m[of.by_end(m, middle)])
        if m[at + RUN_END] < end_ms or (m[at + RUN_END] == end_ms and m[at + RUN_JOB] < j):
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def list_end(m: Ints, row: int) -> None:
    clock, run, ends = of.clock(m, CLOCK_RUNS), of.run(m, row), of.by_end(m, 0)
    count = m[clock]
    at = rank_of_end(m, count, m[run + RUN_END], m[run + RUN_JOB])
    for i in range(ends + count, ends + at, -1):
        m[i] = m[i - 1]
    m[ends + at] = row
    m[clock] = count + 1


@compiled
def unlist_end(m: Ints, row: int) -> None:
    clock, run, ends = of.clock(m, CLOCK_RUNS), of.run(m, row), of.by_end(m, 0)
    count = m[clock]
    at = rank_of_end(m, count, m[run + RUN_END], m[run + RUN_JOB])
    for i in range(ends + at, ends + count - 1):
        m[i] = m[i + 1]
    m[clock] = count - 1


@compiled
def begin(m: Ints, j: int, o: int, now_ms: int) -> int:
    """Start a ready job; the row of its run."""
    dequeue(m, j)
    hold(m, j, 1)
    mw, share = watts(m, j, o), weight(m, j, m[of.option(m, o) + OPTION_PLACE])
    occupy(m, j, o, mw, share, 1)
    left = of.work(m, N_FREE_ROWS)
    m[left] -= 1
    row = m[of.free_rows(m, m[left])]
    run, job = of.run(m, row), of.job(m, j)
    m[run + RUN_JOB], m[run + RUN_OPTION], m[run + RUN_CHOSEN] = j, o, o
    m[run + RUN_START], m[run + RUN_END] = now_ms, now_ms + length(m, j, o)
    m[run + RUN_MW], m[run + RUN_WEIGHT], m[run + RUN_LEAVING] = mw, share, 0
    list_end(m, row)
    if m[of.FLAG_WATER_FILL] and m[job + JOB_ELASTIC] == 1:
        p = m[of.option(m, o) + OPTION_PLACE]
        m[of.more_at(m, p)] = min(m[of.more_at(m, p)], faster_from(m, j, o))
    m[job + JOB_STATUS], m[job + JOB_RUN] = RUNNING, row
    return row


@compiled
def faster_from(m: Ints, j: int, o: int) -> int:
    """The least mW of a device that a faster option of `j` at the place of `o` draws; UNLIMITED where there is none."""
    least, f = UNLIMITED, m[of.job(m, j) + JOB_PROFILE]
    for other in range(m[of.profile(m, f) + PROFILE_FIRST], m[of.profile(m, f) + PROFILE_END]):
        here = m[of.option(m, other) + OPTION_PLACE] == m[of.option(m, o) + OPTION_PLACE]
        if here and m[of.option(m, other) + OPTION_SPEED] > m[of.option(m, o) + OPTION_SPEED]:
            least = min(least, m[of.option(m, other) + OPTION_MW])
    return least


@compiled
def release(m: Ints, row: int, status: int) -> None:
    """A run is over: everything it held but its budgets is free again."""
    run = of.run(m, row)
    j = m[run + RUN_JOB]
    m[of.work(m, LOWERED)] -= lowered(m, row)
    occupy(m, j, m[run + RUN_OPTION], m[run + RUN_MW], m[run + RUN_WEIGHT], -1)
    unlist_end(m, row)
    m[run + RUN_JOB] = NONE
    left = of.work(m, N_FREE_ROWS)
    m[of.free_rows(m, m[left])] = row
    m[left] += 1
    m[of.job(m, j) + JOB_STATUS], m[of.job(m, j) + JOB_RUN] = status, NONE


@compiled
def finish(m: Ints, row: int) -> None:
    """An event: the run ended."""
    release(m, row, DONE)


@compiled
def send_back(m: Ints, row: int, backoff_ms: int, now_ms: int) -> None:
    """Preempt: the job waits its back-off out, twice as long at each preemption up to the seventh."""
    j = m[of.run(m, row) + RUN_JOB]
    release(m, row, AWAY)
    hold(m, j, -1)
    m[of.job(m, j) + JOB_PREEMPTIONS] += 1
    m[of.job(m, j) + JOB_NOT_BEFORE] = now_ms + (backoff_ms << min(m[of.job(m, j) + JOB_PREEMPTIONS] - 1, 6))


@compiled
def end_at(m: Ints, row: int, o: int, now_ms: int) -> int:
    """When the run ends at the latest if its level changes to option `o` now."""
    end = m[of.run(m, row) + RUN_END]
    if end <= now_ms:
        return end
    left = (end - now_ms) * m[of.option(m, m[of.run(m, row) + RUN_OPTION]) + OPTION_SPEED]
    return now_ms - -left // m[of.option(m, o) + OPTION_SPEED]


@compiled
def lowered(m: Ints, row: int) -> int:
    """1 for a run that is not at the level chosen at its start."""
    run = of.run(m, row)
    return 1 if m[run + RUN_OPTION] != m[run + RUN_CHOSEN] else 0


@compiled
def rise(m: Ints, row: int) -> int:
    """mW that a run would draw more at the level chosen for it."""
    run = of.run(m, row)
    return watts(m, m[run + RUN_JOB], m[run + RUN_CHOSEN]) - m[run + RUN_MW]


@compiled
def set_level(m: Ints, row: int, o: int, now_ms: int) -> None:
    """Re-cap: other watts, and the walltime that goes with them."""
    p = m[of.option(m, o) + OPTION_PLACE]
    new = watts(m, m[of.run(m, row) + RUN_JOB], o)
    for h in range(m[of.WIDTH_CHAIN]):
        d = m[of.chain(m, p) + h]
        if d == NONE:
            break
        m[of.domain(m, d) + DOMAIN_USED] += new - m[of.run(m, row) + RUN_MW]
        if m[of.job(m, m[of.run(m, row) + RUN_JOB]) + JOB_ELASTIC] == 1:
            m[of.elastic(m, d)] += new - m[of.run(m, row) + RUN_MW]
    end = end_at(m, row, o, now_ms)
    m[of.work(m, LOWERED)] -= lowered(m, row)
    unlist_end(m, row)
    (
        m[of.run(m, row) + RUN_MW],
        m[of.run(m, row) + RUN_OPTION],
        m[of.run(m, row) + RUN_END],
    ) = (new, o, end)
    m[of.work(m, LOWERED)] += lowered(m, row)
    if lowered(m, row):
        m[of.work(m, LEAST_RISE)] = min(m[of.work(m, LEAST_RISE)], rise(m, row))
    list_end(m, row)
