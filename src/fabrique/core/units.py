"""Quantities: integers in one base unit each, with the unit beside them.

A unit is a short text, the same in the ledger, in JSON and in the verifier:

    acc-ms:<kind>    accelerator-milliseconds of a named model (half a GPU for one second is 500)
    core-ms:<kind>   core-milliseconds of a named processor
    qpu-ms:<kind>    QPU-milliseconds of a named quantum processor
    mJ               millijoules
    mgCO2e           milligrams of CO2 equivalent
    u<ISO 4217>      micro-units of a currency, as uCAD or uEUR

Hours of two kinds are two units: they never add up silently.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, NewType

from fabrique.core.errors import FabriqueError

Unit = NewType("Unit", str)
Milliseconds = NewType("Milliseconds", int)

MJ: Final = Unit("mJ")
MG: Final = Unit("mgCO2e")
HOUR_MS: Final = 3_600_000
MJ_PER_KWH: Final = 3_600_000_000
MICRO: Final = 1_000_000

_TIME = re.compile(r"^(acc|core|qpu)-ms:([a-z0-9][a-z0-9.-]{0,62})$")
_MONEY = re.compile(r"^u([A-Z]{3})$")


@dataclass(frozen=True, slots=True, order=True)
class Amount:
    """`value` base units of `unit`; adding two units is an error, never a guess."""

    unit: Unit
    value: int

    def __post_init__(self) -> None:
        if type(self.value) is not int:
            raise TypeError(f"an amount is an int, not {type(self.value).__name__}")

    def __add__(self, other: Amount) -> Amount:
        return Amount(self._same(other), self.value + other.value)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self._same(other), self.value - other.value)

    def __neg__(self) -> Amount:
        return Amount(self.unit, -self.value)

    def _same(self, other: Amount) -> Unit:
        if other.unit != self.unit:
            raise FabriqueError("units.mixed", left=self.unit, right=other.unit)
        return self.unit


def unit(text: str) -> Unit:
    """The unit written as `text`. Raises `units.unknown`."""
    if text in (MJ, MG) or _TIME.match(text) or _MONEY.match(text):
        return Unit(text)
    raise FabriqueError("units.unknown", unit=text[:80])


def time_unit(device: str, kind: str) -> Unit:
    """The unit of computing time of `kind`; `device` is accelerator, core or qpu."""
    return unit(f"{ {'accelerator': 'acc', 'core': 'core', 'qpu': 'qpu'}.get(device, device) }-ms:{kind}")


def money(currency: str) -> Unit:
    return unit(f"u{currency}")


def is_time(u: Unit) -> bool:
    return _TIME.match(u) is not None


def is_money(u: Unit) -> bool:
    return _MONEY.match(u) is not None


def device_of(u: Unit) -> str:
    """accelerator, core or qpu, for a unit of computing time."""
    match = _TIME.match(u)
    if not match:
        raise FabriqueError("units.unknown", unit=u)
    return {"acc": "accelerator", "core": "core", "qpu": "qpu"}[match[1]]


def kind_of(u: Unit) -> str:
    """The accelerator, core or QPU model of a unit of computing time."""
    match = _TIME.match(u)
    if not match:
        raise FabriqueError("units.unknown", unit=u)
    return match[2]


def currency_of(u: Unit) -> str:
    match = _MONEY.match(u)
    if not match:
        raise FabriqueError("units.unknown", unit=u)
    return match[1]


def scale(u: Unit) -> int:
    """Base units in one unit people read: an hour, a kWh, a gram, a dollar."""
    if u == MJ:
        return MJ_PER_KWH
    if u == MG:
        return 1_000
    return MICRO if is_money(u) else HOUR_MS


def readable(amount: Amount) -> Fraction:
    """The amount in the unit people read, exactly: hours, kWh, grams, currency."""
    return Fraction(amount.value, scale(amount.unit))


def from_readable(u: Unit, text: str | int | Fraction) -> Amount:
    """Hours, kWh, grams or currency, written by a person, as a whole number of base units.

    Raises `units.not-exact` when it would need rounding, `units.not-a-number` for anything else.
    """
    try:
        value = Fraction(text) * scale(u)
    except (ValueError, ZeroDivisionError, TypeError):
        raise FabriqueError("units.not-a-number", text=str(text)[:80]) from None
    if value.denominator != 1:
        raise FabriqueError("units.not-exact", text=str(text)[:80], unit=u)
    return Amount(u, value.numerator)


def divide(value: int, by: int) -> int:
    """`value / by` to the nearest integer, halves to even: the one rounding used for a rate."""
    return round(Fraction(value, by))


def ceil_divide(value: int, by: int) -> int:
    """`value / by` rounded up: for bounds, which must never be too small."""
    return -(-value // by)


def share_out(total: int, weights: Sequence[int]) -> list[int]:
    """`total` in parts proportional to `weights`, summing to `total` exactly (largest remainder).

    Ties go to the earlier weight. All-zero weights put everything on the first.
    """
    if not weights:
        raise ValueError("no weights to share by")
    if any(w < 0 for w in weights):
        raise ValueError("a weight is never negative")
    mass = sum(weights)
    if mass == 0:
        return [total] + [0] * (len(weights) - 1)
    sign = -1 if total < 0 else 1
    size = abs(total)
    parts = [size * w // mass for w in weights]
    by_remainder = sorted(range(len(weights)), key=lambda i: (-(size * weights[i] % mass), i))
    for i in by_remainder[: size - sum(parts)]:
        parts[i] += 1
    return [sign * p for p in parts]


def total(amounts: Iterable[Amount]) -> dict[Unit, int]:
    """Sums by unit; a unit that sums to zero stays, so that what was asked is answered."""
    sums: dict[Unit, int] = {}
    for amount in amounts:
        sums[amount.unit] = sums.get(amount.unit, 0) + amount.value
    return sums
