"""The door: what `job_submit.lua` does with every sort of submission."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.lua import INFINITE, JOB, NO_VAL, USER, Ask, modify, submit, units

from fabrique.engines.slurm.files import door
from fabrique.engines.slurm.files.door import AccountRoom
from fabrique.engines.slurm.files.render import HELD, OWNER

INTERACTIVE = {"script": None}


# --- batch --------------------------------------------------------------------------------------------------------


def test_a_batch_job_is_held_and_takes_its_watts(at_door: Ask) -> None:
    (one,) = at_door(submit({"account": "P-1", "tres_per_node": "gres:gpu:h100:2", "min_cpus": 16}))
    assert (one.code, one.told) == (0, ())
    assert one.set == {"priority": "0", "licenses": "fabrique_w@fabrique:14", "admin_comment": HELD}


def test_an_owners_own_hold_is_known_from_ours(at_door: Ask) -> None:
    (one,) = at_door(submit({"account": "p-1", "priority": 0}))
    assert one.set["admin_comment"] == OWNER


def test_other_accounts_start_when_they_like_under_the_same_cap(at_door: Ask) -> None:
    other = submit({"account": "site", "tres_per_node": "gpu:2", "licenses": "fabrique_w@fabrique:900,x:1"})
    away = submit({"account": "p-1", "partition": "other", "licenses": "x:1"})
    greedy = submit({"account": "site", "partition": "other", "licenses": "fabrique_w@fabrique:900"})
    assert [a.set for a in at_door(other, away, greedy)] == [
        {"licenses": "x:1,fabrique_w@fabrique:13"}, {}, {"licenses": ""},
    ]  # fmt: skip
    by_default = submit({"default_account": "site", **INTERACTIVE})
    assert [a.set for a in at_door(by_default)] == [{"licenses": "fabrique_w@fabrique:1"}]
    (choice_of,) = at_door(submit({"account": "site", "licenses": "a|b"}))
    assert choice_of.code == 2050


def test_what_nobody_holds_and_draws_more_than_there_is_at_all_is_refused(at_door: Ask) -> None:
    """It would hold every licence, and start alone: above the cap."""
    job = {"tres_per_job": "gpu:8"}  # 4,964 W: fifty licences
    theirs, ours = at_door(submit({"account": "site", **job}), submit({"account": "p-1", **job}), licences=49)
    assert (theirs.code, ours.code) == (2050, 0)
    assert all("5000 W" in line and "4900 W" in line for line in theirs.told) and len(theirs.told) == 2
    (opened,) = at_door(submit({"account": "p-1", **job}), licences=49, age_s=61)
    assert opened.code == 2050
    assert {at_door(submit({"account": "site", **job}), licences=n)[0].code for n in (50, None)} == {0}


@pytest.mark.parametrize("account", ["p-1", "site"])
def test_a_partition_of_whole_nodes_gives_whole_nodes(at_door: Ask, account: str) -> None:
    (one,) = at_door(submit({"account": account, "partition": "whole"}), whole=True)
    assert units(one) == f"fabrique_w@fabrique:{-(-(8 * 620 + 96 * 4) // 100)}"


def test_a_job_of_ours_goes_to_the_hubs_partitions_alone(at_door: Ask) -> None:
    """Where it names others beside them, it could run out of the hub's sight."""
    mixed, ours, theirs, away = at_door(
        submit({"account": "p-1", "partition": "other,flex,gpu"}), submit({"account": "p-1", "partition": "flex,gpu"}),
        submit({"account": "site", "partition": "other,gpu"}), submit({"account": "p-1", "partition": "other"}),
    )  # fmt: skip
    assert mixed.set["partition"] == "flex,gpu"
    assert not [a for a in (ours, theirs, away) if "partition" in a.set]


def test_a_reservations_own_partition_is_the_jobs_where_it_names_none(at_door: Ask) -> None:
    """Held for its account, a job that Slurm puts elsewhere would wait for ever: the hub does not see it."""
    where = [{"reservation": "elsewhere"}, {"reservation": "here"}, {"reservation": "any"}, {"reservation": "no"}]
    answers = at_door(*(submit({"account": "p-1", **one}) for one in where))
    assert [a.set.get("priority") for a in answers] == [None, "0", "0", "0"]
    (named,) = at_door(submit({"account": "p-1", "reservation": "elsewhere", "partition": "gpu"}))
    assert named.set["priority"] == "0"


