"""A chart, its two drawings, and the same numbers as a table; axes that start from zero and name their unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fabrique.charts import svg

WIDE: Final = 960
NARROW: Final = 400


@dataclass(frozen=True, slots=True)
class Chart:
    """`wide` and `narrow` are SVG; `head` and `rows` say the same numbers as words, the first column names the row."""

    title: str
    desc: str
    wide: str
    narrow: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def cells(self) -> list[list[tuple[str, str]]]:
        """The rows, each text with the head of its column."""
        return [list(zip(self.head, row, strict=False)) for row in self.rows]


@dataclass(frozen=True, slots=True)
class Axis:
    """How values are said (with their unit), and instants: `at` under the time axis, `when` in the table."""

    say: Callable[[float], str]
    at: Callable[[int], str]
    when: Callable[[int], str]
    hour: Callable[[int], int]  # the local hour of an instant, to put ticks on round hours


@dataclass(frozen=True, slots=True)
class Frame:
    """The drawing's inside: [x0, x1] for [from_ms, to_ms), y from `bottom` (zero) up to `top` (`most`)."""

    size: tuple[int, int]
    x0: float
    x1: float
    top: float
    bottom: float
    from_ms: int
    to_ms: int
    most: float

    def x(self, ms: float) -> float:
        span = max(self.to_ms - self.from_ms, 1)
        return self.x0 + (min(max(ms, self.from_ms), self.to_ms) - self.from_ms) / span * (self.x1 - self.x0)

    def y(self, value: float) -> float:
        return self.bottom - min(max(value, 0), self.most) / self.most * (self.bottom - self.top)

    @property
    def narrow(self) -> bool:
        return self.size[0] <= NARROW

    @property
    def font(self) -> int:
        return 13 if self.narrow else 14


def nice_most(value: float, ticks: int = 4) -> tuple[float, float]:
    """The top of an axis from zero that holds `value`, and the round step between its ticks (1, 2 or 5 times 10^n)."""
    if value <= 0:
        return 1.0, 1.0
    step = 1.0
    while step * ticks > value:
        step /= 10
    while step * ticks * 10 <= value:
        step *= 10
    step = next(step * m for m in (1, 2, 5, 10, 20) if step * m * ticks >= value)
    count = 1
    while step * count < value:
        count += 1
    return step * count, step


def y_margin(most: float, step: float, axis: Axis) -> float:
    """Room for the longest value beside the axis."""
    count = round(most / step) + 1
    return 16 + max(svg.text_width(axis.say(step * n), 14) for n in range(count))


def y_axis(frame: Frame, step: float, say: Callable[[float], str]) -> list[str]:
    """Rules across the plot, each with its value and unit at the left; the one at zero is the axis."""
    parts, value, n = [], 0.0, 0
    while value <= frame.most * 1.0001:
        y = frame.y(value)
        parts.append(
            svg.line(frame.x0, y, frame.x1, y, "axis" if n == 0 else "rule", svg.MUTED if n == 0 else svg.RULE)
        )
        parts.append(svg.label(frame.x0 - 8, y + frame.font * 0.35, say(value), frame.font, "end", fill=svg.MUTED))
        n += 1
        value = step * n
    return parts


def time_axis(frame: Frame, axis: Axis) -> list[str]:
    """Ticks on round local hours, as many as have room."""
    hours = (frame.to_ms - frame.from_ms) / 3_600_000
    room = 5 if frame.narrow else 9
    every = next((h for h in (1, 2, 3, 4, 6, 12, 24, 48, 96, 168, 336, 720, 1440, 2160) if hours / h <= room), 4320)
    parts = []
    ms = -(-frame.from_ms // 3_600_000) * 3_600_000
    while ms <= frame.to_ms:
        day = ms // 86_400_000
        on_tick = axis.hour(ms) % min(every, 24) == 0 if every < 24 else axis.hour(ms) == 0 and day % (every // 24) == 0
        if on_tick:
            x = frame.x(ms)
            parts.append(svg.line(x, frame.bottom, x, frame.bottom + 5, "axis", svg.MUTED))
            anchor = "start" if x - frame.x0 < 16 else "end" if frame.x1 - x < 16 else "middle"
            parts.append(svg.label(x, frame.bottom + 20, axis.at(ms), frame.font, anchor, fill=svg.MUTED))
        ms += 3_600_000
    return parts
