"""Verification in place: it accepts the true story, and names the first thing that was changed in a false one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection, transaction

from fabrique.apps.ledger import services, verify
from fabrique.apps.ledger.models import Checkpoint, Entry, Posting
from fabrique.core import ledger
from fabrique.core.errors import FabriqueError

if TYPE_CHECKING:
    from conftest import Story

pytestmark = pytest.mark.django_db


@contextmanager
def undone() -> Iterator[Any]:
    """A cursor whose changes are taken back."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            yield cursor
        transaction.set_rollback(True)


def what_after(sql: str, *checkpoints: dict[str, str]) -> verify.Divergence | None:
    with undone() as cursor:
        for statement in sql.split(";"):
            cursor.execute(statement)
        return verify.verify(checkpoints).first_divergence


def test_the_true_story_is_accepted_and_says_what_it_cannot_prove(story: Story) -> None:
    report = verify.verify()
    assert report.ok, report.first_divergence
    assert (report.entries, report.postings) == (Entry.objects.count(), Posting.objects.count())
    last = Entry.objects.order_by("-seq").first()
    assert last is not None
    assert report.head == last.hash
    assert report.checkpoints_checked == 2
    assert "no-outside-checkpoint" in report.unproven
    assert "after-last-checkpoint" not in report.unproven


def test_a_checkpoint_from_outside_narrows_what_is_unproven(story: Story) -> None:
    report = verify.verify([story.earlier])
    assert report.ok
    assert report.checkpoints_checked == 3
    assert "no-outside-checkpoint" not in report.unproven
    assert "after-outside-checkpoint" in report.unproven
    assert report.params["after"] == int(story.earlier["seq"]) + 1


def test_entries_after_the_last_checkpoint_are_said_to_be_unsigned(story: Story) -> None:
    services.end_allocation(story.key("b"), "union", now=story.tick())
    report = verify.verify()
    assert report.ok
    assert "after-last-checkpoint" in report.unproven
    assert report.params["unsigned"] == report.entries


def test_an_empty_ledger_is_whole(untold: Story) -> None:
    report = verify.verify()
    assert (report.ok, report.entries, report.head) == (True, 0, ledger.FIRST)