def test_a_site_may_have_all_held(at_door: Ask) -> None:
    all_of_it = at_door(submit({"account": "site"}), submit({"account": "site", "partition": "other"}), hold="all")
    assert [a.set.get("priority") for a in all_of_it] == ["0", None]


def test_what_the_hub_submits_is_not_held(at_door: Ask) -> None:
    run = {"account": "p-1", "tres_per_job": "gres:gpu:1", "name": f"run-{'0f' * 16}"}
    own, said, anybody = at_door(
        submit(run, uid=990), submit({**run, "licenses": "fabrique_w@fabrique:3"}, uid=0), submit(run)
    )
    assert own.set == {"licenses": "fabrique_w@fabrique:7"}
    assert said.set == {}
    assert anybody.set["priority"] == "0"


def test_who_runs_the_hub_may_type_sbatch_too(at_door: Ask) -> None:
    """On a machine of one's own both are one user."""
    (job,) = at_door(submit({"account": "p-1", "tres_per_job": "gres:gpu:1", "name": "train"}, uid=990))
    assert (job.set["priority"], job.set["admin_comment"]) == ("0", HELD)


@pytest.mark.parametrize(
    ("fields", "watts"),
    [
        ({}, 4),
        ({"tres_per_node": "gres:gpu:h100:2"}, 1244),
        ({"tres_per_node": "gres/gpu:h100=2"}, 1244),
        ({"tres_per_node": "gpu"}, 624),
        ({"gres": "gpu:2(S:0-1)"}, 1244),
        ({"tres_per_node": "gres:gpu:2", "min_nodes": 3, "min_cpus": 3}, 6 * 620 + 12),
        ({"tres_per_job": "gres:gpu:h100:4"}, 4 * 620 + 4),
        ({"tres_per_task": "gres:gpu:1", "num_tasks": 3, "cpus_per_task": 2, "min_cpus": 6}, 3 * 620 + 24),
        ({"tres_per_task": "gres:gpu:1", "ntasks_per_node": 2, "min_nodes": 2}, 4 * 620 + 16),
        ({"tres_per_socket": "gres:gpu:1"}, 8 * 620 + 4),
        ({"tres_per_job": "gres:gpu:16"}, 16 * 620 + 8),
        ({"shared": 0}, 8 * 620 + 96 * 4),
        ({"shared": 0, "min_cpus": 97}, 16 * 620 + 192 * 4),
        ({"tres_per_node": "gpu:2", "num_tasks": 200, "min_cpus": 200}, 6 * 620 + 200 * 4),
        ({"tres_per_node": "gpu:1", "num_tasks": 4, "min_mem_per_cpu": 400_000}, 2 * 620 + 16),
        ({"tres_per_node": "gpu:1", "min_mem_per_node": 400_000}, 624),
        ({"tres_per_job": "gpu:2", "mem_per_tres": "gres:gpu:600000", "shared": 0}, 2 * (8 * 620 + 96 * 4)),
        ({"tres_per_node": "license:x,gres:gpu:1,gres:shard:4"}, 624),
        ({"tres_per_node": "gres:gpux:9"}, 4),
        ({"min_cpus": INFINITE}, 4),
    ],
)
def test_what_is_asked_is_read_however_it_was_written(at_door: Ask, fields: dict[str, Any], watts: int) -> None:
    (one,) = at_door(submit({"account": "p-1", **fields}))
    assert units(one) == f"fabrique_w@fabrique:{-(-watts // 100)}"


SPREAD = {"bitflags": 256 + 64, "num_tasks": 3, "tres_per_node": "gpu:2"}


@pytest.mark.parametrize("more", [{}, INTERACTIVE])
def test_a_spread_job_of_ours_goes_on_the_fewest_nodes_that_it_needs(at_door: Ask, more: dict[str, Any]) -> None:
    """Slurm would give it two devices on each of three nodes, where it shows two."""
    (one,) = at_door(submit({"account": "p-1", **SPREAD, **more}))
    assert (int(float(one.set["bitflags"])), units(one)) == (64, "fabrique_w@fabrique:13")
    (plain,) = at_door(submit({"account": "p-1", **SPREAD, "bitflags": 64, **more}))
    assert "bitflags" not in plain.set


