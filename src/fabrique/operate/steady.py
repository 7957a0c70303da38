"""Follow the wall clock by one that never steps, so that a window is as long as it was.

The wall clock may be set forward or back between two turns; the machine's own clock since its start goes on evenly,
also while it sleeps. Both are read together at each turn, and remembered in this process alone: a loop that was down,
or that did not lead, knows nothing of the time between, and then the wall clock is believed.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

# Below it, it is the time between reading one clock and the other.
NOISE_MS: Final = 100
_MARKS: Final = 1_000  # so many are remembered


def since_boot_ms() -> int:
    """Milliseconds since the machine started, its sleep included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class Steady:
    """Instants of the wall clock as it showed them, said as it shows them now. All in milliseconds."""

    def __init__(self) -> None:
        self._now, self._ticks, self._since = 0, 0, 0  # this turn's instant by either clock, the last turn's
        self._stepped = 0  # what the wall clock jumped by in between
        self._marks: OrderedDict[int, int] = OrderedDict()  # what the wall clock showed -> the steady one then
        self._starts: dict[str, tuple[int, int]] = {}  # run -> its start as it was told, and by the steady clock

    def turn(self, now: int, ticks: int, starts: Mapping[str, int]) -> None:
        """Now it is `now`, and `ticks` by the steady clock; `starts` are those of the runs that live."""
        self._since = self._now or now
        self._stepped = now - self._since - (ticks - self._ticks) if self._now else 0
        if abs(self._stepped) <= NOISE_MS:
            self._stepped = 0
        self._now, self._ticks = now, ticks
        known = self._starts
        self._starts = {
            run: known[run] if run in known and known[run][0] == at else (at, ticks - (now - self.told(at)))
            for run, at in starts.items()
        }

    def mark(self, at: int) -> None:
        """Remembers this turn's instant, so that `seen` knows it."""
        if at != self._now:
            return
        self._marks[at] = self._ticks
        while len(self._marks) > _MARKS:
            self._marks.popitem(last=False)

    def seen(self, at: int) -> int:
        """An instant that was marked; any other stays."""
        ticks = self._marks.get(at)
        if ticks is None:
            return at
        moved = self._moved(at, ticks)
        self._marks[moved] = ticks
        return moved

    def told(self, at: int) -> int:
        """One told since the last turn: if the clock as it is now never showed it, it is from before its step."""
        before = self._stepped and (at < self._since + self._stepped or at > self._now)
        return at + self._stepped if before else at

    def start(self, run: str, at: int) -> int:
        """When the run started; one that was there at an earlier turn started before it, whatever was set since."""
        known = self._starts.get(run)
        return self._moved(at, known[1]) if known and known[0] == at else self.told(at)

    def _moved(self, at: int, ticks: int) -> int:
        moved = self._now - (self._ticks - ticks)
        return at if abs(moved - at) <= NOISE_MS else moved
