"""From the tables to objects and back, and one text for all that matters in a state."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import pairwise

from fabrique.core.admission import tables as t
from fabrique.core.admission.kernels.reference import questions as ask
from fabrique.core.admission.kernels.reference.model import (
    Block,
    Cap,
    Cohort,
    Domain,
    Job,
    Line,
    Option,
    Place,
    Pool,
    Profile,
    Project,
    Run,
    World,
)
from fabrique.core.admission.tables import NONE, State


def read(state: State) -> World:
    """The world that the tables tell. They stay as they are."""
    domains = [Domain(d, [Cap(*row) for row in state.cap[a:b].tolist()]) for d, (a, b) in enumerate(_spans(state))]
    places = [
        Place(p, site, weight, capacity, [domains[d] for d in chain if d != NONE])
        for p, ((site, weight, _), capacity, chain) in enumerate(
            zip(state.place.tolist(), state.capacity.tolist(), state.chain.tolist(), strict=True)
        )
    ]
    blocks = [
        Block(places[p], begin, until, need)
        for (p, begin, until), need in zip(state.block.tolist(), state.block_need.tolist(), strict=True)
    ]
    options = [Option(o, places[p], mw, speed) for o, (p, _, mw, speed) in enumerate(state.option.tolist())]
    cohorts = [Cohort(g, row[t.COHORT_SIZE]) for g, row in enumerate(state.cohort.tolist())]
    pools = [
        Pool(q, cohorts[g] if g != NONE else None, nominal, borrow, lend, owed, no_borrow)
        for q, (g, nominal, borrow, lend, _, _, owed, no_borrow) in enumerate(state.pool.tolist())
    ]
    projects = [Project(j, weight, use) for j, (weight, use, _) in enumerate(state.project.tolist())]
    lines = [
        Line(n, pools[q], priority, projects[j] if j != NONE else None)
        for n, (q, priority, j, *_) in enumerate(state.line.tolist())
    ]
    jobs = _jobs(state, _profiles(state, options), pools, projects, lines)
    runs = [
        Run(jobs[job], options[o], start, end, mw, weight, options[chosen], bool(leaving))
        for job, o, start, end, mw, weight, chosen, leaving in state.run.tolist()
        if job != NONE
    ]
    clock = state.clock.tolist()
    return World(
        tables=t.copied(state),
        domains=domains,
        places=places,
        blocks=blocks,
        options=options,
        pools=pools,
        cohorts=cohorts,
        projects=projects,
        lines=lines,
        jobs=jobs,
        runs=runs,
        room=state.room.tolist(),
        grid=state.grid.tolist(),
        grid_begin=clock[t.CLOCK_GRID],
        grid_step=clock[t.CLOCK_SLOT],
        last=clock[t.CLOCK_LAST],
        day=clock[t.CLOCK_DAY],
        blocked=clock[t.CLOCK_BLOCKED],
    )


def _spans(state: State) -> list[list[int]]:
    spans: list[list[int]] = state.domain[:, [t.DOMAIN_CAP, t.DOMAIN_CAP_END]].tolist()
    return spans


def _profiles(state: State, options: list[Option]) -> list[Profile]:
    thrifty = state.thrifty.tolist()
    return [
        Profile(options[first:end], [options[o] for o in thrifty[begin:until]])
        for first, end, begin, until in state.profile.tolist()
    ]


def _jobs(
    state: State, profiles: list[Profile], pools: list[Pool], projects: list[Project], lines: list[Line]
) -> list[Job]:
    jobs = []
    for row, cells in enumerate(state.job.tolist()):
        budgets, asked = (state.budget[row].tolist(), state.ask[row].tolist()) if len(state.room) else ([], [])
        project = cells[t.JOB_PROJECT]
        jobs.append(
            Job(
                row=row,
                status=cells[t.JOB_STATUS],
                profile=profiles[cells[t.JOB_PROFILE]],
                walltime=cells[t.JOB_WALLTIME],
                pool=pools[cells[t.JOB_POOL]],
                project=projects[project] if project != NONE else None,
                line=lines[cells[t.JOB_LINE]],
                shape=cells[t.JOB_SHAPE],
                submit=cells[t.JOB_SUBMIT],
                not_before=cells[t.JOB_NOT_BEFORE],
                latest=cells[t.JOB_LATEST],
                preemptible=bool(cells[t.JOB_PREEMPTIBLE]),
                elastic=bool(cells[t.JOB_ELASTIC]),
                preemptions=cells[t.JOB_PREEMPTIONS],
                deferred=cells[t.JOB_DEFERRED],
                need=state.need[row].tolist(),
                asks=[(b, a) for b, a in zip(budgets, asked, strict=True) if b != NONE],
                verdict=cells[t.JOB_VERDICT],
                short=cells[t.JOB_SHORT],
                free=cells[t.JOB_FREE],
                at=cells[t.JOB_AT],
            )
        )
    return jobs


def write(world: World) -> State:
    """The tables that tell the world, totals counted anew. Rows of `run` are in order of jobs."""
    state = t.copied(world.tables)
    for place in world.places:
        state.free[place.row] = ask.free(world, place)
        for slot in range(state.planned.shape[1]):
            state.planned[place.row, slot] = ask.planned(world, place, slot)
    for domain in world.domains:
        state.domain[domain.row, t.DOMAIN_USED] = ask.used_mw(world, domain)
        state.domain[domain.row, t.DOMAIN_FREE] = ask.free_devices(world, domain)
    for pool in world.pools:
        state.pool[pool.row, t.POOL_USED] = ask.pool_used(world, pool)
        state.pool[pool.row, t.POOL_PENDING] = ask.pending(world, pool)
        state.pool[pool.row, t.POOL_OWED] = pool.owed
        state.pool[pool.row, t.POOL_NO_BORROW] = pool.no_borrow
    for cohort in world.cohorts:
        state.cohort[cohort.row, t.COHORT_USED] = ask.cohort_used(world, cohort)
    for project in world.projects:
        state.project[project.row, t.PROJECT_USE] = project.use
        state.project[project.row, t.PROJECT_RATE] = ask.rate(world, project)
    for job in world.jobs:
        _write_job(state, job)
    _write_lines(state, world)
    _write_runs(state, world)
    state.room[:] = world.room
    state.clock[[t.CLOCK_LAST, t.CLOCK_DAY, t.CLOCK_BLOCKED]] = world.last, world.day, world.blocked
    return state


def _write_job(state: State, job: Job) -> None:
    row = state.job[job.row]
    row[t.JOB_STATUS], row[t.JOB_WALLTIME], row[t.JOB_SHAPE] = job.status, job.walltime, job.shape
    row[t.JOB_NOT_BEFORE], row[t.JOB_PREEMPTIONS], row[t.JOB_DEFERRED] = job.not_before, job.preemptions, job.deferred
    row[t.JOB_VERDICT], row[t.JOB_SHORT], row[t.JOB_FREE], row[t.JOB_AT] = job.verdict, job.short, job.free, job.at
    row[t.JOB_NEXT] = row[t.JOB_PREVIOUS] = row[t.JOB_RUN] = NONE


def _write_lines(state: State, world: World) -> None:
    for line in world.lines:
        queue = [job.row for job in world.jobs if job.status == t.READY and job.line is line]
        for before, after in pairwise(queue):
            state.job[before, t.JOB_NEXT] = after
            state.job[after, t.JOB_PREVIOUS] = before
        ends = (queue[0], queue[-1]) if queue else (NONE, NONE)
        state.line[line.row, [t.LINE_FIRST, t.LINE_LAST]] = ends
        state.line[line.row, t.LINE_CURSOR] = ends[0]


def _write_runs(state: State, world: World) -> None:
    state.run[:] = 0
    state.run[:, t.RUN_JOB] = NONE
    runs = sorted(world.runs, key=lambda run: run.job.row)
    for row, run in enumerate(runs):
        state.job[run.job.row, t.JOB_RUN] = row
        cells = (run.job.row, run.option.row, run.start, run.end, run.mw, run.weight, run.chosen.row, run.leaving)
        state.run[row] = cells
    by_end = sorted(range(len(runs)), key=lambda row: (runs[row].end, row))
    state.by_end[:] = [*by_end, *range(len(runs), len(state.by_end))]
    state.clock[t.CLOCK_RUNS] = len(runs)


def digest(state: State) -> str:
    """SHA-256 of all that matters in a state: not where a run lies in its table, nor what a step leaves half-read."""
    return hashlib.sha256("\n".join(canonical(state)).encode()).hexdigest()


def canonical(state: State) -> Iterator[str]:
    """A line a thing, in order; two states that tell the same give the same lines."""
    yield from _told("free", state.free.tolist())
    yield from _told("domain", state.domain[:, [t.DOMAIN_USED, t.DOMAIN_FREE]].tolist())
    pool = [t.POOL_USED, t.POOL_PENDING, t.POOL_OWED, t.POOL_NO_BORROW]
    yield from _told("pool", state.pool[:, pool].tolist())
    yield from _told("cohort", state.cohort[:, [t.COHORT_USED]].tolist())
    yield from _told("project", state.project[:, [t.PROJECT_USE, t.PROJECT_RATE]].tolist())
    yield from _told("line", [_queue(state, row) for row in state.line.tolist()])
    yield from _told("job", [_job(row) for row in state.job.tolist()])
    yield from _told("run", sorted(row for row in state.run.tolist() if row[t.RUN_JOB] != NONE))
    count = int(state.clock[t.CLOCK_RUNS])
    yield from _told("by end", [state.run[state.by_end[:count], t.RUN_JOB].tolist()])
    holders = [[job, int(state.run[row, t.RUN_JOB])] for job, row in _placed(state)]
    yield from _told("holder", holders)
    yield from _told("room", [state.room.tolist()])
    yield from _told("planned", state.planned.tolist())
    clock = [t.CLOCK_LAST, t.CLOCK_RUNS, t.CLOCK_DAY, t.CLOCK_BLOCKED, t.CLOCK_GRID, t.CLOCK_SLOT]
    yield from _told("clock", [state.clock[clock].tolist()])


def _told(name: str, rows: list[list[int]]) -> Iterator[str]:
    for n, row in enumerate(rows):
        yield f"{name} {n}: {' '.join(map(str, row))}"


def _queue(state: State, line: list[int]) -> list[int]:
    """The line's jobs by their links, forth and back."""
    forth: list[int] = []
    back: list[int] = []
    job = line[t.LINE_FIRST]
    while job != NONE and len(forth) <= len(state.job):
        forth.append(job)
        job = int(state.job[job, t.JOB_NEXT])
    job = line[t.LINE_LAST]
    while job != NONE and len(back) <= len(state.job):
        back.append(job)
        job = int(state.job[job, t.JOB_PREVIOUS])
    return forth + back


def _job(cells: list[int]) -> list[int]:
    kept = [t.JOB_STATUS, t.JOB_WALLTIME, t.JOB_SHAPE, t.JOB_NOT_BEFORE, t.JOB_PREEMPTIONS, t.JOB_DEFERRED]
    waits = cells[t.JOB_STATUS] == t.READY or (cells[t.JOB_STATUS] == t.AWAY and cells[t.JOB_DEFERRED] == 1)
    said = [t.JOB_VERDICT, t.JOB_SHORT, t.JOB_FREE, t.JOB_AT] if waits else []  # else nobody asks
    return [cells[column] for column in kept + said]


def _placed(state: State) -> list[tuple[int, int]]:
    """(job, its row of `run`) of every job that has one."""
    return [(job, row) for job, row in enumerate(state.job[:, t.JOB_RUN].tolist()) if row != NONE]
