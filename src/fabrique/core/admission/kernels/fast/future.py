"""Phase: time. Instants at which less may be free than before, and the earliest start of a job that must wait.

Running jobs only ever give back, so what fits now fits until the next *critical* instant: a cap falls, a block or a
reservation begins. A start is checked now and at the critical instants it covers; nothing else is.
"""

from __future__ import annotations

from fabrique.core.admission.kernels.fast import directory as of
from fabrique.core.admission.kernels.fast.compiled import compiled
from fabrique.core.admission.kernels.fast.measure import cap_at, length, on_chain, watts
from fabrique.core.admission.kernels.fast.memory import (
    CRITICAL_AT,
    CRITICAL_PLACE,
    N_CRITICAL,
    N_MARKS,
    N_POSTPONED,
    N_RESERVED,
    RESERVED_FROM,
    RESERVED_MW,
    RESERVED_PLACE,
    RESERVED_UNTIL,
)
from fabrique.core.admission.tables import (
    BLOCK_FROM,
    BLOCK_PLACE,
    BLOCK_UNTIL,
    CAP_FROM,
    CAP_KNOWN,
    CAP_MW,
    CLOCK_RUNS,
    DOMAIN_CAP,
    DOMAIN_CAP_END,
    DOMAIN_USED,
    JOB_AT,
    JOB_NOT_BEFORE,
    JOB_PROFILE,
    JOB_SUBMIT,
    NONE,
    OPTION_PLACE,
    PROFILE_THRIFTY,
    PROFILE_THRIFTY_END,
    RUN_END,
    RUN_JOB,
    RUN_MW,
    RUN_OPTION,
    UNLIMITED,
    Ints,
)


@compiled
def mark(m: Ints, at_ms: int) -> None:
    """Note an instant from which more may be free, in order, once."""
    count = m[of.work(m, N_MARKS)]
    at = count
    while at > 0 and m[of.marks(m, at - 1)] > at_ms:
        at -= 1
    if at > 0 and m[of.marks(m, at - 1)] == at_ms:
        return
    for i in range(count, at, -1):
        m[of.marks(m, i)] = m[of.marks(m, i - 1)]
    m[of.marks(m, at)] = at_ms
    m[of.work(m, N_MARKS)] = count + 1


@compiled
def blocked(m: Ints, p: int, r: int, at_ms: int) -> int:
    """What reservations and maintenance keep out of reach at an instant."""
    kept = 0
    for b in range(m[of.ROWS_BLOCK]):
        if (
            m[of.block(m, b) + BLOCK_PLACE] == p
            and m[of.block(m, b) + BLOCK_FROM] <= at_ms < m[of.block(m, b) + BLOCK_UNTIL]
        ):
            kept += m[of.block_need(m, b) + r]
    return kept


@compiled
def foresee(m: Ints, now_ms: int) -> None:
    """The criticals known before any job is looked at: caps that change, blocks that begin."""
    m[of.work(m, N_CRITICAL)] = m[of.work(m, N_RESERVED)] = m[of.work(m, N_MARKS)] = 0
    m[of.work(m, N_POSTPONED)] = 0
    for d in range(m[of.ROWS_DOMAIN]):
        for row in range(m[of.domain(m, d) + DOMAIN_CAP], m[of.domain(m, d) + DOMAIN_CAP_END]):
            if m[of.cap(m, row) + CAP_KNOWN] <= now_ms < m[of.cap(m, row) + CAP_FROM]:
                at = m[of.cap(m, row) + CAP_FROM]
                mark(m, at)
                c = open_critical(m, at, NONE)
                m[of.critical_mw(m, c) + d] = cap_at(m, d, at, now_ms) - drawn(m, d, at, now_ms)
    for b in range(m[of.ROWS_BLOCK]):
        if m[of.block(m, b) + BLOCK_UNTIL] > now_ms:
            mark(m, m[of.block(m, b) + BLOCK_UNTIL])
        if m[of.block(m, b) + BLOCK_FROM] > now_ms:
            p, at = (m[of.block(m, b) + BLOCK_PLACE], m[of.block(m, b) + BLOCK_FROM])
            c = open_critical(m, at, p)
            for r in range(m[of.WIDTH_NEED]):
                m[of.critical_free(m, c) + r] = (
                    m[of.free(m, p) + r] + given_back(m, p, r, at, now_ms) - blocked(m, p, r, at)
                )


