"""What if: jobs of a hub replayed as it is, and under other rules, caps, machines or prices; each difference with its
95 % interval, and what may be said of it.

The first run is that of the rules in force on the hub as it is; every difference is against it. *No effect* and *too
short* are answers. Quantiles and utilisation are resampled over the same days as everything else (`bootstrap`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fabrique.core.admission.rules import Rules
from fabrique.core.admission.tables import NONE, PPM, Ints
from fabrique.twin import bootstrap
from fabrique.twin.books import span
from fabrique.twin.bootstrap import LEAST_DAYS, Difference, block_length
from fabrique.twin.compare import common, differences
from fabrique.twin.study import Run, Study, run
from fabrique.twin.summary import DAY_MS
from fabrique.twin.sweep import level, per_slot

Floats = npt.NDArray[np.float64]
Progress = Callable[[float], None]  # how much of everything is done, from 0 to 1

TAIL_PERMILLE: Final = 950
FIGURES: Final = (
    "mean_wait_s",
    "p95_wait_s",
    "mean_bounded_slowdown",
    "utilisation",
    "work_done",
    "energy_j",
    "carbon_g",
    "cost",
)
_BINS: Final = 1_000  # of waits in order: a resampled quantile is right to a thousandth of the jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIf:
    """`runs`: the rules in force on the hub as it is, then each rule set on the changed hub; `differences` beside."""

    runs: tuple[Run, ...]
    differences: tuple[dict[str, Difference], ...]
    left_out: int

    def as_json(self) -> dict[str, Any]:
        """Everything that a page says, as JSON values."""
        first = self.runs[0]
        trace, days = first.study.trace, days_of(first)
        return {
            "jobs": len(first.replay.world),
            "days": days,
            "from_ms": int(first.replay.world.submit_ms[0]),
            "until_ms": int(first.replay.world.submit_ms[-1]) + 1,
            "trace": trace.digest,
            "left_out": dict(trace.dropped),
            "currency": first.books.currency,
            "said": _said(self.runs),
            "runs": [
                {
                    "rules": one.rules.name,
                    "version": one.rules.version,
                    "figures": _figures(one),
                    "differences": {name: asdict(d) for name, d in found.items() if name in FIGURES},
                    "certificate": one.certificate,
                }
                for one, found in zip(self.runs, self.differences, strict=True)
            ],
        }


def what_if(
    as_is: Study, changed: Study, in_force: Rules, asked: Sequence[Rules], progress: Progress | None = None
) -> WhatIf:
    """Replays the jobs of both studies (one trace) that could start under every rule set, there and here.

    Raises as `study.run` does.
    """
    sets = [in_force, *asked]
    first, without = common(as_is, [in_force])
    second, more = common(replace(changed, trace=first.trace), list(asked))
    runs: list[Run] = []
    for study, rules in zip([replace(as_is, trace=second.trace), *([second] * len(asked))], sets, strict=True):
        runs.append(run(study, rules, _part(progress, len(runs), len(sets))))
    base = runs[0]
    return WhatIf(
        runs=tuple(runs),
        differences=({}, *(compared(base, other) for other in runs[1:])),
        left_out=without + more,
    )


def live(rules: Rules) -> Rules:
    """The rules as a live hub follows them: its cap is a fact, so that watts are counted whatever they say."""
    return replace(rules, watts="nameplate") if rules.watts == "none" else rules


def compared(a: Run, b: Run) -> dict[str, Difference]:
    """By figure, b less a."""
    found = differences(a, b)
    return {**found, "p95_wait_s": tail(a, b), "utilisation": utilisation(a, b)}


def days_of(one: Run) -> int:
    """UTC days on which jobs came, from the first to the last."""
    submit = one.replay.world.submit_ms
    return int(submit[-1] // DAY_MS - submit[0] // DAY_MS) + 1 if len(submit) else 0


# --- figures that are no sums over days ---------------------------------------------------------------------------
def tail(a: Run, b: Run, permille: int = TAIL_PERMILLE) -> Difference:
    """The quantile of the waits, resampled by the days on which the jobs came."""
    days = days_of(a)
    points = [_rank(_waits(one)[0], permille) for one in (a, b)]
    if points[0] is None or points[1] is None:
        return Difference(None, None, None, "too short", days, block_length(max(days, 1)))
    mean = points[1] - points[0]
    if days < LEAST_DAYS:
        return Difference(mean, None, None, "too short", days, block_length(days))
    resampled = _resampled(b, days, permille) - _resampled(a, days, permille)
    low, high = (float(x) for x in np.nanquantile(resampled, (0.025, 0.975)))
    verdict: bootstrap.Verdict = "less" if high < 0 else "more" if low > 0 else "no effect"
    return Difference(mean, low, high, verdict, days, block_length(days))


def _waits(one: Run) -> tuple[Floats, Ints]:
    """Seconds that each started job waited, in order, and the day it came, counted from the first."""
    submit = one.replay.world.submit_ms
    known = one.summary.wait_ms != NONE
    wait, day = one.summary.wait_ms[known] / 1000, (submit // DAY_MS - submit[0] // DAY_MS)[known]
    order = np.argsort(wait, kind="stable")
    return wait[order], day[order]


def _rank(wait: Floats, permille: int) -> float | None:
    return float(wait[-(-len(wait) * permille // 1000) - 1]) if len(wait) else None


def _resampled(one: Run, days: int, permille: int) -> Floats:
    """The quantile in each resample of the days; NaN in one without a job."""
    wait, day = _waits(one)
    step = -(-len(wait) // _BINS)
    place = np.arange(len(wait)) // step
    last = np.minimum((np.arange(place[-1] + 1) + 1) * step, len(wait)) - 1
    jobs = np.zeros((days, len(last)))
    np.add.at(jobs, (day, place), 1.0)
    upto = np.cumsum(bootstrap.draws(days) @ jobs, axis=1)
    total = upto[:, -1:]
    row = np.argmax(upto * 1000 >= total * permille, axis=1)
    return np.where(total[:, 0] > 0, wait[last[row]], np.nan)


def utilisation(a: Run, b: Run) -> Difference:
    """Device time in use ÷ device time there, by UTC day, from the first submission to the last."""
    (used, there), (used_b, there_b) = _use(a), _use(b)
    return bootstrap.compare(used, used_b, there, there_b)


def _use(one: Run) -> tuple[Floats, Floats]:
    replay, world = one.replay, one.replay.world
    first, last = int(world.submit_ms[0]), int(world.submit_ms[-1])
    inside = np.arange(first // DAY_MS + 1, last // DAY_MS + 1, dtype=np.int64) * DAY_MS
    edges = np.concatenate([[first], inside, [max(last, first + 1)]])
    ran = replay.start_ms != NONE
    start = replay.start_ms[ran]
    end = np.maximum(np.where(replay.end_ms[ran] == NONE, last, replay.end_ms[ran]), start + 1)
    speed = world.speed[replay.option[ran]] / PPM
    part = np.minimum(1.0, (world.left_ms + replay.lost_ms)[ran] / speed / (end - start))
    held = world.state.need[ran, 0] * np.where(replay.preemptions[ran] > 0, part, 1.0)
    used = per_slot(level(start, end, held.astype(np.int64)), edges)
    there = one.study.fleet.milli_devices * np.diff(edges)
    return used.astype(np.float64), there.astype(np.float64)


# --- what is told -------------------------------------------------------------------------------------------------
def _figures(one: Run) -> dict[str, float | int | None]:
    f = one.summary.figures
    names = (*(name for name in FIGURES if name not in ("carbon_g", "cost")), "over_cap_ws", "unfinished")
    cost = None if f["cost"] is None else f["cost"] / 1_000_000
    carbon = None if f["carbon_mg"] is None else f["carbon_mg"] / 1000
    return {**{name: f[name] for name in names}, "carbon_g": carbon, "cost": cost}


def _said(runs: Sequence[Run]) -> list[str]:
    """What a reader should know: of the trace, the machines, the grid; each once."""
    found = list(runs[0].study.trace.said)
    for one in runs:
        found += [f"{a.path}: {a.value} ({a.why})" for a in one.replay.world.said]
    for one in (runs[0], runs[-1]):
        found += [text for w in one.study.weathers(span(one.replay)) if w is not None for text in w.said]
    return list(dict.fromkeys(found))


def _part(progress: Progress | None, index: int, count: int) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    tell = progress
    return lambda ended, total: tell((index + ended / max(total, 1)) / count)
