"""What each act writes in the ledger: grants, holds, debits, refunds, rebates, ends of allocations.

Each function is pure and returns the lines of one act; they sum to zero in each unit. Per allocation and unit

    granted = used + held + lost + expired + transferred + available

always holds, since `granted` is a contra account (its balance is minus what was granted) and every act moves
between the seven. The pools' side moves in the same act.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Final

from fabrique.core.energy import frugality_rebate
from fabrique.core.errors import FabriqueError
from fabrique.core.ledger import Line, canonical
from fabrique.core.units import HOUR_MS, MG, MJ, Amount, Unit, is_time

BUCKETS: Final = ("granted", "available", "held", "used", "lost", "expired", "transferred")

LOSSES: Final = "hub:losses"

BalanceOf = Callable[[str, Unit], int]


class Exhaustion(Enum):
    """What happens at the end of a budget."""

    STOP = "stop"  # a hold above the balance is refused
    DEGRADE = "degrade"  # a margin at low priority, then refused
    SHARE = "share"  # a target for the average: never refused for the balance


@dataclass(frozen=True, slots=True)
class Policy:
    """`margin_permille` of the grant may be held beyond the balance under DEGRADE; else unused."""

    exhaustion: Exhaustion = Exhaustion.STOP
    margin_permille: int = 0


@dataclass(frozen=True, slots=True)
class Rate:
    """`price` micro-units of `currency` an hour of `unit`, rational, for instants in [from_ms, to_ms)."""

    id: str
    version: int
    unit: Unit
    currency: Unit
    price: Fraction
    from_ms: int
    to_ms: int | None


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a hold freezes, so that a later change of factor or price cannot reach the project.

    `mg_per_kwh` is the carbon factor; `price` is micro-units of `currency` an hour of computing time.
    """

    mg_per_kwh: int
    factor: str
    price: Fraction = Fraction(0)
    currency: Unit | None = None
    rate: str = ""


def account(allocation: str, bucket: str) -> str:
    if bucket not in BUCKETS:
        raise ValueError(f"no such bucket: {bucket}")
    return f"allocation:{allocation}:{bucket}"


def pool_account(pool: str, what: str) -> str:
    return f"pool:{pool}:{what}"


def reclaim_cost(pool: str) -> str:
    """Where the work stays that was lost because a pool took back what it had lent."""
    return pool_account(pool, "reclaim-cost")


def price_of(time: int, price: Fraction) -> int:
    """Micro-units for `time` device-milliseconds at `price` an hour; applied once, to a run's total."""
    return round(time * price / HOUR_MS)


def find_rate(rates: Iterable[Rate], unit: Unit, at_ms: int) -> Rate:
    """The one rate of `unit` in force at `at_ms`; the newest version wins. Raises `ledger.rate-missing`."""
    in_force = [r for r in rates if r.unit == unit and r.from_ms <= at_ms and (r.to_ms is None or at_ms < r.to_ms)]
    if not in_force:
        raise FabriqueError("ledger.rate-missing", unit=unit, at_ms=at_ms)
    return max(in_force, key=lambda r: r.version)


# --- the acts -------------------------------------------------------------------------------------------------


def genesis(capacity: Iterable[tuple[str, Amount]], ref: str, detail: Mapping[str, object]) -> list[Line]:
    """The hub's capacity, put at the disposal of its pools: (pool, amount) pairs."""
    text = canonical(dict(detail))
    lines = []
    for pool, amount in capacity:
        lines.append(Line("hub:capacity", amount.unit, -amount.value, "capacity", ref, text))
        lines.append(Line(pool_account(pool, "unallocated"), amount.unit, amount.value, "capacity", ref, text))
    return lines


