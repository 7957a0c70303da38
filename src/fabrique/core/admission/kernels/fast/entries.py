"""What Python calls: the only functions kept on disk, each tied to the code of every part."""

from __future__ import annotations

from collections.abc import Callable

import numba

from fabrique.core.admission.kernels.fast import directory as of
from fabrique.core.admission.kernels.fast import replay, take
from fabrique.core.admission.kernels.fast import step as phases
from fabrique.core.admission.kernels.fast.cells import Known, of_block
from fabrique.core.admission.kernels.fast.compiled import digest, entry
from fabrique.core.admission.kernels.fast.replay import MOST_IDLE
from fabrique.core.admission.tables import Ints

Entry = Callable[[Ints, int], int]

# No maintenance, no budgets, devices alone: a trace asks for nothing else.
TWIN: Known = ((of.ROWS_BLOCK, 0), (of.ROWS_ROOM, 0), (of.WIDTH_NEED, 1))
# One machine, one line, no power, no quotas: what a bare machine has under first come, first served or EASY.
PLAIN: Known = (
    *TWIN,
    (of.ROWS_PLACE, 1),
    (of.ROWS_POOL, 1),
    (of.ROWS_LINE, 1),
    (of.ROWS_DOMAIN, 0),
    (of.WIDTH_CHAIN, 0),
    (of.FLAG_OBSERVE_ONLY, 0),
    (of.FLAG_RESERVATIONS, 1),
    (of.FLAG_POOLS, 0),
    (of.FLAG_SHARE_ORDER, 0),
    (of.FLAG_FAIR, 0),
    (of.FLAG_AGE_MS, 0),
    (of.FLAG_RECLAIM, 0),
    (of.FLAG_RECAP, 0),
    (of.FLAG_WATER_FILL, 0),
    (of.FLAG_DEFER, 0),
)
# Names of this module, not of a closure: a kept entry is found by what it closes over, which these would change.
_any = of_block(())
_twin = of_block(TWIN)
_plain = of_block(PLAIN)


def _entries(code: int) -> tuple[Entry, ...]:
    """A kept entry is found again by what it closes over: another `code`, another entry."""

    def advance(m: Ints, now_ms: int) -> int:
        phases.advance(_any(m), now_ms)
        return code

    def step(m: Ints, now_ms: int) -> int:
        phases.step(_any(m), now_ms, 1)
        return code

    def run_twin(m: Ints, until_ms: int) -> int:
        return replay.run_until(_twin(m), until_ms) + 0 * code

    def run_plain(m: Ints, until_ms: int) -> int:
        return replay.run_until(_plain(m), until_ms) + 0 * code

    def make_ready(m: Ints, job: int) -> int:
        take.make_ready(_any(m), job)
        return code

    def finish(m: Ints, row: int) -> int:
        take.finish(_any(m), row)
        return code

    return (
        entry(advance),
        entry(step),
        entry(make_ready),
        entry(finish),
        entry(run_twin),
        entry(run_plain),
    )


__all__ = [
    "MOST_IDLE",
    "advance",
    "finish",
    "load",
    "make_ready",
    "replay_of",
    "run_plain",
    "run_twin",
    "step",
]

advance, step, make_ready, finish, run_twin, run_plain = _entries(digest(TWIN, PLAIN))


def load(*chosen: Entry) -> None:
    """Have these entries ready: from the disk, else compiled and kept there."""
    for function in chosen:
        function.compile((numba.int64[::1], numba.int64))  # type: ignore[attr-defined]


def replay_of(m: Ints) -> Entry:
    """The quickest replay that is compiled for blocks like this one."""
    for known, function in ((PLAIN, run_plain), (TWIN, run_twin)):
        if all(m[cell] == value for cell, value in known):
            return function
    raise ValueError("no replay is compiled for blocks with maintenance, budgets, cores or memory")
