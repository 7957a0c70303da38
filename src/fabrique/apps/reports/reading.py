"""Postings as statements read them: by account, up to an entry, in the ledger's order."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from fabrique.apps.jobs.models import Run
from fabrique.apps.ledger.models import Entry, Posting
from fabrique.core.units import Unit

CHUNK: Final = 500  # accounts in one query: far below what either database allows


@dataclass(frozen=True, slots=True)
class Row:
    seq: int
    position: int
    at_ms: int
    account: str
    unit: Unit
    amount: int
    balance: int
    what: str
    ref: str
    detail: str

    @property
    def place(self) -> str:
        return f"{self.seq}/{self.position}"


def closing_seq(head: int, to_ms: int) -> int:
    """The last entry up to `head` written before `to_ms`; 0 when there is none. Instants never step back."""
    found = Entry.objects.filter(seq__lte=head, at_ms__lt=to_ms).order_by("-seq").values_list("seq", flat=True).first()
    return found or 0


def rows_of(accounts: Sequence[str], last: int) -> list[Row]:
    """Every posting of `accounts` in entries up to `last`: a balance is recomputed from the account's first one."""
    rows: list[Row] = []
    for i in range(0, len(accounts), CHUNK):
        found = Posting.objects.filter(account__in=accounts[i : i + CHUNK], entry_id__lte=last)
        columns = found.values_list(
            "entry_id",
            "position",
            "entry__at_ms",
            "account",
            "unit",
            "amount",
            "balance",
            "what",
            "ref",
            "detail",
        )
        rows += [Row(s, p, t, a, Unit(u), v, b, w, r, d) for s, p, t, a, u, v, b, w, r, d in columns]
    return sorted(rows, key=lambda r: (r.seq, r.position))


def facts_of(rows: Iterable[Row]) -> dict[str, object]:
    """What the postings' details say, put together; the first posting to name a fact is heard."""
    facts: dict[str, object] = {}
    for detail in dict.fromkeys(row.detail for row in rows):
        said = json.loads(detail)
        if isinstance(said, dict):
            facts = {**said, **facts}
    return facts


def jobs_of(refs: Iterable[str]) -> dict[str, str]:
    """What people call the job whose run has the hold `ref`, for display: on a cluster by its name there."""
    holds = [ref for ref in dict.fromkeys(refs) if _is_uuid(ref)]
    found: dict[str, str] = {}
    for i in range(0, len(holds), CHUNK):
        rows = Run.objects.filter(hold__in=holds[i : i + CHUNK]).values_list("hold", "job_id", "job__outside_id")
        found.update((str(hold), there or str(job)) for hold, job, there in rows)
    return found


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
