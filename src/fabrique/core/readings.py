"""From readings to energy: counters that wrap, restart or say nothing, and samples of power with holes.

What was not read is a gap with its cause, never joules. Windows add up: the energy of [a, b) and of [b, c), from the
same readings, is that of [a, c) to the millijoule.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from fabrique.core.energy import Provenance, Window, least_certain

# Twice a millijoule's microjoules: the trapezoid of two samples in mW over ms is whole in this unit.
_FINE: Final = 2000
# A counter is refreshed at its own pace (20 to 100 ms on GPUs), so two readings may hold a little more than their time.
_REFRESH_MS: Final = 1000
# Slurm's "infinite" and "not set" in 64 bits; the same texts mean "no value" in other vendors' libraries.
_SENTINELS: Final = frozenset({2**64 - 1, 2**64 - 2})


def value_or_unknown(raw: int | None) -> int | None:
    """`raw`, or None where it is no quantity: negative (as Slurm's -2) or a sentinel of 64 bits."""
    return None if raw is None or raw < 0 or raw in _SENTINELS else raw


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer of a meter at `at_ms` (UTC): a counter in mJ or a power in mW; neither of them is no answer."""

    source: str
    at_ms: int
    provenance: Provenance
    counter_mj: int | None = None
    power_mw: int | None = None

    def __post_init__(self) -> None:
        if self.counter_mj is not None and self.power_mw is not None:
            raise ValueError("a reading is a counter or a power, not both")

    @property
    def known(self) -> bool:
        return value_or_unknown(self.counter_mj) is not None or value_or_unknown(self.power_mw) is not None


@dataclass(frozen=True, slots=True)
class Limits:
    """What is physically possible at one source.

    `most_w`: it never draws more. `wraps_at_mj`: its counter starts again from 0 there (None: it does not wrap).
    `longest_gap_ms`: two samples of power further apart leave a gap; a counter needs no samples in between.
    """

    most_w: int
    wraps_at_mj: int | None = None
    longest_gap_ms: int = 15_000


class GapCause(Enum):
    LATE = "late"  # samples of power too far apart
    NO_VALUE = "no-value"  # a sentinel, or no answer, in between
    RESTART = "restart"  # the counter fell and did not wrap: the driver was loaded again
    IMPOSSIBLE = "impossible"  # more than the device could draw
    WRAPS = "wraps"  # so long that the counter may have wrapped more than once
    MIXED = "mixed"  # a counter on one side, a power on the other
    UNREAD = "unread"  # before the first reading or after the last


@dataclass(frozen=True, slots=True)
class Gap:
    window: Window
    cause: GapCause


@dataclass(frozen=True, slots=True)
class Metered:
    """Energy read over a window, and what of the window it does not cover. None: nothing could be read."""

    window: Window
    energy_mj: int | None
    covered_ms: int
    gaps: tuple[Gap, ...]
    provenance: Provenance | None


@dataclass(frozen=True, slots=True)
class _Segment:
    """Between two readings: energy in half microjoules, or the cause why there is none."""

    window: Window
    fine: int
    gap: GapCause | None

    def until(self, at_ms: int) -> int:
        """Energy up to `at_ms`, spread evenly, in half microjoules."""
        inside = min(max(at_ms - self.window.start_ms, 0), self.window.length_ms)
        return self.fine * inside // self.window.length_ms


def metered(readings: Iterable[Reading], window: Window, limits: Limits) -> Metered:
    """The energy of one source over `window` (half-open), in mJ.

    Between two readings of a counter, its difference is spread evenly; between two of power, their mean.
    Raises ValueError when readings of several sources are mixed.
    """
    in_order = _in_order(readings)
    segments = list(_segments(in_order, limits))
    covered = [s for s in segments if s.gap is None and s.window.cut(window)]
    gaps = _gaps(segments, window)
    energy = sum(s.until(window.end_ms) for s in segments) // _FINE - (
        sum(s.until(window.start_ms) for s in segments) // _FINE
    )
    return Metered(
        window=window,
        energy_mj=energy if covered else None,
        covered_ms=window.length_ms - sum(g.window.length_ms for g in gaps),
        gaps=gaps,
        provenance=least_certain(r.provenance for r in in_order) if covered else None,
    )


def _in_order(readings: Iterable[Reading]) -> list[Reading]:
    """By time; of two at the same instant the last given stays."""
    by_time = {r.at_ms: r for r in readings}
    if len({r.source for r in by_time.values()}) > 1:
        raise ValueError("one source at a time")
    return [by_time[at] for at in sorted(by_time)]


def _segments(readings: Sequence[Reading], limits: Limits) -> Iterator[_Segment]:
    """One segment between each two readings that have a value; answers without one are bridged or become the cause."""
    last: Reading | None = None
    silent = False
    for reading in readings:
        if not _plausible(reading, limits):
            silent = True
            continue
        if last is not None:
            yield _segment(last, reading, limits, silent)
        last, silent = reading, False


def _plausible(reading: Reading, limits: Limits) -> bool:
    return reading.known and (reading.power_mw is None or reading.power_mw <= limits.most_w * 1000)


def _segment(a: Reading, b: Reading, limits: Limits, silent: bool) -> _Segment:
    window = Window(a.at_ms, b.at_ms)
    if a.counter_mj is not None and b.counter_mj is not None:
        found = _counted(b.counter_mj - a.counter_mj, window.length_ms, limits)
    elif a.power_mw is not None and b.power_mw is not None:
        found = (a.power_mw + b.power_mw) * window.length_ms
        if window.length_ms > limits.longest_gap_ms:
            found = GapCause.NO_VALUE if silent else GapCause.LATE
    else:
        found = GapCause.MIXED
    return _Segment(window, 0, found) if isinstance(found, GapCause) else _Segment(window, found, None)


def _counted(difference_mj: int, length_ms: int, limits: Limits) -> int | GapCause:
    """A counter's difference in half microjoules, or why it is none: W × ms = mJ bounds it."""
    possible_mj = limits.most_w * (length_ms + _REFRESH_MS)
    if limits.wraps_at_mj is not None and limits.most_w * length_ms >= limits.wraps_at_mj:
        return GapCause.WRAPS
    if difference_mj < 0:
        if limits.wraps_at_mj is None or difference_mj + limits.wraps_at_mj < 0:
            return GapCause.RESTART
        difference_mj += limits.wraps_at_mj
        return difference_mj * _FINE if difference_mj <= possible_mj else GapCause.RESTART
    return difference_mj * _FINE if difference_mj <= possible_mj else GapCause.IMPOSSIBLE


def _gaps(segments: Sequence[_Segment], window: Window) -> tuple[Gap, ...]:
    """What of `window` was not read, in order, with the cause."""
    if not segments:
        return (Gap(window, GapCause.UNREAD),) if window.length_ms else ()
    first, last = segments[0].window.start_ms, segments[-1].window.end_ms
    missing = [(s.window, s.gap) for s in segments if s.gap is not None]
    if window.start_ms < first:
        missing.insert(0, (Window(window.start_ms, first), GapCause.UNREAD))
    if last < window.end_ms:
        missing.append((Window(last, window.end_ms), GapCause.UNREAD))
    return tuple(Gap(part, cause) for whole, cause in missing if (part := whole.cut(window)))
