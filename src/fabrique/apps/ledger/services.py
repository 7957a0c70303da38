"""The single writer of the ledger: one batch is one entry, in one transaction.

    with batch("cycle", {"epoch": 7}, now=now) as acts:
        hold = acts.hold(allocation, pool, amounts, frozen)
        acts.settle(other, actual, detail)

Nothing is written when the block raises, or when no act was made. Balances inside a batch see its own acts.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.conf import settings
from django.db import connection, transaction

from fabrique.apps import in_bulk
from fabrique.apps.ledger.models import AccountBalance, Budget, Checkpoint, Entry, Hold, Posting, Rate
from fabrique.core import booking, ledger
from fabrique.core.booking import Exhaustion, Frozen, Policy
from fabrique.core.errors import FabriqueError
from fabrique.core.ledger import Balance, Key, Line
from fabrique.core.units import Amount, Unit, is_time

CAPACITY = ("genesis", "capacity")  # the kinds of entries that bring a year of hours
_LOCK = 0x46414252  # names the ledger among PostgreSQL's advisory locks
_MOST = 2**63 - 1


def lock() -> None:
    """One writer at a time, until the transaction ends. SQLite's immediate transactions already see to it."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


@contextmanager
def batch(kind: str, cause: Mapping[str, object], *, now: int) -> Iterator[Batch]:
    """A batch that is written when the block ends well."""
    with transaction.atomic():
        lock()
        acts = Batch(kind, cause, now)
        yield acts
        acts.write()


class Batch:
    """The acts of one entry. Made by `batch`."""

    def __init__(self, kind: str, cause: Mapping[str, object], now: int) -> None:
        self.kind, self.cause, self.now = kind, cause, now
        self.entry: Entry | None = None
        self._lines: list[Line] = []
        self._pending: dict[Key, int] = {}
        self._opened: list[Hold] = []
        self._settled: dict[uuid.UUID, Hold] = {}
        # what the tables said: the ledger's lock keeps them so until the batch is written
        self._balances: dict[Key, int] = {}
        self._policies: dict[str, dict[Unit, Policy]] = {}
        self._unsettled: set[uuid.UUID] = set()

    @contextmanager
    def apart(self) -> Iterator[None]:
        """A part of the batch that leaves no trace, in rows or in lines, when it raises."""
        with self.apart_in_lines(), transaction.atomic():
            yield

    @contextmanager
    def apart_in_lines(self) -> Iterator[None]:
        """The same for a part that writes no rows: without a savepoint of its own."""
        lines, opened, settled = len(self._lines), len(self._opened), len(self._settled)
        try:
            yield
        except BaseException:
            for line in self._lines[lines:]:
                self._pending[line.account, line.unit] -= line.value
            del self._lines[lines:], self._opened[opened:]
            while len(self._settled) > settled:
                self._settled.popitem()  # the last one
            raise

    def balance(self, account: str, unit: Unit) -> int:
        key = (account, unit)
        if key not in self._balances:
            self._balances[key] = balance(account, unit)
        return self._balances[key] + self._pending.get(key, 0)

    def policies(self, allocation: str) -> dict[Unit, Policy]:
        if allocation not in self._policies:
            self._policies[allocation] = policies(allocation)
        return self._policies[allocation]

    def holds(self, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Hold]:
        """These holds, in one question; which of them are settled is then known."""
        found = Hold.objects.in_bulk(list(ids))
        self._unsettled |= {pk for pk, hold in found.items() if hold.settled_id is None}
        return found

    def add(self, lines: Sequence[Line]) -> None:
        """Lines of an act from `core.booking`. Raises `ledger.unbalanced`."""
        ledger.check_balanced(lines)
        for line in lines:
            key = (line.account, line.unit)
            self._pending[key] = self._pending.get(key, 0) + line.value
        self._lines += lines

    def hold(self, allocation: str, pool: str, amounts: Iterable[Amount], frozen: Frozen, hold_id: uuid.UUID) -> Hold:
        """Sets an upper bound aside. Raises `ledger.overdraft` beyond what the allocation's policies allow."""
        held = tuple(amounts)
        self.add(booking.hold(allocation, held, self.policies(allocation), self.balance, str(hold_id)))
        row = Hold(
            id=hold_id,
            allocation=allocation,
            pool=pool,
            amounts=ledger.amounts_json(held),
            frozen=frozen_json(frozen),
        )
        self._opened.append(row)
        return row

    def release(self, hold: Hold) -> None:
        """Gives a hold back whole: its run never started."""
        self._settle_once(hold)
        self.add(booking.release(hold.allocation, ledger.amounts_from_json(hold.amounts), str(hold.id)))

    def settle(
        self, hold: Hold, actual: Mapping[Unit, int], detail: Mapping[str, object], bucket: str = "used"
    ) -> dict[Unit, int]:
        """Charges a run's totals against its hold, once. Answers what the allocation was charged, by unit."""
        self._settle_once(hold)
        held = {a.unit: a.value for a in ledger.amounts_from_json(hold.amounts)}
        self.add(booking.debit(hold.allocation, hold.pool, held, actual, str(hold.id), detail, bucket))
        return {u: min(v, held.get(u, v)) for u, v in actual.items()}

    def _settle_once(self, hold: Hold) -> None:
        known = hold.pk in self._unsettled or hold in self._opened
        if hold.pk in self._settled or not (known or Hold.objects.filter(pk=hold.pk, settled__isnull=True).exists()):
            raise FabriqueError("ledger.hold-settled", hold=str(hold.id))
        self._settled[hold.pk] = hold

    def write(self) -> Entry | None:
        """The entry with all acts so far, a hold of what nothing limits too; None when there was none."""
        if not self._lines and not self._opened:
            return None
        self.entry = _write(self.kind, self.cause, self._lines, self.now)
        for row in self._opened:
            row.opened = self.entry
        Hold.objects.bulk_create(self._opened)
        ids = list(self._settled)
        if Hold.objects.filter(pk__in=ids, settled__isnull=True).update(settled=self.entry) != len(ids):
            raise FabriqueError("ledger.hold-settled", hold=str(ids[0]))
        return self.entry


