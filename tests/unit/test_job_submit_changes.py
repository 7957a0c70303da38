"""The door: what `job_submit.lua` does with every sort of change."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.lua import INFINITE, JOB, NO_VAL, Ask, modify, submit, units

from fabrique.engines.slurm.files.render import HELD, LET_GO, OPENED, OWNER, held_by_owner

INTERACTIVE = {"script": None}


def test_a_user_does_not_release_what_the_hub_holds(at_door: Ask) -> None:
    one, two, hub = at_door(
        modify({"priority": INFINITE}, JOB),
        modify({"priority": 500}, JOB),
        modify({"priority": INFINITE}, JOB, uid=990),
    )
    assert (one.code, two.code, hub.code, hub.set) == (2050, 2050, 0, {})
    assert "in its turn" in one.told[0]


def test_an_owners_hold_is_theirs_to_end_and_then_the_hubs(at_door: Ask) -> None:
    """In the comment alone: a change by a user can't write the administrator's."""
    own = {**JOB, "admin_comment": OWNER}
    freed, again, held, later = at_door(
        modify({"priority": INFINITE}, own),
        modify({"priority": INFINITE}, {**own, "comment": LET_GO}),
        modify({"priority": 0}, {**JOB, "priority": 9}),
        modify({"priority": INFINITE}, {**JOB, "comment": OWNER}),
    )
    assert (freed.code, freed.set) == (0, {"priority": "0", "comment": LET_GO})
    assert again.code == 2050
    assert (held.code, held.set) == (0, {"comment": OWNER})
    assert (later.code, later.set) == (0, {"priority": "0", "comment": LET_GO})
    assert [held_by_owner(c, a) for c, a in (("", HELD), ("", OWNER), (LET_GO, OWNER), (OWNER, HELD), ("x", ""))] == [
        False, True, False, True, False
    ]  # fmt: skip


def test_the_hubs_reason_in_place_of_the_mark_holds_as_well(at_door: Ask) -> None:
    shown, opened = at_door(
        modify({"priority": INFINITE}, {**JOB, "admin_comment": "fabrique: waits for watts"}),
        modify({"priority": INFINITE}, {**JOB, "admin_comment": OPENED}),
    )
    assert (shown.code, opened.code) == (2050, 0)


def test_a_site_hold_is_slurms_own_affair(at_door: Ask) -> None:
    (one,) = at_door(modify({"priority": INFINITE}, {**JOB, "admin_comment": "by the site"}))
    assert (one.code, one.set) == (0, {})


@pytest.mark.parametrize("licenses", ["", "fabrique_w@fabrique:0", "fabrique_w:1", "fabrique_w@fabrique:1"])
def test_licences_never_get_fewer(at_door: Ask, licenses: str) -> None:
    (one,) = at_door(modify({"licenses": licenses}, JOB))
    assert one.set["licenses"] == "fabrique_w@fabrique:14"
    (more,) = at_door(modify({"licenses": "x:1"}, JOB))
    assert more.set["licenses"] == "x:1,fabrique_w@fabrique:14"


def test_a_job_that_grows_takes_more(at_door: Ask) -> None:
    grown, same, smaller = at_door(
        modify({"min_nodes": 2}, JOB),
        modify({"time_limit": 5, "min_nodes": NO_VAL}, JOB),
        modify({"tres_per_node": "gpu:1"}, JOB),
    )
    assert grown.set == {"licenses": "fabrique_w@fabrique:25"}
    assert same.set == {}
    assert smaller.set == {}  # it keeps what it has
    runs = {**JOB, "account": "site", "admin_comment": None, "priority": 9}
    more, none, elsewhere, whole = at_door(
        modify({"min_nodes": 2}, runs), modify({"licenses": ""}, runs), modify({"name": "x"}, runs),
        modify({"partition": "whole"}, {**JOB, "partition": "gpu"}), whole=True,
    )  # fmt: skip
    assert more.set == {"licenses": "fabrique_w@fabrique:25"} and none.set == {"licenses": "fabrique_w@fabrique:14"}
    assert elsewhere.set == {} and units(whole) == "fabrique_w@fabrique:54"


def test_what_may_start_at_any_moment_does_not_grow(at_door: Ask) -> None:
    """It was let go with what it asked for: more would be at the hub's cost."""
    released = {**JOB, "priority": 4_000_000_000, "time_limit": 60, "num_tasks": 1, "min_nodes": 1}
    more: list[dict[str, Any]] = [
        {"time_limit": 61}, {"time_limit": INFINITE}, {"min_nodes": 2}, {"num_tasks": 500}, {"tres_per_node": "gpu:8"},
        {"cpus_per_task": 90}, {"shared": 0},
    ]  # fmt: skip
    less: list[dict[str, Any]] = [
        {"time_limit": 59}, {"time_limit": NO_VAL}, {"tres_per_node": "gpu:1"}, {"num_tasks": 1}, {"name": "x"},
    ]  # fmt: skip
    refused = at_door(*(modify(change, released) for change in more))
    assert [(a.code, "hold it first" in a.told[0]) for a in refused] == [(2050, True)] * len(more)
    unlimited = at_door(modify({"time_limit": 5}, {**released, "time_limit": NO_VAL}))
    assert unlimited[0].code == 2050
    let = at_door(*(modify(change, released) for change in less))
    let += at_door(*(modify(change, JOB) for change in more), *(modify(change, released, uid=990) for change in more))
    assert {a.code for a in let} == {0}
    theirs = {**released, "account": "site", "admin_comment": None}
    held, gone = at_door(modify({"priority": 0}, released), modify({"time_limit": 90}, theirs))
    assert (held.code, held.set, gone.code) == (0, {"comment": OWNER}, 0)


