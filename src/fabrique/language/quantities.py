"""Numbers and units as people read them: exact to the digits shown, in the language's own signs.

Integers in base units come in, as `core.units` defines them; nothing here rounds a stored value, only what is shown.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Final

from babel import Locale
from babel.numbers import format_decimal

NBSP: Final = "\u00a0"
_DIGITS: Final = 80  # more than any amount has
MOST_DECIMALS: Final = 6
LOCALES: Final = {"fr": "fr_FR", "fr-ca": "fr_CA", "en": "en_GB"}

Number = int | Fraction | Decimal | float

_POWER: Final = ((10**9, "GW"), (10**6, "MW"), (10**3, "kW"), (1, "W"))  # in W
_ENERGY: Final = ((36 * 10**14, "GWh"), (36 * 10**11, "MWh"), (36 * 10**8, "kWh"), (36 * 10**5, "Wh"))  # in mJ
_CARBON: Final = ((10**9, "t"), (10**6, "kg"), (10**3, "g"))  # in mg
_MEMORY: Final = ((2**50, "PiB"), (2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))


def locale_of(language: str) -> Locale:
    return Locale.parse(LOCALES[language])


def decimals_for(value: Fraction) -> int:
    """How many decimals say enough: 1 from a thousand on, 2 from one on, below that two digits that count."""
    size = abs(value)
    if size == 0 or value.denominator == 1:
        return 0
    if size >= 1:
        return 1 if size >= 1000 else 2
    decimals = 2
    while decimals < MOST_DECIMALS and size * 10 ** (decimals - 1) < 1:
        decimals += 1
    return decimals


def rounded(value: Fraction, decimals: int) -> Decimal:
    """`value` to `decimals`, halves to even."""
    with localcontext(prec=_DIGITS):
        return Decimal(round(value * 10**decimals)).scaleb(-decimals)


def number(value: Number, language: str, decimals: int | None = None, *, fixed: bool = False) -> str:
    """`value` with at most `decimals` decimals (exactly so many when `fixed`), grouped by thousands.

    What is not zero is never shown as zero: below the last digit it is "< 0.000001".
    """
    exact = Fraction(value)
    shown = decimals_for(exact) if decimals is None else decimals
    result = rounded(exact, shown)
    if exact and not result and decimals is None:
        return f"<{NBSP}{number(Fraction(1, 10**shown), language, shown)}"
    pattern = "#,##0" + ("." + ("0" if fixed else "#") * shown if shown else "")
    with localcontext(prec=_DIGITS):
        return format_decimal(result, format=pattern, locale=locale_of(language))


def scaled(value: Number, language: str, steps: tuple[tuple[int, str], ...]) -> str:
    """`value` in the largest of `steps` (size, name) that leaves at least one; the smallest otherwise."""
    exact = Fraction(value)
    size, name = next((step for step in steps if abs(exact) >= step[0]), steps[-1])
    return f"{number(exact / size, language)}{NBSP}{name}"


def power(watts: Number, language: str) -> str:
    return scaled(watts, language, _POWER)


def energy(mj: int, language: str) -> str:
    return scaled(mj, language, _ENERGY)


def carbon(mg: int, language: str) -> str:
    return f"{scaled(mg, language, _CARBON)}{NBSP}CO₂e"


def memory(size: int, language: str) -> str:
    text = scaled(size, language, _MEMORY)
    return text.replace("B", "o") if language.startswith("fr") else text  # a byte is an octet


def money(micro: int, currency: str, language: str) -> str:
    """With its ISO code: two decimals, more below a hundredth. 1 250,50 CAD; CAD 1,250.50."""
    value = Fraction(micro, 1_000_000)
    small = value != 0 and abs(value) < Fraction(1, 100)
    digits = number(value, language) if small else number(value, language, 2, fixed=True)
    return f"{digits}{NBSP}{currency}" if language.startswith("fr") else f"{currency}{NBSP}{digits}"


def percent(permille: Number, language: str) -> str:
    digits = number(Fraction(permille) / 10, language, 1)
    return f"{digits}{NBSP}%" if language.startswith("fr") else f"{digits}%"
