"""What must hold when people act at once, on what is old, or on what is their own; and the law's cap on commerce."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from fabrique.apps.access import facts, queries
from fabrique.apps.access import services as access
from fabrique.apps.access.models import Allocation, Application, ApplicationState, Award, Project
from fabrique.apps.access.relations import relations
from fabrique.apps.audit.models import Record
from fabrique.apps.ledger import services as ledger
from fabrique.apps.people import rights
from fabrique.apps.people import services as people
from fabrique.apps.people.models import Membership, Person, Role
from fabrique.apps.this_hub import YEAR_MS, ThisHub, this_hub
from fabrique.core import booking
from fabrique.core.access import commercial_cap
from fabrique.core.eligibility import Closing
from fabrique.core.errors import FabriqueError
from fabrique.core.units import HOUR_MS, Amount, unit
from fabrique.definitions import modes as mode_files
from fabrique.operate import founding

CPU = unit("core-ms:local-core")
T0 = 1_800_000_000_000
pytestmark = pytest.mark.django_db


def person(name: str, *, role: str | None = None) -> Person:
    made = people.create_person(name, f"{name}@edges.example", now=T0)
    if role:
        people.grant_role(made, role, people.create_organisation("Desk", "operator", "CA", now=T0), now=T0)
    return made


@pytest.fixture
def ana(here: Any) -> Person:
    return person("ana")


@pytest.fixture
def officer(here: Any) -> Person:
    return person("omar", role=Role.COORDINATOR)


def form(mode_id: str, **changes: object) -> dict[str, object]:
    mode = access.find_mode(mode_id, now=T0)
    given: dict[str, object] = {
        "title": "Proteins", "summary": "Fold them.", "need": "x", "method": "y", "supervisor": "z",
        "organisation": "Helix", "organisation_kind": mode.audience[0], "country": mode.countries.accepted[0]
        if mode.countries.accepted else "CA", "founded": "2025-01-01", "staff": "5", "turnover": "1",
        "kind": "local-core", "hours": "10", "months": str(mode.months[0] if mode.months else 1), "civilian": "yes",
        "data_class": "public", "confidential": "no", "contact": "x", "vat": "x", "invoice": "x",
    }  # fmt: skip
    given = {k: v for k, v in given.items() if mode.field(k)}
    return given | {f"ethics.{q.id}": "yes" if q.settled else "no" for q in mode.ethics} | changes


def draft(by: Person, mode_id: str, now: int = T0, /, **changes: object) -> Application:
    return access.save_draft(by, mode_id, form(mode_id, **changes), now=now)


def apply(by: Person, mode_id: str = "lasalle_research", now: int = T0, /, **changes: object) -> Application:
    return access.submit(draft(by, mode_id, now, **changes), by, now=now)


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises(FabriqueError) as caught:
        act()
    return caught.value.code


# --- rules asked again ------------------------------------------------------------------------------------------


def closed(monkeypatch: pytest.MonkeyPatch, closing: Closing) -> None:
    real = facts.gather
    monkeypatch.setattr(facts, "gather", lambda *a, **k: dataclasses.replace(real(*a, **k), closings=(closing,)))


def test_what_fails_at_the_award_is_not_awarded_and_stays_on_record(
    ana: Person, officer: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = apply(ana)
    before = ledger.balances("")
    closed(monkeypatch, Closing("lasalle_research", 0))
    with pytest.raises(FabriqueError) as caught:
        access.decide(asked, officer, True, "ok", now=T0 + 1)
    assert (caught.value.code, caught.value.params) == ("application.not-eligible", {"rules": ["mode-open"]})
    kept = Application.objects.get(pk=asked.pk)
    assert (kept.state, kept.decided_by, kept.decided_ms) == (ApplicationState.SUBMITTED, None, None)
    assert kept.answers.get(stage="award", verdict="fail").rule == "mode-open"
    assert Record.objects.get(action="application.decide").detail["failed"] == ["mode-open"]
    assert not Award.objects.exists()
    assert ledger.balances("") == before
    assert access.decide(asked, officer, False, "closed", now=T0 + 2).state == "refused"


def leave(hours: int, mode_id: str = "lasalle_research") -> str:
    """Others take the rest of the pool that the mode draws on. Answers the pool."""
    pool = this_hub().pool_for(access.find_mode(mode_id, now=T0))
    taken = ledger.balance(f"pool:{pool}:unallocated", CPU) - hours * HOUR_MS
    ledger.write("award", {}, booking.grant("others", pool, [Amount(CPU, taken)], "others"), now=T0)
    return pool


def test_the_pool_that_others_emptied_is_asked_again(ana: Person, officer: Person) -> None:
    asked = apply(ana)
    leave(9)
    with pytest.raises(FabriqueError) as caught:
        access.decide(asked, officer, True, "ok", now=T0 + 1)
    assert caught.value.params == {"rules": ["capacity"]}


def test_what_is_unknown_is_the_officers_to_accept(ana: Person, officer: Person) -> None:
    asked = apply(ana, "lasalle_research", T0, **{"ethics.personal-data": "yes"})
    done = access.decide(asked, officer, True, "explained", now=T0 + 1)
    assert (done.state, done.answers.get(stage="award", rule="ethics").verdict) == ("awarded", "unknown")


def test_who_was_in_time_stays_in_time(ana: Person, officer: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mode ends, or closes, between the application and the officer's answer."""
    asked = apply(ana)
    closed(monkeypatch, Closing("lasalle_research", T0 + 1))
    ended(monkeypatch, "lasalle_research", T0 + 1)
    assert access.decide(asked, officer, True, "in time", now=T0 + 2).state == "awarded"
    assert code_of(lambda: draft(ana, "lasalle_research", T0 + 2)) == "mode.missing"


