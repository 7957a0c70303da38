"""A plain sbatch consents to a lower power level in its comment: its limit and its level stand before its release."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.clusters import found_on_cluster
from tests.unit.levelled import A40, LEVEL, LEVELLED, LevelBench
from tests.unit.scripted import T0

from fabrique.apps.ledger import services as ledger
from fabrique.apps.ledger.verify import verify
from fabrique.definitions import rules as rule_sets
from fabrique.engines.slurm.files import door
from fabrique.engines.slurm.files import levels as level_files
from fabrique.engines.slurm.model import QueuedJob, Tres, Unread
from fabrique.operate.at_the_door import tolerated
from fabrique.operate.door_levels import forget_over


@pytest.fixture
def bench(db: None, settings: Any, tmp_path: Path) -> LevelBench:
    settings.HOME = tmp_path / "home"
    return LevelBench(found_on_cluster(settings.HOME, LEVELLED))


CONSENT = "#fabrique tolerance: 8%"
STRETCHED = 6_480_000  # 100 minutes at 0.929, in whole minutes


def sbatch(bench: LevelBench, number: int = 41, **more: Any) -> QueuedJob:
    return bench.slurm.sbatch(number, **{"comment": CONSENT, "limit_ms": 6_000_000, **more})


def test_a_plain_sbatch_consents_in_its_comment(bench: LevelBench) -> None:
    job = sbatch(bench)
    door.write(bench.here.home / door.STATE, bench.now, [], [], door.Licences(20, 100))
    bench.turn()
    row = bench.row("41")
    run = row.runs.get()
    assert (run.level, run.walltime_ms) == (LEVEL, -(-6_000_000 * 1000 // 929))
    assert bench.engine.found[job.handle] == (level_files.Level("limit_w", 174), STRETCHED)
    assert bench.slurm.licences[job.handle] == {"fabrique_w@fabrique": run.bound["power_w"] // 100}
    assert run.bound["power_w"] < run.bound["top_w"] == 400
    for _ in range(3):  # the queue shows the limit that the hub set, and it asks for no more than before
        bench.turn()
    row.refresh_from_db()
    assert row.spec["walltime_ms"] == 6_000_000
    assert (row.runs.get().state, bench.slurm.queue[41].held) == ("planned", False)
    began = bench.now
    bench.slurm.starts(41, began)
    bench.turn()
    bench.slurm.ends(41, began + 1_000_000, exit_code=0)
    bench.turn(1_000_000)
    assert bench.status(row) == "completed"
    assert ledger.balance("hub:frugality-rebate", A40) == 71_000
    assert verify().ok


def test_a_requeued_one_is_not_stretched_twice(bench: LevelBench) -> None:
    job = sbatch(bench)
    bench.turn()
    began = bench.now
    bench.slurm.starts(41, began)
    bench.turn()
    bench.slurm.ends(41, began + 60_000, "preempted")
    again = sbatch(bench, submitted_ms=T0 + 90_000, limit_ms=STRETCHED)  # as Slurm keeps it
    assert again.handle != job.handle
    bench.turn(60_000)
    bench.turn()
    row = bench.row("41")
    assert row.spec["walltime_ms"] == 6_000_000
    last = row.runs.order_by("-attempt")[0]
    assert (last.handle, last.walltime_ms) == (again.handle, -(-6_000_000 * 1000 // 929))
    assert bench.engine.found[again.handle] == (level_files.Level("limit_w", 174), STRETCHED)


def test_where_its_limit_can_not_be_changed_it_runs_at_the_top(bench: LevelBench) -> None:
    bench.engine.stiff = True
    job = sbatch(bench)
    bench.turn()
    run = bench.row("41").runs.get()
    assert (run.level, run.walltime_ms, run.bound["power_w"]) == (None, 6_000_000, 400)
    assert bench.engine.found[job.handle] == (None, 6_000_000)


def test_where_its_level_can_not_be_written_it_runs_at_the_top(bench: LevelBench) -> None:
    bench.engine.folder.parent.mkdir(parents=True, exist_ok=True)
    bench.engine.folder.write_text("a file")
    sbatch(bench)
    bench.turn()
    run = bench.row("41").runs.get()
    assert (run.level, run.walltime_ms, bench.slurm.queue[41].limit_ms) == (None, 6_000_000, 6_000_000)


def test_a_level_of_an_attempt_before_is_gone_where_none_is_chosen(bench: LevelBench) -> None:
    level_files.put(bench.engine.folder, 41, level_files.Level("limit_w", 100))
    bench.loop.rules = rule_sets.load("fair")
    job = sbatch(bench)
    bench.turn()
    assert bench.engine.found[job.handle] == (None, 6_000_000)


@pytest.mark.parametrize(
    "comment",
    ["", "tolerance: 8%", "fabrique: tolerance: 8%", "#fabrique tolerance: 8", "#fabrique tolerance: 101%",
     "#fabrique tolerance: 8.05%", "#fabrique tolerance: ..%", "#fabrique tolerance: 8%\n#fabrique x: y",
     "#fabrique tolerance: ٨%", "x" * 10_000],
)  # fmt: skip
def test_what_is_no_consent_lowers_nothing(bench: LevelBench, comment: str) -> None:
    assert tolerated(comment) == 0
    job = sbatch(bench, comment=comment)
    bench.turn()
    assert bench.row("41").runs.get().level is None
    assert bench.engine.found[job.handle] == (None, 6_000_000)


def test_each_task_of_an_array_is_lowered_under_the_number_that_it_gets(bench: LevelBench) -> None:
    sbatch(bench, 50, array_id=50, task_ids=(1, 2, 3), tasks=3)
    bench.turn()
    assert {j.array_task: j.job_id for j in bench.slurm.queue.values()} == {1: 51, 2: 52, 3: 50}
    for task, number in ((1, 51), (2, 52), (3, 50)):
        run = bench.row(f"50_{task}").runs.get()
        assert (run.level, run.walltime_ms) == (LEVEL, -(-6_000_000 * 1000 // 929))
        assert bench.engine.found[run.handle] == (level_files.Level("limit_w", 174), STRETCHED)
        assert level_files.read(bench.engine.folder, number) is not None


def test_levels_of_jobs_that_are_over_are_forgotten(bench: LevelBench) -> None:
    folder = bench.engine.folder
    for number in (41, 42):
        level_files.put(folder, number, level_files.Level("limit_w", 100))
    waits = bench.slurm.sbatch(41)
    forget_over(folder, [waits], [Unread(b"", "")])
    assert {path.name for path in folder.iterdir()} == {"41", "42"}
    forget_over(folder, [waits], [])
    assert {path.name for path in folder.iterdir()} == {"41"}


@pytest.mark.parametrize("comment", [CONSENT, "mine"])
def test_a_task_that_its_array_hides_keeps_its_level_until_it_is_over(bench: LevelBench, comment: str) -> None:
    """Whatever its user has written since: it is charged at the level that it was released at."""
    array = sbatch(bench, 50, array_id=50, task_ids=(1, 2, 3), tasks=3)
    bench.turn()
    assert {path.name for path in bench.engine.folder.iterdir()} == {"50", "51", "52"}
    hidden = {number: bench.slurm.queue.pop(number) for number in (51, 52)}
    bench.slurm.queue[50] = replace(array, comment=comment, limit_ms=STRETCHED, priority=9)  # as squeue shows them
    sbatch(bench, 60)
    bench.turn()
    assert {path.name for path in bench.engine.folder.iterdir()} == {"50", "51", "52", "60"}
    bench.slurm.queue |= hidden
    bench.slurm.queue[50] = replace(array, array_task=3, task_ids=(), tasks=1, comment=comment, limit_ms=STRETCHED)
    for number in (51, 52):
        bench.slurm.starts(number, bench.now)
    bench.turn()
    bench.slurm.ends(51, bench.now, exit_code=0)
    bench.turn()
    sbatch(bench, 61)
    bench.turn()
    assert {path.name for path in bench.engine.folder.iterdir()} == {"50", "52", "60", "61"}


def test_who_takes_the_consent_back_runs_at_the_top_after_a_requeue(bench: LevelBench) -> None:
    """With the time, the licences and the level that it was asked with."""
    sbatch(bench)
    bench.turn()
    assert bench.row("41").runs.get().level == LEVEL
    began = bench.now
    bench.slurm.starts(41, began)
    bench.turn()
    bench.slurm.ends(41, began + 60_000, "preempted")
    again = sbatch(bench, submitted_ms=T0 + 90_000, limit_ms=STRETCHED, comment="")  # as Slurm keeps it
    door.write(bench.here.home / door.STATE, bench.now, [], [], door.Licences(20, 100))
    bench.turn(60_000)
    for _ in range(2):
        bench.turn()
    last = bench.row("41").runs.order_by("-attempt")[0]
    assert (last.attempt, last.level, last.walltime_ms) == (2, None, 6_000_000)
    assert bench.engine.found[again.handle] == (None, 6_000_000)
    assert bench.slurm.licences[again.handle] == {"fabrique_w@fabrique": last.bound["power_w"] // 100}


def test_a_folder_of_levels_that_can_not_be_read_stops_no_release(
    bench: LevelBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> list[int]:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(level_files, "keep_only", broken)
    job = sbatch(bench)
    bench.turn()
    assert bench.engine.found[job.handle] == (level_files.Level("limit_w", 174), STRETCHED)


def test_a_task_that_keeps_no_number_of_its_own_runs_at_the_top(bench: LevelBench) -> None:
    bench.engine.stiff = True
    sbatch(bench, 50, array_id=50, task_ids=(1, 2), tasks=2)
    bench.turn()
    for task in (1, 2):
        run = bench.row(f"50_{task}").runs.get()
        assert (run.level, run.walltime_ms, run.bound["power_w"]) == (None, 6_000_000, 400)
    assert not bench.engine.folder.is_dir() or not list(bench.engine.folder.iterdir())


@pytest.mark.parametrize(("comment", "ahead"), [(CONSENT, False), ("", True)])
def test_what_has_a_level_to_choose_is_not_released_ahead_of_its_turn(
    bench: LevelBench, comment: str, ahead: bool
) -> None:
    whole = Tres(cores=4, nodes=1, gpus={"": 4})  # a node
    for number, limit_ms in ((1, 600_000), (2, 5_400_000)):
        sbatch(bench, number, asked=whole, given=whole, limit_ms=limit_ms, comment="")
    bench.turn()
    for number in (1, 2):
        bench.slurm.starts(number, bench.now)
    bench.turn()
    bench.turn(570_000)  # thirty seconds are left of the ten minutes
    next_ = sbatch(bench, 3, asked=whole, given=whole, limit_ms=600_000, comment=comment)
    bench.turn()
    assert bench.slurm.ahead == ([next_.handle] if ahead else [])
    bench.slurm.ends(1, bench.now, exit_code=0)
    bench.turn()
    run = bench.row("3").runs.get()
    assert (run.level is None) is ahead
