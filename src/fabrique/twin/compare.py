"""Several rule sets over the same jobs: figures side by side, differences with their error, the possible saving.

Every set replays the jobs that all of them could ever start; what is left out is said. Differences are those to the
first set, by the paired block bootstrap over days: *no effect* is a possible answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fabrique.core.admission.rules import Rules
from fabrique.twin import bootstrap
from fabrique.twin.bootstrap import Difference
from fabrique.twin.possible import SOLVER_S, Possible, possible
from fabrique.twin.study import Run, Study, only, run
from fabrique.twin.summary import Days

Floats = npt.NDArray[np.float64]
Progress = Callable[[str, int, int], None]  # rules, jobs ended, jobs in all

NOT_ALL: Final = "not-under-all-rules"
_TOTALS: Final = ("work", "energy_j", "carbon_g", "cost")
_RATIOS: Final = {"mean_wait_s": ("wait_s", "jobs"), "mean_bounded_slowdown": ("slowdown", "jobs")}
_PER_WORK: Final = {"energy_j_per_work": "energy_j", "carbon_g_per_work": "carbon_g"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """`runs` in the order asked for; `differences` and `possible` by run, empty for the first.

    Totals differ over the whole time (work in normalised device-seconds, J, g, units of the currency); `_per_work` a
    device-second of the jobs' work.
    """

    runs: tuple[Run, ...]
    left_out: int
    differences: tuple[dict[str, Difference], ...]
    possible: tuple[tuple[Possible, ...], ...]

    def as_json(self) -> list[dict[str, Any]]:
        found = []
        for one, differences, reached in zip(self.runs, self.differences, self.possible, strict=True):
            found.append(
                {
                    **one.summary.figures,
                    "jobs_per_s": rate(one),
                    "prepare_s": one.prepare_s,
                    "replay_s": one.replay.seconds,
                    "peak_rss_bytes": one.replay.peak_rss_bytes,
                    "certificate": one.certificate,
                    "differences": {name: asdict(difference) for name, difference in differences.items()},
                    "possible": {p.quantity: p.as_json() for p in reached},
                }
            )
        return found


def rate(one: Run) -> float | None:
    """Jobs a second, of the replay alone."""
    return len(one.replay.world) / one.replay.seconds if one.replay.seconds else None


def compare(
    study: Study, rules: Sequence[Rules], progress: Progress | None = None, time_limit_s: float = SOLVER_S
) -> Comparison:
    """Each rule set's run over the jobs that all can start. Raises as `study.run` does."""
    shared, left_out = common(study, rules)
    runs = tuple(run(shared, each, _named(progress, each)) for each in rules)
    first = runs[0]
    return Comparison(
        runs=runs,
        left_out=left_out,
        differences=({}, *(differences(first, other) for other in runs[1:])),
        possible=((), *(_possible(first, other, time_limit_s) for other in runs[1:])),
    )


def common(study: Study, rules: Sequence[Rules]) -> tuple[Study, int]:
    """The study with the jobs alone that could ever start under every rule set, and how many others there are."""
    keep = np.ones(len(study.trace), np.bool_)
    for each in rules:
        possible_here = np.zeros(len(study.trace), np.bool_)
        possible_here[study.world(each).rows] = True
        keep &= possible_here
    left_out = int((~keep).sum())
    return (replace(study, trace=only(study.trace, keep, NOT_ALL)), left_out) if left_out else (study, 0)


def differences(a: Run, b: Run) -> dict[str, Difference]:
    """By figure: b less a. Days after the end of the shorter one count as days on which nothing happened."""
    before, after = _same_length(a.summary.days, b.summary.days)
    found = {
        name: bootstrap.compare(before[top], after[top], before[below], after[below])
        for name, (top, below) in _RATIOS.items()
    }
    known = [name for name in _TOTALS if name in before and name in after]
    for name in known:
        found["work_done" if name == "work" else name] = _times(
            bootstrap.compare(before[name], after[name]), len(before[name])
        )
    for per_work, total in _PER_WORK.items():
        if total in before and total in after:
            found[per_work] = bootstrap.compare(before[total], after[total], before["all_work"], after["all_work"])
    return found


def _same_length(a: Days, b: Days) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """The known columns of both, as long as the longer of the two."""
    count = max(len(a.jobs), len(b.jobs))

    def columns(days: Days) -> dict[str, Floats]:
        named = {name: getattr(days, name) for name in ("jobs", "wait_s", "slowdown", "all_work", *_TOTALS)}
        return {name: np.pad(x, (0, count - len(x))) for name, x in named.items() if x is not None}

    return columns(a), columns(b)


def _times(found: Difference, days: int) -> Difference:
    """A difference of the mean day as one of all days."""
    low, high = (None if x is None else x * days for x in (found.low, found.high))
    return replace(found, mean=None if found.mean is None else found.mean * days, low=low, high=high)


def _possible(first: Run, other: Run, time_limit_s: float) -> tuple[Possible, ...]:
    """Of carbon, and of cost where prices are known."""
    if first.books.job_carbon_mg is None:
        return ()
    carbon = possible(first, other, "carbon", time_limit_s)
    if first.books.job_cost is None:
        return (carbon,)
    return carbon, possible(first, other, "cost", time_limit_s)


def _named(progress: Progress | None, rules: Rules) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    tell = progress
    return lambda ended, total: tell(rules.name, ended, total)
