"""The pages of members: a link shown once, `/join/<token>` that only a press uses, members removed when confirmed."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest

from fabrique.apps.access.models import Invitation, ProjectMember
from fabrique.apps.people.models import Person

pytestmark = pytest.mark.django_db


def text(response: Any) -> str:
    words = re.sub(r"<[^>]+>", " ", response.content.decode())
    return re.sub(r"\s+", " ", unescape(words))


def made_link(response: Any) -> str:
    found = re.search(r'<code id="link">([^<]+)</code>', response.content.decode())
    assert found
    return found.group(1)


def current(desk: Any) -> set[str]:
    rows = ProjectMember.objects.filter(project=desk.project, until_ms__isnull=True)
    return {m.person.name for m in rows.select_related("person")}


def test_the_link_is_shown_once_with_what_it_does(desk: Any) -> None:
    client = desk.client("pi")
    done = client.post(f"/projects/{desk.project.code}/invitations")
    link = made_link(done)
    assert done.status_code == 200 and "no-store" in done.headers["Cache-Control"]
    assert re.fullmatch(r"http://testserver/join/[\w-]{43}", link)
    assert "It works for one person, once." in text(done) and "can join the project, until" in text(done)
    assert link.rpartition("/")[2] not in client.get(f"/projects/{desk.project.code}").content.decode()
    assert client.get(f"/projects/{desk.project.code}/invitations").status_code == 405


def test_who_has_the_link_joins_by_the_button_alone(desk: Any) -> None:
    path = f"/join/{desk.invitation()}"
    client = desk.client("stranger")
    for _ in range(3):
        page = client.get(path, headers={"purpose": "prefetch"})
        assert client.head(path).status_code == page.status_code == 200
    said = text(page)
    assert (
        desk.project.title in said
        and "Invited by Pi " in said
        and "Sovereign AI Research Hub" in said
        and "Join the project" in said
    )
    assert "no-store" in page.headers["Cache-Control"]
    assert "Stranger" not in current(desk) and client.get(f"/projects/{desk.project.code}").status_code == 403
    done = client.post(path, follow=True)
    assert done.redirect_chain == [(f"/projects/{desk.project.code}", 302)]
    assert "You are a member of this project." in text(done)
    for again in (client.get(path), desk.client("asker").post(path)):
        assert again.status_code == 403 and "invitation.used" in text(again)
    assert current(desk) == {"Pi", "Member", "Stranger"}


def test_a_visitor_signs_up_first_and_comes_back(desk: Any) -> None:
    path, client = f"/join/{desk.invitation()}", desk.client()
    page = client.get(path)
    assert "Sign in or create an account" in text(page) and "Join the project" not in text(page)
    for door in ("login", "signup"):
        assert f'href="/account/{door}/?next={quote(path, safe="")}"' in page.content.decode()
    assert client.post(path).status_code == 403 and Invitation.objects.filter(used_ms__isnull=True).exists()
    sent = {"email": "new@desk.example", "password1": "a long new pass phrase", "name": "Newcomer", "next": path}
    assert 'name="next"' in client.get(f"/account/signup/?next={quote(path, safe='')}").content.decode()
    assert client.post("/account/signup/", sent).headers["Location"] == path
    assert client.post(path).headers["Location"] == f"/projects/{desk.project.code}"
    assert "Newcomer" in current(desk)


def test_a_member_who_looks_does_not_use_the_link_up(desk: Any) -> None:
    page = desk.client("pi").get(f"/join/{desk.invitation()}")
    assert "You are a member already" in text(page) and b"<button>Join" not in page.content


def test_an_address_alone_gives_nothing(desk: Any) -> None:
    client = desk.client("pi")
    assert client.post(f"/projects/{desk.project.code}/members", {"email": "stranger@desk.example"}).status_code == 404
    assert desk.client("stranger").get(f"/projects/{desk.project.code}").status_code == 403


def test_a_member_is_removed_once_it_is_confirmed(desk: Any) -> None:
    client, address = desk.client("pi"), f"/projects/{desk.project.code}/members/remove"
    member = desk.people["member"]
    page = client.get(f"/projects/{desk.project.code}").content.decode()
    assert page.count('name="person"') == 1 and f'value="{member.pk}"' in page and "Pi &amp; Co".lower() in page.lower()
    done = client.post(address, {"person": str(member.pk)}, follow=True)
    assert "Nobody was removed" in text(done) and "Member" in current(desk)
    done = client.post(address, {"person": str(member.pk), "confirm": "yes"}, follow=True)
    assert "Member is no longer a member." in text(done) and current(desk) == {"Pi"}
    for path in (f"/projects/{desk.project.code}", f"/jobs/{desk.job.number}/log"):
        assert desk.client("member").get(path).status_code == 403


@pytest.mark.parametrize(
    ("who", "status", "code"), [("pi", 409, "member.pi"), ("asker", 404, "member.missing"), ("", 404, "member.missing")]
)
def test_only_a_member_can_be_removed(desk: Any, who: str, status: int, code: str) -> None:
    key = desk.people[who].pk if who else "no-such-person"
    sent = {"person": str(key), "confirm": "yes"}
    done = desk.client("pi").post(f"/projects/{desk.project.code}/members/remove", sent)
    assert (done.status_code, code in text(done)) == (status, True)


def test_what_people_are_called_is_escaped(desk: Any) -> None:
    hostile = "<script>alert(1)</script>\"'&"
    Person.objects.filter(pk__in=[desk.people["pi"].pk, desk.people["member"].pk]).update(name=hostile)
    desk.project.title = hostile
    desk.project.save()
    pi = desk.client("pi")
    pages = [pi.get(f"/projects/{desk.project.code}"), pi.post(f"/projects/{desk.project.code}/invitations")]
    pages.append(desk.client("stranger").get(f"/join/{desk.invitation()}"))
    assert [p.status_code for p in pages] == [200, 200, 200]
    assert not [p for p in pages if b"<script>alert" in p.content]


@pytest.mark.parametrize(("language", "words"), [("fr", "soumettez des jobs"), ("fr-ca", "soumettez des tâches")])
def test_the_invitation_speaks_french(desk: Any, language: str, words: str) -> None:
    client = desk.client("stranger")
    client.cookies["fabrique-language"] = language
    page = client.get(f"/join/{desk.invitation()}")
    assert words in text(page) and "Rejoindre le projet" in text(page)


def test_pages_that_change_need_their_token(desk: Any) -> None:
    client = desk.client("pi", enforce_csrf_checks=True)
    for path in ("invitations", "members/remove"):
        assert client.post(f"/projects/{desk.project.code}/{path}").status_code == 403
    assert client.post(f"/join/{desk.invitation()}").status_code == 403
    assert Invitation.objects.filter(used_ms__isnull=True).count() == 1


def test_no_log_holds_the_token() -> None:
    from fabrique.portal.log_filter import without_tokens

    token = "S3cret-of-an-invitation"
    for line in (f'"GET /join/{token} HTTP/1.1" 200', f"/account/login/?next=%2Fjoin%2F{token}", f"/Join/{token}?x=1"):
        assert token not in without_tokens(line) and "oin" in without_tokens(line)
