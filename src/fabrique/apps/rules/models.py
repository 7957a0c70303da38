"""Proposals of rules, and replays asked for. Both change in `services.py` and `replays.py` alone."""

from __future__ import annotations

import uuid

from django.db import models

from fabrique.apps.people.models import Person


class ReplayState(models.TextChoices):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class WhatIf(models.Model):
    """A replay of the hub's own jobs. `asked` is the checked form, `result` what `fabrique.twin.what_if` found."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    asked_by = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="+")
    asked_ms = models.BigIntegerField()
    asked = models.JSONField()
    state = models.CharField(max_length=8, choices=ReplayState.choices, default=ReplayState.WAITING, db_index=True)
    attempts = models.IntegerField(default=0)
    permille = models.IntegerField(default=0)  # how much of it is done
    started_ms = models.BigIntegerField(null=True)
    seen_ms = models.BigIntegerField(null=True)  # its process was alive then
    ended_ms = models.BigIntegerField(null=True)
    result = models.JSONField(default=dict)
    error = models.JSONField(default=dict)  # {"code": …, "params": …} once it failed

    class Meta:
        ordering = ["-asked_ms", "id"]


class ProposalState(models.TextChoices):
    PROPOSED = "proposed"
    ADOPTED = "adopted"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


class Proposal(models.Model):
    """One rule set that a person proposed, and what a second person decided.

    `rules` holds every field, so that what was adopted does not change with a file; `digest` is its SHA-256.
    `organisations` are those the proposer acted for or belonged to when it was proposed.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=64)
    version = models.BigIntegerField()
    rules = models.JSONField()
    digest = models.CharField(max_length=64)
    note = models.TextField()
    what_if = models.ForeignKey(WhatIf, on_delete=models.SET_NULL, null=True, related_name="+")
    proposed_by = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="+")
    organisations = models.JSONField(default=list)
    proposed_ms = models.BigIntegerField()
    from_ms = models.BigIntegerField(null=True)  # the instant asked for; None: at the consent
    state = models.CharField(max_length=10, choices=ProposalState.choices, default=ProposalState.PROPOSED)
    decided_by = models.ForeignKey(Person, on_delete=models.PROTECT, null=True, related_name="+")
    decided_ms = models.BigIntegerField(null=True)
    decision_note = models.TextField(blank=True)
    in_force_ms = models.BigIntegerField(null=True)  # once adopted
    entry = models.BigIntegerField(null=True)  # the ledger's, of the adoption

    class Meta:
        ordering = ["-proposed_ms", "-id"]
        indexes = [models.Index(fields=["state", "in_force_ms"], name="rules_in_force")]
        constraints = [
            models.UniqueConstraint(fields=["state"], condition=models.Q(state="proposed"), name="rules_one_open"),
            models.CheckConstraint(
                condition=~models.Q(state="adopted")
                | (models.Q(decided_by__isnull=False) & ~models.Q(decided_by=models.F("proposed_by"))),
                name="rules_two_people",
            ),
        ]
