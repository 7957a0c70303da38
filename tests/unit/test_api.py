"""The JSON API: the same rights and answers as the pages, one form of error, exact numbers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fabrique.apps.access.models import Application
from fabrique.apps.jobs.models import Job
from fabrique.apps.now import now_ms
from fabrique.apps.people import services as people
from fabrique.core.reasons import reason
from fabrique.core.units import Amount, Unit
from fabrique.portal.api.plain import plain

pytestmark = pytest.mark.django_db
V1 = "/api/v1"
SCRIPT = "#!/bin/sh\n#fabrique walltime: 5m\ntrue\n"


def send(client: Any, address: str, body: object, method: str = "post") -> tuple[int, Any]:
    text = body if isinstance(body, str) else json.dumps(body)
    response = getattr(client, method)(V1 + address, text, content_type="application/json")
    return response.status_code, response.json()


def get(client: Any, address: str) -> tuple[int, Any]:
    response = client.get(V1 + address)
    return response.status_code, response.json()


# --- from the application to the job ------------------------------------------------------------------------------


def test_the_path_from_an_application_to_a_job(desk: Any) -> None:
    person = desk.people["stranger"]
    people.join(person, people.create_organisation("New & Co", "startup", "CA", now=now_ms()), now=now_ms())
    client, form = desk.client("stranger"), desk.form("lasalle_startup")
    status, told = send(client, "/assess", {"mode": "lasalle_startup", "form": form})
    assert (status, told["verdict"], told["errors"]) == (200, "pass", [])
    status, draft = send(client, "/applications", {"mode": "lasalle_startup", "form": {"title": "T"}})
    assert (status, draft["state"]) == (201, "draft")
    status, error = send(client, f"/applications/{draft['id']}/submit", "")
    assert (status, error["error"]["code"]) == (400, "application.field")
    assert "hours" in error["error"]["params"]["fields"]
    status, _ = send(client, f"/applications/{draft['id']}", {"mode": "lasalle_startup", "form": form}, "put")
    status, done = send(client, f"/applications/{draft['id']}/submit", "")
    assert (status, done["state"], done["reason"]["code"]) == (200, "awarded", "decide.automatic")
    assert done["sentence"] == "Decided at once: every rule of the mode is met."
    assert {a["verdict"] for a in done["answers"]} == {"pass"}
    status, job = send(client, "/jobs", {"project": done["project"], "script": SCRIPT, "flags": {"name": "n"}})
    assert (status, job["status"], job["name"]) == (201, "pending", "n")
    assert get(client, f"/jobs/{job['number']}") == (200, job)
    status, over = send(client, f"/jobs/{job['number']}/cancel", "")
    assert (status, over["status"], over["reason"]) == (200, "cancelled", {"code": "end.cancelled"})


def test_an_invitation_lets_one_person_in(desk: Any) -> None:
    status, made = send(desk.client("pi"), f"/projects/{desk.project.code}/invitations", "")
    token = made["link"].rpartition("/join/")[2]
    assert (status, set(made)) == (201, {"link", "expires_ms"}) and len(token) == 43
    assert abs(made["expires_ms"] - now_ms() - 7 * 86_400_000) < 60_000
    status, refused = send(desk.client(), "/invitations/accept", {"token": token})
    assert (status, refused["error"]["code"]) == (401, "sign-in.needed")
    status, joined = send(desk.client("stranger"), "/invitations/accept", {"token": token})
    assert (status, joined["project"], joined["role"]) == (200, desk.project.code, "member")
    assert get(desk.client("stranger"), f"/projects/{desk.project.code}")[0] == 200
    status, refused = send(desk.client("asker"), "/invitations/accept", {"token": token})
    assert (status, refused["error"]["code"]) == (403, "invitation.used") and token not in str(refused)


def test_amounts_are_text_and_add_up(desk: Any) -> None:
    status, project = get(desk.client("member"), f"/projects/{desk.project.code}")
    line = project["allocations"][0]["lines"][0]
    parts = ("used", "held", "lost", "expired", "transferred", "available")
    assert (status, line["granted"]) == (200, "36000000")
    assert int(line["granted"]) == sum(int(line[p]) for p in parts)
    assert get(desk.client("member"), f"/allocations/{project['allocations'][0]['id']}")[1] == project["allocations"][0]


def test_what_json_cannot_hold_exactly_is_text() -> None:
    assert plain({"n": 2**53 - 1, "m": 2**53, "big": -(2**60)}) == {
        "n": 2**53 - 1,
        "m": str(2**53),
        "big": str(-(2**60)),
    }
    assert plain(Amount(Unit("mJ"), 5)) == {"unit": "mJ", "value": "5"}
    assert plain((reason("end.completed"), None, True)) == [{"code": "end.completed"}, None, True]


def test_the_queue_names_a_project_only_to_those_who_may_see_it(desk: Any) -> None:
    for who, project in (
        ("", None),
        ("stranger", None),
        ("member", desk.project.code),
        ("operator", desk.project.code),
    ):
        status, rows = get(desk.client(who), "/queue")
        assert (status, [r["project"] for r in rows]) == (200, [project]), who


def test_a_verification_takes_checkpoints_from_outside(desk: Any) -> None:
    client = desk.client("auditor")
    kept = get(client, "/ledger/checkpoint")[1]
    status, report = send(client, "/ledger/verify", {"checkpoints": [kept]})
    assert (status, report["ok"], report["checkpoints_checked"] > 0) == (200, True, True)
    forged = {**kept, "entry_hash": "0" * 64}
    assert send(client, "/ledger/verify", {"checkpoints": [forged]})[1]["ok"] is False
    assert send(client, "/ledger/verify", {"checkpoints": [{"hub": "x"}]})[0] == 400


def test_a_statement_is_the_same_as_the_pages_file(desk: Any) -> None:
    client = desk.client("member")
    status, made = get(client, f"/statements/projects/{desk.project.code}?period=2026-01")
    assert (status, made["kind"], made["id"]) == (200, "project", desk.project.code)
    file = client.get(f"/statements/{desk.project.code}.json?period=2026-01").json()
    assert made["allocations"] == file["allocations"]


# --- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "method", "address", "body", "status", "code"),
    [
        ("", "get", "/applications", None, 401, "sign-in.needed"),
        ("", "post", "/jobs", {"script": SCRIPT}, 401, "sign-in.needed"),
        ("stranger", "get", "/projects/{code}", None, 403, "right.denied"),
        ("stranger", "post", "/jobs", {"project": "{code}", "script": SCRIPT}, 403, "right.denied"),
        ("stranger", "post", "/projects/{code}/invitations", "", 403, "right.denied"),
        ("stranger", "post", "/invitations/accept", {"token": "guess"}, 403, "invitation.used"),
        ("stranger", "get", "/statements/pools/startup", None, 403, "right.denied"),
        ("stranger", "post", "/ledger/verify", {}, 403, "right.denied"),
        ("stranger", "get", "/applications?waiting=true", None, 403, "right.denied"),
        ("pi", "get", "/jobs/424242", None, 404, "job.missing"),
        ("pi", "get", "/projects/p-nothing", None, 404, "project.missing"),
        ("pi", "get", "/modes/nothing", None, 404, "mode.missing"),
        ("pi", "get", "/nothing", None, 404, "page.missing"),
        ("pi", "post", "/jobs", {"project": "{code}", "script": "echo"}, 400, "script.broken"),
        (
            "pi",
            "post",
            "/jobs",
            {"project": "{code}", "script": SCRIPT, "flags": {"cores": "9999"}},
            409,
            "job.refused",
        ),
        ("pi", "post", "/jobs", {"project": 3, "script": []}, 400, "request.broken"),
        ("pi", "post", "/jobs", '{"script": "x", "flags": ' + "[" * 500 + "]" * 500 + "}", 400, "request.broken"),
        ("pi", "post", "/jobs", '{"script": "\\u0000"}', 400, "request.broken"),
        ("pi", "post", "/jobs", '{"script": "\\ud800"}', 400, "request.broken"),
        ("pi", "post", "/jobs", '{"script": NaN}', 400, "request.broken"),
        ("pi", "post", "/jobs", "{", 400, "request.broken"),
        ("pi", "post", "/jobs", "[" * 100_000, 400, "request.broken"),
        ("pi", "post", "/assess", {"mode": "lasalle_startup", "form": {"hours": {"deep": 1}}}, 400, "request.broken"),
        ("operator", "post", "/applications/{waiting}/decide", {"accept": 1, "note": "n"}, 400, "request.broken"),
        ("asker", "post", "/applications/{waiting}/submit", "", 409, "application.state"),
    ],
)
def test_errors_have_one_form_and_the_status_that_fits(
    desk: Any, who: str, method: str, address: str, body: object, status: int, code: str
) -> None:
    words = {"{code}": desk.project.code, "{waiting}": str(desk.waiting.id)}
    text = body if isinstance(body, str) else json.dumps(body)
    for name, value in words.items():
        address, text = address.replace(name, value), text.replace(name, value)
    client, jobs = desk.client(who), Job.objects.count()
    found, answer = get(client, address) if method == "get" else send(client, address, text)
    assert (found, set(answer), answer["error"]["code"]) == (status, {"error"}, code), answer
    assert set(answer["error"]) == {"code", "params", "sentence"} and answer["error"]["sentence"]
    assert Job.objects.count() == jobs


def test_complaints_about_a_script_have_their_line(desk: Any) -> None:
    body = {"project": desk.project.code, "script": "#!/bin/sh\n\n#fabrique cpus: 2\n"}
    complaints = send(desk.client("pi"), "/jobs", body)[1]["error"]["params"]["complaints"]
    assert [(c["line"], c["code"]) for c in complaints] == [(3, "value.unknown-key")]


def test_a_write_needs_the_token_that_the_session_gives(desk: Any) -> None:
    client = desk.client("pi", enforce_csrf_checks=True)
    body = json.dumps({"mode": "lasalle_startup", "form": {}})
    refused = client.post(f"{V1}/applications", body, content_type="application/json")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "request.csrf")
    assert Application.objects.filter(state="draft").count() == 0
    headers = {"X-CSRFToken": client.get(f"{V1}/session").json()["csrf_token"]}
    done = client.post(f"{V1}/applications", body, content_type="application/json", headers=headers)
    assert done.status_code == 201


def test_the_sentence_is_in_the_readers_language(desk: Any) -> None:
    client = desk.client()
    client.cookies["fabrique-language"] = "fr"
    assert get(client, "/jobs")[1]["error"]["sentence"].startswith("Connectez")


# --- the description ----------------------------------------------------------------------------------------------


def test_the_description_has_every_address_and_the_page_says_each(desk: Any) -> None:
    schema = desk.client().get(f"{V1}/openapi.json").json()
    page = desk.client().get(f"{V1}/docs").content.decode()
    assert schema["openapi"].startswith("3.") and len(schema["paths"]) > 25
    for address, methods in schema["paths"].items():
        assert f"{address}</code>" in page, address
        assert all(told["summary"] for told in methods.values())
    assert "<script src=" in page and "//cdn" not in page and "https://" not in page
