"""Tables told as objects and back; one digest for all that matters."""

from __future__ import annotations

import pytest
from tests.property.worlds import HOUR, T0, hub

from fabrique.core.admission import tables as t
from fabrique.core.admission.kernels import reference
from fabrique.core.admission.rules import Rules
from fabrique.core.admission.tables import State

RULES = Rules(name="test").flags()


def busy() -> State:
    """Two run, two wait in a line, one is still to come."""
    jobs = [{"need": 4000, "walltime": (5 - n) * HOUR, "ask": 1} for n in range(5)]
    world = reference.read(hub(jobs, room=(9,), series=(1, 2, 3)))
    for job in world.jobs[:4]:
        reference.ready(world, job)
    reference.step(world, RULES, T0)
    return reference.write(world)


def test_what_is_written_reads_as_the_same_world() -> None:
    state = busy()
    again = reference.write(reference.read(state))
    assert reference.digest(again) == reference.digest(state)
    assert all((a == b).all() for a, b in zip(again, state, strict=True))


def test_the_links_tell_the_line_and_the_ends() -> None:
    state = busy()
    assert state.line[0, [t.LINE_FIRST, t.LINE_LAST]].tolist() == [2, 3]
    assert (state.job[2, t.JOB_NEXT], state.job[3, t.JOB_PREVIOUS]) == (3, 2)
    assert state.run[state.by_end[:2], t.RUN_JOB].tolist() == [1, 0]  # job 1 ends first
    assert (state.free.tolist(), state.pool[0, t.POOL_PENDING], state.room.tolist()) == ([[0]], 8000, [7])


def test_reading_changes_no_table() -> None:
    state = busy()
    before = t.copied(state)
    reference.step(reference.read(state), RULES, T0 + HOUR)
    assert all((a == b).all() for a, b in zip(before, state, strict=True))


def test_where_a_run_lies_in_its_table_does_not_matter() -> None:
    state = busy()
    moved = t.copied(state)
    moved.run[[0, 3]] = moved.run[[3, 0]]
    moved.by_end[:2] = [1, 3]
    moved.job[0, t.JOB_RUN] = 3
    moved.line[0, t.LINE_CURSOR] = 4
    assert reference.digest(moved) == reference.digest(state)


@pytest.mark.parametrize(
    ("table", "row", "column"),
    [
        ("free", 0, 0),
        ("domain", 0, t.DOMAIN_USED),
        ("domain", 0, t.DOMAIN_FREE),
        ("pool", 0, t.POOL_USED),
        ("pool", 0, t.POOL_PENDING),
        ("pool", 0, t.POOL_OWED),
        ("pool", 0, t.POOL_NO_BORROW),
        ("cohort", 0, t.COHORT_USED),
        ("project", 0, t.PROJECT_USE),
        ("project", 0, t.PROJECT_RATE),
        ("line", 0, t.LINE_FIRST),
        ("line", 0, t.LINE_LAST),
        ("job", 2, t.JOB_NEXT),
        ("job", 3, t.JOB_PREVIOUS),
        ("job", 2, t.JOB_VERDICT),
        ("job", 2, t.JOB_SHORT),
        ("job", 2, t.JOB_FREE),
        ("job", 2, t.JOB_AT),
        ("job", 0, t.JOB_STATUS),
        ("job", 0, t.JOB_RUN),
        ("job", 4, t.JOB_NOT_BEFORE),
        ("job", 4, t.JOB_PREEMPTIONS),
        ("job", 4, t.JOB_DEFERRED),
        ("job", 4, t.JOB_WALLTIME),
        ("job", 4, t.JOB_SHAPE),
        ("run", 0, t.RUN_END),
        ("run", 0, t.RUN_MW),
        ("run", 0, t.RUN_OPTION),
        ("run", 0, t.RUN_CHOSEN),
        ("run", 0, t.RUN_LEAVING),
        ("planned", 0, 1),
    ],
)
def test_whatever_else_differs_is_seen(table: str, row: int, column: int) -> None:
    state, other = busy(), busy()
    getattr(other, table)[row, column] += 1
    assert reference.digest(other) != reference.digest(state)


@pytest.mark.parametrize("column", [t.CLOCK_LAST, t.CLOCK_RUNS, t.CLOCK_DAY, t.CLOCK_BLOCKED])
def test_the_clock_and_the_room_count_too(column: int) -> None:
    state, other, poorer = busy(), busy(), busy()
    other.clock[column] -= 1
    poorer.room[0] -= 1
    assert len({reference.digest(state), reference.digest(other), reference.digest(poorer)}) == 3