def new_year(
    left: Iterable[tuple[str, Amount]], capacity: Iterable[tuple[str, Amount]], ref: str, detail: Mapping[str, object]
) -> list[Line]:
    """Time that no pool awarded in the year is past; the next year's capacity takes its place."""
    text = canonical(dict(detail))
    lines = []
    for pool, a in left:
        lines.append(Line(pool_account(pool, "unallocated"), a.unit, -a.value, "capacity-past", ref, text))
        lines.append(Line("hub:capacity-past", a.unit, a.value, "capacity-past", ref, text))
    return lines + genesis(capacity, ref, detail)


def grant(allocation: str, pool: str, amounts: Iterable[Amount], ref: str) -> list[Line]:
    """An award opens (or tops up) the allocation: time out of its pool, the rest as a limit of its own."""
    lines = []
    for a in amounts:
        lines += [
            Line(_source(pool, a.unit), a.unit, -a.value, "grant", ref),
            Line(pool_account(pool, "awarded"), a.unit, a.value, "grant", ref),
            Line(account(allocation, "granted"), a.unit, -a.value, "grant", ref),
            Line(account(allocation, "available"), a.unit, a.value, "grant", ref),
        ]
    return lines


def _source(pool: str, unit: Unit) -> str:
    """Time is scarce and comes from the pool; kWh, grams and money are limits, drawn on the hub itself."""
    return pool_account(pool, "unallocated") if is_time(unit) else "hub:capacity"


def room(allocation: str, unit: Unit, policy: Policy, balance: BalanceOf) -> int | None:
    """How much may still be held; None where the policy knows no end."""
    if policy.exhaustion is Exhaustion.SHARE:
        return None
    available = balance(account(allocation, "available"), unit)
    if policy.exhaustion is Exhaustion.STOP:
        return available
    granted = -balance(account(allocation, "granted"), unit)
    return available + granted * policy.margin_permille // 1000


def hold(
    allocation: str, amounts: Iterable[Amount], policies: Mapping[Unit, Policy], balance: BalanceOf, ref: str
) -> list[Line]:
    """An upper bound set aside before a run starts. Raises `ledger.overdraft` beyond what the policy allows."""
    lines = []
    for a in amounts:
        if a.value < 0:
            raise FabriqueError("ledger.unbalanced", unit=a.unit, difference=a.value)
        left = room(allocation, a.unit, policies.get(a.unit, Policy()), balance)
        if left is not None and a.value > left:
            raise FabriqueError("ledger.overdraft", unit=a.unit, asked=a.value, available=left)
        lines += [
            Line(account(allocation, "available"), a.unit, -a.value, "hold", ref),
            Line(account(allocation, "held"), a.unit, a.value, "hold", ref),
        ]
    return lines


def release(allocation: str, held: Iterable[Amount], ref: str) -> list[Line]:
    """A hold given back whole: the run never started."""
    lines = []
    for a in held:
        lines += [
            Line(account(allocation, "held"), a.unit, -a.value, "release", ref),
            Line(account(allocation, "available"), a.unit, a.value, "release", ref),
        ]
    return lines


def debit(
    allocation: str,
    pool: str,
    held: Mapping[Unit, int],
    actual: Mapping[Unit, int],
    ref: str,
    detail: Mapping[str, object],
    bucket: str = "used",
) -> list[Line]:
    """A run's totals against its hold: what was used is charged, the rest released, what is beyond is the hub's.

    A unit that was never held (the award set no budget in it) is granted as it is used, so that it shows in the
    allocation's account without limiting it. `bucket` is "lost" for a run the engine lost, else "used".
    """
    text = canonical(dict(detail))
    lines: list[Line] = []
    for unit in sorted({*held, *actual}):
        spent = actual.get(unit, 0)
        if unit not in held:
            lines += _granted_as_used(allocation, pool, Amount(unit, spent), ref, text, bucket)
            continue
        charged = min(spent, held[unit])
        back, beyond = held[unit] - charged, spent - charged
        lines.append(Line(account(allocation, "held"), unit, -held[unit], "debit", ref, text))
        lines.append(Line(account(allocation, bucket), unit, charged, "debit", ref, text))
        if back:
            lines.append(Line(account(allocation, "available"), unit, back, "release", ref, text))
        if beyond:
            lines.append(Line("hub:capacity", unit, -beyond, "overrun", ref, text))
            lines.append(Line("hub:overrun", unit, beyond, "overrun", ref, text))
    return lines


