"""What Python calls: the only functions kept on disk, each tied to the code of every part."""

from __future__ import annotations

from collections.abc import Callable

import numba

from fabrique.core.admission.kernels.fast import replay, take
from fabrique.core.admission.kernels.fast import step as phases
from fabrique.core.admission.kernels.fast.compiled import digest, entry
from fabrique.core.admission.kernels.fast.replay import MOST_IDLE
from fabrique.core.admission.tables import Ints

Entry = Callable[[Ints, int], int]


def _entries(code: int) -> tuple[Entry, ...]:
    """A kept entry is found again by what it closes over: another `code`, another entry."""

    def advance(m: Ints, now_ms: int) -> int:
        phases.advance(m, now_ms)
        return code

    def step(m: Ints, now_ms: int) -> int:
        phases.step(m, now_ms, 1)
        return code

    def run_until(m: Ints, until_ms: int) -> int:
        return replay.run_until(m, until_ms) + 0 * code

    def make_ready(m: Ints, job: int) -> int:
        take.make_ready(m, job)
        return code

    def finish(m: Ints, row: int) -> int:
        take.finish(m, row)
        return code

    return (
        entry(advance),
        entry(step),
        entry(run_until),
        entry(make_ready),
        entry(finish),
    )


__all__ = ["MOST_IDLE", "advance", "finish", "load", "make_ready", "run_until", "step"]

advance, step, run_until, make_ready, finish = _entries(digest())


def load(*chosen: Entry) -> None:
    """Have these entries ready (all, where none is named): from the disk, else compiled and kept there."""
    for function in chosen or (advance, step, make_ready, finish, run_until):
        function.compile((numba.int64[::1], numba.int64))  # type: ignore[attr-defined]
