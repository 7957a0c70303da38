"""The plain decision on cases small enough to work out by hand: one phase each."""

from __future__ import annotations

from typing import Any

from tests.property.worlds import HOUR, MINUTE, T0, hub

from fabrique.core.admission import tables as t
from fabrique.core.admission.kernels import reference
from fabrique.core.admission.kernels.reference import Decision, World
from fabrique.core.admission.rules import Rules
from fabrique.core.admission.tables import NONE

LEVELS = ((1_000_000, 1_000_000), (600_000, 800_000), (400_000, 500_000))  # (mW of one device, speed)


def rules(**choices: Any) -> Rules:
    return Rules(name="test", **choices)


def job(need: int, hours: int = 1, **more: Any) -> dict[str, Any]:
    return {"need": need * 1000, "walltime": hours * HOUR, **more}


def come(world: World, *rows: int) -> None:
    for row in rows:
        reference.ready(world, world.jobs[row])


def at(world: World, wanted: Rules, now: int) -> Decision:
    reference.advance(world, wanted.flags(), now)
    return reference.step(world, wanted.flags(), now)


def says(world: World, row: int) -> tuple[int, int, int, int]:
    asked = world.jobs[row]
    return asked.verdict, asked.short, asked.free, asked.at


def test_the_head_is_reserved_and_only_who_ends_in_time_passes_it() -> None:
    world = reference.read(hub([job(5, 4), job(6), job(3, 5), job(3, 4)]))
    come(world, 0, 1, 2, 3)
    assert at(world, rules(), T0).starts == [(0, 0), (3, 0)]
    assert says(world, 1) == (t.V_RESOURCE, 6000, 3000, T0 + 4 * HOUR)
    assert says(world, 2) == (t.V_BEHIND, 0, 0, NONE)
    assert world.blocked == 1


def test_without_backfill_nobody_passes() -> None:
    world = reference.read(hub([job(5, 4), job(6), job(1)]))
    come(world, 0, 1, 2)
    assert at(world, rules(backfill=False), T0).starts == [(0, 0)]
    assert says(world, 2) == (t.V_BEHIND, 0, 0, NONE)


def test_a_job_larger_than_the_machine_reserves_nothing() -> None:
    world = reference.read(hub([job(9), job(8)]))
    come(world, 0, 1)
    assert at(world, rules(), T0).starts == [(1, 0)]
    assert says(world, 0) == (t.V_RESOURCE, 9000, 8000, NONE)


def test_a_job_like_one_that_failed_is_told_the_same() -> None:
    world = reference.read(hub([job(8, 2), job(6), job(4, shape=7), job(4, shape=7)]))
    come(world, 0, 1, 2, 3)
    at(world, rules(), T0)
    assert says(world, 2) == says(world, 3) == (t.V_RESOURCE, 4000, 0, NONE)
    assert world.visited["shape-remembered"] == 1


def test_a_budget_that_is_held_keeps_the_second_job_waiting() -> None:
    world = reference.read(hub([job(1, ask=70), job(1, ask=70)], room=(100,)))
    come(world, 0, 1)
    assert at(world, rules(), T0).starts == [(0, 0)]
    assert says(world, 1) == (t.V_BUDGET, 0, 30, NONE)
    assert world.room == [30]


def test_an_announced_fall_of_the_cap_keeps_a_long_job_out_but_not_a_short_one() -> None:
    caps = ((0, 8_000_000, 0), (T0 + 2 * HOUR, 1_000_000, T0))
    world = reference.read(hub([job(2, 3), job(2, 2)], options=LEVELS[:1], caps=caps))
    come(world, 0, 1)
    assert at(world, rules(), T0).starts == [(1, 0)]
    assert says(world, 0)[0] == t.V_BEHIND


def test_a_fall_nobody_knows_of_yet_keeps_nobody_out() -> None:
    caps = ((0, 8_000_000, 0), (T0 + 2 * HOUR, 1_000_000, T0 + HOUR))
    world = reference.read(hub([job(2, 3)], options=LEVELS[:1], caps=caps))
    come(world, 0)
    assert at(world, rules(), T0).starts == [(0, 0)]


def test_a_block_ahead_keeps_out_who_would_run_into_it() -> None:
    world = reference.read(hub([job(5, 3), job(3, 3)], blocks=((T0 + HOUR, T0 + 2 * HOUR, 4000),)))
    come(world, 0, 1)
    assert at(world, rules(), T0).starts == [(1, 0)]
    assert says(world, 0) == (t.V_BEHIND, 0, 0, T0 + 2 * HOUR)


