"""Slurm's words for one value, and its lists: what each means, and that a sentinel is never a number."""

from __future__ import annotations

import pytest

from fabrique.engines.slurm import documents, names, tres, words
from fabrique.engines.slurm.words import JobWord

UNSET_64, ENDLESS_64 = 2**64 - 2, 2**64 - 1


@pytest.mark.parametrize(
    "written", ["", "(null)", "N/A", "Unknown", "None", -2, "-2", UNSET_64, str(UNSET_64), 2**32 - 2, 0xFFFE, None]
)
def test_what_is_not_set_is_no_number(written: object) -> None:
    assert words.number(written) is None
    assert words.instant_ms(written) is None


@pytest.mark.parametrize("written", ["UNLIMITED", "INFINITE", -1, ENDLESS_64, 2**32 - 1])
def test_what_has_no_end_is_no_number(written: object) -> None:
    assert words.number(written) is None and words.minutes_ms(written) is None


def test_a_number_of_three_states() -> None:
    assert words.number({"set": True, "infinite": False, "number": 7}) == 7
    assert words.number({"set": False, "infinite": False, "number": 7}) is None
    assert words.number({"set": True, "infinite": True, "number": 7}) is None
    assert words.number({"set": True, "infinite": False, "number": UNSET_64}) is None


@pytest.mark.parametrize("written", ["7x", "9" * 40, [], 1.5, b"7"])
def test_what_is_no_number_is_said(written: object) -> None:
    with pytest.raises(ValueError):
        words.number(written)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("5:00", 300), ("1:00:00", 3_600), ("7-00:00:00", 604_800), ("2-03", None), ("00:00:00", 0), ("90", 5_400)],
)
def test_durations(written: str, seconds: int | None) -> None:
    if seconds is None:
        with pytest.raises(ValueError):
            words.duration_ms(written)
    else:
        assert words.duration_ms(written) == seconds * 1000


def test_a_duration_keeps_its_milliseconds_and_may_have_no_end() -> None:
    assert words.duration_ms("00:01.234") == 1_234
    assert words.duration_ms("01:02:03.5") == 3_723_500
    assert words.duration_ms("UNLIMITED") is None and words.duration_ms("N/A") is None


@pytest.mark.parametrize(
    ("written", "word"),
    [
        ("CANCELLED by 1000", JobWord("CANCELLED", frozenset(), "1000")),
        ("CANCELLED by alice", JobWord("CANCELLED", frozenset(), "alice")),
        ("COMPLETING", JobWord("RUNNING", frozenset({"COMPLETING"}))),
        ("CONFIGURING", JobWord("RUNNING", frozenset({"CONFIGURING"}))),
        ("REQUEUE_HOLD", JobWord("PENDING", frozenset({"REQUEUE_HOLD"}))),
        ("RUNNING,COMPLETING", JobWord("RUNNING", frozenset({"COMPLETING"}))),
        (["FAILED", "COMPLETING"], JobWord("FAILED", frozenset({"COMPLETING"}))),
        (["PENDING", "REQUEUED"], JobWord("PENDING", frozenset({"REQUEUED"}))),
        ("OUT_OF_MEMORY", JobWord("OUT_OF_MEMORY")),
    ],
)
def test_states_of_jobs(written: object, word: JobWord) -> None:
    assert words.job_state(written) == word


@pytest.mark.parametrize("written", ["", "DREAMING", None, 3, ["FAILED", 3], []])
def test_an_unknown_state_is_said(written: object) -> None:
    with pytest.raises(ValueError):
        words.job_state(written)


@pytest.mark.parametrize(
    ("written", "more", "state", "flags"),
    [
        ("IDLE+CLOUD+POWERED_DOWN", (), "IDLE", {"CLOUD", "POWERED_DOWN"}),
        ("DOWN*", (), "DOWN", {"NOT_RESPONDING"}),
        ("mixed", ["DRAIN"], "MIXED", {"DRAIN"}),
        (["ALLOCATED", "MAINT"], (), "ALLOCATED", {"MAINTENANCE"}),
        ("IDLE~", (), "IDLE", {"POWERED_DOWN"}),
    ],
)
def test_states_of_nodes(written: object, more: object, state: str, flags: set[str]) -> None:
    assert words.node_state(written, more) == (state, flags)


@pytest.mark.parametrize(
    ("written", "end"),
    [
        ("3:0", (3, None)),
        ("0:9", (None, 9)),
        ("768", (3, None)),
        ("139", (None, 11)),  # a core dump is no part of the signal
        (35_072, (137, None)),
        ("0:0", (0, None)),
        (
            {"status": ["SIGNALED"], "return_code": {"set": False}, "signal": {"id": {"set": True, "number": 10}}},
            (None, 10),
        ),
        ({"status": "SIGNALED", "return_code": None, "signal": {"signal_id": 11, "name": "x"}}, (None, 11)),
        ({"status": ["ERROR"], "return_code": {"set": True, "infinite": False, "number": 4}}, (4, None)),
    ],
)
def test_ends(written: object, end: tuple[int | None, int | None]) -> None:
    assert words.exit_of(written) == end


def test_lists_of_nodes() -> None:
    assert names.nodes("gpu[01-03,9],login1") == ("gpu01", "gpu02", "gpu03", "gpu9", "login1")
    assert names.nodes("r[1-2]n[08-10]") == ("r1n08", "r1n09", "r1n10", "r2n08", "r2n09", "r2n10")
    assert names.nodes("") == ()


