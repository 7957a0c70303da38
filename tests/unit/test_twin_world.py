"""The tables that a replay starts from: needs, options, lines, shapes, quotas, caps and the grid, from a trace."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.small_traces import pair, trace

from fabrique.core.admission import tables as t
from fabrique.core.admission.kernels.reference.replay import replay
from fabrique.core.admission.kernels.reference.tables import read
from fabrique.core.admission.rules import Rules, length_of
from fabrique.core.admission.tables import NONE, PPM
from fabrique.core.errors import FabriqueError
from fabrique.definitions import hubs
from fabrique.definitions import rules as rule_sets
from fabrique.twin.fleet import Domain, Pool, bare, with_event
from fabrique.twin.fleet_of_hub import of_hub, saturated_site
from fabrique.twin.world import Outlook, World, world

HOUR = 3_600_000
EASY, FRUGAL = rule_sets.load("easy"), rule_sets.load("frugal")


def test_an_empty_trace_makes_an_empty_world() -> None:
    made = world(of_hub(hubs.load_builtin("de-jaif")), trace([]), FRUGAL)
    assert len(made) == 0 and made.state.job.shape == (0, t.JOB_COLUMNS) and made.dropped == ()


def test_a_job_as_it_is_before_it_comes() -> None:
    made = world(bare(10), trace([{"slack_ms": 5000, "preemptible": 1, "walltime_ms": 7000, "run_ms": 3000}]), EASY)
    (job,) = made.state.job
    expected = {
        t.JOB_STATUS: t.AWAY,
        t.JOB_WALLTIME: 7000,
        t.JOB_SUBMIT: 1_000_000,
        t.JOB_NOT_BEFORE: 1_000_000,
        t.JOB_LATEST: 1_005_000,
        t.JOB_PREEMPTIBLE: 1,
        t.JOB_ELASTIC: 0,
        t.JOB_PREEMPTIONS: 0,
        t.JOB_NEXT: NONE,
        t.JOB_PREVIOUS: NONE,
        t.JOB_RUN: NONE,
        t.JOB_VERDICT: t.V_NONE,
        t.JOB_AT: NONE,
        t.JOB_DEFERRED: 0,
    }
    assert {column: int(job[column]) for column in expected} == expected
    assert made.left_ms.tolist() == [3000]


def test_only_power_levels_make_a_run_elastic() -> None:
    rows = [{"tolerance_permille": 100}, {}]
    assert world(pair(), trace(rows), FRUGAL).state.job[:, t.JOB_ELASTIC].tolist() == [1, 0]
    assert world(pair(), trace(rows), EASY).state.job[:, t.JOB_ELASTIC].tolist() == [0, 0]


# --- lines, shapes, pools ------------------------------------------------------------------------------------------
def lines(made: World) -> list[list[int]]:
    return made.state.line[:, [t.LINE_POOL, t.LINE_PRIORITY, t.LINE_PROJECT]].tolist()  # type: ignore[no-any-return]


def test_lines_go_by_pool_then_priority_then_project() -> None:
    rows = [
        {"pool": 1, "priority": 1, "project": 2},
        {"pool": 0, "project": 1},
        {"pool": 0, "priority": 5},
        {"pool": 0},
    ]
    made = world(replace(bare(9), pools=pair().pools), trace(rows, pools=("a", "b")), FRUGAL)
    assert lines(made) == [[0, 5, 0], [0, 0, 0], [0, 0, 1], [1, 1, 2]]
    assert made.state.job[:, t.JOB_LINE].tolist() == [3, 2, 0, 1]


@given(walltimes=st.lists(st.integers(1, 2**40), min_size=1, max_size=20))
def test_lines_tell_walltimes_apart_where_short_ones_go_first(walltimes: list[int]) -> None:
    """As the live hub does, which goes by `length_of`; shorter ones stand in an earlier line."""
    jobs = trace([{"walltime_ms": ms, "run_ms": 1} for ms in walltimes])
    made = world(bare(1), jobs, replace(EASY, short_first=True))
    ranks = {length: row for row, length in enumerate(sorted({length_of(ms) for ms in walltimes}))}
    assert made.state.job[:, t.JOB_LINE].tolist() == [ranks[length_of(ms)] for ms in walltimes]


def test_rules_that_look_at_no_pool_have_one() -> None:
    rows = [{"pool": 1}, {"pool": 0, "priority": 5, "project": 1}, {"pool": 0}]
    made = world(replace(bare(9), pools=pair().pools), trace(rows, pools=("a", "b")), EASY)
    assert lines(made) == [[0, 5, NONE], [0, 0, NONE]]
    assert made.state.job[:, t.JOB_POOL].tolist() == [0, 0, 0] and len(made.state.pool) == 1
    assert made.pools == ("a", "b") and made.pool_of.tolist() == [1, 0, 0]  # the books still tell them apart


values = st.integers(0, 2)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "milli_devices": st.sampled_from([250, 1000, 9000]),
                "walltime_ms": st.sampled_from([2000, 10**12]),
                "pool": st.integers(0, 1),
                "priority": st.sampled_from([-(2**40), 0, 7]),
                "preemptible": st.integers(0, 1),
                "tolerance_permille": st.sampled_from([0, 5, 120, 300]),
                "project": values,
            }
        ),
        min_size=1,
        max_size=12,
    )
)
def test_jobs_share_a_shape_exactly_when_they_are_alike(rows: list[dict[str, int]]) -> None:
    made = world(pair(), trace(rows, pools=("a", "b")), FRUGAL)
    job = made.state.job
    columns = [t.JOB_PROFILE, t.JOB_WALLTIME, t.JOB_POOL, t.JOB_PREEMPTIBLE, t.JOB_ELASTIC]
    alike = [(*job[i, columns].tolist(), int(made.state.need[i, 0]), rows[i]["priority"]) for i in range(len(rows))]
    for i, one in enumerate(alike):
        for k, other in enumerate(alike):
            assert (one == other) == (job[i, t.JOB_SHAPE] == job[k, t.JOB_SHAPE])
    for i, row in enumerate(rows):
        assert lines(made)[job[i, t.JOB_LINE]] == [row["pool"], row["priority"], row["project"]]
    assert lines(made) == sorted(lines(made), key=lambda line: (line[0], -line[1], line[2]))


def test_pools_are_named_or_given_in_turn() -> None:
    rows = [{"pool": i} for i in range(4)]
    names = ("b", "x", "y", "z")
    made = world(pair(), trace(rows, pools=names), FRUGAL, pools={"z": "a"})
    assert made.pool_of.tolist() == [1, 0, 1, 0]
    assert [(a.path, a.value) for a in made.said if a.path.startswith("trace.pools")] == [
        ("trace.pools.x", "a"),
        ("trace.pools.y", "b"),
    ]
    with pytest.raises(FabriqueError) as caught:
        world(pair(), trace(rows, pools=names), FRUGAL, pools={"x": "c"})
    assert caught.value.code == "twin.pool" and caught.value.params == {"pool": "c", "pools": "a, b"}


def test_nominal_quotas_are_shares_of_what_the_fleet_can_do() -> None:
    third = tuple(Pool(id=name, share_ppm=333_333) for name in "abc")
    made = world(pair(pools=third), trace([{}]), FRUGAL)
    nominal = made.state.pool[:, t.POOL_NOMINAL]
    assert nominal.sum() == 8000 + 32_000 // 2 == made.state.cohort[0, t.COHORT_SIZE]
    assert nominal.tolist() == [8000, 8000, 8000]
    assert (nominal + made.state.pool[:, t.POOL_BORROW] > 0).all()  # no limit, and no overflow


def test_cohorts_lend_among_themselves() -> None:
    pools = tuple(Pool(id=f"{c}{q}", share_ppm=1, cohort=c, borrow_ppm=5 * PPM) for c in "AB" for q in range(3))
    made = world(replace(bare(120), pools=pools), trace([{}], pools=("A0",)), FRUGAL)
    assert made.state.cohort[:, t.COHORT_SIZE].tolist() == [60_000, 60_000]
    assert made.state.pool[:, t.POOL_NOMINAL].tolist() == [20_000] * 6
    assert made.state.pool[:, t.POOL_BORROW].tolist() == [100_000] * 6


# --- power, grid, clock --------------------------------------------------------------------------------------------
def test_a_cap_is_counted_above_the_idle_draw() -> None:
    site = with_event(saturated_site(), "site", 5 * HOUR, 6 * HOUR, 2_000_000, 4 * HOUR)
    made = world(site, trace([{}]), FRUGAL)
    above = [(3_000_000 - 522_344) * 1000, (2_000_000 - 522_344) * 1000]
    assert made.state.cap.tolist() == [[0, above[0], 0], [5 * HOUR, above[1], 4 * HOUR], [6 * HOUR, above[0], 4 * HOUR]]
    assert made.state.domain.tolist() == [[NONE, 0, 3, 0, 2_728_000]] and made.state.chain.tolist() == [[0]]
    assert made.base_mw.tolist() == [522_344_000] and made.tick_ms == HOUR


def test_racks_stand_in_their_site() -> None:
    site = saturated_site()
    rack = Domain(id="rack", site="site", base_w=100, parent="site")
    made = world(
        replace(site, domains=(*site.domains, rack), places=(replace(site.places[0], domain="rack"),)),
        trace([{}]),
        FRUGAL,
    )
    assert made.state.chain.tolist() == [[1, 0]]
    assert made.state.domain[:, t.DOMAIN_PARENT].tolist() == [NONE, 0]
    assert made.state.domain[:, t.DOMAIN_FREE].tolist() == [2_728_000, 2_728_000]


def test_rules_that_count_no_power_have_no_domains() -> None:
    made = world(saturated_site(), trace([{}]), EASY)
    assert made.state.domain.shape == (0, t.DOMAIN_COLUMNS) and made.state.chain.tolist() == [[]]
    assert made.tick_ms == 0 and made.draw_mw.tolist() == [923_048]


def test_sites_of_places_and_of_options() -> None:
    fleet = of_hub(hubs.load_builtin("lu-meluxina-ai"))
    made = world(fleet, trace([{}]), EASY)
    sites = [fleet.places[p].site for p in made.state.option[:, t.OPTION_PLACE]]
    assert [made.sites[s] for s in made.site_of_option] == sites and set(sites) == {"bissen", "bettembourg"}


def test_the_grid_is_summed_up_in_proportion() -> None:
    forecast = np.array([[300_000, 0, 100_000, 200_000]], np.int64)
    made = world(bare(4), trace([{}]), EASY, weather=Outlook(forecast=forecast, start_ms=7 * HOUR, step_ms=HOUR))
    sums = made.state.grid[0]
    assert (sums // sums[1] * 3).tolist()[:2] == [0, 3] and (sums * 6).tolist() == (
        sums[4] * np.array([0, 3, 3, 4, 6])
    ).tolist()
    assert made.state.clock[[t.CLOCK_GRID, t.CLOCK_SLOT]].tolist() == [7 * HOUR, HOUR]
    assert made.state.planned.shape == (1, 4) and made.tick_ms == HOUR


@pytest.mark.parametrize("value", [900_000, 4_000_000_000, -500_000_000])
def test_years_of_any_signal_stay_within_63_bits(value: int) -> None:
    slots = 10 * 8766
    weather = Outlook(forecast=np.full((1, slots), value, np.int64), start_ms=0, step_ms=HOUR)
    sums = world(bare(4), trace([{}]), EASY, weather=weather).state.grid[0]
    exact = [int(x) for x in sums]
    assert exact == [i * exact[1] for i in range(slots + 1)] and abs(exact[1]) > 0
    assert abs(exact[1]) * HOUR < 2**63 and 1000 * abs(exact[-1]) < 2**63


def test_a_forecast_of_other_sites_or_of_senseless_size_is_refused() -> None:
    for forecast in (np.zeros((2, 4), np.int64), np.full((1, 4), 2**61, np.int64)):
        with pytest.raises(ValueError, match="forecast"):
            world(bare(4), trace([{}]), EASY, weather=Outlook(forecast=forecast, start_ms=0, step_ms=HOUR))


def test_without_a_grid_there_are_no_slots() -> None:
    state = world(bare(4), trace([{}]), FRUGAL).state
    assert state.grid.tolist() == [[0]] and state.planned.shape == (1, 0) and state.clock[t.CLOCK_SLOT] == 0


def test_the_clock_starts_with_the_first_job() -> None:
    clock = world(bare(4), trace([{"submit_ms": 3 * 86_400_000 + 5}]), EASY).state.clock
    assert clock[[t.CLOCK_LAST, t.CLOCK_DAY, t.CLOCK_BLOCKED, t.CLOCK_RUNS]].tolist() == [
        3 * 86_400_000 + 5,
        3,
        NONE,
        0,
    ]


def test_runs_have_as_many_rows_as_can_run_at_once() -> None:
    assert len(world(bare(4), trace([{}] * 9), EASY).state.run) == 4
    assert len(world(bare(4), trace([{"milli_devices": 500}] * 9), EASY).state.run) == 8
    assert len(world(bare(400), trace([{}] * 9), EASY).state.run) == 9


def test_every_table_is_of_whole_numbers_in_rows() -> None:
    for table in world(saturated_site(), trace([{}]), FRUGAL).state:
        assert table.dtype == np.int64 and table.flags.c_contiguous


def test_the_world_says_what_it_assumes_of_work() -> None:
    said = {a.path for a in world(saturated_site(), trace([{"work_class": 2, "preemptible": 1}]), FRUGAL).said}
    assert {"work_classes.any", "restart_ms", "kinds.h100-sxm.power_levels"} <= said
    assert not any(p.startswith("work_classes") for p in (a.path for a in world(bare(4), trace([{}]), EASY).said))


# --- replayed ------------------------------------------------------------------------------------------------------
def starts(made: World) -> list[int]:
    told = replay(
        read(made.state),
        made.flags,
        made.submit_ms.tolist(),
        made.left_ms.tolist(),
        made.after.tolist(),
        made.tick_ms,
        made.restart_ms,
    )
    return [start - 1_000_000 for start in told["start"]]


@pytest.mark.parametrize(("name", "expected"), [("fifo", [0, 10_000, 20_000]), ("easy", [0, 10_000, 2000])])
def test_first_come_first_served_and_easy_by_hand(name: str, expected: list[int]) -> None:
    rows = [
        {"milli_devices": 2000, "run_ms": 10_000, "walltime_ms": 10_000},
        {"milli_devices": 3000, "run_ms": 10_000, "walltime_ms": 10_000},
        {"milli_devices": 1000, "run_ms": 5000, "walltime_ms": 5000},
    ]
    assert starts(world(bare(3), trace(rows), rule_sets.load(name))) == expected


def test_rules_of_ones_own_are_taken_as_they_are() -> None:
    rules = Rules(name="mine", version=4, depth=3)
    made = world(bare(3), trace([{}]), rules, tick_ms=5)
    assert made.rules == rules and made.flags == rules.flags() and made.tick_ms == 5
