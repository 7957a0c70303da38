"""What is known when a decision is taken: tables of int64, one row a thing, and the names of their columns.

The compiled decision, the live loop and the twin share these tables. Everything is a whole number: devices and cores in
thousandths, memory in MB, power in mW at the facility meter above the idle draw, time in UTC epoch ms, ratios in ppm.
Rows are named nowhere here: the edge keeps the ids.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

UNLIMITED: Final = 2**62
NONE: Final = -1
PPM: Final = 1_000_000
BUDGETS: Final = 4  # the most units that one job holds

# --- what the hub is -----------------------------------------------------------------------------------------
# place: what a job is put on; a partition, or a part of one where racks have caps of their own
PLACE_SITE, PLACE_WEIGHT, PLACE_CHAIN = 0, 1, 2  # weight: ppm of the reference device's work; chain: see below
PLACE_COLUMNS: Final = 3
# domain: a node of the tree of power (site -> row -> rack); its caps are rows of `cap`, [first, end)
DOMAIN_PARENT, DOMAIN_CAP, DOMAIN_CAP_END, DOMAIN_USED, DOMAIN_FREE = 0, 1, 2, 3, 4  # used mW; free milli-devices
DOMAIN_COLUMNS: Final = 5
# cap: from when, how much, and since when that is known; ordered by domain, then from
CAP_FROM, CAP_MW, CAP_KNOWN = 0, 1, 2
CAP_COLUMNS: Final = 3
# block: a reservation or a maintenance window: `block_need` is out of reach on its place during [from, until)
BLOCK_PLACE, BLOCK_FROM, BLOCK_UNTIL = 0, 1, 2
BLOCK_COLUMNS: Final = 3
# option: a (place, power level) that a profile's jobs may run at, best first; speed and booked mW of one device
OPTION_PLACE, OPTION_LEVEL, OPTION_MW, OPTION_SPEED = 0, 1, 2, 3  # speed: ppm of the run on the reference device
OPTION_COLUMNS: Final = 4
# profile: jobs with the same options: rows [first, end) of `option`, and of `thrifty` (rows of `option`, one a place)
PROFILE_FIRST, PROFILE_END, PROFILE_THRIFTY, PROFILE_THRIFTY_END = 0, 1, 2, 3
PROFILE_COLUMNS: Final = 4
# pool: nominal quota and limits in normalised milli-devices; cohort: pools that lend to each other
(
    POOL_COHORT,
    POOL_NOMINAL,
    POOL_BORROW,
    POOL_LEND,
    POOL_USED,  # by its runs
    POOL_PENDING,  # asked by its ready jobs
    POOL_OWED,  # deficit: normalised milli-device x ms it was entitled to, asked for, and did not get
    POOL_NO_BORROW,  # until when it may not borrow, after a reclaim
) = range(8)
POOL_COLUMNS: Final = 8
COHORT_SIZE, COHORT_USED = 0, 1
COHORT_COLUMNS: Final = 2
# project: weight and decayed use (normalised milli-device x ms); rate: what its runs use now
PROJECT_WEIGHT, PROJECT_USE, PROJECT_RATE = 0, 1, 2
PROJECT_COLUMNS: Final = 3
# line: ready jobs of one pool, priority and (where the rules are fair) project, first come first
LINE_POOL, LINE_PRIORITY, LINE_PROJECT, LINE_FIRST, LINE_LAST, LINE_CURSOR = 0, 1, 2, 3, 4, 5
LINE_COLUMNS: Final = 6

# --- what is asked -------------------------------------------------------------------------------------------
# job: rows in order of submission, then number, so that the row breaks every tie
(
    JOB_STATUS,
    JOB_PROFILE,
    JOB_WALLTIME,  # ms asked for, on the reference device
    JOB_POOL,
    JOB_PROJECT,
    JOB_LINE,
    JOB_SHAPE,  # jobs alike in profile, need, walltime, pool, priority and consents share one
    JOB_SUBMIT,
    JOB_NOT_BEFORE,
    JOB_LATEST,  # latest start of a flexible job; NONE: not flexible
    JOB_PREEMPTIBLE,  # 1: writes checkpoints, may be stopped and queued again
    JOB_ELASTIC,  # 1: its power level may be lowered while it runs
    JOB_PREEMPTIONS,
    JOB_NEXT,  # in its line; NONE
    JOB_PREVIOUS,
    JOB_RUN,  # its row of `run` while it runs; NONE
    JOB_VERDICT,  # why it waits, one of the verdicts below
    JOB_SHORT,  # what it asked of the thing that lacked
    JOB_FREE,  # how much of that thing was free
    JOB_AT,  # when it first fits if runs take their walltime; NONE: not worked out, or never
    JOB_DEFERRED,  # 0: nobody judged it yet; 1: put off to a better slot; 2: back from there; 3: not worth it
) = range(21)
JOB_COLUMNS: Final = 21
AWAY, READY, RUNNING, DONE = 0, 1, 2, 3  # statuses; AWAY: not submitted yet, deferred, backing off, or depending

# --- what runs -----------------------------------------------------------------------------------------------
# run: `by_end` lists the rows in order of (end, job)
RUN_JOB, RUN_OPTION, RUN_START, RUN_END, RUN_MW, RUN_WEIGHT, RUN_CHOSEN, RUN_LEAVING = 0, 1, 2, 3, 4, 5, 6, 7
RUN_COLUMNS: Final = 8

# --- why a job waits -----------------------------------------------------------------------------------------
(
    V_NONE,
    V_BUDGET,  # JOB_SHORT: the row of `room`
    V_RESOURCE,  # 2 + resource 0, 1, 2: accelerators, cores, memory
    V_RESOURCE_1,
    V_RESOURCE_2,
    V_POWER,
    V_QUOTA,
    V_BEHIND,  # nothing lacks now: it would make a reservation late, or the rules let nobody pass
    V_DEFERRED,
    V_RECLAIMING,
) = range(10)

# --- scalars -------------------------------------------------------------------------------------------------
# last advance; rows in by_end; day of the last decay; first blocked job; start and step of the slots of `grid`
CLOCK_LAST, CLOCK_RUNS, CLOCK_DAY, CLOCK_BLOCKED, CLOCK_GRID, CLOCK_SLOT = 0, 1, 2, 3, 4, 5
CLOCK_COLUMNS: Final = 8


class State(NamedTuple):
    """Tables with the columns above. `step` changes those that tell what runs and waits; a what-if works on `copied`.

    P places, R resources (devices, cores, memory), D domains, H the tree's depth, O options, F profiles, Q pools,
    G cohorts, J projects, L lines, N jobs, M runs at most, A budgets.
    """

    place: Ints  # (P, PLACE_COLUMNS)
    capacity: Ints  # (P, R)
    free: Ints  # (P, R) now, blocks not taken off
    chain: Ints  # (P, H) domains from the place's own up to its site's; NONE fills
    domain: Ints  # (D, DOMAIN_COLUMNS)
    cap: Ints  # (_, CAP_COLUMNS)
    block: Ints  # (_, BLOCK_COLUMNS)
    block_need: Ints  # (_, R)
    option: Ints  # (O, OPTION_COLUMNS)
    profile: Ints  # (F, PROFILE_COLUMNS)
    thrifty: Ints  # (_,)
    pool: Ints  # (Q, POOL_COLUMNS)
    cohort: Ints  # (G, COHORT_COLUMNS)
    project: Ints  # (J, PROJECT_COLUMNS)
    line: Ints  # (L, LINE_COLUMNS)
    job: Ints  # (N, JOB_COLUMNS)
    need: Ints  # (N, R)
    budget: Ints  # (N, BUDGETS) rows of `room`; NONE fills; may be empty where `room` is
    ask: Ints  # (N, BUDGETS), or as empty
    room: Ints  # (A,) what may still be held
    run: Ints  # (M, RUN_COLUMNS); JOB NONE: free
    by_end: Ints  # (M,) rows of `run`
    grid: Ints  # (sites, slots + 1) forecast intensity or price, summed up from the first slot's start
    planned: Ints  # (P, slots) milli-devices promised to deferred jobs
    clock: Ints  # (CLOCK_COLUMNS,)


def copied(state: State) -> State:
    """The same state in tables of its own."""
    return State(*(table.copy() for table in state))
