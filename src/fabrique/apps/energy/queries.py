"""The site's energy over time, for pictures. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.db.models import F, FloatField, Sum
from django.db.models.fields.json import KT
from django.db.models.functions import Cast

from fabrique.apps.energy.models import Window
from fabrique.core.units import MJ_PER_KWH

PARTS: Final = ("meter", "jobs", "idle", "overhead", "residual", "saved")


def windows(site: str, from_ms: int, to_ms: int) -> list[Window]:
    """Windows that touch [from_ms, to_ms), in order."""
    return list(Window.objects.filter(site=site, end_ms__gt=from_ms, start_ms__lt=to_ms).order_by("start_ms"))


def mean_power_w(window: Window) -> int:
    """The mean draw over a window at the meter, in W, to the nearest."""
    length = window.end_ms - window.start_ms
    return round(window.meter_mj / length) if length else 0


# --- totals since the hub was founded -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all windows up to the row `last`, by (site, basis): millijoules of each of `PARTS`, then milligrams.

    `basis` is measured, attributed or modelled. Windows whose factor nobody knew add no milligrams.
    """

    last: int = 0
    end_ms: int = 0  # of that row: tells another database from this one
    by: Mapping[tuple[str, str], tuple[float, ...]] = field(default_factory=dict)


_kept: list[Totals] = [Totals()]  # rows are added, never changed: what was summed once holds, in every process


def totals() -> Totals:
    """The sums as they are now; only windows added since this process last asked are read."""
    known = _kept[0]
    if not Window.objects.filter(pk=known.last, end_ms=known.end_ms).exists():
        known = Totals()
    newest = Window.objects.order_by("-pk").values_list("pk", "end_ms").first()
    if newest is None or newest[0] == known.last:
        return known
    added = Window.objects.filter(pk__gt=known.last, pk__lte=newest[0]).order_by()
    sums = {part: Sum(Cast(f"{part}_mj", FloatField())) for part in PARTS}
    carbon = Cast("meter_mj", FloatField()) * F("mg_per_kwh") / float(MJ_PER_KWH)
    by = dict(known.by)
    rows: Iterable[Mapping[str, Any]] = added.values("site", basis=KT("provenance__basis")).annotate(
        **sums, mg=Sum(carbon)
    )
    for row in rows:
        key = (row["site"], row["basis"] or "")
        new = [float(row[name] or 0) for name in (*PARTS, "mg")]
        by[key] = tuple(a + b for a, b in zip(by.get(key, (0.0,) * len(new)), new, strict=True))
    _kept[0] = Totals(*newest, by)
    return _kept[0]
