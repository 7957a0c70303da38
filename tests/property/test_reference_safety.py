"""What no step may ever do, whatever the rules and the world. Counted here from the runs, not by the kernel."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property import worlds
from tests.property.worlds import Moment

from fabrique.core.admission import tables as t
from fabrique.core.admission.kernels import reference
from fabrique.core.admission.kernels.reference import Run, World
from fabrique.core.admission.tables import NONE, UNLIMITED, State

seeds = st.integers(0, 10**9)
quick = settings(max_examples=60)


def started(moment: Moment) -> list[Run]:
    """The runs that this step started and that it did not stop again."""
    rows = {job for job, _ in moment.decision.starts}
    return [run for run in moment.world.runs if run.job.row in rows and run.start == moment.now]


def taken(world: World, place: int, r: int, at: int, now: int) -> int:
    """What runs and blocks take of a place at an instant from now on; a run past its end still counts now."""
    runs = [run for run in world.runs if run.option.place.row == place and (at == now or run.end > at)]
    blocks = [block for block in world.blocks if block.place.row == place and block.begin <= at < block.until]
    return sum(run.job.need[r] for run in runs) + sum(block.need[r] for block in blocks)


def capped(tables: State, domain: int, at: int, now: int) -> int:
    rows = tables.cap[tables.domain[domain, t.DOMAIN_CAP] : tables.domain[domain, t.DOMAIN_CAP_END]].tolist()
    known = [mw for begin, mw, since in rows if begin <= at and since <= now]
    return known[-1] if known else UNLIMITED


def drawn(world: World, domain: int, at: int, now: int) -> int:
    """What runs draw in a domain at an instant from now on."""
    inside = [run for run in world.runs if domain in world.tables.chain[run.option.place.row]]
    return sum(run.mw for run in inside if at == now or run.end > at)


def capacity_holds(moment: Moment) -> None:
    world = moment.world
    for place in world.places:
        for r, most in enumerate(place.capacity):
            held = sum(run.job.need[r] for run in world.runs if run.option.place is place)
            assert held <= most
    for run in started(moment):
        place = run.option.place
        ahead = [block.begin for block in world.blocks if moment.now < block.begin < run.end]
        for at in [moment.now, *ahead]:
            for r, need in enumerate(run.job.need):
                assert need == 0 or taken(world, place.row, r, at, moment.now) <= place.capacity[r]


def caps_hold(moment: Moment) -> None:
    """A start breaks no cap: not the one of now, nor one that is announced for a time at which it still runs."""
    world, tables = moment.world, moment.world.tables
    for run in started(moment):
        for domain in [d for d in tables.chain[run.option.place.row].tolist() if d != NONE]:
            rows = tables.cap[tables.domain[domain, t.DOMAIN_CAP] : tables.domain[domain, t.DOMAIN_CAP_END]].tolist()
            ahead = [begin for begin, _, since in rows if since <= moment.now < begin < run.end]
            for at in [moment.now, *ahead]:
                assert drawn(world, domain, at, moment.now) <= capped(tables, domain, at, moment.now)


@quick
@given(seeds)
def test_capacity_is_never_exceeded(seed: int) -> None:
    for moment in worlds.play(seed):
        capacity_holds(moment)


@quick
@given(seeds)
def test_cap_and_domain_are_never_exceeded_by_a_start(seed: int) -> None:
    for moment in worlds.play(seed):
        caps_hold(moment)


@quick
@given(seeds)
def test_no_job_starts_without_budget(seed: int) -> None:
    tables, _ = worlds.world(seed)
    room = tables.room.tolist()
    for moment in worlds.play(seed):
        changes = [(job, 1) for job, _ in moment.decision.preempts] + [(job, -1) for job, _ in moment.decision.starts]
        for job, sign in changes:
            for b, ask in zip(tables.budget[job].tolist(), tables.ask[job].tolist(), strict=True):
                if b != NONE:
                    room[b] += sign * ask
        assert moment.world.room == room
        assert min(room) >= 0


@quick
@given(seeds)
def test_no_job_starts_outside_its_options(seed: int) -> None:
    tables, _ = worlds.world(seed)
    for moment in worlds.play(seed):
        for job, option in moment.decision.starts + moment.decision.recaps:
            first, end = tables.profile[tables.job[job, t.JOB_PROFILE], [t.PROFILE_FIRST, t.PROFILE_END]]
            assert first <= option < end
        for run in moment.world.runs:
            assert run.option.place is run.chosen.place


@quick
@given(seeds)
def test_only_a_ready_job_starts_and_only_a_run_is_stopped(seed: int) -> None:
    ready: set[int] = set()
    runs: set[int] = set()
    for moment in worlds.play(seed):
        for what, job in moment.events:
            if what == "ready":
                ready.add(job)
            elif what == "end":
                runs.remove(job)
        starts = [job for job, _ in moment.decision.starts]
        assert len(set(starts)) == len(starts)
        assert set(starts) <= ready
        stopped = {job for job, _ in moment.decision.preempts}
        assert stopped <= runs | set(starts)
        runs = (runs | set(starts)) - stopped
        ready -= set(starts) | {job for job, _ in moment.decision.deferrals}
        assert runs == {run.job.row for run in moment.world.runs}


@quick
@given(seeds)
def test_no_job_is_put_off_past_its_latest_start_nor_twice(seed: int) -> None:
    tables, _ = worlds.world(seed)
    once: set[int] = set()
    for moment in worlds.play(seed):
        for job, at in moment.decision.deferrals:
            assert moment.now < at <= tables.job[job, t.JOB_LATEST]
            assert job not in once
            once.add(job)


@quick
@given(seeds)
def test_equal_states_give_equal_plans(seed: int) -> None:
    """What is written down is all there is: a world read from its tables decides the same, again and again."""
    _, rules = worlds.world(seed)
    tables, _ = worlds.world(seed)
    for moment in worlds.play(seed):
        world = reference.read(tables)
        reference.advance(world, rules, moment.now)
        for what, row in moment.events:
            worlds.apply(world, what, row)
        assert reference.step(world, rules, moment.now) == moment.decision
        tables = reference.write(world)
        assert reference.digest(tables) == reference.digest(reference.write(moment.world))


@quick
@given(seeds)
def test_a_what_if_leaves_the_tables_as_they_are(seed: int) -> None:
    tables, rules = worlds.world(seed)
    before = t.copied(tables)
    for moment in worlds.play(seed, instants=3):
        reference.step(reference.read(tables), rules, moment.now)
    assert all((a == b).all() for a, b in zip(before, tables, strict=True))


@pytest.mark.parametrize("check", [capacity_holds, caps_hold])
def test_a_kernel_that_takes_too_much_is_caught(
    check: Callable[[Moment], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fabrique.core.admission.kernels.reference import choice

    monkeypatch.setattr(choice, "fits", lambda step, job, option: True)
    with pytest.raises(AssertionError):
        for seed in range(30):
            for moment in worlds.play(seed):
                check(moment)
