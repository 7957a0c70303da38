"""Small worlds drawn from a seed, and what happens in them: one integer names a case, for every kernel.

`world(seed)` gives tables and rule flags; `play` runs the reference through a scenario and tells, instant by
instant, the events, so that another kernel can be led through the same one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from fabrique.core.admission import tables as t
from fabrique.core.admission.kernels import reference
from fabrique.core.admission.rules import Flags
from fabrique.core.admission.tables import NONE, UNLIMITED, State

T0 = 1_767_297_600_000  # 2026-01-01, 20:00
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
SLOTS = 30  # of an hour


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant of a scenario: what happened before the step, and what the reference decided."""

    now: int
    events: list[tuple[str, int]]  # ("end" | "ready" | "leave", job), in this order
    decision: reference.Decision
    world: reference.World  # as it is after the step


def table(rows: list[Any], columns: int) -> t.Ints:
    return np.array(rows, dtype=np.int64).reshape(len(rows), columns)


def flags(dice: Random) -> Flags:
    """Every rule on or off by itself; what is rarely wanted is rarely on."""
    return Flags(
        backfill=int(dice.random() < 0.85),
        reservations=dice.choice([0, 1, 1, 1, 2, 3]),
        drain_permille=dice.choice([0, 0, 100, 1000, 10_000]),
        depth=dice.choice([1, 3, 10**9, 10**9]),
        pools=int(dice.random() < 0.6),
        share_order=dice.randint(0, 1),
        window_ms=dice.choice([HOUR, DAY]),
        fair=dice.randint(0, 1),
        decay_ppm=dice.choice([500_000, 905_724]),
        age_ms=dice.choice([0, 0, HOUR, 4 * HOUR]),
        reclaim=int(dice.random() < 0.6),
        reclaim_any=dice.randint(0, 1),
        preempt_lower=dice.randint(0, 1),
        min_run_ms=dice.choice([0, 10 * MINUTE, HOUR]),
        backoff_ms=dice.choice([0, 5 * MINUTE, HOUR]),
        water_fill=dice.randint(0, 1),
        recap=int(dice.random() < 0.8),
        defer=dice.randint(0, 1),
        floor_permille=dice.choice([0, 50, 500]),
        fill_ppm=dice.choice([300_000, 800_000, 1_000_000]),
        observe_only=int(dice.random() < 0.02),
    )


