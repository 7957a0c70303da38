"""Datasets as the hub must know them: how sensitive, from where, under which agreement."""

from __future__ import annotations

from django.db import models

from fabrique.apps.people.models import Organisation


class Dataset(models.Model):
    id = models.CharField(max_length=64, primary_key=True)  # what a job's header names
    title = models.CharField(max_length=200)
    owner = models.ForeignKey(Organisation, on_delete=models.PROTECT, related_name="datasets")
    data_class = models.CharField(max_length=20)
    origin = models.CharField(max_length=8)  # jurisdiction, ISO 3166-1 or -2
    cloud_act_free = models.BooleanField(default=False)
    agreements = models.JSONField(default=list)  # [{"site": …, "from_ms": …, "to_ms": …, "text": …}]
    created_ms = models.BigIntegerField()

    class Meta:
        ordering = ["id"]
