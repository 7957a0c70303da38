"""Reconcile: the hub's books against the accounting, run by run and to the second; and the accounting against itself.

Runs that ended in [since, until) are compared, whole. What is charged, refunded or overrun counts alike: the ledger has
it all under the run's hold.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from django.db.models import Sum

from fabrique.apps.jobs.models import EngineRecord, RecordState, Run
from fabrique.apps.ledger.models import Posting
from fabrique.apps.this_hub import ThisHub
from fabrique.core.job import MILLI
from fabrique.core.reasons import Reason
from fabrique.core.units import ceil_divide
from fabrique.definitions.cluster import Cluster
from fabrique.engines.slurm import ends
from fabrique.engines.slurm.model import Record
from fabrique.engines.slurm.sreport import CORES, DEVICES, HOUR_MS
from fabrique.operate.accounted import told
from fabrique.operate.ingest import Accounting
from fabrique.operate.intake import ProjectOf

SECOND_MS: Final = 1_000
_AT_ONCE: Final = 500
_SPENT: Final = ("hub:overrun", "hub:losses", "hub:frugality-rebate")
Key = tuple[str, str]  # (project, unit)


@dataclass(frozen=True, slots=True)
class Off:
    """A run on which the two differ. `why`: live, unread, unknown (to the accounting) or wrong."""

    key: str
    project: str
    unit: str
    books_ms: int | None
    accounting_ms: int | None
    why: str


@dataclass(slots=True)
class Both:
    """Device- or core-milliseconds of one project in one unit, by both."""

    accounts: set[str] = field(default_factory=set)
    runs: int = 0
    books_ms: int = 0
    accounting_ms: int = 0


@dataclass(frozen=True, slots=True)
class Rolled:
    """Seconds of one account, by the accounting's roll-up and by its jobs, over whole hours."""

    account: str
    resource: str
    rolled_up_s: int
    jobs_s: int


@dataclass(frozen=True, slots=True)
class Reconciled:
    """`aside`: what nobody here can be charged for, by reason; `unread` lines of the accounting."""

    sums: Mapping[Key, Both]
    off: Sequence[Off]
    aside: Mapping[str, int]
    unread: int

    @property
    def agrees(self) -> bool:
        return not self.off and not self.unread


def reconcile(
    here: ThisHub, cluster: Cluster, accounting: Accounting, project_of: ProjectOf, since_ms: int, until_ms: int
) -> Reconciled:
    """Raises what the engine raises."""
    found, unread = accounting.records(since_ms, until_ms)
    ran = [r for r in found if _in(r, since_ms, until_ms)]
    rows = {row.key: row for row in _rows(cluster.engine, [r.key for r in ran])}
    runs = {run.pk: run for run in _runs(cluster.engine, since_ms, until_ms)}
    runs |= {row.run.pk: row.run for row in rows.values() if row.run is not None}
    spent = _spent(runs.values())
    sums: dict[Key, Both] = defaultdict(Both)
    aside: dict[str, int] = defaultdict(int)
    off, met = [], set()
    for r in ran:
        said, project = told(here, cluster, r, r.handle), project_of(cluster.engine, r.account, r.qos)
        if isinstance(said, Reason) or project is None:
            aside[said.code if isinstance(said, Reason) else "quarantine.account"] += 1
            continue
        row = rows.get(r.key)
        run = None if row is None else row.run
        one = sums[project.code, said.unit]
        meant = ceil_divide(said.share_milli * said.elapsed_ms, MILLI)
        booked = None if run is None else spent.get((str(run.hold), said.unit), 0)
        one.accounts.add(r.account)
        one.runs, one.accounting_ms, one.books_ms = (
            one.runs + 1,
            one.accounting_ms + meant,
            one.books_ms + (booked or 0),
        )
        if run is not None:
            met.add(run.pk)
        if booked is None or abs(booked - meant) >= SECOND_MS:
            why = "unread" if row is None else "live" if row.state == RecordState.OPEN else "wrong"
            off.append(Off(r.key, project.code, said.unit, booked, meant, why))
    for pk, run in runs.items():
        booked = spent.get((str(run.hold), run.unit), 0)
        if pk not in met and booked >= SECOND_MS:
            sums[run.job.project.code, run.unit].books_ms += booked
            off.append(Off(run.handle or str(pk), run.job.project.code, run.unit, booked, None, "unknown"))
    return Reconciled(dict(sums), off, dict(aside), len(unread))


def rolled(records: Iterable[Record], sums: Mapping[Key, int], since_ms: int, until_ms: int) -> list[Rolled]:
    """The roll-up of whole hours beside the jobs' own time in them; `sums` by (account, resource).

    Of a job that was suspended, and was not inside as a whole, nobody says when: it counts as if it had not been.
    """
    jobs: dict[Key, int] = defaultdict(int)
    for r in records:
        if r.started_ms is None or not r.nodes:
            continue
        begun = r.submitted_ms if r.is_rest else r.started_ms
        whole = r.ended_ms is not None and since_ms <= begun and r.ended_ms <= until_ms
        inside = r.elapsed_ms if whole else min(r.ended_ms or until_ms, until_ms) - max(begun, since_ms)
        length = max(inside, 0) // SECOND_MS
        jobs[r.account, CORES] += r.given.cores * length
        jobs[r.account, DEVICES] += r.given.devices * length
    keys = sorted({*jobs, *sums})
    return [Rolled(*key, sums.get(key, 0), jobs.get(key, 0)) for key in keys if sums.get(key) or jobs.get(key)]


def whole_hours(since_ms: int, until_ms: int) -> tuple[int, int]:
    """The whole hours inside [since, until): what a roll-up can tell of."""
    return -(-since_ms // HOUR_MS) * HOUR_MS, until_ms // HOUR_MS * HOUR_MS


def _in(r: Record, since_ms: int, until_ms: int) -> bool:
    over = ends.has_ended(r) and r.started_ms is not None and bool(r.nodes)
    return over and since_ms <= (r.ended_ms or 0) < until_ms


def _rows(engine: str, keys: Sequence[str]) -> Iterable[EngineRecord]:
    for i in range(0, len(keys), _AT_ONCE):
        some = EngineRecord.objects.filter(engine=engine, key__in=keys[i : i + _AT_ONCE])
        yield from some.select_related("run__job__project")


def _runs(engine: str, since_ms: int, until_ms: int) -> Iterable[Run]:
    ended = Run.objects.filter(engine=engine, ended_ms__gte=since_ms, ended_ms__lt=until_ms)
    return ended.select_related("job__project").defer("job__script")


def _spent(runs: Iterable[Run]) -> dict[tuple[str, str], int]:
    """(hold, unit) -> what was charged, lost or overrun for it; a refund moves it, and it stays in the sum."""
    holds = [str(run.hold) for run in runs]
    found: dict[tuple[str, str], int] = defaultdict(int)
    for i in range(0, len(holds), _AT_ONCE):
        rows = Posting.objects.filter(ref__in=holds[i : i + _AT_ONCE]).order_by()
        for ref, unit, account, amount in rows.values_list("ref", "unit", "account").annotate(amount=Sum("amount")):
            charged = account.startswith("allocation:") and account.rsplit(":", 1)[1] in ("used", "lost")
            if charged or account in _SPENT or account.endswith(":reclaim-cost"):
                found[ref, unit] += amount
    return found
