"""What a job asks: its bounds, its upper bound in time, its states."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabrique.core.errors import FabriqueError
from fabrique.core.job import (
    DAY_MS,
    SCRIPT_MOST_BYTES,
    TRANSITIONS,
    EndState,
    JobSpec,
    JobState,
    after,
    check_spec,
    is_over,
    may_follow,
    upper_bound,
)
from fabrique.core.reasons import REASONS
from fabrique.core.units import Amount, Unit

SPEC = JobSpec(script="#!/bin/sh\ntrue\n")
GPU, CORE, QPU = Unit("acc-ms:h100-sxm"), Unit("core-ms:local-core"), Unit("qpu-ms:ion-20")


@pytest.mark.parametrize(
    ("changes", "unit", "value"),
    [
        ({"milli_devices": 500, "walltime_ms": 1_000}, GPU, 500),
        ({"milli_devices": 1, "walltime_ms": 1_001}, GPU, 2),  # rounded up: a bound is never too small
        ({"milli_devices": 2_000, "walltime_ms": 3_600_000}, GPU, 7_200_000),
        ({"milli_devices": 8_000, "cores": 64, "nodes": 2, "walltime_ms": 1_000}, GPU, 8_000),
        ({"cores": 3, "walltime_ms": 1_000}, CORE, 3_000),
        ({"milli_devices": 1_000, "walltime_ms": 5_000}, QPU, 5_000),
    ],
)
def test_the_most_a_run_can_use(changes: dict[str, Any], unit: Unit, value: int) -> None:
    assert upper_bound(dataclasses.replace(SPEC, **changes), unit) == Amount(unit, value)


def test_a_job_without_devices_is_never_free_on_accelerators() -> None:
    with pytest.raises(ValueError, match="no bound"):
        upper_bound(SPEC, GPU)
    with pytest.raises(FabriqueError):
        upper_bound(SPEC, Unit("mJ"))


@given(st.integers(1, 10**6), st.integers(1_000, 366 * DAY_MS), st.integers(0, 366 * DAY_MS))
def test_no_run_within_its_walltime_passes_its_bound(milli: int, walltime: int, ran: int) -> None:
    spec = dataclasses.replace(SPEC, milli_devices=milli, walltime_ms=walltime)
    used = milli * min(ran, walltime)
    bound = upper_bound(spec, GPU).value
    assert used <= bound * 1_000
    assert (bound - 1) * 1_000 < milli * walltime


@pytest.mark.parametrize(
    ("changes", "field", "code"),
    [
        ({"milli_devices": -1}, "accelerators", "out-of-bounds"),
        ({"milli_devices": 1_500}, "accelerators", "not-a-whole-device"),
        ({"milli_devices": 3_000, "nodes": 2, "cores": 2}, "accelerators", "not-divisible"),
        ({"milli_devices": 500, "nodes": 2, "cores": 2}, "accelerators", "not-divisible"),
        ({"cores": 3, "nodes": 2}, "cores", "not-divisible"),
        ({"cores": 0}, "cores", "out-of-bounds"),
        ({"nodes": 0}, "nodes", "out-of-bounds"),
        ({"memory_mb": 0}, "memory", "out-of-bounds"),
        ({"walltime_ms": 999}, "walltime", "out-of-bounds"),
        ({"walltime_ms": 366 * DAY_MS + 1}, "walltime", "out-of-bounds"),
        ({"output_limit_bytes": 0}, "output", "out-of-bounds"),
        ({"power": 0}, "power", "out-of-bounds"),
        ({"name": ""}, "name", "required"),
        ({"name": "a\x1b[0m"}, "name", "control-characters"),
        ({"name": "a" * 129}, "name", "too-long"),
        ({"project": "../x y"}, "project", "not-a-name"),
        ({"kinds": ("H100",)}, "kinds", "not-a-name"),
        ({"kinds": ("h100", "h100")}, "kinds", "repeated"),
        ({"datasets": tuple(f"d{i}" for i in range(65))}, "datasets", "too-many"),
        ({"checkpoint_signal": "KILL", "preemptible": True}, "preemptible", "not-a-choice"),
        ({"checkpoint_signal": "USR1"}, "preemptible", "needs"),
        ({"checkpoint_signal": "USR1", "preemptible": True, "lead_ms": 3_600_000}, "lead", "out-of-bounds"),
        ({"not_before_ms": 10, "latest_start_ms": 9}, "latest-start", "not-after"),
        ({"not_before_ms": 10, "deadline_ms": 3_600_009}, "deadline", "not-after"),
        ({"script": "#!/bin/sh\n\0"}, "script", "control-characters"),
        ({"script": "#!/bin/sh\n\ud800"}, "script", "control-characters"),
        ({"script": "é" * (SCRIPT_MOST_BYTES // 2 + 1)}, "script", "too-long"),
    ],
)
def test_what_no_hub_could_run(changes: dict[str, Any], field: str, code: str) -> None:
    errors = check_spec(dataclasses.replace(SPEC, **changes))
    assert [(e.field, e.code) for e in errors] == [(field, code)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"milli_devices": 500},
        {"milli_devices": 8_000, "nodes": 2, "cores": 64},
        {"not_before_ms": 10, "latest_start_ms": 10, "deadline_ms": 3_600_010},
        {"checkpoint_signal": "USR1", "preemptible": True, "lead_ms": 3_599_999},
        {"power": "max", "name": "entraînement de Zoé", "project": "frugal-1"},
    ],
)
def test_what_is_fine(changes: dict[str, Any]) -> None:
    assert check_spec(dataclasses.replace(SPEC, **changes)) == []


def test_a_deadline_leaves_room_for_the_walltime() -> None:
    assert SPEC.start_by_ms is None
    spec = dataclasses.replace(SPEC, deadline_ms=3_600_100, latest_start_ms=200)
    assert spec.start_by_ms == 100
    assert dataclasses.replace(spec, latest_start_ms=50).start_by_ms == 50


def test_a_script_is_known_by_its_hash() -> None:
    assert JobSpec(script="").script_sha256.startswith("e3b0c44298fc1c14")


def test_the_states_are_closed() -> None:
    assert set(TRANSITIONS) == set(JobState)
    over = {state for state in JobState if is_over(state)}
    assert over == {
        JobState.COMPLETED,
        JobState.FAILED,
        JobState.CANCELLED,
        JobState.LOST,
        JobState.REFUSED,
    }
    # every state is reached from the first, and every unfinished one can be cancelled
    reached, front = {JobState.PENDING}, [JobState.PENDING]
    while front:
        for state in TRANSITIONS[front.pop()] - reached:
            reached.add(state)
            front.append(state)
    assert reached == set(JobState)
    assert all(may_follow(state, JobState.CANCELLED) for state in set(JobState) - over)


def test_what_is_over_stays_over_and_nothing_runs_without_a_hold() -> None:
    assert not may_follow(JobState.COMPLETED, JobState.PENDING)
    assert not may_follow(JobState.LOST, JobState.COMPLETED)
    assert not may_follow(JobState.PENDING, JobState.STARTING)
    assert not may_follow(JobState.PENDING, JobState.RUNNING)
    assert not may_follow(JobState.RUNNING, JobState.REFUSED)


@pytest.mark.parametrize("end", EndState)
def test_every_end_has_its_reason_and_a_state_that_may_follow_a_run(end: EndState) -> None:
    assert f"end.{end.value}" in REASONS
    assert all(may_follow(s, after(end)) for s in (JobState.STARTING, JobState.RUNNING, JobState.ENDING))


def test_a_lost_run_is_never_completed() -> None:
    assert after(EndState.LOST) is JobState.LOST
    assert after(EndState.PREEMPTED) is JobState.PENDING