def state(dice: Random, fair: bool, consent: bool) -> State:
    """A hub at rest with all its jobs still to come; with `consent`, nearly all may be slowed down and stopped."""
    resources = dice.randint(1, 3)
    sites = dice.randint(1, 2)
    parents, chains, site_of = tree(dice, sites)
    places = len(chains)
    capacity = [[dice.choice([4, 8, 8, 16]) * 1000 for _ in range(resources)] for _ in range(places)]
    weights = [dice.choice([1_000_000, 1_000_000, 500_000, 1_700_001]) for _ in range(places)]
    options, profiles, thrifty = choices(dice, places)
    demand = max(row[t.OPTION_MW] for row in options)
    spans, caps = limits(dice, chains, len(parents), [row[0] * demand // 1000 for row in capacity], consent)
    inside = [sum(capacity[p][0] for p in range(places) if d in chains[p]) for d in range(len(parents))]
    blocks = [(dice.randrange(places), *window(dice)) for _ in range(dice.choice([0, 0, 1, 2]))]
    pools, cohorts = quotas(dice, sum(c[0] * w // t.PPM for c, w in zip(capacity, weights, strict=True)))
    projects = dice.randint(1, 4)
    jobs, needs, lines = demands(dice, resources, len(profiles), len(pools), projects, fair, consent)
    asks, room = budgets(dice, 0.2 if consent else 0.6, len(jobs))
    slots = dice.choice([0, SLOTS, SLOTS, SLOTS])
    depth = max([len(chain) for chain in chains] + [1])
    by_end = np.arange(len(jobs), dtype=np.int64)
    run = np.zeros((len(jobs), t.RUN_COLUMNS), dtype=np.int64)
    run[:, t.RUN_JOB] = NONE
    clock = [T0, 0, T0 // DAY, NONE, T0, HOUR, 0, 0]
    return State(
        place=table([(site_of[p], weights[p], p) for p in range(places)], t.PLACE_COLUMNS),
        capacity=table(capacity, resources),
        free=table(capacity, resources),
        chain=table([chain + [NONE] * (depth - len(chain)) for chain in chains], depth),
        domain=table([(parents[d], *spans[d], 0, inside[d]) for d in range(len(parents))], t.DOMAIN_COLUMNS),
        cap=table(caps, t.CAP_COLUMNS),
        block=table(blocks, t.BLOCK_COLUMNS),
        block_need=table([[dice.randint(1, c // 1000) * 1000 for c in capacity[b[0]]] for b in blocks], resources),
        option=table(options, t.OPTION_COLUMNS),
        profile=table(profiles, t.PROFILE_COLUMNS),
        thrifty=np.array(thrifty, dtype=np.int64),
        pool=table(pools, t.POOL_COLUMNS),
        cohort=table(cohorts, t.COHORT_COLUMNS),
        project=table([(dice.randint(0, 3), 0, 0) for _ in range(projects)], t.PROJECT_COLUMNS),
        line=table(lines, t.LINE_COLUMNS),
        job=table(jobs, t.JOB_COLUMNS),
        need=table(needs, resources),
        budget=table([[b for b, _ in row] for row in asks], t.BUDGETS),
        ask=table([[a for _, a in row] for row in asks], t.BUDGETS),
        room=np.array(room, dtype=np.int64),
        run=run,
        by_end=by_end,
        grid=grid(dice, sites, slots),
        planned=np.zeros((places, slots), dtype=np.int64),
        clock=np.array(clock, dtype=np.int64),
    )


def tree(dice: Random, sites: int) -> tuple[list[int], list[list[int]], list[int]]:
    """Parents of the domains; the chain of domains and the site of each place."""
    parents: list[int] = []
    paths: list[list[list[int]]] = []  # a site: paths from a domain up to the root
    for _ in range(sites):
        above: list[list[int]] = [[]]
        for _ in range(dice.choice([0, 1, 1, 2, 3, 4])):
            path = dice.choice(above)
            parents.append(path[0] if path else NONE)
            root = [len(parents) - 1, *path]
            above = [root] if above == [[]] else [*above, root]
        paths.append(above)
    site_of = [dice.randrange(sites) for _ in range(dice.randint(1, 4))]
    return parents, [list(dice.choice(paths[site])) for site in site_of], site_of


def choices(dice: Random, places: int) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]], list[int]]:
    """Options, profiles and thrifty rows: a few places each, at a few levels, best first by anybody's taste."""
    options: list[tuple[int, ...]] = []
    profiles: list[tuple[int, ...]] = []
    thrifty: list[int] = []
    for _ in range(dice.randint(1, 3)):
        first, begin = len(options), len(thrifty)
        rows = []
        for place in dice.sample(range(places), dice.randint(1, places)):
            mw, speed = dice.choice([400_000, 700_000, 1_000_000]), dice.choice([500_000, 1_000_000, 1_300_000])
            for level in range(dice.choice([1, 2, 3, 3])):
                slower = speed * (100 - dice.choice([8, 15, 15, 0, -10]) * level) // 100
                rows.append((place, level, mw * (100 - 25 * level) // 100 + dice.choice([0, 0, 0, 1]), slower))
        dice.shuffle(rows)
        if dice.random() < 0.7:
            rows.sort(key=lambda row: row[1])  # top levels first: most worlds are so
        options += rows
        for place in dict.fromkeys(row[0] for row in rows):
            alike = [o for o in range(first, len(options)) if options[o][0] == place]
            thrifty.append(min(alike, key=lambda o: options[o][2]) if dice.random() < 0.7 else dice.choice(alike))
        profiles.append((first, len(options), begin, len(thrifty)))
    return options, profiles, thrifty


def limits(
    dice: Random, chains: list[list[int]], domains: int, watts: list[int], restless: bool
) -> tuple[list[tuple[int, int]], list[tuple[int, int, int]]]:
    """Each domain's span of caps, and the caps: they fall and rise; some are announced, some come as a surprise."""
    spans: list[tuple[int, int]] = []
    caps: list[tuple[int, int, int]] = []
    for d in range(domains):
        full = sum(w for chain, w in zip(chains, watts, strict=True) if d in chain)
        first = len(caps)
        usual = full * dice.choice([30, 50, 75, 110]) // 100
        rows = [(0, usual, 0)] if dice.random() < 0.7 else []
        for _ in range(dice.choice([2, 4, 6] if restless else [0, 1, 2, 4])):
            at, known = T0 + dice.randint(1, 100) * 10 * MINUTE, dice.choice([0, 0, 30 * MINUTE, 12 * HOUR, DAY])
            until = at + dice.randint(1, 36) * 10 * MINUTE
            rows.append((at, full * dice.choice([2, 10, 20, 30, 50, 70]) // 100, at - known))
            rows.append((until, dice.choice([usual, usual, full * dice.randint(20, 90) // 100, UNLIMITED]), at - known))
        caps += sorted(rows)
        spans.append((first, len(caps)))
    return spans, caps


def window(dice: Random) -> tuple[int, int]:
    begin = T0 + dice.randint(0, 100) * 15 * MINUTE
    return begin, begin + dice.randint(1, 24) * 15 * MINUTE


def quotas(dice: Random, size: int) -> tuple[list[tuple[int, ...]], list[tuple[int, int]]]:
    count = dice.randint(1, 4)
    cohorts = dice.randint(1, 2)
    cohort_of = [dice.randrange(cohorts) for _ in range(count)]
    nominal = [size * dice.choice([0, 30, 60, 100, 100]) // 100 // count for _ in range(count)]
    rows: list[tuple[int, ...]] = []
    for q in range(count):
        borrow = dice.choice([0, size // 3, size, UNLIMITED])
        lend = dice.choice([0, nominal[q] // 2, nominal[q], nominal[q]])
        rows.append((cohort_of[q], nominal[q], borrow, lend, 0, 0, 0, 0))
    sizes = [sum(n for n, g in zip(nominal, cohort_of, strict=True) if g == c) for c in range(cohorts)]
    return rows, [(max(s, size * dice.choice([0, 1]) // cohorts), 0) for s in sizes]


def demands(
    dice: Random, resources: int, profiles: int, pools: int, projects: int, fair: bool, consent: bool
) -> tuple[list[list[int]], list[list[int]], list[tuple[int, ...]]]:
    """Jobs in order of submission, what they need, and their lines. Values are few, so that many jobs are alike."""
    jobs, needs = [], []
    shapes: dict[tuple[int, ...], int] = {}
    lines: dict[tuple[int, int, int], int] = {}
    preemptible, elastic = (dice.choice([0.5, 1]), 0.9) if consent else (dice.random(), dice.random())
    flexible = dice.random() * 0.6
    kinds = [
        (
            dice.randrange(profiles),
            [dice.choice([333, 1000, 2000, 2000, 2500, 4000, 4000, 8000]) * int(dice.random() < 0.9)]
            + [dice.choice([0, 1000, 4000, 4000]) for _ in range(resources - 1)],
            dice.choice([10 * MINUTE, HOUR, 3 * HOUR + 1, 8 * HOUR, 20 * HOUR]),
            (int(dice.random() < preemptible), int(dice.random() < elastic)),
            dice.choice([50, 50, 100, 200]),
        )
        for _ in range(dice.randint(1, 6))
    ]
    span = dice.choice([3, 20, 60])
    for submit in sorted(T0 + dice.randint(0, span) * 10 * MINUTE for _ in range(dice.randint(0, 40))):
        profile, need, walltime, consents, priority = dice.choice(kinds)
        pool, project = dice.randrange(pools), dice.randrange(projects)
        latest = submit + dice.randint(0, 24) * HOUR if dice.random() < flexible else NONE
        line = lines.setdefault((pool, priority, project if fair else NONE), len(lines))
        alike = (profile, *need, walltime, pool, priority, *consents, int(latest != NONE))
        row = [0] * t.JOB_COLUMNS
        row[t.JOB_STATUS], row[t.JOB_PROFILE], row[t.JOB_WALLTIME] = t.AWAY, profile, walltime
        row[t.JOB_POOL], row[t.JOB_PROJECT], row[t.JOB_LINE] = pool, project, line
        row[t.JOB_SHAPE], row[t.JOB_SUBMIT] = shapes.setdefault(alike, len(shapes)), submit
        row[t.JOB_NOT_BEFORE], row[t.JOB_LATEST] = NONE, latest
        row[t.JOB_PREEMPTIBLE], row[t.JOB_ELASTIC] = consents
        row[t.JOB_NEXT] = row[t.JOB_PREVIOUS] = row[t.JOB_RUN] = row[t.JOB_AT] = NONE
        jobs.append(row)
        needs.append(need)
    return jobs, needs, [(*key, NONE, NONE, NONE) for key in lines]


def budgets(dice: Random, often: float, jobs: int) -> tuple[list[list[tuple[int, int]]], list[int]]:
    """(row of room, ask) of each job, four columns; and the room."""
    room = [dice.choice([1_000, 10_000, 50_000]) for _ in range(dice.randint(1, 3))]
    rows = []
    for _ in range(jobs):
        held = dice.sample(range(len(room)), dice.randint(0, len(room))) if dice.random() < often else []
        row = [(b, dice.randint(0, 700)) for b in held]
        rows.append(row + [(NONE, 0)] * (t.BUDGETS - len(row)))
    return rows, room


def grid(dice: Random, sites: int, slots: int) -> t.Ints:
    """Forecasts summed up from the first slot's start; some hours below zero, as prices can be."""
    rows = np.zeros((sites, slots + 1), dtype=np.int64)
    for site in range(sites):
        hours = dice.choice([[-200, -50, 0, 50, 100, 200], [50, 100, 150, 200], range(30, 300)])
        rows[site, 1:] = np.cumsum([dice.choice(hours) * 1000 for _ in range(slots)])
    return rows


def world(seed: int) -> tuple[State, Flags]:
    dice = Random(seed)
    drawn = flags(dice)
    if seed % 3 == 1:  # power alone
        drawn = drawn._replace(recap=1, water_fill=1, pools=0, age_ms=0, observe_only=0)
    elif seed % 3 == 2:  # lent and taken back
        drawn = drawn._replace(
            pools=1, reclaim=1, backoff_ms=HOUR, min_run_ms=dice.choice([0, 10 * MINUTE]), depth=10**9
        )
    return state(dice, bool(drawn.fair), consent=seed % 3 > 0), drawn


def play(seed: int, instants: int = 25) -> Iterator[Moment]:
    """The reference's way through a scenario of its own: ends come early, in time or late; jobs come when they may."""
    tables, rules = world(seed)
    here = reference.read(tables)
    dice = Random(-1 - seed)
    now = T0
    for _ in range(instants):
        now += dice.choice(
            [0, 1, 10 * MINUTE, 10 * MINUTE, 10 * MINUTE, 30 * MINUTE, 30 * MINUTE, HOUR, HOUR, 4 * HOUR]
        )
        reference.advance(here, rules, now)
        events = happenings(dice, here, now)
        for what, row in events:
            apply(here, what, row)
        decision = reference.step(here, rules, now)
        yield Moment(now, events, decision, here)


def happenings(dice: Random, here: reference.World, now: int) -> list[tuple[str, int]]:
    runs = sorted(here.runs, key=lambda run: run.job.row)
    ends = [run.job.row for run in runs if dice.random() < (0.6 if run.end <= now else 0.05)]
    leaves = [run.job.row for run in runs if run.job.row not in ends and dice.random() < 0.02]
    away = [job for job in here.jobs if job.status == t.AWAY and max(job.submit, job.not_before) <= now]
    comes = [job.row for job in away if dice.random() < 0.95]
    return [("end", row) for row in ends] + [("leave", row) for row in leaves] + [("ready", row) for row in comes]


def apply(here: reference.World, what: str, row: int) -> None:
    job = here.jobs[row]
    if what == "end":
        reference.end(here, job)
    elif what == "leave":
        here.run_of(job).leaving = True
    else:
        reference.ready(here, job)


def leave(tables: State, row: int) -> None:
    """The same in tables: the run is told to stop and has not yet."""
    tables.run[tables.job[row, t.JOB_RUN], t.RUN_LEAVING] = 1


def hub(
    jobs: list[dict[str, Any]],
    *,
    capacity: int = 8000,
    options: tuple[tuple[int, int], ...] = ((0, t.PPM),),  # (mW, speed), best first
    caps: tuple[tuple[int, int, int], ...] = (),
    blocks: tuple[tuple[int, int, int], ...] = (),  # (from, until, devices)
    pools: tuple[tuple[int, int, int], ...] = ((8000, 0, 0),),  # (nominal, borrow, lend)
    room: tuple[int, ...] = (),
    series: tuple[int, ...] = (),  # an hour each, from T0
) -> State:
    """One place under one domain, for cases worked by hand.

    A job: need, walltime, and where they matter pool, priority, submit, latest, preemptible, elastic, ask.
    """
    lines: dict[tuple[int, int, int], int] = {}
    rows = []
    for shape, job in enumerate(jobs):
        row = [0] * t.JOB_COLUMNS
        row[t.JOB_WALLTIME], row[t.JOB_POOL] = job["walltime"], job.get("pool", 0)
        row[t.JOB_PROJECT], row[t.JOB_SHAPE] = job.get("project", 0), job.get("shape", shape)
        row[t.JOB_LINE] = lines.setdefault((row[t.JOB_POOL], job.get("priority", 50), row[t.JOB_PROJECT]), len(lines))
        row[t.JOB_SUBMIT], row[t.JOB_LATEST] = job.get("submit", T0), job.get("latest", NONE)
        row[t.JOB_PREEMPTIBLE], row[t.JOB_ELASTIC] = job.get("preemptible", 0), job.get("elastic", 0)
        row[t.JOB_NOT_BEFORE] = row[t.JOB_NEXT] = row[t.JOB_PREVIOUS] = row[t.JOB_RUN] = row[t.JOB_AT] = NONE
        rows.append(row)
    run = np.zeros((len(jobs), t.RUN_COLUMNS), dtype=np.int64)
    run[:, t.RUN_JOB] = NONE
    asked = [job.get("ask", NONE) for job in jobs]
    projects = 1 + max([job.get("project", 0) for job in jobs], default=0)
    return State(
        place=table([(0, t.PPM, 0)], t.PLACE_COLUMNS),
        capacity=table([capacity], 1),
        free=table([capacity], 1),
        chain=table([0], 1),
        domain=table([(NONE, 0, len(caps), 0, capacity)], t.DOMAIN_COLUMNS),
        cap=table(list(caps), t.CAP_COLUMNS),
        block=table([(0, begin, until) for begin, until, _ in blocks], t.BLOCK_COLUMNS),
        block_need=table([need for _, _, need in blocks], 1),
        option=table([(0, level, mw, speed) for level, (mw, speed) in enumerate(options)], t.OPTION_COLUMNS),
        profile=table([(0, len(options), 0, 1)], t.PROFILE_COLUMNS),
        thrifty=np.array([len(options) - 1], dtype=np.int64),
        pool=table([(0, *pool, 0, 0, 0, 0) for pool in pools], t.POOL_COLUMNS),
        cohort=table([(sum(pool[0] for pool in pools), 0)], t.COHORT_COLUMNS),
        project=table([(1, 0, 0)] * projects, t.PROJECT_COLUMNS),
        line=table([(*key, NONE, NONE, NONE) for key in lines], t.LINE_COLUMNS),
        job=table(rows, t.JOB_COLUMNS),
        need=table([job["need"] for job in jobs], 1),
        budget=table([(NONE if a == NONE else 0, NONE, NONE, NONE) for a in asked], t.BUDGETS),
        ask=table([(max(a, 0), 0, 0, 0) for a in asked], t.BUDGETS),
        room=np.array(room, dtype=np.int64),
        run=run,
        by_end=np.arange(len(jobs), dtype=np.int64),
        grid=table([[0, *np.cumsum(series).tolist()]], len(series) + 1),
        planned=np.zeros((1, len(series)), dtype=np.int64),
        clock=np.array([T0, 0, T0 // DAY, NONE, T0, HOUR, 0, 0], dtype=np.int64),
    )
