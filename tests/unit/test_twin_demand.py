"""What jobs ask of a fleet, which can never start on it, and where and at which level the others may run."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from tests.unit.small_traces import options_of, pair, trace

from fabrique.core.admission import tables as t
from fabrique.core.admission.tables import NONE
from fabrique.definitions import hubs
from fabrique.definitions import rules as rule_sets
from fabrique.twin.fleet import Pool, bare
from fabrique.twin.fleet_of_hub import of_hub, saturated_site
from fabrique.twin.world import world

EASY, FRUGAL = rule_sets.load("easy"), rule_sets.load("frugal")


# --- what is asked -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("asked", "need"),
    [(250, 250), (300, 333), (334, 500), (500, 500), (501, 1000), (1, 1), (1000, 1000), (1500, 1500), (2300, 2333)],
)
def test_a_fraction_of_a_device_is_a_slice_of_it(asked: int, need: int) -> None:
    assert world(bare(10), trace([{"milli_devices": asked}]), EASY).state.need[:, 0].tolist() == [need]


def test_whole_nodes_are_of_the_size_that_most_of_the_fleet_has() -> None:
    made = world(pair(), trace([{"milli_devices": 4000, "nodes": 1}, {"milli_devices": 20_000, "nodes": 1}]), EASY)
    assert made.state.need[:, 0].tolist() == [8000, 24_000]
    assert {place for place, _, _ in options_of(made, 0)} == {1}
    assert any(a.path == "trace.nodes" for a in made.said)


def test_whole_nodes_of_a_bare_machine_are_processors() -> None:
    assert world(bare(10), trace([{"milli_devices": 3000, "nodes": 3}]), EASY).state.need[:, 0].tolist() == [3000]


def test_a_job_goes_only_where_it_fits() -> None:
    made = world(pair(), trace([{"milli_devices": 8000}, {"milli_devices": 9000}]), EASY)
    assert [place for place, _, _ in options_of(made, 0)] == [0, 1]
    assert [place for place, _, _ in options_of(made, 1)] == [1]


def test_what_can_never_start_is_left_out_and_counted() -> None:
    rows = [{"milli_devices": 11_000}, {}, {"milli_devices": 0}, {"after": 1}, {"after": 0}]
    made = world(bare(10), trace(rows), EASY)
    assert made.dropped == (("no-device", 1), ("too-large", 1))
    assert made.rows.tolist() == [1, 3, 4]
    assert made.after.tolist() == [NONE, 0, NONE]
    assert made.submit_ms.tolist() == [1_001_000, 1_003_000, 1_004_000]


def test_a_job_that_no_cap_ever_leaves_the_watts_for_is_left_out() -> None:
    site = saturated_site()  # 2,728 devices, of which the cap feeds some 2,438 at their measured maximum
    rows = [
        {"milli_devices": 2_400_000},
        {"milli_devices": 2_500_000},
        {"milli_devices": 2_500_000, "tolerance_permille": 100},
    ]
    assert world(site, trace(rows), rule_sets.load("static-measured")).dropped == (("over-power", 2),)
    made = world(site, trace(rows), FRUGAL)
    assert made.dropped == (("over-power", 1),) and made.rows.tolist() == [0, 2]
    assert world(site, trace(rows), EASY).dropped == ()


def test_a_job_beyond_what_its_pool_may_ever_use_is_left_out() -> None:
    pools = (Pool(id="a", share_ppm=600_000, borrow_ppm=0), Pool(id="b", share_ppm=400_000, lend_ppm=0))
    fleet = replace(bare(10), pools=pools)
    rows = [{"milli_devices": 6000}, {"milli_devices": 7000}, {"milli_devices": 7000, "pool": 1}]
    made = world(fleet, trace(rows, pools=("a", "b")), FRUGAL)
    assert made.dropped == (("over-quota", 1),) and made.rows.tolist() == [0, 2]
    assert world(fleet, trace(rows, pools=("a", "b")), EASY).dropped == ()


# --- options -------------------------------------------------------------------------------------------------------
def test_options_go_by_energy_to_completion_within_the_tolerance() -> None:
    rows = [{}, {"tolerance_permille": 111}, {"tolerance_permille": 112}, {"tolerance_permille": 250}]
    made = world(pair(), trace(rows), FRUGAL)
    slow, fast, slow_low, fast_low = (1, 1000, 300), (0, 1000, 1000), (1, 700, 200), (0, 700, 600)
    assert options_of(made, 0) == options_of(made, 1) == [slow, fast]
    assert options_of(made, 2) == [slow, fast_low, fast]
    assert options_of(made, 3) == [slow_low, slow, fast_low, fast]


def test_the_thriftiest_option_of_each_place_in_order() -> None:
    made = world(pair(), trace([{"tolerance_permille": 250}]), FRUGAL)
    assert [made.state.option[o, [t.OPTION_PLACE, t.OPTION_MW]].tolist() for o in made.state.thrifty] == [
        [1, 200],
        [0, 600],
    ]


@pytest.mark.parametrize(("watts", "mw"), [("none", [0, 0]), ("nameplate", [1200, 1200]), ("measured", [1000, 300])])
def test_rules_without_levels_book_the_top_level(watts: str, mw: list[int]) -> None:
    made = world(pair(), trace([{"tolerance_permille": 500}]), replace(EASY, watts=watts))  # type: ignore[arg-type]
    found = options_of(made, 0)
    assert {limit for _, limit, _ in found} == {1000}
    assert [booked for _, _, booked in sorted(found)] == mw


def test_what_is_drawn_is_not_what_is_booked() -> None:
    made = world(pair(), trace([{}]), replace(EASY, watts="nameplate"))
    assert made.draw_mw[made.state.option[:, t.OPTION_PLACE] == 0].tolist() == [500]


@pytest.mark.parametrize("hub", ["ca-lasalle-hub", "lu-meluxina-ai", "it-it4lia"])
def test_every_option_of_a_hub_is_as_the_fleet_says(hub: str) -> None:
    fleet = of_hub(hubs.load_builtin(hub))
    kinds = [{"work_class": c, "tolerance_permille": tol} for c in range(3) for tol in (0, 30, 60, 100, 200, 10**9)]
    made = world(fleet, trace(kinds), FRUGAL)
    for row, asked in enumerate(kinds):
        name = ("training-compute", "training-memory", "any")[asked["work_class"]]
        expected = []
        for number, place in enumerate(fleet.places):
            top = place.paces_of(name)[0]
            expected += [
                (Fraction(p.measured_mw, p.speed_ppm), number, level, (number, p.limit_permille, p.measured_mw))
                for level, p in enumerate(place.paces_of(name))
                if Fraction(top.speed_ppm, p.speed_ppm) <= Fraction(1000 + asked["tolerance_permille"], 1000)
            ]
        assert options_of(made, row) == [found for *_, found in sorted(expected)]
