"""A budget over its time: what is left, the even pace to the end, and where the present pace would lead."""

from __future__ import annotations

from collections.abc import Sequence

from fabrique.charts import svg
from fabrique.charts.chart import NARROW, WIDE, Axis, Chart, Frame, nice_most, time_axis, y_axis, y_margin


def burn_down(
    key: str,
    title: str,
    desc: str,
    left: Sequence[tuple[int, float]],
    ends_ms: int,
    axis: Axis,
    names: tuple[str, str],
    head: tuple[str, str],
) -> Chart:
    """`left` is (instant, what is left from then on), the first being the grant; `names`: what is left, even pace."""
    if not left:
        raise ValueError("a budget has a beginning")
    wide = _draw(key, title, desc, left, ends_ms, axis, names, (WIDE, 260), "wide")
    narrow = _draw(key, title, desc, left, ends_ms, axis, names, (NARROW, 240), "narrow")
    return Chart(title, desc, wide, narrow, head, [[axis.when(ms), axis.say(value)] for ms, value in left])


def _draw(
    key: str,
    title: str,
    desc: str,
    left: Sequence[tuple[int, float]],
    ends_ms: int,
    axis: Axis,
    names: tuple[str, str],
    size: tuple[int, int],
    css: str,
) -> str:
    most, step = nice_most(max(value for _, value in left))
    frame = Frame(size, y_margin(most, step, axis), size[0] - 12, 28, size[1] - 30, left[0][0], ends_ms, most)
    parts = y_axis(frame, step, axis.say) + time_axis(frame, axis)
    start = (frame.x(left[0][0]), frame.y(left[0][1]))
    parts.append(svg.line(*start, frame.x(ends_ms), frame.bottom, "pace", svg.MUTED, 1.5, "5 4"))
    points = [start]
    for ms, value in left[1:]:
        points += [(frame.x(ms), points[-1][1]), (frame.x(ms), frame.y(value))]
    closed = [*points, (points[-1][0], frame.bottom), (points[0][0], frame.bottom)]
    area = svg.paint(0) | {"class": "s0 faint", "fill-opacity": "0.18"}
    parts.append(svg.el("path", {"d": svg.path(closed, close=True), **area}))
    edge: dict[str, object] = {"class": "ls0", "fill": "none", "stroke": svg.OKABE_ITO[0], "stroke-width": 2}
    parts.append(svg.el("path", {"d": svg.path(points), **edge}))
    parts += [svg.line(2, 10, 20, 10, "ls0", svg.OKABE_ITO[0], 2), svg.label(26, 14, names[0], frame.font)]
    x = 26 + svg.text_width(names[0], frame.font) + 20
    parts += [svg.line(x, 10, x + 18, 10, "pace", svg.MUTED, 1.5, "5 4"), svg.label(x + 24, 14, names[1], frame.font)]
    return svg.document(key, size, css, title, desc, parts)
