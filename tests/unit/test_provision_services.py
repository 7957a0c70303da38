"""From awards in the tables to accounts in Slurm: names that stay, budgets from the ledger, rights, records."""

from __future__ import annotations

import json
from pathlib import Path, PosixPath
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit import sacctmgr
from tests.unit.sacctmgr import Book
from tests.unit.test_access_services import T0, apply
from tests.unit.test_deployment import CLUSTER, NODES

from fabrique.apps.access import services as access
from fabrique.apps.access.models import Allocation
from fabrique.apps.audit.models import Record
from fabrique.apps.ledger import services as ledger
from fabrique.apps.people import rights
from fabrique.apps.people import services as people
from fabrique.apps.people.models import Person, Role
from fabrique.apps.provision import services
from fabrique.apps.provision.models import GivenName, Place
from fabrique.core import booking
from fabrique.core.errors import FabriqueError
from fabrique.core.naming import Naming
from fabrique.core.units import HOUR_MS, Amount, Unit
from fabrique.engines.slurm.files import door
from fabrique.operate import provision

CPU = Unit("core-ms:local-core")
pytestmark = pytest.mark.django_db


@pytest.fixture
def operator(here: Any) -> Person:
    person = people.create_person("Olive", "olive@provision.example", now=T0)
    people.grant_role(person, Role.OPERATOR, people.create_organisation("Room", "operator", "CA", now=T0), now=T0)
    return person


def project(name: str, login: str = "") -> Allocation:
    person = people.create_person(name, f"{name}@provision.example", now=T0, login=login)
    return Allocation.objects.get(award__application=apply(person))


def hub(folder: Path, **changed: Any) -> Any:
    """A hub on a cluster whose `sacctmgr` is in `folder`."""
    nodes = NODES.model_copy(update={"core_kind": "local-core"})
    given = {
        "bin": str(folder),
        "conf": str(folder / "sacctmgr"),
        "partitions": (nodes,),
        "qos": "{project}-{pool}",
        **changed,
    }
    return SimpleNamespace(deployment=SimpleNamespace(cluster=CLUSTER.model_copy(update=given)), home=folder)


