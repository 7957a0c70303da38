"""Rows with names into the tables of the compiled decision, and the names of the tables' rows.

A live hub always books the most a job may draw, under any rule set: its cap is a fact, not a choice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from fabrique.core.admission import tables as t
from fabrique.core.admission.rules import Rules
from fabrique.core.admission.state import BlockRow, History, JobRow, OptionRow, PartitionRow, PoolRow, Rows, RunRow
from fabrique.core.admission.tables import NONE, PPM, UNLIMITED, Ints, State
from fabrique.core.units import ceil_divide

NO_LIMIT: Final = UNLIMITED // 2  # a quota and this still add up within 63 bits
_DAY_MS: Final = 86_400_000
_SPARE_MW: Final = 999  # jobs draw whole watts: what their mW round up to never takes one from another
_RESOURCES: Final = 3  # devices, cores, memory
_EVERYONE: Final = "all"  # the one pool of rules without shares
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Tables:
    """The kernel's tables and what their rows are called. `jobs` holds the pending and the running ones."""

    rows: Rows
    state: State
    places: tuple[str, ...]
    sites: tuple[str, ...]
    pools: tuple[str, ...]
    projects: tuple[str, ...]
    jobs: tuple[JobRow | RunRow, ...]
    options: tuple[OptionRow, ...]
    cores_each: int  # the devices' column counts a device as so many cores: shares then weigh both alike


class Numbered(dict[K, int]):
    """Keys and their rows; a new key gets the next row."""

    def row(self, key: K) -> int:
        return self.setdefault(key, len(self))


def build(rows: Rows, rules: Rules, history: History, now_ms: int) -> Tables:
    """The tables at `now_ms`. Runs that were told to leave are left out: what they hold is as good as free.

    Raises ValueError for a job that asks for neither devices nor cores, or holds more than four units.
    """
    shared = rules.pools or rules.share_order
    pools = rows.pools if shared else (PoolRow(id=_EVERYONE, share_ppm=PPM),)
    staying = [run for run in rows.runs if not run.leaving]
    jobs: list[JobRow | RunRow] = sorted([*rows.jobs, *staying], key=_age)
    places = Numbered({p.id: i for i, p in enumerate(rows.partitions)})
    sites = Numbered({s.id: i for i, s in enumerate(rows.sites)})
    pool_rows = Numbered({p.id: i for i, p in enumerate(pools)})
    named = {row.project for row in jobs} | {project for project, use in history.use.items() if use}
    projects = Numbered({name: i for i, name in enumerate(sorted(named))})
    profiles: Numbered[tuple[tuple[OptionRow, int], ...]] = Numbered()
    each = _cores_each(rows)
    need = _needs(jobs, each)
    job = _jobs(jobs, need, history, now_ms, profiles, projects, pool_rows if shared else None)
    line = _lines(job, jobs, rules)
    budget, ask, room = _budgets(rows, jobs)
    option, profile, thrifty = _options(profiles, places)
    place, capacity, chain, domain, cap = _places(rows, sites, each)
    grid, planned, clock = _grid(rows, history)
    state = State(
        place=place,
        capacity=capacity,
        free=capacity.copy(),
        chain=chain,
        domain=domain,
        cap=cap,
        block=_table([(places[b.partition], b.from_ms, b.until_ms) for b in rows.blocks], t.BLOCK_COLUMNS),
        block_need=_needs(rows.blocks, each),
        option=option,
        profile=profile,
        thrifty=thrifty,
        pool=_pools(pools, _whole(rows, each, both=False), history),
        cohort=_table([(_whole(rows, each, both=all(p.lend_ppm is None for p in pools)), 0)], t.COHORT_COLUMNS),
        project=_table([(1, history.use.get(name, 0), 0) for name in projects], t.PROJECT_COLUMNS),
        line=line,
        job=job,
        need=need,
        budget=budget,
        ask=ask,
        room=room,
        run=np.full((len(jobs) + 1, t.RUN_COLUMNS), NONE, np.int64),
        by_end=np.full(len(jobs) + 1, NONE, np.int64),
        grid=grid,
        planned=planned,
        clock=clock,
    )
    _queue(state)
    _place_runs(state, jobs)
    _promise(state, now_ms)
    options = tuple(o for found in profiles for o, _ in found)
    names = tuple(places), tuple(sites), tuple(pool_rows), tuple(projects)
    return Tables(rows, state, *names, tuple(jobs), options, each)


def digest(state: State) -> str:
    """SHA-256 of the tables, cell by cell."""
    found = hashlib.sha256()
    for name, table in zip(State._fields, state, strict=True):
        found.update(f"{name}{table.shape}".encode())
        found.update(np.ascontiguousarray(table, dtype="<i8").tobytes())
    return found.hexdigest()


