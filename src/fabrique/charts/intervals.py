"""Differences with their intervals, one row each, against a line at zero."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fabrique.charts import svg
from fabrique.charts.chart import NARROW, WIDE, Chart


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference `mean` with its interval [low, high] (None: too short to tell); `note` and `verdict` in words."""

    name: str
    mean: float
    low: float | None
    high: float | None
    note: str
    verdict: str


def intervals(
    key: str,
    title: str,
    desc: str,
    rows: Sequence[Interval],
    zero: str,
    say: Callable[[float], str],
    head: Sequence[str],
) -> Chart:
    """Each interval is a bar with a dot at its mean; `zero` names the line that nothing changes at.

    `head`: the row's name, the difference, its interval, the verdict.
    """
    table = [[r.name, say(r.mean), _said(r, say), r.verdict] for r in rows]
    wide, narrow = (
        _drawn(key, title, desc, rows, zero, say, width, css) for width, css in ((WIDE, "wide"), (NARROW, "narrow"))
    )
    return Chart(title, desc, wide, narrow, head, table)


def _said(row: Interval, say: Callable[[float], str]) -> str:
    return "–" if row.low is None or row.high is None else f"{say(row.low)} … {say(row.high)}"


def _drawn(
    key: str,
    title: str,
    desc: str,
    rows: Sequence[Interval],
    zero: str,
    say: Callable[[float], str],
    width: int,
    css: str,
) -> str:
    font = 13 if width == NARROW else 14
    ends = [x for row in rows for x in (row.mean, row.low, row.high) if x is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    if low == high:  # nothing changes anywhere: the line stands in the middle
        low, high = -1.0, 1.0
    span = high - low
    left, right = 12.0, width - 12.0

    def x(value: float) -> float:
        return left + (value - low) / span * (right - left)

    bottom = 56.0 * len(rows) + 8
    parts: list[str] = []
    for index, row in enumerate(rows):
        parts += _row(row, 56.0 * index, width, font, x)
    anchor = "start" if x(0) < width * 0.25 else "end" if x(0) > width * 0.75 else "middle"
    parts.append(svg.label(x(0), bottom + 18, zero, font, anchor, fill=svg.MUTED))
    for value, side in ((low, "start"), (high, "end")):
        if any(ends) and value and abs(x(value) - x(0)) > width * 0.45:
            parts.append(
                svg.label(0 if side == "start" else width, bottom + 18, say(value), font, side, fill=svg.MUTED)
            )
    return svg.document(key, (width, int(bottom) + 28), css, title, desc, parts)


def _row(row: Interval, y: float, width: int, font: int, x: Callable[[float], float]) -> list[str]:
    parts = [
        svg.label(0, y + 16, row.name, font, **{"font-weight": "600"}),
        svg.label(width, y + 16, row.note, font, "end"),
        svg.line(0, y + 36, width, y + 36, "rule", svg.RULE),
        svg.line(x(0), y + 25, x(0), y + 47, "axis", svg.MUTED),
    ]
    if row.low is not None and row.high is not None:
        parts.append(svg.rect(x(row.low), y + 32, max(x(row.high) - x(row.low), 2), 8, svg.paint(4)))
    dot: dict[str, object] = {"cx": x(row.mean), "cy": y + 36, "r": 6.0}
    return [*parts, svg.el("circle", dot | svg.paint(0))]
