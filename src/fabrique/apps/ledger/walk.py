"""One walk along the chain, in order: every number recomputed, the first contradiction raised.

Memory grows with accounts and holds, never with postings. Nothing in a table is believed: SQLite keeps text in a
column of integers, and who holds the file may drop any constraint.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from django.db.models import Model

from fabrique.apps.ledger.anchors import Anchor
from fabrique.apps.ledger.models import AccountBalance, Checkpoint, Entry, Hold, Posting
from fabrique.core import ledger

CHUNK: Final = 5_000
SHOWN: Final = 200  # characters of a foreign value that a divergence cites


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where the tables first contradict themselves. `seq` and `position` are None where no entry is concerned.

    `what` is the table's column or the identity that fails, as `ledger_posting.balance`.
    """

    seq: int | None
    what: str
    expected: str
    found: str
    position: int | None = None
    place: str = ""

    @property
    def detail(self) -> str:
        where = [] if self.seq is None else [f"entry {self.seq}"]
        where += [] if self.position is None else [f"posting {self.position}"]
        where += [self.place] if self.place else []
        start = f"{', '.join(where)}: " if where else ""
        return f"{start}{self.what} should be {self.expected}, is {self.found}"

    def as_json(self) -> dict[str, object]:
        return {
            "seq": None if self.seq is None else str(self.seq),
            "position": self.position,
            "what": self.what,
            "place": self.place,
            "expected": self.expected,
            "found": self.found,
            "detail": self.detail,
        }


class Diverged(Exception):  # noqa: N818  # it carries a finding, it is no error of ours
    def __init__(self, divergence: Divergence) -> None:
        super().__init__(divergence.detail)
        self.divergence = divergence


def diverge(
    seq: int | None, what: str, expected: object, found: object, position: int | None = None, place: str = ""
) -> NoReturn:
    raise Diverged(Divergence(seq, what, str(expected)[:SHOWN], shown(found), position, place[:SHOWN]))


def shown(value: object) -> str:
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text[:SHOWN]


# --- the walk ---------------------------------------------------------------------------------------------------

_ENTRY: Final = ("seq", "at_ms", "kind", "cause", "root", "count", "previous", "hash")
_ENTRY_TYPES: Final = (int, int, str, str, str, int, str, str)
_POSTING: Final = ("entry_id", "position", "account", "unit", "amount", "n", "balance", "what", "ref", "detail")
_POSTING_TYPES: Final = (int, int, str, str, int, int, int, str, str, str)


@dataclass(slots=True)
class _Account:
    allocation: str
    is_held: bool
    value: int = 0
    n: int = 0


@dataclass(slots=True)
class _HoldState:
    allocation: str
    opened: int
    settled: int | None
    amounts: dict[str, int]
    posted: dict[str, int] = field(default_factory=dict)
    ended: bool = False


