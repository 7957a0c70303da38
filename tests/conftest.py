"""What every test stands on: a home of its own, one of two databases, and skips that say why.

`FABRIQUE_HOME` is set here, before Django reads its settings: one fresh folder a process, so that workers
never share one. `FABRIQUE_DATABASE_URL` chooses the database: unset, a SQLite file; `make test` runs every
test marked `database` a second time with the address of a private PostgreSQL.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from tools.slurm_lab.lab import SlurmLab

    from fabrique.language.say import Speaker

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "main")
HOME = Path(tempfile.mkdtemp(prefix=f"fabrique-test-{WORKER}-"))
os.environ["FABRIQUE_HOME"] = str(HOME)
FABRIQUE = Path(sys.executable).parent / "fabrique"
SETTINGS = "DJANGO_SETTINGS_MODULE"

IN_CI = os.environ.get("CI", "").lower() == "true"
DATABASE_URL = os.environ.get("FABRIQUE_DATABASE_URL", "")
# The same examples at every run of CI, so that a change is judged by itself; new ones at every other run.
# no deadline: how long an example takes says more of what else the machine does
hypothesis.settings.register_profile("here", derandomize=IN_CI, deadline=None)
hypothesis.settings.load_profile("here")
TRACES = Path(os.environ.get("FABRIQUE_TRACES", str(Path(__file__).parents[2] / "shared" / "data")))
TOUCH_TABLES = {"db", "transactional_db", "live_server", "client", "admin_client", "fresh_environment", "here"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the long tests, and only those")
    parser.addoption("--slurm", action="store_true", help="run the tests on a real Slurm, and only those")
    parser.addoption("--outcomes", metavar="FILE", help="append each test's outcome to FILE, a line of JSON each")


def pytest_configure(config: pytest.Config) -> None:
    """Read the settings now. Their name leaves the environment again: a worker that inherits it reads too early."""
    from django.conf import settings

    os.environ[SETTINGS] = "fabrique.portal.settings"
    assert settings.HOME == HOME, f"Django's settings were read before the tests' home was known: unset {SETTINGS}"
    del os.environ[SETTINGS]
    config.pluginmanager.register(LongFirst())


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)  # before -m chooses among the marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what touches tables or drives a browser; keep the long tests for `--soak`, those on Slurm for `--slurm`."""
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        if item.get_closest_marker("django_db") or names & TOUCH_TABLES:
            item.add_marker(pytest.mark.database)
        if "browser" in names:
            item.add_marker(pytest.mark.browser)
    asked = {mark for mark in ("slurm", "soak") if config.getoption(f"--{mark}")}
    kept = [i for i in items if {mark for mark in ("slurm", "soak") if i.get_closest_marker(mark)} == asked]
    if len(kept) != len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
        items[:] = kept


class LongFirst:
    """Journeys, then contracts, then the rest: no long one is left over for one worker while the others are done."""

    @pytest.hookimpl(trylast=True)  # after pytest-django, which has an order of its own
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        long = ("journey", "contract")
        items.sort(key=lambda item: next((n for n, name in enumerate(long) if name in item.path.parts), len(long)))


# --- what was skipped, and why ----------------------------------------------------------------------------


def _why(report: pytest.TestReport | pytest.CollectReport) -> str:
    place = report.longrepr
    text = str(place[2]) if isinstance(place, tuple) else str(place)
    return text.removeprefix("Skipped: ")


