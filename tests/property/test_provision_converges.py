"""Whatever was there and whatever was awarded: applied once, nothing is left to do; outside nothing moved."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.sacctmgr import Book
from tests.unit.test_provision import H100, NOW, InProcess, allocation, wanted

from fabrique.core.provision import Allocation, Grant
from fabrique.core.provision_plan import changes
from fabrique.core.units import HOUR_MS

PROJECTS = ("p-1", "p-2", "p-3")
LOGINS = ("alice", "bob", "carol", "dan")


@st.composite
def awards(draw: st.DrawFn) -> tuple[list[Allocation], dict[str, list[str]]]:
    made = []
    for number in range(draw(st.integers(0, 5))):
        project, pool = draw(st.sampled_from(PROJECTS)), draw(st.sampled_from(("union", "national")))
        made.append(
            allocation(
                project,
                id=f"a-{number}",
                pool=pool,
                open=draw(st.booleans()),
                starts_ms=NOW + draw(st.sampled_from((-5, 5))),
                qos=draw(st.sampled_from(("", f"{project}-{pool}"))),
                grants={H100: Grant(draw(st.integers(1, 9)) * HOUR_MS, used=HOUR_MS, back=draw(st.integers(0, 3)))},
            )
        )
    members = {p: draw(st.lists(st.sampled_from(LOGINS), unique=True)) for p in PROJECTS}
    return made, members


@st.composite
def hands(draw: st.DrawFn) -> list[tuple[str, str, Any]]:
    """What people did by hand in between."""
    acts = st.one_of(
        st.tuples(st.just("close"), st.sampled_from(PROJECTS), st.sampled_from(("grpjobs", "grpsubmitjobs"))),
        st.tuples(st.just("seat"), st.sampled_from(PROJECTS), st.sampled_from(LOGINS)),
        st.tuples(st.just("qos"), st.sampled_from(PROJECTS), st.sampled_from(LOGINS)),
        st.tuples(st.just("drop"), st.sampled_from(PROJECTS), st.sampled_from(LOGINS)),
        st.tuples(st.just("default"), st.sampled_from(("site", *PROJECTS)), st.sampled_from(LOGINS)),
        st.tuples(st.just("minutes"), st.sampled_from(PROJECTS), st.sampled_from(("cpu", "gres/gpu"))),
        st.tuples(st.just("move"), st.sampled_from(PROJECTS), st.sampled_from(("fabrique", "root", "fabrique-union"))),
    )
    return draw(st.lists(acts, max_size=6))


def by_hand(book: Book, acts: list[tuple[str, str, Any]]) -> None:
    for act, name, what in acts:
        account = book.state["accounts"].get(name)
        if account is None:
            continue
        if act == "close":
            account[what] = "0"
        elif act == "seat":
            book.run(["-i", "add", "user", f"name={what}", f"account={name}", "cluster=lab"])
        elif act == "qos" and what in account["users"]:
            account["users"][what]["qos"] = ["normal"]
        elif act == "drop" and account["users"].pop(what, None) is not None and book.state["users"].get(what) == name:
            book.state["users"][what] = ""
        elif act == "default" and what in account["users"]:
            book.state["users"][what] = name
        elif act == "minutes":
            account.setdefault("grptresmins", {})[what] = 7
        elif act == "move" and what in book.state["accounts"] and name != what:
            account["parent"] = what


def outside(book: Book) -> dict[str, Any]:
    inside = InProcess(book).read().inside("fabrique")
    return copy.deepcopy({n: a for n, a in book.state["accounts"].items() if n not in inside})


@settings(max_examples=100)
@given(awards(), hands(), awards(), hands())
def test_one_apply_reaches_it_and_nobody_is_locked_out(
    first: tuple[list[Allocation], dict[str, list[str]]],
    between: list[tuple[str, str, Any]],
    second: tuple[list[Allocation], dict[str, list[str]]],
    then: list[tuple[str, str, Any]],
) -> None:
    book = Book()
    book.run(["-i", "add", "account", "name=site", "cluster=lab", "parent=root"])
    book.run(["-i", "add", "user", "name=carol,dan", "account=site", "cluster=lab"])
    slurm = InProcess(book)
    slurm.make(changes(wanted(*first[0], members=first[1]), slurm.read()).changes)
    for (made, members), acts in ((first, between), (second, then)):
        by_hand(book, acts)
        want = wanted(*made, members=members)
        before, untouched = slurm.read(), outside(book)
        assert slurm.make(changes(want, before).changes) == []
        found = slurm.read()
        assert changes(want, found).changes == ()
        assert {n: a for n, a in book.state["accounts"].items() if n in untouched} == untouched
        away = {item.name for item in changes(want, found).left if item.why == "outside"}
        for login in LOGINS:
            open_ones = [a.name for a in want.accounts.values() if login in a.users and a.name not in away]
            default = found.defaults.get(login)
            if before.defaults.get(login) == "site":
                assert default == "site"
            elif open_ones:  # theirs works: open to them, or none of ours
                assert default in open_ones or (default is not None and default not in set(want.accounts) - away)
        for name, qos in want.qos.items():
            assert found.qos[name].limits == qos.limits
        for name, account in want.accounts.items():
            if name not in away:
                assert found.accounts[name].limits == account.limits
                assert account.limits.closed or {
                    u for u, shut in found.accounts[name].users.items() if not shut
                } == set(account.users)
