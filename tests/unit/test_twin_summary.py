"""What a replay says: waits, slowdown, energy with the idle draw, carbon by the actual intensity; its certificate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.unit import small_traces as small

from fabrique.core.admission.rules import Rules
from fabrique.core.carbon import Factor
from fabrique.core.units import HOUR_MS
from fabrique.twin import certificate, study, sweep
from fabrique.twin.books import time_mean
from fabrique.twin.fleet import Fleet, Limit, bare
from fabrique.twin.grids import Grid
from fabrique.twin.trace import Trace

T0 = 1_000_000_000_000 // HOUR_MS * HOUR_MS
EASY = Rules(name="easy")


def hours(*jobs: dict[str, int]) -> Trace:
    """Jobs of an hour on one device, at T0 unless they say otherwise."""
    rows = [{"submit_ms": T0, "run_ms": HOUR_MS, "walltime_ms": HOUR_MS, **job} for job in jobs]
    return small.trace(rows)


def on(fleet: Fleet, trace: Trace, rules: Rules = EASY, grid: Grid | None = None) -> study.Run:
    return study.run(study.Study(fleet=fleet, trace=trace, grids=(grid,)), rules)


def powered(processors: int, base_w: int = 1000, draw_mw: int = 500_000, cap_w: int | None = None) -> Fleet:
    """A bare machine that draws: so many W idle, and mW a processor above."""
    fleet = bare(processors)
    place = fleet.places[0]
    pace = replace(place.paces["any"][0], draw_mw=draw_mw, measured_mw=draw_mw, nameplate_mw=2 * draw_mw)
    limits = () if cap_w is None else (Limit(watts=cap_w),)
    return replace(
        fleet,
        sites=(replace(fleet.sites[0], base_w=base_w, zone="XX"),),
        domains=(replace(fleet.domains[0], base_w=base_w, limits=limits),),
        places=(replace(place, paces={"any": (pace,)}),),
    )


def flat(mg_per_kwh: int = 100_000) -> Grid:
    known = Factor(
        zone="XX",
        mg_per_kwh=mg_per_kwh,
        kind="average",
        scope="lifecycle",
        basis="consumption",
        year=2024,
        source="a test",
    )
    return Grid(zone="XX", intensity=known)


def test_waits_and_slowdown_are_those_of_two_jobs_in_a_row() -> None:
    figures = on(bare(1), hours({}, {}, {"submit_ms": T0 + HOUR_MS})).summary.figures
    assert figures["jobs"] == 3 and figures["unfinished"] == 0
    assert figures["mean_wait_s"] == 2400.0  # 0, 1 h and 1 h
    assert figures["median_wait_s"] == figures["max_wait_s"] == 3600.0
    assert figures["mean_bounded_slowdown"] == pytest.approx((1 + 2 + 2) / 3)
    assert figures["utilisation"] == 1.0
    assert figures["work_done"] == 3600 and figures["all_work"] == 3 * 3600


def test_a_run_of_a_second_has_its_slowdown_bounded_by_ten() -> None:
    figures = on(bare(1), hours({}, {"run_ms": 1000})).summary.figures
    assert figures["mean_bounded_slowdown"] == pytest.approx((1 + 3601 / 10) / 2)


def test_a_machine_nobody_measured_has_no_energy_and_no_carbon() -> None:
    figures = on(bare(1), hours({})).summary.figures
    assert [figures[key] for key in ("energy_j", "carbon_mg", "cost", "peak_w")] == [None] * 4
    assert figures["over_cap_ws"] == 0


def test_energy_counts_the_idle_draw_and_carbon_all_of_it() -> None:
    run = on(powered(2), hours({}, {"submit_ms": T0 + HOUR_MS}), grid=flat())
    figures = run.summary.figures
    assert figures["jobs_energy_j"] == 2 * 500 * 3600
    assert figures["idle_energy_j"] == 1000 * 7200
    assert figures["energy_j"] == 2 * 500 * 3600 + 1000 * 7200
    assert figures["carbon_mg"] == 3 * 100_000  # 3 kWh at 100 g
    assert run.books.job_carbon_mg is not None and run.books.job_carbon_mg.tolist() == [50_000, 50_000]
    assert run.books.carbon_mg is not None and run.books.carbon_mg.sum() == figures["carbon_mg"]
    assert figures["peak_w"] == 1500
    assert [group["name"] for group in figures["work_classes"]] == ["training-compute"]


def test_a_bare_cap_that_rules_ignore_is_exceeded_and_said() -> None:
    fleet = powered(2, cap_w=1500)
    ignoring = on(fleet, hours({}, {}), grid=flat()).summary.figures
    assert ignoring["over_cap_ws"] == 500 * 3600 and ignoring["mean_wait_s"] == 0
    keeping = on(fleet, hours({}, {}), Rules(name="keep", watts="measured"), flat()).summary.figures
    assert keeping["over_cap_ws"] == 0 and keeping["mean_wait_s"] == 1800.0


def test_days_add_up_to_the_figures() -> None:
    run = on(powered(1), hours(*({"submit_ms": T0 + 9 * HOUR_MS * i} for i in range(10))), grid=flat())
    days, figures = run.summary.days, run.summary.figures
    assert len(days.jobs) > 2 and days.jobs.sum() == 10
    assert days.energy_j is not None and days.energy_j.sum() == pytest.approx(figures["energy_j"])
    assert days.carbon_g is not None and days.carbon_g.sum() == pytest.approx(figures["carbon_mg"] / 1000)
    assert days.work.sum() == figures["work_done"]


def test_pools_use_adds_up_to_the_work() -> None:
    run = on(bare(4), hours({}, {"milli_devices": 2000}, {"submit_ms": T0 + HOUR_MS // 2}))
    assert run.summary.pool_work.sum() == (1 + 2 + 1) * 1000 * HOUR_MS


def test_the_mean_of_values_over_time_weighs_parts_of_steps() -> None:
    values = np.array([10, 20, 40], np.int64)
    mean = time_mean(values, 0, 100, np.array([50, 0, 250]), np.array([150, 300, 300]))
    assert mean.tolist() == [15.0, 70 / 3, 40.0]


def test_a_level_is_what_its_intervals_add_up_to() -> None:
    found = sweep.level(np.array([0, 5, 20]), np.array([10, 15, 30]), np.array([1, 2, 4]))
    assert sweep.per_slot(found, np.array([0, 10, 20, 40])).tolist() == [10 + 10, 10, 40]
    limit = sweep.Level(np.array([0]), np.array([2]))
    assert sweep.per_slot(sweep.above(found, limit), np.array([0, 10, 20, 40])).tolist() == [5, 0, 20]


def test_equal_inputs_have_equal_certificates_and_every_part_counts() -> None:
    given: dict[str, object] = {"trace": "t", "fleet": "f", "grids": ["g"], "options": {"pools": {}}, "code": "c"}

    def made(rules: Rules = EASY, **changed: object) -> str:
        return certificate.certificate(rules, **{**given, **changed})  # type: ignore[arg-type]

    others = [made(replace(EASY, depth=7)), made(replace(EASY, version=2))]
    others += [made(trace="x"), made(fleet="x"), made(grids=["x"]), made(options={"pools": {"a": "b"}}), made(code="x")]
    assert made() == made()
    assert len({made(), *others}) == len(others) + 1


def test_the_code_counts_by_its_bytes(tmp_path: Path) -> None:
    for room in ("core/admission", "twin"):
        (tmp_path / room).mkdir(parents=True)
        (tmp_path / room / "a.py").write_text("x = 1\n", encoding="utf-8")
    first = certificate.code_digest(tmp_path)
    certificate.code_digest.cache_clear()
    assert certificate.code_digest(tmp_path) == first
    (tmp_path / "twin" / "a.py").write_text("x = 2\n", encoding="utf-8")
    certificate.code_digest.cache_clear()
    assert certificate.code_digest(tmp_path) != first


def test_a_study_repeats_itself() -> None:
    trace = hours({}, {}, {"submit_ms": T0 + HOUR_MS})
    one, other = (on(powered(1), trace, grid=flat()) for _ in range(2))
    assert one.summary.figures == other.summary.figures and one.certificate == other.certificate
    changed = on(powered(1), trace, grid=flat(200_000))
    assert changed.certificate != one.certificate