def test_a_job_that_runs_keeps_its_size(at_door: Ask) -> None:
    """Slurm's accounting would begin a second record of it, for the same time: nobody knows what ran."""
    runs = {**JOB, "priority": 4_000_000_000, "min_nodes": 2, "job_state": 1}
    smaller, waits, named, theirs = at_door(
        modify({"min_nodes": 1}, runs), modify({"min_nodes": 1}, {**runs, "job_state": 0}),
        modify({"name": "x"}, runs), modify({"min_nodes": 1}, {**runs, "account": "site", "admin_comment": None}),
    )  # fmt: skip
    assert (smaller.code, "keeps its size" in smaller.told[0]) == (2050, True)
    assert {a.code for a in (waits, named, theirs)} == {0}


def test_a_requeued_job_is_not_hurried_past_the_hub(at_door: Ask) -> None:
    """Slurm keeps the priority of its release, and a begin some seconds on, in which the hub holds it."""
    again, now = {**JOB, "priority": 4_000_000_000, "restart_cnt": 1}, {"begin_time": 1_800_000_000}
    hurried, held, first, named, hub = at_door(
        modify(now, again), modify(now, {**again, "priority": 0}), modify(now, {**again, "restart_cnt": 0}),
        modify({"begin_time": 0, "name": "x"}, again), modify(now, again, uid=990),
    )  # fmt: skip
    assert (hurried.code, "hold it first" in hurried.told[0]) == (2050, True)
    assert {a.code for a in (held, first, named, hub)} == {0}


def test_a_job_takes_the_fewest_nodes_that_it_asks_for(at_door: Ask) -> None:
    """`-N 1-4`: Slurm would give it four where they are free, and nobody decided on these."""
    ranged = {"account": "p-1", "min_nodes": 1, "max_nodes": 4, "tres_per_node": "gpu:4"}
    batch, alone, open_, other = at_door(
        submit(ranged), submit({**ranged, **INTERACTIVE}), submit({**ranged, "min_nodes": NO_VAL}),
        submit({**ranged, "account": "site"}),
    )  # fmt: skip
    assert batch.set["max_nodes"] == alone.set["max_nodes"] == open_.set["max_nodes"] == "1"
    assert (alone.code, "max_nodes" in other.set) == (0, False)
    exact, silent = at_door(submit({**ranged, "min_nodes": 4}), submit({**ranged, **INTERACTIVE}), age_s=61)
    assert "max_nodes" not in exact.set and silent.set["max_nodes"] == "1"
    wider, both = at_door(
        modify({"max_nodes": 9}, {**JOB, "min_nodes": 2}), modify({"min_nodes": 3, "max_nodes": 9}, JOB)
    )
    assert (wider.set["max_nodes"], both.set["max_nodes"]) == ("2", "3")


def test_tasks_on_nodes_of_their_own_count_with_them(at_door: Ask) -> None:
    (spread,) = at_door(
        submit({"account": "p-1", "num_tasks": 4, "ntasks_per_node": 1, "tres_per_node": "gpu:8", **INTERACTIVE})
    )
    assert spread.code == 2050  # thirty-two devices, and eight may be taken


@pytest.mark.parametrize("change", [{"account": "site"}, {"partition": "other"}, {"partition": "gpu,other"}])
def test_a_job_does_not_walk_out_of_the_door_nor_in(at_door: Ask, change: dict[str, Any]) -> None:
    out, hub = at_door(modify(change, JOB), modify(change, JOB, uid=0))
    assert (out.code, hub.code) == (2050, 0)
    theirs = {**JOB, "account": "site", "admin_comment": None}
    into, around = at_door(modify({"account": "p-1"}, theirs), modify({"partition": "flex"}, theirs))
    assert (into.code, around.code, around.set) == (2050, 0, {})
    coming = {**theirs, "partition": "other", "licenses": None}
    (licensed,) = at_door(modify({"partition": "flex"}, coming))
    assert (licensed.code, units(licensed)) == (0, "fabrique_w@fabrique:13")
