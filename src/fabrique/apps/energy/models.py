"""Energy of a site, window by window: what the pictures draw. The ledger has the same sums as entries."""

from __future__ import annotations

from django.db import models


class Window(models.Model):
    """[start_ms, end_ms) of one site: jobs + idle + overhead + residual = meter, in millijoules."""

    site = models.CharField(max_length=64)
    start_ms = models.BigIntegerField(db_index=True)
    end_ms = models.BigIntegerField()
    meter_mj = models.BigIntegerField()
    jobs_mj = models.BigIntegerField()
    idle_mj = models.BigIntegerField()
    overhead_mj = models.BigIntegerField()
    residual_mj = models.BigIntegerField()
    saved_mj = models.BigIntegerField(default=0)  # what nodes would have drawn idle, had they not been powered down
    cap_w = models.BigIntegerField(null=True)
    mg_per_kwh = models.BigIntegerField(null=True)
    provenance = models.JSONField(default=dict)
    entry = models.BigIntegerField(null=True)  # the ledger entry with the same sums

    class Meta:
        ordering = ["start_ms"]
        constraints = [models.UniqueConstraint(fields=["site", "start_ms"], name="energy_window_start")]
