"""Who says what the grid was and what it will be; the two are never mixed.

No provider here opens a connection: the yearly average of a zone, and series that an operator puts in a file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from fabrique.core.carbon import Factor
from fabrique.core.energy import Window
from fabrique.core.errors import FabriqueError
from fabrique.core.units import HOUR_MS, ceil_divide
from fabrique.grid.series import Series, Step, series

_DAY_MS: Final = 24 * HOUR_MS
STALE_MS: Final = 7 * _DAY_MS
_INTENSITY_UNIT: Final = "mg/kWh"


@dataclass(frozen=True, slots=True)
class Forecast:
    """What was expected at `made_at_ms` for the instants from then on, and by which `method`."""

    made_at_ms: int
    method: str
    series: Series


class Provider(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def zone(self) -> str: ...

    def actual(self, window: Window) -> Series:
        """What was, over `window`, without a hole. Raises `grid.gap`."""
        ...

    def forecast(self, at_ms: int, horizon_ms: int) -> Forecast:
        """What was expected at `at_ms` for [`at_ms`, `at_ms` + `horizon_ms`), from what was known then alone.

        Raises `grid.gap` when nothing was.
        """
        ...


@dataclass(frozen=True, slots=True)
class YearlyAverage:
    """A zone's average of a year, the same at every instant: honest where no series is at hand, and said as such."""

    factor: Factor
    name: str = "yearly-average"

    @property
    def zone(self) -> str:
        return self.factor.zone

    def actual(self, window: Window) -> Series:
        if not self.factor.covers(window):
            raise FabriqueError("grid.gap", zone=self.zone, quantity="intensity", at_ms=window.start_ms)
        steps = [Step(window, self.factor.mg_per_kwh)] if window.length_ms else []
        return series(self.zone, "intensity", _INTENSITY_UNIT, self.factor.source, steps, self.factor)

    def forecast(self, at_ms: int, horizon_ms: int) -> Forecast:
        return Forecast(at_ms, self.name, self.actual(Window(at_ms, at_ms + horizon_ms)))


@dataclass(frozen=True, slots=True)
class FileProvider:
    """A series that was read from a file, and the forecasts that were published with it, if any.

    Without a published forecast the next days are taken to be as the last whole one (daily persistence); with less
    than a day known, as the last value; with nothing known of the last seven days, there is none. Only steps that
    had ended count as known, and a published forecast only from the instant it was made.
    """

    series: Series
    published: Sequence[Forecast] = ()
    name: str = "file"

    @property
    def zone(self) -> str:
        return self.series.zone

    def actual(self, window: Window) -> Series:
        return self._with(self.series.over(window))

    def forecast(self, at_ms: int, horizon_ms: int) -> Forecast:
        window = Window(at_ms, at_ms + horizon_ms)
        for forecast in sorted(self.published, key=lambda f: -f.made_at_ms):
            if forecast.made_at_ms <= at_ms and _covers(forecast.series, window):
                return Forecast(forecast.made_at_ms, forecast.method, self._with(forecast.series.over(window)))
        return self._persistence(window)

    def _persistence(self, window: Window) -> Forecast:
        at_ms = window.start_ms
        ended = bisect_right(self.series.steps, at_ms, key=lambda s: s.window.end_ms)
        last = self.series.steps[ended - 1] if ended else None
        if last is None or at_ms - last.window.end_ms > STALE_MS:
            raise FabriqueError("grid.gap", zone=self.zone, quantity=self.series.quantity, at_ms=at_ms)
        day = Window(last.window.end_ms - _DAY_MS, last.window.end_ms)
        if not _covers(self.series, day):
            steps = (Step(window, last.value),) if window.length_ms else ()
            return Forecast(at_ms, "last-value", self._with(steps))
        days = range(1, ceil_divide(window.end_ms - day.end_ms, _DAY_MS) + 1)
        repeated = self._with(tuple(_shifted(s, n * _DAY_MS) for n in days for s in self.series.over(day)))
        return Forecast(at_ms, "daily-persistence", self._with(repeated.over(window)))

    def _with(self, steps: tuple[Step, ...]) -> Series:
        own = self.series
        return series(own.zone, own.quantity, own.unit, own.source, steps, own.like)


def _covers(known: Series, window: Window) -> bool:
    try:
        known.over(window)
    except FabriqueError:
        return False
    return True


def _shifted(step: Step, by_ms: int) -> Step:
    return Step(Window(step.window.start_ms + by_ms, step.window.end_ms + by_ms), step.value)
