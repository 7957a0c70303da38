"""From a replay to rules in force: an operator asks and proposes, a funder consents; and the process that replays."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client

from fabrique.apps.access import services as access
from fabrique.apps.jobs.models import Job, Run
from fabrique.apps.now import now_ms
from fabrique.apps.people import services as people
from fabrique.apps.people.models import Person
from fabrique.apps.rules.models import WhatIf
from fabrique.operate import founding, what_if

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.django_db(transaction=True)
HOUR, DAY = 3_600_000, 86_400_000


@pytest.fixture
def office(settings: Any, tmp_path: Any) -> dict[str, Person]:
    """A hub with an operator, a funder, and three weeks of jobs."""
    now = now_ms()
    settings.HOME = tmp_path
    founding.make_home(tmp_path, "ca-lasalle-hub", port=8000, now=now)
    here = founding.furnish(now=now)
    persons = {}
    for role in ("operator", "funder"):
        persons[role] = people.create_person(role.title(), f"{role}@rules.example", now=now)
        own = people.create_organisation(f"{role}’s office", "public-body", "CA", now=now)
        people.grant_role(persons[role], role, own, now=now)
    pi = people.create_person("Pi", "pi@rules.example", now=now)
    mode = access.find_mode("lasalle_startup", now=now)
    form = {
        "title": "Past", "summary": "s", "organisation_kind": "startup", "country": "CA", "founded": "2025-01-01",
        "staff": "5", "turnover": "1", "kind": "local-core", "hours": "10", "months": "1", "civilian": "yes",
        "data_class": "public", "confidential": "no",
    }  # fmt: skip
    form |= {f"ethics.{q.id}": "yes" if q.settled else "no" for q in mode.ethics}
    project = access.submit(access.save_draft(pi, mode.id, form, now=now), pi, now=now).project
    assert project is not None
    drawn, allocation = random.Random(1), project.allocations.get()
    for n in range(200):
        at, cores, ran = now - 21 * DAY + n * 21 * DAY // 200, drawn.choice([1, here.cores]), drawn.randint(1, 4) * HOUR
        spec = {
            "cores": cores, "milli_devices": 0, "walltime_ms": 6 * HOUR, "not_before_ms": None, "deadline_ms": None,
            "latest_start_ms": None, "preemptible": False,
        }  # fmt: skip
        job = Job.objects.create(
            project=project, allocation=allocation, submitter=pi, name="past", spec=spec, script="",
            status="completed", submitted_ms=at, changed_ms=at,
        )  # fmt: skip
        Run.objects.create(
            job=job, engine="local", partition="this-machine", kind="local-core", unit="core-ms:local-core",
            share_milli=cores * 1000, hold=job.key, state="ended", planned_ms=at, elapsed_ms=ran,
            energy_mj=ran * 9 * cores,
        )  # fmt: skip
    return persons


def signed_in(page: Page, person: Person, origin: str, language: str = "en") -> None:
    client = Client()
    client.force_login(person, backend="allauth.account.auth_backends.AuthenticationBackend")
    cookies = {"sessionid": client.cookies["sessionid"].value, "fabrique-language": language}
    page.context.add_cookies([{"name": name, "value": value, "url": origin} for name, value in cookies.items()])


def test_a_replay_leads_to_rules_that_a_second_person_consents_to(
    page: Page, browser: Browser, live_server: Any, office: dict[str, Person]
) -> None:
    origin = str(live_server)
    signed_in(page, office["operator"], origin)
    page.goto("/operate/what-if")
    page.check("input[value=easy]")
    page.check("input[value=fifo]")
    page.locator("main details summary").click()
    page.fill("[name=carbon]", "abc")
    page.get_by_role("button", name="Replay").click()
    assert "carbon" in page.locator("[role=alert]").inner_text()
    assert page.is_checked("input[value=fifo]") and page.input_value("[name=carbon]") == "abc"  # nothing was lost
    page.fill("[name=carbon]", "2")
    page.get_by_role("button", name="Replay").click()
    assert "waits for its turn" in page.locator("h1").inner_text()
    what_if.perform(WhatIf.objects.get().id)
    page.wait_for_selector("#what-if figure", timeout=10_000)  # by itself, without a reload
    assert page.locator("#what-if[hx-get]").count() == 0
    assert page.locator("section h2", has_text="easy").count() == 1
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.select_option("[name=rules]", "easy")
    page.fill("[name=note]", "Waits are shorter.")
    page.get_by_role("button", name="Propose").click()
    assert page.get_by_role("button", name="Consent").count() == 0  # not one's own
    page.set_viewport_size({"width": 360, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360

    other = browser.new_context(base_url=origin, java_script_enabled=False)
    second = other.new_page()
    signed_in(second, office["funder"], origin, "fr-ca")
    second.goto("/operate/rules")
    second.fill("[name=note]", "D’accord.")
    second.get_by_role("button", name="Donner son accord").click()
    assert "easy" in second.locator("h1").inner_text()
    other.close()


INSERT = """
import django; django.setup()
from fabrique.apps.people.models import Person
from fabrique.apps.rules import replays
from fabrique.apps.now import now_ms
asked = {"weeks": 1, "rules": ["fifo"], "cap_w": None, "devices_permille": {}, "carbon_permille": 1000,
         "price_permille": 1000}
print(replays.ask(Person.objects.get(roles__role="operator"), asked, now=now_ms()).id)
"""
READ = """
import django; django.setup()
from fabrique.apps.rules.models import WhatIf
import json; one = WhatIf.objects.get(); print(json.dumps([one.state, one.error, one.attempts]))
"""


def test_the_loop_has_it_replayed_by_a_process_of_its_own(home: Any) -> None:
    def told(source: str) -> str:
        environment = {**home.environment, "DJANGO_SETTINGS_MODULE": "fabrique.portal.settings"}
        done = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    told(INSERT)
    loop = home.start("operate")
    try:
        deadline = time.monotonic() + 40
        while (found := json.loads(told(READ)))[0] in ("waiting", "running") and time.monotonic() < deadline:
            time.sleep(0.5)
    finally:
        loop.terminate()
        loop.communicate(timeout=30)
    assert found == ["failed", {"code": "what-if.few", "params": {"jobs": 0, "least": 10}}, 1]