def ended(monkeypatch: pytest.MonkeyPatch, mode_id: str, at: int) -> None:
    real = mode_files.for_hub
    monkeypatch.setattr(
        mode_files,
        "for_hub",
        lambda hub, group: tuple(
            dataclasses.replace(m, valid_to=at) if m.id == mode_id else m for m in real(hub, group)
        ),
    )


def test_a_draft_is_submitted_under_the_version_that_judges_it(ana: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    old = draft(ana, "lasalle_research")
    real = mode_files.for_hub

    def renewed(hub: str, group: str) -> tuple[Any, ...]:
        found = real(hub, group)
        return (*found, *(dataclasses.replace(m, version=m.version + 1, valid_from=T0 + 1) for m in found))

    monkeypatch.setattr(mode_files, "for_hub", renewed)
    assert access.submit(old, ana, now=T0 + 2).mode_version == 2


# --- what is old ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode_id", ["lasalle_startup", "lasalle_research"])
def test_a_draft_is_submitted_once(ana: Person, mode_id: str) -> None:
    made = draft(ana, mode_id)
    first, second = (Application.objects.get(pk=made.pk) for _ in range(2))
    state = access.submit(first, ana, now=T0).state
    assert code_of(lambda: access.submit(second, ana, now=T0)) == "application.state"
    assert Project.objects.count() == (1 if state == "awarded" else 0)
    assert Application.objects.get(pk=made.pk).state == state


def test_an_old_draft_does_not_overwrite_what_was_submitted(ana: Person) -> None:
    made = draft(ana, "lasalle_research")
    old = Application.objects.get(pk=made.pk)
    access.submit(made, ana, now=T0)
    act = lambda: access.save_draft(ana, old.mode, {"title": "Other"}, now=T0, application=old)  # noqa: E731
    assert code_of(act) == "application.state"
    assert Application.objects.get(pk=made.pk).form["title"] == "Proteins"


def test_an_award_is_not_withdrawn_by_an_old_page(ana: Person, officer: Person) -> None:
    asked = apply(ana)
    old = Application.objects.get(pk=asked.pk)
    access.decide(asked, officer, True, "ok", now=T0)
    assert code_of(lambda: access.withdraw(old, ana, now=T0)) == "application.state"
    assert Application.objects.get(pk=asked.pk).state == "awarded"


def test_the_callers_own_row_is_fresh_afterwards(ana: Person, officer: Person) -> None:
    asked = apply(ana)
    old = Application.objects.get(pk=asked.pk)
    assert access.decide(old, officer, True, "ok", now=T0) is old
    assert (old.state, old.award.allocation.state) == ("awarded", "open")


# --- at once ----------------------------------------------------------------------------------------------------


def at_once(*acts: Callable[[], object]) -> list[object]:
    """Each act in a thread and a connection of its own; what it answers or raises."""
    found: list[object] = [None] * len(acts)
    ready = threading.Barrier(len(acts))

    def run(i: int, act: Callable[[], object]) -> None:
        try:
            ready.wait(30)
            found[i] = act()
        except Exception as error:
            found[i] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(i, act)) for i, act in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


