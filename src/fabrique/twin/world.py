"""The world that a replay starts from: the decision's tables, made of a fleet, a trace and rules.

Jobs that could never start here are left out and counted: one machine's trace is often larger than another machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fabrique.core.admission import tables as t
from fabrique.core.admission.rules import Flags, Rules
from fabrique.core.admission.tables import NONE, PPM, Ints, State
from fabrique.core.errors import FabriqueError
from fabrique.core.hub import Assumption
from fabrique.core.units import HOUR_MS
from fabrique.definitions import work_classes
from fabrique.twin.demand import Demand, demand, distinct
from fabrique.twin.fleet import Fleet, Pool
from fabrique.twin.options import Options, options
from fabrique.twin.standing import Outlook, most_by_pool, pool_tables, state_of
from fabrique.twin.trace import Trace

__all__ = ["Outlook", "World", "world"]

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Row j of the jobs is row `rows[j]` of the trace. Names are in the order of the tables' rows.

    `left_ms` is the work on the reference device, `after` the row that must end first (NONE: none). By option:
    `draw_mw` of one device on average, at the meter above idle, its site and its `limit_permille` of the top power
    limit. `base_mw`: idle draw by site. `pool_of`: a job's row in `pools`, whether the rules look at pools or not.
    """

    state: State
    rules: Rules
    flags: Flags
    rows: Rows
    submit_ms: Ints
    left_ms: Ints
    after: Ints
    pool_of: Ints
    draw_mw: Ints
    site_of_option: Ints
    limit_permille: Ints
    base_mw: Ints
    tick_ms: int
    restart_ms: int
    sites: tuple[str, ...]
    places: tuple[str, ...]
    pools: tuple[str, ...]
    projects: tuple[str, ...]
    dropped: tuple[tuple[str, int], ...]
    said: tuple[Assumption, ...]

    def __len__(self) -> int:
        return len(self.submit_ms)

    @property
    def speed(self) -> Ints:
        """By option, in ppm of the reference device."""
        return self.state.option[:, t.OPTION_SPEED]


def world(
    fleet: Fleet,
    trace: Trace,
    rules: Rules,
    *,
    weather: Outlook | None = None,
    tick_ms: int | None = None,
    pools: Mapping[str, str] | None = None,
) -> World:
    """Everything that a replay of `trace` on `fleet` under `rules` needs.

    `pools` names the fleet's pool for pools of the trace; one that it does not name, and that the fleet has not, is
    given the fleet's pools in turn. `tick_ms` (None: an hour where time alone may change a decision, else 0) is how
    often the decision is taken without an event. Raises `twin.pool`.
    """
    asked = demand(fleet, trace)
    offered = options(fleet, trace.work_classes, rules.watts, asked)
    shares, pools_said = _pool_rows(fleet, trace, pools or {})
    pool_of = shares[trace.pool]
    by_pool = rules.pools or rules.share_order
    held = fleet.pools if by_pool else (Pool(id="all", share_ppm=PPM),)
    pool, cohort = pool_tables(held, fleet.normalised)
    keep, dropped = _possible(asked, offered, pool_of if rules.pools else None, pool, cohort)
    rows: Rows = np.flatnonzero(keep)
    job_pool = pool_of[rows] if by_pool else np.zeros(len(rows), np.int64)
    job, line = _jobs(trace, rules, asked, offered, rows, job_pool)
    need = asked.need[rows]
    state = state_of(fleet, offered, pool, cohort, len(trace.projects), line, job, need, weather)
    powered = len(state.domain) > 0
    timed = powered or weather is not None or rules.reclaim
    return World(
        state=state,
        rules=rules,
        flags=rules.flags(),
        rows=rows,
        submit_ms=job[:, t.JOB_SUBMIT].copy(),
        left_ms=np.maximum(trace.run_ms[rows], 1),
        after=_after(trace, keep, rows),
        pool_of=pool_of[rows],
        draw_mw=offered.draw_mw,
        site_of_option=state.place[offered.option[:, t.OPTION_PLACE], t.PLACE_SITE],
        limit_permille=offered.limit_permille,
        base_mw=np.array([site.base_w * 1000 for site in fleet.sites], np.int64),
        tick_ms=(HOUR_MS if timed else 0) if tick_ms is None else tick_ms,
        restart_ms=fleet.restart_ms,
        sites=tuple(site.id for site in fleet.sites),
        places=tuple(place.id for place in fleet.places),
        pools=tuple(p.id for p in fleet.pools),
        projects=trace.projects,
        dropped=dropped,
        said=(*fleet.said, *pools_said, *asked.said, *_classes_said(fleet, trace, rows)),
    )


# --- pools --------------------------------------------------------------------------------------------------------
def _pool_rows(fleet: Fleet, trace: Trace, named: Mapping[str, str]) -> tuple[Ints, list[Assumption]]:
    """For each pool of the trace the row of the fleet's: as `named`, else of the same name, else in turn."""
    rows = {pool.id: row for row, pool in enumerate(fleet.pools)}
    for wanted in named.values():
        if wanted not in rows:
            raise FabriqueError("twin.pool", pool=wanted[:80], pools=", ".join(rows))
    found, said = [], []
    turn = 0
    for name in trace.pools:
        wanted = named.get(name, name)
        if wanted not in rows:
            wanted = fleet.pools[turn % len(rows)].id
            turn += 1
            if len(rows) > 1:
                why = "the fleet has no pool of this name, and nobody said which it stands for: each in turn"
                said.append(Assumption(f"trace.pools.{name}", wanted, why))
        found.append(rows[wanted])
    return np.array(found, np.int64), said


