"""What waits and what runs, put into the tables: lines, and what every run takes of its place, cap and share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fabrique.core.admission import tables as t
from fabrique.core.admission.state import JobRow, RunRow
from fabrique.core.admission.tables import PPM, Ints, State
from fabrique.core.units import ceil_divide


def queue(state: State) -> None:
    """Ready jobs into their lines, oldest first, and what each pool's ask for."""
    ready = np.flatnonzero(state.job[:, t.JOB_STATUS] == t.READY)
    lines: dict[int, list[int]] = {}
    for row, line in zip(ready.tolist(), state.job[ready, t.JOB_LINE].tolist(), strict=True):
        lines.setdefault(line, []).append(row)
    for line, rows in lines.items():
        state.line[line, [t.LINE_FIRST, t.LINE_LAST, t.LINE_CURSOR]] = rows[0], rows[-1], rows[0]
        state.job[rows[1:], t.JOB_PREVIOUS] = rows[:-1]
        state.job[rows[:-1], t.JOB_NEXT] = rows[1:]
    np.add.at(state.pool[:, t.POOL_PENDING], state.job[ready, t.JOB_POOL], weights(state)[ready])


def weights(state: State) -> Ints:
    """Normalised milli-devices of every job on the place of its first option."""
    found: Ints = amounts(state) * state.place[state.option[_first(state), t.OPTION_PLACE], t.PLACE_WEIGHT] // PPM
    return found


def amounts(state: State) -> Ints:
    return np.where(state.need[:, 0] > 0, state.need[:, 0], state.need[:, 1])


def _first(state: State) -> Ints:
    found: Ints = state.profile[state.job[:, t.JOB_PROFILE], t.PROFILE_FIRST]
    return found


def place_runs(state: State, jobs: Sequence[JobRow | RunRow]) -> None:
    """What each run takes: of its place, its domain, its pool and its project."""
    found = [(row, one) for row, one in enumerate(jobs) if isinstance(one, RunRow)]
    if not found:
        return
    rows, ats = np.array([row for row, _ in found]), np.arange(len(found))
    starts, ends = np.array([[one.started_ms, one.ends_ms] for _, one in found], np.int64).T
    o, share = _first(state)[rows], weights(state)[rows]
    p = state.option[o, t.OPTION_PLACE]
    d = state.chain[p, 0]
    mw = -(-amounts(state)[rows] * state.option[o, t.OPTION_MW] // 1000)
    state.run[ats] = np.column_stack([rows, o, starts, ends, mw, share, o, np.zeros(len(found), np.int64)])
    state.job[rows, t.JOB_RUN] = ats
    np.subtract.at(state.free, p, state.need[rows])
    np.add.at(state.domain[:, t.DOMAIN_USED], d, mw)
    np.subtract.at(state.domain[:, t.DOMAIN_FREE], d, state.need[rows, 0])
    np.add.at(state.pool[:, t.POOL_USED], state.job[rows, t.JOB_POOL], share)
    state.cohort[0, t.COHORT_USED] += share.sum()
    np.add.at(state.project[:, t.PROJECT_RATE], state.job[rows, t.JOB_PROJECT], share)
    state.by_end[ats] = np.lexsort((ats, ends))
    state.clock[t.CLOCK_RUNS] = len(found)


def promise(state: State, now_ms: int) -> None:
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
