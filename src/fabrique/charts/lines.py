"""Quantities over time: layers that add up, under a limit with its name, and what is planned after now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fabrique.charts import svg
from fabrique.charts.chart import NARROW, WIDE, Axis, Chart, Frame, nice_most, time_axis, y_axis, y_margin


@dataclass(frozen=True, slots=True)
class Step:
    """`value` holds over [from_ms, to_ms); None: not known, drawn as a gap."""

    from_ms: int
    to_ms: int
    value: float | None


@dataclass(frozen=True, slots=True)
class Layer:
    """One series, stacked on those before it. `colour` None is the grey of what is nobody's."""

    name: str
    steps: Sequence[Step]
    colour: int | None = 0


@dataclass(frozen=True, slots=True)
class Limit:
    """A line with its name: a cap or a target, constant or in steps."""

    name: str
    steps: Sequence[Step]


@dataclass(frozen=True, slots=True)
class Plot:
    """What is drawn over [from_ms, to_ms). Layers share their steps. `plan` is drawn dashed after `now_ms`."""

    key: str
    title: str
    desc: str
    from_ms: int
    to_ms: int
    layers: Sequence[Layer]
    limit: Limit | None = None
    plan: Layer | None = None
    now_ms: int | None = None
    now_name: str = ""
    time_name: str = ""


def over_time(plot: Plot, axis: Axis) -> Chart:
    """Stacked areas from zero, the limit above, the plan after now; the table has one row a step."""
    wide = _draw(plot, axis, (WIDE, 320), "wide")
    narrow = _draw(plot, axis, (NARROW, 280), "narrow")
    return Chart(plot.title, plot.desc, wide, narrow, _head(plot), _rows(plot, axis))


def left_of(plot: Plot, axis: Axis) -> float:
    """Where the plot begins, right of its values: a band below begins there too."""
    most, step = nice_most(_highest(plot) * 1.08)
    return y_margin(most, step, axis)


def _draw(plot: Plot, axis: Axis, size: tuple[int, int], css: str) -> str:
    most, step = nice_most(_highest(plot) * 1.08)
    left = y_margin(most, step, axis)
    top = 34 if size[0] == WIDE else 50
    frame = Frame(size, left, size[0] - 12, top, size[1] - 30, plot.from_ms, plot.to_ms, most)
    parts = y_axis(frame, step, axis.say) + time_axis(frame, axis)
    parts += _areas(plot, frame) + _plan(plot, frame) + _limit(plot, frame) + _now(plot, frame) + _key(plot, frame)
    return svg.document(plot.key, size, css, plot.title, plot.desc, parts)


def _highest(plot: Plot) -> float:
    """The most that any instant reaches: sum of the layers, limit or plan."""
    sums: dict[int, float] = {}
    for layer in plot.layers:
        for s in layer.steps:
            sums[s.from_ms] = sums.get(s.from_ms, 0) + max(s.value or 0, 0)
    others = [*(plot.limit.steps if plot.limit else ()), *(plot.plan.steps if plot.plan else ())]
    return max([*sums.values(), *((s.value or 0) for s in others)], default=0)


def _areas(plot: Plot, frame: Frame) -> list[str]:
    """One filled shape a layer and unbroken stretch, each on top of the layers before."""
    base: dict[int, float] = {}
    parts = []
    for layer in plot.layers:
        for stretch in _stretches(layer.steps):
            upper, lower = [], []
            for s in stretch:
                low = base.get(s.from_ms, 0.0)
                high = low + max(s.value or 0, 0)
                base[s.from_ms] = high
                upper += [(frame.x(s.from_ms), frame.y(high)), (frame.x(s.to_ms), frame.y(high))]
                lower += [(frame.x(s.from_ms), frame.y(low)), (frame.x(s.to_ms), frame.y(low))]
            outline = svg.path([*upper, *reversed(lower)], close=True)
            parts.append(svg.el("path", {"d": outline, **svg.paint(layer.colour)}))
    return parts


def _stretches(steps: Sequence[Step]) -> list[list[Step]]:
    """Runs of known steps that touch; a gap between two ends one."""
    found: list[list[Step]] = []
    for s in steps:
        if s.value is None:
            continue
        if found and found[-1][-1].to_ms == s.from_ms:
            found[-1].append(s)
        else:
            found.append([s])
    return found


