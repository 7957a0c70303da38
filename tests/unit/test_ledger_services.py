"""The single writer: whole entries or nothing, each hold settled once, two writers in turn."""

from __future__ import annotations

import threading
import uuid
from fractions import Fraction

import pytest
from django.db import connection, connections

from fabrique.apps.ledger import services as ledger
from fabrique.apps.ledger.models import Checkpoint, Entry, Hold, Posting
from fabrique.apps.ledger.verify import verify
from fabrique.core.booking import Exhaustion, Frozen, Policy, genesis
from fabrique.core.errors import FabriqueError
from fabrique.core.units import MJ, Amount, unit

CPU = unit("core-ms:local-core")
FROZEN = Frozen(34_800, "CA-QC 2024", Fraction(1, 3), None, "")


def fund(value: int = 1_000, policy: Policy | None = None) -> None:
    ledger.write("genesis", {}, genesis([("p", Amount(CPU, 10**9))], "hub", {}), now=1)
    ledger.open_allocation("a", "p", {CPU: (value, policy or Policy())}, ref="award", now=2)


def hold(value: int, now: int = 3) -> Hold:
    with ledger.batch("hold", {}, now=now) as acts:
        return acts.hold("a", "p", [Amount(CPU, value)], FROZEN, uuid.uuid4())


@pytest.mark.django_db
def test_a_batch_without_acts_writes_nothing() -> None:
    with ledger.batch("cycle", {}, now=1):
        pass
    assert not Entry.objects.exists()


@pytest.mark.django_db
def test_a_batch_that_raises_writes_nothing() -> None:
    fund()
    before = Posting.objects.count()
    with pytest.raises(FabriqueError), ledger.batch("hold", {}, now=3) as acts:
        acts.hold("a", "p", [Amount(CPU, 400)], FROZEN, uuid.uuid4())
        acts.hold("a", "p", [Amount(CPU, 601)], FROZEN, uuid.uuid4())
    assert Posting.objects.count() == before
    assert not Hold.objects.exists()
    assert ledger.balance("allocation:a:held", CPU) == 0


@pytest.mark.django_db
def test_a_part_that_raises_leaves_no_trace_in_its_batch() -> None:
    fund()
    known = hold(100)
    with ledger.batch("cycle", {}, now=4) as acts:
        acts.hold("a", "p", [Amount(CPU, 300)], FROZEN, uuid.uuid4())
        with pytest.raises(ZeroDivisionError), acts.apart_in_lines():
            acts.release(acts.holds([known.pk])[known.pk])
            acts.hold("a", "p", [Amount(CPU, 500)], FROZEN, uuid.uuid4())
            raise ZeroDivisionError
        assert acts.balance("allocation:a:available", CPU) == 600
        acts.hold("a", "p", [Amount(CPU, 600)], FROZEN, uuid.uuid4())
    assert ledger.balance("allocation:a:held", CPU) == 1_000
    assert Hold.objects.filter(settled__isnull=True).count() == 3
    assert verify().ok


@pytest.mark.django_db
def test_a_hold_is_settled_once() -> None:
    fund()
    held = hold(600)
    with ledger.batch("cycle", {}, now=4) as acts:
        assert acts.settle(held, {CPU: 500, MJ: 7}, {"run": "r"}) == {CPU: 500, MJ: 7}
    for act in ("settle", "release"):
        with pytest.raises(FabriqueError) as caught, ledger.batch("cycle", {}, now=5) as acts:
            acts.settle(held, {CPU: 1}, {}) if act == "settle" else acts.release(held)
        assert caught.value.code == "ledger.hold-settled"
    with pytest.raises(FabriqueError), ledger.batch("cycle", {}, now=5) as acts:
        other = acts.hold("a", "p", [Amount(CPU, 1)], FROZEN, uuid.uuid4())
        acts.release(other)
        acts.release(other)
    assert ledger.balances("allocation:a:used") == {("allocation:a:used", CPU): 500, ("allocation:a:used", MJ): 7}
    assert verify().ok


@pytest.mark.django_db
def test_what_a_hold_froze_comes_back_exactly() -> None:
    fund()
    assert ledger.frozen_of(Hold.objects.get(pk=hold(1).pk)) == FROZEN


@pytest.mark.django_db
def test_an_award_beyond_the_pool_is_refused_whole() -> None:
    ledger.write("genesis", {}, genesis([("p", Amount(CPU, 10))], "hub", {}), now=1)
    with pytest.raises(FabriqueError) as caught:
        ledger.open_allocation("a", "p", {CPU: (11, Policy())}, ref="award", now=2)
    assert caught.value.code == "award.no-capacity"
    assert ledger.policies("a") == {}


@pytest.mark.django_db
def test_the_end_of_an_allocation_returns_what_is_left() -> None:
    fund()
    held = hold(100)
    with ledger.batch("cycle", {}, now=4) as acts:
        acts.settle(held, {CPU: 100}, {})
    ledger.end_allocation("a", "p", now=5)
    assert ledger.balance("allocation:a:expired", CPU) == 900
    assert ledger.balance("pool:p:unallocated", CPU) == 10**9 - 100


@pytest.mark.django_db
def test_a_clock_that_steps_back_does_not_reorder_the_books() -> None:
    fund()
    ledger.write("note", {}, genesis([("p", Amount(CPU, 1))], "again", {}), now=0)
    assert [e.at_ms for e in Entry.objects.order_by("seq")] == [1, 2, 2]


@pytest.mark.django_db
def test_policies_of_exhaustion_reach_the_balance() -> None:
    fund(1_000, Policy(Exhaustion.DEGRADE, 250))
    hold(1_250)
    with pytest.raises(FabriqueError):
        hold(1)


@pytest.mark.django_db
def test_an_amount_beyond_63_bits_is_refused() -> None:
    with pytest.raises(FabriqueError):
        ledger.write("genesis", {}, genesis([("p", Amount(CPU, 2**63))], "hub", {}), now=1)


@pytest.mark.django_db
def test_a_checkpoint_is_signed_once_a_head(here: object) -> None:
    one = ledger.checkpoint("ca-lasalle-hub", now=5)
    assert ledger.checkpoint("ca-lasalle-hub", now=6).pk == one.pk
    ledger.write("note", {}, genesis([("p", Amount(CPU, 1))], "again", {}), now=7)
    assert ledger.checkpoint("ca-lasalle-hub", now=8).seq == one.seq + 1
    assert Checkpoint.objects.filter(seq=one.seq).count() == 1
    assert verify([ledger.checkpoint_json(one)]).ok


@pytest.mark.django_db(transaction=True)
def test_writers_at_the_same_time_write_in_turn_and_never_overdraw() -> None:
    fund(1_000)
    outcomes: list[str] = []

    def worker() -> None:
        for _ in range(10):
            try:
                hold(30)
                outcomes.append("held")
            except FabriqueError as error:
                outcomes.append(error.code)
        connections.close_all()

    threads = [threading.Thread(target=worker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("held") == 33
    assert outcomes.count("ledger.overdraft") == 7
    assert ledger.balance("allocation:a:held", CPU) == 990
    seqs = list(Entry.objects.order_by("seq").values_list("seq", flat=True))
    assert seqs == list(range(1, 36))
    assert verify().ok


@pytest.mark.django_db
def test_sqlite_is_set_up_to_survive() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("this is about SQLite; the tests run on PostgreSQL now")
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert cursor.execute("PRAGMA synchronous").fetchone()[0] == 2
