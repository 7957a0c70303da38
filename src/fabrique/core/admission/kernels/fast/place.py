"""Phases: place and explain. The option a job starts at now, or the constraint that binds it."""

from __future__ import annotations

from fabrique.core.admission.kernels.fast import directory as of
from fabrique.core.admission.kernels.fast.compiled import compiled
from fabrique.core.admission.kernels.fast.future import (
    blocked,
    catch_up,
    fits_criticals,
)
from fabrique.core.admission.kernels.fast.measure import (
    cap_at,
    in_quota,
    length,
    quota_left,
    scaled,
    watts,
    weight,
)
from fabrique.core.admission.kernels.fast.memory import CONTENDED, N_FREE_ROWS
from fabrique.core.admission.tables import (
    DOMAIN_FREE,
    DOMAIN_USED,
    JOB_FREE,
    JOB_POOL,
    JOB_PROFILE,
    JOB_SHORT,
    JOB_VERDICT,
    NONE,
    OPTION_MW,
    OPTION_PLACE,
    OPTION_SPEED,
    PLACE_WEIGHT,
    POOL_PENDING,
    PROFILE_END,
    PROFILE_FIRST,
    UNLIMITED,
    V_BEHIND,
    V_POWER,
    V_QUOTA,
    V_RESOURCE,
    Ints,
)


@compiled
def contended(m: Ints) -> bool:
    """Whether more is asked than is free."""
    asked, free = (0, 0)
    for q in range(m[of.ROWS_POOL]):
        asked += m[of.pool(m, q) + POOL_PENDING]
    for p in range(m[of.ROWS_PLACE]):
        free += scaled(m[of.free(m, p)], m[of.place(m, p) + PLACE_WEIGHT])
    return asked > free


@compiled
def fits(m: Ints, j: int, o: int, now_ms: int) -> bool:
    """Whether `j` may start at option `o` now: resources, quota, watts, and every critical instant it covers."""
    return has_room(m, j, m[of.option(m, o) + OPTION_PLACE], now_ms) and has_power(m, j, o, now_ms)


@compiled
def has_room(m: Ints, j: int, p: int, now_ms: int) -> bool:
    """What no level changes: whether a place has what `j` needs, and its pool may use it."""
    if m[of.work(m, N_FREE_ROWS)] == 0:
        return False
    for r in range(m[of.WIDTH_NEED]):
        asked = m[of.need(m, j) + r]
        if asked <= 0:
            continue
        if asked > m[of.free(m, p) + r] or asked > m[of.free(m, p) + r] - blocked(m, p, r, now_ms):
            return False
    return not m[of.FLAG_POOLS] or in_quota(m, m[of.job(m, j) + JOB_POOL], weight(m, j, p), now_ms)


@compiled
def has_power(m: Ints, j: int, o: int, now_ms: int) -> bool:
    """Whether a level leaves every domain under its cap, and what is foreseen untouched, for as long as it lasts."""
    p, mw = m[of.option(m, o) + OPTION_PLACE], watts(m, j, o)
    for h in range(m[of.WIDTH_CHAIN]):
        d = m[of.chain(m, p) + h]
        if d == NONE:
            break
        if m[of.domain(m, d) + DOMAIN_USED] + mw > cap_at(m, d, now_ms, now_ms):
            return False
    catch_up(m, now_ms)
    return fits_criticals(m, j, p, mw, now_ms, now_ms + length(m, j, o))