CHANGES = [
    # table, column, new value in SQL, row, what the divergence names
    ("ledger_entry", "seq", "99", "seq = 3", "ledger_entry.seq"),
    ("ledger_entry", "at_ms", "at_ms + 1", "seq = 7", "ledger_entry.hash"),
    ("ledger_entry", "at_ms", "1", "seq = 7", "ledger_entry.at_ms"),
    ("ledger_entry", "kind", "'other'", "seq = 7", "ledger_entry.hash"),
    ("ledger_entry", "cause", "'{}'", "seq = 7", "ledger_entry.hash"),
    ("ledger_entry", "root", "previous", "seq = 7", "ledger_entry.root"),
    ("ledger_entry", "count", "count + 1", "seq = 7", "ledger_entry.count"),
    ("ledger_entry", "previous", "root", "seq = 7", "ledger_entry.previous"),
    ("ledger_entry", "hash", "root", "seq = 7", "ledger_entry.hash"),
    ("ledger_posting", "entry_id", "24", "entry_id = 7 AND position = 9", "ledger_posting.position"),
    ("ledger_posting", "entry_id", "999", "entry_id = 7 AND position = 3", "ledger_posting.position"),
    ("ledger_posting", "entry_id", "0", "entry_id = 7 AND position = 3", "ledger_posting.entry_id"),
    ("ledger_posting", "position", "90", "entry_id = 7 AND position = 3", "ledger_posting.position"),
    ("ledger_posting", "account", "'hub:nobody'", "entry_id = 7 AND position = 3", "ledger_posting.n"),
    ("ledger_posting", "unit", "'uEUR'", "entry_id = 7 AND position = 3", "ledger_posting.n"),
    ("ledger_posting", "amount", "amount + 1", "entry_id = 7 AND position = 3", "ledger_posting.balance"),
    ("ledger_posting", "n", "n + 100", "entry_id = 7 AND position = 3", "ledger_posting.n"),
    ("ledger_posting", "balance", "balance + 1", "entry_id = 7 AND position = 3", "ledger_posting.balance"),
    ("ledger_posting", "what", "'gift'", "entry_id = 7 AND position = 0", "ledger_entry.root"),
    ("ledger_posting", "ref", "'somebody'", "entry_id = 7 AND position = 8", "ledger_entry.root"),
    ("ledger_posting", "detail", "'{}'", "entry_id = 7 AND position = 0", "ledger_entry.root"),
    ("ledger_accountbalance", "account", "'hub:nobody'", "account = 'hub:losses' AND unit = 'mJ'", "value"),
    ("ledger_accountbalance", "unit", "'uEUR'", "account = 'hub:losses' AND unit = 'mJ'", "value"),
    ("ledger_accountbalance", "value", "value + 1", "account = 'hub:losses' AND unit = 'mJ'", "value"),
    ("ledger_accountbalance", "n", "n + 1", "account = 'hub:losses' AND unit = 'mJ'", "n"),
    ("ledger_hold", "allocation", "'nobody'", "settled_id IS NULL", "ledger_hold.amounts"),
    ("ledger_hold", "amounts", '\'{"mJ": "1"}\'', "settled_id IS NULL", "ledger_hold.amounts"),
    ("ledger_hold", "opened_id", "1", "settled_id IS NULL", "ledger_hold.amounts"),
    ("ledger_hold", "settled_id", "24", "settled_id IS NULL", "ledger_hold.settled_id"),
    ("ledger_hold", "settled_id", "NULL", "settled_id = 7", "held, as the open holds say,"),
    ("ledger_hold", "settled_id", "8", "settled_id = 7", "ledger_hold.settled_id"),
    ("ledger_checkpoint", "seq", "3", "seq > 20", "ledger_checkpoint.entry_hash"),
    ("ledger_checkpoint", "entry_hash", "public_key", "seq > 20", "ledger_checkpoint.entry_hash"),
    ("ledger_checkpoint", "at_ms", "at_ms + 1", "seq > 20", "ledger_checkpoint.signature"),
    ("ledger_checkpoint", "hub", "'other'", "seq > 20", "ledger_checkpoint.signature"),
    ("ledger_checkpoint", "public_key", "entry_hash", "seq > 20", "ledger_checkpoint.signature"),
    ("ledger_checkpoint", "signature", "'00'", "seq > 20", "ledger_checkpoint.signature"),
]
FREE = {  # what no hash covers, and why
    ("ledger_posting", "id"): "a row's own number, which nothing names",
    ("ledger_accountbalance", "id"): "a row's own number",
    ("ledger_checkpoint", "id"): "a row's own number",
    ("ledger_hold", "id"): "tested below: it is no text on every database",
    ("ledger_hold", "pool"): "kept beside the chain: the report says so",
    ("ledger_hold", "frozen"): "kept beside the chain: the report says so",
}


def test_every_column_of_every_table_is_changed_once() -> None:
    tables = {model._meta.db_table: model for model in verify.MODELS}
    columns = {(name, field.column) for name, model in tables.items() for field in model._meta.concrete_fields}
    assert columns == {(table, column) for table, column, *_ in CHANGES} | set(FREE)


def test_each_change_is_named(story: Story) -> None:
    unnamed = []
    for table, column, value, row, expected in CHANGES:
        found = what_after(f"UPDATE {table} SET {column} = {value} WHERE {row}")  # noqa: S608
        if found is None or not found.what.endswith(expected):
            unnamed.append((table, column, value, found))
    assert not unnamed
    assert verify.verify().ok, "a change was not taken back"


def test_the_place_and_both_values_are_told(story: Story) -> None:
    found = what_after("UPDATE ledger_posting SET amount = amount + 1 WHERE entry_id = 7 AND position = 3")
    assert found is not None
    assert (found.seq, found.position) == (7, 3)
    assert int(found.expected) == int(found.found) + 1
    assert story.key("a") in found.detail


