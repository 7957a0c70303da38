"""A second person, found by the operator, consents to rules: by the command, and in a browser from the sign-up on."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client

from fabrique.apps.now import now_ms
from fabrique.apps.people import services as people
from fabrique.apps.people.models import Role, RoleGrant
from fabrique.apps.rules import services as adoption
from fabrique.apps.this_hub import this_hub
from fabrique.definitions import rules as rule_sets
from fabrique.operate import founding

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CLOE = "cloe@ministere.example"
MAKE_CLOE = f"""
import django; django.setup()
from fabrique.apps.people import services
services.create_person("Cloé", "{CLOE}", now=1_790_000_000_000)
"""


def answer(home: Any, *words: str, code: int = 0) -> Any:
    done = home.run(*words, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.database
def test_on_the_command_line(home: Any) -> None:
    settings = {"DJANGO_SETTINGS_MODULE": "fabrique.portal.settings"}
    subprocess.run([sys.executable, "-c", MAKE_CLOE], env=home.environment | settings, check=True)
    assert [r["role"] for r in answer(home, "role", "list")["roles"]] == ["operator"]
    assert answer(home, "role", "grant", CLOE, "funder", code=2)["error"]["code"] == "role.organisation"
    assert answer(home, "role", "grant", CLOE, "king", code=2)["error"]["code"] == "role.unknown"
    office = ("--organisation", "Ministère", "--kind", "public-body", "--country", "CA")
    given = answer(home, "role", "grant", CLOE, "funder", *office)
    assert (given["name"], given["organisation"], given["granted_by"] is not None) == ("Cloé", "Ministère", True)
    assert answer(home, "role", "grant", CLOE, "auditor", code=5)["error"]["code"] == "role.held"
    proposed = answer(home, "rules", "propose", "easy", "--note", "shorter waits")
    assert answer(home, "rules", "consent", "--note", "me too", code=3)["error"]["code"] == "right.denied"
    adopted = answer(home, "--as", CLOE, "rules", "consent", proposed["id"], "--note", "d’accord")
    assert (adopted["state"], adopted["decided_by"]) == ("adopted", given["person"])
    assert answer(home, "rules", "list")["in_force"]["rules"] == "easy"
    assert answer(home, "--as", CLOE, "role", "end", CLOE, "funder", code=5)["error"]["code"] == "role.last"
    assert answer(home, "ledger", "verify")["ok"]
    listed = home.run("--language", "fr", "role", "list")
    assert "financeur" in listed.stdout and "Vous pouvez confier" in listed.stdout
    mistaken = home.run("--language", "fr", "role", "grant", CLOE, "king")
    assert mistaken.returncode == 2 and "opérateur, coordinateur" in mistaken.stderr


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("width", [1280, 360])
def test_in_a_browser(width: int, page: Page, browser: Browser, live_server: Any, settings: Any, tmp_path: Any) -> None:
    settings.HOME = tmp_path
    founding.make_home(tmp_path, "ca-lasalle-hub", port=8000, now=now_ms())
    founding.furnish(now=now_ms())
    origin = str(live_server)
    context = browser.new_context(base_url=origin, viewport={"width": width, "height": 800})
    funder = context.new_page()
    context.add_cookies([{"name": "fabrique-language", "value": "fr-ca", "url": origin}])
    funder.goto("/account/signup/")
    for name, value in (("name", "Cloé Roy"), ("email", CLOE), ("password1", "une phrase bien longue")):
        funder.fill(f"[name={name}]", value)
    funder.click("main button")

    client = Client()
    client.force_login(founding.operator(), backend="allauth.account.auth_backends.AuthenticationBackend")
    page.context.add_cookies(
        [{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": origin},
         {"name": "fabrique-language", "value": "fr", "url": origin}]
    )  # fmt: skip
    page.set_viewport_size({"width": width, "height": 800})
    page.goto("/operate")
    page.select_option("[name=role]", "funder")
    page.fill("[name=email]", CLOE)
    page.click("section#roles details summary")
    page.fill("section#roles [name=name]", "Ministère")
    page.select_option("[name=kind]", "public-body")
    page.select_option("[name=country]", "CA")
    fits(page, width)
    page.get_by_role("button", name="Continuer").click()
    assert "Cloé Roy" in page.inner_text("section[aria-labelledby=h-asked]")
    fits(page, width)
    page.get_by_role("button", name="Oui, confier le rôle").click()
    assert "Ministère" in page.inner_text("section#roles")
    assert RoleGrant.objects.get(role=Role.FUNDER).granted_by == founding.operator().id

    rules = rule_sets.load("easy")
    adoption.propose(this_hub(), founding.operator(), rules, note="moins d’attente", now=now_ms())
    funder.goto("/operate/roles")
    fits(funder, width)
    funder.goto("/operate/rules")
    fits(funder, width)
    funder.fill("[name=note]", "D’accord.")
    funder.get_by_role("button", name="Donner son accord").click()
    assert "easy" in funder.inner_text("h1")
    adopted = adoption.in_force(now_ms())
    assert adopted is not None and adopted.decided_by == people.find_person(CLOE)
    context.close()


def fits(page: Page, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width
