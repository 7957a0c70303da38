"""A value of the grid over time: half-open steps of UTC epoch milliseconds, with whole numbers.

Intensities are mg CO2e per kWh; prices are micro-units of a currency per MWh. What is missing is missing: a short
hole may be bridged with the value before it, and the series says which ones were.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal

from fabrique.core.carbon import Factor
from fabrique.core.energy import Window
from fabrique.core.errors import FabriqueError
from fabrique.core.units import HOUR_MS, MICRO, divide

Quantity = Literal["intensity", "price"]

# Burning lignite alone is near 1.2 kg/kWh; European day-ahead auctions stop at -500 €/MWh, continuous trade at 9999.
POSSIBLE: Final[dict[Quantity, tuple[int, int]]] = {
    "intensity": (0, 2_000_000),
    "price": (-500 * MICRO, 10_000 * MICRO),
}
_SUNDAY: Final = 6
_MONTHS_OF_CLOCK_CHANGES: Final = (3, 10, 11)
_HOURS_SKIPPED: Final = (1, 2, 3)  # by local clocks, from Lisbon to Helsinki and in North America


@dataclass(frozen=True, slots=True)
class Step:
    window: Window
    value: int


@dataclass(frozen=True, slots=True)
class Series:
    """Steps in order that never overlap. `like` is the sort of factor an intensity is (its value left aside).

    `unit` is mg/kWh for intensities, u<ISO 4217>/MWh for prices. `bridged`: windows filled with the value before them.
    """

    zone: str
    quantity: Quantity
    unit: str
    source: str
    steps: tuple[Step, ...]
    like: Factor | None = None
    bridged: tuple[Window, ...] = ()

    def at(self, at_ms: int) -> int | None:
        """The value at an instant, None where there is none."""
        index = bisect_right(self.steps, at_ms, key=lambda s: s.window.start_ms) - 1
        return self.steps[index].value if index >= 0 and at_ms < self.steps[index].window.end_ms else None

    def over(self, window: Window) -> tuple[Step, ...]:
        """The steps within `window`, cut to it, without a hole. Raises `grid.gap`, naming the first one."""
        steps = self.known(window)
        at = window.start_ms
        for step in steps:
            if step.window.start_ms > at:
                break
            at = step.window.end_ms
        if at < window.end_ms:
            raise FabriqueError("grid.gap", zone=self.zone, quantity=self.quantity, at_ms=at)
        return steps

    def known(self, window: Window) -> tuple[Step, ...]:
        """The steps within `window`, cut to it, holes and all."""
        first = max(bisect_right(self.steps, window.start_ms, key=lambda s: s.window.start_ms) - 1, 0)
        after = bisect_right(self.steps, window.end_ms, key=lambda s: s.window.start_ms)
        cuts = ((s.window.cut(window), s.value) for s in self.steps[first:after])
        return tuple(Step(part, value) for part, value in cuts if part is not None)

    def mean(self, window: Window) -> int:
        """Weighted by time, to the nearest whole. Raises `grid.gap`; ValueError for an empty window."""
        if not window.length_ms:
            raise ValueError("an empty window has no mean")
        return divide(sum(s.value * s.window.length_ms for s in self.over(window)), window.length_ms)

    def factors(self, window: Window) -> tuple[tuple[Window, Factor], ...]:
        """An intensity's steps as factors, each valid in its own window. Raises `grid.gap`."""
        if self.like is None:
            raise ValueError(f"a {self.quantity} is no carbon factor")
        return tuple(
            (
                s.window,
                replace(
                    self.like,
                    mg_per_kwh=s.value,
                    valid_from_ms=s.window.start_ms,
                    valid_to_ms=s.window.end_ms,
                ),
            )
            for s in self.over(window)
        )


def series(
    zone: str,
    quantity: Quantity,
    unit: str,
    source: str,
    steps: Iterable[Step],
    like: Factor | None = None,
    bridge_ms: int = 0,
) -> Series:
    """A checked series. Holes up to `bridge_ms` are bridged and listed; longer ones stay holes.

    Raises `grid.broken` with `why`: impossible (a value no grid has), overlap or order (a step starts before the one
    ahead of it ended), clock-change (the same, by an hour, on a Sunday when clocks change: these are local times).
    """
    kept: list[Step] = []
    bridged: list[Window] = []
    for step in steps:
        why = refused(quantity, step, kept[-1] if kept else None)
        if why is not None:
            raise FabriqueError("grid.broken", zone=zone, why=why, at_ms=step.window.start_ms, value=step.value)
        if kept and 0 < step.window.start_ms - kept[-1].window.end_ms <= bridge_ms:
            hole = Window(kept[-1].window.end_ms, step.window.start_ms)
            bridged.append(hole)
            kept.append(Step(hole, kept[-1].value))
        kept.append(step)
    return Series(zone, quantity, unit, source, tuple(kept), like, tuple(bridged))


def refused(quantity: Quantity, step: Step, before: Step | None) -> str | None:
    """Why `step` cannot follow `before`, or None."""
    least, most = POSSIBLE[quantity]
    if not least <= step.value <= most:
        return "impossible"
    if not step.window.length_ms:
        return "empty"
    if before is None or step.window.start_ms >= before.window.end_ms:
        return None
    by = before.window.end_ms - step.window.start_ms
    if by <= HOUR_MS and changes_clocks(step.window.start_ms):
        return "clock-change"
    return "overlap" if step.window.start_ms >= before.window.start_ms else "order"


def skipped(step: Step, before: Step | None) -> str | None:
    """clock-change where `step` leaves out the hour that local clocks skip in spring: the times are local."""
    if before is None or step.window.length_ms > HOUR_MS:
        return None
    return "clock-change" if hour_missing_by_clock_change(before, step) else None


def changes_clocks(at_ms: int) -> bool:
    """Whether clocks may change that day in Europe or North America: a Sunday of March, October or November."""
    day = datetime.fromtimestamp(at_ms / 1000, UTC)
    return day.weekday() == _SUNDAY and day.month in _MONTHS_OF_CLOCK_CHANGES


def hour_missing_by_clock_change(before: Step, after: Step) -> bool:
    """Whether the hole between two steps is the hour that local clocks skip in spring: the day then has 23 hours."""
    hole = Window(before.window.end_ms, after.window.start_ms)
    start = datetime.fromtimestamp(hole.start_ms / 1000, UTC)
    in_spring = start.month == 3 and start.hour in _HOURS_SKIPPED and changes_clocks(hole.start_ms)
    return hole.length_ms == HOUR_MS and in_spring