FALL = ((0, 9_000_000, 0), (T0 + HOUR, 4_400_000, T0 + HOUR), (T0 + 2 * HOUR, 9_000_000, T0 + HOUR))
SAVING = rules(recap=True, water_fill=True, backoff_ms=HOUR)


def test_a_falling_cap_lowers_who_consents_and_the_level_comes_back() -> None:
    world = reference.read(hub([job(4, 4, elastic=1), job(2, 4)], options=LEVELS, caps=FALL))
    come(world, 0, 1)
    assert at(world, SAVING, T0).starts == [(0, 0), (1, 0)]
    fall = at(world, SAVING, T0 + HOUR)  # 6 kW under 4.4: 1.6 saved at 0.6 kW a device is just enough
    assert (fall.recaps, fall.preempts) == ([(0, 1)], [])
    assert world.run_of(world.jobs[0]).end == T0 + HOUR + 3 * HOUR * 10 // 8
    rise = at(world, SAVING, T0 + 2 * HOUR)
    assert rise.recaps == [(0, 0)]
    assert world.run_of(world.jobs[0]).end == T0 + 2 * HOUR + 11 * HOUR * 8 // 40  # 2.75 h at 0.8 are 2.2 h


def test_who_writes_checkpoints_is_stopped_and_who_consents_to_nothing_is_spared() -> None:
    caps = ((0, 9_000_000, 0), (T0 + HOUR, 1_000_000, T0 + HOUR))
    asked = [job(2, 4), job(4, 4, preemptible=1, ask=10)]
    world = reference.read(hub(asked, options=LEVELS, caps=caps, room=(10,)))
    come(world, 0, 1)
    at(world, SAVING, T0)
    fall = at(world, SAVING, T0 + HOUR)
    assert fall.preempts == [(1, NONE)]
    assert [run.job.row for run in world.runs] == [0]
    assert (world.jobs[1].status, world.jobs[1].not_before, world.room) == (t.AWAY, T0 + 2 * HOUR, [10])


def test_where_power_is_short_for_all_a_job_takes_the_even_level() -> None:
    caps = ((0, 5_000_000, 0),)  # 8 devices free: 625 W each
    world = reference.read(hub([job(4), job(4), job(4)], options=LEVELS, caps=caps))
    come(world, 0, 1, 2)
    assert at(world, SAVING, T0).starts == [(0, 1), (1, 1)]


def test_the_level_above_is_taken_where_the_others_still_have_their_share() -> None:
    caps = ((0, 6_000_000, 0),)  # 750 W each; never 4 kW left for the level above
    world = reference.read(hub([job(4), job(4), job(4)], options=LEVELS, caps=caps))
    come(world, 0, 1, 2)
    assert at(world, SAVING, T0).starts == [(0, 1), (1, 1)]
    caps = ((0, 6_400_000, 0),)  # the first four leave the others 800 W each, which leave nobody without
    world = reference.read(hub([job(4), job(4), job(4)], options=LEVELS, caps=caps))
    come(world, 0, 1, 2)
    assert at(world, SAVING, T0).starts == [(0, 1), (1, 0)]


def test_a_run_started_slowly_wants_more_once_somebody_waits() -> None:
    levels = tuple(reversed(LEVELS))  # least energy first: the slowest
    world = reference.read(hub([job(4, 9, elastic=1), job(8)], options=levels, caps=((0, 9_000_000, 0),)))
    come(world, 0)
    assert at(world, SAVING, T0).starts == [(0, 0)]
    assert at(world, SAVING, T0 + HOUR).recaps == []
    come(world, 1)
    assert at(world, SAVING, T0 + 2 * HOUR).recaps == [(0, 2)]
    assert at(world, SAVING, T0 + 3 * HOUR).recaps == []


TWO_POOLS = ((4000, 4000, 4000), (4000, 4000, 4000))
LENT = rules(pools=True, reclaim=True, backoff_ms=HOUR, min_run_ms=10 * MINUTE)


def lent() -> World:
    asked = [job(2, 9, pool=1, preemptible=1) for _ in range(4)] + [job(2, pool=0), job(2, 9, pool=1, preemptible=1)]
    world = reference.read(hub(asked, pools=TWO_POOLS))
    come(world, 0, 1, 2, 3)
    assert at(world, LENT, T0).starts == [(0, 0), (1, 0), (2, 0), (3, 0)]
    return world


def test_a_pool_takes_back_what_it_lent_from_the_last_and_no_more() -> None:
    world = lent()
    come(world, 4)
    taken = at(world, LENT, T0 + HOUR)
    assert (taken.starts, taken.preempts) == ([(4, 0)], [(3, 4)])
    assert world.pools[1].no_borrow == T0 + 2 * HOUR
    come(world, 5)
    reference.end(world, world.jobs[4])
    assert at(world, LENT, T0 + HOUR + 1).starts == []  # room is there, but it may not borrow yet
    assert says(world, 5) == (t.V_QUOTA, 2000, 0, NONE)
    assert at(world, LENT, T0 + 2 * HOUR).starts == [(5, 0)]


