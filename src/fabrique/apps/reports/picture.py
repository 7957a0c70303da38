"""One small picture for a statement: hours used over the period, against what was granted. SVG, self-contained."""

from __future__ import annotations

from typing import Final
from xml.sax.saxutils import escape, quoteattr

from fabrique.apps.reports.statement import UnitAccount
from fabrique.core.units import Amount, is_time
from fabrique.language.say import Speaker

WIDTH, HEIGHT = 640, 180
LEFT, RIGHT, TOP, BOTTOM = 8, 632, 26, 150
BLUE: Final = "#0072B2"  # of Okabe and Ito's palette
MOST_POINTS: Final = 400


def hours_picture(account: UnitAccount, from_ms: int, to_ms: int, speaker: Speaker) -> tuple[str, str] | None:
    """(SVG, its description) for a unit of time that was granted or used; None for another. The axis starts at zero."""
    if not is_time(account.unit):
        return None
    granted, used = account.closing["granted"].value, account.closing["used"].value
    start = used - account.movements["used"].value
    points = [(from_ms, start), *account.history, (to_ms, used)]
    top = max(granted, *(value for _, value in points), 1)
    path = _steps(points[:: max(1, len(points) // MOST_POINTS)] + points[-1:], from_ms, to_ms, top)
    unit = account.unit
    description = speaker.text(
        "Hours used in the period: from {start} to {used}, of {granted} granted.",
        start=speaker.amount(Amount(unit, start)),
        used=speaker.amount(Amount(unit, used)),
        granted=speaker.amount(Amount(unit, granted)),
    )
    marks = [
        _line(_y(granted, top), "stroke-dasharray='5 4'"),
        _line(BOTTOM, ""),
        f"<path d='{path}' fill='none' stroke='{BLUE}' stroke-width='2'/>",
        _label(LEFT, _y(granted, top) - 5, speaker.text("Granted") + " " + speaker.figure(Amount(unit, granted))),
        _label(RIGHT, min(_y(used, top) - 5, BOTTOM - 5), _used(account, speaker), "end", BLUE),
        _label(LEFT, BOTTOM + 16, speaker.date(from_ms)),
        _label(RIGHT, BOTTOM + 16, speaker.date(to_ms), "end"),
    ]
    return _svg(marks, description), description


def _used(account: UnitAccount, speaker: Speaker) -> str:
    return speaker.text("Used") + " " + speaker.figure(Amount(account.unit, account.closing["used"].value))


def _steps(points: list[tuple[int, int]], from_ms: int, to_ms: int, top: int) -> str:
    """A staircase: a value holds until the next charge."""
    x, y = _x(points[0][0], from_ms, to_ms), _y(points[0][1], top)
    parts = [f"M{x} {y}"]
    for at_ms, value in points[1:]:
        parts.append(f"H{_x(at_ms, from_ms, to_ms)}V{_y(value, top)}")
    return "".join(parts)


def _x(at_ms: int, from_ms: int, to_ms: int) -> int:
    inside = min(max(at_ms, from_ms), to_ms)
    return LEFT + (RIGHT - LEFT) * (inside - from_ms) // (to_ms - from_ms)


def _y(value: int, top: int) -> int:
    return BOTTOM - (BOTTOM - TOP) * max(value, 0) // top


def _line(y: int, extra: str) -> str:
    return f"<line x1='{LEFT}' y1='{y}' x2='{RIGHT}' y2='{y}' stroke='currentColor' stroke-width='1' {extra}/>"


def _label(x: int, y: int, text: str, anchor: str = "start", colour: str = "currentColor") -> str:
    return f"<text x='{x}' y='{y}' text-anchor='{anchor}' fill='{colour}'>{escape(text)}</text>"


def _svg(marks: list[str], description: str) -> str:
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' role='img' "
        f"aria-label={quoteattr(description)} font-size='12' font-family='system-ui, Libertinus Serif, serif'>"
        f"<title>{escape(description)}</title>{''.join(marks)}</svg>"
    )
