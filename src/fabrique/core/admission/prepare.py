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
from fabrique.core.admission.occupancy import place_runs, promise, queue
from fabrique.core.admission.premises import cores_each, grid_of, needs, places_of, table, whole
from fabrique.core.admission.rules import Rules, length_of
from fabrique.core.admission.state import History, JobRow, OptionRow, PoolRow, Rows, RunRow
from fabrique.core.admission.tables import NONE, PPM, UNLIMITED, Ints, State
from fabrique.core.units import ceil_divide

NO_LIMIT: Final = UNLIMITED // 2  # a quota and this still add up within 63 bits
_EVERYONE: Final = "all"  # the one pool of rules without shares
_ZERO: Final = (t.JOB_VERDICT, t.JOB_SHORT, t.JOB_FREE, t.JOB_DEFERRED)
_BLANK: Final = tuple(0 if column in _ZERO else NONE for column in range(t.JOB_COLUMNS))
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
    each = cores_each(rows)
    need = needs(jobs, each)
    job = _jobs(jobs, need, history, now_ms, profiles, projects, pool_rows if shared else None)
    line = _lines(job, jobs, rules)
    budget, ask, room = _budgets(rows, jobs)
    option, profile, thrifty = _options(profiles, places)
    place, capacity, chain, domain, cap = places_of(rows, sites, each)
    grid, planned, clock = grid_of(rows, history)
    state = State(
        place=place,
        capacity=capacity,
        free=capacity.copy(),
        chain=chain,
        domain=domain,
        cap=cap,
        block=table([(places[b.partition], b.from_ms, b.until_ms) for b in rows.blocks], t.BLOCK_COLUMNS),
        block_need=needs(rows.blocks, each),
        option=option,
        profile=profile,
        thrifty=thrifty,
        pool=_pools(pools, whole(rows, each, both=False), history),
        cohort=table([(whole(rows, each, both=all(p.lend_ppm is None for p in pools)), 0)], t.COHORT_COLUMNS),
        project=table([(1, history.use.get(name, 0), 0) for name in projects], t.PROJECT_COLUMNS),
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
    queue(state)
    place_runs(state, jobs)
    promise(state, now_ms)
    options = tuple(o for found in profiles for o, _ in found)
    names = tuple(places), tuple(sites), tuple(pool_rows), tuple(projects)
    return Tables(rows, state, *names, tuple(jobs), options, each)


def digest(state: State) -> str:
    """SHA-256 of the tables, cell by cell."""
    found = hashlib.sha256()
    for name, cells in zip(State._fields, state, strict=True):
        found.update(f"{name}{cells.shape}".encode())
        found.update(np.ascontiguousarray(cells, dtype="<i8").tobytes())
    return found.hexdigest()


def _age(row: JobRow | RunRow) -> tuple[int, int, str]:
    """Older first; a number written as text: 9 goes before 10."""
    name = job_of(row)
    return row.submitted_ms, len(name), name


def job_of(row: JobRow | RunRow) -> str:
    return row.job if isinstance(row, RunRow) else row.id


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
    shapes: Numbered[Hashable] = Numbered()
    found: list[list[int]] = []
    for one, (devices, cores, memory) in zip(jobs, need.tolist(), strict=True):
        amount = devices or cores
        if amount <= 0:
            raise ValueError(f"job {job_of(one)} asks for neither devices nor cores")
        options = (one.option,) if isinstance(one, RunRow) else one.options
        cells = list(_BLANK)
        cells[t.JOB_PROFILE] = profiles.row(tuple((o, ceil_divide(o.power_w * 1_000_000, amount)) for o in options))
        cells[t.JOB_WALLTIME] = one.walltime_ms
        cells[t.JOB_POOL] = 0 if pools is None else pools[one.pool]
        cells[t.JOB_PROJECT] = projects[one.project]
        cells[t.JOB_SUBMIT] = one.submitted_ms
        cells[t.JOB_PREEMPTIBLE] = int(one.preemptible)
        cells[t.JOB_PREEMPTIONS], away_ms = history.preempted.get(job_of(one), (0, 0))
        found.append(cells)
        if isinstance(one, RunRow):
            cells[t.JOB_STATUS], cells[t.JOB_ELASTIC], cells[t.JOB_NOT_BEFORE] = t.RUNNING, 0, one.submitted_ms
            continue
        slot = history.deferred.get(one.id)
        not_before = max(one.not_before_ms, away_ms, slot or 0)
        cells[t.JOB_STATUS] = t.AWAY if not_before > now_ms else t.READY
        cells[t.JOB_DEFERRED] = 0 if slot is None else 1 if slot > now_ms else 2
        cells[t.JOB_NOT_BEFORE] = not_before
        cells[t.JOB_LATEST] = NONE if one.latest_ms is None else one.latest_ms
        cells[t.JOB_ELASTIC] = int(one.elastic)
        alike = (cells[t.JOB_PROFILE], cells[t.JOB_WALLTIME], cells[t.JOB_POOL], one.preemptible, one.elastic)
        cells[t.JOB_SHAPE] = shapes.row((alike, devices, cores, memory, one.priority, one.latest_ms is None))
    return np.array(found, np.int64).reshape(-1, t.JOB_COLUMNS)


def _lines(job: Ints, jobs: Sequence[JobRow | RunRow], rules: Rules) -> Ints:
    """Jobs of one pool and priority stand in one line; of one project, of like length, where the rules say so."""
    keys = [
        (
            int(cells[t.JOB_POOL]),
            -one.priority,
            int(cells[t.JOB_PROJECT]) if rules.fair else NONE,
            length_of(one.walltime_ms) if rules.short_first else NONE,
        )
        for cells, one in zip(job, jobs, strict=True)
    ]
    rows = {key: row for row, key in enumerate(sorted(set(keys)))}
    job[:, t.JOB_LINE] = [rows[key] for key in keys]
    line = np.full((len(rows), t.LINE_COLUMNS), NONE, np.int64)
    for (pool, behind, project, _), row in rows.items():
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
    return table(option, t.OPTION_COLUMNS), table(profile, t.PROFILE_COLUMNS), np.array(thrifty, np.int64)