@compiled
def open_critical(m: Ints, at_ms: int, place: int) -> int:
    c = m[of.work(m, N_CRITICAL)]
    m[of.work(m, N_CRITICAL)] = c + 1
    m[of.critical(m, c) + CRITICAL_AT], m[of.critical(m, c) + CRITICAL_PLACE] = (
        at_ms,
        place,
    )
    for d in range(m[of.WIDTH_CRITICAL_MW]):
        m[of.critical_mw(m, c) + d] = UNLIMITED
    return c


@compiled
def drawn(m: Ints, d: int, at_ms: int, now_ms: int) -> int:
    """mW that today's runs in a domain may still draw at an instant."""
    total = m[of.domain(m, d) + DOMAIN_USED]
    for i in range(m[of.clock(m, CLOCK_RUNS)]):
        row = m[of.by_end(m, i)]
        if max(m[of.run(m, row) + RUN_END], now_ms + 1) > at_ms:
            break
        if on_chain(m, m[of.option(m, m[of.run(m, row) + RUN_OPTION]) + OPTION_PLACE], d):
            total -= m[of.run(m, row) + RUN_MW]
    return total


@compiled
def given_back(m: Ints, p: int, r: int, at_ms: int, now_ms: int) -> int:
    """What today's runs on a place will have given back by an instant."""
    total = 0
    for i in range(m[of.clock(m, CLOCK_RUNS)]):
        row = m[of.by_end(m, i)]
        if max(m[of.run(m, row) + RUN_END], now_ms + 1) > at_ms:
            break
        if m[of.option(m, m[of.run(m, row) + RUN_OPTION]) + OPTION_PLACE] == p:
            total += m[of.need(m, m[of.run(m, row) + RUN_JOB]) + r]
    return total


@compiled
def fits_criticals(m: Ints, j: int, p: int, mw: int, after_ms: int, until_ms: int) -> bool:
    """Whether `j` on `p` leaves every critical instant in (after, until) what it needs."""
    for c in range(m[of.work(m, N_CRITICAL)]):
        if not after_ms < m[of.critical(m, c) + CRITICAL_AT] < until_ms:
            continue
        if m[of.critical(m, c) + CRITICAL_PLACE] == p:
            for r in range(m[of.WIDTH_NEED]):
                if m[of.need(m, j) + r] > 0 and m[of.need(m, j) + r] > m[of.critical_free(m, c) + r]:
                    return False
        for h in range(m[of.WIDTH_CHAIN]):
            d = m[of.chain(m, p) + h]
            if d == NONE:
                break
            if mw > m[of.critical_mw(m, c) + d]:
                return False
    return True


@compiled
def take_criticals(m: Ints, j: int, p: int, mw: int, from_ms: int, until_ms: int, sign: int) -> None:
    """A run or a reservation of `j` during [from, until) leaves less (sign 1) at the critical instants there."""
    for c in range(m[of.work(m, N_CRITICAL)]):
        if not from_ms <= m[of.critical(m, c) + CRITICAL_AT] < until_ms:
            continue
        if m[of.critical(m, c) + CRITICAL_PLACE] == p:
            for r in range(m[of.WIDTH_NEED]):
                m[of.critical_free(m, c) + r] -= sign * m[of.need(m, j) + r]
        if mw != 0:
            take_critical_watts(m, c, p, sign * mw)


@compiled
def take_critical_watts(m: Ints, c: int, p: int, mw: int) -> None:
    for h in range(m[of.WIDTH_CHAIN]):
        d = m[of.chain(m, p) + h]
        if d == NONE:
            break
        if m[of.critical_mw(m, c) + d] < UNLIMITED // 2:
            m[of.critical_mw(m, c) + d] -= mw


@compiled
def room_at(m: Ints, j: int, p: int, mw: int, at_ms: int) -> bool:
    """Whether `row` (free on `p`, left on its chain, once today's runs gave back) leaves room at an instant."""
    resources, row, need = m[of.WIDTH_NEED], of.row(m, 0), of.need(m, j)
    for r in range(resources):
        if m[need + r] > m[row + r] and m[need + r] > 0:
            return False
    for h in range(m[of.WIDTH_CHAIN]):
        d = m[of.chain(m, p) + h]
        if d == NONE:
            break
        if mw > m[row + resources + h]:
            return False
        if mw > m[row + resources + h] - promised_mw(m, d, at_ms):
            return False
    for r in range(resources):
        asked = m[need + r]
        if asked > 0 and asked > m[row + r] - blocked(m, p, r, at_ms) - promised(m, p, r, at_ms):
            return False
    return True