@dataclass(slots=True)
class Walk:
    seq: int = 0
    postings: int = 0
    head: str = ledger.FIRST
    at_ms: int = 0
    accounts: dict[tuple[str, str], _Account] = field(default_factory=dict)
    holds: dict[str, _HoldState] = field(default_factory=dict)
    anchors: dict[int, list[Anchor]] = field(default_factory=dict)
    checked: list[Anchor] = field(default_factory=list)

    def expect(self, inside: Iterable[Anchor], outside: Iterable[Anchor]) -> None:
        for anchor in (*outside, *inside):
            self.anchors.setdefault(anchor.seq, []).append(anchor)

    def expect_holds(self) -> None:
        for row in _rows(Hold, ("id", "allocation", "amounts", "opened_id", "settled_id"), "id"):
            key, allocation, amounts, opened, settled = row
            if type(opened) is not int or type(settled) not in (int, type(None)) or not isinstance(amounts, dict):
                diverge(None, "ledger_hold", "entries and amounts", (opened, settled, amounts), place=f"hold {key}")
            self.holds[str(key)] = _HoldState(allocation, opened, settled, {u: int(v) for u, v in amounts.items()})

    def chain(self) -> None:
        postings = _rows(Posting, _POSTING, "entry_id", "position")
        current = next(postings, None)
        for row in _rows(Entry, _ENTRY, "seq"):
            self._header(row)
            leaves: list[str] = []
            sums: dict[str, int] = {}
            within: dict[tuple[str, str], int] = {}
            while current is not None and current[0] == row[0]:
                leaves.append(self._posting(current, len(leaves), sums, within))
                current = next(postings, None)
            if current is not None and (type(current[0]) is not int or current[0] < row[0]):
                diverge(row[0], "ledger_posting.entry_id", "an entry of the chain", current[0])
            self._close(row, leaves, sums, within)
        if current is not None:
            diverge(self.seq + 1, "ledger_posting.entry_id", "an entry of the chain", current[0])

    def _header(self, row: Sequence[Any]) -> None:
        expected = self.seq + 1
        if type(row[0]) is not int or row[0] != expected:
            diverge(expected, "ledger_entry.seq", expected, row[0])
        _check_types(expected, "ledger_entry", _ENTRY, _ENTRY_TYPES, row)
        if row[6] != self.head:
            diverge(expected, "ledger_entry.previous", self.head, row[6])
        if row[1] < self.at_ms:
            diverge(expected, "ledger_entry.at_ms", f"{self.at_ms} or later", row[1])

    def _posting(self, row: Sequence[Any], index: int, sums: dict[str, int], within: dict[tuple[str, str], int]) -> str:
        seq, position, account, unit, amount, n, balance, what, ref, detail = row
        _check_types(seq, "ledger_posting", _POSTING, _POSTING_TYPES, row, index)
        if position != index:
            diverge(seq, "ledger_posting.position", index, position, index)
        state = self.accounts.get((account, unit))
        if state is None:
            state = self.accounts[account, unit] = _account(account)
        state.n += 1
        state.value += amount
        if n != state.n:
            diverge(seq, "ledger_posting.n", state.n, n, index, f"{account} in {unit}")
        if balance != state.value:
            diverge(seq, "ledger_posting.balance", state.value, balance, index, f"{account} in {unit}")
        sums[unit] = sums.get(unit, 0) + amount
        if state.allocation:
            within[state.allocation, unit] = within.get((state.allocation, unit), 0) + amount
            if state.is_held and ref in self.holds:
                self._held(self.holds[ref], seq, state.allocation, unit, amount, what)
        self.postings += 1
        return ledger.leaf_hash(ledger.Posting(account, unit, amount, n, balance, what, ref, detail))

    def _held(self, hold: _HoldState, seq: int, allocation: str, unit: str, amount: int, what: str) -> None:
        if what == "hold" and seq == hold.opened and allocation == hold.allocation:
            hold.posted[unit] = hold.posted.get(unit, 0) + amount
        elif seq == hold.settled and amount <= 0:
            hold.ended = True

    def _close(
        self, row: Sequence[Any], leaves: list[str], sums: dict[str, int], within: dict[tuple[str, str], int]
    ) -> None:
        seq, at_ms, kind, cause, root, count, previous, found = row
        if count != len(leaves):
            diverge(seq, "ledger_entry.count", len(leaves), count)
        if root != (expected := ledger.merkle_root(leaves)):
            diverge(seq, "ledger_entry.root", expected, root)
        header = ledger.Header(seq, at_ms, kind, cause, root, count, previous)
        if found != (expected := ledger.entry_hash(header)):
            diverge(seq, "ledger_entry.hash", expected, found)
        for unit, total in sums.items():
            if total:
                diverge(seq, "the sum of the entry", 0, total, place=unit)
        for (allocation, unit), total in within.items():
            if total:
                diverge(seq, "granted less its six parts", 0, total, place=f"allocation {allocation} in {unit}")
        self.seq, self.head, self.at_ms = seq, found, at_ms
        for anchor in self.anchors.pop(seq, ()):
            self._anchor(anchor)

    def _anchor(self, anchor: Anchor) -> None:
        if anchor.entry_hash != self.head:
            what = "the entry's hash" if anchor.outside else "ledger_checkpoint.entry_hash"
            expected, found = (anchor.entry_hash, self.head) if anchor.outside else (self.head, anchor.entry_hash)
            diverge(anchor.seq, what, expected, found, place=anchor.table)
        if not anchor.is_signed():
            diverge(anchor.seq, f"{anchor.table}.signature", "valid", "invalid")
        self.checked.append(anchor)

    def leftover_anchors(self) -> None:
        for seq, anchors in sorted(self.anchors.items()):
            diverge(seq, "the chain's last entry", f"{seq} or later", self.seq, place=anchors[0].table)

    def compare_balances(self) -> None:
        """Materialised balances against the recomputed ones, both ways."""
        missing = set(self.accounts)
        for account, unit, value, n in _rows(AccountBalance, ("account", "unit", "value", "n"), "account", "unit"):
            state = self.accounts.get((account, unit))
            missing.discard((account, unit))
            expected = (state.value, state.n) if state else None
            for name, index, cell in (("value", 0, value), ("n", 1, n)):
                wanted = expected[index] if expected else "no such row"
                if type(cell) is not int or cell != wanted:
                    diverge(None, f"ledger_accountbalance.{name}", wanted, cell, place=f"{account} in {unit}")
        for account, unit in sorted(missing):
            diverge(None, "ledger_accountbalance", "a row", None, place=f"{account} in {unit}")

    def compare_holds(self) -> None:
        """Each hold's amounts are its postings; what is held is the sum of the open ones."""
        held: dict[tuple[str, str], int] = {}
        for key, hold in self.holds.items():
            if hold.amounts != hold.posted:
                diverge(hold.opened, "ledger_hold.amounts", hold.posted, hold.amounts, place=f"hold {key}")
            if hold.settled is not None and hold.amounts and not hold.ended:
                diverge(
                    hold.settled, "ledger_hold.settled_id", "an entry that ends it", hold.settled, None, f"hold {key}"
                )
            for unit, value in hold.amounts.items() if hold.settled is None else ():
                held[hold.allocation, unit] = held.get((hold.allocation, unit), 0) + value
        for (account, unit), state in self.accounts.items():
            if state.is_held and state.value != held.get((state.allocation, unit), 0):
                expected = held.get((state.allocation, unit), 0)
                diverge(None, "held, as the open holds say,", expected, state.value, place=f"{account} in {unit}")