def _outline(steps: Sequence[Step], frame: Frame) -> list[list[tuple[float, float]]]:
    lines = []
    for stretch in _stretches(steps):
        points: list[tuple[float, float]] = []
        for s in stretch:
            y = frame.y(s.value or 0)
            points += [(frame.x(s.from_ms), y), (frame.x(s.to_ms), y)]
        lines.append(points)
    return lines


def _plan(plot: Plot, frame: Frame) -> list[str]:
    """The plan as a pale area with a dashed edge: an upper bound, not a measurement."""
    if plot.plan is None:
        return []
    colours = svg.paint(plot.plan.colour)
    parts = []
    for points in _outline(plot.plan.steps, frame):
        closed = [*points, (points[-1][0], frame.bottom), (points[0][0], frame.bottom)]
        faint = colours | {"class": f"{colours['class']} faint", "fill-opacity": "0.18"}
        parts.append(svg.el("path", {"d": svg.path(closed, close=True), **faint}))
        edge = {"d": svg.path(points), "class": f"l{colours['class']}", "fill": "none", "stroke": colours["fill"]}
        parts.append(svg.el("path", {**edge, "stroke-width": 2, "stroke-dasharray": "5 4"}))
    return parts


def _limit(plot: Plot, frame: Frame) -> list[str]:
    if plot.limit is None:
        return []
    lines = _outline(plot.limit.steps, frame)
    style: dict[str, object] = {"class": "limit", "fill": "none", "stroke": svg.ALERT, "stroke-width": 2}
    parts = [svg.el("path", {"d": svg.path(points), **style}) for points in lines]
    if lines:
        x, y = lines[0][0]
        parts.append(svg.label(x + 6, y - 7, plot.limit.name, frame.font, fill=svg.ALERT, **{"class": "t limit-name"}))
    return parts


def _now(plot: Plot, frame: Frame) -> list[str]:
    if plot.now_ms is None or not plot.from_ms < plot.now_ms < plot.to_ms:
        return []
    x = frame.x(plot.now_ms)
    rule = svg.line(x, frame.top, x, frame.bottom, "now", svg.INK, 1, "2 3")
    return [rule, svg.label(x + 5, frame.bottom - 8, plot.now_name, frame.font)]


def _key(plot: Plot, frame: Frame) -> list[str]:
    """What each colour is, above the plot, in the order of the layers from the bottom up."""
    layers = [*plot.layers, *([plot.plan] if plot.plan else [])]
    parts, x, y = [], 2.0, 14.0
    for layer in layers:
        width = 18 + svg.text_width(layer.name, frame.font) + 14
        if x + width > frame.size[0] and x > 2:
            x, y = 2.0, y + 18
        colours = svg.paint(layer.colour)
        if layer is plot.plan:
            colours = colours | {"class": f"{colours['class']} faint", "fill-opacity": "0.35"}
        parts += [svg.rect(x, y - 10, 12, 12, colours), svg.label(x + 18, y, layer.name, frame.font)]
        x += width
    return parts


def _head(plot: Plot) -> list[str]:
    names = [layer.name for layer in plot.layers]
    return [
        plot.time_name,
        *names,
        *([plot.limit.name] if plot.limit else []),
        *([plot.plan.name] if plot.plan else []),
    ]


def _rows(plot: Plot, axis: Axis) -> list[list[str]]:
    """Every instant at which something changes, with what holds from there on."""
    series = [layer.steps for layer in plot.layers]
    series += [s.steps for s in (plot.limit, plot.plan) if s is not None]
    by_start = [{s.from_ms: s.value for s in steps} for steps in series]
    starts = sorted({start for values in by_start[: len(plot.layers)] for start in values})
    starts += sorted({s.from_ms for s in plot.plan.steps} - set(starts)) if plot.plan else []
    rows = [[axis.when(ms), *(_said(_at(steps, ms), axis) for steps in series)] for ms in starts]
    return [row for before, row in zip([[], *rows], rows, strict=False) if before[1:] != row[1:]]


def _at(steps: Sequence[Step], ms: int) -> float | None:
    return next((s.value for s in steps if s.from_ms <= ms < s.to_ms), None)


def _said(value: float | None, axis: Axis) -> str:
    return "–" if value is None else axis.say(value)
