"""A stranger's whole path in a real browser: apply, be told, submit, watch, read, count, take the statement away.

The hub is `fabrique up` itself: portal, control loop, real processes.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

FABRIQUE = Path(sys.executable).parent / "fabrique"
VERIFIER = Path(__file__).parents[2] / "src" / "fabrique" / "verifier" / "fabrique_verify.py"
PASSWORD = "a pass phrase for a test"
SCRIPT = """#!/usr/bin/env python3
#fabrique name: forests
#fabrique cores: 1
#fabrique walltime: 5m
import time
import numpy

print("\\x1b[31mstart\\x1b[0m <script>document.title = 'run'</script>", flush=True)
weights = numpy.zeros(3)
for epoch in range(4):
    weights += numpy.linspace(0, 1, 3)
    print("epoch", epoch, "loss", round(1 / float(weights.sum()), 4), flush=True)
    end = time.process_time() + 0.5
    while time.process_time() < end:
        pass
print("the end", flush=True)
"""
WORDS = {
    "en": {"project": "To your project", "done": "completed in", "printed": "What it printed", "money": "Money"},
    "fr": {"project": "Vers votre projet", "done": "terminé", "printed": "Ce qu’il a affiché", "money": "Argent"},
    "fr-ca": {"project": "Vers votre projet", "done": "terminée", "printed": "Ce qu’elle a affiché", "money": "Argent"},
}


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a hub that runs: its own home, its own SQLite file, stopped whole at the end."""
    import os

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    home = tmp_path_factory.mktemp("path") / "home"
    environment = {k: v for k, v in os.environ.items() if k not in ("DJANGO_SETTINGS_MODULE", "FABRIQUE_DATABASE_URL")}
    command = [str(FABRIQUE), "up", "--hub", "ca-lasalle-hub", "--port", str(port), "--json"]
    hub = subprocess.Popen(command, env={**environment, "FABRIQUE_HOME": str(home)}, stdout=subprocess.PIPE, text=True)
    try:
        assert hub.stdout is not None
        told = (json.loads(line)["event"] for line in hub.stdout)
        assert "ready" in told, f"ended before it was ready: {hub.wait(10)}"
        yield f"http://127.0.0.1:{port}"
    finally:
        hub.terminate()
        hub.wait(60)
        hub.stdout.close() if hub.stdout else None


@pytest.fixture
def walk(
    browser: Browser, origin: str, no_outside: Callable[..., None]
) -> Iterator[Callable[..., tuple[BrowserContext, Page]]]:
    """`walk("fr", width=360, script=False)`: a fresh visitor, who is heard if they ask for anything elsewhere."""
    opened: list[BrowserContext] = []

    def start(language: str, *, width: int = 1280, script: bool = True) -> tuple[BrowserContext, Page]:
        context = browser.new_context(
            base_url=origin, viewport={"width": width, "height": 900}, java_script_enabled=script
        )
        context.set_default_timeout(15_000)
        context.add_cookies([{"name": "fabrique-language", "value": language, "url": origin}])
        no_outside(context, origin)
        opened.append(context)
        return context, context.new_page()

    yield start
    for context in opened:
        context.close()


def sign_up(page: Page, email: str) -> None:
    page.goto("/account/signup/?next=/apply/lasalle_startup")
    page.fill("[name=name]", "Zoé Élan")
    page.fill("[name=email]", email)
    page.fill("[name=password1]", PASSWORD)
    page.click("main button")
    page.goto("/apply/lasalle_startup")
    page.fill("[name=name]", "Forêts & Cie")
    page.select_option("[name=kind]", "startup")
    page.select_option("[name=country]", "CA")
    page.click("main button")
    assert page.url.endswith("/apply/lasalle_startup")