@pytest.mark.parametrize(("tasks", "nodes"), [(3, 3), (9, 4)])
def test_a_spread_job_of_others_takes_licences_for_all_nodes_that_it_may_get(
    at_door: Ask, tasks: int, nodes: int
) -> None:
    (one,) = at_door(submit({"account": "site", **SPREAD, "num_tasks": tasks}))
    assert one.set == {"licenses": f"fabrique_w@fabrique:{-(-(nodes * 2 * 620 + tasks * 4) // 100)}"}


def test_the_overhead_of_the_site_is_in_the_licences_and_own_ones_go(at_door: Ask) -> None:
    asked = {"account": "p-1", "tres_per_job": "gpu:1", "licenses": "matlab:2,fabrique_w@fabrique:0,fabrique_w:1"}
    (one,) = at_door(submit(asked), pue_permille=1100)
    assert units(one) == "matlab:2,fabrique_w@fabrique:7"
    (choice_of,) = at_door(submit({"account": "p-1", "licenses": "a|b"}))
    assert (choice_of.code, len(choice_of.told)) == (2050, 2)
    (without,) = at_door(submit({"account": "p-1"}), licence=None)
    assert "licenses" not in without.set


def test_no_job_is_given_more_licences_than_there_are(at_door: Ask) -> None:
    """Slurm refuses a job that asks more than all of them, and so would a cap that fell for an hour."""
    job = submit({"account": "p-1", "tres_per_job": "gres:gpu:8"})
    assert units(at_door(job, licences=20)[0]) == "fabrique_w@fabrique:20"
    assert units(at_door(job, licences=None)[0]) == ""
    assert units(at_door(modify({"min_nodes": 9}, {**JOB, "licenses": "x:1"}), licences=20)[0]).endswith(":20")


def test_a_licence_stands_for_as_many_watts_as_the_hub_says(at_door: Ask) -> None:
    job = submit({"account": "p-1", "tres_per_job": "gres:gpu:2", "min_cpus": 2})  # 1,248 W
    for each_w, taken in ((100, 13), (10, 125), (1, 624 * 2)):
        assert units(at_door(job, licences=9_000, each_w=each_w)[0]) == f"fabrique_w@fabrique:{taken}"


# --- interactive --------------------------------------------------------------------------------------------------


def test_an_interactive_job_within_the_room_goes_in_at_once(at_door: Ask) -> None:
    (one,) = at_door(submit({"account": "p-1", "tres_per_job": "gres:gpu:2", **INTERACTIVE}))
    assert (one.code, one.set) == (0, {"licenses": "fabrique_w@fabrique:13", "partition": "gpu"})


def test_what_was_let_in_is_not_given_twice_before_the_next_beat(at_door: Ask) -> None:
    job = submit({"account": "p-1", "tres_per_job": "gres:gpu:3", **INTERACTIVE})
    first, second, third = at_door(job, job, job)
    assert (first.code, second.code, third.code) == (0, 0, 2050)
    assert "2 accelerators" in third.told[0]


def test_an_account_may_take_no_more_than_is_free(at_door: Ask) -> None:
    three, nine = (
        submit({"account": "p-1", "partition": "flex", "tres_per_job": f"gres:gpu:{n}", **INTERACTIVE}) for n in (3, 9)
    )
    let_in, refused = at_door(three, nine)
    assert let_in.code == 0
    assert "p-1 may take 1 accelerators" in refused.told[0]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"account": "p-0", "tres_per_job": "gpu:1"}, "p-0 may take 0 accelerators"),
        ({"account": "p-1", "tres_per_job": "gpu:9"}, "p-1 may take 8 accelerators"),
        ({"account": "p-1", "min_cpus": 97}, "p-1 may take 8 accelerators and 96 cores"),
        ({"account": "p-1", "tres_per_job": "gpu:7"}, "4000 W are free now, 7, 1 and 4344 W were asked"),
        ({"account": "p-1", "partition": "flex", "min_cpus": 60}, "50 cores"),
    ],
)
def test_beyond_it_an_interactive_job_is_refused_in_two_languages(
    at_door: Ask, fields: dict[str, Any], words: str
) -> None:
    (one,) = at_door(submit({**fields, **INTERACTIVE}))
    assert one.code == 2050
    assert words in one.told[0] and one.told[0].startswith("Fabrique: ")
    assert one.told[1].startswith("Fabrique\u00a0: ")


