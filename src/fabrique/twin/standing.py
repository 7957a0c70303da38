"""The tables that a fleet gives the decision: pools, power, places and slots of the grid, before any job runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from fabrique.core.admission import tables as t
from fabrique.core.admission.tables import NONE, PPM, UNLIMITED, Ints, State
from fabrique.core.units import HOUR_MS
from fabrique.twin.fleet import Domain, Fleet, Pool, steps
from fabrique.twin.options import Options

DAY_MS: Final = 24 * HOUR_MS
NO_LIMIT: Final = UNLIMITED // 2  # a quota and this still add up within 63 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What was forecast: row i of a site's (fleet order) holds over [start_ms + i × step_ms, that + step_ms).

    `forecast` (sites, slots): mg CO2e per kWh, or micro-units of a currency per MWh; never what was measured later.
    """

    forecast: Ints
    start_ms: int
    step_ms: int


def pool_tables(pools: tuple[Pool, ...], normalised: int) -> tuple[Ints, Ints]:
    """Rows of `pool` and `cohort`: nominal quotas are shares of the whole, the last one takes what rounding leaves."""
    cohorts = list(dict.fromkeys(pool.cohort for pool in pools))
    whole = sum(pool.share_ppm for pool in pools)
    nominal = [normalised * pool.share_ppm // whole for pool in pools]
    nominal[-1] = normalised - sum(nominal[:-1])
    pool_rows = np.zeros((len(pools), t.POOL_COLUMNS), np.int64)
    cohort_rows = np.zeros((len(cohorts), t.COHORT_COLUMNS), np.int64)
    for row, pool in zip(range(len(pools)), pools, strict=True):
        cohort = cohorts.index(pool.cohort)
        pool_rows[row, t.POOL_COHORT] = cohort
        pool_rows[row, t.POOL_NOMINAL] = nominal[row]
        pool_rows[row, t.POOL_BORROW] = _limit(nominal[row], pool.borrow_ppm)
        pool_rows[row, t.POOL_LEND] = _limit(nominal[row], pool.lend_ppm)
        cohort_rows[cohort, t.COHORT_SIZE] += nominal[row]
    return pool_rows, cohort_rows


def _limit(nominal: int, ppm: int | None) -> int:
    return NO_LIMIT if ppm is None else nominal * ppm // PPM


def most_by_pool(pool: Ints, cohort: Ints) -> Ints:
    """The most that one job of each pool may ever weigh: with all it can borrow, and what others never lend left."""
    own = np.maximum(pool[:, t.POOL_NOMINAL] - pool[:, t.POOL_LEND], 0)
    of = pool[:, t.POOL_COHORT]
    kept = np.bincount(of, weights=own, minlength=len(cohort)).astype(np.int64)[of] - own
    most: Ints = np.minimum(pool[:, t.POOL_NOMINAL] + pool[:, t.POOL_BORROW], cohort[of, t.COHORT_SIZE] - kept)
    return most


def state_of(
    fleet: Fleet,
    offered: Options,
    pool: Ints,
    cohort: Ints,
    projects: int,
    line: Ints,
    job: Ints,
    need: Ints,
    weather: Outlook | None,
) -> State:
    """Everything free and every job away."""
    count = len(job)
    capacity = np.array([[place.milli_devices] for place in fleet.places], np.int64)
    site_rows = {site.id: row for row, site in enumerate(fleet.sites)}
    place = np.zeros((len(fleet.places), t.PLACE_COLUMNS), np.int64)
    place[:, t.PLACE_SITE] = [site_rows[p.site] for p in fleet.places]
    place[:, t.PLACE_WEIGHT] = [p.weight_ppm for p in fleet.places]
    domain, chain, cap = _power(fleet) if offered.powered else _no_power(fleet)
    project = np.zeros((max(1, projects), t.PROJECT_COLUMNS), np.int64)
    project[:, t.PROJECT_WEIGHT] = 1
    at_once = int(sum(capacity[:, 0] // max(1, int(need.min())))) if count else 1
    run = np.full((max(1, min(count, at_once)), t.RUN_COLUMNS), NONE, np.int64)
    grid, planned, clock = _grid(fleet, weather)
    clock[t.CLOCK_LAST] = int(job[0, t.JOB_SUBMIT]) if count else 0
    clock[t.CLOCK_DAY] = clock[t.CLOCK_LAST] // DAY_MS
    return State(
        place=place,
        capacity=capacity,
        free=capacity.copy(),
        chain=chain,
        domain=domain,
        cap=cap,
        block=np.zeros((0, t.BLOCK_COLUMNS), np.int64),
        block_need=np.zeros((0, 1), np.int64),
        option=offered.option,
        profile=offered.profile,
        thrifty=offered.thrifty,
        pool=pool,
        cohort=cohort,
        project=project,
        line=line,
        job=job,
        need=need.reshape(-1, 1),
        budget=np.zeros((0, t.BUDGETS), np.int64),  # a trace has none, and nobody asks without `room`
        ask=np.zeros((0, t.BUDGETS), np.int64),
        room=np.zeros(0, np.int64),
        run=run,
        by_end=np.full(len(run), NONE, np.int64),
        grid=grid,
        planned=planned,
        clock=clock,
    )


def _no_power(fleet: Fleet) -> tuple[Ints, Ints, Ints]:
    empty = np.zeros((0, t.DOMAIN_COLUMNS), np.int64)
    return empty, np.zeros((len(fleet.places), 0), np.int64), np.zeros((0, t.CAP_COLUMNS), np.int64)


def _power(fleet: Fleet) -> tuple[Ints, Ints, Ints]:
    """Rows of `domain`, `chain` and `cap`; caps are above the idle draw."""
    rows = {domain.id: row for row, domain in enumerate(fleet.domains)}
    chains = [_chain(place.domain, fleet.domains) for place in fleet.places]
    chain = np.full((len(chains), max(map(len, chains))), NONE, np.int64)
    domain = np.zeros((len(rows), t.DOMAIN_COLUMNS), np.int64)
    for row, (place, names) in enumerate(zip(fleet.places, chains, strict=True)):
        chain[row, : len(names)] = own = [rows[name] for name in names]
        domain[own, t.DOMAIN_FREE] += place.milli_devices
    caps: list[tuple[int, int, int]] = []
    for row, one in enumerate(fleet.domains):
        domain[row, t.DOMAIN_PARENT] = NONE if one.parent is None else rows[one.parent]
        domain[row, t.DOMAIN_CAP] = len(caps)
        caps += steps(one)
        domain[row, t.DOMAIN_CAP_END] = len(caps)
    return domain, chain, np.array(caps, np.int64).reshape(-1, t.CAP_COLUMNS)


def _chain(name: str | None, domains: tuple[Domain, ...]) -> list[str]:
    """A domain and those above it, up to its site's."""
    parents = {domain.id: domain.parent for domain in domains}
    found: list[str] = []
    while name is not None:
        found.append(name)
        name = parents[name]
    return found


def _grid(fleet: Fleet, weather: Outlook | None) -> tuple[Ints, Ints, Ints]:
    """`grid`, `planned` and a clock that knows the slots.

    The sums are in the forecast's unit times seconds, or a coarser unit of time (never below the forecast's own) where
    a difference over one slot times its ms, or the whole in permille, would leave 62 bits. Only proportions count.
    """
    clock = np.zeros(t.CLOCK_COLUMNS, np.int64)
    clock[t.CLOCK_BLOCKED] = NONE
    if weather is None:
        return np.zeros((len(fleet.sites), 1), np.int64), np.zeros((len(fleet.places), 0), np.int64), clock
    forecast = np.ascontiguousarray(weather.forecast, np.int64)
    if forecast.ndim != 2 or len(forecast) != len(fleet.sites) or weather.step_ms <= 0:
        raise ValueError("a forecast has a row for each site of the fleet, and a step above 0")
    largest = max(1, int(np.abs(forecast).max(initial=0)))
    whole = max(1, int(np.abs(forecast.astype(np.float64)).sum(axis=1).max(initial=0)))
    finest = min(UNLIMITED // (largest * weather.step_ms), UNLIMITED // (2000 * whole))
    if finest < 1:
        raise ValueError("a forecast of such magnitudes can't be summed up in 63 bits")
    grid = np.zeros((len(forecast), forecast.shape[1] + 1), np.int64)
    np.cumsum(forecast, axis=1, out=grid[:, 1:])
    grid *= min(max(1, weather.step_ms // 1000), finest)
    clock[t.CLOCK_GRID], clock[t.CLOCK_SLOT] = weather.start_ms, weather.step_ms
    return grid, np.zeros((len(fleet.places), forecast.shape[1]), np.int64), clock
