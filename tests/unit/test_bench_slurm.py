"""The side-by-side benchmark measures what it says, from the accounting's records; and a short run of it, live."""

from __future__ import annotations

import pytest
from tools.bench_cases import slurm
from tools.bench_cases.slurm import HUB, PLAIN, Ask, Ran
from tools.bench_cases.slurm_hub import Opened

from fabrique.engines.slurm.model import Record, Tres

T0 = 1_800_000_000_000
# room for four devices of 1 kW, two a pool
OPENED = Opened(("a", "b"), device_mw=1_000_000, core_mw=0, room_mw=4_000_000)


def ran(pool: int, devices: int, came_s: int, start_s: int, end_s: int) -> Ran:
    return Ran(pool, devices, 0, T0 + came_s * 1000, T0 + start_s * 1000, T0 + end_s * 1000)


def record(start_s: int, end_s: int, state: str = "COMPLETED") -> Record:
    return Record(
        cluster="lab", job_id=1, name="j0", user="u", account="a", qos="", partition="gpu", state=state,
        submitted_ms=T0, started_ms=T0 + start_s * 1000, ended_ms=T0 + end_s * 1000,
        elapsed_ms=(end_s - start_s) * 1000, given=Tres(1, 0, 1, {"": 1}),
    )  # fmt: skip


def measured(*runs: Ran, horizon_s: int = 120) -> slurm.Outcome:
    return slurm.outcome(runs, 2, horizon_s)


def test_work_waits_and_makespan_count_devices() -> None:
    found = measured(ran(0, 2, 0, 10, 40), ran(1, 1, 5, 5, 200))
    assert (found.work, found.waited, found.makespan_s) == (2 * 30 + 115, 2 * 10, 200)


def test_watts_over_the_cap_are_those_of_overlapping_jobs_alone() -> None:
    assert slurm.over([ran(0, 3, 0, 0, 30), ran(1, 3, 0, 30, 60)], OPENED) == 0
    assert slurm.over([ran(0, 3, 0, 0, 30), ran(1, 3, 0, 20, 60)], OPENED) == 2_000 * 10


def test_a_pool_is_off_by_what_it_asked_for_and_was_entitled_to_and_did_not_get() -> None:
    other = ran(0, 4, 0, 0, 60)
    assert measured(other, horizon_s=60).off == 0  # lent: the other pool asks for nothing
    assert measured(other, ran(1, 2, 0, 60, 120), horizon_s=60).off == 1  # all was taken from it
    assert measured(other, ran(1, 2, 30, 60, 120)).off == pytest.approx(60 / 180)


def test_figures_hold_ours_against_the_plain_one() -> None:
    late, soon, work = [record(9, 20)], [record(3, 14)], [Ask(0.0, 1, 5.0, 0)]
    rows = list(slurm.figures("w", work, {HUB: soon, PLAIN: late}, OPENED, 60))
    assert [row.reached for row in rows] == [True] * 5
    rows = list(slurm.figures("w", work, {HUB: late, PLAIN: soon}, OPENED, 60))
    assert [row.reached for row in rows] == [True, False, False, True, False]


def test_a_job_that_did_not_complete_makes_no_figures() -> None:
    done = {HUB: [record(3, 14, "FAILED")], PLAIN: [record(3, 14)]}
    with pytest.raises(RuntimeError, match="1 with the hub, 0 without"):
        list(slurm.figures("w", [Ask(0.0, 1, 5.0, 0)], done, OPENED, 60))


@pytest.mark.slurm
def test_thirty_jobs_side_by_side() -> None:
    """Saturated for a moment, so that both sides have to choose."""
    work = [Ask(i * 0.3, 1 + i % 4, 4.0 + i % 3, i % 2) for i in range(30)]
    done, opened = slurm.run(work, patience_s=180)
    found = {row.what.partition(": ")[2]: row for row in slurm.figures("thirty", work, done, opened, 60)}
    over = found["watts over the cap"]
    assert (over.value, over.anchor) == (0, "plain Slurm 0")
    ours = found["work done under the cap"]
    assert ours.value == pytest.approx(ours.target, rel=0.3)
