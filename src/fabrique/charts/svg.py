"""SVG as text: every attribute and every word escaped, numbers short, no style attribute, no script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

# Okabe and Ito's colours, told apart by the colour-blind: s0 … s7. Grey is for what is nobody's.
OKABE_ITO: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
GREY: Final = "#9AA0A6"
INK: Final = "#1B1F24"
MUTED: Final = "#59626B"
RULE: Final = "#D5DADF"
ALERT: Final = "#B3261E"


def paint(index: int | None) -> dict[str, str]:
    """Class and colour of a series; None is the grey of what belongs to nobody."""
    if index is None:
        return {"class": "sn", "fill": GREY}
    return {"class": f"s{index % len(OKABE_ITO)}", "fill": OKABE_ITO[index % len(OKABE_ITO)]}


def num(value: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def el(name: str, attributes: dict[str, object] | None = None, *children: str, text: str = "") -> str:
    """An element. `text` is escaped; `children` are SVG already. A float is a coordinate."""
    said = "".join(f' {key}="{_value(value)}"' for key, value in (attributes or {}).items())
    inside = escape(printable(text), quote=False) + "".join(children)
    return f"<{name}{said}>{inside}</{name}>" if inside else f"<{name}{said}/>"


def _value(value: object) -> str:
    return num(value) if isinstance(value, (int, float)) else escape(printable(str(value)))


def printable(text: str) -> str:
    """`text` without the characters that XML cannot hold."""
    return "".join(
        c for c in text if c in "\t\n" or (c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff")
    )


def label(x: float, y: float, text: str, size: int, anchor: str = "start", **more: object) -> str:
    attributes: dict[str, object] = {
        "x": x,
        "y": y,
        "font-size": size,
        "text-anchor": anchor,
        "class": "t",
        "fill": INK,
    }
    return el("text", attributes | more, text=text)


def line(x1: float, y1: float, x2: float, y2: float, css: str, colour: str, width: float = 1, dash: str = "") -> str:
    attributes: dict[str, object] = {"x1": x1, "y1": y1, "x2": x2, "y2": y2, "class": css, "stroke": colour}
    return el("line", attributes | {"stroke-width": width} | ({"stroke-dasharray": dash} if dash else {}))


def rect(x: float, y: float, width: float, height: float, colours: dict[str, str], *children: str) -> str:
    box: dict[str, object] = {"x": x, "y": y, "width": max(width, 0), "height": max(height, 0)}
    return el("rect", box | colours, *children)


def path(points: Sequence[tuple[float, float]], *, close: bool = False) -> str:
    """The `d` of a line through `points`."""
    return "M" + "L".join(f"{num(x)} {num(y)}" for x, y in points) + ("Z" if close else "")


def document(key: str, size: tuple[int, int], css: str, title: str, desc: str, parts: Iterable[str]) -> str:
    """A whole picture with its title and description, read aloud in place of the drawing."""
    width, height = size
    attributes: dict[str, object] = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": f"0 0 {width} {height}",
        "width": width,
        "height": height,
        "class": f"chart {css}",
        "role": "img",
        "aria-labelledby": f"{key}-{css}-t {key}-{css}-d",
        "font-family": "system-ui, sans-serif",
    }
    head = el("title", {"id": f"{key}-{css}-t"}, text=title) + el("desc", {"id": f"{key}-{css}-d"}, text=desc)
    return el("svg", attributes, head, *parts)


def text_width(text: str, size: int) -> float:
    """About how wide `text` is: enough to keep two labels apart."""
    return len(text) * size * 0.56
