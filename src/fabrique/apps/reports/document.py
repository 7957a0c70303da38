"""The statement as JSON that a stranger can recompute: numbers, postings with proofs, headers, a checkpoint.

All numbers are text, so that no reader rounds one. The format is stated in docs/ledger.md. Its size is its limit:
about 300 bytes for each header from the first relevant entry to the head, and about 500 for each posting plus 70 for
each level of its entry's tree; a pool of a hundred thousand postings makes a file of some 100 MB.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from fabrique.apps.ledger.models import Entry, Posting
from fabrique.apps.reports import tree
from fabrique.apps.reports.statement import AllocationPart, Figure, Statement, StatementLine, UnitAccount
from fabrique.core import ledger
from fabrique.language.marks import msg

SCHEMA: Final = "fabrique-statement/1"
CHUNK: Final = 500  # entries in one query

# Said in the file (in English) and, translated, on the page and on paper.
UNPROVEN: Final = (
    msg("Only the accounts shown are recomputed; the whole ledger is verified where it lies."),
    msg(
        "Each account is shown without a gap from its first posting; that no later one was left out at its end shows"
        " in the next statement, whose numbers go on from here."
    ),
    msg("Without an earlier checkpoint from outside, who holds the hub's key could have rewritten the whole chain."),
    msg("Which project an allocation belongs to, and the dates of an allocation, are the hub's word."),
    msg("The ledger proves what was written and when, not that a meter or a person told the truth."),
)


def as_json(statement: Statement) -> dict[str, Any]:
    """The whole document; reads the headers and proofs from the tables."""
    content = content_of(statement)
    return {**content, "fingerprint": _hash(content), "ledger": _ledger(statement)}


def fingerprint(statement: Statement) -> str:
    """SHA-256 of the document's content: the same on paper, on the page and in the file."""
    return _hash(content_of(statement))


def content_of(statement: Statement) -> dict[str, Any]:
    """All but the proofs: what is signed for by the numbers themselves, and what `fingerprint` covers."""
    return {
        "schema": SCHEMA,
        "hub": statement.hub,
        "kind": statement.kind,
        "id": statement.id,
        "from_ms": str(statement.from_ms),
        "to_ms": str(statement.to_ms),
        "made_ms": str(statement.made_ms),
        "closing_seq": str(statement.closing_seq),
        "allocations": [_allocation(part) for part in statement.allocations],
        "pool": [_unit(account) for account in statement.pool],
        "totals": {what: _figures(by_unit.values()) for what, by_unit in statement.totals.items()},
        "assumptions": [a.as_json() for a in statement.assumptions],
        "unproven": list(UNPROVEN),
        "checkpoint": dict(statement.checkpoint),
    }


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(ledger.canonical(content).encode()).hexdigest()


def _allocation(part: AllocationPart) -> dict[str, Any]:
    return {
        "id": part.id,
        "project": part.project,
        "pool": part.pool,
        "mode": part.mode,
        "starts_ms": str(part.starts_ms),
        "ends_ms": str(part.ends_ms),
        "units": [_unit(account) for account in part.units],
        "lines": [_line(line) for line in part.lines],
    }


def _unit(account: UnitAccount) -> dict[str, Any]:
    return {
        "unit": account.unit,
        "closing": {part: _figure(f) for part, f in account.closing.items()},
        "movements": {part: _figure(f) for part, f in account.movements.items()},
    }


def _line(line: StatementLine) -> dict[str, Any]:
    return {
        "ref": line.ref,
        "what": line.what,
        "at_ms": str(line.at_ms),
        "amounts": _figures(line.amounts),
        "facts": json.loads(ledger.canonical(line.facts), parse_int=str, parse_float=str),
    }


def _figures(figures: Collection[Figure]) -> dict[str, Any]:
    return {f.unit: _figure(f) for f in figures}


def _figure(figure: Figure) -> dict[str, Any]:
    return {"value": str(figure.value), "postings": list(figure.trace)}


# --- the proofs -------------------------------------------------------------------------------------------------


def _ledger(statement: Statement) -> dict[str, Any]:
    first = statement.places[0][0] if statement.places else max(statement.closing_seq, 1)
    wanted: dict[int, list[int]] = {
        seq: [position for _, position in places] for seq, places in groupby(statement.places, key=lambda p: p[0])
    }
    return {
        "headers": list(_headers(first, int(statement.checkpoint["seq"]))),
        "postings": list(_postings(wanted)),
    }


def _headers(first: int, last: int) -> Iterator[dict[str, str]]:
    names = ("seq", "at_ms", "kind", "cause", "root", "count", "previous")
    rows = Entry.objects.filter(seq__gte=first, seq__lte=last).order_by("seq").values_list(*names)
    for row in rows.iterator(chunk_size=5_000):
        yield dict(zip(names, map(str, row), strict=True))


def _postings(wanted: Mapping[int, Sequence[int]]) -> Iterator[dict[str, Any]]:
    """The wanted positions of each entry, with the siblings that lead from their leaf to the entry's root."""
    names = ("account", "unit", "amount", "n", "balance", "what", "ref", "detail")
    seqs = sorted(wanted)
    for i in range(0, len(seqs), CHUNK):
        rows = Posting.objects.filter(entry_id__in=seqs[i : i + CHUNK]).order_by("entry_id", "position")
        table = rows.values_list("entry_id", *names).iterator(chunk_size=5_000)
        for seq, group in groupby(table, key=lambda row: row[0]):
            cells = [row[1:] for row in group]
            levels = tree.levels([ledger.leaf_hash(ledger.Posting(*row)) for row in cells])
            for position in wanted[seq]:
                shown = dict(zip(names, map(str, cells[position]), strict=True))
                yield {"entry": str(seq), "position": str(position), **shown, "proof": tree.proof(levels, position)}
