"""A replay's figures and differences in the reader's words, and as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.utils.translation import gettext as _

from fabrique.apps.rules.models import WhatIf
from fabrique.charts import Chart
from fabrique.charts.intervals import Interval, intervals
from fabrique.language import Speaker
from fabrique.language.quantities import NBSP

# as `fabrique.twin.what_if.FIGURES`, which a page must not load
FIGURES: Final = (
    "mean_wait_s", "p95_wait_s", "mean_bounded_slowdown", "utilisation", "work_done", "energy_j", "carbon_g", "cost",
)  # fmt: skip
_PICTURED: Final = ("mean_wait_s", "work_done", "energy_j")
_GOOD: Final = {"utilisation": "more", "work_done": "more"}  # of the others, less is better
_SCALE: Final = {"carbon_g": 1000, "energy_j": 1000, "cost": 1_000_000}
Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one rule set: before, under it, the difference with its interval, what may be said."""

    figure: str
    before: str
    after: str
    difference: str
    interval: str
    verdict: str
    sort: str  # good, bad, or nothing


@dataclass(frozen=True, slots=True)
class Told:
    """A rule set of a replay, as the page shows it."""

    rules: str
    version: int
    certificate: str
    rows: tuple[Row, ...]


def headline(say: Speaker, result: Result) -> str:
    """The answer in one line."""
    runs = result["runs"][1:]
    waits = [(run["differences"].get("mean_wait_s"), run["rules"]) for run in runs]
    known = [(d, rules) for d, rules in waits if d and d["mean"] is not None]
    if not known or all(d["verdict"] == "too short" for d, _rules in known):
        return _("Too short to tell: jobs came on fewer than seven days")
    shorter = [(d["mean"], rules) for d, rules in known if d["verdict"] == "less"]
    if shorter:
        mean, rules = min(shorter)
        words = {"rules": rules, "time": amount(say, "mean_wait_s", -mean, None)}
        return _("Under %(rules)s the mean wait is shorter by %(time)s") % words
    if all(d["verdict"] == "more" for d, _rules in known):
        return _("Every rule set that was tried makes the mean wait longer")
    return _("No rule set that was tried makes the mean wait shorter, beyond chance")


def told(say: Speaker, result: Result) -> list[Told]:
    """The rule sets that were tried, in their order."""
    first = result["runs"][0]
    return [
        Told(run["rules"], run["version"], run["certificate"], tuple(_rows(say, first, run, result["currency"])))
        for run in result["runs"][1:]
    ]


def _rows(say: Speaker, first: Mapping[str, Any], run: Mapping[str, Any], currency: str | None) -> list[Row]:
    found = []
    for name in FIGURES:
        difference = run["differences"].get(name)
        if difference is None or difference["mean"] is None:
            continue
        low, high = difference["low"], difference["high"]
        verdict = difference["verdict"]
        bounds = [signed(say, name, x, currency) for x in (low, high) if x is not None]
        sort = "" if verdict not in ("less", "more") else "good" if verdict == _GOOD.get(name, "less") else "bad"
        found.append(
            Row(
                figure=say.word("figure", name),
                before=amount(say, name, first["figures"].get(name), currency),
                after=amount(say, name, run["figures"].get(name), currency),
                difference=signed(say, name, difference["mean"], currency),
                interval=" … ".join(bounds) or "–",
                verdict=say.word("difference", verdict),
                sort=sort,
            )
        )
    return found


def amount(say: Speaker, name: str, value: float | None, currency: str | None) -> str:
    """A figure with its unit."""
    if value is None:
        return "–"
    match name:
        case "mean_wait_s" | "p95_wait_s":
            return say.duration(round(value) * 1000)
        case "utilisation":
            return say.percent(round(value * 10_000) / 10)
        case "work_done":
            return f"{say.number(value / 3600, 0)}{NBSP}h"
        case "energy_j":
            return say.energy(round(value * 1000))
        case "carbon_g":
            return say.carbon(round(value * 1000))
        case "cost" if currency:
            return say.money(round(value * 1_000_000), currency)
    return say.number(value, 2)


def signed(say: Speaker, name: str, value: float, currency: str | None) -> str:
    if round(value * _SCALE.get(name, 1), 4) == 0:
        return amount(say, name, 0, currency)
    return ("−" if value < 0 else "+") + amount(say, name, abs(value), currency)


# --- pictures -----------------------------------------------------------------------------------------------------


def pictures(say: Speaker, found: WhatIf) -> list[Chart]:
    """One chart a figure that people ask for first: each rule set's difference, with its interval."""
    result = found.result
    return [chart for name in _PICTURED if (chart := _picture(say, found, name, result["runs"][1:])) is not None]


def _picture(say: Speaker, found: WhatIf, name: str, runs: Sequence[Mapping[str, Any]]) -> Chart | None:
    currency = found.result["currency"]
    rows = []
    for run in runs:
        difference = run["differences"].get(name)
        if difference is not None and difference["mean"] is not None:
            verdict = say.word("difference", difference["verdict"])
            note = f"{signed(say, name, difference['mean'], currency)} · {verdict}"
            low, high = difference["low"], difference["high"]
            rows.append(Interval(run["rules"], difference["mean"], low, high, note, verdict))
    if not rows:
        return None
    figure = say.word("figure", name)
    title = _("Difference: %(figure)s") % {"figure": figure}
    desc = _("Each rule set against the rules in force: %(figure)s, with the 95 %% interval of the difference.")
    head = (_("rules"), _("difference"), _("95 % interval"), _("verdict"))
    key = f"w-{found.id.hex[:8]}-{name.replace('_', '-')}"
    return intervals(
        key, title, desc % {"figure": figure}, rows, _("as it is"), lambda v: signed(say, name, v, currency), head
    )
