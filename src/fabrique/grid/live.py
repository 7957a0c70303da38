"""A zone's intensity as an operator keeps it up in files, for a hub that runs: read again whenever a file changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from fabrique.core.carbon import Factor
from fabrique.core.energy import Window
from fabrique.core.errors import FabriqueError
from fabrique.core.units import HOUR_MS
from fabrique.grid.known import Known, load
from fabrique.grid.providers import STALE_MS, FileProvider, Forecast

BRIDGE_MS: Final = 3 * HOUR_MS

_Stamp = tuple[tuple[int, int] | None, ...]  # of each file: when it changed, and its size; None: it isn't there


class Hourly:
    """What was in the file `actual`, what was expected in `forecast`, else by persistence. Each answer says how.

    A forecast file counts from its first step on. Holes up to three hours are bridged and said.
    """

    def __init__(self, zone: str, actual: Path, forecast: Path | None = None) -> None:
        self.zone = zone
        self.files = (actual, forecast)
        self._stamp: _Stamp | None = None
        self._known: Known | FabriqueError = FabriqueError("grid.gap", zone=zone)
        self._told = ""

    def expected(self, at_ms: int) -> tuple[Factor, str]:
        """What is expected of an instant, from what is known at it. Raises `grid.file`, `grid.zone`, `grid.gap`."""
        known = self._read()
        published = () if known.forecast is None else (_published(known),)
        found = FileProvider(known.actual, published).forecast(at_ms, 1)
        (_, factor), *_ = found.series.factors(Window(at_ms, at_ms + 1))
        return factor, f"forecast, {found.method}"

    def actual(self, window: Window) -> tuple[Factor, str]:
        """What was, weighted by time. Raises `grid.file`, `grid.zone`; `grid.gap` while a part of it is not known."""
        known = self._read()
        window = window if window.length_ms else Window(window.start_ms, window.start_ms + 1)
        mean = known.actual.mean(window)
        bridged = any(hole.cut(window) for hole in known.actual.bridged)
        factor = replace(_like(known), mg_per_kwh=mean, valid_from_ms=window.start_ms, valid_to_ms=window.end_ms)
        return factor, "actual, partly bridged" if bridged else "actual"

    def news(self, now: int) -> str | None:
        """What is wrong with the files, once; an empty text when it is mended; None where nothing changed."""
        problem = self._problem(now)
        # the instant moves on from one look to the next; what is wrong stays the same
        kind = f"{problem.code} {problem.params.get('complaints')}" if problem else ""
        if kind == self._told:
            return None
        self._told = kind
        return str(problem or "")

    def _problem(self, now: int) -> FabriqueError | None:
        try:
            end_ms = self._read().actual.steps[-1].window.end_ms
            self.expected(now)
        except FabriqueError as error:
            return error
        stale = FabriqueError("grid.gap", zone=self.zone, quantity="intensity", at_ms=end_ms)
        return stale if now - end_ms > STALE_MS else None

    def _read(self) -> Known:
        stamp = tuple(_stamp(path) for path in self.files)
        if stamp != self._stamp:
            self._known, self._stamp = self._load(), stamp
        if isinstance(self._known, FabriqueError):
            raise FabriqueError(self._known.code, **self._known.params)
        return self._known

    def _load(self) -> Known | FabriqueError:
        actual, forecast = self.files
        try:
            known = load(actual, forecast=forecast, bridge_ms=BRIDGE_MS)
        except FabriqueError as error:
            return error
        own = known.actual
        if own.zone != self.zone or own.quantity != "intensity":
            return FabriqueError("grid.zone", series=f"{own.zone} ({own.quantity})", zone=self.zone)
        return known if own.steps else FabriqueError("grid.gap", zone=self.zone)


def _published(known: Known) -> Forecast:
    told = known.forecast
    if told is None or not told.steps:
        return Forecast(0, "published", replace(known.actual, steps=()))
    return Forecast(told.steps[0].window.start_ms, "published", told)


def _like(known: Known) -> Factor:
    if known.actual.like is None:
        raise FabriqueError("grid.zone", series=known.actual.quantity, zone=known.actual.zone)
    return known.actual.like


def _stamp(path: Path | None) -> tuple[int, int] | None:
    try:
        found = path.stat() if path else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size) if found else None