def apply(page: Page) -> str:
    """Fills the form and submits it; the code of the project that comes of it."""
    for name, value in (("title", "Forêts 2100"), ("summary", "Cartes"), ("founded", "2024-01-01"), ("staff", "5")):
        page.fill(f"[name={name}]", value)
    page.fill("[name=turnover]", "0")
    page.fill("[name=hours]", "10")
    page.select_option("[name=kind]", "local-core")
    page.select_option("[name=months]", "1")
    page.check("[name=civilian][value=yes]")
    page.select_option("[name=data_class]", "public")
    for question, answer in (("personal-data", "no"), ("data-rights", "yes"), ("misuse", "no")):
        page.check(f'[name="ethics.{question}"][value={answer}]')
    page.check('[name="ethics.automated-decision"][value=no]')
    page.click("button[value=submit]")
    page.wait_for_url("**/applications/*")
    page.click("main .note a.button")
    page.wait_for_url("**/projects/p-*")
    return page.url.rsplit("/", 1)[1]


def submit(page: Page, code: str) -> None:
    page.goto(f"/projects/{code}/submit")
    page.fill("#f-script", SCRIPT)
    page.click("main form button:not([type=button])")
    page.wait_for_url("**/jobs/*")


def wait_for_the_end(page: Page, done: str, *, script: bool = True) -> None:
    """Without a script the visitor reloads; with one, the page looks again by itself."""
    for _ in range(60):
        if done in page.inner_text("h1"):
            return
        page.wait_for_timeout(1_000)
        if not script:
            page.reload()
    raise AssertionError(page.inner_text("main"))


def fits(page: Page, width: int) -> None:
    page.wait_for_selector("main")  # between two documents there is none to measure
    assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url