# --- tables -----------------------------------------------------------------------------------------------------


def table_checkpoints() -> Iterator[Anchor]:
    names = ("hub", "seq", "entry_hash", "at_ms", "public_key", "signature")
    for row in _rows(Checkpoint, names, "seq", "id"):
        for name, value in zip(names, row, strict=True):
            wanted = int if name in ("seq", "at_ms") else str
            if type(value) is not wanted:
                diverge(None, f"ledger_checkpoint.{name}", wanted.__name__, value, place=f"checkpoint at {row[1]}")
        yield Anchor(*row)


def _account(name: str) -> _Account:
    head, _, rest = name.partition(":")
    allocation, _, bucket = rest.rpartition(":")
    return _Account(allocation, bucket == "held") if head == "allocation" else _Account("", False)


def _check_types(
    seq: int, table: str, names: Sequence[str], types: Sequence[type], row: Sequence[Any], position: int | None = None
) -> None:
    if tuple(map(type, row)) != types:
        for name, wanted, value in zip(names, types, row, strict=True):
            if type(value) is not wanted:
                diverge(seq, f"{table}.{name}", f"of type {wanted.__name__}", value, position)


def _rows(model: type[Model], names: Sequence[str], *order: str) -> Iterator[tuple[Any, ...]]:
    rows: Iterator[tuple[Any, ...]] = (
        model._default_manager.order_by(*order).values_list(*names).iterator(chunk_size=CHUNK)
    )
    return rows
