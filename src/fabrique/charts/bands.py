"""A band: one row of cells over time, the darker the more, each labelled where it has room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fabrique.charts import svg
from fabrique.charts.chart import NARROW, WIDE, Axis, Chart, Frame, time_axis

LEVELS: Final = ("#E8F1EC", "#C9E0D4", "#F3E2B8", "#EDC27A", "#D98E5A")  # from little to much


@dataclass(frozen=True, slots=True)
class Cell:
    """`value` holds over [from_ms, to_ms) and belongs to `level`, 0 (little) to 4 (much); None is not known."""

    from_ms: int
    to_ms: int
    value: float | None
    level: int = 0


def band(
    key: str, title: str, desc: str, cells: Sequence[Cell], axis: Axis, head: tuple[str, str], left: float = 60
) -> Chart:
    """Cells side by side; `left` lines the band up with the plot above it."""
    wide = _draw(key, title, desc, cells, axis, (WIDE, 66), "wide", left)
    narrow = _draw(key, title, desc, cells, axis, (NARROW, 66), "narrow", left)
    rows = [[axis.when(c.from_ms), "–" if c.value is None else axis.say(c.value)] for c in cells]
    return Chart(title, desc, wide, narrow, head, rows)


def _draw(
    key: str, title: str, desc: str, cells: Sequence[Cell], axis: Axis, size: tuple[int, int], css: str, left: float
) -> str:
    first = min((c.from_ms for c in cells), default=0)
    last = max((c.to_ms for c in cells), default=1)
    frame = Frame(size, left, size[0] - 12, 6, size[1] - 28, first, last, 1)
    parts = []
    for cell in _merged(cells):
        x, width = frame.x(cell.from_ms), frame.x(cell.to_ms) - frame.x(cell.from_ms)
        parts.append(svg.rect(x, frame.top, width, frame.bottom - frame.top, _colours(cell)))
    for from_ms, to_ms, text in _labels(cells, axis):
        room = frame.x(to_ms) - frame.x(from_ms)
        if svg.text_width(text, frame.font) < room:
            x = frame.x(from_ms) + room / 2
            dark: dict[str, object] = {"class": "t on-cell"}
            parts.append(svg.label(x, frame.bottom - 11, text, frame.font, "middle", **dark))
    return svg.document(key, size, css, title, desc, parts + time_axis(frame, axis))


def _merged(cells: Sequence[Cell]) -> list[Cell]:
    """Cells that touch and have one colour are one: no seam shows between them."""
    found: list[Cell] = []
    for cell in cells:
        last = found[-1] if found else None
        same = last is not None and (last.level, last.value is None) == (cell.level, cell.value is None)
        if last is not None and same and last.to_ms == cell.from_ms:
            found[-1] = Cell(last.from_ms, cell.to_ms, last.value, last.level)
        else:
            found.append(cell)
    return found


def _colours(cell: Cell) -> dict[str, str]:
    if cell.value is None:
        return {"class": "c-none", "fill": "#F1F3F5"}
    level = min(max(cell.level, 0), len(LEVELS) - 1)
    return {"class": f"c{level}", "fill": LEVELS[level]}


def _labels(cells: Sequence[Cell], axis: Axis) -> list[tuple[int, int, str]]:
    """One label a stretch of cells that say the same."""
    found: list[tuple[int, int, str]] = []
    for cell in cells:
        text = "" if cell.value is None else axis.say(cell.value)
        if found and found[-1][2] == text and found[-1][1] == cell.from_ms:
            found[-1] = (found[-1][0], cell.to_ms, text)
        else:
            found.append((cell.from_ms, cell.to_ms, text))
    return [f for f in found if f[2]]