def write(kind: str, cause: Mapping[str, object], lines: Sequence[Line], *, now: int) -> Entry | None:
    """One act, or several, as one entry."""
    with batch(kind, cause, now=now) as acts:
        acts.add(lines)
    return acts.entry


def note(kind: str, cause: Mapping[str, object], *, now: int) -> Entry:
    """An entry without amounts: something was decided that the chain has to tell."""
    with transaction.atomic():
        lock()
        return _write(kind, cause, [], now)


def _write(kind: str, cause: Mapping[str, object], lines: Sequence[Line], now: int) -> Entry:
    ledger.check_balanced(lines)
    last = Entry.objects.order_by("-seq").first()
    rows = {(r.account, Unit(r.unit)): r for r in _balance_rows({(x.account, x.unit) for x in lines})}
    postings, after = ledger.place(lines, {k: Balance(r.value, r.n) for k, r in rows.items()})
    header = ledger.Header(
        seq=last.seq + 1 if last else 1,
        at_ms=max(now, last.at_ms) if last else now,  # a clock that steps back does not reorder the books
        kind=kind,
        cause=ledger.canonical(dict(cause)),
        root=ledger.merkle_root([ledger.leaf_hash(p) for p in postings]),
        count=len(postings),
        previous=last.hash if last else ledger.FIRST,
    )
    if any(abs(v) > _MOST for p in postings for v in (p.value, p.balance)):
        raise FabriqueError("ledger.broken", why="an amount passes 63 bits")
    entry = Entry.objects.create(
        seq=header.seq,
        at_ms=header.at_ms,
        kind=header.kind,
        cause=header.cause,
        root=header.root,
        count=header.count,
        previous=header.previous,
        hash=ledger.entry_hash(header),
    )
    in_bulk.insert(
        Posting,
        ("entry_id", "position", "account", "unit", "amount", "n", "balance", "what", "ref", "detail"),
        (
            (entry.pk, i, p.account, p.unit, p.value, p.n, p.balance, p.what, p.ref, p.detail)
            for i, p in enumerate(postings)
        ),
    )
    AccountBalance.objects.bulk_create(
        [AccountBalance(account=a, unit=u, value=b.value, n=b.n) for (a, u), b in after.items()],
        update_conflicts=True,
        unique_fields=["account", "unit"],
        update_fields=["value", "n"],
    )
    return entry


def _balance_rows(keys: Collection[Key]) -> list[AccountBalance]:
    accounts = sorted({account for account, _ in keys})
    found: list[AccountBalance] = []
    for i in range(0, len(accounts), 500):
        found += AccountBalance.objects.filter(account__in=accounts[i : i + 500])
    return [r for r in found if (r.account, r.unit) in keys]


# --- reading ----------------------------------------------------------------------------------------------------


def balance(account: str, unit: Unit) -> int:
    row = AccountBalance.objects.filter(account=account, unit=unit).values_list("value", flat=True).first()
    return row or 0


def balances(prefix: str) -> dict[Key, int]:
    """Every balance of the accounts that begin with `prefix`."""
    rows = AccountBalance.objects.filter(account__startswith=prefix).order_by("account", "unit")
    return {(r.account, Unit(r.unit)): r.value for r in rows}


