"""One block of memory for a decision: the tables of a state, of a replay and of one step, one behind the other.

A compiled function that takes fifty tables pays for each of them at every call; one array is free. The block begins
with a directory: offset, rows and columns of each table. `of.job(m, j)` is where row `j` of the jobs begins, so
`m[of.job(m, j) + JOB_POOL]` is that job's pool. Python sees the same cells as tables, without a copy.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from fabrique.core.admission import tables as t
from fabrique.core.admission.rules import Flags
from fabrique.core.admission.tables import Ints, State

# fate: what a replay knows of a job and the decision may not, and what came of it. Work in ms on the reference device
(
    FATE_SUBMIT,
    FATE_LEFT,  # work still to do when it next starts
    FATE_AFTER,  # the job that must end first; NONE
    FATE_CHILD,  # the first job that waits for this one; NONE
    FATE_SIBLING,  # the next job that waits for the same; NONE
    FATE_START,  # its first start; NONE
    FATE_END,
    FATE_OPTION,  # of its last run; NONE
    FATE_ENERGY,  # mJ above the idle draw, of all its runs
    FATE_SAVED,  # work that checkpoints kept
    FATE_LOST,  # work done and lost, and restarts
    FATE_AT_HORIZON,  # work done and kept by the end of the trace; NONE: all of it
    FATE_SINCE,  # when its run started or last changed level
    FATE_RUN_LEFT,  # work left then
    FATE_FINISH,  # when its run will end
) = range(15)
FATE_COLUMNS: Final = 15
# book: counts of a replay, and its clock
N_ENDS, N_WAKES, NEXT_JOB, NEXT_INSTANT, NOW, TICK, RESTART, SIMPLE = range(8)
DONE_JOBS, HORIZON, STEPS, BEGUN, SLOT_START, IDLE = range(8, 14)
BOOK_COLUMNS: Final = 16


class Book(NamedTuple):
    """What a replay keeps beside the state. S sites, T slots of TICK ms from SLOT_START, Q pools, O options."""

    fate: Ints  # (N, FATE_COLUMNS)
    ends: Ints  # (_, 2) heap of (finish, job); some are stale
    wakes: Ints  # (_, 2) heap of (instant, job)
    instants: Ints  # other times at which something changes, ascending
    draw: Ints  # (O,) mean mW of one device above idle, at the meter
    root: Ints  # (S,) the domain of a site; NONE
    site_mw: Ints  # (S,) drawn now above idle
    slot_mj: Ints  # (S, T) energy above idle
    peak_mw: Ints  # (S, T) the most drawn above idle
    over_mj: Ints  # (S, T) above the cap
    pool_work: Ints  # (Q, T) normalised milli-device x ms of its runs
    book: Ints  # (BOOK_COLUMNS,)


# critical: an instant after now at which less may be free than just before: a cap falls, a block or reservation begins
CRITICAL_AT, CRITICAL_PLACE = 0, 1
# reserved: what the first jobs that wait shall have
RESERVED_FROM, RESERVED_UNTIL, RESERVED_PLACE, RESERVED_MW = 0, 1, 2, 3
# counts of a step
N_CRITICAL, N_RESERVED, N_MARKS, N_STARTS, N_PREEMPTS, N_RECAPS, N_DEFERRALS = range(7)
N_FREE_ROWS, N_RANKED, N_POSTPONED, STEP, CONTENDED, LEAST_NEED, SCANNED, LEAST_MW, UNJUDGED, LOWERED = range(7, 17)
BEST_POOL = 17  # which `next_job` took from last; NONE where that has to be found out again
LEAST_RISE = 18  # no run below its chosen level needs less mW more to get there
WORK_COLUMNS: Final = 20
MOST_RESERVED: Final = 4096


class Scratch(NamedTuple):
    """What one step works on and forgets, and what it decided. R resources, D domains, L lines, Q pools."""

    critical: Ints  # (_, 2)
    critical_free: Ints  # (_, R) where it has a place
    critical_mw: Ints  # (_, D); UNLIMITED where it covers no such domain
    reserved: Ints  # (_, 4)
    reserved_need: Ints  # (_, R)
    postponed: Ints  # (_,) jobs whose reservation nobody needed yet, in order
    marks: Ints  # instants, ascending, at which something else than a run gives back
    rank: Ints  # (L,) lines with ready jobs, best first inside their pool once a step has lined them up
    ranked: Ints  # (L,) 1 where the line is there
    excess: Ints  # (L,)
    pool_at: Ints  # (Q, 2) rows of `rank`: the pool's next line, and the end of its lines
    pool_key: Ints  # (Q, 2) owed, used
    closed: Ints  # (Q,)
    elastic: Ints  # (D, 2) mW and milli-devices of elastic runs
    more_at: Ints  # (P,) the even share from which on some elastic run may want another level
    least_mw: Ints  # (F,) of one device at the option that draws least
    failed: Ints  # (shapes, 2) the last step in which the shape failed, and the job
    free_rows: Ints  # (M,) rows of `run` without a run
    row: Ints  # (R + 2 H,) on a walk along the run ends: what is free, what caps leave, and those caps
    victims: Ints  # (M,)
    starts: Ints  # (_, 2) job, option
    preempts: Ints  # (_, 2) job, for whom
    recaps: Ints  # (_, 2) job, option
    deferrals: Ints  # (_, 2) job, slot
    work: Ints  # (WORK_COLUMNS,) counts


PARTS: Final = (
    "flags",
    *State._fields,
    *Book._fields,
    *Scratch._fields,
)  # in the order of the block


class Memory(NamedTuple):
    """`cells` is what compiled functions take; the others are views of it."""

    cells: Ints
    state: State
    book: Book
    scratch: Scratch


def memory(state: State, flags: Flags, book: Book | None = None) -> Memory:
    """A block with copies of these tables, and room for any step on them. No more than MOST_RESERVED reservations."""
    flags = flags._replace(reservations=min(flags.reservations, MOST_RESERVED))
    book = book or empty_book(state)
    parts = (np.array(flags, dtype=np.int64), *state, *book, *scratch(state, flags))
    at, directory = 3 * len(parts), []
    for part in parts:
        directory += [at, len(part), part.shape[1] if part.ndim == 2 else 1]
        at += part.size
    cells = np.zeros(at, dtype=np.int64)  # pages that nobody writes to take no room
    cells[: len(directory)] = directory
    views = []
    for part, start in zip(parts, directory[::3], strict=True):
        view = cells[start : start + part.size].reshape(part.shape)
        if part.any():
            view[...] = part
        views.append(view)
    of_book, of_scratch = 1 + len(state), 1 + len(state) + len(book)
    return Memory(
        cells,
        State(*views[1:of_book]),
        Book(*views[of_book:of_scratch]),
        Scratch(*views[of_scratch:]),
    )


def table(*shape: int) -> Ints:
    return np.zeros(shape, dtype=np.int64)


def empty_book(state: State) -> Book:
    nothing = table(0)
    widths = dict.fromkeys(("ends", "wakes"), table(0, 2))
    return Book(
        **{name: widths.get(name, nothing) for name in Book._fields[:-1]},
        book=table(BOOK_COLUMNS),
    )


def scratch(state: State, flags: Flags) -> Scratch:
    resources, domains = state.capacity.shape[1], len(state.domain)
    jobs, lines, pools, runs = (
        len(state.job),
        len(state.line),
        len(state.pool),
        len(state.run),
    )
    reserved = max(1, min(flags.reservations, jobs, MOST_RESERVED))
    critical = reserved + len(state.cap) + len(state.block) + 1
    shapes = int(state.job[:, t.JOB_SHAPE].max(initial=0)) + 1
    free_rows = np.flatnonzero(state.run[:, t.RUN_JOB] == t.NONE)[::-1]
    work = table(WORK_COLUMNS)
    work[N_FREE_ROWS] = len(free_rows)
    ranked = np.flatnonzero(state.line[:, t.LINE_FIRST] != t.NONE)
    work[N_RANKED], work[BEST_POOL] = len(ranked), t.NONE
    work[LEAST_NEED] = state.need[:, 0].min() if jobs else 0
    work[LEAST_MW] = work[LEAST_NEED] * state.option[:, t.OPTION_MW].min(initial=t.UNLIMITED) // 1000 if jobs else 0
    waits = state.job[state.job[:, t.JOB_STATUS] == t.READY]
    lowered = state.run[:, t.RUN_OPTION] != state.run[:, t.RUN_CHOSEN]
    work[LOWERED] = (lowered & (state.run[:, t.RUN_JOB] != t.NONE)).sum()
    work[UNJUDGED] = ((waits[:, t.JOB_LATEST] != t.NONE) & (waits[:, t.JOB_DEFERRED] == 0)).sum()
    return Scratch(
        critical=table(critical, 2),
        critical_free=table(critical, resources),
        critical_mw=table(critical, domains),
        reserved=table(reserved, 4),
        reserved_need=table(reserved, resources),
        postponed=table(reserved),
        marks=table(critical + len(state.block)),
        rank=np.concatenate([ranked, table(lines - len(ranked))]),
        ranked=np.isin(np.arange(lines), ranked).astype(np.int64),
        excess=table(lines),
        pool_at=table(pools, 2),
        pool_key=table(pools, 2),
        closed=table(pools),
        elastic=_elastic(state),
        more_at=table(len(state.place)),
        least_mw=_least_mw(state),
        failed=table(shapes, 2),
        free_rows=np.concatenate([free_rows, table(runs - len(free_rows))]),
        row=table(resources + 2 * state.chain.shape[1]),
        victims=table(runs),
        starts=table(jobs + 1, 2),
        preempts=table(runs + jobs + 1, 2),
        recaps=table((domains + 1) * runs + 1, 2),
        deferrals=table(jobs + 1 if flags.defer else 1, 2),
        work=work,
    )


def _least_mw(state: State) -> Ints:
    """By profile; UNLIMITED where it has no option."""
    found = np.full(len(state.profile), t.UNLIMITED, np.int64)
    for f, row in enumerate(state.profile):
        options = state.thrifty[row[t.PROFILE_THRIFTY] : row[t.PROFILE_THRIFTY_END]]
        found[f] = state.option[options, t.OPTION_MW].min(initial=t.UNLIMITED)
    return found


def _elastic(state: State) -> Ints:
    found = table(len(state.domain), 2)
    for row in state.run[state.run[:, t.RUN_JOB] != t.NONE]:
        job = row[t.RUN_JOB]
        if state.job[job, t.JOB_ELASTIC] == 1:
            chain = state.chain[state.option[row[t.RUN_OPTION], t.OPTION_PLACE]]
            found[chain[chain != t.NONE]] += (row[t.RUN_MW], state.need[job, 0])
    return found
