"""What a replay found, in words and pictures."""

from __future__ import annotations

from typing import Any

import pytest

from fabrique.charts.intervals import Interval, intervals
from fabrique.portal import what_if_words as words
from fabrique.twin.what_if import FIGURES


def result(*runs: tuple[str, float, str]) -> dict[str, Any]:
    told: list[dict[str, Any]] = [
        {
            "rules": name, "version": 1, "certificate": "c", "figures": {"mean_wait_s": 60 + mean},
            "differences": {
                "mean_wait_s": {"mean": mean, "low": mean - 5, "high": mean + 5, "verdict": verdict, "days": 9}
            },
        }
        for name, mean, verdict in runs
    ]  # fmt: skip
    first: dict[str, Any] = {
        "rules": "fair",
        "version": 1,
        "certificate": "c",
        "figures": {"mean_wait_s": 60},
        "differences": {},
    }
    return {"runs": [first, *told], "currency": None}


def test_a_page_knows_the_figures_of_the_twin() -> None:
    assert words.FIGURES == FIGURES


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([("easy", -30.0, "less"), ("fifo", 90.0, "more")], "Under easy the mean wait is shorter by 30"),
        ([("fifo", 90.0, "more")], "Every rule set that was tried makes the mean wait longer"),
        ([("easy", -3.0, "no effect"), ("fifo", 90.0, "more")], "No rule set that was tried"),
        ([("easy", -30.0, "too short")], "Too short to tell"),
        ([], "Too short to tell"),
    ],
)
def test_the_first_line_answers(runs: list[tuple[str, float, str]], said: str, speaker: Any) -> None:
    assert words.headline(speaker(), result(*runs)).startswith(said)


def test_a_difference_has_its_sign_its_interval_and_its_verdict(speaker: Any) -> None:
    [told] = words.told(speaker(), result(("easy", -30.0, "less")))
    [row] = told.rows
    assert (row.before, row.after, row.difference) == ("1\u00a0min", "30\u00a0s", "−30\u00a0s")
    assert row.interval == "−35\u00a0s … −25\u00a0s"
    assert (row.verdict, row.sort) == ("less", "good")


def test_a_picture_escapes_names_and_its_table_says_the_same() -> None:
    rows = [
        Interval("<b>", -2.0, -3.0, 1.0, "note", "no effect"),
        Interval("few", 1.0, None, None, "note", "too short"),
    ]
    chart = intervals("k", "t", "d", rows, "as it is", lambda v: f"{v:g}", ("a", "b", "c", "d"))
    assert "<b>" not in chart.wide and "&lt;b&gt;" in chart.wide
    assert [list(row) for row in chart.rows] == [["<b>", "-2", "-3 … 1", "no effect"], ["few", "1", "–", "too short"]]
    flat = intervals("k", "t", "d", [Interval("same", 0.0, 0.0, 0.0, "", "")], "z", str, ("a", "b", "c", "d"))
    assert 'cx="480"' in flat.wide
