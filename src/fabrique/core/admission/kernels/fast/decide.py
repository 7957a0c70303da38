"""One decision on a state, from Python."""

from __future__ import annotations

from typing import NamedTuple

from fabrique.core.admission.kernels.fast import entries
from fabrique.core.admission.kernels.fast.memory import (
    N_DEFERRALS,
    N_PREEMPTS,
    N_RECAPS,
    N_STARTS,
    Memory,
    memory,
)
from fabrique.core.admission.rules import Flags, Rules
from fabrique.core.admission.tables import JOB_RUN, Ints, State

NO_RULES = Rules(name="none").flags()
Pairs = list[tuple[int, int]]


class Decision(NamedTuple):
    """Rows of `job` with, in the order taken: option; for whom, or NONE for power; option; start of the slot."""

    starts: Pairs
    preempts: Pairs
    recaps: Pairs
    deferrals: Pairs


def load() -> None:
    """Have the live decision ready: read from the disk in less than a second, or compiled once on this machine."""
    entries.load(entries.advance, entries.step, entries.make_ready, entries.finish)


def advance(state: State, flags: Flags, now_ms: int) -> None:
    """Let time pass, before the events of `now_ms`."""
    block = memory(state, flags)
    entries.advance(block.cells, now_ms)
    _keep(block, state)


def ready(state: State, job: int) -> None:
    """An event: a job may start from now on."""
    block = memory(state, NO_RULES)
    entries.make_ready(block.cells, job)
    _keep(block, state)


def end(state: State, job: int) -> None:
    """An event: a job's run ended."""
    block = memory(state, NO_RULES)
    entries.finish(block.cells, int(state.job[job, JOB_RUN]))
    _keep(block, state)


def decide(state: State, flags: Flags, now_ms: int) -> Decision:
    """What to do now; `state` then holds it as done. A what-if decides on `tables.copied(state)`."""
    block = memory(state, flags)
    found = decided(block, now_ms)
    _keep(block, state)
    return found


def decided(block: Memory, now_ms: int) -> Decision:
    """The same on a block of memory, without a copy."""
    entries.step(block.cells, now_ms)
    w, n = block.scratch, block.scratch.work
    return Decision(
        _pairs(w.starts, n[N_STARTS]),
        _pairs(w.preempts, n[N_PREEMPTS]),
        _pairs(w.recaps, n[N_RECAPS]),
        _pairs(w.deferrals, n[N_DEFERRALS]),
    )


def _keep(block: Memory, state: State) -> None:
    for of_block, of_state in zip(block.state, state, strict=True):
        of_state[...] = of_block


def _pairs(table: Ints, count: int) -> Pairs:
    return [(int(a), int(b)) for a, b in table[:count]]
