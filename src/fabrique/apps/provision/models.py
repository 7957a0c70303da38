"""Names given on each engine, which stay when a rule changes, and what was applied. `services.py` alone writes."""

from __future__ import annotations

from django.db import models

from fabrique.apps.access.models import Allocation, Project


class NameSort(models.TextChoices):
    ACCOUNT = "account"
    QOS = "qos"


class GivenName(models.Model):
    """One account or QoS of ours on one engine: a project's, or a pool's account (`project` null)."""

    engine = models.CharField(max_length=63)
    sort = models.CharField(max_length=7, choices=NameSort.choices)
    name = models.CharField(max_length=255)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+", null=True)
    pool = models.CharField(max_length=64, blank=True)
    given_ms = models.BigIntegerField()

    class Meta:
        ordering = ["engine", "sort", "name"]
        constraints = [
            models.UniqueConstraint(fields=["engine", "sort", "name"], name="provision_name_key"),
            models.CheckConstraint(
                condition=models.Q(project__isnull=False) | ~models.Q(pool=""), name="provision_name_owner"
            ),
        ]


class Place(models.Model):
    """Where one allocation's work is counted on one engine; `qos` null where the site gives none."""

    engine = models.CharField(max_length=63)
    allocation = models.ForeignKey(Allocation, on_delete=models.PROTECT, related_name="places")
    account = models.ForeignKey(GivenName, on_delete=models.PROTECT, related_name="+")
    qos = models.ForeignKey(GivenName, on_delete=models.PROTECT, related_name="+", null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["engine", "allocation"], name="provision_place_key")]


class Applied(models.Model):
    """What stood in the engine's accounting, as far as it is the hub's, once this was applied."""

    engine = models.CharField(max_length=63, db_index=True)
    at_ms = models.BigIntegerField()
    actor = models.CharField(max_length=64)  # a person's id, or "loop"
    wanted = models.JSONField()
    tres = models.JSONField(default=dict)  # unit of time -> what the engine calls it
    refused = models.IntegerField(default=0)

    class Meta:
        ordering = ["-id"]