def test_it_goes_where_there_is_room(at_door: Ask) -> None:
    (one,) = at_door(submit({"account": "p-1", "partition": "flex,gpu", "min_cpus": 60, **INTERACTIVE}))
    assert (one.code, one.set["partition"]) == (0, "gpu")


def test_an_interactive_job_that_shall_not_start_yet_waits_like_any_other(at_door: Ask) -> None:
    """`srun -H`, `salloc --begin`, `--dependency`: what is free now says nothing of the instant when it may start."""
    kinds: list[dict[str, Any]] = [{"priority": 0}, {"begin_time": 4_000_000_000}, {"dependency": "afterok:7"}]
    held = at_door(*(submit({"account": "p-1", "tres_per_job": "gpu:9", **INTERACTIVE, **kind}) for kind in kinds))
    assert [a.set["admin_comment"] for a in held] == [OWNER, HELD, HELD]
    assert {(a.code, a.set.get("priority", "0")) for a in held} == {(0, "0")}
    past, none = at_door(*(submit({"account": "p-1", "begin_time": t, **INTERACTIVE}) for t in (0, 1_800_000)))
    assert "admin_comment" not in {**past.set, **none.set}


def test_a_heterogeneous_batch_job_is_refused(at_door: Ask) -> None:
    """Slurm releases its parts together, whatever the hub decided on each; and the later parts have no script."""
    part = {"account": "p-1", "tres_per_node": "gpu:1"}
    first, whole, theirs = at_door(
        submit({**part, "het_job_offset": 0}), submit({**part, "het_job_offset": NO_VAL}),
        submit({**part, "account": "site", "het_job_offset": 0}),
    )  # fmt: skip
    assert (first.code, "heterogeneous" in first.told[0]) == (2050, True)
    assert (whole.set["admin_comment"], theirs.set) == (HELD, {"licenses": "fabrique_w@fabrique:7"})
    srun = at_door(*(submit({**part, "het_job_offset": n, "tres_per_node": "gpu:2", **INTERACTIVE}) for n in range(4)))
    assert [a.code for a in srun] == [0, 0, 0, 2050]  # each part is let in as far as there is room


def test_scrontab_is_refused(at_door: Ask) -> None:
    """Slurm puts such a job back itself after each run, with the priority of its release."""
    one, other, plain = at_door(
        submit({"account": "p-1", "cron_job": True}), submit({"account": "site", "cron_job": True}),
        submit({"account": "p-1", "cron_job": False}),
    )  # fmt: skip
    assert (one.code, "scrontab" in one.told[0], "cron_job" in one.set) == (2050, True, False)
    assert (other.code, plain.code) == (0, 0)


def test_under_all_a_stranger_is_told_so(at_door: Ask) -> None:
    (one,) = at_door(submit({"account": "site", **INTERACTIVE}), hold="all")
    assert (one.code, "site is not an account" in one.told[0]) == (2050, True)


# --- nothing breaks -----------------------------------------------------------------------------------------------


def test_an_error_inside_is_logged_and_judged_by_the_door(at_door: Ask, tmp_path: Path) -> None:
    (tmp_path / "job_submit.site.lua").write_text('function slurm_job_submit() error("boom") end\n')
    (through,) = at_door(submit({"account": "p-1"}))
    assert through.set["priority"] == "0"  # the site's failed, ours still judged
    assert any("boom" in line for line in through.told)
    (shut,) = at_door(submit({"account": "p-1"}), door="closed")
    assert shut.code == 2050


