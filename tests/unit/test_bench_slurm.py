"""The side-by-side benchmark measures what it says, from the accounting's records; and a short run of it, live."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tools.bench_cases import slurm
from tools.bench_cases.slurm import HUB, PLAIN, Ask
from tools.bench_cases.slurm_hub import Opened

from fabrique.engines.slurm.model import Record, Tres

T0 = 1_800_000_000_000
# room for four devices of 1 kW, two a pool
OPENED = Opened(("a", "b"), licences=40, device_mw=1_000_000, core_mw=0, room_mw=4_000_000)


def ran(number: int, devices: int, came_s: int, start_s: int, end_s: int) -> Record:
    return Record(
        cluster="lab", job_id=number + 1, name=f"j{number}", user="u", account="a", qos="", partition="gpu",
        state="COMPLETED", submitted_ms=T0 + came_s * 1000, started_ms=T0 + start_s * 1000,
        ended_ms=T0 + end_s * 1000, elapsed_ms=(end_s - start_s) * 1000, given=Tres(devices, 0, 1, {"": devices}),
    )  # fmt: skip


def asks(*pools: int) -> list[Ask]:
    return [Ask(0.0, 1, 5.0, pool) for pool in pools]


def measured(found: Sequence[Record], *pools: int, horizon_s: int = 120) -> slurm.Measured:
    return slurm.measure(asks(*pools), found, OPENED, horizon_s)


def test_work_waits_and_makespan_count_devices() -> None:
    found = measured([ran(0, 2, 0, 10, 40), ran(1, 1, 5, 5, 200)], 0, 1)
    assert (found.work, found.waited, found.makespan_s) == (2 * 30 + 115, 2 * 10, 200)
    assert found.failed == 0


def test_watts_over_the_cap_are_those_of_overlapping_jobs_alone() -> None:
    one_after_the_other = [ran(0, 3, 0, 0, 30), ran(1, 3, 0, 30, 60)]
    assert measured(one_after_the_other, 0, 1).over_ws == 0
    assert measured([ran(0, 3, 0, 0, 30), ran(1, 3, 0, 20, 60)], 0, 1).over_ws == 2_000 * 10


def test_a_pool_is_off_by_what_it_asked_for_and_was_entitled_to_and_did_not_get() -> None:
    other = ran(0, 4, 0, 0, 60)
    assert measured([other], 0, horizon_s=60).off == 0  # lent: the other pool asks for nothing
    assert measured([other, ran(1, 2, 0, 60, 120)], 0, 1, horizon_s=60).off == 1  # all was taken from it
    assert measured([other, ran(1, 2, 30, 60, 120)], 0, 1).off == pytest.approx(60 / 180)


def test_figures_hold_ours_against_the_plain_one() -> None:
    late, soon = [ran(0, 1, 0, 9, 20)], [ran(0, 1, 0, 3, 14)]
    rows = list(slurm.figures("w", asks(0), {HUB: soon, PLAIN: late}, OPENED, 60))
    assert [row.reached for row in rows] == [True] * 5
    rows = list(slurm.figures("w", asks(0), {HUB: late, PLAIN: soon}, OPENED, 60))
    assert [row.reached for row in rows] == [True, False, False, True, False]


@pytest.mark.slurm
def test_thirty_jobs_side_by_side() -> None:
    """Saturated for a moment, so that both sides have to choose."""
    work = [Ask(i * 0.3, 1 + i % 4, 4.0 + i % 3, i % 2) for i in range(30)]
    done, opened = slurm.run(work, patience_s=180)
    sides = {side: slurm.measure(work, found, opened, 60) for side, found in done.items()}
    assert [side.failed for side in sides.values()] == [0, 0]
    assert [side.over_ws for side in sides.values()] == [0, 0]
    assert sides[HUB].work == pytest.approx(sides[PLAIN].work, rel=0.3)
