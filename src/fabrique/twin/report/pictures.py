"""The pictures of a comparison: power under its cap, carbon against work, shares of the pools, waits by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from babel.dates import format_skeleton

from fabrique import charts
from fabrique.charts import Axis, Chart, Layer, Limit, Plot, Share, Step
from fabrique.core.admission.tables import UNLIMITED, Ints
from fabrique.core.units import HOUR_MS
from fabrique.language.quantities import LOCALES
from fabrique.language.say import Speaker
from fabrique.twin.study import Run

_MOST_STEPS: Final = 240  # of a plot: more say nothing on 960 points
_MOST_ROWS: Final = 12


def axis(say: Speaker, run: Run, value: Any) -> Axis:
    """Days under the axis where there are several, else hours."""
    long = run.books.until_ms - run.books.from_ms > 72 * HOUR_MS

    def at(ms: int) -> str:
        return format_skeleton("MMMd", say.local(ms), locale=LOCALES[say.language]) if long else say.time(ms)

    return Axis(value, at, say.instant, lambda ms: say.local(ms).hour)


def power(say: Speaker, run: Run) -> Chart | None:
    """Mean draw at the meter, and the caps of all sites together; None where nobody knows the draw."""
    kept = run.books
    if kept.jobs_mj is None or kept.idle_mj is None:
        return None
    edges, jobs, idle = _coarse(kept.edges_ms, kept.jobs_mj.sum(axis=0), kept.idle_mj.sum(axis=0))
    lengths = np.minimum(edges[1:], kept.until_ms) - np.maximum(edges[:-1], kept.from_ms)
    limit = None
    if (kept.cap_mw < UNLIMITED).all():
        starts = np.searchsorted(kept.edges_ms[:-1], edges[:-1])
        caps = np.minimum.reduceat(kept.cap_mw.sum(axis=0), starts) // 1000
        limit = Limit(say.text("cap {power}", power=say.power(int(caps.min()))), _steps(edges, caps))
    plot = Plot(
        key=f"power-{run.rules.name}",
        title=say.text("Power under its cap: {rules}", rules=run.rules.name),
        desc=say.text("Mean power at the meter over each step, idle draw at the bottom, and the cap."),
        from_ms=int(edges[0]),
        to_ms=int(edges[-1]),
        layers=[
            Layer(say.text("idle"), _steps(edges, idle / lengths), 4),
            Layer(say.text("jobs"), _steps(edges, jobs / lengths), 0),
        ],
        limit=limit,
        time_name=say.text("from"),
    )
    return charts.over_time(plot, axis(say, run, say.power))


def work(say: Speaker, run: Run) -> Chart:
    """Devices of the reference kind in use by each pool."""
    names = run.replay.world.pools
    edges, *rows = _coarse(run.books.edges_ms, *run.summary.pool_work)
    kept = run.books
    lengths = (np.minimum(edges[1:], kept.until_ms) - np.maximum(edges[:-1], kept.from_ms)) * 1000
    used = [row for row in range(len(names)) if rows[row].any()]
    layers = [Layer(say.word("pool", names[row]), _steps(edges, rows[row] / lengths), row) for row in used]
    there = run.study.fleet.normalised / 1000
    plot = Plot(
        key=f"work-{run.rules.name}",
        title=say.text("Shares of the pools over time: {rules}", rules=run.rules.name),
        desc=say.text("Devices in use by pool, counted in the reference device, under what there is."),
        from_ms=int(edges[0]),
        to_ms=int(edges[-1]),
        layers=layers or [Layer(say.text("jobs"), _steps(edges, lengths * 0), 0)],
        limit=Limit(say.text("{count} devices", count=round(there)), _steps(edges, lengths * 0 + there)),
        time_name=say.text("from"),
    )
    return charts.over_time(plot, axis(say, run, lambda v: say.number(v, 0)))


def carbon(say: Speaker, runs: Sequence[Run]) -> Chart | None:
    """Grams for an hour of a device's work, idle draw included; None where the grid isn't known."""
    rows, most = [], max((_grams_an_hour(run) or 0 for run in runs), default=0)
    for index, run in enumerate(runs):
        grams = _grams_an_hour(run)
        if grams is None or not most:
            return None
        f = run.summary.figures
        said = say.text("{grams} g CO₂e per device-hour", grams=say.number(grams, 1))
        total = say.text("{carbon} for {hours} h of work", carbon=say.carbon(_all_mg(run)), hours=f["all_work"] // 3600)
        rows.append(Share(run.rules.name, grams / most, None, said, total, index))
    head = (say.text("rules"), say.text("carbon per work"), say.text("in all"))
    desc = say.text("What every hour of work emitted, by what the grid was; the longest bar is the most.")
    return charts.shares("carbon", say.text("Carbon against work"), desc, rows, head)


def _all_mg(run: Run) -> int:
    return int(run.summary.figures["carbon_mg"])


def _grams_an_hour(run: Run) -> float | None:
    f = run.summary.figures
    if f["carbon_mg"] is None or not f["all_work"]:
        return None
    return float(f["carbon_mg"] / 1000 / (f["all_work"] / 3600))


def shares(say: Speaker, run: Run) -> Chart | None:
    """Each pool's part of all work against its share; None where there is one pool."""
    fleet, worked = run.study.fleet, run.summary.pool_work.sum(axis=1)
    if len(fleet.pools) < 2 or not worked.sum():
        return None
    rows = []
    for row, pool in enumerate(fleet.pools):
        part = int(worked[row] * 1000 // worked.sum())
        used = say.text("{share} used", share=say.percent(part))
        entitled = say.text("entitled to {share}", share=say.percent(pool.share_ppm / 1000))
        rows.append(Share(say.word("pool", pool.id), part / 1000, pool.share_ppm / 1_000_000, used, entitled, row))
    head = (say.text("pool"), say.text("used"), say.text("entitlement"))
    desc = say.text("Each pool's part of the work, and the part that it is entitled to.")
    title = say.text("Shares of the pools: {rules}", rules=run.rules.name)
    return charts.shares(f"shares-{run.rules.name}", title, desc, rows, head)


def waits(say: Speaker, runs: Sequence[Run]) -> Chart:
    """The mean wait of each work class under each rule set."""
    found = [(row, group) for row, run in enumerate(runs) for group in run.summary.figures["work_classes"]]
    found.sort(key=lambda pair: (pair[1]["name"], pair[0]))
    most = max((group["mean_wait_s"] or 0 for _, group in found), default=0) or 1
    rows = []
    for row, group in found[: _MOST_ROWS * len(runs)]:
        mean, p95 = (_wait(say, group[name]) for name in ("mean_wait_s", "p95_wait_s"))
        name = f"{say.word('work-class', group['name'])} – {runs[row].rules.name}"
        said = say.text("95 % within {wait}, {jobs} jobs", wait=p95, jobs=group["jobs"])
        rows.append(Share(name, (group["mean_wait_s"] or 0) / most, None, mean, said, row))
    head = (say.text("class"), say.text("mean wait"), say.text("most of them"))
    desc = say.text("The mean wait from submission to the first start; the longest bar is the longest wait.")
    return charts.shares("waits", say.text("Waits by class"), desc, rows, head)


def _wait(say: Speaker, seconds: float | None) -> str:
    return "–" if seconds is None else say.duration(round(seconds) * 1000)


# --- steps --------------------------------------------------------------------------------------------------------
def _coarse(edges: Ints, *tables: Ints) -> tuple[Ints, ...]:
    """Sums over as many slots a step as keep the steps few; edges as they remain."""
    each = -(-(len(edges) - 1) // _MOST_STEPS)
    starts = np.arange(0, len(edges) - 1, each)
    return (np.append(edges[starts], edges[-1]), *(np.add.reduceat(table, starts) for table in tables))


def _steps(edges: Ints, values: Any) -> list[Step]:
    ends = edges.tolist()
    return [Step(a, b, float(v)) for a, b, v in zip(ends, ends[1:], values.tolist(), strict=False)]


def at_utc(say: Speaker) -> Speaker:
    """The same reader, with hours in UTC: a replay has no place of its own."""
    return replace(say, timezone="UTC")
