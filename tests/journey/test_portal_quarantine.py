"""The operator's page says what is in quarantine, why and since when, on a wide and on a narrow screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.clusters import CLUSTER, ClusterBench, found_on_cluster
from tests.unit.scripted import T0

from fabrique.apps.now import now_ms
from fabrique.apps.people import services as people
from fabrique.operate.doors import project_of
from fabrique.operate.ingest import Ingest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("width", [1280, 360])
def test_the_quarantine_is_shown_to_operators(
    browser: Browser, live_server: Any, client: Any, settings: Any, tmp_path: Path, width: int
) -> None:
    settings.HOME = tmp_path / "home"
    bench = ClusterBench(found_on_cluster(settings.HOME))
    office = people.create_organisation("Op", "public-body", "CA", now=T0)
    operator = people.create_person("Op", "op@hub.example", now=T0)
    people.grant_role(operator, "operator", office, now=now_ms())
    for job_id in range(3):
        bench.slurm.ran(job_id, T0, account="chemistry<b>", submitted_ms=T0 + 1_000 * job_id)
    bench.slurm.ran(9, T0, partition="debug")
    bench.now = T0 + 60_000
    Ingest(bench.here, CLUSTER, project_of).look(bench.slurm, None, now=bench.now)
    client.force_login(operator, backend="allauth.account.auth_backends.AuthenticationBackend")
    context = browser.new_context(base_url=str(live_server), viewport={"width": width, "height": 900})
    cookies = {"sessionid": client.cookies["sessionid"].value}
    for language, title in (("fr", "quarantaine"), ("fr-ca", "quarantaine"), ("en", "quarantine")):
        context.add_cookies(
            [
                {"name": k, "value": v, "url": str(live_server)}
                for k, v in (*cookies.items(), ("fabrique-language", language))
            ]
        )
        page = context.new_page()
        page.goto("/operate")
        shown = page.locator("#ran")
        assert title in shown.inner_text()
        assert "chemistry<b>" in shown.inner_text()
        assert shown.locator("tbody tr").count() == 2
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        page.close()
    context.close()
