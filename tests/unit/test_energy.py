"""Energy of a window: provenance, models, power levels, overhead; the identity itself is a property test."""

import pytest

from fabrique.core.energy import (
    CALIBRATED_MODEL_ERROR,
    TDP_MODEL_ERROR,
    Claim,
    PowerLevel,
    Window,
    at_facility,
    attribute,
    attributed,
    extended_walltime,
    frugality_rebate,
    least_certain,
    measured,
    modelled,
    modelled_energy,
    throughput_permille,
)

HOUR = Window(0, 3_600_000)
# Medians of public traces of a V100, per thousand of the top limit.
V100 = [PowerLevel(810, 965, 867), PowerLevel(680, 941, 781), PowerLevel(500, 853, 591), PowerLevel(400, 725, 508)]


def test_two_runs_share_what_idle_and_overhead_leave() -> None:
    split = attribute(HOUR, 1_350_000, 100_000, 350, [Claim("a", 2), Claim("b", 1)])
    assert split.overhead_mj == 350_000
    assert dict(split.jobs) == {"a": 600_000, "b": 300_000}
    assert split.residual_mj == 0


def test_a_run_is_charged_what_its_own_counter_says_and_the_rest_is_residual() -> None:
    split = attribute(HOUR, 1_000, 100, 0, [Claim("a", measured_mj=800)])
    assert (split.jobs["a"], split.residual_mj) == (800, 100)
    assert split.within_bound


def test_counters_above_the_meter_give_a_negative_residual_that_is_shown_not_hidden() -> None:
    split = attribute(HOUR, 1_000, 100, 0, [Claim("a", measured_mj=1_500), Claim("b", weight=1)])
    assert dict(split.jobs) == {"a": 1_500, "b": 0}
    assert split.residual_mj == -600
    assert not split.within_bound


def test_energy_that_no_run_can_have_drawn_stays_residual() -> None:
    nobody = attribute(HOUR, 1_000, 400, 0, [])
    assert nobody.residual_mj == 600
    capped = attribute(HOUR, 1_000, 0, 0, [Claim("a", 1, most_mj=300), Claim("b", 1)])
    assert dict(capped.jobs) == {"a": 300, "b": 500}
    assert capped.residual_mj == 200


def test_the_bound_of_the_residual_is_given_and_kept() -> None:
    split = attribute(HOUR, 1_000, 951, 0, [], residual_bound_permille=50)
    assert (split.residual_mj, split.residual_bound_mj, split.within_bound) == (49, 50, True)
    assert not attribute(HOUR, 1_000, 949, 0, [], residual_bound_permille=50).within_bound


@pytest.mark.parametrize(
    "arguments",
    [(-1, 0, 0, []), (1, -1, 0, []), (1, 0, -1, []), (1, 0, 0, [Claim("a", 1), Claim("a", 1)])],
)
def test_nonsense_is_refused(arguments: tuple[int, int, int, list[Claim]]) -> None:
    with pytest.raises(ValueError, match=r"never negative|claims once"):
        attribute(HOUR, *arguments)


def test_a_claim_and_a_window_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="never negative"):
        Claim("a", -1)
    with pytest.raises(ValueError, match="no earlier"):
        Window(2, 1)


def test_the_facility_meter_shows_the_machines_times_pue() -> None:
    assert at_facility(1_000, 1_350) == 1_350
    with pytest.raises(ValueError, match="PUE"):
        at_facility(1_000, 999)


def test_a_sum_is_as_certain_as_its_least_certain_part() -> None:
    counter, shared = measured("c"), attributed("by weight")
    good, bad, unknown = modelled("m", 110), modelled("m", 370), modelled("m", None)
    assert least_certain([counter, shared]) is shared
    assert least_certain([good, bad, counter]) is bad
    assert least_certain([bad, unknown]) is unknown


def test_provenance_as_json_says_untested_hardware() -> None:
    assert measured("energy_uj").as_json() == {
        "basis": "measured",
        "how": "energy_uj",
        "error_permille": None,
        "tested_on": None,
    }


def test_the_linear_model_of_a_processor() -> None:
    idle = modelled_energy(0, 10_000, 4, 2, 10)
    busy = modelled_energy(40_000, 10_000, 4, 2, 10)
    half = modelled_energy(20_000, 10_000, 4, 2, 10)
    assert (idle.energy_mj, half.energy_mj, busy.energy_mj) == (80_000, 240_000, 400_000)
    assert half.error_mj == 240_000 * TDP_MODEL_ERROR // 1000
    assert half.provenance.error_permille == TDP_MODEL_ERROR
    assert modelled_energy(1, 1, 1, 0, 1, CALIBRATED_MODEL_ERROR).error_mj == 1, "an error is rounded up"
    assert modelled_energy(1, 1, 1, 0, 1, None).error_mj is None, "an unknown error stays unknown"


def test_processor_time_beyond_the_cores_is_cut_off() -> None:
    assert modelled_energy(99_000, 10_000, 1, 2, 10).energy_mj == 100_000
    with pytest.raises(ValueError, match="maximum"):
        modelled_energy(1, 1, 1, 10, 2)


def test_throughput_is_linear_between_levels_and_unknown_below_them() -> None:
    assert throughput_permille(1000, V100) == 1000
    assert throughput_permille(1200, V100) == 1000
    assert throughput_permille(680, V100) == 941
    assert throughput_permille(590, V100) == 897
    assert throughput_permille(886, V100) == 979
    assert throughput_permille(399, V100) is None
    assert throughput_permille(700, []) is None


def test_a_lower_power_level_gives_time_back_and_more_walltime() -> None:
    assert frugality_rebate(3_600_000, 941) == 212_400
    assert frugality_rebate(3_600_000, 1000) == 0
    assert extended_walltime(3_600_000, 941) == 3_825_718
    assert extended_walltime(3_600_000, 941) * 941 >= 3_600_000 * 1000
    for broken in (0, 1001):
        with pytest.raises(ValueError, match="per thousand"):
            frugality_rebate(1, broken)
        with pytest.raises(ValueError, match="per thousand"):
            extended_walltime(1, broken)