def test_a_sites_own_script_is_asked_first(at_door: Ask, tmp_path: Path) -> None:
    site = 'function slurm_job_submit(job) if job.name == "no" then return slurm.ERROR end job.account = "p-1" end\n'
    (tmp_path / "job_submit.site.lua").write_text(site)
    no, yes = at_door(submit({"name": "no"}), submit({"account": "site"}))
    assert (no.code, yes.code, yes.set["account"], yes.set["priority"]) == (-1, 0, "p-1", "0")
    (tmp_path / "job_submit.site.lua").write_text("this is no Lua")
    assert at_door(submit({"account": "p-1"}))[0].set["priority"] == "0"


@pytest.mark.parametrize(
    "fields",
    [
        {"account": "%s%d%n", "partition": "gpu"},
        {"account": "p-1", "tres_per_node": "gpu:99999999999999999999"},
        {"account": "p-1", "tres_per_node": "gpu:-1,,::=,("},
        {"account": "p-1", "licenses": "%d:;,;,=:"},
        {"account": "p-1", "partition": ",,,gpu,"},
        {"account": "p-1", "min_nodes": -5},
        {"user_id": USER, "account": "p-1", "num_tasks": "many"},
    ],
)
def test_hostile_fields_never_raise(at_door: Ask, fields: dict[str, Any]) -> None:
    for hold in ("accounts", "all"):
        for one in at_door(submit(fields), submit({**fields, **INTERACTIVE}), hold=hold):
            assert not any(line.startswith("error") for line in one.told), one.told


def test_a_name_that_could_end_a_line_is_never_written(tmp_path: Path) -> None:
    for name in ("a b", "a\nend", "", "é"):
        with pytest.raises(ValueError, match="name"):
            door.write(tmp_path / "door", 0, [AccountRoom(name, 1, 1)], [])
    assert not (tmp_path / "door").exists()


def test_licences_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    file = tmp_path / "door"
    assert door.licences(file) == door.NONE
    for said in (door.Licences(0, 10), door.Licences(1_470, 10), door.Licences(3_000_000, 1)):
        door.write(file, 0, [], [], said)
        assert door.licences(file) == said
    for line in (
        "licences 5",
        "licences 5 0",
        "licences -5 10",
        "licences ٥ 10",
        "licences 5 10 1",
        "account a 1 1",
        "",
    ):
        file.write_text(f"fabrique-door 1\nbeat 0\n{line}\nend\n")
        assert door.licences(file) == door.NONE, line


def test_a_job_may_draw_what_its_licences_stand_for() -> None:
    there = door.Licences(20, 10)
    assert [there.units(watts) for watts in (0, 1, 10, 11, 200, 1_000)] == [0, 1, 1, 2, 20, 20]


# --- a consent in a comment ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "comment", [None, "mine", "#fabrique tolerance: 10%", "#fabrique tolerance:7.5%", "# fabrique x"]
)
def test_a_consent_that_can_be_read_is_let_in(at_door: Ask, comment: str | None) -> None:
    (one,) = at_door(submit({"account": "p-1", "comment": comment}))
    assert (one.code, one.set["admin_comment"], "comment" in one.set) == (0, HELD, False)


@pytest.mark.parametrize(
    "comment",
    [
        "#fabrique", "#fabrique tolerance: 10", "#fabrique tolerance: 101%", "#fabrique tolerance: 7.55%",
        "#fabrique tolerance: -1%", "#fabrique tolerance: 1e9%", "#fabrique tolerance: 10%%s", "#fabrique power: 1 W",
        "#fabrique tolerance: 10%; #fabrique x: y", "#fabrique tolerance: 000000001%", "#fabriquetolerance: 1%",
    ],
)  # fmt: skip
def test_one_that_can_not_is_refused_with_one_message(at_door: Ask, comment: str) -> None:
    (one,) = at_door(submit({"account": "p-1", "comment": comment}))
    assert (one.code, len(one.told), one.set) == (2050, 2, {})
    assert all(line.endswith("#fabrique tolerance: 10%") for line in one.told)
    (later,) = at_door(modify({"comment": comment}, {"account": "p-1", "partition": "gpu"}))
    assert (later.code, len(later.told), later.set) == (2050, 2, {})
    (other,) = at_door(submit({"account": "site", "comment": comment}))
    assert other.code == 0  # not ours to judge
