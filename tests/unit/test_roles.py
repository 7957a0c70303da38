"""Who appoints: the operator finds the first elsewhere, holders the rest; each step is an entry and a record."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fabrique.apps import roles
from fabrique.apps.audit.models import Record
from fabrique.apps.ledger.models import Entry
from fabrique.apps.ledger.verify import verify
from fabrique.apps.now import now_ms
from fabrique.apps.people import rights
from fabrique.apps.people import services as people
from fabrique.apps.people.models import Organisation, Person, Role, RoleGrant
from fabrique.apps.rules import services as adoption
from fabrique.apps.this_hub import this_hub
from fabrique.core.errors import FabriqueError
from fabrique.definitions import rules as rule_sets

pytestmark = pytest.mark.django_db
STATE = roles.Named("Ministère de l’Économie", "public-body", "CA")


@pytest.fixture
def founded(desk: Any) -> Any:
    """The desk as a hub begins: an operator, and nobody else holds a role."""
    RoleGrant.objects.exclude(role=Role.OPERATOR).delete()
    return desk


def refused(code: str, call: Any, *given: Any, **more: Any) -> dict[str, Any]:
    before = (RoleGrant.objects.count(), RoleGrant.objects.filter(until_ms=None).count(), Entry.objects.count())
    organisations = Organisation.objects.count()
    with pytest.raises(FabriqueError) as error:
        call(*given, **more, now=now_ms())
    assert error.value.code == code
    after = (RoleGrant.objects.count(), RoleGrant.objects.filter(until_ms=None).count(), Entry.objects.count())
    assert (after, Organisation.objects.count()) == (before, organisations)
    return dict(error.value.params)


def newcomer(name: str) -> Person:
    return people.create_person(name, f"{name.lower()}@new.example", now=now_ms())


@pytest.mark.parametrize("role", ["coordinator", "reviewer", "funder", "auditor"])
def test_the_operator_finds_the_first_and_no_second(role: str, founded: Any) -> None:
    operator, first = founded.people["operator"], newcomer("First")
    made = roles.grant(operator, first, role, STATE, now=now_ms())
    assert (made.person, made.role, made.organisation.name) == (first, role, STATE.name)
    assert people.organisation_of(first, now=now_ms()) == made.organisation
    assert rights.roles_of(first, now=now_ms()) == {role}
    refused("right.denied", roles.grant, operator, newcomer("Second"), role, roles.Named("Else", "sme", "LU"))


def test_only_the_operator_finds_the_first(founded: Any) -> None:
    for who in ("pi", "member", "stranger", "funder"):
        refused("right.denied", roles.grant, founded.people[who], newcomer(f"By{who}"), "funder", STATE)


@pytest.mark.parametrize("role", ["coordinator", "funder", "auditor"])
def test_a_colleague_of_the_operator_holds_no_other_role(role: str, founded: Any) -> None:
    operator, office = founded.people["operator"], Organisation.objects.get(name="operator")
    colleague = newcomer("Colleague")
    people.join(colleague, office, now=1)
    told = refused("role.separate", roles.grant, operator, colleague, role)
    assert told["role"] == "operator"
    twin = people.create_organisation("  OPERATOR ", "public-body", "CA", now=1)  # anybody may type its name
    people.join(newcomer("Twin"), twin, now=1)
    refused("role.separate", roles.grant, operator, people.find_person("twin@new.example"), role)
    refused("role.separate", roles.grant, operator, newcomer("Named"), role, roles.Named("Operator"))


def test_who_holds_a_role_appoints_to_it_and_an_organisation_to_one_alone(founded: Any) -> None:
    operator, funder = founded.people["operator"], newcomer("Funder")
    roles.grant(operator, funder, "funder", STATE, now=now_ms())
    colleague, union = newcomer("Colleague"), newcomer("Union")
    mine = roles.grant(funder, colleague, "funder", roles.Named(STATE.name.upper()), now=now_ms())
    assert mine.organisation.name == STATE.name  # the same one, not another of its name
    other = roles.grant(funder, union, "funder", roles.Named("Union", "public-body", "LU"), now=now_ms())
    assert other.organisation != mine.organisation
    told = refused("role.separate", roles.grant, operator, newcomer("Also"), "auditor", roles.Named(STATE.name))
    assert told["role"] == "funder"
    refused("right.denied", roles.grant, funder, newcomer("Never"), "operator", roles.Named("X", "sme", "LU"))


def test_nobody_appoints_themself_nor_holds_two(founded: Any) -> None:
    operator = founded.people["operator"]
    refused("role.self", roles.grant, operator, operator, "funder", STATE)
    refused("role.self", roles.grant, operator, operator, "operator")
    first = newcomer("First")
    roles.grant(operator, first, "funder", STATE, now=now_ms())
    assert refused("role.held", roles.grant, operator, first, "auditor")["role"] == "funder"
    assert refused("role.held", roles.grant, first, first_colleague(first), "funder")["role"] == "funder"


def first_colleague(first: Person) -> Person:
    other = newcomer("Other")
    roles.grant(first, other, "funder", STATE, now=now_ms())
    return other


@pytest.mark.parametrize(
    "named",
    [
        roles.Named(),
        roles.Named("New"),
        roles.Named("New", "startup"),
        roles.Named("New", "operator", "CA"),
        roles.Named("New", "startup", "Canada"),
        roles.Named("N\u202eew", "startup", "CA"),
        roles.Named("x" * 201, "startup", "CA"),
    ],
)
def test_an_organisation_that_nobody_can_make_out_is_refused(named: roles.Named, founded: Any) -> None:
    refused("role.organisation", roles.grant, founded.people["operator"], newcomer("First"), "funder", named)


def test_a_person_serves_their_own_organisation_alone(founded: Any) -> None:
    operator, pi = founded.people["operator"], founded.people["pi"]
    told = refused("role.belongs", roles.grant, operator, pi, "funder", STATE)
    assert told == {"organisation": "pi & Co"}
    assert roles.grant(operator, pi, "funder", now=now_ms()).organisation.name == "pi & Co"
    assert refused("role.unknown", roles.grant, operator, pi, "king")["known"] == list(Role.values)


def test_the_last_does_not_go_before_a_successor_is_there(founded: Any) -> None:
    operator, funder = founded.people["operator"], newcomer("Funder")
    roles.grant(operator, funder, "funder", STATE, now=now_ms())
    assert not roles.may_end(funder, roles.held(now=now_ms())[-1], now=now_ms())
    refused("role.last", roles.end, funder, funder, "funder")
    heir = newcomer("Heir")
    roles.grant(funder, heir, "funder", STATE, now=now_ms())
    for who in (operator, founded.people["pi"]):
        refused("right.denied", roles.end, who, heir, "funder")
    ended = roles.end(heir, funder, "funder", now=now_ms())
    assert ended.until_ms is not None
    assert rights.roles_of(funder, now=now_ms()) == set()
    refused("role.missing", roles.end, heir, funder, "funder")
    refused("right.denied", roles.end, funder, heir, "funder")


def test_another_organisation_s_holder_is_not_mine_to_end(founded: Any) -> None:
    operator, funder, union = founded.people["operator"], newcomer("Funder"), newcomer("Union")
    roles.grant(operator, funder, "funder", STATE, now=now_ms())
    roles.grant(funder, union, "funder", roles.Named("Union", "public-body", "LU"), now=now_ms())
    refused("right.denied", roles.end, funder, union, "funder")
    roles.end(union, union, "funder", now=now_ms())


def test_a_role_whose_last_holder_is_gone_begins_again(founded: Any) -> None:
    operator, funder = founded.people["operator"], newcomer("Funder")
    roles.grant(operator, funder, "funder", STATE, now=now_ms())
    people.erase(funder)
    roles.grant(operator, newcomer("Next"), "funder", roles.Named(STATE.name), now=now_ms())


def test_every_step_is_an_entry_without_names_and_a_record(founded: Any) -> None:
    operator, funder, heir = founded.people["operator"], newcomer("Funder"), newcomer("Heir")
    given = roles.grant(operator, funder, "funder", STATE, now=now_ms())
    roles.grant(funder, heir, "funder", STATE, now=now_ms())
    roles.end(funder, funder, "funder", now=now_ms())
    last = list(Entry.objects.filter(kind="role").order_by("seq"))
    causes = [json.loads(entry.cause) for entry in last]
    assert [(c["act"], c["person"], c["by"]) for c in causes] == [
        ("grant", str(funder.id), str(operator.id)),
        ("grant", str(heir.id), str(funder.id)),
        ("end", str(funder.id), str(funder.id)),
    ]
    assert {c["organisation"] for c in causes} == {str(given.organisation_id)}
    assert not any(word in entry.cause for entry in last for word in ("Funder", "Heir", "Minist", "@"))
    assert all(entry.count == 0 for entry in last)
    assert verify().ok
    kept = Record.objects.filter(action__startswith="role.").order_by("id")
    assert [(r.action, r.actor, r.detail["entry"]) for r in kept] == [
        ("role.grant", str(operator.id), last[0].seq),
        ("role.grant", str(funder.id), last[1].seq),
        ("role.end", str(funder.id), last[2].seq),
    ]


def test_whom_the_operator_found_adopts_rules(founded: Any) -> None:
    operator, funder = founded.people["operator"], newcomer("Funder")
    roles.grant(operator, funder, "funder", STATE, now=now_ms())
    made = adoption.propose(this_hub(), operator, rule_sets.load("easy"), note="why", now=now_ms())
    assert adoption.consent(made.id, funder, True, "agreed", now=now_ms()).state == "adopted"


# --- the page -----------------------------------------------------------------------------------------------------


def test_the_page_shows_who_it_is_before_it_gives(founded: Any) -> None:
    first = newcomer("First")
    client = founded.client("operator")
    given = {"email": first.email, "role": "funder", "name": "State", "kind": "public-body", "country": "CA"}
    shown = client.post("/operate/roles/grant", given)
    assert b"Is this the person you mean?" in shown.content
    assert b"First" in shown.content
    assert not roles.people.holders("funder", now=now_ms())
    assert client.post("/operate/roles/grant", given | {"confirm": "yes"}).status_code == 302
    assert [g.person for g in people.holders("funder", now=now_ms())] == [first]
    room = client.get("/operate").content.decode()
    assert "State" in room
    assert 'value="funder"' not in room  # the operator has no second to give


def test_the_page_ends_what_is_confirmed(founded: Any) -> None:
    funder = founded.people["funder"]
    roles.grant(founded.people["operator"], funder, "funder", STATE, now=now_ms())
    heir = newcomer("Heir")
    made = roles.grant(funder, heir, "funder", STATE, now=now_ms())
    client = founded.client("funder")
    assert b"/operate/roles" in client.get("/").content
    client.post("/operate/roles/end", {"grant": made.pk})
    assert rights.roles_of(heir, now=now_ms())
    client.post("/operate/roles/end", {"grant": made.pk, "confirm": "yes"})
    assert not rights.roles_of(heir, now=now_ms())
    assert client.post("/operate/roles/end", {"grant": "9" * 40, "confirm": "yes"}).status_code == 400
