"""Any interleaving of grants, holds, debits, releases, refunds, rebates and ends keeps the books.

The rules, each checked after every act: conservation (every unit sums to zero over all accounts), the identity of
every allocation, no overdraft beyond its policy, nothing held below zero.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fabrique.core import booking
from fabrique.core.booking import BUCKETS, Exhaustion, Policy
from fabrique.core.errors import FabriqueError
from fabrique.core.ledger import Line, check_balanced
from fabrique.core.units import MG, MJ, Amount, Unit, unit

GPU = unit("acc-ms:mi300x")
UNITS = (GPU, MJ)  # budgeted; MG is only counted
ALLOCATIONS = ("a", "b")
amounts = st.integers(0, 5_000)


class Ledger(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.sums: dict[tuple[str, Unit], int] = {}
        self.holds: dict[str, tuple[str, dict[Unit, int]]] = {}
        self.charged: list[tuple[str, str, dict[Unit, int]]] = []
        self.policy: dict[str, Policy] = {}
        self.count = 0

    def balance(self, account: str, u: Unit) -> int:
        return self.sums.get((account, u), 0)

    def post(self, lines: list[Line]) -> None:
        check_balanced(lines)
        for x in lines:
            self.sums[x.account, x.unit] = self.sums.get((x.account, x.unit), 0) + x.value

    @initialize(kind=st.sampled_from(list(Exhaustion)), margin=st.integers(0, 500))
    def open(self, kind: Exhaustion, margin: int) -> None:
        self.post(booking.genesis([("p", Amount(GPU, 10**9))], "hub", {}))
        for name, policy in zip(ALLOCATIONS, (Policy(kind, margin), Policy()), strict=True):
            self.policy[name] = policy
            self.post(booking.grant(name, "p", [Amount(GPU, 10_000), Amount(MJ, 20_000)], "award"))

    @rule(name=st.sampled_from(ALLOCATIONS), gpu=amounts, mj=amounts)
    def hold(self, name: str, gpu: int, mj: int) -> None:
        asked = {GPU: gpu, MJ: mj}
        policies = dict.fromkeys(UNITS, self.policy[name])
        self.count += 1
        ref = f"h{self.count}"
        try:
            lines = booking.hold(name, [Amount(u, v) for u, v in asked.items()], policies, self.balance, ref)
        except FabriqueError as error:
            assert error.code == "ledger.overdraft"
            return
        self.post(lines)
        self.holds[ref] = (name, asked)

    @rule(pick=st.randoms(use_true_random=False), gpu=amounts, mj=amounts, mg=amounts, lost=st.booleans())
    def debit(self, pick: object, gpu: int, mj: int, mg: int, lost: bool) -> None:
        if not self.holds:
            return
        ref = pick.choice(sorted(self.holds))  # type: ignore[attr-defined]
        name, held = self.holds.pop(ref)
        actual = {GPU: gpu, MJ: mj, MG: mg}
        bucket = "lost" if lost else "used"
        self.post(booking.debit(name, "p", held, actual, ref, {}, bucket))
        self.charged.append((name, bucket, {u: min(v, held.get(u, v)) for u, v in actual.items()}))

    @rule(pick=st.randoms(use_true_random=False))
    def release(self, pick: object) -> None:
        if self.holds:
            ref = pick.choice(sorted(self.holds))  # type: ignore[attr-defined]
            name, held = self.holds.pop(ref)
            self.post(booking.release(name, [Amount(u, v) for u, v in held.items()], ref))

    @rule(pick=st.randoms(use_true_random=False))
    def refund(self, pick: object) -> None:
        if self.charged:
            name, bucket, back = self.charged.pop(pick.randrange(len(self.charged)))  # type: ignore[attr-defined]
            given = [Amount(u, v) for u, v in back.items()]
            self.post(booking.refund(name, "p", given, set(UNITS), "r", {"cause": "node"}, bucket))

    @rule(pick=st.randoms(use_true_random=False), permille=st.integers(1, 1000))
    def rebate(self, pick: object, permille: int) -> None:
        used = [c for c in self.charged if c[1] == "used"]
        if used:
            chosen = pick.choice(used)  # type: ignore[attr-defined]
            self.charged.remove(chosen)
            self.post(booking.rebate(chosen[0], Amount(GPU, chosen[2][GPU]), permille, "b", {}))

    @rule(name=st.sampled_from(ALLOCATIONS))
    def expire(self, name: str) -> None:
        left = [Amount(u, self.balance(booking.account(name, "available"), u)) for u in UNITS]
        self.post(booking.expire(name, "p", left, name))

    @rule(value=amounts)
    def transfer(self, value: int) -> None:
        try:
            lines = booking.transfer("a", "b", [Amount(GPU, value)], self.balance, "t")
        except FabriqueError as error:
            assert error.code == "ledger.overdraft"
            return
        self.post(lines)

    @invariant()
    def every_unit_is_conserved(self) -> None:
        for u in (GPU, MJ, MG):
            assert sum(v for (_, of), v in self.sums.items() if of == u) == 0

    @invariant()
    def granted_is_what_it_became(self) -> None:
        for name in ALLOCATIONS:
            for u in (GPU, MJ, MG):
                assert sum(self.balance(booking.account(name, b), u) for b in BUCKETS) == 0

    @invariant()
    def no_overdraft_beyond_policy(self) -> None:
        for name, policy in self.policy.items():
            if policy.exhaustion is Exhaustion.SHARE:
                continue
            for u in UNITS:
                granted = -self.balance(booking.account(name, "granted"), u)
                margin = granted * policy.margin_permille // 1000 if policy.exhaustion is Exhaustion.DEGRADE else 0
                assert self.balance(booking.account(name, "available"), u) >= -margin

    @invariant()
    def what_is_held_is_the_open_holds(self) -> None:
        for name in ALLOCATIONS:
            for u in UNITS:
                held = sum(h.get(u, 0) for of, h in self.holds.values() if of == name)
                assert self.balance(booking.account(name, "held"), u) == held


Ledger.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestLedger = Ledger.TestCase