def test_of_those_who_write_checkpoints_the_smallest_is_sent_back() -> None:
    asked = [job(2, 9, pool=1, preemptible=1), job(6, 9, pool=1, preemptible=1), job(2, pool=0)]
    world = reference.read(hub(asked, pools=TWO_POOLS))
    come(world, 0, 1)
    assert at(world, LENT, T0).starts == [(0, 0), (1, 0)]
    come(world, 2)
    assert at(world, LENT, T0 + HOUR).preempts == [(0, 2)]


def test_nobody_is_stopped_before_its_minimum_run() -> None:
    world = lent()
    come(world, 4)
    assert at(world, LENT, T0 + 10 * MINUTE - 1).preempts == []
    assert at(world, LENT, T0 + 10 * MINUTE).preempts == [(3, 4)]


def test_the_back_off_doubles_with_each_preemption() -> None:
    world = lent()
    world.jobs[3].preemptions = 2
    come(world, 4)
    at(world, LENT, T0 + HOUR)
    assert world.jobs[3].not_before == T0 + HOUR + 4 * HOUR


def test_an_old_job_that_its_quota_keeps_waiting_closes_its_pool() -> None:
    asked = [job(3, 9), job(3), job(1, submit=T0 + 1)]
    world = reference.read(hub(asked, pools=((4000, 0, 0),)))
    old = rules(pools=True, age_ms=HOUR)
    come(world, 0)
    at(world, old, T0)
    come(world, 1, 2)
    assert at(world, old, T0 + HOUR).starts == []
    assert says(world, 1) == (t.V_QUOTA, 3000, 1000, NONE)
    assert says(world, 2) == (t.V_QUOTA, 1000, 0, NONE)


GREEN = rules(defer=True, floor_permille=50)


def test_a_flexible_job_moves_once_to_the_earliest_of_the_best_hours() -> None:
    asked = [job(8, latest=T0 + 3 * HOUR), job(8, latest=T0 + 3 * HOUR)]
    world = reference.read(hub(asked, series=(100, 40, 20, 20, 10)))
    come(world, 0, 1)
    moved = at(world, rules(defer=True, fill_ppm=1_000_000), T0)
    assert moved.deferrals == [(0, T0 + 2 * HOUR), (1, T0 + 3 * HOUR)]  # one fills its hour
    assert reference.write(world).planned.tolist() == [[0, 0, 8000, 8000, 0]]
    come(world, 0)
    assert at(world, GREEN, T0 + 2 * HOUR).starts == [(0, 0)]
    assert reference.write(world).planned.tolist() == [[0, 0, 0, 8000, 0]]


def test_what_saves_less_than_the_floor_is_not_worth_waiting_for() -> None:
    series = (100, 96, 95, 95)
    for floor, starts in ((51, [(0, 0)]), (50, [])):
        world = reference.read(hub([job(1, latest=T0 + 3 * HOUR)], series=series))
        come(world, 0)
        assert at(world, rules(defer=True, floor_permille=floor), T0).starts == starts


def test_prices_below_zero_are_worth_waiting_for_too() -> None:
    world = reference.read(hub([job(1, latest=T0 + 3 * HOUR)], series=(-100, -106, 0, 0)))
    come(world, 0)
    assert at(world, GREEN, T0).deferrals == [(0, T0 + HOUR)]


def test_after_a_restore_nothing_is_decided() -> None:
    world = reference.read(hub([job(1)]))
    come(world, 0)
    assert at(world, rules(observe_only=True), T0) == Decision()


def test_time_adds_to_what_a_pool_is_owed_and_what_a_project_used() -> None:
    world = reference.read(hub([job(8, 99), job(4, pool=1)], pools=((4000, 4000, 4000), (4000, 0, 4000))))
    wanted = rules(share_order=True, fair=True, window_ms=2 * HOUR, decay_ppm=500_000)
    come(world, 0, 1)
    at(world, wanted, T0)
    reference.advance(world, wanted.flags(), T0 + HOUR)
    assert [pool.owed for pool in world.pools] == [0, 4000 * HOUR]
    assert world.projects[0].use == 8000 * HOUR
    reference.advance(world, wanted.flags(), T0 + 5 * HOUR)  # past midnight: it halves; the window bounds the debt
    assert [pool.owed for pool in world.pools] == [0, 2 * 4000 * HOUR]
    assert world.projects[0].use == 8000 * 5 * HOUR // 2
