"""One figure: what was measured, what others reach, what was wanted; and the ways to take one."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Reach = Literal["at least", "at most"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """`value` None: not measured, and `note` says why. `target` with `reach` None: a figure that stands for itself."""

    what: str
    value: float | None
    unit: str
    reach: Reach | None = None
    target: float | None = None
    anchor: str = ""
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """None where nothing was wanted, or nothing measured."""
        if self.value is None or self.target is None or self.reach is None:
            return None
        return self.value >= self.target if self.reach == "at least" else self.value <= self.target


def best(act: Callable[[], object], times: int = 3) -> float:
    """Seconds of the quickest of `times` calls."""
    return min(seconds(act) for _ in range(times))


def seconds(act: Callable[[], object]) -> float:
    """Seconds of one call; nothing is collected meanwhile."""
    gc.collect()
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def rank(sorted_values: list[float], permille: int) -> float:
    """The quantile that some value is: the nearest rank above."""
    return sorted_values[-(-len(sorted_values) * permille // 1000) - 1]


def traces() -> Path:
    """The folder of public traces, which FABRIQUE_TRACES names; it may be absent."""
    return Path(os.environ.get("FABRIQUE_TRACES", str(Path(__file__).parents[3] / "shared" / "data")))


def absent(what: str, file: str) -> Figure | None:
    """The row that says so, where a trace is not here."""
    if (traces() / file).is_file():
        return None
    return Figure(what=what, value=None, unit="", note=f"{file} is not here (FABRIQUE_TRACES names its folder)")
