"""How the portal looks and moves: contrast, small screens, keyboard, quiet refresh, no JavaScript, no broken policy."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fabrique.apps.energy.models import Window
from fabrique.apps.now import now_ms
from fabrique.operate import founding
from fabrique.portal.pages import home as home_page

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.django_db(transaction=True)
PAGES = (
    "/",
    "/hub",
    "/hubs",
    "/hub/lu-meluxina-ai",
    "/search?q=hub",
    "/sign-in/abc",
    "/account/login/",
    "/account/signup/",
    "/nothing",
)
CSS = Path(home_page.__file__).parents[1] / "static" / "fabrique.css"


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_texts_keep_their_contrast_in_light_and_dark(scheme: int) -> None:
    blocks = re.findall(r":root \{([^}]*)\}", CSS.read_text(encoding="utf-8"))
    tokens: dict[str, str] = {}
    for block in blocks[: scheme + 1]:
        tokens |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    pairs = [(ink, ground) for ink in ("ink", "muted", "accent", "bad") for ground in ("ground", "sheet")]
    pairs += [("accent-ink", "accent"), ("accent", "accent-pale"), ("ink", "accent-pale"), ("ink", "track")]
    pairs += [(state, f"{state}-pale") for state in ("good", "warn", "bad")]
    pairs += [("ink", f"{state}-pale") for state in ("good", "warn", "bad")]
    assert {
        pair: contrast(tokens[pair[0]], tokens[pair[1]])
        for pair in pairs
        if contrast(tokens[pair[0]], tokens[pair[1]]) < 4.5
    } == {}
    assert contrast(tokens["edge"], tokens["sheet"]) >= 3  # the edge of a field


@pytest.fixture
def visited(tmp_path: Path, settings: Any, page: Page) -> Page:
    """A page on a hub that has drawn 34 W for a while."""
    now = now_ms()
    settings.HOME = tmp_path
    founding.make_home(tmp_path, "ca-lasalle-hub", port=8000, now=now)
    here = founding.furnish(now=now)
    known = {"meter_mj": 3_400_000, "jobs_mj": 2_000_000, "idle_mj": 1_400_000, "overhead_mj": 0, "residual_mj": 0}
    Window.objects.create(
        site=here.site, start_ms=now - 100_000, end_ms=now, cap_w=65, provenance={"basis": "modelled"}, **known
    )
    return page


WIDEST = """cells => cells.filter(cell => {
  const inside = cell.clientWidth - parseFloat(getComputedStyle(cell).paddingRight);
  return cell.textContent.trim().split(/\\s+/).some(word => {
    const probe = document.createElement("span");
    probe.style.cssText = "position:absolute; white-space:nowrap";
    probe.textContent = word;
    cell.append(probe);
    const wide = probe.offsetWidth;
    probe.remove();
    return wide > inside + 1;
  });
}).map(cell => cell.textContent)"""


def test_no_word_of_a_list_is_broken_in_two(visited: Page, live_server: Any) -> None:
    visited.set_viewport_size({"width": 1280, "height": 800})
    for language in ("fr", "en"):
        visited.context.add_cookies([{"name": "fabrique-language", "value": language, "url": str(live_server)}])
        for path in ("/hubs", "/search?q=hub"):
            visited.goto(path)
            assert visited.locator("td.word").count() > 0
            assert visited.eval_on_selector_all("td.word", WIDEST) == [], path


def test_nothing_scrolls_sideways_and_no_policy_is_broken(visited: Page) -> None:
    said: list[str] = []
    visited.on("console", lambda message: said.append(message.text))
    visited.on("pageerror", lambda error: said.append(str(error)))
    for width in (360, 700, 1280):
        visited.set_viewport_size({"width": width, "height": 800})
        for path in PAGES:
            visited.goto(path)
            assert visited.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
            shown = visited.locator("svg.chart:visible").count()
            assert shown == visited.locator("figure").count(), "one of the two drawings"
    assert [text for text in said if "404" not in text] == []


def test_a_slash_finds_the_search_and_the_keyboard_skips_to_the_content(visited: Page) -> None:
    visited.goto("/hubs")
    visited.keyboard.press("Tab")
    assert visited.evaluate("document.activeElement.className") == "skip"
    visited.keyboard.press("/")
    assert visited.evaluate("document.activeElement.id") == "search"
    visited.keyboard.type("meluxina")
    visited.keyboard.press("Enter")
    visited.wait_for_url("**/search?q=meluxina")
    assert visited.locator("main a[href='/hub/lu-meluxina-ai']").count() == 1


def test_the_glance_refreshes_quietly_and_keeps_what_is_open(visited: Page) -> None:
    visited.goto("/")
    first = visited.locator("#now h1").inner_text()
    visited.locator("#now details").first.evaluate("d => d.open = true")
    visited.evaluate("document.getElementById('now').dataset.refresh = '2'")
    Window.objects.update(meter_mj=5_000_000)
    visited.evaluate(
        """async () => {
            const again = document.createElement('script');
            again.src = document.querySelector('script[src*="fabrique.js"]').src + '?again';
            document.head.append(again);
        }"""
    )
    deadline = time.monotonic() + 15
    while visited.locator("#now h1").inner_text() == first and time.monotonic() < deadline:
        visited.wait_for_timeout(200)
    assert "50" in visited.locator("#now h1").inner_text()
    assert visited.locator("#now details").first.evaluate("d => d.open")


def test_it_all_works_without_javascript(visited: Page, live_server: Any) -> None:
    browser = visited.context.browser
    assert browser
    context = browser.new_context(
        base_url=str(live_server), java_script_enabled=False, viewport={"width": 360, "height": 800}
    )
    plain = context.new_page()
    plain.goto("/")
    assert plain.locator("html").get_attribute("lang") == "fr-ca"
    plain.locator("label.menu-label").click()
    plain.locator("details.drop summary").first.click()
    plain.get_by_role("button", name="English").click()
    assert plain.locator("html").get_attribute("lang") == "en"
    assert "The hub draws" in plain.locator("h1").inner_text()
    plain.locator("summary", has_text="As a table").first.click()
    assert plain.locator("figure table").first.is_visible()
    context.close()
