"""The site's energy over time, for pictures. Reads only."""

from __future__ import annotations

from fabrique.apps.energy.models import Window


def windows(site: str, from_ms: int, to_ms: int) -> list[Window]:
    """Windows that touch [from_ms, to_ms), in order."""
    return list(Window.objects.filter(site=site, end_ms__gt=from_ms, start_ms__lt=to_ms).order_by("start_ms"))


def mean_power_w(window: Window) -> int:
    """The mean draw over a window at the meter, in W, to the nearest."""
    length = window.end_ms - window.start_ms
    return round(window.meter_mj / length) if length else 0
