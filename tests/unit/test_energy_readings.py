"""From counters and samples to joules: wraps, restarts, sentinels, holes."""

import pytest

from fabrique.core.energy import Provenance, Window, measured, modelled
from fabrique.core.readings import Gap, GapCause, Limits, Reading, metered, value_or_unknown

COUNTER = measured("a counter")
FREE = Limits(most_w=1_000)


def counted(*points: tuple[int, int | None], provenance: Provenance = COUNTER) -> list[Reading]:
    return [Reading("gpu", at, provenance, counter_mj=value) for at, value in points]


def sampled(*points: tuple[int, int | None]) -> list[Reading]:
    return [Reading("gpu", at, COUNTER, power_mw=value) for at, value in points]


@pytest.mark.parametrize("raw", [-2, -1, 2**64 - 2, 2**64 - 1, None])
def test_sentinels_are_no_joules(raw: int | None) -> None:
    assert value_or_unknown(raw) is None
    assert not Reading("gpu", 0, COUNTER, counter_mj=raw).known


def test_a_value_is_a_value() -> None:
    assert value_or_unknown(0) == 0
    assert value_or_unknown(2**32 - 2) == 2**32 - 2


def test_a_counter_over_its_readings() -> None:
    found = metered(counted((0, 500), (10_000, 1_500), (20_000, 4_500)), Window(0, 20_000), FREE)
    assert (found.energy_mj, found.covered_ms, found.gaps, found.provenance) == (4_000, 20_000, (), COUNTER)


def test_a_window_between_readings_takes_its_part() -> None:
    assert metered(counted((0, 0), (10_000, 1_000)), Window(2_500, 5_000), FREE).energy_mj == 250


def test_a_counter_needs_no_samples_in_between() -> None:
    assert metered(counted((0, 0), (86_400_000, 9_000)), Window(0, 86_400_000), FREE).energy_mj == 9_000


def test_a_wrap_is_followed_when_the_limits_say_so() -> None:
    limits = Limits(most_w=100, wraps_at_mj=262_143_328)
    found = metered(counted((0, 262_143_000), (10_000, 400)), Window(0, 10_000), limits)
    assert (found.energy_mj, found.gaps) == (728, ())


def test_a_counter_that_falls_without_wrapping_is_a_restart_and_no_energy() -> None:
    found = metered(counted((0, 9_000), (10_000, 500), (20_000, 900)), Window(0, 20_000), FREE)
    assert found.energy_mj == 400
    assert found.gaps == (Gap(Window(0, 10_000), GapCause.RESTART),)
    assert found.covered_ms == 10_000


def test_a_fall_that_would_be_too_much_for_a_wrap_is_a_restart() -> None:
    limits = Limits(most_w=100, wraps_at_mj=262_143_328)
    found = metered(counted((0, 100_000_000), (10_000, 0)), Window(0, 10_000), limits)
    assert found.gaps == (Gap(Window(0, 10_000), GapCause.RESTART),)
    assert found.energy_mj is None


def test_a_time_in_which_it_may_have_wrapped_twice_is_a_gap() -> None:
    limits = Limits(most_w=100, wraps_at_mj=1_000_000)
    found = metered(counted((0, 0), (10_000, 5_000)), Window(0, 10_000), limits)
    assert [g.cause for g in found.gaps] == [GapCause.WRAPS]


def test_a_jump_beyond_what_the_device_can_draw_is_a_gap() -> None:
    found = metered(counted((0, 0), (10_000, 2**40)), Window(0, 10_000), FREE)
    assert [g.cause for g in found.gaps] == [GapCause.IMPOSSIBLE]
    assert found.energy_mj is None


def test_a_counter_is_bridged_over_a_sentinel() -> None:
    found = metered(counted((0, 0), (10_000, 2**64 - 2), (20_000, 3_000)), Window(0, 20_000), FREE)
    assert (found.energy_mj, found.gaps) == (3_000, ())


def test_samples_are_integrated_as_trapezoids() -> None:
    found = metered(sampled((0, 100_000), (10_000, 200_000)), Window(0, 10_000), FREE)
    assert found.energy_mj == 1_500_000


def test_samples_too_far_apart_leave_a_gap() -> None:
    found = metered(sampled((0, 100_000), (15_000, 100_000), (30_001, 100_000)), Window(0, 30_001), FREE)
    assert found.energy_mj == 1_500_000
    assert found.gaps == (Gap(Window(15_000, 30_001), GapCause.LATE),)


def test_a_long_silence_of_answers_without_value_says_so() -> None:
    found = metered(sampled((0, 1), (10_000, -2), (20_000, 1)), Window(0, 20_000), FREE)
    assert found.gaps == (Gap(Window(0, 20_000), GapCause.NO_VALUE),)
    short = metered(sampled((0, 100_000), (5_000, -2), (10_000, 100_000)), Window(0, 10_000), FREE)
    assert (short.energy_mj, short.gaps) == (1_000_000, ())


def test_a_power_no_device_draws_is_no_sample() -> None:
    found = metered(sampled((0, 100_000), (5_000, 2**32 - 2), (10_000, 100_000)), Window(0, 10_000), FREE)
    assert found.energy_mj == 1_000_000


def test_before_the_first_reading_and_after_the_last_nothing_was_read() -> None:
    found = metered(counted((10_000, 0), (20_000, 1_000)), Window(0, 30_000), FREE)
    assert found.energy_mj == 1_000
    assert found.gaps == (
        Gap(Window(0, 10_000), GapCause.UNREAD),
        Gap(Window(20_000, 30_000), GapCause.UNREAD),
    )


@pytest.mark.parametrize("readings", [[], counted((5, 1)), counted((0, None), (9, None))])
def test_nothing_read_is_unknown_not_zero(readings: list[Reading]) -> None:
    found = metered(readings, Window(0, 10), FREE)
    assert (found.energy_mj, found.covered_ms, found.provenance) == (None, 0, None)
    assert found.gaps == (Gap(Window(0, 10), GapCause.UNREAD),)


def test_a_counter_and_a_power_do_not_mix() -> None:
    readings = counted((0, 0)) + sampled((10_000, 5))
    assert [g.cause for g in metered(readings, Window(0, 10_000), FREE).gaps] == [GapCause.MIXED]
    with pytest.raises(ValueError, match="not both"):
        Reading("gpu", 0, COUNTER, counter_mj=1, power_mw=1)


def test_sources_do_not_mix() -> None:
    readings = [*counted((0, 0)), Reading("another", 1, COUNTER, counter_mj=1)]
    with pytest.raises(ValueError, match="one source"):
        metered(readings, Window(0, 1), FREE)


def test_order_does_not_matter_and_the_last_of_two_at_once_stays() -> None:
    readings = counted((10_000, 1_000), (0, 0), (10_000, 2_000))
    assert metered(readings, Window(0, 10_000), FREE).energy_mj == 2_000


def test_a_sum_names_its_least_certain_reading() -> None:
    model = modelled("m", 110)
    readings = counted((0, 0)) + counted((10_000, 10), provenance=model)
    assert metered(readings, Window(0, 10_000), FREE).provenance is model
