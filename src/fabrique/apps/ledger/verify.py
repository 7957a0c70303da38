"""Recompute the whole ledger from its tables, and name the first divergence.

`walk` goes along the chain, `anchors` reads checkpoints. `fabrique.verifier.fabrique_verify` does the same without
this program; the two share no line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from django.db import DatabaseError, connection, transaction

from fabrique.apps.ledger.anchors import Anchor, checkpoints_in, outside_anchor
from fabrique.apps.ledger.models import AccountBalance, Checkpoint, Entry, Hold, Posting
from fabrique.apps.ledger.walk import SHOWN, Diverged, Divergence, Walk, shown, table_checkpoints
from fabrique.core.errors import FabriqueError
from fabrique.language.marks import msg

__all__ = ["UNPROVEN", "Divergence", "Report", "checkpoints_in", "verify"]

MODELS: Final = (Entry, Posting, AccountBalance, Hold, Checkpoint)

# What no recomputation can prove; the faces translate these sentences and fill them from `Report.params`.
UNPROVEN: Final[Mapping[str, str]] = {
    "no-outside-checkpoint": msg(
        "No checkpoint from outside was given: who holds the hub's key could have rewritten and"
        " signed the whole chain anew."
    ),
    "after-outside-checkpoint": msg(
        "Entries {after} to {head} came after the last checkpoint from outside: they rest on the hub's own key."
    ),
    "after-last-checkpoint": msg(
        "Entries {unsigned} to {head} came after the last signed checkpoint: they rest on the database alone."
    ),
    "several-keys": msg("The checkpoints are signed with several keys: ask the hub when and why its key changed."),
    "beside-the-chain": msg(
        "Rates, the policies of budgets and what a hold froze are kept beside the chain, not in it."
    ),
    "true-causes": msg("The ledger proves what was written and when, not that a meter or a person told the truth."),
}


@dataclass(frozen=True, slots=True)
class Report:
    """`head` is the last entry's hash. `unproven` are keys of `UNPROVEN`, whose sentences `params` fills."""

    ok: bool
    entries: int
    postings: int
    head: str
    first_divergence: Divergence | None
    unproven: list[str]
    checkpoints_checked: int
    keys: list[str]
    params: dict[str, int]

    def as_json(self) -> dict[str, object]:
        return {
            "ok": self.ok,
            "entries": str(self.entries),
            "postings": str(self.postings),
            "head": self.head,
            "first_divergence": self.first_divergence.as_json() if self.first_divergence else None,
            "unproven": [UNPROVEN[code].format(**self.params) for code in self.unproven],
            "checkpoints_checked": self.checkpoints_checked,
            "keys": self.keys,
        }


def verify(checkpoints: Iterable[Mapping[str, object]] = ()) -> Report:
    """Recompute everything; `checkpoints` are earlier ones from outside (`services.checkpoint_json`).

    Raises `ledger.broken` when it cannot run (a table is missing, the database does not answer), and
    `ledger.checkpoint-broken` when a given checkpoint is none.
    """
    outside = [outside_anchor(c) for c in checkpoints]
    with _snapshot():
        _require_tables()
        walk = Walk()
        try:
            _verify(walk, outside)
        except Diverged as found:
            return _report(walk, outside, found.divergence)
        except (DatabaseError, ValueError, TypeError) as error:
            return _report(walk, outside, _unreadable(walk, error))
    return _report(walk, outside, None)


def _verify(walk: Walk, outside: Sequence[Anchor]) -> None:
    inside = list(table_checkpoints())
    walk.expect(inside, outside)
    walk.expect_holds()
    walk.chain()
    walk.leftover_anchors()
    walk.compare_balances()
    walk.compare_holds()


def _unreadable(walk: Walk, error: Exception) -> Divergence:
    """A cell that the database's reader refuses; anything else the database says means we cannot run."""
    if isinstance(error, DatabaseError) and "decode" not in str(error):
        raise FabriqueError("ledger.broken", why=str(error)[:SHOWN]) from None
    return Divergence(walk.seq + 1, "a cell", "readable", shown(f"{type(error).__name__}: {error}"))


def _require_tables() -> None:
    try:
        there = set(connection.introspection.table_names())
    except DatabaseError as error:
        raise FabriqueError("ledger.broken", why=str(error)[:SHOWN]) from None
    for model in MODELS:
        if model._meta.db_table not in there:
            raise FabriqueError("ledger.broken", why=f"the table {model._meta.db_table} is missing")


@contextmanager
def _snapshot() -> Iterator[None]:
    """One state of the database for every query, without holding up the writer."""
    if connection.in_atomic_block:
        yield
    elif connection.vendor == "sqlite":  # Django's own transactions are immediate here: they would lock
        with connection.cursor() as cursor:
            cursor.execute("BEGIN DEFERRED")
            try:
                yield
            finally:
                cursor.execute("ROLLBACK")
    else:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield


def _report(walk: Walk, outside: Sequence[Anchor], divergence: Divergence | None) -> Report:
    after = max((a.seq for a in walk.checked if a.outside), default=0)
    signed = max((a.seq for a in walk.checked), default=0)
    keys = sorted({a.public_key for a in (*walk.checked, *outside)})
    said = {
        "no-outside-checkpoint": not outside,
        "after-outside-checkpoint": bool(outside) and after < walk.seq,
        "after-last-checkpoint": signed < walk.seq,
        "several-keys": len(keys) > 1,
        "beside-the-chain": True,
        "true-causes": True,
    }
    return Report(
        ok=divergence is None,
        entries=walk.seq,
        postings=walk.postings,
        head=walk.head,
        first_divergence=divergence,
        unproven=[code for code in UNPROVEN if said[code]],
        checkpoints_checked=len(walk.checked),
        keys=keys,
        params={"head": walk.seq, "after": after + 1, "unsigned": signed + 1},
    )