def test_a_hold_that_nobody_opened_is_found(story: Story) -> None:
    with undone() as cursor:
        cursor.execute("DELETE FROM ledger_hold WHERE settled_id IS NULL")
        found = verify.verify().first_divergence
    assert found is not None
    assert found.what.startswith("held")


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM ledger_posting WHERE entry_id = 7 AND position = 3",
        "DELETE FROM ledger_posting WHERE entry_id = 24",
        "DELETE FROM ledger_posting WHERE entry_id = 9",
        "DELETE FROM ledger_posting WHERE entry_id = 9;DELETE FROM ledger_entry WHERE seq = 9",
        "DELETE FROM ledger_accountbalance WHERE account = 'hub:losses' AND unit = 'mJ'",
        "DELETE FROM ledger_posting WHERE entry_id > 20;DELETE FROM ledger_hold WHERE opened_id > 20;"
        "DELETE FROM ledger_entry WHERE seq > 20",
        "INSERT INTO ledger_accountbalance (account, unit, value, n) VALUES ('hub:extra', 'mJ', 0, 0)",
        "INSERT INTO ledger_posting (entry_id, position, account, unit, amount, n, balance, what, ref, detail)"
        " VALUES (24, 4, 'hub:extra', 'mJ', 0, 1, 0, 'gift', '', '{}')",
        "UPDATE ledger_posting SET position = 77 WHERE entry_id = 7 AND position = 0;"
        "UPDATE ledger_posting SET position = 0 WHERE entry_id = 7 AND position = 2;"
        "UPDATE ledger_posting SET position = 2 WHERE entry_id = 7 AND position = 77",
    ],
)
def test_rows_taken_put_in_or_swapped_are_found(story: Story, sql: str) -> None:
    assert what_after(sql) is not None


def leaf(row: Any) -> str:
    return ledger.leaf_hash(ledger.Posting(*row))


def forge(story: Story) -> None:
    """Rewrite one amount and everything after it, as who holds the key could: chain, balances, checkpoints."""
    Posting.objects.filter(entry_id=7, ref__gt="").update(ref="forged")
    previous = Entry.objects.get(seq=6).hash
    for entry in Entry.objects.filter(seq__gte=7).order_by("seq"):
        rows = entry.postings.order_by("position").values_list(
            "account", "unit", "amount", "n", "balance", "what", "ref", "detail"
        )
        root = ledger.merkle_root([leaf(row) for row in rows])
        header = ledger.Header(entry.seq, entry.at_ms, entry.kind, entry.cause, root, entry.count, previous)
        previous = ledger.entry_hash(header)
        Entry.objects.filter(seq=entry.seq).update(root=root, previous=header.previous, hash=previous)
    from fabrique.apps.ledger.models import Hold

    Hold.objects.filter(settled_id=7).delete()
    Checkpoint.objects.all().delete()
    services.checkpoint(story.hub, now=story.tick())


def test_a_chain_signed_anew_passes_alone_and_fails_against_an_earlier_checkpoint(story: Story) -> None:
    forge(story)
    assert verify.verify().ok
    report = verify.verify([story.earlier])
    assert not report.ok
    assert report.first_divergence is not None
    assert report.first_divergence.seq == int(story.earlier["seq"])
    assert "outside" in report.first_divergence.place


def test_a_forged_checkpoint_from_outside_accuses_nobody_else(story: Story) -> None:
    found = verify.verify([{**story.earlier, "signature": "00" * 64}]).first_divergence
    assert found is not None
    assert found.what == "checkpoint from outside.signature"


@pytest.mark.parametrize(
    ("field", "value"),
    [("seq", None), ("seq", "ten"), ("seq", -1), ("seq", 10**400), ("hub", ""), ("signature", 7), ("at_ms", "9" * 99)],
)
def test_a_broken_checkpoint_is_one_error(story: Story, field: str, value: object) -> None:
    with pytest.raises(FabriqueError) as error:
        verify.verify([{**story.earlier, field: value}])
    assert (error.value.code, error.value.params["field"]) == ("ledger.checkpoint-broken", field)


