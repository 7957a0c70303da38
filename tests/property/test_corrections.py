"""Corrections of a run's books, in any order and number: conserved, and as if it had been right at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fabrique.core import booking
from fabrique.core.booking import BUCKETS, LOSSES, Policy
from fabrique.core.correction import correct, net, own_counter
from fabrique.core.ledger import Line, check_balanced
from fabrique.core.units import MG, MJ, Amount, Unit, unit

GPU = unit("acc-ms:mi300x")
AMOUNT = st.integers(0, 5_000)
# what is believed of a run: its time, its energy, what was held for it, whether the hub failed
BELIEF = st.tuples(AMOUNT, AMOUNT, AMOUNT, st.booleans())


def wanted(belief: tuple[int, int, int, bool], attributed: int) -> list[Line]:
    """All that the books should have for the run `h` under a belief."""
    time, energy, bound, failed = belief
    actual = {GPU: time, MJ: energy, MG: energy // 7}
    held = {GPU: min(bound, time)}
    bucket = "lost" if failed else "used"
    free: dict[Unit, Policy] = {GPU: Policy(booking.Exhaustion.SHARE)}
    lines = booking.hold("a", [Amount(u, v) for u, v in held.items()], free, lambda *_: 0, "h")
    lines += booking.debit("a", "p", held, actual, "h", {}, bucket)
    lines += own_counter("s", attributed, energy, "h", {})
    lines += booking.supply("s", energy, "h", {})
    lines += booking.forecast_variance(actual[MG], actual[MG] + time % 5, "h", {})
    if failed:
        back = [Amount(u, min(v, held.get(u, v))) for u, v in actual.items()]
        lines += booking.refund("a", "p", back, {GPU}, "h", {"cause": "node"}, bucket)
    return lines


@given(st.lists(BELIEF, min_size=1, max_size=5), AMOUNT)
def test_what_was_believed_before_leaves_no_trace_in_the_balances(
    beliefs: list[tuple[int, int, int, bool]], attributed: int
) -> None:
    posted: list[Line] = []
    for belief in beliefs:
        lines = correct(posted, wanted(belief, attributed), "h", {"code": "correct.accounting"})
        check_balanced(lines)
        for u in (GPU, MJ, MG):  # the parts of an allocation sum to zero in each entry by itself
            assert sum(x.value for x in lines if x.unit == u and x.account.startswith("allocation:")) == 0
        posted += lines
    assert net(posted) == net(wanted(beliefs[-1], attributed))
    assert correct(posted, wanted(beliefs[-1], attributed), "h", {}) == []
    refunds = net(x for x in posted if x.what == "refund")
    assert refunds == net(x for x in wanted(beliefs[-1], attributed) if x.what == "refund")
    balances = net(posted)
    assert balances.get((booking.account("a", "held"), GPU), 0) == 0
    used = sum(balances.get((booking.account("a", b), GPU), 0) for b in ("used", "lost"))
    spent = used + balances.get(("hub:overrun", GPU), 0) + balances.get((LOSSES, GPU), 0)
    assert spent == beliefs[-1][0]
    assert all(sum(balances.get((booking.account("a", b), u), 0) for b in BUCKETS) == 0 for u in (GPU, MJ, MG))


@given(AMOUNT, AMOUNT, AMOUNT, AMOUNT, AMOUNT)
def test_a_counter_of_its_own_keeps_the_meter_s_sum(meter: int, idle: int, over: int, part: int, own: int) -> None:
    lines = booking.meter("s", meter, part, idle, over, "w", {})
    lines += own_counter("s", part, own, "h", {})
    lines += booking.supply("s", own, "h", {})
    sums = net(lines)
    check_balanced(lines)
    parts = ("jobs", "charged", "idle", "overhead", "residual")
    assert sum(sums.get((f"site:s:{p}", MJ), 0) for p in parts) == meter
    assert sums.get(("site:s:jobs", MJ), 0) == 0
    assert sums.get(("site:s:charged", MJ), 0) == own
    assert sums.get(("site:s:residual", MJ), 0) == meter - idle - over - own
