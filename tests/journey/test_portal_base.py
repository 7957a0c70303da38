"""The portal's base as a visitor meets it: languages, sign-in, errors, security, home, hub, search."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import translation

from fabrique.apps.energy.models import Window
from fabrique.apps.jobs.models import HubState
from fabrique.apps.now import now_ms
from fabrique.apps.people import services as people
from fabrique.apps.this_hub import ThisHub
from fabrique.core.errors import FabriqueError
from fabrique.operate import founding
from fabrique.portal import errors
from fabrique.portal.pages import home as home_page

pytestmark = pytest.mark.django_db
PAGES = (
    "/",
    "/hub",
    "/hubs",
    "/hub/lu-meluxina-ai",
    "/search?q=hub",
    "/sign-in/abc",
    "/account/login/",
    "/account/signup/",
)


@pytest.fixture(autouse=True)
def english_afterwards() -> Any:
    yield
    translation.activate("en")


@pytest.fixture
def found(tmp_path: Path, settings: Any) -> Callable[[str], ThisHub]:
    def make(hub: str = "ca-lasalle-hub") -> ThisHub:
        settings.HOME = tmp_path
        founding.make_home(tmp_path, hub, port=8000, now=now_ms())
        return founding.furnish(now=now_ms())

    return make


def asked(**headers: str) -> Client:
    return Client(headers={name.replace("_", "-"): value for name, value in headers.items()})


def language(client: Client, path: str = "/") -> str:
    response = client.get(path)
    assert response.status_code == 200
    found = re.search(r'<html lang="([^"]+)"', response.content.decode())
    assert found
    assert response.headers["Content-Language"] == found[1]
    return found[1]


# --- language -----------------------------------------------------------------------------------------------------


def test_quebecs_law_serves_french_first_and_english_on_request(found: Callable[[str], ThisHub]) -> None:
    found("ca-lasalle-hub")
    client = asked(Accept_Language="en-CA,en;q=0.9")
    assert language(client) == "fr-ca"
    answer = client.post("/language", {"language": "en", "back": "/hubs"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/hubs")
    assert language(client) == "en"
    client.post("/language", {"language": "fr", "back": "/"})
    assert language(client) == "fr"


def test_elsewhere_the_browser_is_heard_among_our_languages(found: Callable[[str], ThisHub]) -> None:
    found("lu-meluxina-ai")
    heard = {"en-GB,en": "en", "de,en;q=0.5": "en", "fr-CH": "fr", "fr-CA": "fr-ca", "de": "fr", "": "fr"}
    assert {tags: language(asked(Accept_Language=tags)) for tags in heard} == heard
    assert language(asked(Accept_Language="en;q=0.1, fr;q=0.9")) == "fr"


def test_a_language_that_is_not_ours_is_refused_and_no_redirect_leaves(found: Callable[[str], ThisHub]) -> None:
    found("lu-meluxina-ai")
    client = Client()
    assert client.post("/language", {"language": "xx"}).status_code == 400
    for back in ("https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "", "/x\r\nA: b"):
        assert client.post("/language", {"language": "en", "back": back}).headers["Location"] == "/"
    assert client.get("/language").status_code == 405
    client.cookies["fabrique-language"] = "../../etc"
    assert language(client) in ("fr", "fr-ca", "en")


def speaking(code: str) -> Client:
    client = Client(raise_request_exception=False)
    client.cookies["fabrique-language"] = code
    return client


@pytest.mark.parametrize("code", ["fr", "fr-ca", "en"])
def test_every_page_speaks_its_language_whole(found: Callable[[str], ThisHub], code: str) -> None:
    found("ca-lasalle-hub")
    for path in PAGES:
        text = speaking(code).get(path).content.decode()
        assert f'<html lang="{code}"' in text, path
        assert ('name="language"' in text) and ('action="/language"' in text), "the switch is on every page"
        if code != "en":
            assert "Aller au contenu" in text
            assert not re.search(r">\s*(Sign in|The hub|Search|As a table|Value|Overview)\s*<", text), path


# --- security -----------------------------------------------------------------------------------------------------


def test_nothing_from_elsewhere_and_nothing_inline(found: Callable[[str], ThisHub]) -> None:
    found("ca-lasalle-hub")
    for path in [*PAGES, "/nothing", "/verifier.py", "/healthz"]:
        guarded(Client().get(path))


def guarded(response: Any) -> None:
    policy = response.headers["Content-Security-Policy"]
    assert "'unsafe" not in policy
    for part in ("default-src 'self'", "object-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"):
        assert part in policy
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "camera=()" in response.headers["Permissions-Policy"]
    if "html" in response.headers["Content-Type"]:
        text = response.content.decode()
        assert not re.search(r"\sstyle=|<style|\son\w+=|<script(?![^>]*src=)", text)
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text)


HOSTILE = [
    "/%00",
    "/hub/%00",
    "/hub/../../etc/passwd",
    "/hub/" + "a" * 4000,
    "/search?q=%00%ff",
    "/search?q=" + "9" * 99,
]
HOSTILE += [
    "/sign-in/%F0%9F%98%80",
    "/hub/%ED%A0%80",
    "/search?q=%25%27%22%3Cscript%3E",
    "//evil.example/",
    "/hub/..%2f..",
]


def test_hostile_addresses_are_never_a_fault_of_ours(found: Callable[[str], ThisHub]) -> None:
    found("ca-lasalle-hub")
    for path in HOSTILE:
        never_a_fault(path)


def never_a_fault(path: str) -> None:
    client = Client(raise_request_exception=False)
    response = client.get(
        path, headers={"Accept-Language": "x" * 5000, "Cookie": "fabrique-language=\x01; sessionid=%00"}
    )
    assert response.status_code in (200, 301, 400, 404), path
    assert b"Traceback" not in response.content
    assert b"<script>" not in response.content.replace(b"<script src", b"")


def test_an_unknown_host_gets_a_page_not_a_traceback(found: Callable[[str], ThisHub]) -> None:
    found("ca-lasalle-hub")
    response = Client().get("/", headers={"Host": "evil.example"})
    assert response.status_code == 400
    assert b"request.broken" in response.content


# --- errors -------------------------------------------------------------------------------------------------------


def test_an_error_is_a_page_with_its_status_sentence_and_code(found: Callable[[str], ThisHub]) -> None:
    found("ca-lasalle-hub")
    client = speaking("en")
    response = client.get("/hub/nothing")
    assert response.status_code == 404
    assert b"There is no definition \xe2\x80\x9cnothing\xe2\x80\x9d." in response.content
    assert b"definition.missing" in response.content
    response = client.get("/nowhere")
    assert response.status_code == 404
    assert b"page.missing" in response.content


def test_every_sort_of_error_has_its_status(rf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {
        "request.broken": 400,
        "right.denied": 403,
        "job.missing": 404,
        "job.state": 409,
        "engine.unavailable": 503,
    }
    from django.contrib.auth.models import AnonymousUser

    for code, status in wanted.items():
        for path in ("/x", "/api/v1/x"):
            request = rf.get(path)
            request.user = AnonymousUser()
            response = errors.answer(request, FabriqueError(code))
            assert response.status_code == status
            assert code.encode() in response.content
    away = rf.get("/jobs/7?log=1")
    answer = errors.answer(away, FabriqueError("sign-in.needed"))
    assert (answer.status_code, answer.headers["Location"]) == (302, "/account/login/?next=%2Fjobs%2F7%3Flog%3D1")
    assert errors.answer(rf.get("/api/v1/jobs"), FabriqueError("sign-in.needed")).status_code == 403


def test_json_below_the_api_says_the_reason_and_no_number_loses_digits(rf: Any) -> None:
    error = FabriqueError("ledger.overdraft", unit="mJ", asked=2**60, available=1)
    answer = errors.answer(rf.get("/api/v1/jobs"), error)
    assert answer.headers["Content-Type"] == "application/json"
    assert str(2**60).encode() in answer.content
    assert f'"{2**60}"'.encode() in answer.content


def test_a_fault_of_ours_is_a_page_without_traceback(
    found: Callable[[str], ThisHub], monkeypatch: pytest.MonkeyPatch
) -> None:
    found("ca-lasalle-hub")

    def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(home_page, "answer", fail)
    response = Client(raise_request_exception=False).get("/")
    assert response.status_code == 500
    assert b"secret detail" not in response.content
    assert b"hub.error" in response.content


def test_a_form_from_elsewhere_is_refused_in_words(found: Callable[[str], ThisHub]) -> None:
    found("ca-lasalle-hub")
    client = Client(enforce_csrf_checks=True, headers={"Cookie": "fabrique-language=en"})
    response = client.post("/language", {"language": "en"})
    assert response.status_code == 403
    assert b"request.csrf" in response.content


# --- signing in ---------------------------------------------------------------------------------------------------


def test_looking_at_a_link_does_not_burn_it_and_it_works_once(found: Callable[[str], ThisHub]) -> None:
    found("ca-lasalle-hub")
    person = people.create_person("Odile Pérusse", "odile@hub.test", now=now_ms())
    token = people.make_sign_in_link(person, now=now_ms())
    client = Client()
    for _ in range(3):
        assert client.get(f"/sign-in/{token}").status_code == 200
    assert client.head(f"/sign-in/{token}").status_code == 200
    answer = client.post(f"/sign-in/{token}")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    page = client.get("/")
    assert "Odile Pérusse" in page.content.decode()
    assert "no-store" in page.headers["Cache-Control"]
    assert Client().post(f"/sign-in/{token}").status_code == 403
    assert Client().post("/sign-in/not-a-token").status_code == 403


def test_an_account_is_made_with_a_name_an_address_and_a_password(found: Callable[[str], ThisHub]) -> None:
    found("ca-lasalle-hub")
    client = Client()
    form = {"name": "Jeanne Mance", "email": "jeanne@hub.test", "password1": "une phrase assez longue"}
    assert client.post("/account/signup/", form).status_code == 302
    assert people.find_person("jeanne@hub.test").name == "Jeanne Mance"
    assert "Jeanne Mance" in client.get("/").content.decode()
    client.post("/account/logout/")
    assert "Jeanne Mance" not in client.get("/").content.decode()
    entry = {"login": "jeanne@hub.test", "password": "une phrase assez longue"}
    assert client.post("/account/login/?next=https://evil.example/", entry).headers["Location"] == "/"
    assert client.get("/account/password/change/").status_code == 200
    assert client.get("/account/password/reset/").status_code == 404, "no mail is promised"


# --- pages --------------------------------------------------------------------------------------------------------


def test_before_a_hub_exists_the_home_page_says_what_to_do(tmp_path: Path, settings: Any) -> None:
    settings.HOME = tmp_path
    response = Client().get("/")
    assert response.status_code == 200
    assert b"fabrique init" in response.content
    assert Client().get("/hub").status_code == 404


def test_the_first_visit_says_what_to_do(found: Callable[[str], ThisHub]) -> None:
    found("ca-lasalle-hub")
    client = speaking("en")
    text = client.get("/").content.decode()
    assert "Nothing has been measured yet." in text
    assert 'href="/apply"' in text
    assert "The control loop has not run yet" in text


def test_the_first_line_is_the_power_under_the_cap(found: Callable[[str], ThisHub]) -> None:
    here = found("ca-lasalle-hub")
    now = now_ms()
    window = {
        "meter_mj": 34 * 60_000,
        "jobs_mj": 20 * 60_000,
        "idle_mj": 14 * 60_000,
        "overhead_mj": 0,
        "residual_mj": 0,
    }
    known = {"basis": "modelled", "how": "linear", "error_permille": 370}
    Window.objects.create(
        site=here.site, start_ms=now - 60_000, end_ms=now, cap_w=here.cap_w, provenance=known, **window
    )
    HubState.objects.update_or_create(pk=1, defaults={"last_cycle_ms": now})
    client = speaking("en")
    text = client.get("/").content.decode().replace("\u00a0", " ")
    assert f"The hub draws 34 W of its {here.cap_w} W cap." in text
    assert "The model is off by up to 37%." in text
    assert "A kilowatt-hour here costs 34.8 g CO₂e." in text
    assert "has not been heard of" not in text
    assert "Le hub consomme 34 W sur les" in speaking("fr").get("/").content.decode().replace("\u00a0", " ")


def test_the_hub_page_shows_every_value_with_its_source_and_every_assumption(found: Callable[[str], ThisHub]) -> None:
    from django.utils.html import escape

    from fabrique.core.hub import walk
    from fabrique.definitions import hubs

    found("ca-lasalle-hub")
    client = speaking("en")
    for hub_id in hubs.builtin():
        hub = hubs.load_builtin(hub_id)
        text = client.get(f"/hub/{hub_id}").content.decode()
        for path, fact in walk(hub):
            if isinstance(fact.value, str) and not path.endswith((".kind", "power_cap_point")):
                assert escape(fact.value) in text, f"{hub_id}: {path}"
            for source in fact.source:
                assert escape(source) in text, f"{hub_id}: {source}"
            assert not fact.note or escape(fact.note) in text, f"{hub_id}: {path}"
        assert text.count('class="tag warn">assumption<') == sum(f.rests_on_assumption for _, f in walk(hub))
        for conflict in hub.conflicts:
            assert escape(conflict) in text
    assert client.get("/hubs").content.decode().count('href="/hub/') >= 14


def test_search_finds_only_what_one_may_see(found: Callable[[str], ThisHub]) -> None:
    from fabrique.apps.access.models import Project, ProjectMember

    found("ca-lasalle-hub")
    now = now_ms()
    owner = people.create_person("Ana Pires", "ana@x.test", now=now)
    stranger = people.create_person("Bo Holm", "bo@x.test", now=now)
    organisation = people.create_organisation("Atelier", "startup", "CA", now=now)
    project = Project.objects.create(
        code="p-secret", serial=900, title="Boreal", organisation=organisation, created_ms=now
    )
    ProjectMember.objects.create(project=project, person=owner, role="pi", since_ms=now - 1)
    seen = {}
    for person in (owner, stranger, founding.operator(), None):
        client = Client()
        if person:
            client.force_login(person)
        text = client.get("/search?q=boreal").content.decode()
        people_found = "bo@x.test" in client.get("/search?q=holm").content.decode()
        seen[person.email if person else None] = ("p-secret" in text, people_found)
    staff = founding.operator().email
    assert seen == {"ana@x.test": (True, False), "bo@x.test": (False, False), staff: (True, True), None: (False, False)}


def test_the_verifier_and_the_health_of_the_portal(found: Callable[[str], ThisHub]) -> None:
    found("ca-lasalle-hub")
    verifier = Client().get("/verifier.py")
    assert verifier.status_code == 200
    assert "attachment" in verifier.headers["Content-Disposition"]
    compile(verifier.content, "fabrique_verify.py", "exec")
    assert Client().get("/healthz").content == b"ok\n"
