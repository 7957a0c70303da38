"""The plain replay: a bare machine's starts are those of the definition; work that is stopped is counted right."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from tests.property.worlds import HOUR, MINUTE, T0, hub
from tests.unit import easy

from fabrique.core.admission.kernels import reference
from fabrique.core.admission.rules import Rules
from fabrique.core.admission.tables import NONE

KTH = ("KTH-SP2-1996-2.1-cln.swf.gz", 100)


def test_the_definition_gives_the_known_waits(traces: Path) -> None:
    name, processors = KTH
    jobs = easy.swf(traces / name, processors)
    assert len(jobs) == 28_467
    assert round(easy.mean_wait(jobs, easy.fcfs(jobs, processors))) == 389_861
    assert round(easy.mean_wait(jobs, easy.easy(jobs, processors)), 2) == 6_804.97


def test_the_definition_refuses_a_job_larger_than_the_machine() -> None:
    with pytest.raises(ValueError, match="larger"):
        easy.easy([(0, 1, 9, 1)], 8)


def bare(jobs: list[easy.Job], processors: int, backfill: bool) -> list[int]:
    """The starts that the decision gives on a machine of so many processors, in seconds."""
    asked = [
        {"need": size * 1000, "walltime": request * 1000, "submit": T0 + at * 1000} for at, _, size, request in jobs
    ]
    world = reference.read(hub(asked, capacity=processors * 1000))
    submit = [T0 + job[0] * 1000 for job in jobs]
    work = [job[1] * 1000 for job in jobs]
    rules = Rules(name="bare", backfill=backfill).flags()
    found = reference.replay(world, rules, submit, work, [NONE] * len(jobs), 0, 0)
    return [(start - T0) // 1000 for start in found["start"]]


@pytest.mark.parametrize("seed", range(25))
def test_on_a_bare_machine_the_decision_is_easy_and_fcfs(seed: int) -> None:
    dice = Random(seed)
    jobs = []
    for at in sorted(dice.randint(0, 300) for _ in range(50)):
        run = dice.choice([1, 5, 20, dice.randint(1, 60)])
        jobs.append((at, run, dice.choice([1, 1, 2, 3, 5, 8]), run * dice.choice([1, 1, 2, 5])))
    assert bare(jobs, 8, backfill=True) == easy.easy(jobs, 8)
    assert bare(jobs, 8, backfill=False) == easy.fcfs(jobs, 8)


def replayed(
    world: reference.World, rules: Rules, work: list[int], after: list[int], **more: int
) -> dict[str, list[int]]:
    submit = [job.submit for job in world.jobs]
    return reference.replay(world, rules.flags(), submit, work, after, more.get("tick", 0), more.get("restart", 0))


def test_a_job_comes_when_the_one_before_it_is_done() -> None:
    world = reference.read(hub([{"need": 1000, "walltime": HOUR}, {"need": 1000, "walltime": HOUR}]))
    found = replayed(world, Rules(name="test"), [HOUR // 2, HOUR], [NONE, 0])
    assert found["start"] == [T0, T0 + HOUR // 2]
    assert found["end"] == [T0 + HOUR // 2, T0 + HOUR * 3 // 2]


@pytest.mark.parametrize(("preemptible", "end", "left"), [(1, 11, 7), (0, 13, 9)])  # 3 h are done at the stop, or lost
def test_who_writes_checkpoints_goes_on_from_there(preemptible: int, end: int, left: int) -> None:
    jobs = [
        {"need": 8000, "walltime": 9 * HOUR, "pool": 1, "preemptible": preemptible},
        {"need": 4000, "walltime": HOUR, "submit": T0 + 3 * HOUR},
    ]
    world = reference.read(hub(jobs, pools=((4000, 0, 4000), (4000, 4000, 4000))))
    rules = Rules(name="test", pools=True, reclaim=True, reclaim_any=True, backoff_ms=30 * MINUTE)
    found = replayed(world, rules, [9 * HOUR, HOUR], [NONE, NONE], restart=HOUR)
    assert found["start"] == [T0, T0 + 3 * HOUR]
    assert found["preemptions"] == [1, 0]
    assert found["end"] == [T0 + end * HOUR, T0 + 4 * HOUR]
    assert world.jobs[0].walltime == left * HOUR
    assert world.jobs[0].shape == NONE


def test_a_lower_level_takes_longer() -> None:
    caps = ((0, 9_000_000, 0), (T0 + HOUR, 3_000_000, T0 + HOUR))
    jobs = [{"need": 4000, "walltime": 4 * HOUR, "elastic": 1}]
    world = reference.read(hub(jobs, options=((1_000_000, 1_000_000), (600_000, 750_000)), caps=caps))
    found = replayed(world, Rules(name="test", recap=True), [4 * HOUR], [NONE])
    assert found["end"] == [T0 + 5 * HOUR]
    assert found["option"] == [1]


def test_a_job_that_never_fits_does_not_keep_the_clock_ticking() -> None:
    world = reference.read(hub([{"need": 9000, "walltime": HOUR}, {"need": 1000, "walltime": HOUR}]))
    found = replayed(world, Rules(name="test", age_ms=2 * HOUR), [HOUR, HOUR], [NONE, NONE], tick=10 * MINUTE)
    assert found["start"] == [NONE, T0]
    assert found["end"] == [NONE, T0 + HOUR]


def test_a_tick_starts_what_only_time_lets_start() -> None:
    jobs = [
        {"need": 2000, "walltime": HOUR * 3, "pool": 1},
        {"need": 8000, "walltime": HOUR // 2, "submit": T0 + HOUR},
    ]
    world = reference.read(hub(jobs, pools=((8000, 0, 8000), (0, 8000, 0))))
    world.pools[1].no_borrow = T0 + HOUR * 4
    found = replayed(world, Rules(name="test", pools=True), [3 * HOUR, HOUR // 2], [NONE, NONE], tick=HOUR)
    assert found["start"] == [T0 + 4 * HOUR, T0 + HOUR]
