"""What a job asks at an option, and what a cap or a plan leaves: small questions that every phase asks."""

from __future__ import annotations

from fabrique.core.admission.kernels.fast import directory as of
from fabrique.core.admission.kernels.fast.compiled import compiled
from fabrique.core.admission.tables import (
    CAP_FROM,
    CAP_KNOWN,
    CAP_MW,
    COHORT_SIZE,
    COHORT_USED,
    DOMAIN_CAP,
    DOMAIN_CAP_END,
    DOMAIN_USED,
    JOB_PROFILE,
    JOB_WALLTIME,
    NONE,
    OPTION_MW,
    OPTION_PLACE,
    OPTION_SPEED,
    PLACE_WEIGHT,
    POOL_BORROW,
    POOL_COHORT,
    POOL_LEND,
    POOL_NO_BORROW,
    POOL_NOMINAL,
    POOL_USED,
    PPM,
    PROFILE_FIRST,
    UNLIMITED,
    Ints,
)


@compiled
def amount(m: Ints, j: int) -> int:
    """Thousandths of devices, or of cores where it asks for none."""
    asked = m[of.need(m, j)]
    if asked > 0 or m[of.WIDTH_NEED] == 1:
        return asked
    return m[of.need(m, j) + 1]


@compiled
def scaled(value: int, ppm: int) -> int:
    if ppm == PPM:
        return value
    return value * ppm // PPM


@compiled
def weight(m: Ints, j: int, p: int) -> int:
    """Normalised milli-devices of a job on a place."""
    return scaled(amount(m, j), m[of.place(m, p) + PLACE_WEIGHT])


@compiled
def first_option(m: Ints, j: int) -> int:
    return m[of.profile(m, m[of.job(m, j) + JOB_PROFILE]) + PROFILE_FIRST]


@compiled
def weight_asked(m: Ints, j: int) -> int:
    """Normalised milli-devices of a job on the place of its first option."""
    return weight(m, j, m[of.option(m, first_option(m, j)) + OPTION_PLACE])


@compiled
def watts(m: Ints, j: int, o: int) -> int:
    """mW of a job at an option, rounded up."""
    each = m[of.option(m, o) + OPTION_MW]
    if each == 0:
        return 0
    return -(-amount(m, j) * each // 1000)


@compiled
def stretched(length_ms: int, speed: int) -> int:
    """What takes `length_ms` on the reference device, at `speed` ppm of it; rounded up."""
    if speed == PPM:
        return length_ms
    return -(-length_ms * PPM // speed)


@compiled
def length(m: Ints, j: int, o: int) -> int:
    return stretched(m[of.job(m, j) + JOB_WALLTIME], m[of.option(m, o) + OPTION_SPEED])


@compiled
def cap_at(m: Ints, d: int, at_ms: int, now_ms: int) -> int:
    """The cap of a domain at an instant, as known now; UNLIMITED where there is none."""
    low, high = m[of.domain(m, d) + DOMAIN_CAP], m[of.domain(m, d) + DOMAIN_CAP_END]
    first = low
    while low < high:  # the first row that begins after the instant
        middle = (low + high) // 2
        if m[of.cap(m, middle) + CAP_FROM] <= at_ms:
            low = middle + 1
        else:
            high = middle
    for row in range(low - 1, first - 1, -1):
        if m[of.cap(m, row) + CAP_KNOWN] <= now_ms:
            return m[of.cap(m, row) + CAP_MW]
    return UNLIMITED


@compiled
def may_borrow(m: Ints, q: int, now_ms: int) -> int:
    if now_ms < m[of.pool(m, q) + POOL_NO_BORROW]:
        return 0
    return m[of.pool(m, q) + POOL_BORROW]


@compiled
def quota_left(m: Ints, q: int, now_ms: int) -> int:
    return m[of.pool(m, q) + POOL_NOMINAL] + may_borrow(m, q, now_ms) - m[of.pool(m, q) + POOL_USED]


@compiled
def in_quota(m: Ints, q: int, asked: int, now_ms: int) -> bool:
    """Whether a pool may use so much more: its own limit, and what others of its cohort don't lend."""
    if asked > quota_left(m, q, now_ms):
        return False
    g = m[of.pool(m, q) + POOL_COHORT]
    kept = 0
    for x in range(m[of.ROWS_POOL]):
        other = of.pool(m, x)
        if x != q and m[other + POOL_COHORT] == g:
            kept += max(0, m[other + POOL_NOMINAL] - m[other + POOL_LEND] - m[other + POOL_USED])
    return m[of.cohort(m, g) + COHORT_USED] + asked + kept <= m[of.cohort(m, g) + COHORT_SIZE]


@compiled
def on_chain(m: Ints, place: int, d: int) -> bool:
    for h in range(m[of.WIDTH_CHAIN]):
        if m[of.chain(m, place) + h] == d:
            return True
        if m[of.chain(m, place) + h] == NONE:
            return False
    return False


@compiled
def headroom(m: Ints, now_ms: int) -> int:
    """The most mW that a job could still draw on any place."""
    most = 0
    for p in range(m[of.ROWS_PLACE]):
        left = UNLIMITED
        for h in range(m[of.WIDTH_CHAIN]):
            d = m[of.chain(m, p) + h]
            if d == NONE:
                break
            left = min(left, cap_at(m, d, now_ms, now_ms) - m[of.domain(m, d) + DOMAIN_USED])
        most = max(most, left)
    return most


@compiled
def least_watts(m: Ints, j: int) -> int:
    """mW of a job at the level that draws least anywhere."""
    each = m[of.least_mw(m, m[of.job(m, j) + JOB_PROFILE])]
    return each if each == 0 or each == UNLIMITED else -(-amount(m, j) * each // 1000)


@compiled
def most_free(m: Ints) -> int:
    """The largest free amount of the first resource on any place, blocks not taken off."""
    most = 0
    for p in range(m[of.ROWS_PLACE]):
        most = max(most, m[of.free(m, p)])
    return most
