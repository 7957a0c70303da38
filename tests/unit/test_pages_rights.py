"""Every address of people's work, asked by everyone: the table below says who is let in, and how others are told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

pytestmark = pytest.mark.django_db

EVERYONE = ("visitor", "stranger", "asker", "member", "pi", "operator", "coordinator", "reviewer", "funder", "auditor")
SIGNED_IN = EVERYONE[1:]
OF_THE_PROJECT = ("member", "pi")
DESK = ("operator", "coordinator")
# name of the address -> method, who gets through; everyone else is refused (403), visitors are asked to sign in
TABLE: dict[str, tuple[str, tuple[str, ...]]] = {
    "apply": ("GET", EVERYONE),
    "apply-form": ("GET", SIGNED_IN),
    "organisation": ("GET", SIGNED_IN),
    "applications": ("GET", SIGNED_IN),
    "application": ("GET", ("asker", *DESK, "reviewer", "auditor")),
    "application-decide": ("POST", DESK),
    "application-withdraw": ("POST", ("asker",)),
    "jobs": ("GET", EVERYONE),
    "job": ("GET", (*OF_THE_PROJECT, "operator", "auditor")),
    "job-sooner": ("GET", (*OF_THE_PROJECT, "operator", "auditor")),
    "job-log": ("GET", OF_THE_PROJECT),
    "job-log-file": ("GET", OF_THE_PROJECT),
    "job-cancel": ("POST", (*OF_THE_PROJECT, "operator")),
    "projects": ("GET", SIGNED_IN),
    "project": ("GET", (*OF_THE_PROJECT, *DESK, "auditor")),
    "project-invite": ("POST", ("pi",)),
    "member-remove": ("POST", ("pi",)),
    "join": ("GET", EVERYONE),
    "submit": ("GET", OF_THE_PROJECT),
    "statement": ("GET", (*OF_THE_PROJECT, *DESK, "auditor")),
    "pool-statement": ("GET", (*DESK, "funder", "auditor")),
    "operate": ("GET", (*DESK, "auditor")),
    "operator": ("GET", (*DESK, "auditor")),
    "operate-resume": ("POST", ("operator",)),
    "operate-verify": ("POST", (*DESK, "funder", "auditor")),
    "operate-record": ("GET", ("coordinator", "auditor")),
    "what-if": ("GET", (*DESK, "funder", "auditor")),
    "what-if-ask": ("POST", ("operator",)),
    "what-if-result": ("GET", (*DESK, "funder", "auditor")),
    "roles": ("GET", (*DESK, "reviewer", "funder", "auditor")),
    "role-grant": ("POST", (*DESK, "reviewer", "funder", "auditor")),
    "role-end": ("POST", (*DESK, "reviewer", "funder", "auditor")),
    "rules": ("GET", (*DESK, "funder", "auditor")),
    "rules-propose": ("POST", ("operator",)),
    "rules-decide": ("POST", ("coordinator", "funder")),
    "api-docs": ("GET", EVERYONE),
    "api-openapi": ("GET", EVERYONE),
}
LET_IN = (200, 302, 400, 404, 409)  # what a service says then is another test's


def address(name: str, desk: Any) -> str:
    return {
        "apply": "/apply",
        "apply-form": "/apply/lasalle_startup",
        "organisation": "/organisation",
        "applications": "/applications",
        "application": f"/applications/{desk.waiting.id}",
        "application-decide": f"/applications/{desk.waiting.id}/decide",
        "application-withdraw": f"/applications/{desk.waiting.id}/withdraw",
        "jobs": "/jobs",
        "job": f"/jobs/{desk.job.number}",
        "job-sooner": f"/jobs/{desk.job.number}/sooner",
        "job-log": f"/jobs/{desk.job.number}/log",
        "job-log-file": f"/jobs/{desk.job.number}/log.txt",
        "job-cancel": f"/jobs/{desk.job.number}/cancel",
        "projects": "/projects",
        "project": f"/projects/{desk.project.code}",
        "project-invite": f"/projects/{desk.project.code}/invitations",
        "member-remove": f"/projects/{desk.project.code}/members/remove",
        "join": f"/join/{desk.invitation()}",
        "submit": f"/projects/{desk.project.code}/submit",
        "statement": f"/statements/{desk.project.code}.html",
        "pool-statement": "/statements/pool/startup.html",
        "operate": "/operate",
        "operator": "/operator",
        "operate-resume": "/operate/resume",
        "operate-verify": "/operate/verify",
        "operate-record": "/operate/record",
        "what-if": "/operate/what-if",
        "what-if-ask": "/operate/what-if/ask",
        "what-if-result": f"/operate/what-if/{UUID(int=0)}",
        "roles": "/operate/roles",
        "role-grant": "/operate/roles/grant",
        "role-end": "/operate/roles/end",
        "rules": "/operate/rules",
        "rules-propose": "/operate/rules/propose",
        "rules-decide": f"/operate/rules/{UUID(int=0)}/decide",
        "api-docs": "/api/v1/docs",
        "api-openapi": "/api/v1/openapi.json",
    }[name]


def ours(patterns: list[URLPattern | URLResolver]) -> Iterator[str]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from ours(pattern.url_patterns)
        elif pattern.name:
            yield pattern.name


def test_the_table_has_every_address_of_the_desk() -> None:
    from fabrique.portal import desk_urls

    named = set(ours(desk_urls.urlpatterns))
    assert named == set(TABLE)
    assert named <= set(ours(get_resolver().url_patterns))


@pytest.mark.parametrize("name", TABLE)
def test_who_is_let_in(name: str, desk: Any) -> None:
    from django.db import transaction

    method, allowed = TABLE[name]
    told = {}
    for who in EVERYONE:
        client = desk.client("" if who == "visitor" else who)
        saved = transaction.savepoint()
        response = client.get(address(name, desk)) if method == "GET" else client.post(address(name, desk))
        transaction.savepoint_rollback(saved)
        told[who] = response.status_code
        if who == "visitor" and who not in allowed:
            assert sign_in_asked(response, method), (name, response.status_code)
        elif who not in allowed:
            assert response.status_code == 403, (name, who)
    assert {who for who in allowed if told[who] in LET_IN} == set(allowed), (name, told)


def sign_in_asked(response: Any, method: str) -> bool:
    if method == "GET":
        return response.status_code == 302 and response.headers["Location"].startswith("/account/login/?next=")
    return bool(response.status_code == 403)


def test_an_officer_never_decides_their_own_application(desk: Any) -> None:
    from fabrique.apps.people import services as people

    office = people.create_organisation("desk", "public-body", "CA", now=1)
    people.grant_role(desk.people["asker"], "coordinator", office, now=1)
    client = desk.client("asker")
    sent = {"decision": "accept", "note": "my own"}
    assert client.post(f"/applications/{desk.waiting.id}/decide", sent).status_code == 403
    assert b'name="decision"' not in client.get(f"/applications/{desk.waiting.id}").content
    desk.waiting.refresh_from_db()
    assert desk.waiting.state == "submitted"
