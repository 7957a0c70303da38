"""The compiled kernel decides what the reference decides: each list, each verdict, each table, at every instant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from difflib import unified_diff
from types import ModuleType

import pytest
from tests.property import worlds

from fabrique.core.admission.kernels import fast, reference
from fabrique.core.admission.kernels.reference import choice, decide, events, fitting, order, power, reclaim
from fabrique.core.admission.rules import Flags
from fabrique.core.admission.tables import UNLIMITED, State

BATCHES = 10
SEEDS = 30  # a batch; more are drawn by hand when a kernel changes
RARE = (312, 345, 350, 497, 512, 601)  # cases that reach what the others seldom do
CASES = (*RARE, *range(BATCHES * SEEDS))

BRANCHES = set(
    """
    aged back-from-deferral beyond-forecast budget choose-above choose-even choose-first choose-least cohort-full
    decay defer depth kept-low may-not-borrow never-fits no-backfill no-slot not-drained not-worth nothing-owed
    observe-only over-cap owed pool-closed preempt-power quota-closed raised recap-enough recap-lowest
    recap-none-lower reclaim reclaim-beyond-quota reclaim-failed reclaim-no-longer-borrows reclaim-nobody
    reclaim-own-lower reclaim-pruned reclaim-too-young reserved rise-would-break shape-remembered slot-full spared
    start start-behind too-late-to-defer verdict-2 verdict-3 verdict-4 verdict-5 verdict-6 verdict-7 wants-more
    would-break-block would-break-cap would-break-reservation
    """.split()
)


def follow(state: State, flags: Flags, moment: worlds.Moment) -> fast.Decision:
    """Lead the compiled kernel through one instant of the reference's scenario."""
    fast.advance(state, flags, moment.now)
    for what, job in moment.events:
        if what == "end":
            fast.end(state, job)
        elif what == "ready":
            fast.ready(state, job)
        else:
            worlds.leave(state, job)
    return fast.decide(state, flags, moment.now)


def differences(expected: State, found: State) -> str:
    lines = unified_diff(list(reference.canonical(expected)), list(reference.canonical(found)), lineterm="", n=0)
    return "\n".join(lines)


def agree(seed: int) -> Counter[str]:
    """Play one case through both; the branches that the reference took."""
    state, flags = worlds.world(seed)
    visited: Counter[str] = Counter()
    for moment in worlds.play(seed):
        place = f"seed {seed} at {moment.now - worlds.T0} ms, {flags}"
        decision, expected = follow(state, flags, moment), moment.decision
        assert list(decision.starts) == expected.starts, place
        assert list(decision.preempts) == expected.preempts, place
        assert list(decision.recaps) == expected.recaps, place
        assert list(decision.deferrals) == expected.deferrals, place
        written = reference.write(moment.world)
        same = reference.digest(written) == reference.digest(state)
        assert same, f"{place}\n{differences(written, state)}"
        visited = moment.world.visited
    return visited


@pytest.mark.parametrize("batch", range(BATCHES))
def test_the_compiled_kernel_equals_the_reference(batch: int) -> None:
    for seed in CASES[batch::BATCHES]:
        agree(seed)


def test_the_cases_reach_every_branch_of_the_decision() -> None:
    reached: Counter[str] = Counter()
    for seed in CASES:
        for moment in worlds.play(seed):
            visited = moment.world.visited
        reached.update(visited)
    print("\n".join(f"{count:8} {branch}" for branch, count in sorted(reached.items())))  # noqa: T201
    assert set(reached) == BRANCHES, f"never: {sorted(BRANCHES - set(reached))}; new: {sorted(set(reached) - BRANCHES)}"


MUTATIONS: list[tuple[ModuleType, str, Callable[..., object]]] = [
    (order, "line_rank", lambda step, line: (-line.priority, 0, line.row)),
    (choice, "even_mw", lambda step, place: UNLIMITED),
    (fitting, "borrowable", lambda step, pool: pool.borrow),
    (fitting, "spared", lambda step, critical, job, option: True),
    (events, "end_at", lambda run, option, now_ms: run.end),
    (power, "may_rise", lambda step, run: True),
    (decide, "known_to_fail", lambda turn, job: False),
    (reclaim, "borrows", lambda step, pool: True),
]


@pytest.mark.parametrize(("room", "name", "other"), MUTATIONS, ids=[name for _, name, _ in MUTATIONS])
def test_a_change_in_one_kernel_alone_is_seen(
    room: ModuleType, name: str, other: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, name, other)
    with pytest.raises(AssertionError):
        for seed in CASES:
            agree(seed)