class Outcomes:
    """Collects outcomes in the process that reports; prints the skips by reason and keeps a file of them."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.skipped: dict[str, list[str]] = {}
        self.lines: list[str] = []

    def note(self, outcome: str, test: str, why: str = "") -> None:
        if outcome == "skipped":
            self.skipped.setdefault(why, []).append(test)
        self.lines.append(json.dumps({"outcome": outcome, "test": test, "why": why}))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self.note("xfailed" if hasattr(report, "wasxfail") else "skipped", report.nodeid, _why(report))
        elif report.failed:
            self.note("failed", report.nodeid)
        elif report.when == "call":
            self.note("passed", report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.note("skipped", report.nodeid, _why(report))
        elif report.failed:
            self.note("failed", report.nodeid)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self.skipped and not self.path:
            terminalreporter.section("skipped, because …")
            for why, tests in sorted(self.skipped.items()):
                terminalreporter.line(f"{why}  ({len(tests)})")
                for test, times in sorted(Counter(test.partition("[")[0] for test in tests).items()):
                    terminalreporter.line(f"    {test}" + (f"  ({times} cases)" if times > 1 else ""))

    def pytest_sessionfinish(self) -> None:
        if self.path:
            with Path(self.path).open("a", encoding="utf-8") as file:
                file.writelines(line + "\n" for line in self.lines)


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):  # workers report to the main process
        session.config.pluginmanager.register(Outcomes(session.config.getoption("--outcomes")), "outcomes")


# --- parts a machine may lack -----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def missing() -> Callable[[str], None]:
    """`missing("Chromium is not installed")`: skips the test, or fails it with CI=true.

    For the parts that `make test` can install. What depends on the hardware or the kernel skips plainly.
    """

    def say(why: str) -> None:
        if IN_CI:
            pytest.fail(f"{why} (CI=true wants every part)", pytrace=False)
        pytest.skip(why)

    return say


@pytest.fixture(scope="session")
def traces() -> Path:
    """The folder of public traces (FABRIQUE_TRACES); they may be absent anywhere, so a test skips, never fails."""
    if not TRACES.is_dir():
        pytest.skip("the public traces are not here (FABRIQUE_TRACES names their folder)")
    return TRACES


# --- a real Slurm -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def make_slurm_lab(missing: Callable[[str], None]) -> Iterator[Callable[..., SlurmLab]]:
    """`make_slurm_lab(nodes=2, energy=True, …)`: a lab of one's own, up; gone at the session's end, killed or not.

    Each takes about four seconds to start and 200 MB. A test that is done with its lab calls `lab.down(remove=True)`.
    """
    from tools.slurm_lab import guard, packages
    from tools.slurm_lab.lab import SlurmLab

    with ExitStack() as labs:

        def make(**options: Any) -> SlurmLab:
            needed = {**packages.PACKAGES, **(packages.FOR_ENERGY if options.get("energy") else {})}
            if absent := packages.missing(needed):
                missing(f"Slurm is not whole here: {' '.join(absent)} (Debian)")
            folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # not pytest's own, which Slurm's users can't pass
            return labs.enter_context(guard.running(SlurmLab(folder, **options), remove=True))

        yield make


@pytest.fixture(scope="session")
def slurm_lab(make_slurm_lab: Callable[..., SlurmLab]) -> SlurmLab:
    """The lab that tests share: four nodes of eight devices, partitions gpu and flex. Leave it as it was."""
    return make_slurm_lab()


# --- databases --------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """On SQLite, a file as in production: locks, WAL and threads behave otherwise in memory."""
    from django.db import connection

    if connection.vendor == "sqlite":
        connection.settings_dict["TEST"]["NAME"] = str(HOME / "test.sqlite3")


@pytest.fixture
def fresh_environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a hub of its own, for processes a test starts: an empty home and an empty database."""
    environment = {**os.environ, "FABRIQUE_HOME": str(tmp_path / "home")}
    if not DATABASE_URL:
        yield environment
        return
    import psycopg
    from psycopg.sql import SQL, Identifier

    name = f"fresh_{uuid.uuid4().hex}"
    with psycopg.connect(DATABASE_URL, autocommit=True) as server:
        server.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        yield {**environment, "FABRIQUE_DATABASE_URL": DATABASE_URL.rpartition("/")[0] + "/" + name}
        server.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@dataclass(frozen=True, slots=True)
class Home:
    """A hub's folder, with the environment that makes `fabrique` mean this hub."""

    path: Path
    environment: dict[str, str]

    def run(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run `fabrique ARGUMENTS` to its end; the caller looks at `returncode`, `stdout` and `stderr`."""
        command = [str(FABRIQUE), *arguments]
        return subprocess.run(
            command, env=self.environment, input=stdin, capture_output=True, text=True, timeout=timeout
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `fabrique ARGUMENTS` and leave it running; the caller ends it by its process."""
        command = [str(FABRIQUE), *arguments]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )


@pytest.fixture
def home(fresh_environment: dict[str, str]) -> Home:
    """A freshly initialised hub (ca-lasalle-hub), on the database under test."""
    made = Home(Path(fresh_environment["FABRIQUE_HOME"]), fresh_environment)
    done = made.run("init", "--hub", "ca-lasalle-hub", "--home", str(made.path))
    assert done.returncode == 0, done.stderr
    return made


@pytest.fixture
def speaker() -> Callable[..., Speaker]:
    """`speaker("fr-ca", "America/Toronto")`; English in UTC without arguments."""
    from fabrique.language.say import Speaker

    def make(language: str = "en", timezone: str = "UTC") -> Speaker:
        return Speaker(language, timezone)

    return make


@pytest.fixture
def here(db: None) -> Iterator[Any]:
    """The hub at LaSalle on this machine, founded in the test's database; its jobs run for real.

    Read anew for each test, which may change it: what the process remembers of a hub is no test's to inherit.
    """
    from django.conf import settings

    from fabrique.apps import this_hub
    from fabrique.operate import founding

    this_hub.forget()
    founding.make_home(settings.HOME, "ca-lasalle-hub", port=8000, now=1_800_000_000_000)
    yield founding.furnish(now=1_800_000_000_000)
    this_hub.forget()