def _granted_as_used(allocation: str, pool: str, a: Amount, ref: str, text: str, bucket: str) -> list[Line]:
    if not a.value:  # too little for one base unit; that it was counted shows all the same
        return [Line(account(allocation, bucket), a.unit, 0, "debit", ref, text)]
    return [
        Line(_source(pool, a.unit), a.unit, -a.value, "grant-as-used", ref, text),
        Line(pool_account(pool, "awarded"), a.unit, a.value, "grant-as-used", ref, text),
        Line(account(allocation, "granted"), a.unit, -a.value, "grant-as-used", ref, text),
        Line(account(allocation, bucket), a.unit, a.value, "debit", ref, text),
    ]


def supply(site: str, energy_mj: int, ref: str, detail: Mapping[str, object]) -> list[Line]:
    """A run's energy leaves the site's clearing account `jobs`, where its meter put it."""
    text = canonical(dict(detail))
    return [
        Line(f"site:{site}:jobs", MJ, -energy_mj, "debit", ref, text),
        Line(f"site:{site}:charged", MJ, energy_mj, "debit", ref, text),
    ]


def forecast_variance(frozen_mg: int, actual_mg: int, ref: str, detail: Mapping[str, object]) -> list[Line]:
    """Carbon is charged at the factor the hold froze; the difference to the actual one is the hub's."""
    difference = actual_mg - frozen_mg
    if not difference:
        return []
    text = canonical(dict(detail))
    return [
        Line("hub:capacity", MG, -difference, "forecast-variance", ref, text),
        Line("hub:forecast-variance", MG, difference, "forecast-variance", ref, text),
    ]


def refund(
    allocation: str,
    pool: str,
    amounts: Iterable[Amount],
    budgeted: Collection[Unit],
    ref: str,
    detail: Mapping[str, object],
    bucket: str = "used",
    cost: str = LOSSES,
) -> list[Line]:
    """Charged work given back with its cause; what it cost stays in the account `cost`, the hub's losses or a pool's.

    A unit without a budget was granted as it was used, so its refund takes that grant back.
    """
    text = canonical(dict(detail))
    lines = []
    for a in amounts:
        lines.append(Line(account(allocation, bucket), a.unit, -a.value, "refund", ref, text))
        if a.unit in budgeted:
            lines.append(Line(account(allocation, "available"), a.unit, a.value, "refund", ref, text))
            lines.append(Line("hub:capacity", a.unit, -a.value, "refund", ref, text))
        else:
            lines.append(Line(account(allocation, "granted"), a.unit, a.value, "refund", ref, text))
            lines.append(Line(pool_account(pool, "awarded"), a.unit, -a.value, "refund", ref, text))
        lines.append(Line(cost, a.unit, a.value, "refund", ref, text))
    return lines


def rebate(
    allocation: str,
    charged: Amount,
    throughput_permille: int,
    ref: str,
    detail: Mapping[str, object],
    pool: str | None = None,
) -> list[Line]:
    """A capped run is charged its elapsed time; what the lower power level cost it comes back.

    `pool`: of a unit without a budget, which was granted as it was used: that grant is taken back.
    """
    back = frugality_rebate(charged.value, throughput_permille)
    if not back:
        return []
    text = canonical(dict(detail))
    to, source = account(allocation, "available"), "hub:capacity"
    if pool is not None:
        to, source = account(allocation, "granted"), pool_account(pool, "awarded")
    return [
        Line(account(allocation, "used"), charged.unit, -back, "frugality-rebate", ref, text),
        Line(to, charged.unit, back, "frugality-rebate", ref, text),
        Line(source, charged.unit, -back, "frugality-rebate", ref, text),
        Line("hub:frugality-rebate", charged.unit, back, "frugality-rebate", ref, text),
    ]


