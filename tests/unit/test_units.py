"""Units: what may be added, how people's numbers become whole ones, how a total is shared."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabrique.core.errors import FabriqueError
from fabrique.core.units import (
    MG,
    MJ,
    Amount,
    ceil_divide,
    currency_of,
    device_of,
    divide,
    from_readable,
    kind_of,
    money,
    readable,
    share_out,
    time_unit,
    total,
    unit,
)


def test_hours_of_two_models_never_add_up() -> None:
    with pytest.raises(FabriqueError) as caught:
        Amount(unit("acc-ms:h100-sxm"), 1) + Amount(unit("acc-ms:mi300x"), 1)
    assert caught.value.code == "units.mixed"


def test_money_of_two_currencies_never_adds_up() -> None:
    with pytest.raises(FabriqueError):
        Amount(money("CAD"), 1) - Amount(money("EUR"), 1)


@pytest.mark.parametrize("text", ["", "acc-ms:", "acc-ms:H100", "ucad", "uEURO", "mJ ", "acc-ms:../x", "kWh"])
def test_what_is_no_unit_is_refused(text: str) -> None:
    with pytest.raises(FabriqueError):
        unit(text)


def test_an_amount_is_a_whole_number() -> None:
    with pytest.raises(TypeError):
        Amount(MJ, 1.0)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Amount(MJ, True)


@pytest.mark.parametrize(
    ("u", "text", "value"),
    [
        ("acc-ms:h100-sxm", "1", 3_600_000),
        ("acc-ms:h100-sxm", "0.5", 1_800_000),
        ("mJ", "1", 3_600_000_000),
        ("mgCO2e", "0.001", 1),
        ("uCAD", "12.34", 12_340_000),
    ],
)
def test_what_people_write(u: str, text: str, value: int) -> None:
    assert from_readable(unit(u), text) == Amount(unit(u), value)
    assert readable(Amount(unit(u), value)) == Fraction(text)


@pytest.mark.parametrize(("text", "code"), [("0.0000001", "units.not-exact"), ("ten", "units.not-a-number")])
def test_what_people_cannot_mean(text: str, code: str) -> None:
    with pytest.raises(FabriqueError) as caught:
        from_readable(MG, text)
    assert caught.value.code == code


def test_names_inside_a_unit() -> None:
    assert device_of(time_unit("qpu", "q5")) == "qpu"
    assert kind_of(time_unit("accelerator", "h100-sxm")) == "h100-sxm"
    assert currency_of(money("CAD")) == "CAD"
    with pytest.raises(FabriqueError):
        device_of(MJ)


@given(st.integers(-(10**15), 10**15), st.lists(st.integers(0, 10**9), min_size=1, max_size=9))
def test_a_total_is_shared_out_to_the_last_unit(whole: int, weights: list[int]) -> None:
    parts = share_out(whole, weights)
    assert sum(parts) == whole
    mass = sum(weights)
    if mass:
        assert all(abs(p - Fraction(whole * w, mass)) < 1 for p, w in zip(parts, weights, strict=True))
        assert all(p == 0 for p, w in zip(parts, weights, strict=True) if w == 0)


def test_ties_go_to_the_earlier_part() -> None:
    assert share_out(1, [1, 1]) == [1, 0]
    assert share_out(-1, [1, 1]) == [-1, 0]


@given(st.integers(-(10**18), 10**18), st.integers(1, 10**9))
def test_rounding(value: int, by: int) -> None:
    assert abs(divide(value, by) - Fraction(value, by)) <= Fraction(1, 2)
    assert 0 <= ceil_divide(value, by) - Fraction(value, by) < 1


def test_totals_by_unit() -> None:
    assert total([Amount(MJ, 2), Amount(MG, 1), Amount(MJ, -2)]) == {MJ: 0, MG: 1}
