"""The benchmark measures what it says: each case on a tiny size, the table's verdicts, and what is said when broken."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tools import bench
from tools.bench_cases import carbon, figure, live, power, replays, shares, work
from tools.bench_cases.figure import Figure

from fabrique.core.admission import tables as t
from fabrique.definitions import rules
from fabrique.twin.fleet import Pool, bare
from fabrique.twin.fleet_of_hub import saturated_site
from fabrique.twin.generate import generate, workload
from fabrique.twin.replay import replay
from fabrique.twin.trace import Trace
from fabrique.twin.world import world


@pytest.fixture
def some_work() -> Trace:
    """A week of jobs that take whole devices."""
    drawn = generate(workload("ai-hub").model_copy(update={"jobs": 300, "days": 8}), seed=1)
    return replace(drawn, milli_devices=np.maximum(drawn.milli_devices // 1000, 1) * 1000)


def of(value: float | None, reach: figure.Reach | None, target: float | None) -> Figure:
    return Figure(what="w", value=value, unit="s", reach=reach, target=target)


# --- the table ----------------------------------------------------------------------------------------------------
def test_a_figure_is_reached_on_its_side_of_the_target() -> None:
    assert of(1.0, "at least", 1.0).reached is True and of(0.9, "at least", 1.0).reached is False
    assert of(1.0, "at most", 1.0).reached is True and of(1.1, "at most", 1.0).reached is False
    assert of(None, "at most", 1.0).reached is None and of(1.0, None, None).reached is None


def test_a_line_says_what_was_wanted_and_whether_it_was_reached() -> None:
    assert "12,000 s" in bench.line(of(12_000, "at most", 9.5)) and "NO" in bench.line(of(12_000, "at most", 9.5))
    assert "≤ 9.5 s" in bench.line(of(1, "at most", 9.5)) and " yes " in bench.line(of(1, "at most", 9.5))
    assert "not measured" in bench.line(of(None, "at most", 9.5))


def test_cases_are_chosen_by_name_and_an_unknown_one_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.chosen([], "kth,live") == ["kth", "live"] and bench.chosen([], "") == list(bench.CASES)
    assert bench.chosen(["kth"], "nothing") is None
    assert bench.main(["nothing"]) == 2 and "exascale" in capsys.readouterr().out


def test_a_case_that_breaks_is_a_row_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(carbon, "unlimited", lambda: iter([of(1.0, None, None)]))
    monkeypatch.setattr(carbon, "limited", lambda: 1 // 0)
    monkeypatch.delenv("CASES", raising=False)
    assert bench.main(["--json", "carbon,deferral"]) == 1
    broken, fine = json.loads(capsys.readouterr().out)
    assert broken["what"] == "carbon: broken" and "ZeroDivisionError" in broken["note"] and fine["value"] == 1.0


def test_without_a_trace_the_row_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FABRIQUE_TRACES", str(tmp_path))
    for case in (replays.kth, replays.frugal, replays.what_if, replays.exascale, power.saturated, carbon.limited):
        (row,) = case()
        assert row.value is None and "FABRIQUE_TRACES" in row.note


def test_every_case_is_there() -> None:
    import importlib

    for place in bench.CASES.values():
        room, name = place.split(":")
        assert callable(getattr(importlib.import_module(f"tools.bench_cases.{room}"), name))


def test_a_quantile_is_a_value_that_some_had() -> None:
    values = [float(n) for n in range(1, 101)]
    assert figure.rank(values, 990) == 99.0 and figure.rank(values, 500) == 50.0 and figure.rank([3.0], 990) == 3.0


# --- replays ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["fifo", "easy"])
def test_starts_are_held_against_the_definition(some_work: Trace, name: str) -> None:
    start = world(bare(16), some_work, rules.load(name))
    speed, ratio, wrong = replays.against_the_loop(name, start)
    assert wrong.value == 0 and speed.value and ratio.value


def test_a_start_unlike_the_definition_s_is_counted(some_work: Trace) -> None:
    parted = world(bare(16), some_work, rules.load("fifo"))
    object.__setattr__(parted, "rules", rules.load("easy"))  # the loop is told EASY, the decision plays FCFS
    assert list(replays.against_the_loop("mixed", parted))[2].value


def test_ten_rule_sets_are_asked_for() -> None:
    assert len({one.name for one in replays.ten()}) == 10


# --- the live decision --------------------------------------------------------------------------------------------
def test_a_decision_leaves_the_block_as_it_was() -> None:
    block = live.full(200, 64)
    before = block.cells.copy()
    drawn = [live.one(block, seed)[1] for seed in range(5)]
    assert np.array_equal(block.cells, before) and any(drawn)
    status = block.state.job[:, t.JOB_STATUS]
    assert (status == t.RUNNING).sum() > 20 and (status == t.READY).sum() > 100
    assert len(block.state.place) == live.PARTITIONS


def test_the_live_figures_are_of_the_queue_asked_for() -> None:
    p99, admissions = live.queue(200, 50, running=64, instants=5)
    assert "64 partitions" in p99.what and p99.value and admissions.value


# --- shares -------------------------------------------------------------------------------------------------------
def test_kueues_queues_are_as_published() -> None:
    trace, fleet = shares.thirty_queues(), shares.cohorts()
    assert len(trace) == 30 * 500 and len(fleet.pools) == 30
    start = world(fleet, trace, shares.kueue_rules(0))
    assert set(start.state.pool[:, t.POOL_NOMINAL]) == {20_000}
    assert set(start.state.pool[:, t.POOL_BORROW]) == {100_000}
    assert list(start.state.cohort[:, t.COHORT_SIZE]) == [120_000] * 5


def test_no_schedule_of_kueues_queues_is_below_the_bound() -> None:
    done = replay(world(shares.cohorts(), shares.thirty_queues(), shares.kueue_rules(1_000)))
    assert done.ended == 15_000
    assert done.end_ms.max() - done.world.submit_ms[0] >= 66_000


def test_a_share_is_use_over_what_was_entitled_and_asked() -> None:
    """Of four devices, two each: `a` takes all for an hour, then `b` asks for one, which runs at once."""
    fleet = replace(bare(4), pools=(Pool(id="a", share_ppm=500_000), Pool(id="b", share_ppm=500_000)))
    hour = shares.HOUR_MS
    submit, run, devices, pool = (np.array(x, np.int64) for x in ([hour, 2 * hour], [hour, hour], [4, 1], [0, 1]))
    jobs = shares.trace_of("t", ("a", "b"), submit, run, run, devices, pool, 0 * pool)
    start = world(fleet, jobs, replace(rules.load("easy"), pools=True, share_order=True), tick_ms=hour)
    early, late = shares.shares(replay(start), np.arange(1, 4, dtype=np.int64) * hour)
    assert early == pytest.approx(2.0) and late == pytest.approx(1.0)


# --- power and carbon ---------------------------------------------------------------------------------------------
def test_three_ways_to_count_watts_are_compared_on_the_same_jobs(some_work: Trace) -> None:
    fleet = saturated_site(cap_w=90_000, most_nameplate_w=120_000)
    trace = work.consenting(work.at_load(some_work, fleet, "1.3"), flexible=0, tolerant=1_000)
    found = power.runs(fleet, trace, power.RULES)
    assert len({len(one.replay.world) for one in found.values()}) == 1
    figures = list(power.under_the_cap(fleet, trace, "all"))
    assert figures[-1].value == 0 and figures[0].value is not None and figures[0].value > 0


def test_the_brute_optimum_is_the_best_of_every_minute() -> None:
    hours, jobs = carbon.forecast(), carbon.flexible(3)
    minutes = np.repeat(hours.value, 60)
    for row, least in enumerate(carbon.brute(hours, jobs)):
        run, end = int(jobs.run_ms[row]) // 60_000, int(jobs.end_ms[row]) // 60_000
        assert least == min(int(minutes[s : s + run].sum()) for s in range(end - run + 1)) * 60_000


def test_unlimited_deferral_is_the_optimum() -> None:
    off, many = carbon.unlimited()
    assert off.value == 0 and many.value is not None


def test_consents_are_marked_on_the_share_asked_for(some_work: Trace) -> None:
    trace = work.consenting(some_work, flexible=1_000, preemptible=1_000, tolerant=1_000)
    assert (trace.slack_ms == 12 * work.HOUR_MS).all() and trace.preemptible.all()
    assert (trace.tolerance_permille == work.TOLERANCE).all()
