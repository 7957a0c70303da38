"""Statements of a project or a pool, assembled from ledger postings; names are for display and come last.

Every number is a `Figure`: a sum of postings, with their places. `document` makes the JSON anyone can recompute,
`sheet` the words and rows that the page and the PDF show. What a posting's `detail` may say is in docs/ledger.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fabrique.apps.access.models import Allocation, Project
from fabrique.apps.ledger import services
from fabrique.apps.reports.assumptions import Assumption, assumptions_of
from fabrique.apps.reports.reading import Row, closing_seq, facts_of, jobs_of, rows_of
from fabrique.apps.this_hub import this_hub
from fabrique.core.booking import BUCKETS, account, pool_account
from fabrique.core.errors import FabriqueError
from fabrique.core.units import Unit, is_time

POOL_PARTS = ("unallocated", "awarded")
CHARGED = ("used", "lost")  # the buckets whose postings make the lines


@dataclass(frozen=True, slots=True)
class Figure:
    """`value` base units of `unit`: the sum of the postings at `trace`, each as "entry/position".

    `granted` is shown as a positive number although its account is a contra account.
    """

    unit: Unit
    value: int
    trace: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UnitAccount:
    """One unit's parts: where each stands at the end of the period, and how it moved in it.

    `history` is (instant, used so far) at each charge in the period, for units of time.
    """

    unit: Unit
    closing: Mapping[str, Figure]
    movements: Mapping[str, Figure]
    history: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class StatementLine:
    """What one act (debit, refund, frugality-rebate …) charged or gave back for one `ref`, the run's hold.

    `job` is the number people know it by, for display; empty where no run has that hold.
    """

    ref: str
    what: str
    at_ms: int
    amounts: tuple[Figure, ...]
    facts: Mapping[str, object]
    job: str = ""

    def amount(self, unit: Unit) -> int | None:
        return next((f.value for f in self.amounts if f.unit == unit), None)


@dataclass(frozen=True, slots=True)
class AllocationPart:
    id: str
    project: str  # its code
    pool: str
    mode: str
    starts_ms: int
    ends_ms: int
    units: tuple[UnitAccount, ...]
    lines: tuple[StatementLine, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """Of `kind` "project" or "pool", for [from_ms, to_ms). `totals` is what -> unit -> Figure over all lines.

    `title` is a name for display and stays out of the JSON: names can be erased, an anchored file cannot.
    """

    hub: str
    kind: str
    id: str
    title: str
    from_ms: int
    to_ms: int
    made_ms: int
    allocations: tuple[AllocationPart, ...]
    pool: tuple[UnitAccount, ...]
    totals: Mapping[str, Mapping[Unit, Figure]]
    assumptions: tuple[Assumption, ...]
    checkpoint: Mapping[str, str]
    closing_seq: int
    places: tuple[tuple[int, int], ...] = field(repr=False)  # (entry, position) of every posting it stands on

    @property
    def is_provisional(self) -> bool:
        """The period had not ended when the statement was made."""
        return self.to_ms > self.made_ms


def project_statement(project: Project, from_ms: int, to_ms: int, *, now: int, hub: str = "") -> Statement:
    """Of all allocations of `project`, for [from_ms, to_ms); `hub` is this home's unless given.

    Raises `request.broken` for a period that is none, `ledger.broken`, `home.missing`.
    """
    allocations = project.allocations.select_related("project").order_by("starts_ms", "id")
    return _statement("project", project.code, project.title, list(allocations), from_ms, to_ms, now, hub)


def pool_statement(pool: str, from_ms: int, to_ms: int, *, now: int, hub: str = "") -> Statement:
    """Of `pool` and all its allocations, otherwise as `project_statement`."""
    allocations = Allocation.objects.filter(pool=pool).select_related("project").order_by("starts_ms", "id")
    return _statement("pool", pool, pool, list(allocations), from_ms, to_ms, now, hub)


def _statement(
    kind: str, key: str, title: str, found: Sequence[Allocation], from_ms: int, to_ms: int, now: int, hub: str
) -> Statement:
    if not 0 <= from_ms < to_ms < 2**63:
        raise FabriqueError("request.broken", field="period")
    hub = hub or this_hub().hub.id
    checkpoint = services.checkpoint(hub, now=now)
    last = closing_seq(checkpoint.seq, to_ms)
    accounts = [account(str(a.id), bucket) for a in found for bucket in BUCKETS]
    accounts += [pool_account(key, part) for part in POOL_PARTS] if kind == "pool" else []
    rows = rows_of(accounts, last)
    parts = tuple(_allocation(a, rows, from_ms) for a in found)
    return Statement(
        hub=hub,
        kind=kind,
        id=key,
        title=title,
        from_ms=from_ms,
        to_ms=to_ms,
        made_ms=now,
        allocations=parts,
        pool=_units(rows, {pool_account(key, p): p for p in POOL_PARTS}, from_ms) if kind == "pool" else (),
        totals=_totals(line for part in parts for line in part.lines),
        assumptions=assumptions_of(line.facts for part in parts for line in part.lines),
        checkpoint=services.checkpoint_json(checkpoint),
        closing_seq=last,
        places=tuple((r.seq, r.position) for r in rows),
    )


def _allocation(allocation: Allocation, rows: Sequence[Row], from_ms: int) -> AllocationPart:
    names = {account(str(allocation.id), bucket): bucket for bucket in BUCKETS}
    mine = [r for r in rows if r.account in names]
    charged = [r for r in mine if names[r.account] in CHARGED and r.at_ms >= from_ms]
    return AllocationPart(
        id=str(allocation.id),
        project=allocation.project.code,
        pool=allocation.pool,
        mode=allocation.mode,
        starts_ms=allocation.starts_ms,
        ends_ms=allocation.ends_ms,
        units=_units(mine, names, from_ms),
        lines=_lines(charged),
    )


def _units(rows: Sequence[Row], names: Mapping[str, str], from_ms: int) -> tuple[UnitAccount, ...]:
    """One account per unit that ever moved in the accounts `names` (account -> part), ordered by unit."""
    by_key: dict[tuple[Unit, str], list[Row]] = {}
    for row in rows:
        if row.account in names:
            by_key.setdefault((row.unit, names[row.account]), []).append(row)
    parts = list(dict.fromkeys(names.values()))
    return tuple(
        UnitAccount(
            unit,
            {p: _figure(unit, by_key.get((unit, p), ()), p) for p in parts},
            {p: _figure(unit, [r for r in by_key.get((unit, p), ()) if r.at_ms >= from_ms], p) for p in parts},
            _history(by_key.get((unit, "used"), ()), from_ms) if is_time(unit) else (),
        )
        for unit in sorted({unit for unit, _ in by_key})
    )


def _figure(unit: Unit, rows: Iterable[Row], part: str = "") -> Figure:
    found = tuple(rows)
    sign = -1 if part == "granted" else 1
    return Figure(unit, sign * sum(r.amount for r in found), tuple(r.place for r in found))


def _history(rows: Iterable[Row], from_ms: int) -> tuple[tuple[int, int], ...]:
    return tuple((r.at_ms, r.balance) for r in rows if r.at_ms >= from_ms)


def _lines(rows: Sequence[Row]) -> tuple[StatementLine, ...]:
    """One line per reference and act, in the order of the ledger."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.ref, row.what), []).append(row)
    jobs = jobs_of(ref for ref, _ in groups)
    return tuple(
        StatementLine(
            ref=ref,
            what=what,
            at_ms=group[0].at_ms,
            amounts=tuple(_figure(u, [r for r in group if r.unit == u]) for u in sorted({r.unit for r in group})),
            facts=facts_of(group),
            job=jobs.get(ref, ""),
        )
        for (ref, what), group in groups.items()
    )


def _totals(lines: Iterable[StatementLine]) -> dict[str, dict[Unit, Figure]]:
    totals: dict[str, dict[Unit, Figure]] = {}
    for line in lines:
        by_unit = totals.setdefault(line.what, {})
        for figure in line.amounts:
            old = by_unit.get(figure.unit, Figure(figure.unit, 0))
            by_unit[figure.unit] = Figure(figure.unit, old.value + figure.value, old.trace + figure.trace)
    return {what: dict(sorted(by_unit.items())) for what, by_unit in sorted(totals.items())}
