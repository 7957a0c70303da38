"""Bars across: parts of a whole side by side, and shares against what each is entitled to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fabrique.charts import svg
from fabrique.charts.chart import NARROW, WIDE, Chart


@dataclass(frozen=True, slots=True)
class Part:
    """`pattern` is a word for the class of what is no ordinary part: down, free."""

    name: str
    value: float
    colour: int | None = 0
    faint: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """One whole with its parts; `note` stands at the right, as what it adds up to."""

    name: str
    parts: Sequence[Part]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """What is used of a whole (0 to 1) against the part that one is entitled to; None is not published."""

    name: str
    used: float
    entitled: float | None
    said_used: str
    said_entitled: str
    colour: int = 0


def stacked(
    key: str, title: str, desc: str, bars: Sequence[Bar], say: Callable[[float], str], head: Sequence[str]
) -> Chart:
    """Each bar is its whole from side to side; each part is named in the bar where it has room, else below it."""
    wide = _stacked(key, title, desc, bars, say, WIDE, "wide")
    narrow = _stacked(key, title, desc, bars, say, NARROW, "narrow")
    rows = [[b.name, *(f"{say(p.value)} {p.name}" for p in b.parts), b.note] for b in bars]
    return Chart(title, desc, wide, narrow, head, rows)


def _stacked(
    key: str, title: str, desc: str, bars: Sequence[Bar], say: Callable[[float], str], width: int, css: str
) -> str:
    parts, y, font = [], 0.0, 13 if width == NARROW else 14
    for bar in bars:
        parts += [svg.label(0, y + 16, bar.name, font, **{"font-weight": "600"})]
        parts += [svg.label(width, y + 16, bar.note, font, "end", fill=svg.MUTED)]
        parts += _whole(bar, y + 26, width)
        words = " · ".join(f"{say(p.value)} {p.name}" for p in bar.parts if p.value)
        parts.append(svg.label(0, y + 64, words, font, fill=svg.MUTED))
        y += 84
    return svg.document(key, (width, max(int(y) - 10, 20)), css, title, desc, parts)


def _whole(bar: Bar, y: float, width: int) -> list[str]:
    total = sum(max(p.value, 0) for p in bar.parts)
    parts = [svg.rect(0, y, width, 20, {"class": "track", "fill": "#EEF1F3"})]
    x = 0.0
    for part in bar.parts:
        size = width * max(part.value, 0) / total if total else 0
        colours = svg.paint(part.colour)
        if part.faint:
            colours |= {"class": f"{colours['class']} faint", "fill-opacity": "0.25"}
        if size:
            parts.append(svg.rect(x, y, max(size - (2 if x + size < width - 1 else 0), 1), 20, colours))
        x += size
    return parts


def shares(key: str, title: str, desc: str, rows: Sequence[Share], head: Sequence[str]) -> Chart:
    """Bars from 0 to 100 % of the whole; a mark with its name where the entitlement ends."""
    wide = _shares(key, title, desc, rows, WIDE, "wide")
    narrow = _shares(key, title, desc, rows, NARROW, "narrow")
    return Chart(title, desc, wide, narrow, head, [[r.name, r.said_used, r.said_entitled] for r in rows])


def _shares(key: str, title: str, desc: str, rows: Sequence[Share], width: int, css: str) -> str:
    parts, y, font = [], 0.0, 13 if width == NARROW else 14
    for row in rows:
        parts += [svg.label(0, y + 16, row.name, font, **{"font-weight": "600"})]
        parts += [svg.label(width, y + 16, row.said_used, font, "end")]
        parts += [svg.rect(0, y + 26, width, 16, {"class": "track", "fill": "#EEF1F3"})]
        parts += [svg.rect(0, y + 26, width * min(max(row.used, 0), 1), 16, svg.paint(row.colour))]
        if row.entitled is not None:
            x = width * min(max(row.entitled, 0), 1)
            parts.append(svg.line(x, y + 22, x, y + 48, "mark", svg.INK, 2))
            anchor = "end" if x > width * 0.6 else "start"
            shift = -4 if anchor == "end" else 4
            parts.append(svg.label(x + shift, y + 60, row.said_entitled, font, anchor, fill=svg.MUTED))
        else:
            parts.append(svg.label(0, y + 60, row.said_entitled, font, fill=svg.MUTED))
        y += 80
    return svg.document(key, (width, max(int(y) - 10, 20)), css, title, desc, parts)