def expire(allocation: str, pool: str, available: Iterable[Amount], ref: str, *, past: bool = False) -> list[Line]:
    """The end of an allocation: what is left expires and returns to the pool. An overdraft is left as it is.

    `past` time, of a year that is over, can be awarded to nobody any more.
    """
    lines = []
    for a in available:
        if a.value <= 0:
            continue
        target = "hub:capacity-past" if past and is_time(a.unit) else _source(pool, a.unit)
        lines += [
            Line(account(allocation, "available"), a.unit, -a.value, "expire", ref),
            Line(account(allocation, "expired"), a.unit, a.value, "expire", ref),
            Line(pool_account(pool, "awarded"), a.unit, -a.value, "expire", ref),
            Line(target, a.unit, a.value, "expire", ref),
        ]
    return lines


def transfer(source: str, target: str, amounts: Iterable[Amount], balance: BalanceOf, ref: str) -> list[Line]:
    """Unheld amounts pass from one allocation to another of the same pool. Raises `ledger.overdraft`."""
    lines = []
    for a in amounts:
        left = balance(account(source, "available"), a.unit)
        if a.value < 0 or a.value > left:
            raise FabriqueError("ledger.overdraft", unit=a.unit, asked=a.value, available=left)
        lines += [
            Line(account(source, "available"), a.unit, -a.value, "transfer", ref),
            Line(account(source, "transferred"), a.unit, a.value, "transfer", ref),
            Line(account(target, "granted"), a.unit, -a.value, "transfer", ref),
            Line(account(target, "available"), a.unit, a.value, "transfer", ref),
        ]
    return lines


def convert(
    allocation: str, pool: str, given: Amount, taken: Unit, rate: Fraction, balance: BalanceOf, ref: str
) -> list[Line]:
    """`given` time becomes time `taken` at `rate` (base units for one), through a trading account.

    Each unit sums to zero by itself: the trading account holds what was given and owes what was taken.
    Rounded down: a conversion never makes time. Raises `ledger.overdraft`, `units.mixed`.
    """
    if not (is_time(given.unit) and is_time(taken)):
        raise FabriqueError("units.mixed", left=given.unit, right=taken)
    left = balance(account(allocation, "available"), given.unit)
    if given.value < 0 or given.value > left:
        raise FabriqueError("ledger.overdraft", unit=given.unit, asked=given.value, available=left)
    got = int(given.value * rate)
    trading = f"trading:{given.unit}:{taken}"
    text = canonical({"rate": f"{rate.numerator}/{rate.denominator}"})
    return [
        Line(account(allocation, "available"), given.unit, -given.value, "convert", ref, text),
        Line(account(allocation, "transferred"), given.unit, given.value, "convert", ref, text),
        Line(pool_account(pool, "awarded"), given.unit, -given.value, "convert", ref, text),
        Line(trading, given.unit, given.value, "convert", ref, text),
        Line(trading, taken, -got, "convert", ref, text),
        Line(pool_account(pool, "awarded"), taken, got, "convert", ref, text),
        Line(account(allocation, "granted"), taken, -got, "convert", ref, text),
        Line(account(allocation, "available"), taken, got, "convert", ref, text),
    ]


def meter(
    site: str, total_mj: int, jobs: int, idle: int, overhead: int, ref: str, detail: Mapping[str, object]
) -> list[Line]:
    """One metering window: jobs + idle + overhead + residual = the meter; the residual is an account of its own."""
    text = canonical(dict(detail))
    residual = total_mj - jobs - idle - overhead
    parts = (("meter", -total_mj), ("jobs", jobs), ("idle", idle), ("overhead", overhead), ("residual", residual))
    return [Line(f"site:{site}:{name}", MJ, value, "meter", ref, text) for name, value in parts if value]