# --- jobs ---------------------------------------------------------------------------------------------------------
def _possible(
    asked: Demand, offered: Options, pool_of: Ints | None, pool: Ints, cohort: Ints
) -> tuple[npt.NDArray[np.bool_], tuple[tuple[str, int], ...]]:
    """Which jobs could start on an empty fleet, and how many could not, by cause."""
    keep = asked.need > 0
    causes = [("no-device", int((~keep).sum())), ("too-large", int((keep & ~asked.fits).sum()))]
    keep &= asked.fits
    profile = offered.profile_of[asked.sort]
    over = keep & (asked.need > offered.most_need[profile])
    causes.append(("over-power", int(over.sum())))
    keep &= ~over
    if pool_of is not None:
        weight = asked.need * offered.least_weight[profile] // PPM
        over = keep & (weight > most_by_pool(pool, cohort)[pool_of])
        causes.append(("over-quota", int(over.sum())))
        keep &= ~over
    return keep, tuple((cause, count) for cause, count in causes if count)


def _jobs(trace: Trace, rules: Rules, asked: Demand, offered: Options, rows: Rows, pool: Ints) -> tuple[Ints, Ints]:
    """Rows of `job` and of `line`."""
    job = np.full((len(rows), t.JOB_COLUMNS), NONE, np.int64)
    for column in (t.JOB_STATUS, t.JOB_PREEMPTIONS, t.JOB_VERDICT, t.JOB_SHORT, t.JOB_FREE, t.JOB_DEFERRED):
        job[:, column] = 0  # AWAY, V_NONE
    submit, priority, project = trace.submit_ms[rows], trace.priority[rows], trace.project[rows]
    slack, tolerance = trace.slack_ms[rows], trace.tolerance_permille[rows]
    job[:, t.JOB_PROFILE] = offered.profile_of[asked.sort[rows]]
    job[:, t.JOB_WALLTIME] = np.maximum(trace.walltime_ms[rows], 1)
    job[:, t.JOB_POOL] = pool
    job[:, t.JOB_PROJECT] = project
    job[:, t.JOB_SUBMIT] = job[:, t.JOB_NOT_BEFORE] = submit
    job[:, t.JOB_LATEST] = np.where(slack >= 0, submit + slack, NONE)
    job[:, t.JOB_PREEMPTIBLE] = trace.preemptible[rows]
    job[:, t.JOB_ELASTIC] = (tolerance > 0) & (rules.watts == "levels")
    grouping = [(pool, False), (priority, True), *([(project, False)] if rules.fair else [])]
    if rules.short_first:
        length = np.frexp(job[:, t.JOB_WALLTIME].astype(float))[1]  # `length_of` each
        grouping.append((length.astype(np.int64), False))
    job[:, t.JOB_LINE], first = distinct(*grouping)
    alike = (job[:, c] for c in (t.JOB_PROFILE, t.JOB_WALLTIME, t.JOB_POOL, t.JOB_PREEMPTIBLE, t.JOB_ELASTIC))
    job[:, t.JOB_SHAPE], _ = distinct(
        (asked.need[rows], False), (priority, False), *((column, False) for column in alike)
    )
    line = np.full((len(first), t.LINE_COLUMNS), NONE, np.int64)
    line[:, t.LINE_POOL], line[:, t.LINE_PRIORITY] = pool[first], priority[first]
    if rules.fair:
        line[:, t.LINE_PROJECT] = project[first]
    return job, line


def _after(trace: Trace, keep: npt.NDArray[np.bool_], rows: Rows) -> Ints:
    """The new row of the job that each depends on; NONE too where that one was left out."""
    after: Ints = trace.after[rows]
    if not len(rows):
        return after
    new = np.cumsum(keep, dtype=np.int64) - 1
    after[(after >= 0) & ~keep[after]] = NONE
    after[after >= 0] = new[after[after >= 0]]
    return after


def _classes_said(fleet: Fleet, trace: Trace, rows: Rows) -> list[Assumption]:
    """What is assumed of the sorts of work that the trace holds, where places tell them apart."""
    if all(set(place.paces) == {work_classes.ANY} for place in fleet.places) or not len(rows):
        return []
    known = work_classes.catalogue()
    names = [trace.work_classes[i] for i in np.unique(trace.work_class[rows])]
    found = dict.fromkeys(name if name in known else work_classes.ANY for name in names)
    said = [
        Assumption(f"work_classes.{name}", f"draws {known[name].draw} of 1000", known[name].why)
        for name in found
        if known[name].status == "assumption"
    ]
    if trace.preemptible[rows].any():
        restart = work_classes.workload().restart
        said.append(Assumption("restart_ms", restart.ms, restart.why))
    return said
