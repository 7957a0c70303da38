"""What an operator asks of a replay, checked: a period, rule sets, and what is changed on the hub."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from fabrique.apps.this_hub import ThisHub
from fabrique.core.errors import FabriqueError
from fabrique.core.units import MJ
from fabrique.definitions import rules as rule_sets

WEEKS_MOST: Final = 8
SETS_MOST: Final = 10
IN_FORCE: Final = "in-force"  # the rules in force, on the changed hub
AS_IS: Final = 1_000  # permille
CAP_MOST_W: Final = 10**9
_FACTOR_MOST: Final = 100_000  # permille: a hundred times
_DECIMAL: Final = re.compile(r"(\d{1,4})(?:[.,](\d{1,3}))?", re.ASCII)
_WEEK_MS: Final = 7 * 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """`weeks` before the request; `rules` by name, or `IN_FORCE`; `cap_w` in W (None: as it is); factors in permille of
    what is, of the devices by partition."""

    weeks: int
    rules: tuple[str, ...]
    cap_w: int | None = None
    devices_permille: Mapping[str, int]
    carbon_permille: int = AS_IS
    price_permille: int = AS_IS

    @property
    def changes(self) -> bool:
        """Whether anything but the rules is changed."""
        factors = (self.carbon_permille, self.price_permille, *self.devices_permille.values())
        return self.cap_w is not None or any(factor != AS_IS for factor in factors)

    def window(self, now: int) -> tuple[int, int]:
        """The period [from, until), UTC epoch ms."""
        return now - self.weeks * _WEEK_MS, now

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "rules": list(self.rules), "devices_permille": dict(self.devices_permille)}


def of_json(told: Mapping[str, Any]) -> Asked:
    return Asked(**{**told, "rules": tuple(told["rules"])})


def has_price(here: ThisHub) -> bool:
    """Whether the deployment says what energy costs."""
    return MJ in here.deployment.money.prices


def partitions(here: ThisHub) -> tuple[str, ...]:
    return tuple(dict.fromkeys(offer.partition for offer in here.offers))


def read(given: Mapping[str, str], chosen: Sequence[str], here: ThisHub) -> Asked:
    """The form as it was sent. Raises `what-if.field` for the first field that can't be used, `what-if.same`
    for rules and a hub as they are."""
    known = {IN_FORCE, *rule_sets.catalogue()}
    rules = tuple(dict.fromkeys(chosen))
    if not rules or len(rules) > SETS_MOST or not set(rules) <= known:
        raise _wrong("rules", f"1 – {SETS_MOST}")
    weeks = _whole(given.get("weeks", ""), "weeks", 1, WEEKS_MOST)
    cap = given.get("cap_w", "").strip()
    asked = Asked(
        weeks=weeks or 1,
        rules=rules,
        cap_w=_whole(cap, "cap_w", max(here.base_w, 1), CAP_MOST_W) if cap else None,
        devices_permille={p: _factor(given.get(f"devices.{p}", ""), "devices", 10) for p in partitions(here)},
        carbon_permille=_factor(given.get("carbon", ""), "carbon", 0),
        price_permille=_factor(given.get("price", ""), "price", 0) if has_price(here) else AS_IS,
    )
    if not asked.changes and set(rules) == {IN_FORCE}:
        raise FabriqueError("what-if.same", field="rules")
    return asked


def _whole(text: str, field: str, least: int, most: int) -> int:
    plain = text.strip()
    if not (plain.isascii() and plain.isdigit() and len(plain) <= 12 and least <= int(plain) <= most):
        raise _wrong(field, f"{least} – {most}")
    return int(plain)


def _factor(text: str, field: str, least: int) -> int:
    """A decimal number, with a point or a comma, as permille; empty: as it is."""
    plain = text.strip()
    if not plain:
        return AS_IS
    found = _DECIMAL.fullmatch(plain)
    value = int(found[1]) * 1000 + int((found[2] or "").ljust(3, "0")) if found else -1
    if not least <= value <= _FACTOR_MOST:
        raise _wrong(field, f"{least / 1000:g} – {_FACTOR_MOST // 1000}")
    return value


def _wrong(field: str, why: str) -> FabriqueError:
    return FabriqueError("what-if.field", field=field, why=why)
