"""What was decided, by whom, on which ground. Rows are added, never changed."""

from __future__ import annotations

from django.db import models


class Record(models.Model):
    at_ms = models.BigIntegerField(db_index=True)
    actor = models.CharField(max_length=64)  # a person's id, or "loop", "system"
    action = models.CharField(max_length=64, db_index=True)
    subject = models.CharField(max_length=120, db_index=True)  # kind:id
    allowed = models.BooleanField(default=True)
    reason = models.JSONField(default=dict)
    detail = models.JSONField(default=dict)

    class Meta:
        ordering = ["-id"]


class SovereigntyDecision(models.Model):
    """One evaluation of the rules: at application, when a dataset is bound, at placement, at export."""

    at_ms = models.BigIntegerField()
    moment = models.CharField(max_length=20)  # application, binding, placement, export
    subject = models.CharField(max_length=120, db_index=True)
    verdict = models.CharField(max_length=10)  # pass, fail, unknown
    trace = models.JSONField(default=list)  # the rules in order, each with its answer

    class Meta:
        ordering = ["-id"]
