"""For the journeys: Debian's own Chromium, with a listener that hears every address asked; and a hub on a Slurm."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page, Request
    from tests.journey.slurm_hub import SlurmHub
    from tools.slurm_lab.lab import SlurmLab

CHROMIUM_ARGUMENTS = [
    "--no-sandbox",  # Chromium refuses its sandbox as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NOT_NETWORK = {"data", "blob", "about"}


@pytest.fixture(scope="session")
def browser(missing: Callable[[str], None]) -> Iterator[Browser]:
    """One Chromium for the session; a test makes its own context, or asks for `page`."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    executable = next((path for path in found if path), None)
    if executable is None:
        missing("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    # Playwright keeps an event loop in this thread; Django's tables are used beside it, never inside it
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def no_outside() -> Iterator[Callable[[Page | BrowserContext, str], None]]:
    """`no_outside(page, "http://127.0.0.1:8000")`: at its end the test fails if any other origin was asked."""
    outside: list[str] = []

    def watch(target: Page | BrowserContext, origin: str) -> None:
        here = urlsplit(origin)

        def hear(request: Request) -> None:
            asked = urlsplit(request.url)
            if asked.scheme not in NOT_NETWORK and asked.netloc != here.netloc:
                outside.append(request.url)

        target.on("request", hear)

    yield watch
    assert not outside, f"asked outside the portal: {sorted(set(outside))}"


@pytest.fixture
def page(browser: Browser, live_server: object, no_outside: Callable[..., None]) -> Iterator[Page]:
    """A page of 1280 by 900 on the portal under test (paths are enough), watched for outside requests."""
    context = browser.new_context(base_url=str(live_server), viewport={"width": 1280, "height": 900})
    context.set_default_timeout(10_000)
    no_outside(context, str(live_server))
    yield context.new_page()
    context.close()


@pytest.fixture(scope="session")
def one_slurm_hub(make_slurm_lab: Callable[..., SlurmLab]) -> Iterator[SlurmHub]:
    from tests.journey.slurm_hub import open_hub

    with open_hub(make_slurm_lab) as hub:
        yield hub


@pytest.fixture
def slurm_hub(one_slurm_hub: SlurmHub) -> Iterator[SlurmHub]:
    """The hub on a Slurm that journeys share; each leaves it without jobs, and without a loop."""
    yield one_slurm_hub
    one_slurm_hub.clear()
