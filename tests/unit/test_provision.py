"""What awards want of Slurm's accounting, and what it takes to get there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit import sacctmgr
from tests.unit.sacctmgr import Book

from fabrique.core import drift, naming
from fabrique.core.booking import Exhaustion, Policy
from fabrique.core.errors import FabriqueError
from fabrique.core.provision import Allocation, Found, Grant, Member, Site, Unseated, Wanted, desired
from fabrique.core.provision_plan import AddAccount, Left, SetAccount, SetDefault, SetUsers, ShareQos, changes
from fabrique.core.units import HOUR_MS, Unit
from fabrique.engines.slurm.administer import Accounting, arguments

H100, CORE = Unit("acc-ms:h100-sxm"), Unit("core-ms:epyc")
NOW = 1_800_000_000_000
SITE = Site(
    "lab",
    "fabrique",
    {"union": "fabrique-union", "national": "fabrique-national"},
    {H100: "gres/gpu:h100", CORE: "cpu"},
)


class InProcess(Accounting):
    """The real reader and writer, over a book in this process."""

    def __init__(self, book: Book) -> None:
        super().__init__("sacctmgr", "/slurm.conf", "lab")
        object.__setattr__(self, "book", book)

    def _run(self, words: Any) -> tuple[int, str, str]:
        code, out, err = self.book.run(list(words))  # type: ignore[attr-defined]
        return code, out, err.strip()


def allocation(project: str = "p-1", **changed: Any) -> Allocation:
    given: dict[str, Any] = {
        "id": f"a-{project}",
        "project": project,
        "pool": "union",
        "mode": "playground",
        "starts_ms": NOW - 1,
        "ends_ms": NOW + 1,
        "open": True,
        "grants": {H100: Grant(100 * HOUR_MS)},
        "account": project,
        "qos": f"{project}-union",
    }
    return Allocation(**(given | changed))


def wanted(*allocations: Allocation, members: dict[str, list[str]] | None = None, now: int = NOW) -> Wanted:
    people = {p: [Member(f"person-{n}", n) for n in names] for p, names in (members or {}).items()}
    return desired(allocations, people, SITE, now)


def applied(book: Book, want: Wanted) -> Found:
    slurm = InProcess(book)
    assert slurm.make(changes(want, slurm.read()).changes) == []
    return slurm.read()


# --- names ----------------------------------------------------------------------------------------------------


def test_a_name_is_lower_case_short_and_plain() -> None:
    assert naming.fill("{organisation}-{project}", {"organisation": "Écolé & Cie", "project": "P-1"}) == "ecole-cie-p-1"
    assert naming.fill("{project}", {"project": "é" * 90}) == "e" * naming.LONGEST
    assert naming.fill("{organisation}", {"organisation": "株式会社"}) == "x"
    with pytest.raises(FabriqueError, match=r"provision\.rule"):
        naming.fill("{login}", {})


def test_two_owners_never_share_a_name_and_a_strangers_is_never_taken() -> None:
    assert naming.choose("a", "one", {}, ()) == "a"
    assert naming.choose("a", "one", {"a": "one"}, {"a"}) == "a"
    assert naming.choose("a", "two", {"a": "one"}, ()) == "a-2"
    assert naming.choose("a", "two", {"a": "one"}, {"a-2"}) == "a-3"
    long = "a" * naming.LONGEST
    assert naming.choose(long, "two", {long: "one"}, ()) == "a" * (naming.LONGEST - 2) + "-2"


@pytest.mark.parametrize("login", ["", "root", "a b", "a|b", "a,b", "-a", "a=b", "é", "x" * 40, "a\nb"])
def test_what_is_no_login_is_named_and_not_invented(login: str) -> None:
    assert naming.login_of(login) is None
    assert wanted(allocation(), members={"p-1": [login, "Alice"]}).accounts["p-1"].users == {"alice": False}
    assert wanted(allocation(), members={"p-1": [login]}).unseated == (Unseated("p-1", f"person-{login}", login),)


# --- limits ---------------------------------------------------------------------------------------------------


def minutes(*allocations: Allocation, **given: Any) -> dict[str, int]:
    return dict(wanted(*allocations, **given).qos["p-1-union"].limits.minutes)


def test_the_limit_is_what_was_granted_and_what_was_given_back() -> None:
    assert minutes(allocation()) == {"gres/gpu:h100": 6000}
    assert minutes(allocation(grants={H100: Grant(1, back=60_000), CORE: Grant(60_001)})) == {
        "cpu": 2,
        "gres/gpu:h100": 2,
    }
    assert minutes(allocation(grants={Unit("acc-ms:other"): Grant(5)})) == {}


def test_the_margin_of_degrade_is_in_it_and_a_share_has_none() -> None:
    degrade = Grant(100 * HOUR_MS, policy=Policy(Exhaustion.DEGRADE, 250))
    assert minutes(allocation(grants={H100: degrade})) == {"gres/gpu:h100": 7500}
    assert minutes(allocation(grants={H100: Grant(5, policy=Policy(Exhaustion.SHARE))})) == {}


def test_what_an_ended_award_used_counts_beside_its_successors_grant() -> None:
    ended = allocation(id="a-0", open=False, grants={H100: Grant(50 * HOUR_MS, used=10 * HOUR_MS)})
    assert minutes(ended, allocation()) == {"gres/gpu:h100": 6600}


def test_without_qos_the_account_carries_the_limit() -> None:
    account = wanted(allocation(qos="")).accounts["p-1"]
    assert (dict(account.limits.minutes), account.qos) == ({"gres/gpu:h100": 6000}, ())


def test_a_mode_that_says_how_long_a_job_may_last_says_so_in_slurm() -> None:
    site = Site("lab", "fabrique", SITE.pools, SITE.tres, {"playground": 90 * 60_000})
    one = desired([allocation()], {}, site, NOW)
    assert one.qos["p-1-union"].limits.wall == 90
    both = desired([allocation(), allocation(id="b", mode="large_scale")], {}, site, NOW)
    assert both.qos["p-1-union"].limits.wall is None


def test_what_has_not_begun_opens_nothing_and_what_is_over_closes() -> None:
    assert wanted(allocation(starts_ms=NOW + 1)).accounts == {}
    assert wanted(allocation(ends_ms=NOW)).accounts["p-1"].limits.closed is True
    assert wanted(allocation(open=False)).qos["p-1-union"].limits.closed is True
    two = wanted(allocation(open=False), allocation(id="b", pool="national", qos="p-1-national"))
    assert (two.accounts["p-1"].limits.closed, two.accounts["p-1"].qos) == (False, ("p-1-national",))
    assert two.qos["p-1-union"].limits.closed is True


# --- changes --------------------------------------------------------------------------------------------------


def test_applied_and_read_again_nothing_is_left_to_do() -> None:
    want = wanted(allocation(), allocation("p-2", qos=""), members={"p-1": ["alice", "bob"], "p-2": ["alice"]})
    found = applied(book := Book(), want)
    assert changes(want, found) == changes(want, found).__class__((), ())
    assert book.state["users"] == {"root": "root", "alice": "p-1", "bob": "p-1"}
    assert len([c for c in book.calls if c[0] == "-i"]) == 1 + 3 + 2 + 2  # a QoS, frames, accounts, people


def test_the_end_of_an_award_closes_and_deletes_nothing() -> None:
    book = Book()
    applied(book, wanted(allocation(), members={"p-1": ["alice"]}))
    over = wanted(allocation(open=False), members={"p-1": ["alice"]})
    applied(book, over)
    account = book.state["accounts"]["p-1"]
    assert (account["grpjobs"], account["grpsubmitjobs"], list(account["users"])) == ("0", "0", ["alice"])
    assert not any("delete" in c or "remove" in c for c in book.calls)
    applied(book, wanted(allocation(), members={"p-1": ["alice"]}))
    assert "grpjobs" not in book.state["accounts"]["p-1"]


def test_a_default_account_elsewhere_stays_and_a_closed_one_of_ours_moves() -> None:
    book = Book()
    book.run(["-i", "add", "account", "name=site", "cluster=lab", "parent=root"])
    book.run(["-i", "add", "user", "name=carol", "account=site", "cluster=lab"])
    both = {"p-1": ["carol", "dan"], "p-2": ["dan"], "p-3": ["erin"]}
    applied(book, wanted(allocation(), allocation("p-2"), allocation("p-3"), members=both))
    assert (book.state["users"]["carol"], book.state["users"]["dan"]) == ("site", "p-1")
    book.run(["-i", "add", "user", "name=erin", "account=site", "cluster=lab"])
    ended = [allocation(open=False), allocation("p-2"), allocation("p-3", open=False)]
    applied(book, wanted(*ended, members=both))
    assert book.state["users"] == {"root": "root", "carol": "site", "dan": "p-2", "erin": "site"}


def test_a_default_moves_before_its_account_closes() -> None:
    book = Book()
    both = {"p-1": ["dan"], "p-2": ["dan"]}
    found = applied(book, wanted(allocation(), allocation("p-2"), members=both))
    plan = changes(wanted(allocation(open=False), allocation("p-2"), members=both), found).changes
    kinds = [type(c).__name__ for c in plan]
    assert SetDefault("dan", "p-2") in plan
    assert kinds.index("SetDefault") < kinds.index("SetAccount")


def test_who_left_is_closed_out_and_who_comes_back_is_let_in() -> None:
    book = Book()
    applied(book, wanted(allocation(), members={"p-1": ["alice", "bob"]}))
    found = applied(book, wanted(allocation(), members={"p-1": ["alice"]}))
    assert found.accounts["p-1"].users == {"alice": False, "bob": True}
    plan = changes(wanted(allocation(), members={"p-1": ["alice", "bob"]}), found).changes
    assert plan == (SetUsers("p-1", ("bob",), closed=False),)


def test_the_sites_own_limits_stay_and_ours_are_set_again() -> None:
    book = Book()
    want = wanted(allocation(), members={"p-1": ["alice"]})
    applied(book, want)
    book.state["accounts"]["p-1"] |= {"grpjobs": "50"}
    assert changes(want, InProcess(book).read()).changes == ()
    book.state["qos"]["p-1-union"] |= {"grptresmins": {"gres/gpu:h100": 9, "cpu": 3}, "nodecay": False}
    found = applied(book, want)
    assert found.qos["p-1-union"].limits.minutes == {"gres/gpu:h100": 6000}
    assert found.qos["p-1-union"].decays is False


def test_a_user_s_own_qos_is_a_way_round_the_budget_and_is_taken_back() -> None:
    book = Book()
    want = wanted(allocation(), allocation("p-2", qos=""), members={"p-1": ["alice", "bob"], "p-2": ["alice"]})
    applied(book, want)
    for account in ("p-1", "p-2"):  # where the site gives no QoS of ours, they are its own affair
        book.state["accounts"][account]["users"]["alice"] |= {"qos": ["normal", "p-1-union"]}
    slurm = InProcess(book)
    assert changes(want, slurm.read()).changes == (ShareQos("p-1", ("alice",), ("p-1-union",)),)
    (found,) = drift.drift(want, want, slurm.read())[0]
    assert found == drift.Drift(
        drift.Step("user", "alice", "p-1 qos", "p-1-union", "normal,p-1-union"), mended="p-1-union"
    )
    applied(book, want)
    assert changes(want, slurm.read()).changes == ()
    assert "qos" not in book.state["accounts"]["p-1"]["users"]["alice"]


def test_a_name_outside_our_account_is_never_touched() -> None:
    book = Book()
    book.run(["-i", "add", "account", "name=p-1", "cluster=lab", "parent=root"])
    plan = changes(wanted(allocation(), members={"p-1": ["alice"]}), InProcess(book).read())
    assert plan.left == (Left("outside", "p-1", "root"),)
    assert not [c for c in plan.changes if "p-1" in arguments(c, "lab")[2].split("=")]
    assert {type(c) for c in plan.changes if getattr(c, "account", "") == "p-1"} == set()


def test_an_account_of_ours_that_a_hand_moved_out_is_drift_and_comes_back() -> None:
    """Else the end of its award would not close it: it is ours, for we had it inside."""
    book = Book()
    want = wanted(allocation(), members={"p-1": ["alice"]})
    applied(book, want)
    had = {*want.accounts, *want.frames}
    book.state["accounts"]["p-1"]["parent"] = "root"
    found, left = drift.drift(want, want, InProcess(book).read(), had)
    assert [(d.step.field, d.step.before, d.step.after, d.mended) for d in found] == [
        ("parent", "fabrique-union", "root", "fabrique-union")
    ]
    assert left == ()
    over = wanted(allocation(open=False), members={"p-1": ["alice"]})
    slurm = InProcess(book)
    assert slurm.make(changes(over, slurm.read(), had).changes) == []
    account = book.state["accounts"]["p-1"]
    assert (account["parent"], account["grpsubmitjobs"]) == ("fabrique-union", "0")
    book.state["accounts"]["fabrique-union"]["parent"] = "root"
    assert changes(over, slurm.read(), had).changes == (SetAccount("fabrique-union", parent="fabrique"),)


def test_what_the_hub_did_not_make_inside_is_said_and_left() -> None:
    book = Book()
    want = wanted(allocation())
    applied(book, want)
    book.run(["-i", "add", "account", "name=mine", "cluster=lab", "parent=p-1"])
    book.run(["-i", "add", "user", "name=zoe", "account=fabrique-union", "cluster=lab"])
    plan = changes(want, InProcess(book).read())
    assert plan.changes == ()
    assert set(plan.left) == {Left("stranger", "mine", "p-1"), Left("stranger-user", "zoe", "fabrique-union")}


def test_an_account_moved_inside_comes_back_to_its_pool() -> None:
    book = Book()
    want = wanted(allocation())
    applied(book, want)
    book.state["accounts"]["p-1"]["parent"] = "fabrique-national"
    assert changes(want, InProcess(book).read()).changes == (SetAccount("p-1", parent="fabrique-union"),)


def test_a_circle_of_parents_ends() -> None:
    book = Book()
    applied(book, wanted(allocation()))
    book.state["accounts"]["fabrique"]["parent"] = "p-1"
    assert changes(wanted(allocation()), InProcess(book).read()).changes == ()


# --- drift ----------------------------------------------------------------------------------------------------


def test_drift_tells_a_hand_from_an_award() -> None:
    book = Book()
    before = wanted(allocation(), members={"p-1": ["alice"]})
    applied(book, before)
    book.state["qos"]["p-1-union"]["grptresmins"] = {"gres/gpu:h100": 9}
    after = wanted(allocation(grants={H100: Grant(200 * HOUR_MS)}), members={"p-1": ["alice", "bob"]})
    kept = drift.from_json(json.loads(json.dumps(drift.as_json(before))))
    assert kept == before
    found, left = drift.drift(kept, after, InProcess(book).read())
    assert [(d.step.sort, d.step.name, d.step.field, d.step.before, d.step.after, d.mended) for d in found] == [
        ("qos", "p-1-union", "gres/gpu:h100 minutes", "6000", "9", "12000")
    ]
    assert left == ()


# --- sacctmgr -------------------------------------------------------------------------------------------------


def test_lines_of_another_shape_are_kept_and_stop_nothing() -> None:
    class Hostile(Book):
        def run(self, words: list[str]) -> tuple[int, str, str]:
            code, out, err = super().run(words)
            return code, out + "evil|root\n|||||||||||\n" if words[3:4] == ["assoc"] else out, err

    found = InProcess(Hostile()).read()
    assert (set(found.accounts), found.unread) == ({"root"}, ("evil|root", "|||||||||||"))


@pytest.mark.parametrize("name", ["a b", "a,b", "a|b", "a=b", "", "a'b", 'a"b', "a\nb"])
def test_a_name_that_sacctmgr_would_read_otherwise_never_gets_there(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        arguments(AddAccount(name, "fabrique"), "lab")


def test_one_refusal_stops_no_other_and_is_told() -> None:
    book = Book()
    book.state["deny"] = ["name=p-1-union"]
    slurm = InProcess(book)
    want = wanted(allocation(), allocation("p-2"), members={"p-2": ["alice"]})
    refused = slurm.make(changes(want, slurm.read()).changes)
    assert [(r.change.__class__.__name__, r.why) for r in refused] == [
        ("AddQos", "sacctmgr: error: Access/permission denied"),
        ("AddAccount", "sacctmgr: error: unknown QOS p-1-union"),
    ]
    assert slurm.read().accounts["p-2"].users == {"alice": False}


def test_a_program_that_does_not_answer_is_said_and_what_follows_is_not_tried(tmp_path: Path) -> None:
    slow = tmp_path / "sacctmgr"
    slow.write_text("#!/bin/sh\nexec sleep 5\n")
    slow.chmod(0o755)
    slurm = Accounting(str(slow), str(slow), "lab", timeout_s=0.2)
    with pytest.raises(FabriqueError, match=r"engine\.unavailable"):
        slurm.read()
    two = slurm.make([AddAccount("a", "root"), AddAccount("b", "root")])
    assert [r.tried for r in two] == [True, False]


def test_a_conf_that_is_not_there_is_said_at_once(tmp_path: Path) -> None:
    program = sacctmgr.install(tmp_path)
    with pytest.raises(FabriqueError, match="is not there"):
        Accounting(str(program), "/none", "lab").read()
    assert sacctmgr.calls(tmp_path) == []


def test_through_a_real_process(tmp_path: Path) -> None:
    program = sacctmgr.install(tmp_path)
    slurm = Accounting(str(program), str(program), "lab")
    want = wanted(allocation(), members={"p-1": ["alice"]})
    assert slurm.make(changes(want, slurm.read()).changes) == []
    assert changes(want, slurm.read()).changes == ()
    assert slurm.set_watts("fabrique_w", 40) == 40
    assert slurm.set_watts("fabrique_w", 30) == 30
    assert slurm.licences("fabrique_w") == 30
    assert slurm.licences("other") is None