def book(folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads((folder / "book.json").read_text())
    return state


def test_an_award_becomes_an_account_with_its_members_and_its_budget(tmp_path: Path, operator: Person) -> None:
    sacctmgr.install(tmp_path)
    a = project("ana", "ana")
    done = provision.apply(hub(tmp_path), operator, now=T0)
    code, state = a.project.code, book(tmp_path)
    assert (done.refused, done.left) == ([], ())
    assert state["accounts"][code] == {
        "parent": "fabrique-startup", "users": {"ana": {}}, "qos": [f"{code}-startup"], "defaultqos": f"{code}-startup"
    }  # fmt: skip
    assert state["qos"][f"{code}-startup"] == {"nodecay": True, "grptresmins": {"cpu": 600}}
    assert state["users"]["ana"] == code
    assert provision.prepare(hub(tmp_path), operator, now=T0).plan.changes == ()
    assert services.place_of("lab", a.id) == (code, f"{code}-startup")
    assert services.accounts_of("lab") == {code: a.project_id}
    record = Record.objects.get(action="cluster.apply")
    assert (record.actor, record.subject) == (str(operator.id), "engine:lab")
    assert ["user", "ana", code, None, "open"] in record.detail["steps"]


def test_the_door_knows_an_account_before_slurm_does(
    tmp_path: Path, operator: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the first jobs of a new project would start with nobody's word."""
    sacctmgr.install(tmp_path)
    project("proteins", "ada")
    file = tmp_path / door.STATE
    door.write(file, T0, [], [])
    told: list[str] = []
    make = provision._make
    monkeypatch.setattr(provision, "_make", lambda *given: (told.append(file.read_text()), make(*given))[1])
    provision.apply(hub(tmp_path), operator, now=T0)
    (account,) = Place.objects.values_list("account__name", flat=True)
    assert f"account {account} 0 0\nend\n" in told[0]


def test_a_plan_writes_nothing_anywhere(tmp_path: Path, operator: Person) -> None:
    sacctmgr.install(tmp_path)
    project("ana", "ana")
    before = book(tmp_path)
    assert provision.prepare(hub(tmp_path), operator, now=T0).steps
    assert provision.look_for_drift(hub(tmp_path), operator, now=T0) is None
    assert book(tmp_path) == before
    assert {call[:3] == ["-n", "-P", "show"] for call in (tuple(c[:3]) and c for c in sacctmgr.calls(tmp_path))} == {
        True
    }
    assert not GivenName.objects.exists() and not Place.objects.exists()
    assert not Record.objects.filter(action="cluster.apply").exists()


def test_the_operator_alone_may(tmp_path: Path, operator: Person) -> None:
    sacctmgr.install(tmp_path)
    ana = people.create_person("Ana", "ana@provision.example", now=T0)
    for act in (provision.prepare, provision.apply, provision.look_for_drift):
        with pytest.raises(FabriqueError, match=r"right\.denied"):
            act(hub(tmp_path), ana, now=T0)
    assert sacctmgr.calls(tmp_path) == []
    assert rights.ACTIONS["cluster.provision"].allowed == (Role.OPERATOR,)
    with pytest.raises(FabriqueError, match=r"provision\.none"):
        provision.prepare(SimpleNamespace(deployment=SimpleNamespace(cluster=None)), operator, now=T0)  # type: ignore[arg-type]


def test_names_given_stay_when_the_rule_changes(tmp_path: Path, operator: Person) -> None:
    sacctmgr.install(tmp_path)
    first = project("ana", "ana")
    provision.apply(hub(tmp_path), operator, now=T0)
    second = project("bea", "bea")
    provision.apply(hub(tmp_path, accounts="x-{project}", qos=""), operator, now=T0)
    assert services.place_of("lab", first.id) == (first.project.code, f"{first.project.code}-startup")
    assert services.place_of("lab", second.id) == (f"x-{second.project.code}", None)


def test_a_rule_for_qos_that_comes_later_gives_them_to_what_has_none(tmp_path: Path, operator: Person) -> None:
    sacctmgr.install(tmp_path)
    a = project("ana", "ana")
    code = a.project.code
    provision.apply(hub(tmp_path, qos=""), operator, now=T0)
    assert services.place_of("lab", a.id) == (code, None)
    done = provision.apply(hub(tmp_path), operator, now=T0)
    assert (services.place_of("lab", a.id), done.refused) == ((code, f"{code}-startup"), [])
    assert book(tmp_path)["qos"][f"{code}-startup"]["grptresmins"] == {"cpu": 600}
    account = book(tmp_path)["accounts"][code]
    assert (account["qos"], account["grptresmins"]) == ([f"{code}-startup"], {})
    assert provision.prepare(hub(tmp_path), operator, now=T0).plan.changes == ()


def test_two_projects_never_share_a_name(tmp_path: Path, operator: Person) -> None:
    sacctmgr.install(tmp_path)
    a, b = project("ana", "ana"), project("bea", "bea")
    provision.apply(hub(tmp_path, accounts="{mode}", qos="{pool}"), operator, now=T0)
    places = [services.place_of("lab", x.id) for x in (a, b)]
    assert sorted(p[0] for p in places if p) == ["lasalle-startup", "lasalle-startup-2"]
    assert sorted(p[1] or "" for p in places if p) == ["startup", "startup-2"]
    with pytest.raises(FabriqueError, match=r"provision\.rule"):
        services.names("other", Naming("{login}"), services.Taken(), units={CPU}, now=T0)


def test_a_strangers_account_or_qos_is_gone_round(tmp_path: Path, operator: Person) -> None:
    a = project("ana", "ana")
    theirs = Book()
    theirs.run(["-i", "add", "account", f"name={a.project.code}", "cluster=lab", "parent=root"])
    theirs.run(["-i", "add", "qos", f"name={a.project.code}-startup"])
    sacctmgr.install(tmp_path, theirs)
    provision.apply(hub(tmp_path), operator, now=T0)
    assert services.place_of("lab", a.id) == (f"{a.project.code}-2", f"{a.project.code}-startup-2")
    assert book(tmp_path)["accounts"][a.project.code] == {"parent": "root", "users": {}}


def test_an_account_moved_out_by_hand_is_ours_and_one_that_never_was_is_not(tmp_path: Path, operator: Person) -> None:
    sacctmgr.install(tmp_path)
    ours, never = project("ana", "ana"), project("bea", "bea")
    services.keep("lab", services.Names({never.id: (never.project.code, "")}, {}), now=T0)  # then somebody was faster
    state = Book()
    state.run(["-i", "add", "account", f"name={never.project.code}", "cluster=lab", "parent=root"])
    sacctmgr.install(tmp_path, state)
    provision.apply(hub(tmp_path), operator, now=T0)
    moved = book(tmp_path)
    moved["accounts"][ours.project.code]["parent"] = "root"
    sacctmgr.install(tmp_path, Book(moved))
    found = provision.look_for_drift(hub(tmp_path), operator, now=T0)
    assert found is not None
    assert [(d.step.name, d.mended) for d in found.differences] == [(ours.project.code, "fabrique-startup")]
    done = provision.apply(hub(tmp_path), operator, now=T0)
    assert [(x.why, x.name) for x in done.left] == [("outside", never.project.code)]
    parents = {n: a["parent"] for n, a in book(tmp_path)["accounts"].items()}
    assert (parents[ours.project.code], parents[never.project.code]) == ("fabrique-startup", "root")


def test_hours_given_back_raise_the_limit_and_never_lower_it(tmp_path: Path, operator: Person) -> None:
    sacctmgr.install(tmp_path)
    a = project("ana", "ana")
    name = str(a.id)
    hold, used = {CPU: 2 * HOUR_MS}, {CPU: HOUR_MS}
    held = booking.hold(name, [Amount(CPU, 2 * HOUR_MS)], ledger.policies(name), ledger.balance, "r")
    ledger.write("hold", {"run": "r"}, held, now=T0)
    ledger.write("debit", {"run": "r"}, booking.debit(name, a.pool, hold, used, "r", {}), now=T0)
    ledger.write("refund", {"run": "r"}, booking.refund(name, a.pool, [Amount(CPU, HOUR_MS)], [CPU], "r", {}), now=T0)
    provision.apply(hub(tmp_path), operator, now=T0)
    assert book(tmp_path)["qos"][f"{a.project.code}-startup"]["grptresmins"] == {"cpu": 660}


def test_the_loop_follows_awards_and_leaves_hands_alone(tmp_path: Path, operator: Person) -> None:
    sacctmgr.install(tmp_path)
    a = project("ana", "ana")
    assert provision.follow(hub(tmp_path), now=T0) is None  # nobody applied yet
    provision.apply(hub(tmp_path), operator, now=T0)
    calls = len(sacctmgr.calls(tmp_path))
    assert provision.follow(hub(tmp_path), now=T0) is None
    assert len(sacctmgr.calls(tmp_path)) == calls  # nothing to do: Slurm isn't asked
    state = book(tmp_path)
    state["qos"][f"{a.project.code}-startup"]["grptresmins"]["cpu"] = 7
    (tmp_path / "book.json").write_text(json.dumps(state))
    b = project("bea", "bea")
    done = provision.follow(hub(tmp_path), now=T0)
    assert done is not None and done.refused == []
    state = book(tmp_path)
    assert state["accounts"][b.project.code]["users"] == {"bea": {}}
    assert state["qos"][f"{a.project.code}-startup"]["grptresmins"] == {"cpu": 7}
    drifted = provision.look_for_drift(hub(tmp_path), operator, now=T0)
    assert drifted is not None
    assert [(d.step.field, d.step.before, d.step.after, d.mended) for d in drifted.differences] == [
        ("cpu minutes", "600", "7", "600")
    ]


def test_the_end_of_an_award_closes_its_account(tmp_path: Path, operator: Person) -> None:
    sacctmgr.install(tmp_path)
    a = project("ana", "ana")
    provision.apply(hub(tmp_path), operator, now=T0)
    access.end_allocations(now=a.ends_ms)
    done = provision.follow(hub(tmp_path), now=a.ends_ms)
    assert done is not None
    account = book(tmp_path)["accounts"][a.project.code]
    assert (account["grpjobs"], account["grpsubmitjobs"], account["users"]) == ("0", "0", {"ana": {}})


class TheHubs(PosixPath):
    """A home of another user than root."""

    def stat(self, **_: Any) -> Any:
        return SimpleNamespace(st_uid=990)


def test_a_hub_that_submits_for_everybody_has_a_seat_everywhere(
    tmp_path: Path, operator: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    sacctmgr.install(tmp_path)
    a = project("ana", "ana")
    owner = SimpleNamespace(pw_name="fabrique")
    monkeypatch.setattr(provision, "pwd", SimpleNamespace(getpwuid=lambda _uid: owner))
    for run_as, users in (("own", {"ana", "fabrique"}), ("login", {"ana"})):
        here = hub(tmp_path, run_as=run_as)
        here.home = TheHubs(tmp_path)
        provision.apply(here, operator, now=T0)
        seats = book(tmp_path)["accounts"][a.project.code]["users"]
        assert {login for login, seat in seats.items() if seat.get("maxjobs") != "0"} == users


def test_who_has_no_login_is_named(tmp_path: Path, operator: Person) -> None:
    sacctmgr.install(tmp_path)
    a = project("ana")
    found = provision.prepare(hub(tmp_path), operator, now=T0)
    assert [(u.project, u.login) for u in found.wanted.unseated] == [(a.project.code, "")]
    assert provision.apply(hub(tmp_path), operator, now=T0).refused == []
    assert book(tmp_path)["accounts"][a.project.code]["users"] == {}


def test_a_refusal_is_told_and_the_rest_is_made(tmp_path: Path, operator: Person) -> None:
    a, b = project("ana", "ana"), project("bea", "bea")
    deny = Book()
    deny.state["deny"] = [f"name={a.project.code} "]
    sacctmgr.install(tmp_path, deny)
    done = provision.apply(hub(tmp_path), operator, now=T0)
    assert {r.why for r in done.refused} >= {"sacctmgr: error: Access/permission denied"}
    assert book(tmp_path)["accounts"][b.project.code]["users"] == {"bea": {}}
    assert a.project.code not in {s.name for s in done.steps if s.sort == "account"}
    assert Record.objects.get(action="cluster.apply").detail["refused"] == len(done.refused)


def test_the_loop_does_so_much_at_a_time_and_ends_with_all(
    tmp_path: Path, operator: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    sacctmgr.install(tmp_path)
    provision.apply(hub(tmp_path), operator, now=T0)
    monkeypatch.setattr(provision, "AT_ONCE", 2)
    a = project("ana", "ana")
    turns = 0
    while provision.follow(hub(tmp_path), now=T0) is not None:
        turns += 1
        assert turns < 10
    assert turns > 1
    assert book(tmp_path)["accounts"][a.project.code]["users"] == {"ana": {}}
    assert provision.prepare(hub(tmp_path), operator, now=T0).plan.changes == ()


def test_what_the_loop_was_refused_it_tries_again(tmp_path: Path, operator: Person) -> None:
    sacctmgr.install(tmp_path)
    provision.apply(hub(tmp_path), operator, now=T0)
    a = project("ana", "ana")
    state = book(tmp_path)
    (tmp_path / "book.json").write_text(json.dumps({**state, "deny": ["add qos"]}))
    done = provision.follow(hub(tmp_path), now=T0)
    assert done is not None and done.refused
    (tmp_path / "book.json").write_text(json.dumps({**book(tmp_path), "deny": []}))
    again = provision.follow(hub(tmp_path), now=T0)
    assert again is not None and again.refused == []
    assert book(tmp_path)["accounts"][a.project.code]["users"] == {"ana": {}}
    assert provision.follow(hub(tmp_path), now=T0) is None
