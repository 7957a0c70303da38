"""Charts: well-formed SVG, honest scales, every word escaped, the same numbers as a table."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from fabrique import charts
from fabrique.charts import Axis, Bar, Cell, Chart, Layer, Limit, Part, Plot, Share, Step
from fabrique.charts.chart import Frame, nice_most
from fabrique.charts.svg import OKABE_ITO, el

HOUR = 3_600_000
NASTY = '<script>alert("x")</script> & \x00\ud800 "\''
SVG = "{http://www.w3.org/2000/svg}"
AXIS = Axis(
    lambda v: f"{v:g} W", lambda ms: f"{ms // HOUR % 24} h", lambda ms: f"at {ms // HOUR}", lambda ms: ms // HOUR % 24
)


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 - our own


def plot(**changes: object) -> Plot:
    steps = [Step(i * HOUR, (i + 1) * HOUR, None if i == 3 else 10.0 + i) for i in range(12)]
    known: dict[str, object] = {
        "key": "power",
        "title": "Power",
        "desc": "By the hour",
        "from_ms": 0,
        "to_ms": 24 * HOUR,
        "layers": [Layer("jobs", steps, 0), Layer("idle", steps, None)],
        "limit": Limit("cap 65 W", [Step(0, 24 * HOUR, 65)]),
        "plan": Layer("plan", [Step(12 * HOUR, 24 * HOUR, 30)], 0),
        "now_ms": 12 * HOUR,
        "now_name": "now",
        "time_name": "from",
    }
    return Plot(**(known | changes))  # type: ignore[arg-type]


def every_kind() -> list[Chart]:
    return [
        charts.over_time(plot(), AXIS),
        charts.band("b", "Band", "d", [Cell(i * HOUR, (i + 1) * HOUR, 35, 0) for i in range(24)], AXIS, ("from", "g")),
        charts.stacked(
            "s", "Bars", "d", [Bar("x", [Part("used", 2), Part("free", 2, faint=True)])], str, ("k", "u", "f", "n")
        ),
        charts.shares("p", "Shares", "d", [Share("union", 0.2, 0.5, "20 %", "50 %")], ("pool", "used", "entitled")),
        charts.burn_down("d", "Left", "d", [(0, 100), (HOUR, 80)], 24 * HOUR, AXIS, ("left", "pace"), ("when", "left")),
    ]


@pytest.mark.parametrize("chart", every_kind(), ids=lambda c: c.title)
def test_every_chart_can_be_read_aloud_printed_and_tabled(chart: Chart) -> None:
    assert chart.rows
    assert all(len(row) == len(chart.head) for row in chart.rows)
    for text in (chart.wide, chart.narrow):
        root = parsed(text)
        assert root.get("role") == "img"
        ids = [e.get("id") for e in (root.find(f"{SVG}title"), root.find(f"{SVG}desc")) if e is not None]
        assert root.get("aria-labelledby") == " ".join(str(i) for i in ids)
        for element in root.iter():
            assert "style" not in element.attrib
            assert element.tag.removeprefix(SVG) in {"svg", "title", "desc", "path", "rect", "line", "text"}
            if element.tag in (f"{SVG}rect", f"{SVG}path"):
                assert element.get("fill"), "without the style sheet it would be black"


@pytest.mark.parametrize("chart", every_kind(), ids=lambda c: c.title)
def test_nothing_is_drawn_outside_the_picture(chart: Chart) -> None:
    for text in (chart.wide, chart.narrow):
        root = parsed(text)
        _, _, width, height = (float(n) for n in str(root.get("viewBox")).split())
        for e in root.iter():
            for name, most in (
                ("x", width),
                ("x1", width),
                ("x2", width),
                ("y", height),
                ("y1", height),
                ("y2", height),
            ):
                if e.get(name) is not None:
                    assert -0.1 <= float(str(e.get(name))) <= most + 0.1, (chart.title, e.attrib)
            for x, y in re.findall(r"([\d.]+) ([\d.]+)", e.get("d", "")):
                assert float(x) <= width
                assert float(y) <= height


def test_hostile_words_stay_words() -> None:
    hostile = charts.over_time(plot(title=NASTY, desc=NASTY, layers=[Layer(NASTY, [Step(0, HOUR, 1)], 0)]), AXIS)
    named = charts.shares(NASTY, NASTY, NASTY, [Share(NASTY, 2.0, -1.0, NASTY, NASTY)], ("a", "b", "c"))
    for text in (hostile.wide, hostile.narrow, named.wide, named.narrow):
        root = parsed(text)  # well-formed whatever was said
        assert "<script" not in text
        assert "alert" in "".join(root.itertext())
    assert el("a", {"x": '"><b>'}) == '<a x="&quot;&gt;&lt;b&gt;"/>'


def test_an_axis_begins_at_zero_and_holds_the_most() -> None:
    for value in (0.0001, 0.7, 1, 34, 65, 99.9, 100, 1234, 3_000_000, 7.1e9):
        most, step = nice_most(value)
        assert most >= value
        assert most / step <= 8
        assert f"{step:e}"[0] in "125"
    assert nice_most(0) == (1.0, 1.0)
    frame = Frame((960, 320), 60, 948, 34, 290, 0, 100, 80)
    assert frame.y(0) == 290
    assert frame.y(80) == 34
    assert frame.y(40) == (290 + 34) / 2


def test_layers_add_up_and_a_gap_stays_a_gap() -> None:
    drawn = charts.over_time(plot(limit=None, plan=None), AXIS)
    jobs = [e for e in parsed(drawn.wide).iter(f"{SVG}path") if e.get("class") == "s0"]
    assert len(jobs) == 2, "hour 3 is not known: two areas with a hole between them"
    gap = next(row for row in drawn.rows if row[0] == "at 3")
    assert gap[1:] == ["–", "–"]
    idle = [e for e in parsed(drawn.wide).iter(f"{SVG}path") if e.get("class") == "sn"]
    top_of_jobs = min(float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", str(jobs[1].get("d"))))
    bottom_of_idle = max(float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", str(idle[1].get("d"))))
    assert bottom_of_idle > top_of_jobs  # it begins where the jobs of its own hour end
    limit = charts.over_time(plot(), AXIS)
    assert "cap 65 W" in limit.wide
    assert "stroke-dasharray" in limit.wide  # the plan


def test_the_table_has_a_row_where_something_changes() -> None:
    steps = [Step(i * HOUR, (i + 1) * HOUR, 5.0 if i < 6 else 7.0) for i in range(12)]
    drawn = charts.over_time(plot(layers=[Layer("jobs", steps, 0)], limit=None, plan=None), AXIS)
    assert drawn.rows == [["at 0", "5 W"], ["at 6", "7 W"]]


def test_an_hour_without_any_measure_draws_without_failing() -> None:
    bare = charts.over_time(plot(layers=[Layer("jobs", [], 0)], limit=None, plan=None), AXIS)
    parsed(bare.wide)
    assert bare.rows == []
    empty = charts.band("b", "t", "d", [], AXIS, ("from", "g"))
    parsed(empty.wide)


def test_cells_that_say_the_same_are_one_and_labelled_once() -> None:
    cells = [Cell(i * HOUR, (i + 1) * HOUR, 35 if i < 12 else 300, 0 if i < 12 else 2) for i in range(24)]
    root = parsed(charts.band("b", "t", "d", cells, AXIS, ("from", "g")).wide)
    assert len(list(root.iter(f"{SVG}rect"))) == 2
    assert [e.text for e in root.iter(f"{SVG}text") if "on-cell" in str(e.get("class"))] == ["35 W", "300 W"]


def test_series_are_told_apart_by_the_colour_blind() -> None:
    assert len(set(OKABE_ITO)) == 8
    names = [Layer(f"n{i}", [Step(0, HOUR, 1)], i) for i in range(8)]
    drawn = charts.over_time(plot(layers=names, plan=None), AXIS).wide
    assert {f"s{i}" for i in range(8)} <= set(re.findall(r'class="(s\d)"', drawn))


def test_a_budget_has_a_beginning() -> None:
    with pytest.raises(ValueError, match="beginning"):
        charts.burn_down("d", "t", "d", [], HOUR, AXIS, ("a", "b"), ("c", "d"))