def test_checkpoints_are_found_in_statements_lists_and_by_themselves(story: Story) -> None:
    mark = story.earlier
    assert verify.checkpoints_in(mark) == verify.checkpoints_in([mark]) == verify.checkpoints_in({"checkpoint": mark})
    for broken in (None, 7, "x", [1], {"checkpoint": 7}):
        with pytest.raises(FabriqueError):
            verify.checkpoints_in(broken)


sqlite_only = pytest.mark.skipif(
    "connection.vendor != 'sqlite'", reason="only SQLite lets a column hold what it was not made for"
)


@sqlite_only
@pytest.mark.parametrize("value", ["'abc'", "1.5", "x'00'", "9e99"])
@pytest.mark.parametrize("column", ["amount", "n", "balance", "position", "entry_id"])
def test_what_sqlite_lets_into_a_column_of_integers_is_found(story: Story, column: str, value: str) -> None:
    assert what_after(f"UPDATE ledger_posting SET {column} = {value} WHERE entry_id = 7 AND position = 3")  # noqa: S608


@sqlite_only
@pytest.mark.parametrize(
    "change",
    [
        "ledger_entry SET cause = CAST(x'ff' AS TEXT) WHERE seq = 7",
        "ledger_posting SET what = CAST(x'ff' AS TEXT) WHERE entry_id = 7",
        "ledger_hold SET amounts = '{' WHERE settled_id IS NULL",
        "ledger_hold SET id = 'x' WHERE settled_id IS NULL",
        "ledger_accountbalance SET value = 'abc' WHERE account = 'hub:losses'",
        "ledger_checkpoint SET at_ms = 'abc'",
    ],
)
def test_cells_that_cannot_be_read_are_a_divergence(story: Story, change: str) -> None:
    if "amounts" in change:
        with undone() as cursor:
            cursor.execute("PRAGMA ignore_check_constraints = ON")
            try:
                cursor.execute(f"UPDATE {change}")
                assert verify.verify().first_divergence is not None
            finally:
                cursor.execute("PRAGMA ignore_check_constraints = OFF")
        return
    assert what_after(f"UPDATE {change}") is not None


@sqlite_only
@pytest.mark.parametrize("column", ["entry_id", "position", "account", "unit", "amount", "n", "balance", "what", "ref"])
def test_nulls_are_found_where_the_constraint_was_dropped(story: Story, column: str) -> None:
    copied = "ALTER TABLE ledger_posting RENAME TO before; CREATE TABLE ledger_posting AS SELECT * FROM before"
    emptied = f"UPDATE ledger_posting SET {column} = NULL WHERE entry_id = 7 AND position = 3"  # noqa: S608
    found = what_after(f"{copied};{emptied}")
    assert found is not None


@sqlite_only
def test_a_missing_table_cannot_run(story: Story) -> None:
    with undone() as cursor, pytest.raises(FabriqueError) as error:
        cursor.execute("DROP TABLE ledger_posting")
        verify.verify()
    assert error.value.code == "ledger.broken"
    assert "ledger_posting" in str(error.value.params["why"])


def test_the_report_is_plain_json(story: Story) -> None:
    import json

    report = verify.verify()
    data = json.loads(json.dumps(report.as_json()))
    assert data["ok"] is True
    assert data["entries"] == str(report.entries)
    assert not any("{" in text for text in data["unproven"])


@pytest.mark.django_db(transaction=True)
def test_it_reads_one_state_while_the_hub_goes_on_writing(untold: Story) -> None:
    untold.tell()
    assert not connection.in_atomic_block
    assert verify.verify([untold.earlier]).ok
    services.end_allocation(untold.key("b"), "union", now=untold.tick())  # no lock was left behind
    assert verify.verify().ok