@pytest.mark.parametrize(
    "written", ["gpu[1-999999999]", "a[1-3000]b[1-3000]", "gpu[3-1]", "gpu[1", "gpu]1[", "a[b]", "a b", "x" * 300]
)
def test_a_list_that_names_too_much_or_nothing_is_refused(written: str) -> None:
    with pytest.raises(ValueError):
        names.nodes(written)


def test_tasks_of_an_array() -> None:
    assert names.tasks("1-6%2") == ((1, 2, 3, 4, 5, 6), 2)
    assert names.tasks("[1-5,9]") == ((1, 2, 3, 4, 5, 9), None)
    assert names.tasks("0-10:5") == ((0, 5, 10), None)
    for written in ("", "1-2,", "5-1", "...", "12...", "1-3:0", "x,1...", "%3"):
        with pytest.raises(ValueError):
            names.tasks(written)


def test_more_tasks_than_anybody_writes_down_are_told_from_the_first() -> None:
    """A job that can't be read would be seen by nobody, and leave every other's end in doubt."""
    assert names.tasks("4,6,10,12...%7") == ((4, 6, 10), 7)  # REST cuts at 64 signs, in the middle of a number
    many, together = names.tasks("5,0-999999999:3%2")
    assert (len(many), many[:3], together) == (names.MOST, (5, 0, 3), 2)


# --- what is counted: each line of these is a way in which others lost or doubled devices --------------------------


@pytest.mark.parametrize(
    "written",
    [
        "billing=4,cpu=4,gres/gpu:a100=2,mem=8G,node=1",  # only the type is configured
        "billing=4,cpu=4,gres/gpu=2,mem=8G,node=1",  # only the name is
        "billing=4,cpu=4,gres/gpu:a100=2,gres/gpu=2,mem=8G,node=1",  # both: the same two
    ],
)
def test_devices_are_counted_once_whatever_is_configured(written: str) -> None:
    read = tres.read(written)
    assert (read.devices, read.cores, read.memory_mb, read.nodes, read.billing) == (2, 4, 8_192, 1, 4)


def test_several_nodes_are_not_multiplied_again() -> None:
    read = tres.read("billing=64,cpu=64,gres/gpu:h100=16,gres/gpu=16,mem=512G,node=2")
    assert (read.devices, read.nodes, read.memory_mb) == (16, 2, 524_288)


def test_two_types_add_up() -> None:
    assert tres.read("gres/gpu:a100=2,gres/gpu:h100=1").devices == 3


@pytest.mark.parametrize("written", ["-2", str(UNSET_64), "0", "", "n/s"])
def test_energy_that_is_not_set_is_no_energy(written: str) -> None:
    assert tres.millijoules(written) is None
    assert tres.read(f"cpu=1,energy={written},node=1").energy_mj is None


def test_energy_is_joules() -> None:
    assert tres.read("cpu=1,energy=6957,node=1").energy_mj == 6_957_000
    assert tres.millijoules("7.50K") == 7_000_000


def test_licences_are_read_as_both_sides_write_them() -> None:
    assert tres.licences("fabrique_w@fabrique:12,matlab") == {"fabrique_w@fabrique": 12, "matlab": 1}
    assert tres.licences("(null)") == {}
    assert tres.read("cpu=1,license/seat=3").licences == {"seat": 3}


def test_rests_list_says_the_same() -> None:
    listed = [
        {"type": "cpu", "name": None, "id": 1, "count": 4},
        {"type": "mem", "name": "", "id": 2, "count": 8_192},
        {"type": "gres", "name": "gpu", "count": 2},
        {"type": "gres", "name": "gpu:h100", "count": 2},
        {"type": "energy", "count": UNSET_64},
        {"type": "node", "count": 1},
    ]
    assert tres.listed(listed) == tres.read("cpu=4,mem=8G,gres/gpu=2,gres/gpu:h100=2,node=1")


@pytest.mark.parametrize(
    ("said", "alone"), [("NODE", True), ("true", True), ("TOPO", True), ("NO", False), ("USER", False), ("mcs", False)]
)
def test_nodes_that_are_shared_with_some_are_shared(said: str, alone: bool) -> None:
    """`--exclusive=user` lets one's own jobs in: the node's counter counts them all."""
    assert words.whole_nodes(said) is alone
    said_of = {"job_id": 1, "cluster": "lab", "name": "a", "time": {"submission": 1}, "state": {"current": "COMPLETED"}}
    assert documents.record({**said_of, "exclusive": said}).exclusive is alone
    assert documents.record({**said_of, "exclusive": [said]}).exclusive is alone


@pytest.mark.parametrize(
    ("written", "devices"),
    [
        ("", 0), ("N/A", 0), ("gres:gpu:2", 2), ("gres/gpu:h100:1", 1), ("gres/gpu=3", 3), ("gpu", 1), ("gpu:h100", 1),
        ("gpu:1080ti:2", 2), ("gpu:1080ti", 1), ("gpu:2(S:0-1)", 2), ("license:x,gres:gpu:1,gres:shard:4", 1),
        ("gres:gpux:9", 0), ("gpu:h100:2,gpu:a40:1", 3), ("gpu:99999999999", 1),
    ],
)  # fmt: skip
def test_devices_are_read_however_they_were_asked_for(written: str, devices: int) -> None:
    assert tres.devices(written) == devices