def policies(allocation: str) -> dict[Unit, Policy]:
    return {
        Unit(b.unit): Policy(Exhaustion(b.exhaustion), b.margin_permille)
        for b in Budget.objects.filter(allocation=allocation)
    }


def frozen_json(frozen: Frozen) -> dict[str, object]:
    return {
        "mg_per_kwh": frozen.mg_per_kwh,
        "factor": frozen.factor,
        "price": f"{frozen.price.numerator}/{frozen.price.denominator}",
        "currency": frozen.currency,
        "rate": frozen.rate,
    }


def frozen_of(hold: Hold) -> Frozen:
    data = hold.frozen
    currency = data["currency"]
    return Frozen(
        mg_per_kwh=int(data["mg_per_kwh"]),
        factor=str(data["factor"]),
        price=Fraction(data["price"]),
        currency=Unit(currency) if currency else None,
        rate=str(data["rate"]),
    )


def rates() -> list[booking.Rate]:
    return [
        booking.Rate(
            r.name,
            r.version,
            Unit(r.unit),
            Unit(r.currency),
            Fraction(r.numerator, r.denominator),
            r.from_ms,
            r.to_ms,
        )
        for r in Rate.objects.order_by("name", "version")
    ]


# --- allocations --------------------------------------------------------------------------------------------------


def open_allocation(
    allocation: str, pool: str, limits: Mapping[Unit, tuple[int, Policy]], *, ref: str, now: int
) -> Entry | None:
    """Grants each unit's amount with its policy. Raises `award.no-capacity` where the pool has too little time."""
    with batch("award", {"award": ref}, now=now) as acts:
        for u, (value, policy) in sorted(limits.items()):
            left = acts.balance(booking.pool_account(pool, "unallocated"), u)
            if is_time(u) and value > left:
                raise FabriqueError("award.no-capacity", pool=pool, unit=u, asked=value, available=left)
            Budget.objects.create(
                allocation=allocation,
                pool=pool,
                unit=u,
                exhaustion=policy.exhaustion.value,
                margin_permille=policy.margin_permille,
            )
            acts.add(booking.grant(allocation, pool, [Amount(u, value)], ref))
    return acts.entry


def end_allocation(allocation: str, pool: str, *, now: int) -> Entry | None:
    """What is left expires. It returns to the pool, unless the year of its grant is over: those hours are past."""
    with batch("end", {"allocation": allocation}, now=now) as acts:
        name = booking.account(allocation, "available")
        left = [Amount(u, v) for (a, u), v in balances(name).items() if a == name]
        acts.add(booking.expire(allocation, pool, left, allocation, past=_is_past(allocation)))
    return acts.entry


def last_capacity() -> Entry | None:
    """The entry that put the current year's hours at the pools' disposal."""
    return Entry.objects.filter(kind__in=CAPACITY).order_by("-seq").first()


def _is_past(allocation: str) -> bool:
    account = booking.account(allocation, "granted")
    granted = Posting.objects.filter(account=account).order_by("entry_id").values_list("entry_id", flat=True).first()
    last = last_capacity()
    return last is not None and granted is not None and granted < last.seq


# --- checkpoints --------------------------------------------------------------------------------------------------


def checkpoint(hub: str, *, now: int) -> Checkpoint:
    """The chain's head, signed; the same row while nothing new was written. Raises `ledger.broken` when empty."""
    with transaction.atomic():
        lock()
        last = Entry.objects.order_by("-seq").first()
        if last is None:
            raise FabriqueError("ledger.broken", why="the ledger is empty")
        known = Checkpoint.objects.filter(seq=last.seq, entry_hash=last.hash, hub=hub).first()
        if known:
            return known
        key = signing_key()
        signature = key.sign(ledger.checkpoint_body(hub, last.seq, last.hash, now))
        return Checkpoint.objects.create(
            seq=last.seq,
            entry_hash=last.hash,
            at_ms=now,
            hub=hub,
            public_key=key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex(),
            signature=signature.hex(),
        )


def checkpoint_json(row: Checkpoint) -> dict[str, str]:
    """What a statement, a pack or a receipt carries."""
    return {
        "hub": row.hub,
        "seq": str(row.seq),
        "entry_hash": row.entry_hash,
        "at_ms": str(row.at_ms),
        "public_key": row.public_key,
        "signature": row.signature,
    }


def signing_key() -> Ed25519PrivateKey:
    """The hub's key, from its home. Raises `home.broken`."""
    path = settings.HOME / "keys" / "ledger.key"
    try:
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text(encoding="ascii").strip()))
    except (OSError, ValueError) as error:
        raise FabriqueError("home.broken", file=str(path), why=type(error).__name__) from None