@pytest.mark.django_db(transaction=True)
def test_two_clicks_at_once_make_one_award(ana: Person) -> None:
    made = draft(ana, "lasalle_startup")
    rows = [Application.objects.get(pk=made.pk) for _ in range(3)]
    found = at_once(*(lambda row=row: access.submit(row, ana, now=T0).state for row in rows))
    others = [f for f in found if f != "awarded"]
    assert len(others) == 2
    assert all(isinstance(f, FabriqueError) and f.code == "application.state" for f in others), found
    assert (Award.objects.count(), Project.objects.count()) == (1, 1)


@pytest.mark.django_db(transaction=True)
def test_two_awards_at_once_do_not_both_take_the_last_hours(officer: Person) -> None:
    asked = [apply(person(name)) for name in ("ben", "cem")]
    pool = leave(15)
    found = at_once(*(lambda a=a: access.decide(a, officer, True, "ok", now=T0).state for a in asked))
    assert found.count("awarded") == 1, found
    refused = next(f for f in found if f != "awarded")
    assert isinstance(refused, FabriqueError)
    assert (refused.code, refused.params) == ("application.not-eligible", {"rules": ["capacity"]})
    assert ledger.balance(f"pool:{pool}:unallocated", CPU) == 5 * HOUR_MS


@pytest.mark.django_db(transaction=True)
def test_two_applications_at_once_do_not_both_take_the_last_hours(here: Any) -> None:
    made = [(draft(who, "lasalle_startup"), who) for who in (person("ben"), person("cem"))]
    leave(15, "lasalle_startup")
    found = at_once(*(lambda a=a, who=who: str(access.submit(a, who, now=T0).state) for a, who in made))
    assert sorted(map(str, found)) == ["awarded", "ineligible"]


@pytest.mark.django_db(transaction=True)
def test_a_decision_and_a_withdrawal_at_once_are_one_of_the_two(ana: Person, officer: Person) -> None:
    for accept in (True, False) * 3:
        pk = apply(ana).pk
        one, other = (Application.objects.get(pk=pk) for _ in range(2))
        found = at_once(
            partial(access.decide, one, officer, accept, "", now=T0), partial(access.withdraw, other, ana, now=T0)
        )
        lost = [f for f in found if isinstance(f, FabriqueError)]
        assert [f.code for f in lost] == ["application.state"], found
        assert [f.state for f in found if isinstance(f, Application)] == [Application.objects.get(pk=pk).state]


# --- whose own it is --------------------------------------------------------------------------------------------


def test_nobody_decides_for_their_own_organisation(ana: Person, officer: Person) -> None:
    asked = apply(ana)
    own = people.organisation_of(ana, now=T0)
    assert own is not None
    people.join(officer, own, now=T0 + 10)
    for accept in (True, False):
        with pytest.raises(FabriqueError) as caught:
            access.decide(asked, officer, accept, "", now=T0 + 10)
        why = {"code": "right.separation", "role": "decide", "other": "same-organisation"}
        assert caught.value.params["reason"] == why
    left = Membership.objects.filter(person=officer)
    left.update(until_ms=T0 + 20)
    assert relations(officer, application=asked, now=T0 + 19) == {rights.SAME_ORGANISATION}
    assert access.decide(asked, officer, True, "has left", now=T0 + 20).state == "awarded"


def test_the_operator_of_a_fresh_hub_decides_for_the_others(ana: Person) -> None:
    operator = Person.objects.get(roles__role=Role.OPERATOR)
    assert access.decide(apply(ana), operator, True, "ok", now=T0).state == "awarded"


