"""Generated work is what its parameters say, the same for the same seed; and traces made to measure."""

from __future__ import annotations

import time
from dataclasses import fields
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from fabrique.core.errors import FabriqueError
from fabrique.definitions import work_classes
from fabrique.twin.generate import generate
from fabrique.twin.load import flexed, offered, rescaled
from fabrique.twin.trace import COLUMNS, Trace
from fabrique.twin.workload import WORKLOADS, Workload, ready_made, workload

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def hub() -> Workload:
    return workload("ai-hub")


@pytest.fixture(scope="module")
def work(hub: Workload) -> Trace:
    return generate(hub, 1)


def changed(parameters: Workload, **values: object) -> Workload:
    return Workload.model_validate_json(parameters.model_copy(update=values).model_dump_json())


def same(one: Trace, other: Trace, column: str) -> bool:
    return bool(np.array_equal(getattr(one, column), getattr(other, column)))


def test_the_same_seed_gives_the_same_work(hub: Workload, work: Trace) -> None:
    again, other = generate(hub, 1), generate(hub, 2)
    assert all(same(work, again, column) for column in COLUMNS) and again.digest == work.digest
    assert not same(work, other, "submit_ms") and not same(work, other, "run_ms") and other.digest != work.digest


def test_a_changed_parameter_leaves_the_other_columns(hub: Workload, work: Trace) -> None:
    runs = hub.runs.model_copy(update={"value": hub.runs.value.model_copy(update={"median_s": 60})})
    other = generate(changed(hub, runs=runs), 1)
    differing = {column for column in COLUMNS if not same(work, other, column)}
    assert differing == {"run_ms", "walltime_ms"}


def test_rows_keep_the_convention(work: Trace) -> None:
    assert (np.diff(work.submit_ms) >= 0).all() and work.number.tolist() == list(range(1, len(work) + 1))
    assert (work.run_ms >= 1_000).all() and (work.walltime_ms >= work.run_ms).all()
    assert (work.milli_devices > 0).all() and (work.after == -1).all()
    assert set(work.nodes[work.milli_devices < 4_000]) == {0} and set(work.nodes[work.milli_devices == 16_000]) == {4}
    for codes, names in ((work.project, work.projects), (work.pool, work.pools), (work.work_class, work.work_classes)):
        assert codes.min() >= 0 and codes.max() < len(names)


