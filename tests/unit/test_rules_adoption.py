"""Rules come into force by two people of two organisations, from their instant on, and leave an entry."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from tests.unit.scripted import Bench

from fabrique.apps.audit.models import Record
from fabrique.apps.ledger.models import Entry
from fabrique.apps.ledger.verify import verify
from fabrique.apps.now import now_ms
from fabrique.apps.people import services as people
from fabrique.apps.people.models import Organisation
from fabrique.apps.rules import services
from fabrique.apps.rules.models import Proposal
from fabrique.apps.this_hub import this_hub
from fabrique.core.admission.rules import Rules
from fabrique.core.errors import FabriqueError
from fabrique.definitions import rules as rule_sets
from fabrique.operate.deciding import DEFAULT_RULES, rules_in_force

pytestmark = pytest.mark.django_db
HOUR = 3_600_000


def proposed(desk: Any, name: str = "easy", **more: Any) -> Proposal:
    given: dict[str, Any] = {"note": "shorter waits", "now": now_ms()} | more
    return services.propose(this_hub(), desk.people["operator"], rule_sets.load(name), **given)


def code_of(error: pytest.ExceptionInfo[FabriqueError]) -> str:
    return error.value.code


def test_a_proposal_changes_nothing_and_a_consent_does_at_its_instant(desk: Any) -> None:
    now = now_ms()
    made = proposed(desk, from_ms=now + HOUR, now=now)
    assert rules_in_force(this_hub(), now + 2 * HOUR).name == DEFAULT_RULES
    found = services.consent(made.id, desk.people["funder"], True, "agreed", now=now + 1)
    assert found.in_force_ms == now + HOUR
    assert rules_in_force(this_hub(), now + HOUR - 1).name == DEFAULT_RULES
    assert rules_in_force(this_hub(), now + HOUR) == rule_sets.load("easy")


def test_an_instant_that_passed_while_it_waited_is_never_in_the_past(desk: Any) -> None:
    now = now_ms()
    made = proposed(desk, from_ms=now, now=now)
    assert (
        services.consent(made.id, desk.people["coordinator"], True, "agreed", now=now + HOUR).in_force_ms == now + HOUR
    )


def test_the_adoption_is_an_entry_without_amounts_and_every_step_a_record(desk: Any) -> None:
    made = services.consent(proposed(desk).id, desk.people["funder"], True, "agreed", now=now_ms())
    last = Entry.objects.order_by("-seq").first()
    assert last is not None
    assert (last.seq, last.kind, last.count) == (made.entry, "rules", 0)
    cause = json.loads(last.cause)
    assert (cause["rules"], cause["digest"]) == ("easy", services.digest(rule_sets.load("easy")))
    assert cause["proposed_by"] != cause["consented_by"]
    assert verify().ok
    steps = Record.objects.filter(subject=f"rules:{made.id}").order_by("id")
    assert [(r.action, r.actor) for r in steps] == [
        ("rules.propose", str(desk.people["operator"].id)),
        ("rules.adopt", str(desk.people["funder"].id)),
    ]


@pytest.mark.parametrize("who", ["stranger", "pi", "reviewer", "auditor", "coordinator", "funder"])
def test_only_an_operator_proposes(who: str, desk: Any) -> None:
    with pytest.raises(FabriqueError) as error:
        services.propose(this_hub(), desk.people[who], rule_sets.load("easy"), note="x", now=now_ms())
    assert code_of(error) == "right.denied"
    assert not Proposal.objects.exists()


@pytest.mark.parametrize("who", ["stranger", "pi", "reviewer", "auditor", "operator"])
def test_only_a_coordinator_or_a_funder_consents(who: str, desk: Any) -> None:
    made = proposed(desk)
    with pytest.raises(FabriqueError) as error:
        services.consent(made.id, desk.people[who], True, "agreed", now=now_ms())
    assert code_of(error) == "right.denied"
    assert services.in_force(now_ms()) is None


def test_one_person_with_both_roles_can_not_adopt(desk: Any) -> None:
    other = people.create_organisation("another", "public-body", "CA", now=1)
    people.grant_role(desk.people["operator"], "funder", other, now=1)
    made = proposed(desk)
    with pytest.raises(FabriqueError) as error:
        services.consent(made.id, desk.people["operator"], True, "agreed", now=now_ms())
    assert error.value.params["reason"] == {"code": "right.separation", "role": "decide", "other": "proposer"}
    with pytest.raises(IntegrityError), transaction.atomic():  # nor by writing past the services
        Proposal.objects.filter(pk=made.pk).update(state="adopted", decided_by=desk.people["operator"])


@pytest.mark.parametrize("shared", ["role", "membership", "former"])
def test_a_colleague_of_the_proposer_can_not_consent(shared: str, desk: Any) -> None:
    now = now_ms()
    office = Organisation.objects.get(name="operator")
    if shared == "role":
        people.grant_role(desk.people["funder"], "reviewer", office, now=1)
    elif shared == "membership":
        people.join(desk.people["funder"], office, now=1)
    else:  # the proposer leaves between the proposal and the consent
        people.join(desk.people["operator"], Organisation.objects.get(name="funder"), now=now - 5)
    made = proposed(desk, now=now)
    if shared == "former":
        people.join(desk.people["operator"], office, now=now + 5)
    with pytest.raises(FabriqueError) as error:
        services.consent(made.id, desk.people["funder"], True, "agreed", now=now + 10)
    assert error.value.params["reason"]["other"] == "proposers-organisation"  # type: ignore[index]


def test_a_decision_is_taken_once_and_a_second_proposal_waits(desk: Any) -> None:
    made = proposed(desk)
    with pytest.raises(FabriqueError) as error:
        proposed(desk, "fifo")
    assert code_of(error) == "rules.open"
    services.consent(made.id, desk.people["funder"], False, "not now", now=now_ms())
    with pytest.raises(FabriqueError) as error:
        services.consent(made.id, desk.people["coordinator"], True, "yes", now=now_ms())
    assert code_of(error) == "rules.state"
    assert services.in_force(now_ms()) is None
    again = proposed(desk, "fifo")
    services.withdraw(again.id, desk.people["operator"], now=now_ms())
    with pytest.raises(FabriqueError) as error:
        services.consent(again.id, desk.people["funder"], True, "yes", now=now_ms())
    assert code_of(error) == "rules.state"


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        (rule_sets.load("frugal"), ["levels", "water-fill", "recap", "hourly"]),
        (Rules(name="mine", watts="levels"), ["levels"]),
        (Rules(name="mine", defer=True), ["hourly"]),
        (Rules(name="mine", defer=True, signal="price"), ["price"]),
        (Rules(name="mine", observe_only=True), ["observe-only"]),
    ],
    ids=["frugal", "levels", "defer", "price", "observe-only"],
)
def test_what_the_engines_can_not_do_is_refused_at_the_proposal(
    rules: Rules, why: list[str], desk: Any, speaker: Any
) -> None:
    with pytest.raises(FabriqueError) as error:
        services.propose(this_hub(), desk.people["operator"], rules, note="x", now=now_ms())
    assert code_of(error) == "rules.not-live"
    assert error.value.params["why"] == why
    for language in ("en", "fr", "fr-ca"):
        sentence = speaker(language).error(error.value)
        assert sentence.count(".") == 1 + len(why) and "_" not in sentence  # a sentence for each, no name of a field
    assert not Proposal.objects.exists()


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"note": "  "}, "rules.note"),
        ({"note": "x" * 2_001}, "rules.note"),
        ({"note": "a\0b"}, "rules.note"),
        ({"from_ms": 1}, "rules.from"),
        ({"from_ms": 2**62}, "rules.from"),
    ],
)
def test_bad_input_gets_one_message(given: dict[str, Any], code: str, desk: Any) -> None:
    with pytest.raises(FabriqueError) as error:
        proposed(desk, **given)
    assert code_of(error) == code
    assert not Proposal.objects.exists()


def test_what_was_adopted_is_kept_field_by_field(desk: Any) -> None:
    mine = replace(rule_sets.load("fair"), name="ours", version=7, reservations=3)
    made = services.propose(this_hub(), desk.people["operator"], mine, note="x", now=now_ms())
    services.consent(made.id, desk.people["funder"], True, "agreed", now=now_ms())
    assert rules_in_force(this_hub(), now_ms()) == mine
    with pytest.raises(FabriqueError) as error:
        services.propose(this_hub(), desk.people["operator"], mine, note="again", now=now_ms())
    assert code_of(error) == "rules.in-force"
    Proposal.objects.filter(pk=made.pk).update(rules={"name": "ours", "of_a_later_program": 1})
    assert rules_in_force(this_hub(), now_ms()).name == DEFAULT_RULES


def test_the_loop_decides_by_what_was_adopted(desk: Any) -> None:
    bench = Bench(this_hub())
    made = proposed(desk, "conservative", now=bench.now)
    services.consent(made.id, desk.people["coordinator"], True, "agreed", now=bench.now)
    bench.submit()
    bench.turn()
    lines = [json.loads(line) for path in bench.here.home.glob("decisions/*") for line in path.read_text().splitlines()]
    told = [line["body"]["rules"] if "body" in line else line.get("rules") for line in lines]
    assert "conservative" in json.dumps(told)