@compiled
def promised(m: Ints, p: int, r: int, at_ms: int) -> int:
    total = 0
    for i in range(m[of.work(m, N_RESERVED)]):
        held = m[of.reserved(m, i) + RESERVED_FROM] <= at_ms < m[of.reserved(m, i) + RESERVED_UNTIL]
        if held and m[of.reserved(m, i) + RESERVED_PLACE] == p:
            total += m[of.reserved_need(m, i) + r]
    return total


@compiled
def promised_mw(m: Ints, d: int, at_ms: int) -> int:
    total = 0
    for i in range(m[of.work(m, N_RESERVED)]):
        held = m[of.reserved(m, i) + RESERVED_FROM] <= at_ms < m[of.reserved(m, i) + RESERVED_UNTIL]
        if held and on_chain(m, m[of.reserved(m, i) + RESERVED_PLACE], d):
            total += m[of.reserved(m, i) + RESERVED_MW]
    return total


@compiled
def give_back_row(m: Ints, row: int, p: int) -> None:
    """A run's end, for the walk along `by_end`."""
    resources, mw = (m[of.WIDTH_NEED], m[of.run(m, row) + RUN_MW])
    place = m[of.option(m, m[of.run(m, row) + RUN_OPTION]) + OPTION_PLACE]
    if place == p:
        for r in range(resources):
            m[of.row(m, r)] += m[of.need(m, m[of.run(m, row) + RUN_JOB]) + r]
    if mw > 0:
        for h in range(m[of.WIDTH_CHAIN]):
            d = m[of.chain(m, p) + h]
            if d == NONE:
                break
            if place == p or on_chain(m, place, d):
                m[of.row(m, resources + h)] += mw


@compiled
def earliest(m: Ints, j: int, o: int, now_ms: int) -> int:
    """The first instant after now from which `j` fits at `o` for its whole walltime; NONE. Leaves `row` there."""
    p, mw, lasts = (m[of.option(m, o) + OPTION_PLACE], watts(m, j, o), length(m, j, o))
    resources = m[of.WIDTH_NEED]
    for r in range(resources):
        m[of.row(m, r)] = m[of.free(m, p) + r]
    depth = m[of.WIDTH_CHAIN]
    for h in range(depth):
        d, left = m[of.chain(m, p) + h], of.row(m, resources + h)
        m[left] = 0 if d == NONE else -m[of.domain(m, d) + DOMAIN_USED]
        m[left + depth] = 0
    left_of_caps(m, p, now_ms, now_ms)
    i, k, count, marks = 0, 0, m[of.clock(m, CLOCK_RUNS)], m[of.work(m, N_MARKS)]
    while k < marks and m[of.marks(m, k)] <= now_ms:
        k += 1
    while i < count or k < marks:
        at = effective_end(m, i, now_ms) if i < count else m[of.marks(m, k)]
        if k < marks and m[of.marks(m, k)] <= at:
            at = m[of.marks(m, k)]
            k += 1
            left_of_caps(m, p, at, now_ms)
        while i < count and effective_end(m, i, now_ms) <= at:
            give_back_row(m, m[of.by_end(m, i)], p)
            i += 1
        if room_at(m, j, p, mw, at) and fits_criticals(m, j, p, mw, at, at + lasts):
            return at
    return NONE


@compiled
def left_of_caps(m: Ints, p: int, at_ms: int, now_ms: int) -> None:
    """`row` follows the caps of `p`'s chain from what held before to what holds at an instant."""
    depth = m[of.WIDTH_CHAIN]
    for h in range(depth):
        d, left = m[of.chain(m, p) + h], of.row(m, m[of.WIDTH_NEED] + h)
        if d == NONE:
            break
        cap = cap_at(m, d, at_ms, now_ms)
        m[left] += cap - m[left + depth]
        m[left + depth] = cap


@compiled
def effective_end(m: Ints, i: int, now_ms: int) -> int:
    """When the `i`-th run by end gives back; one past its end does so any moment."""
    return max(m[of.run(m, m[of.by_end(m, i)]) + RUN_END], now_ms + 1)