def _age(row: JobRow | RunRow) -> tuple[int, int, str]:
    """Older first; a number written as text: 9 goes before 10."""
    name = job_of(row)
    return row.submitted_ms, len(name), name


def job_of(row: JobRow | RunRow) -> str:
    return row.job if isinstance(row, RunRow) else row.id


def _cores_each(rows: Rows) -> int:
    """How many cores a device goes with, on the partitions that have devices; at least one."""
    found = [p for p in rows.partitions if p.milli_devices]
    return max(1, sum(p.milli_cores for p in found) // max(1, sum(p.milli_devices for p in found)))


def _needs(things: Iterable[JobRow | RunRow | BlockRow | PartitionRow], each: int) -> Ints:
    return _table([(x.milli_devices * each, x.milli_cores, x.memory_mb) for x in things], _RESOURCES)


def _whole(rows: Rows, each: int, both: bool) -> int:
    """What pools share: of every partition its devices or its cores, whichever weigh more; with `both`, all that jobs
    could ever weigh together, so that devices in use keep nobody from cores that are free.
    """
    join = sum if both else max
    return sum(join((p.milli_devices * each, p.milli_cores)) * p.weight_ppm // PPM for p in rows.partitions)


def _pools(pools: Sequence[PoolRow], whole: int, history: History) -> Ints:
    table = np.zeros((len(pools), t.POOL_COLUMNS), np.int64)
    for row, pool in zip(table, pools, strict=True):
        nominal = whole * pool.share_ppm // PPM
        row[t.POOL_NOMINAL] = nominal
        row[t.POOL_BORROW] = _limit(nominal, pool.borrow_ppm)
        row[t.POOL_LEND] = _limit(nominal, pool.lend_ppm)
        row[t.POOL_OWED] = history.owed.get(pool.id, 0)
        row[t.POOL_NO_BORROW] = history.no_borrow.get(pool.id, 0)
    return table


def _limit(nominal: int, ppm: int | None) -> int:
    return NO_LIMIT if ppm is None else nominal * ppm // PPM


# --- jobs -----------------------------------------------------------------------------------------------------


def _jobs(
    jobs: Sequence[JobRow | RunRow],
    need: Ints,
    history: History,
    now_ms: int,
    profiles: Numbered[tuple[tuple[OptionRow, int], ...]],
    projects: Numbered[str],
    pools: Numbered[str] | None,
) -> Ints:
    job = np.full((len(jobs), t.JOB_COLUMNS), NONE, np.int64)
    shapes: Numbered[Hashable] = Numbered()
    for row, (cells, one) in enumerate(zip(job, jobs, strict=True)):
        amount = int(need[row, 0] or need[row, 1])
        if amount <= 0:
            raise ValueError(f"job {job_of(one)} asks for neither devices nor cores")
        options = (one.option,) if isinstance(one, RunRow) else one.options
        cells[t.JOB_PROFILE] = profiles.row(tuple((o, ceil_divide(o.power_w * 1_000_000, amount)) for o in options))
        cells[t.JOB_WALLTIME] = one.walltime_ms
        cells[t.JOB_POOL] = 0 if pools is None else pools[one.pool]
        cells[t.JOB_PROJECT] = projects[one.project]
        cells[t.JOB_SUBMIT] = one.submitted_ms
        cells[t.JOB_PREEMPTIBLE] = one.preemptible
        cells[[t.JOB_VERDICT, t.JOB_SHORT, t.JOB_FREE]] = 0
        cells[t.JOB_PREEMPTIONS], away_ms = history.preempted.get(job_of(one), (0, 0))
        if isinstance(one, RunRow):
            cells[[t.JOB_STATUS, t.JOB_ELASTIC, t.JOB_DEFERRED]] = t.RUNNING, 0, 0
            cells[t.JOB_NOT_BEFORE] = one.submitted_ms
            continue
        slot = history.deferred.get(one.id)
        not_before = max(one.not_before_ms, away_ms, slot or 0)
        cells[t.JOB_STATUS] = t.AWAY if not_before > now_ms else t.READY
        cells[t.JOB_DEFERRED] = 0 if slot is None else 1 if slot > now_ms else 2
        cells[t.JOB_NOT_BEFORE] = not_before
        cells[t.JOB_LATEST] = NONE if one.latest_ms is None else one.latest_ms
        cells[t.JOB_ELASTIC] = one.elastic
        alike = (*cells[[t.JOB_PROFILE, t.JOB_WALLTIME, t.JOB_POOL, t.JOB_PREEMPTIBLE, t.JOB_ELASTIC]].tolist(),)
        cells[t.JOB_SHAPE] = shapes.row((alike, *need[row].tolist(), one.priority, one.latest_ms is None))
    return job


def _lines(job: Ints, jobs: Sequence[JobRow | RunRow], rules: Rules) -> Ints:
    """Jobs of one pool and priority, and of one project where the rules are fair, stand in one line."""
    keys = [
        (int(cells[t.JOB_POOL]), -one.priority, int(cells[t.JOB_PROJECT]) if rules.fair else NONE)
        for cells, one in zip(job, jobs, strict=True)
    ]
    rows = {key: row for row, key in enumerate(sorted(set(keys)))}
    job[:, t.JOB_LINE] = [rows[key] for key in keys]
    line = np.full((len(rows), t.LINE_COLUMNS), NONE, np.int64)
    for (pool, behind, project), row in rows.items():
        line[row, [t.LINE_POOL, t.LINE_PRIORITY, t.LINE_PROJECT]] = pool, -behind, project
    return line


def _budgets(rows: Rows, jobs: Sequence[JobRow | RunRow]) -> tuple[Ints, Ints, Ints]:
    """What a run holds was taken from its room when it started; nothing more is asked for it."""
    at = {(allocation, unit): i for i, (allocation, unit, _) in enumerate(rows.rooms)}
    budget = np.full((len(jobs), t.BUDGETS), NONE, np.int64)
    ask = np.zeros((len(jobs), t.BUDGETS), np.int64)
    for row, one in enumerate(jobs):
        if isinstance(one, RunRow):
            continue
        if len(one.asks) > t.BUDGETS:
            raise ValueError(f"job {one.id} holds {len(one.asks)} units; at most {t.BUDGETS} are")
        for k, (unit, amount) in enumerate(one.asks):
            budget[row, k], ask[row, k] = at[one.allocation, unit], amount
    return budget, ask, np.array([UNLIMITED if left is None else left for _, _, left in rows.rooms], np.int64)


def _options(profiles: Iterable[tuple[tuple[OptionRow, int], ...]], places: Numbered[str]) -> tuple[Ints, Ints, Ints]:
    """`thrifty` has the option of the least power of each place, in order of the places' first appearance."""
    option: list[tuple[int, int, int, int]] = []
    profile: list[tuple[int, int, int, int]] = []
    thrifty: list[int] = []
    for found in profiles:
        first, begin = len(option), len(thrifty)
        least: dict[int, int] = {}
        for level, (o, mw) in enumerate(found):
            row = len(option)
            option.append((places[o.partition], level, mw, o.speed_ppm))
            best = least.setdefault(places[o.partition], row)
            if mw < option[best][t.OPTION_MW]:
                least[places[o.partition]] = row
        thrifty += least.values()
        profile.append((first, len(option), begin, len(thrifty)))
    return _table(option, t.OPTION_COLUMNS), _table(profile, t.PROFILE_COLUMNS), np.array(thrifty, np.int64)


# --- places and power -----------------------------------------------------------------------------------------


def _places(rows: Rows, sites: Numbered[str], each: int) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """Places, what they have, and one domain a site whose caps are what is left above its base draw."""
    place = _table([(sites[p.site], p.weight_ppm, 0) for p in rows.partitions], t.PLACE_COLUMNS)
    capacity = _needs(rows.partitions, each)
    chain = _table([(sites[p.site],) for p in rows.partitions], 1)
    domain = np.zeros((len(rows.sites), t.DOMAIN_COLUMNS), np.int64)
    np.add.at(domain[:, t.DOMAIN_FREE], chain[:, 0], capacity[:, 0])
    caps: list[tuple[int, int, int]] = []
    for row, site in zip(domain, rows.sites, strict=True):
        row[[t.DOMAIN_PARENT, t.DOMAIN_CAP]] = NONE, len(caps)
        caps.append((0, _above(site.cap_w, site.base_w), 0))
        steps = sorted(site.caps, key=lambda c: (c.from_ms, c.known_ms))
        caps += [(c.from_ms, _above(c.cap_w, site.base_w), c.known_ms) for c in steps]
        row[t.DOMAIN_CAP_END] = len(caps)
    return place, capacity, chain, domain, _table(caps, t.CAP_COLUMNS)


def _above(cap_w: int | None, base_w: int) -> int:
    return UNLIMITED if cap_w is None else (cap_w - base_w) * 1000 + _SPARE_MW


def _grid(rows: Rows, history: History) -> tuple[Ints, Ints, Ints]:
    """Forecasts summed up over their slots; sites without one have a flat one, in which nothing is worth a wait."""
    clock = np.zeros(t.CLOCK_COLUMNS, np.int64)
    clock[t.CLOCK_LAST], clock[t.CLOCK_DAY] = history.at_ms, history.at_ms // _DAY_MS
    clock[t.CLOCK_BLOCKED] = NONE
    slots = max((len(o.values) for o in rows.outlooks), default=0)
    grid = np.zeros((len(rows.sites), slots + 1), np.int64)
    of_site = {o.site: o for o in rows.outlooks}
    for row, site in zip(grid, rows.sites, strict=True):
        outlook = of_site.get(site.id)
        if outlook is not None:
            clock[[t.CLOCK_GRID, t.CLOCK_SLOT]] = outlook.start_ms, outlook.step_ms
            row[1:] = np.cumsum(np.array(outlook.values, np.int64)) * max(1, outlook.step_ms // 1000)
    return grid, np.zeros((len(rows.partitions), slots), np.int64), clock


# --- what waits and what runs ------------------------------------------------------------------------------------


def _queue(state: State) -> None:
    """Ready jobs into their lines, oldest first, and what each pool's ask for."""
    for row in np.flatnonzero(state.job[:, t.JOB_STATUS] == t.READY).tolist():
        line = state.line[state.job[row, t.JOB_LINE]]
        last = line[t.LINE_LAST]
        state.job[row, t.JOB_PREVIOUS] = last
        if last == NONE:
            line[[t.LINE_FIRST, t.LINE_CURSOR]] = row
        else:
            state.job[last, t.JOB_NEXT] = row
        line[t.LINE_LAST] = row
        state.pool[state.job[row, t.JOB_POOL], t.POOL_PENDING] += weight(state, row)


def weight(state: State, job: int) -> int:
    """Normalised milli-devices of a job on the place of its first option."""
    first = state.option[state.profile[state.job[job, t.JOB_PROFILE], t.PROFILE_FIRST]]
    return _amount(state, job) * int(state.place[first[t.OPTION_PLACE], t.PLACE_WEIGHT]) // PPM


def _amount(state: State, job: int) -> int:
    return int(state.need[job, 0] or state.need[job, 1])


def _place_runs(state: State, jobs: Sequence[JobRow | RunRow]) -> None:
    """What each run takes: of its place, its domain, its pool and its project."""
    found = [(row, one) for row, one in enumerate(jobs) if isinstance(one, RunRow)]
    for at, (row, run) in enumerate(found):
        job = state.job[row]
        o = int(state.profile[job[t.JOB_PROFILE], t.PROFILE_FIRST])
        p = int(state.option[o, t.OPTION_PLACE])
        mw = ceil_divide(_amount(state, row) * int(state.option[o, t.OPTION_MW]), 1000)
        share = weight(state, row)
        state.run[at] = (row, o, run.started_ms, run.ends_ms, mw, share, o, 0)
        job[t.JOB_RUN] = at
        state.free[p] -= state.need[row]
        state.domain[state.chain[p, 0], [t.DOMAIN_USED, t.DOMAIN_FREE]] += mw, -state.need[row, 0]
        state.pool[job[t.JOB_POOL], t.POOL_USED] += share
        state.cohort[0, t.COHORT_USED] += share
        state.project[job[t.JOB_PROJECT], t.PROJECT_RATE] += share
    ends = sorted(range(len(found)), key=lambda at: (found[at][1].ends_ms, found[at][0]))
    state.by_end[: len(ends)] = ends
    state.clock[t.CLOCK_RUNS] = len(ends)


def _promise(state: State, now_ms: int) -> None:
    """The slots that jobs were put off to stay theirs."""
    start, step = int(state.clock[t.CLOCK_GRID]), int(state.clock[t.CLOCK_SLOT])
    slots = state.planned.shape[1]
    if not slots:
        return
    for row in np.flatnonzero(state.job[:, t.JOB_DEFERRED] == 1).tolist():
        cells = state.job[row]
        o = state.option[state.profile[cells[t.JOB_PROFILE], t.PROFILE_FIRST]]
        end = int(cells[t.JOB_NOT_BEFORE]) + ceil_divide(int(cells[t.JOB_WALLTIME]) * PPM, int(o[t.OPTION_SPEED]))
        first, last = (int(cells[t.JOB_NOT_BEFORE]) - start) // step, (end - 1 - start) // step
        state.planned[o[t.OPTION_PLACE], max(first, 0) : min(last + 1, slots)] += state.need[row, 0]


def _table(rows: Iterable[Sequence[int]], columns: int) -> Ints:
    return np.array(list(rows), dtype=np.int64).reshape(-1, columns)
