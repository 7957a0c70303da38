"""Why a job waits, between when and when it starts, and what would start it sooner. Pure: nothing given is changed.

The latest start is the one that the decision reserves when every job keeps its place and runs use all their walltime;
the earliest, when they end at the fraction of it that is typical here: a forecast, not a promise. A change is said only
after the decision was run on the changed job.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from fabrique.core.admission.decide import step
from fabrique.core.admission.plan import Plan
from fabrique.core.admission.rules import Rules
from fabrique.core.admission.state import History, JobRow, Rows
from fabrique.core.reasons import Reason, reason

Kind = Literal["walltime", "devices", "cores", "kind", "power"]
MOST_RESERVED: Final = 1_000  # jobs ahead whose starts are worked out; behind more, a start is not foretold
MINUTE_MS: Final = 60_000
_HALVINGS: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """The job as it could be asked for instead. `before` and `after` are what changes, in the unit of its kind: ms,
    thousandths of devices or cores, the kinds accepted, W a device. `extra_ms`: how much longer it may take;
    `energy_permille`: of the energy as it is asked now. None: not known.
    """

    kind: Kind
    before: int | str
    after: int | str
    row: JobRow
    extra_ms: int | None = 0
    energy_permille: int | None = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change that was tried: with it the job starts at `starts_ms` at the latest, at once where that is now."""

    kind: Kind
    before: int | str
    after: int | str
    starts_ms: int
    extra_ms: int | None
    energy_permille: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """`reason`: the binding constraint, None where it starts now. `earliest_ms` and `latest_ms` bound its start, None
    where no start is foretold. `changes`, soonest first, at most one of a kind; empty: nothing we tried helps.
    `deferral`: why a job that may be put off is not, None for any other.
    """

    reason: Reason | None
    earliest_ms: int | None
    latest_ms: int | None
    changes: tuple[Change, ...]
    deferral: Reason | None = None


def explain(
    rows: Rows,
    rules: Rules,
    history: History,
    job: str,
    variants: Sequence[Variant],
    now_ms: int,
    *,
    typical_permille: int | None,
) -> Explained:
    """`typical_permille`: the fraction of their walltime that jobs here run; None: not known, and the earliest start
    is now. Raises KeyError where `job` does not wait.
    """
    if job not in {row.id for row in rows.jobs}:
        raise KeyError(job)
    deferral = not_worth(rows, rules, history, job, now_ms)
    why = next((w.reason for w in step(rows, rules, now_ms, history).waits if w.job == job), None)
    if why is None:
        return Explained(reason=None, earliest_ms=now_ms, latest_ms=now_ms, changes=(), deferral=deferral)
    latest = starts_by(rows, rules, history, job, now_ms)
    earliest = None
    if latest is not None:
        hurried = rows if typical_permille is None else as_typical(rows, job, typical_permille, now_ms)
        soonest = now_ms if typical_permille is None else starts_by(hurried, rules, history, job, now_ms)
        earliest = latest if soonest is None else min(soonest, latest)
    found = _tried(rows, rules, history, variants, now_ms)
    sooner = [change for change in found if latest is None or change.starts_ms < latest]
    return Explained(
        reason=why, earliest_ms=earliest, latest_ms=latest, changes=tuple(_best(sooner)), deferral=deferral
    )


def not_worth(rows: Rows, rules: Rules, history: History, job: str, now_ms: int) -> Reason | None:
    """What waiting would save a job that may be put off, where that is less than the rules ask; None otherwise."""
    row = next(row for row in rows.jobs if row.id == job)
    if not rules.defer or row.latest_ms is None or job in history.deferred:
        return None
    told = {}
    for floor in (rules.floor_permille, 0):
        plan = step(rows, replace(rules, floor_permille=floor), now_ms, history)
        told[floor] = next((w.reason for w in plan.waits if w.job == job and w.reason.code == "wait.deferred"), None)
    worth, any_saving = told[rules.floor_permille], told[0]
    if worth is not None or any_saving is None:
        return None
    saved = any_saving.params["saved_permille"]
    return reason("wait.not-worth-deferring", saved_permille=saved, floor_permille=rules.floor_permille)


def starts_by(rows: Rows, rules: Rules, history: History, job: str, now_ms: int) -> int | None:
    """When `job` starts at the latest if nothing new goes before it; None where no start can be worked out.

    Every job ahead of it has its start reserved, however far away, so that none is made late by it.
    """
    ahead = min(max(len(rows.jobs), rules.reservations), MOST_RESERVED)
    plan = step(rows, replace(rules, reservations=ahead, drain_permille=0), now_ms, history)
    return _start_in(plan, job)


def _start_in(plan: Plan, job: str) -> int | None:
    if any(start.job == job for start in plan.starts):
        return plan.at_ms
    return next((wait.by_ms for wait in plan.waits if wait.job == job), None)


def as_typical(rows: Rows, job: str, permille: int, now_ms: int) -> Rows:
    """The rows if runs and the other jobs took that fraction of their walltime."""
    runs = [replace(r, ends_ms=max(r.started_ms + r.walltime_ms * permille // 1000, now_ms + 1)) for r in rows.runs]
    jobs = [r if r.id == job else replace(r, walltime_ms=max(r.walltime_ms * permille // 1000, 1)) for r in rows.jobs]
    return replace(rows, runs=tuple(runs), jobs=tuple(jobs))


def shorter(row: JobRow, plan: Plan, rows: Rows, now_ms: int) -> tuple[int, ...]:
    """Walltimes worth trying, longest first: up to the next instant that is spoken for, and halves; whole minutes."""
    instants = [wait.by_ms for wait in plan.waits if wait.by_ms is not None and wait.job != row.id]
    instants += [block.from_ms for block in rows.blocks]
    instants += [cap.from_ms for site in rows.sites for cap in site.caps]
    gaps = [at - now_ms for at in instants if now_ms < at < now_ms + row.walltime_ms]
    halves = [row.walltime_ms >> n for n in range(1, _HALVINGS + 1)]
    wanted = {ms // MINUTE_MS * MINUTE_MS for ms in [*gaps, *halves]}
    return tuple(sorted((ms for ms in wanted if MINUTE_MS <= ms < row.walltime_ms), reverse=True))


def with_row(rows: Rows, row: JobRow) -> Rows:
    """The rows with one job asked for otherwise."""
    return replace(rows, jobs=tuple(row if other.id == row.id else other for other in rows.jobs))


def _tried(rows: Rows, rules: Rules, history: History, variants: Sequence[Variant], now_ms: int) -> Iterable[Change]:
    """Every variant the decision was run on, in their order; of a kind, none after one that starts at once."""
    done: set[Kind] = set()
    for variant in variants:
        if variant.kind in done:
            continue
        changed = with_row(rows, variant.row)
        if _start_in(step(changed, rules, now_ms, history), variant.row.id) == now_ms:
            at_ms: int | None = now_ms
            done.add(variant.kind)
        else:
            at_ms = starts_by(changed, rules, history, variant.row.id, now_ms)
        if at_ms is not None:
            yield Change(
                kind=variant.kind,
                before=variant.before,
                after=variant.after,
                starts_ms=at_ms,
                extra_ms=variant.extra_ms,
                energy_permille=variant.energy_permille,
            )


def _best(changes: Sequence[Change]) -> list[Change]:
    """Of each kind the soonest, the first tried where several are; soonest first."""
    best: dict[Kind, Change] = {}
    for change in changes:
        if change.kind not in best or change.starts_ms < best[change.kind].starts_ms:
            best[change.kind] = change
    return sorted(best.values(), key=lambda change: change.starts_ms)