def test_a_shared_organisation_gives_no_right(ana: Person) -> None:
    asked = apply(ana)
    eve, own = person("eve"), people.organisation_of(ana, now=T0)
    assert own is not None
    people.join(eve, own, now=T0)
    related = relations(eve, application=asked, now=T0)
    for action in rights.ACTIONS:
        assert rights.may(eve, action, now=T0, relations=related).allowed <= rights.may(eve, action, now=T0).allowed


# --- the cap on commerce ----------------------------------------------------------------------------------------


@pytest.fixture
def union(db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ThisHub:
    """A hub of which the Union owns a part, in a home of its own."""
    monkeypatch.setattr(settings, "HOME", tmp_path / "union")
    founding.make_home(settings.HOME, "lu-meluxina-ai", port=8000, now=T0)
    return founding.furnish(now=T0)


def sell(name: str, hours: int, officer: Person, now: int = T0) -> Application:
    asked = apply(person(name), "commercial", now, hours=str(hours), months="12")
    assert asked.state == "submitted", asked.reason
    return access.decide(asked, officer, True, "ok", now=now)


def left_h(now: int) -> int:
    left = facts.gather(access.find_mode("commercial", now=now), {}, None, now=now).commercial_left
    assert left is not None
    return left["local-core"] // HOUR_MS


def test_commerce_never_takes_more_than_the_cap(union: ThisHub) -> None:
    officer = person("omar", role=Role.COORDINATOR)
    cap = commercial_cap(union.yearly_capacity("local-core"), union.shares["union"]) // HOUR_MS
    hours = cap * 7 // 10
    asked = [apply(person(n), "commercial", hours=str(hours), months="12") for n in ("ben", "cem")]
    assert [a.state for a in asked] == ["submitted", "submitted"]
    access.decide(asked[0], officer, True, "ok", now=T0)
    with pytest.raises(FabriqueError) as caught:
        access.decide(asked[1], officer, True, "ok", now=T0)
    assert caught.value.params == {"rules": ["commercial-cap"]}
    assert left_h(T0) == cap - hours


def test_the_cap_begins_anew_with_each_years_hours(union: ThisHub) -> None:
    officer = person("omar", role=Role.COORDINATOR)
    whole = left_h(T0)
    sell("ben", 1_000, officer)
    assert left_h(T0) == whole - 1_000
    ledger.write("capacity", {}, booking.genesis(founding.yearly(union), "year", {}), now=T0 + YEAR_MS)
    assert left_h(T0 + YEAR_MS) == whole
    sell("cem", 500, officer, T0)  # a clock that stepped back changes nothing
    assert left_h(T0 + YEAR_MS) == whole - 500


def test_the_law_caps_no_pool_but_the_unions(union: ThisHub, monkeypatch: pytest.MonkeyPatch) -> None:
    officer = person("omar", role=Role.COORDINATOR)
    monkeypatch.setattr(type(this_hub()), "pool_for", lambda self, mode: "national")
    cap = commercial_cap(union.yearly_capacity("local-core"), union.shares["national"]) // HOUR_MS
    done = sell("ben", cap + 1, officer)
    assert done.state == "awarded"
    assert not done.answers.filter(rule="commercial-cap").exists()


# --- months, and a budget without an end ------------------------------------------------------------------------


@pytest.mark.parametrize(("begins", "ends"), [((2027, 1, 31), (2027, 2, 28)), ((2027, 12, 15), (2028, 1, 15))])
def test_a_month_ends_on_a_day_that_there_is(
    ana: Person, officer: Person, begins: tuple[int, int, int], ends: tuple[int, int, int]
) -> None:
    now, end = (int(datetime(*d, 13, 14, 15, 167_000, tzinfo=UTC).timestamp() * 1_000) for d in (begins, ends))
    asked = apply(ana, "lasalle_startup", now, months="1")
    assert asked.state == "awarded", asked.reason
    allocation = Allocation.objects.get()
    assert (allocation.starts_ms, allocation.ends_ms) == (now, end)


def test_a_share_has_no_end_of_what_is_bookable(ana: Person, officer: Person) -> None:
    done = access.decide(apply(ana, "lasalle_research"), officer, True, "ok", now=T0)
    line = queries.budget_lines(done.award.allocation, now=T0)[0]
    assert (line.unit, line.available, line.bookable) == (CPU, 10 * HOUR_MS, None)