def test_arrivals_follow_the_hour_and_the_day(hub: Workload, work: Trace) -> None:
    begins = int(datetime.combine(hub.begins, datetime.min.time(), UTC).timestamp()) * 1_000
    since = work.submit_ms - begins
    assert since.min() >= 0 and since.max() < hub.days * DAY_MS
    for found, weights in (
        (np.bincount(since // 3_600_000 % 24, minlength=24), hub.hour_of_day.value),
        (np.bincount((since // DAY_MS + hub.begins.weekday()) % 7, minlength=7), hub.day_of_week.value),
    ):
        wanted = np.array(weights) / sum(weights) * len(work)
        assert (np.abs(found - wanted) < 5 * np.sqrt(wanted)).all()  # five standard deviations


def test_shares_runs_and_consents_are_those_asked_for(hub: Workload, work: Trace) -> None:
    for size in hub.sizes.value:
        wanted = size.share / 1e6
        assert abs((work.milli_devices == size.milli_devices).mean() - wanted) < 5 * np.sqrt(wanted / len(work))
    single = work.run_ms[work.milli_devices <= 1_000] / 1_000
    assert np.median(single) == pytest.approx(hub.runs.value.median_s, rel=0.1)
    for i, wanted_class in enumerate(hub.work_classes.value):
        rows = work.work_class == i
        assert (work.slack_ms[rows] >= 0).mean() * 1_000 == pytest.approx(wanted_class.flexible, abs=30)
        assert work.preemptible[rows].mean() * 1_000 == pytest.approx(wanted_class.preemptible, abs=30)
        assert set(work.tolerance_permille[rows]) == {0, wanted_class.tolerance_permille}
    for i, pool in enumerate(hub.pools.value):
        assert (work.pool == i).mean() == pytest.approx(pool.share / 1e6, abs=0.02)
    busiest = np.bincount(work.project)
    assert busiest[0] == pytest.approx(2 * busiest[1], rel=0.1)  # Zipf, exponent 1


def test_a_million_jobs_take_seconds() -> None:
    year = workload("exascale")
    begun = time.perf_counter()
    trace = generate(year, 7)
    assert len(trace) == 1_000_000 and time.perf_counter() - begun < 15  # under 1 s when nothing else runs
    assert trace.milli_devices.max() <= 23_536_000 and (trace.nodes > 0).all()
    assert 800 < offered(trace, 23_536_000) < 1_100


def test_ready_made_workloads_name_known_work_and_say_what_is_assumed() -> None:
    assert {"ai-hub", "exascale"} <= set(ready_made())
    for name in ready_made():
        parameters = workload(name)
        assert parameters.id == name
        assert {each.name for each in parameters.work_classes.value} <= set(work_classes.catalogue())
        assert "assumption" in generate(parameters.model_copy(update={"jobs": 10}), 0).said[0]


def test_a_workload_of_ones_own_and_a_broken_one(tmp_path: Path) -> None:
    text = (WORKLOADS / "ai-hub.yaml").read_text(encoding="utf-8")
    mine = tmp_path / "mine.yaml"
    mine.write_text(text.replace("jobs: 50000", "jobs: 3"), encoding="utf-8")
    assert len(generate(workload(mine), 0)) == 3
    for old, new in (
        ("jobs: 50000", "jobs: 0"),
        ("share: 60000", "share: 60001"),
        ("status: measured", "status: true"),
    ):
        mine.write_text(text.replace(old, new), encoding="utf-8")
        with pytest.raises(FabriqueError) as caught:
            workload(mine)
        assert caught.value.code == "definition.broken"
    for name in ("nothing", "../zones/lu"):
        with pytest.raises(FabriqueError) as caught:
            workload(name)
        assert caught.value.code == "definition.missing"


# --- made to measure --------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [Fraction(3, 10), 1, 1.3])
def test_arrivals_are_rescaled_to_the_load(work: Trace, load: Fraction | float) -> None:
    trace = rescaled(work, 800_000, load)
    assert offered(trace, 800_000) == round(1_000 * load)
    assert trace.submit_ms[0] == work.submit_ms[0] and (np.diff(trace.submit_ms) >= 0).all()
    assert {column for column in COLUMNS if not same(work, trace, column)} == {"submit_ms"}
    assert trace.digest != work.digest and trace.digest == rescaled(work, 800_000, load).digest


def test_the_load_is_work_over_capacity_and_time(work: Trace) -> None:
    two = {column: values[:2].copy() for column, values in ((c, getattr(work, c)) for c in COLUMNS)}
    two |= {"milli_devices": np.array([4_000, 2_000]), "run_ms": np.array([1_000, 3_000])}
    two |= {"submit_ms": np.array([5_000, 15_000]), "walltime_ms": np.array([1_000, 3_000])}
    rest = {f.name: getattr(work, f.name) for f in fields(Trace) if f.name not in COLUMNS}
    trace = Trace(**rest, **two)
    assert offered(trace, 1_000) == 1_000  # 4 × 1 s and 2 × 3 s, on one device, in 10 s
    assert rescaled(trace, 1_000, 2).submit_ms.tolist() == [5_000, 10_000]
    with pytest.raises(FabriqueError, match="span"):
        rescaled(Trace(**rest, **(two | {"submit_ms": np.array([5_000, 5_000])})), 1_000, 1)


@pytest.mark.parametrize("load", [0, -1, float("nan"), float("inf"), 1e9])
def test_a_load_that_is_none_is_refused(work: Trace, load: float) -> None:
    with pytest.raises(FabriqueError, match="load"):
        rescaled(work, 800_000, load)


def test_consents_are_marked_on_a_sample_and_said(work: Trace) -> None:
    def marked(permille: int, seed: int = 5) -> Trace:
        return flexed(work, flexible_permille=permille, slack_ms=7, preemptible_permille=permille, seed=seed)

    some, more = marked(200), marked(400)
    assert (some.slack_ms == 7).mean() == pytest.approx(0.2, abs=0.01)
    assert ((some.slack_ms == 7) <= (more.slack_ms == 7)).all()
    assert same(some, marked(200), "slack_ms") and not same(some, marked(200, seed=6), "slack_ms")
    assert (marked(1_000).slack_ms == 7).all() and same(marked(0), work, "slack_ms")
    assert same(some, work, "tolerance_permille") and some.digest != work.digest
    assert some.said[-1].startswith("Assumed, not recorded")