@compiled
def even_share(m: Ints, p: int, now_ms: int) -> int:
    """mW that each device could have if free ones and those of elastic runs shared evenly all that is left to them.

    The tightest domain tells. What is free now alone would not: it gives a newcomer what its predecessor drew.
    """
    least = UNLIMITED
    for h in range(m[of.WIDTH_CHAIN]):
        d = m[of.chain(m, p) + h]
        if d == NONE:
            break
        cap = cap_at(m, d, now_ms, now_ms)
        if cap < UNLIMITED:
            left = cap - m[of.domain(m, d) + DOMAIN_USED] + m[of.elastic(m, d)]
            devices = m[of.domain(m, d) + DOMAIN_FREE] + m[of.elastic(m, d) + 1]
            least = min(least, left * 1000 // max(devices, 1))
    return least


@compiled
def next_level(m: Ints, p: int, even: int) -> int:
    """The least mW above `even` that some option at a place draws: below it, no run there could want another level."""
    least = UNLIMITED
    for o in range(m[of.ROWS_OPTION]):
        if m[of.option(m, o) + OPTION_PLACE] == p and m[of.option(m, o) + OPTION_MW] > even:
            least = min(least, m[of.option(m, o) + OPTION_MW])
    return least


@compiled
def spares_even(m: Ints, j: int, o: int, even: int, now_ms: int) -> bool:
    """Whether `j` at `o` leaves the even share to every other device that is free."""
    p = m[of.option(m, o) + OPTION_PLACE]
    for h in range(m[of.WIDTH_CHAIN]):
        d = m[of.chain(m, p) + h]
        if d == NONE:
            break
        left = cap_at(m, d, now_ms, now_ms) - m[of.domain(m, d) + DOMAIN_USED] - watts(m, j, o)
        if left < even * (m[of.domain(m, d) + DOMAIN_FREE] - m[of.need(m, j)]) // 1000:
            return False
    return True


@compiled
def choose(m: Ints, j: int, now_ms: int) -> int:
    """The option to start at now, or NONE: the least energy; where jobs wait for watts, the level of an even share."""
    f = m[of.job(m, j) + JOB_PROFILE]
    first, end = (
        m[of.profile(m, f) + PROFILE_FIRST],
        m[of.profile(m, f) + PROFILE_END],
    )
    full = NONE  # the last place that had no room: neither has it at another level
    while first < end:
        p = m[of.option(m, first) + OPTION_PLACE]
        if p != full:
            if not has_room(m, j, p, now_ms):
                full = p
            elif has_power(m, j, first, now_ms):
                break
        first += 1
    if first == end:
        return NONE
    if not m[of.FLAG_WATER_FILL] or m[of.work(m, CONTENDED)] == 0:
        return first
    return level(m, j, first, end, now_ms)


@compiled
def level(m: Ints, j: int, first: int, end: int, now_ms: int) -> int:
    """Of the options at the place of `first`: the fastest within the even share, or the one above it where watts are
    left that nobody else needs for theirs; the one that draws least, where the share is less than any.
    """
    p = m[of.option(m, first) + OPTION_PLACE]
    even = even_share(m, p, now_ms)
    best, thrifty, above = (NONE, NONE, NONE)
    for o in range(first, end):
        if m[of.option(m, o) + OPTION_PLACE] != p or (o != first and not has_power(m, j, o, now_ms)):
            continue
        mw, speed = (m[of.option(m, o) + OPTION_MW], m[of.option(m, o) + OPTION_SPEED])
        if thrifty == NONE or mw < m[of.option(m, thrifty) + OPTION_MW]:
            thrifty = o
        if mw > even:
            if above == NONE or mw < m[of.option(m, above) + OPTION_MW]:
                above = o
            continue
        fastest = m[of.option(m, best) + OPTION_SPEED] if best != NONE else 0
        if speed > fastest or (speed == fastest and mw < m[of.option(m, best) + OPTION_MW]):
            best = o
    if best == NONE:
        return thrifty
    faster = above != NONE and m[of.option(m, above) + OPTION_SPEED] > m[of.option(m, best) + OPTION_SPEED]
    return above if faster and spares_even(m, j, above, even, now_ms) else best


@compiled
def say(m: Ints, j: int, verdict: int, short: int, free: int) -> int:
    (
        m[of.job(m, j) + JOB_VERDICT],
        m[of.job(m, j) + JOB_SHORT],
        m[of.job(m, j) + JOB_FREE],
    ) = (verdict, short, free)
    return verdict


@compiled
def bind(m: Ints, j: int, now_ms: int) -> int:
    """Write down and return the first constraint that its first option breaks now."""
    o = m[of.profile(m, m[of.job(m, j) + JOB_PROFILE]) + PROFILE_FIRST]
    p = m[of.option(m, o) + OPTION_PLACE]
    for r in range(m[of.WIDTH_NEED]):
        free = m[of.free(m, p) + r] - blocked(m, p, r, now_ms)
        if m[of.need(m, j) + r] > 0 and m[of.need(m, j) + r] > free:
            return say(m, j, V_RESOURCE + r, m[of.need(m, j) + r], max(0, free))
    mw = watts(m, j, o)
    for h in range(m[of.WIDTH_CHAIN]):
        d = m[of.chain(m, p) + h]
        if d == NONE:
            break
        left = cap_at(m, d, now_ms, now_ms) - m[of.domain(m, d) + DOMAIN_USED]
        if mw > left:
            return say(m, j, V_POWER, mw, max(0, left))
    asked, q = (weight(m, j, p), m[of.job(m, j) + JOB_POOL])
    if m[of.FLAG_POOLS] and (not in_quota(m, q, asked, now_ms)):
        return say(m, j, V_QUOTA, asked, max(0, quota_left(m, q, now_ms)))
    return say(m, j, V_BEHIND, 0, 0)
