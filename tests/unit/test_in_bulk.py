"""Rows written by one statement: as Django's own writers would, in fewer steps."""

from __future__ import annotations

import uuid

import pytest
from django.db import IntegrityError

from fabrique.apps import in_bulk
from fabrique.apps.jobs.models import EngineRecord, RecordState
from fabrique.apps.ledger.models import AccountBalance, Entry, Hold, Posting

pytestmark = pytest.mark.django_db
COLUMNS = ("account", "unit", "value", "n")


def record(key: str) -> EngineRecord:
    return EngineRecord.objects.create(
        engine="slurm", key=key, raw=b"1", state=RecordState.OPEN, first_ms=1, changed_ms=1
    )


def test_rows_come_in_the_order_given_and_a_quote_in_them_is_but_a_quote() -> None:
    in_bulk.insert(AccountBalance, COLUMNS, [("a'; DROP TABLE x; --", "mJ", 1, 1), ("b%s", "mJ", -(2**63), 2)])
    found = list(AccountBalance.objects.order_by("pk").values_list(*COLUMNS))
    assert found == [("a'; DROP TABLE x; --", "mJ", 1, 1), ("b%s", "mJ", -(2**63), 2)]


def test_what_the_table_forbids_is_forbidden() -> None:
    with pytest.raises(IntegrityError):
        in_bulk.insert(AccountBalance, COLUMNS, [("a", "mJ", 1, 1), ("a", "mJ", 2, 2)])


def test_only_the_fields_named_are_written_of_the_rows_given() -> None:
    one, two, left = record("1"), record("2"), record("3")
    one.raw, one.state, one.reason, one.changed_ms = b"\x00'%s", RecordState.QUARANTINED, {"code": "é"}, 9
    two.raw, two.state, two.changed_ms = b"2", RecordState.BOOKED, 7
    in_bulk.rewrite([one, two], ["raw", "state", "reason"])
    told = {r.key: (bytes(r.raw), r.state, r.reason, r.changed_ms) for r in EngineRecord.objects.all()}
    assert told["1"] == (b"\x00'%s", RecordState.QUARANTINED, {"code": "é"}, 1)
    assert told["2"] == (b"2", RecordState.BOOKED, {}, 1)
    assert told[left.key] == (b"1", RecordState.OPEN, {}, 1)


def test_a_reference_is_written_and_a_row_that_is_gone_is_not_made() -> None:
    entry = Entry.objects.create(seq=1, at_ms=1, kind="x", cause="{}", root="", count=0, previous="", hash="h")
    kept, gone = (
        Hold.objects.create(id=uuid.uuid4(), allocation="a", pool="p", amounts={}, frozen={}, opened=entry)
        for _ in range(2)
    )
    Hold.objects.filter(pk=gone.pk).delete()
    for hold in (kept, gone):
        hold.settled, hold.amounts = entry, {"mJ": "5"}
    in_bulk.rewrite([kept, gone], ["settled", "amounts"])
    assert list(Hold.objects.values_list("pk", "settled_id", "amounts")) == [(kept.pk, 1, {"mJ": "5"})]


def test_nothing_is_nothing() -> None:
    in_bulk.rewrite([], ["raw"])
    in_bulk.insert(Posting, ("entry_id",), [])
    assert not Posting.objects.exists()
