"""The ledger's tables. Only `services.py` writes them; rows are added, never changed (but the balances).

No trigger guards them: who holds the file could drop it. The chain and the anchored checkpoints do.
"""

from __future__ import annotations

import uuid

from django.db import models


class Entry(models.Model):
    """One header of the chain."""

    seq = models.BigIntegerField(primary_key=True)
    at_ms = models.BigIntegerField()
    kind = models.CharField(max_length=40)
    cause = models.TextField()  # canonical JSON, hashed as it stands
    root = models.CharField(max_length=64)
    count = models.IntegerField()
    previous = models.CharField(max_length=64)
    hash = models.CharField(max_length=64, unique=True)

    class Meta:
        ordering = ["seq"]


class Posting(models.Model):
    """One leaf. `amount` is in base units of `unit`; `n` and `balance` are within (account, unit)."""

    entry = models.ForeignKey(Entry, on_delete=models.PROTECT, related_name="postings")
    position = models.IntegerField()
    account = models.CharField(max_length=160)
    unit = models.CharField(max_length=80)
    amount = models.BigIntegerField()
    n = models.BigIntegerField()
    balance = models.BigIntegerField()
    what = models.CharField(max_length=40)
    ref = models.CharField(max_length=80, db_index=True)
    detail = models.TextField(default="{}")

    class Meta:
        ordering = ["entry_id", "position"]
        constraints = [
            models.UniqueConstraint(fields=["entry", "position"], name="ledger_posting_place"),
            models.UniqueConstraint(fields=["account", "unit", "n"], name="ledger_posting_number"),
        ]


class AccountBalance(models.Model):
    """Materialised in the transaction that writes the postings; recomputed by every verification."""

    account = models.CharField(max_length=160)
    unit = models.CharField(max_length=80)
    value = models.BigIntegerField()
    n = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["account", "unit"], name="ledger_balance_key")]


class Budget(models.Model):
    """A unit in which an allocation is limited, and what happens at the end of it."""

    allocation = models.CharField(max_length=64)
    pool = models.CharField(max_length=64)
    unit = models.CharField(max_length=80)
    exhaustion = models.CharField(max_length=10)
    margin_permille = models.IntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["allocation", "unit"], name="ledger_budget_key")]


class Hold(models.Model):
    """An upper bound set aside for one run; settled once."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    allocation = models.CharField(max_length=64, db_index=True)
    pool = models.CharField(max_length=64)
    amounts = models.JSONField()  # unit -> value as text
    frozen = models.JSONField()  # factor and price at the time of the hold
    opened = models.ForeignKey(Entry, on_delete=models.PROTECT, related_name="+")
    settled = models.ForeignKey(Entry, on_delete=models.PROTECT, related_name="+", null=True)


class Rate(models.Model):
    """Micro-units of a currency an hour of a unit, rational, versioned, for [from_ms, to_ms)."""

    name = models.CharField(max_length=80)
    version = models.IntegerField()
    unit = models.CharField(max_length=80)
    currency = models.CharField(max_length=8)  # a unit of money, as uCAD
    numerator = models.BigIntegerField()
    denominator = models.BigIntegerField(default=1)
    from_ms = models.BigIntegerField()
    to_ms = models.BigIntegerField(null=True)
    source = models.TextField(blank=True)
    assumed = models.BooleanField(default=False)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["name", "version"], name="ledger_rate_version")]


class Checkpoint(models.Model):
    """The chain's head, signed with Ed25519; anchored outside by every statement that carries it."""

    seq = models.BigIntegerField()
    entry_hash = models.CharField(max_length=64)
    at_ms = models.BigIntegerField()
    hub = models.CharField(max_length=64)
    public_key = models.CharField(max_length=64)  # hex
    signature = models.CharField(max_length=128)  # hex

    class Meta:
        ordering = ["seq", "id"]
