"""What no engine could honour is refused where a run is written down, before any engine hears of it."""

from __future__ import annotations

from typing import Any

import pytest

from fabrique.core.errors import FabriqueError
from fabrique.engines.protocol import JobUser, RunSpec

RIGHT: dict[str, Any] = {
    "intent": "run-12345678",
    "name": "1",
    "script": b"#!/bin/sh\n",
    "core_count": 1,
    "walltime_ms": 1_000,
    "user": JobUser("p"),
}


def test_a_right_one_is_taken() -> None:
    assert RunSpec(**RIGHT).core_count == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"walltime_ms": 0},
        {"core_count": 0},
        {"memory_mb": 0},
        {"script": b""},
        {"script": b"x" * 2_000_000},
        {"cores": (0, 1)},
        {"cores": (-1,)},
        {"preempt_signal": "KILL"},
        {"environment": {"A=B": "c"}},
        {"environment": {"A": "nul\0"}},
        {"environment": {"A": "x" * 100_000}},
        {"output_limit_bytes": 0},
        {"lead_ms": -1},
    ],
)
def test_a_run_that_cannot_be_honoured_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(FabriqueError, match=r"job\.field"):
        RunSpec(**{**RIGHT, **changes})
