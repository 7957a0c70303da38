"""Carbon of an energy: exact, in its own zone, of one sort."""

from dataclasses import replace
from fractions import Fraction

import pytest

from fabrique.core.carbon import Factor, carbon_mg, carbon_over, footprint, sci
from fabrique.core.energy import Window
from fabrique.core.errors import FabriqueError
from fabrique.core.units import MJ_PER_KWH

# Values and years as their sources publish them, here only to tell them apart.
QUEBEC = Factor("CA-QC", 34_800, "average", "lifecycle", "consumption", 2024, "zone mix")
CANADA = Factor("CA", 170_000, "average", "lifecycle", "production", 2023, "country mix")
LUXEMBOURG = Factor("LU", 284_000, "average", "lifecycle", "consumption", 2023, "zone mix")
LUXEMBOURG_PRODUCED = Factor("LU", 105_300, "average", "lifecycle", "production", 2023, "country mix")


def refusal(call: object, *arguments: object) -> FabriqueError:
    with pytest.raises(FabriqueError) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value


def test_a_kilowatt_hour_in_quebec() -> None:
    assert carbon_mg(MJ_PER_KWH, QUEBEC, "CA-QC") == 34_800


def test_rounding_is_exact_and_halves_go_to_even() -> None:
    one = replace(QUEBEC, mg_per_kwh=1)
    half = MJ_PER_KWH // 2
    assert [carbon_mg(n, one, "CA-QC") for n in (half - 1, half, half + 1, 3 * half)] == [0, 0, 1, 2]
    large = 10**24 + 1
    assert carbon_mg(large, QUEBEC, "CA-QC") == round(Fraction(large * 34_800, MJ_PER_KWH))


def test_canada_is_not_quebec() -> None:
    error = refusal(carbon_mg, MJ_PER_KWH, CANADA, "CA-QC")
    assert (error.code, error.params) == ("carbon.zone", {"factor": "CA", "zone": "CA-QC"})
    assert refusal(carbon_mg, MJ_PER_KWH, QUEBEC, "CA").code == "carbon.zone"
    assert refusal(footprint, MJ_PER_KWH, "CA-QC", CANADA).code == "carbon.zone"
    assert refusal(sci, 1, CANADA, "CA-QC", 0, 1).code == "carbon.zone"


def test_what_luxembourg_consumes_is_not_what_it_produces() -> None:
    error = refusal(carbon_over, [(1, LUXEMBOURG), (1, LUXEMBOURG_PRODUCED)], "LU")
    assert (error.code, error.params) == ("carbon.mixed", {"left": "consumption", "right": "production"})


@pytest.mark.parametrize(
    "other",
    [
        replace(QUEBEC, kind="marginal"),
        replace(QUEBEC, scope="direct"),
        replace(QUEBEC, scope=None),
        replace(QUEBEC, method="market"),
    ],
)
def test_sorts_are_never_added_up(other: Factor) -> None:
    assert refusal(carbon_over, [(1, QUEBEC), (1, other)], "CA-QC").code == "carbon.mixed"


def test_energies_under_changing_factors_are_rounded_once() -> None:
    one = replace(QUEBEC, mg_per_kwh=1)
    third = MJ_PER_KWH // 3
    assert carbon_over([(third, one)] * 3, "CA-QC") == 1
    assert carbon_over([], "CA-QC") == 0


def test_market_based_stands_beside_never_instead() -> None:
    market = replace(QUEBEC, mg_per_kwh=0, method="market", source="guarantees of origin")
    both = footprint(MJ_PER_KWH, "CA-QC", QUEBEC, market)
    assert (both.location_mg, both.market_mg) == (34_800, 0)
    assert refusal(footprint, 1, "CA-QC", market).code == "carbon.mixed"
    assert refusal(footprint, 1, "CA-QC", QUEBEC, QUEBEC).code == "carbon.mixed"


def test_an_unknown_factor_gives_an_unknown_footprint() -> None:
    assert footprint(MJ_PER_KWH, "CA-QC", None).location_mg is None


def test_software_carbon_intensity() -> None:
    assert sci(2 * MJ_PER_KWH, QUEBEC, "CA-QC", 400, 1_000) == Fraction(2 * 34_800 + 400, 1_000)
    assert refusal(sci, 1, replace(QUEBEC, method="market"), "CA-QC", 0, 1).code == "carbon.mixed"
    with pytest.raises(ValueError, match="above 0"):
        sci(1, QUEBEC, "CA-QC", 0, 0)


def test_a_factor_is_valid_in_its_time_and_whole() -> None:
    dated = replace(QUEBEC, valid_from_ms=100, valid_to_ms=200)
    assert dated.covers(Window(100, 200))
    assert not dated.covers(Window(99, 150))
    assert not dated.covers(Window(150, 201))
    assert QUEBEC.covers(Window(-(10**15), 10**15))
    for broken in (-1, 34.8):
        with pytest.raises(ValueError, match="whole number"):
            replace(QUEBEC, mg_per_kwh=broken)  # type: ignore[arg-type]