def taken_away(context: BrowserContext, code: str, tmp_path: Path) -> dict[str, Any]:
    """The statement's JSON, checked by the single-file verifier; the PDF says the same hours."""
    file = tmp_path / "statement.json"
    file.write_bytes(context.request.get(f"/statements/{code}.json").body())
    checked = subprocess.run([sys.executable, str(VERIFIER), str(file)], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    from pypdf import PdfReader

    pdf = PdfReader(BytesIO(context.request.get(f"/statements/{code}.pdf").body()))
    assert code in "".join(page.extract_text() for page in pdf.pages)
    made: dict[str, Any] = json.loads(file.read_bytes())
    return made


@pytest.mark.parametrize(
    ("language", "width", "script"),
    [("en", 1280, True), ("fr", 360, True), ("fr-ca", 360, False)],
    ids=["english-wide", "french-phone", "quebec-without-script"],
)
def test_from_a_stranger_to_a_statement(
    walk: Callable[..., tuple[BrowserContext, Page]], tmp_path: Path, language: str, width: int, script: bool
) -> None:
    context, page = walk(language, width=width, script=script)
    words = WORDS[language]
    page.goto("/apply")
    fits(page, width)
    sign_up(page, f"zoe-{language}@path.example")
    fits(page, width)
    code = apply(page)
    fits(page, width)
    submit(page, code)
    fits(page, width)
    wait_for_the_end(page, words["done"], script=script)
    if script:  # what ended can't be cancelled: the page says so by itself
        page.wait_for_selector("#h-cancel", state="detached")
    page.reload()
    fits(page, width)
    shown = page.inner_text("main")
    assert words["printed"] in shown
    log = page.inner_text("pre.log >> nth=0")
    assert "start <script>" in log and "epoch 3 loss" in log and "the end" in log
    assert "run" not in page.title()
    figures = page.inner_text(".figures")
    assert words["money"] in figures and "CO₂e" in figures and re.search(r"[mk]?Wh", figures) and "CAD" in figures
    page.goto(f"/projects/{code}")
    fits(page, width)
    page.goto(f"/statements/{code}.html")
    fits(page, width)
    tallest = "all => Math.min(...all.map(t => t.getBoundingClientRect().height))"
    assert page.eval_on_selector_all(".statement svg text", tallest) >= 9, "the picture's words can be read"
    sideways = "all => all.filter(e => e.scrollWidth > e.clientWidth).length"
    assert page.eval_on_selector_all(".table-scroll", sideways) == 0, "no table goes on beyond the screen"
    made = taken_away(context, code, tmp_path)
    used = {u["unit"]: int(u["closing"]["used"]["value"]) for u in made["allocations"][0]["units"]}
    assert used["core-ms:local-core"] > 1_000 and used["mJ"] > 0 and used["uCAD"] > 0
    assert [line["what"] for line in made["allocations"][0]["lines"]] == ["debit"]


def test_a_draft_is_judged_and_kept_while_it_is_typed(walk: Callable[..., tuple[BrowserContext, Page]]) -> None:
    context, page = walk("en")
    sign_up(page, "draft@path.example")
    page.fill("[name=hours]", "900000")
    page.select_option("[name=kind]", "local-core")
    page.wait_for_selector("#told .tag.bad >> text=not eligible")
    page.wait_for_selector("[data-saved] >> text=Draft saved at")
    page.reload()
    assert page.input_value("[name=hours]") == "900000"
    context.set_offline(True)
    page.fill("[name=title]", "Typed without a connection")
    page.wait_for_selector("[data-saved] >> text=No connection")
    context.set_offline(False)
    page.reload()
    assert page.input_value("[name=title]") == "Typed without a connection"
    page.wait_for_selector("[data-saved] >> text=Draft saved at")


def test_a_running_jobs_log_grows_and_cancelling_is_typed(walk: Callable[..., tuple[BrowserContext, Page]]) -> None:
    _, page = walk("en")
    sign_up(page, "log@path.example")
    code = apply(page)
    page.goto(f"/projects/{code}/submit")
    endless = "#!/bin/sh\n#fabrique walltime: 5m\nn=0\nwhile true; do n=$((n+1)); echo tick $n; sleep 1; done\n"
    page.fill("#f-script", endless)
    page.click("main form button:not([type=button])")
    page.wait_for_selector("pre[data-log] >> text=tick 4", timeout=40_000)
    number = page.url.rsplit("/", 1)[1]
    page.fill("#f-confirm", number)
    page.click("button.danger")
    wait_for_the_end(page, "cancelled")
    page.reload()
    assert "tick 4" in page.inner_text("pre.log >> nth=0")
    assert page.query_selector("#f-confirm") is None


@pytest.mark.parametrize(("language", "width", "script"), [("fr", 360, False), ("en", 1280, True)])
def test_a_colleague_joins_by_a_link_and_is_removed(
    walk: Callable[..., tuple[BrowserContext, Page]], language: str, width: int, script: bool
) -> None:
    _, page = walk(language, width=width, script=script)
    sign_up(page, f"chief-{language}@path.example")
    code = apply(page)
    page.click("form[action$='/invitations'] button")
    link = page.inner_text("#link")
    fits(page, width)
    _, guest = walk(language, width=width, script=script)
    guest.goto(link)
    fits(guest, width)
    guest.click("a[href*='/signup/']")
    guest.fill("[name=name]", "Noé Tremblay")
    guest.fill("[name=email]", f"guest-{language}@path.example")
    guest.fill("[name=password1]", PASSWORD)
    guest.click("main button")
    assert guest.url == link
    fits(guest, width)
    guest.click("main form button")
    guest.wait_for_url(f"**/projects/{code}")
    page.goto(f"/projects/{code}")
    page.click("section[aria-labelledby=h-members] details summary")
    fits(page, width)
    assert "Noé Tremblay" in page.inner_text("section[aria-labelledby=h-members]")
    page.check("[name=confirm]")
    page.click("form[action$='/remove'] button")
    assert "Noé Tremblay" not in page.inner_text("section[aria-labelledby=h-members]")
    answered = guest.goto(f"/projects/{code}")
    assert answered is not None and answered.status == 403
