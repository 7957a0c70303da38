"""Rule sets side by side: the same jobs, differences with their error, the share of the possible saving."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.unit import small_traces as small
from tests.unit.test_twin_summary import EASY, T0, flat, hours, powered

from fabrique.core.admission.rules import Rules
from fabrique.core.units import HOUR_MS
from fabrique.twin.compare import NOT_ALL, common, compare
from fabrique.twin.fleet import Fleet
from fabrique.twin.possible import possible
from fabrique.twin.study import Study, only

DAY = 24 * HOUR_MS
STRICT = Rules(name="strict", watts="nameplate")
LEVELS = Rules(name="levels", watts="levels")


def study(fleet: Fleet, *jobs: dict[str, int]) -> Study:
    return Study(fleet=fleet, trace=hours(*jobs), grids=(flat(),))


def two_levels(cap_w: int = 100_000) -> Fleet:
    """At 60 % of its limit a device is a tenth slower and draws half."""
    fleet = powered(2, cap_w=cap_w)
    place = fleet.places[0]
    top = place.paces["any"][0]
    low = replace(top, limit_permille=600, speed_ppm=900_000, draw_mw=250_000, measured_mw=250_000)
    return replace(fleet, places=(replace(place, paces={"any": (top, low)}),))


def test_jobs_that_one_set_can_never_start_are_left_out_of_all() -> None:
    found = study(powered(2, cap_w=2000), {}, {"milli_devices": 2000})
    shared, left = common(found, [EASY, STRICT])  # by its nameplate, the second job needs 3 kW
    assert left == 1 and len(shared.trace) == 1 and (NOT_ALL, 1) in shared.trace.dropped
    compared = compare(found, [EASY, STRICT])
    assert [run.summary.figures["jobs"] for run in compared.runs] == [1, 1] and compared.left_out == 1


def test_nothing_is_left_out_without_a_reason() -> None:
    found = study(powered(2), {}, {})
    assert common(found, [EASY, LEVELS]) == (found, 0)


def test_who_depended_on_a_job_left_out_depends_on_nothing() -> None:
    trace = small.trace([{}, {"after": 0}, {"after": 1}])
    kept = only(trace, np.array([False, True, True]), "a-test")
    assert kept.after.tolist() == [-1, 0] and kept.number.tolist() == [2, 3]
    assert kept.digest != trace.digest and kept.dropped == (("a-test", 1),)


def test_a_rule_set_against_itself_has_no_effect() -> None:
    jobs = [{"submit_ms": T0 + i * DAY // 3} for i in range(40)]
    compared = compare(study(powered(1), *jobs), [EASY, replace(EASY, name="again")])
    assert {d.verdict for d in compared.differences[1].values()} == {"no effect"}
    assert all(d.mean == 0 for d in compared.differences[1].values())
    assert compared.differences[0] == {} and compared.possible[0] == ()


def test_lower_levels_reach_the_bound_where_every_job_tolerates_them() -> None:
    jobs = [{"submit_ms": T0 + i * DAY // 3, "tolerance_permille": 200} for i in range(40)]
    compared = compare(study(two_levels(), *jobs), [EASY, LEVELS])
    energy = compared.differences[1]["energy_j"]
    assert energy.verdict == "less" and energy.mean is not None
    [carbon] = compared.possible[1]
    assert carbon.jobs == 40 and carbon.bound is not None and carbon.bound.status == "optimal"
    baseline = 40 * 50_000  # half a kWh each at 100 g
    assert carbon.bound.baseline == baseline
    assert carbon.saving == pytest.approx(baseline * (1 - 0.5 / 0.9), rel=1e-4)
    assert carbon.reached_permille is not None and 990 <= carbon.reached_permille <= 1000


def test_the_bound_of_jobs_that_tolerate_nothing_is_what_they_drew() -> None:
    from fabrique.twin.study import run

    done = run(study(two_levels(), {}, {}), EASY)
    found = possible(done, done, "carbon")
    assert found.bound is not None and found.bound.optimum == pytest.approx(found.bound.baseline, rel=1e-6)
    assert found.reached_permille is None or found.reached_permille == 0


def test_without_a_grid_nothing_is_said_of_carbon() -> None:
    bare_study = Study(fleet=powered(1), trace=hours({}, {}), grids=(None,))
    compared = compare(bare_study, [EASY, replace(EASY, name="again")])
    assert compared.possible == ((), ())
    assert "carbon_g" not in compared.differences[1] and "energy_j" in compared.differences[1]
    assert compared.as_json()[0]["carbon_mg"] is None
