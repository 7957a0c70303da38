"""A link makes one person a member, once; nobody else joins, and who was removed does not come back by an old link."""

from __future__ import annotations

import hashlib
from threading import Barrier, Thread
from typing import Any

import pytest

from fabrique.apps.access import members, queries
from fabrique.apps.access.models import Invitation, Project, ProjectMember
from fabrique.apps.access.relations import relations
from fabrique.apps.audit.models import Record
from fabrique.apps.people import services as people
from fabrique.apps.people.models import Person
from fabrique.core.errors import FabriqueError, Sort

T0 = 1_800_000_000_000
DAY = 86_400_000
pytestmark = pytest.mark.django_db


def person(name: str) -> Person:
    return people.create_person(name, f"{name.lower()}@members.example", now=T0)


@pytest.fixture
def ana(here: Any) -> Person:
    return person("Ana")


@pytest.fixture
def bob(here: Any) -> Person:
    return person("Bob")


@pytest.fixture
def project(ana: Person) -> Project:
    organisation = people.create_organisation("Ana & Co", "startup", "CA", now=T0)
    found = Project.objects.create(code="p-00000a", serial=1, title="Proteins", organisation=organisation, created_ms=0)
    ProjectMember.objects.create(project=found, person=ana, role="pi", since_ms=T0)
    return found


def refused(code: str, call: Any, *args: Any, now: int) -> None:
    with pytest.raises(FabriqueError) as caught:
        call(*args, now=now)
    assert caught.value.code == code


def test_the_pi_alone_invites_and_only_the_hash_is_kept(project: Project, ana: Person, bob: Person) -> None:
    refused("right.denied", members.invite, project, bob, now=T0)
    assert not Invitation.objects.exists()
    token = members.invite(project, ana, now=T0)
    kept = Invitation.objects.get()
    assert kept.token_hash == hashlib.sha256(token.encode()).hexdigest() and len(token) >= 43
    assert (kept.made_by, kept.created_ms, kept.expires_ms) == (ana, T0, T0 + 7 * DAY)
    record = Record.objects.get(action="project.invite")
    assert (record.actor, record.subject) == (str(ana.id), f"project:{project.id}")
    assert token not in str(record.detail)


def test_an_invitation_lets_one_person_in_once(project: Project, ana: Person, bob: Person) -> None:
    token = members.invite(project, ana, now=T0)
    assert members.invited_to(token, now=T0 + 1).project == members.invited_to(token, now=T0 + 1).project == project
    member = members.accept(token, bob, now=T0 + 2)
    assert (member.project, member.person, member.role, member.since_ms) == (project, bob, "member", T0 + 2)
    assert relations(bob, project=project, now=T0 + 2) == {"member"}
    used = Invitation.objects.get()
    assert (used.used_ms, used.used_by) == (T0 + 2, bob)
    assert Record.objects.get(action="project.join").actor == str(bob.id)
    refused("invitation.used", members.invited_to, token, now=T0 + 3)
    refused("invitation.used", members.accept, token, person("Eve"), now=T0 + 3)
    assert FabriqueError("invitation.used").sort is Sort.DENIED


@pytest.mark.parametrize("token", ["", "guess", "\0", "\ud800", "x" * 5_000])
def test_a_guess_is_refused(project: Project, bob: Person, token: str) -> None:
    refused("invitation.used", members.invited_to, token, now=T0)
    refused("invitation.used", members.accept, token, bob, now=T0)


def test_an_invitation_ends_after_seven_days(project: Project, ana: Person, bob: Person) -> None:
    token = members.invite(project, ana, now=T0)
    assert members.invited_to(token, now=T0 + 7 * DAY - 1)
    refused("invitation.used", members.invited_to, token, now=T0 + 7 * DAY)
    refused("invitation.used", members.accept, token, bob, now=T0 + 7 * DAY)


def test_a_member_who_accepts_stays_what_they_are_and_the_link_is_used(project: Project, ana: Person) -> None:
    token = members.invite(project, ana, now=T0)
    assert members.accept(token, ana, now=T0 + 1).role == "pi"
    assert ProjectMember.objects.count() == 1
    refused("invitation.used", members.invited_to, token, now=T0 + 2)


def test_an_invitation_holds_while_its_maker_may_invite(project: Project, ana: Person, bob: Person) -> None:
    token = members.invite(project, ana, now=T0)
    people.erase(ana)
    refused("invitation.used", members.accept, token, bob, now=T0 + 1)


def test_nobody_joins_without_an_account_that_is_open(project: Project, ana: Person, bob: Person) -> None:
    token = members.invite(project, ana, now=T0)
    people.erase(bob)
    refused("right.denied", members.accept, token, bob, now=T0 + 1)
    assert members.invited_to(token, now=T0 + 2)


def test_who_is_removed_sees_nothing_from_then_on(project: Project, ana: Person, bob: Person) -> None:
    spare = members.invite(project, ana, now=T0)
    members.accept(members.invite(project, ana, now=T0), bob, now=T0 + 1)
    refused("right.denied", members.remove_member, project, ana, bob, now=T0 + 2)
    members.remove_member(project, bob, ana, now=T0 + 5)
    assert relations(bob, project=project, now=T0 + 4) and not relations(bob, project=project, now=T0 + 5)
    assert [m.person for m, _ in queries.members_of(project, now=T0 + 5)] == [ana]
    record = Record.objects.get(action="project.remove-member")
    assert (record.actor, record.detail) == (str(ana.id), {"person": str(bob.id)})
    refused("member.missing", members.remove_member, project, bob, ana, now=T0 + 6)
    refused("invitation.used", members.accept, spare, bob, now=T0 + 6)  # made before they were removed
    assert members.accept(spare, person("Eve"), now=T0 + 7).role == "member"
    assert members.accept(members.invite(project, ana, now=T0 + 8), bob, now=T0 + 9).since_ms == T0 + 9


def test_the_pi_cannot_be_removed(project: Project, ana: Person) -> None:
    refused("member.pi", members.remove_member, project, ana, ana, now=T0 + 1)
    assert relations(ana, project=project, now=T0 + 1) == {"member", "pi"}


def test_members_are_told_with_their_organisation(project: Project, ana: Person, bob: Person) -> None:
    old = people.create_organisation("Old", "sme", "CA", now=T0)
    people.join(bob, old, now=T0)
    people.join(bob, people.create_organisation("New", "sme", "CA", now=T0), now=T0 + 1)
    members.accept(members.invite(project, ana, now=T0), bob, now=T0 + 1)
    told = [(m.person.name, name) for m, name in queries.members_of(project, now=T0 + 2)]
    assert told == [("Ana", ""), ("Bob", "New")]


@pytest.mark.django_db(transaction=True)
def test_two_who_press_at_once_are_not_both_let_in(project: Project, ana: Person) -> None:
    from django.db import connection

    token = members.invite(project, ana, now=T0)
    crowd = [person(f"P{n}") for n in range(4)]
    start, let_in, turned_away = Barrier(len(crowd)), [], []

    def press(who: Person) -> None:
        start.wait()
        try:
            let_in.append(members.accept(token, who, now=T0 + 1).person_id)
        except FabriqueError as error:
            turned_away.append(error.code)
        finally:
            connection.close()

    threads = [Thread(target=press, args=(who,)) for who in crowd]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(let_in) == 1 and turned_away == ["invitation.used"] * 3
    assert list(ProjectMember.objects.filter(role="member").values_list("person_id", flat=True)) == let_in
