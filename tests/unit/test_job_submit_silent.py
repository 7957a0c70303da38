"""The door while the hub is silent, or what it says is lost: as the site chose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.lua import INFINITE, Answer, Ask, modify, submit
from tests.unit.test_job_submit import INTERACTIVE, JOB

from fabrique.engines.slurm.files.render import HELD, OPENED


@pytest.mark.parametrize("fields", [{}, INTERACTIVE])
@pytest.mark.parametrize("age_s", [61, 3_661, -61])
def test_a_silent_hub_leaves_the_door_as_the_site_chose(at_door: Ask, fields: dict[str, Any], age_s: int) -> None:
    """A beat that is to come is no beat either: one of the two clocks is wrong."""
    job = submit({"account": "p-1", **fields})
    (through,) = at_door(job, age_s=age_s)
    assert (through.code, through.set["admin_comment"], "priority" in through.set) == (0, OPENED, False)
    assert through.set["licenses"] == "fabrique_w@fabrique:1"
    (shut,) = at_door(job, age_s=age_s, door="closed")
    assert (shut.code, "does not answer" in shut.told[0]) == (2050, True)


@pytest.mark.parametrize("age_s", [60, -60])
def test_until_then_the_hub_is_heard(at_door: Ask, age_s: int) -> None:
    batch, srun = at_door(submit({"account": "p-1"}), submit({"account": "p-1", **INTERACTIVE}), age_s=age_s)
    assert (batch.set["admin_comment"], srun.code, "admin_comment" in srun.set) == (HELD, 0, False)


def lost(folder: Path, how: str) -> None:
    """The hub's file is no more what it was."""
    path = folder / "door"
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    if how == "half":
        path.write_text("fabrique-door 1\nbeat 99999999999\naccount p-1 8 96\n")
    elif how == "a folder":
        path.mkdir()
    elif how == "not text":
        path.write_bytes(b"\xff\x00end" * 1000)


LOST = ["missing", "half", "a folder", "not text"]


@pytest.mark.parametrize("how", LOST)
@pytest.mark.parametrize("fields", [{}, INTERACTIVE, {"account": "site"}])
def test_a_lost_file_leaves_the_door_as_the_site_chose(
    at_door: Ask, tmp_path: Path, how: str, fields: dict[str, Any]
) -> None:
    """Whose jobs wait is not known then, so a closed door is closed to whoever comes to the hub's partitions."""
    lost(tmp_path, how)
    job = submit({"account": "p-1", **fields})
    own = submit({"account": "p-1", **fields, "name": f"run-{'0f' * 16}"}, uid=990)
    through, hub = at_door(job, own, age_s=None)
    assert (through.code, through.set, hub.code) == (0, {}, 0)
    shut, hub, away = at_door(job, own, submit({**fields, "partition": "other"}), age_s=None, door="closed")
    assert (shut.code, "can't be read" in shut.told[0], hub.code, away.code) == (2050, True, 0, 0)
    (all_held,) = at_door(job, age_s=None, hold="all")
    assert (all_held.code, all_held.set) == (0, {"admin_comment": OPENED})


@pytest.mark.parametrize("how", LOST)
def test_a_file_that_is_lost_while_the_controller_runs_was_read_before(at_door: Ask, tmp_path: Path, how: str) -> None:
    """What the hub said last holds, until it is as old as a silent hub's."""
    ours, theirs, srun = (
        submit({"account": "p-1"}),
        submit({"account": "site"}),
        submit({"account": "p-1"} | INTERACTIVE),
    )

    def losing(**chosen: Any) -> list[Answer]:
        found = at_door(ours, {"loses": how}, ours, theirs, srun, **chosen)
        lost(tmp_path, "missing")
        return found

    for shut in ("open", "closed"):
        first, after, other, let_in = losing(door=shut)
        assert first.set["admin_comment"] == after.set["admin_comment"] == HELD
        assert (other.set, let_in.code) == ({"licenses": "fabrique_w@fabrique:1"}, 0)
    assert [a.code for a in losing(age_s=61, door="closed")] == [2050, 2050, 0, 2050]
    assert [a.set.get("admin_comment") for a in losing(age_s=61)] == [OPENED, OPENED, None, OPENED]


def test_with_a_lost_file_nobody_changes_their_way_in(at_door: Ask, tmp_path: Path) -> None:
    theirs = {**JOB, "account": "site", "partition": "other", "admin_comment": None}
    into, away = at_door(
        modify({"partition": "gpu"}, theirs), modify({"account": "x"}, theirs), age_s=None, door="closed"
    )
    assert (into.code, away.code) == (2050, 0)
    (held,) = at_door(modify({"priority": INFINITE}, JOB), age_s=None)
    assert held.code == 2050
