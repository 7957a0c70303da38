"""What is known of the grid around a site, before anyone says over which time; and what a study takes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256

import numpy as np

from fabrique.core.admission.rules import Rules
from fabrique.core.carbon import Factor
from fabrique.core.energy import Window
from fabrique.core.errors import FabriqueError
from fabrique.core.units import HOUR_MS
from fabrique.grid.known import Known
from fabrique.twin.fleet import Fleet
from fabrique.twin.standing import Outlook
from fabrique.twin.trace import Trace
from fabrique.twin.weather import DAY_MS, Weather, average, weather


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """One zone's intensity (a file's, or a yearly average) and price; `shift`: other years may stand in.

    `lag_ms` is how far persistence looks back where no forecast was published.
    """

    zone: str
    intensity: Known | Factor
    price: Known | None = None
    shift: bool = False
    lag_ms: int = DAY_MS

    def over(self, window: Window) -> Weather:
        """Raises `grid.gap` at the first step that nothing is known of, `grid.zone` for another zone's series."""
        return weather(
            window, self.intensity, self.price, zone=self.zone, step_ms=HOUR_MS, shift=self.shift, lag_ms=self.lag_ms
        )

    @property
    def digest(self) -> str:
        said: dict[str, object] = {"zone": self.zone, "shift": self.shift, "lag_ms": self.lag_ms}
        for name, known in (("intensity", self.intensity), ("price", self.price)):
            said[name] = known.digests if isinstance(known, Known) else None if known is None else asdict(known)
        return sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def averages(fleet: Fleet) -> tuple[Grid | None, ...]:
    """By site, its zone's latest yearly average; None where the site has no zone, or nobody published one."""
    found: list[Grid | None] = []
    for site in fleet.sites:
        try:
            found.append(Grid(zone=site.zone, intensity=average(site.zone)) if site.zone else None)
        except FabriqueError:
            found.append(None)
    return tuple(found)


def planned(trace: Trace) -> Window | None:
    """What a decision may look at: from the first submission until the last flexible job could end at the latest."""
    if not len(trace):
        return None
    latest = trace.submit_ms + np.maximum(trace.slack_ms, 0) + 2 * trace.walltime_ms
    flexible = latest[trace.slack_ms >= 0]
    end = max(int(trace.submit_ms[-1]), int(flexible.max(initial=0)))
    return Window(int(trace.submit_ms[0]), min(end, int(trace.submit_ms[-1]) + 28 * DAY_MS) + HOUR_MS)


def outlook(rules: Rules, weathers: Sequence[Weather | None]) -> Outlook | None:
    """The forecast that these rules look at; None where they look at none, or nothing is known. Raises `twin.price`."""
    known = [w for w in weathers if w is not None]
    if not rules.defer or not known:
        return None
    rows = []
    for w in weathers:
        if w is None:
            rows.append(np.zeros(len(known[0].forecast.intensity), np.int64))
        elif rules.signal == "carbon":
            rows.append(w.forecast.intensity)
        elif w.forecast.price is not None:
            rows.append(w.forecast.price)
        else:
            raise FabriqueError("twin.price", rules=rules.name, zone=w.zone)
    first = known[0].forecast
    return Outlook(forecast=np.array(rows, np.int64), start_ms=first.start_ms, step_ms=first.step_ms)