@compiled
def reserve(m: Ints, j: int, now_ms: int) -> int:
    """A job's earliest start, at the level that draws least; NONE where nothing ever makes it fit. It is kept for the
    job unless that would drain the machine for too long.
    """
    best, chosen = (NONE, NONE)
    f = m[of.job(m, j) + JOB_PROFILE]
    for i in range(m[of.profile(m, f) + PROFILE_THRIFTY], m[of.profile(m, f) + PROFILE_THRIFTY_END]):
        at = earliest(m, j, m[of.thrifty(m, i)], now_ms)
        if at != NONE and (best == NONE or at < best):
            best, chosen = (at, m[of.thrifty(m, i)])
    if best == NONE:
        return NONE
    if m[of.profile(m, f) + PROFILE_THRIFTY_END] - m[of.profile(m, f) + PROFILE_THRIFTY] > 1:
        earliest(m, j, chosen, now_ms)
    if may_drain(m, j, best, now_ms):
        promise(m, j, chosen, best, now_ms)
    return best


@compiled
def may_drain(m: Ints, j: int, at_ms: int, now_ms: int) -> bool:
    """Whether its start is near enough, for what it has waited, to keep it."""
    permille = m[of.FLAG_DRAIN_PERMILLE]
    since = max(m[of.job(m, j) + JOB_SUBMIT], m[of.job(m, j) + JOB_NOT_BEFORE])
    return permille == 0 or (at_ms - now_ms) * 1000 <= permille * (now_ms - since)


@compiled
def postpone(m: Ints, j: int) -> bool:
    """Note that `j` shall have its reservation when somebody could get in its way, if it surely gets one."""
    runs, first = (
        m[of.clock(m, CLOCK_RUNS)],
        of.profile(m, m[of.job(m, j) + JOB_PROFILE]),
    )
    if runs == 0 or m[of.work(m, N_MARKS)] > 0:
        return False
    o = m[of.thrifty(m, m[first + PROFILE_THRIFTY])]
    p, mw = m[of.option(m, o) + OPTION_PLACE], watts(m, j, o)
    for r in range(m[of.WIDTH_NEED]):
        if m[of.need(m, j) + r] > m[of.capacity(m, p) + r]:
            return False
    for h in range(m[of.WIDTH_CHAIN]):
        d = m[of.chain(m, p) + h]
        if d == NONE:
            break
        domain = of.domain(m, d)
        if m[domain + DOMAIN_CAP_END] > m[domain + DOMAIN_CAP] + 1:
            return False
        if m[domain + DOMAIN_CAP_END] > m[domain + DOMAIN_CAP] and mw > m[of.cap(m, m[domain + DOMAIN_CAP]) + CAP_MW]:
            return False
    n = of.work(m, N_POSTPONED)
    m[of.postponed(m, m[n])] = j
    m[n] += 1
    return True


@compiled
def catch_up(m: Ints, now_ms: int) -> None:
    """The reservations that were postponed, in the order in which they were due."""
    n = of.work(m, N_POSTPONED)
    if m[n] == 0:
        return
    count = m[n]
    m[n] = 0
    for i in range(count):
        j = m[of.postponed(m, i)]
        m[of.job(m, j) + JOB_AT] = reserve(m, j, now_ms)


@compiled
def promise(m: Ints, j: int, o: int, at_ms: int, now_ms: int) -> None:
    """The reservation [at, at + walltime) of `j`, and its critical instant. `row` tells what runs leave there."""
    p, mw, lasts = (m[of.option(m, o) + OPTION_PLACE], watts(m, j, o), length(m, j, o))
    resources = m[of.WIDTH_NEED]
    take_criticals(m, j, p, mw, at_ms, at_ms + lasts, 1)
    c = open_critical(m, at_ms, p)
    for r in range(resources):
        left = m[of.row(m, r)] - blocked(m, p, r, at_ms) - promised(m, p, r, at_ms)
        m[of.critical_free(m, c) + r] = left - m[of.need(m, j) + r]
    for h in range(m[of.WIDTH_CHAIN]):
        d = m[of.chain(m, p) + h]
        if d == NONE:
            break
        left = m[of.row(m, resources + h)]
        if left < UNLIMITED // 2:
            m[of.critical_mw(m, c) + d] = left - promised_mw(m, d, at_ms) - mw
    i = m[of.work(m, N_RESERVED)]
    m[of.work(m, N_RESERVED)] = i + 1
    m[of.reserved(m, i) + RESERVED_FROM], m[of.reserved(m, i) + RESERVED_UNTIL] = (
        at_ms,
        at_ms + lasts,
    )
    m[of.reserved(m, i) + RESERVED_PLACE], m[of.reserved(m, i) + RESERVED_MW] = (p, mw)
    for r in range(resources):
        m[of.reserved_need(m, i) + r] = m[of.need(m, j) + r]
    mark(m, at_ms + lasts)
