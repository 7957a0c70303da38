"""What ledger and rates say at one instant, each asked once: a turn looks at thousands of jobs of a few allocations."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from fabrique.apps.ledger import services as ledger
from fabrique.apps.this_hub import ThisHub
from fabrique.core.booking import Frozen, Policy
from fabrique.core.units import Unit

T = TypeVar("T")


class Books:
    """For reading only: whoever books looks again, under the ledger's lock."""

    def __init__(self, here: ThisHub, now: int) -> None:
        self.here, self._now = here, now
        self._policies: dict[str, dict[Unit, Policy]] = {}
        self._balances: dict[tuple[str, Unit], int] = {}
        self._frozen: dict[Unit, Frozen] = {}
        self._once: dict[Hashable, Any] = {}

    def policies(self, allocation: str) -> dict[Unit, Policy]:
        if allocation not in self._policies:
            self._policies[allocation] = ledger.policies(allocation)
        return self._policies[allocation]

    def balance(self, account: str, unit: Unit) -> int:
        if (account, unit) not in self._balances:
            self._balances[account, unit] = ledger.balance(account, unit)
        return self._balances[account, unit]

    def frozen(self, unit: Unit) -> Frozen:
        """The factor and the price that a hold made now would freeze."""
        if unit not in self._frozen:
            self._frozen[unit] = self.here.frozen(unit, self._now)
        return self._frozen[unit]

    def once(self, key: Hashable, work_out: Callable[[], T]) -> T:
        """What follows from these books for all that is alike: worked out for the first."""
        if key not in self._once:
            self._once[key] = work_out()
        found: T = self._once[key]
        return found
