"""What each act writes: who pays, who gets, and that every unit sums to zero by itself."""

from __future__ import annotations

from fractions import Fraction

import pytest

from fabrique.core import booking
from fabrique.core.booking import Exhaustion, Policy, Rate
from fabrique.core.errors import FabriqueError
from fabrique.core.ledger import Line, check_balanced
from fabrique.core.units import MG, MJ, Amount, Unit, money, unit

GPU = unit("acc-ms:h100-sxm")
CPU = unit("core-ms:local-core")
CAD = money("CAD")


class Books:
    """A ledger of nothing but sums."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, Unit], int] = {}

    def __call__(self, account: str, u: Unit) -> int:
        return self.sums.get((account, u), 0)

    def post(self, lines: list[Line]) -> None:
        check_balanced(lines)
        for line in lines:
            key = (line.account, line.unit)
            self.sums[key] = self.sums.get(key, 0) + line.value

    def bucket(self, name: str, u: Unit = GPU, allocation: str = "a") -> int:
        return self(booking.account(allocation, name), u)

    def identity(self, allocation: str = "a") -> bool:
        """granted = used + held + lost + expired + transferred + available, in every unit."""
        units = {u for _, u in self.sums}
        return all(sum(self(booking.account(allocation, b), u) for b in booking.BUCKETS) == 0 for u in units)


@pytest.fixture
def books() -> Books:
    made = Books()
    made.post(booking.genesis([("union", Amount(GPU, 1_000)), ("national", Amount(GPU, 1_000))], "hub", {}))
    made.post(booking.grant("a", "union", [Amount(GPU, 100)], "award"))
    return made


def test_a_grant_comes_out_of_its_pool(books: Books) -> None:
    assert books("pool:union:unallocated", GPU) == 900
    assert books("pool:union:awarded", GPU) == 100
    assert books("pool:national:unallocated", GPU) == 1_000
    assert books.bucket("available") == 100
    assert books.bucket("granted") == -100


def test_a_limit_in_kwh_takes_nothing_from_the_pool(books: Books) -> None:
    books.post(booking.grant("a", "union", [Amount(MJ, 7)], "award"))
    assert books("pool:union:unallocated", MJ) == 0
    assert books.bucket("available", MJ) == 7
    assert books.identity()


def test_a_hold_above_the_balance_is_refused_and_changes_nothing(books: Books) -> None:
    before = dict(books.sums)
    with pytest.raises(FabriqueError) as caught:
        booking.hold("a", [Amount(GPU, 101)], {}, books, "h")
    assert caught.value.code == "ledger.overdraft"
    assert caught.value.params == {"unit": GPU, "asked": 101, "available": 100}
    assert books.sums == before


@pytest.mark.parametrize(("margin", "allowed"), [(0, 100), (250, 125), (251, 125), (1000, 200)])
def test_degrade_lets_a_margin_pass_then_refuses(books: Books, margin: int, allowed: int) -> None:
    policies = {GPU: Policy(Exhaustion.DEGRADE, margin)}
    booking.hold("a", [Amount(GPU, allowed)], policies, books, "h")
    with pytest.raises(FabriqueError):
        booking.hold("a", [Amount(GPU, allowed + 1)], policies, books, "h")


def test_share_knows_no_end(books: Books) -> None:
    lines = booking.hold("a", [Amount(GPU, 10**12)], {GPU: Policy(Exhaustion.SHARE)}, books, "h")
    assert sum(x.value for x in lines) == 0


def test_a_debit_charges_what_was_used_and_releases_the_rest(books: Books) -> None:
    books.post(booking.hold("a", [Amount(GPU, 60)], {}, books, "h"))
    books.post(booking.debit("a", "union", {GPU: 60}, {GPU: 45}, "h", {}))
    assert (books.bucket("used"), books.bucket("held"), books.bucket("available")) == (45, 0, 55)
    assert books.identity()


def test_work_beyond_the_hold_is_the_hubs(books: Books) -> None:
    books.post(booking.hold("a", [Amount(GPU, 60)], {}, books, "h"))
    books.post(booking.debit("a", "union", {GPU: 60}, {GPU: 65}, "h", {}))
    assert books.bucket("used") == 60
    assert books("hub:overrun", GPU) == 5
    assert books.identity()


def test_what_has_no_budget_is_granted_as_it_is_used(books: Books) -> None:
    books.post(booking.debit("a", "union", {}, {MJ: 500, MG: 3}, "h", {}))
    assert books.bucket("used", MJ) == 500
    assert books.bucket("granted", MJ) == -500
    assert books.bucket("available", MJ) == 0
    assert books.identity()


def test_a_lost_run_is_charged_as_lost_then_given_back(books: Books) -> None:
    books.post(booking.hold("a", [Amount(GPU, 60)], {}, books, "h"))
    books.post(booking.debit("a", "union", {GPU: 60}, {GPU: 20, MJ: 9}, "h", {}, "lost"))
    assert books.bucket("lost") == 20
    books.post(booking.refund("a", "union", [Amount(GPU, 20), Amount(MJ, 9)], {GPU}, "h", {}, "lost"))
    assert books.bucket("lost") == 0
    assert books.bucket("available") == 100
    assert books.bucket("available", MJ) == 0
    assert books("hub:losses", GPU) == 20
    assert books("hub:losses", MJ) == 9
    assert books.identity()


def test_the_rebate_of_a_capped_run(books: Books) -> None:
    books.post(booking.hold("a", [Amount(GPU, 100)], {}, books, "h"))
    books.post(booking.debit("a", "union", {GPU: 100}, {GPU: 100}, "h", {}))
    books.post(booking.rebate("a", Amount(GPU, 100), 941, "h", {}))
    assert books.bucket("used") == 94
    assert books.bucket("available") == 6
    assert books("hub:frugality-rebate", GPU) == 6
    assert books.identity()


def test_carbon_beyond_the_frozen_factor_is_the_hubs(books: Books) -> None:
    books.post(booking.forecast_variance(100, 140, "h", {}))
    books.post(booking.forecast_variance(100, 90, "h", {}))
    assert books("hub:forecast-variance", MG) == 30
    assert booking.forecast_variance(7, 7, "h", {}) == []


def test_the_end_gives_back_to_the_pool_what_is_left_and_leaves_a_debt_alone(books: Books) -> None:
    books.post(booking.expire("a", "union", [Amount(GPU, 100), Amount(MJ, -4)], "a"))
    assert books.bucket("expired") == 100
    assert books("pool:union:unallocated", GPU) == 1_000
    assert books("pool:union:awarded", GPU) == 0
    assert books.identity()


def test_a_transfer_moves_what_is_free_and_no_more(books: Books) -> None:
    books.post(booking.grant("b", "union", [Amount(GPU, 10)], "award"))
    books.post(booking.transfer("a", "b", [Amount(GPU, 40)], books, "t"))
    assert (books.bucket("available"), books.bucket("transferred")) == (60, 40)
    assert books.bucket("available", GPU, "b") == 50
    assert books.identity("a")
    assert books.identity("b")
    with pytest.raises(FabriqueError):
        booking.transfer("a", "b", [Amount(GPU, 61)], books, "t")


def test_a_conversion_passes_through_a_trading_account(books: Books) -> None:
    # Leonardo: 1 node-h = 4 GPU-h = 32 core-h
    books.post(booking.convert("a", "union", Amount(GPU, 10), CPU, Fraction(32, 4), books, "c"))
    assert books(f"trading:{GPU}:{CPU}", GPU) == 10
    assert books(f"trading:{GPU}:{CPU}", CPU) == -80
    assert books.bucket("available", CPU) == 80
    assert books.identity()
    with pytest.raises(FabriqueError):
        booking.convert("a", "union", Amount(GPU, 1), MJ, Fraction(1), books, "c")


def test_a_conversion_never_makes_time(books: Books) -> None:
    lines = booking.convert("a", "union", Amount(GPU, 1), CPU, Fraction(999, 1000), books, "c")
    assert [x.value for x in lines if x.account.endswith(":available") and x.unit == CPU] == [0]


def test_a_meter_window_sums_to_its_meter() -> None:
    lines = booking.meter("lasalle", 1_000, 600, 250, 100, "w", {})
    check_balanced(lines)
    assert {x.account.rsplit(":", 1)[1]: x.value for x in lines} == {
        "meter": -1_000,
        "jobs": 600,
        "idle": 250,
        "overhead": 100,
        "residual": 50,
    }


def test_the_newest_rate_in_force_is_found() -> None:
    def rate(version: int, since: int, until: int | None) -> Rate:
        return Rate("gpu", version, GPU, CAD, Fraction(3_000_000), since, until)

    rates = [rate(1, 0, None), rate(2, 100, 200), rate(3, 200, None)]
    assert [booking.find_rate(rates, GPU, at).version for at in (0, 99, 100, 199, 200)] == [1, 1, 2, 2, 3]
    with pytest.raises(FabriqueError):
        booking.find_rate(rates, CPU, 0)


def test_a_price_is_applied_once_to_the_total() -> None:
    third = Fraction(1_000_000, 3)
    assert booking.price_of(3 * 3_600_000, third) == 1_000_000
    assert sum(booking.price_of(3_600_000, third) for _ in range(3)) == 999_999  # why it is applied once


@pytest.mark.parametrize("value", [-1, -(10**12)])
def test_a_negative_hold_is_refused(books: Books, value: int) -> None:
    with pytest.raises(FabriqueError):
        booking.hold("a", [Amount(GPU, value)], {}, books, "h")
