"""What people wait for besides: starts; on a hub of its own, the ledger and a turn of the loop."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tools.bench_cases.figure import Figure, best, seconds

if TYPE_CHECKING:
    from fabrique.apps.this_hub import ThisHub

BIN: Final = Path(sys.executable).parent
ROOT: Final = Path(__file__).parents[2]
POSTINGS, PER_ENTRY = 20_000, 200
ADMISSIONS, PER_CYCLE = 2_000, 100


# --- starts -------------------------------------------------------------------------------------------------------
def cold() -> Iterator[Figure]:
    """The decision's first call in a new process: kept on disk, and on a machine that never compiled it."""
    code = "from fabrique.twin.study import warm_up; print(warm_up())"
    with tempfile.TemporaryDirectory(prefix="fabrique-bench-") as folder:
        for name, more in (("compiled before", {}), ("compiled anew", {"NUMBA_CACHE_DIR": folder})):
            environment = {**os.environ, **more}
            done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
            yield Figure(what=f"cold start of the replay, {name}", value=float(done.stdout), unit="s")


def starts() -> Iterator[Figure]:
    """How long a process takes before it is of use."""
    commands = {
        "Python alone": [sys.executable, "-c", "pass"],
        "fabrique --help": [str(BIN / "fabrique"), "--help"],
        "Django with the apps": [sys.executable, "-c", "import django; django.setup()"],
        "the portal, ready to answer": [sys.executable, "-c", "import fabrique.portal.wsgi, fabrique.portal.urls"],
    }
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "fabrique.portal.settings"}
    with tempfile.TemporaryDirectory(prefix="fabrique-bench-") as folder:
        environment["FABRIQUE_HOME"] = folder
        for name, command in commands.items():
            done = subprocess.run(command, env=environment, capture_output=True)
            if done.returncode != 0:
                raise RuntimeError(f"{name} does not start:\n{done.stderr.decode(errors='replace')[-800:]}")
            run = partial(subprocess.run, command, env=environment, capture_output=True, check=True)
            yield Figure(what=f"start: {name}", value=best(run) * 1000, unit="ms")


# --- a hub of its own ---------------------------------------------------------------------------------------------
def hub() -> Iterator[Figure]:
    """A new hub in a temporary folder: its loop, its ledger. Django is set up once a process."""
    with tempfile.TemporaryDirectory(prefix="fabrique-bench-") as folder:
        os.environ["FABRIQUE_HOME"] = str(Path(folder) / "home")
        os.environ["DJANGO_SETTINGS_MODULE"] = "fabrique.portal.settings"
        os.environ.pop("FABRIQUE_DATABASE_URL", None)
        here, figure = open_hub(Path(folder) / "home")
        yield figure
        yield from loop_figures(here)
        yield from ledger_figures()


def open_hub(home: Path) -> tuple[ThisHub, Figure]:
    import django

    django.setup()
    from fabrique.apps.now import now_ms
    from fabrique.operate import founding

    begin = time.perf_counter()
    founding.make_home(home, "ca-lasalle-hub", port=8000, now=now_ms())
    here = founding.found(now=now_ms())
    return here, Figure(what="a new hub, whole", value=(time.perf_counter() - begin) * 1000, unit="ms")


def loop_figures(here: ThisHub) -> Iterator[Figure]:
    """A turn with nothing to do, on the real engine."""
    from fabrique.apps.now import now_ms
    from fabrique.engines.isolation import detect
    from fabrique.meters.detect import discover
    from fabrique.operate.engines import exposed, open_engines
    from fabrique.operate.loop import Loop
    from fabrique.operate.metering import Metering

    engines = open_engines(here, detect(here.home, exposed()))
    loop = Loop(here, engines, Metering(discover(), here), now_ms)
    loop.cycle()
    yield Figure(what="loop: a turn with nothing to do", value=best(loop.cycle, 20) * 1000, unit="ms")


def ledger_figures() -> Iterator[Figure]:
    """Grants of money and energy to one allocation, four postings each; then holds of admitted jobs."""
    from fabrique.apps.ledger import services
    from fabrique.apps.ledger.verify import verify
    from fabrique.apps.now import now_ms
    from fabrique.core import booking
    from fabrique.core.units import MG, MJ, Amount

    def granted(number: int) -> None:
        lines = [
            line
            for i in range(PER_ENTRY // 4)
            for line in booking.grant(f"bench-{number}", "bench", [Amount(MJ, 1 + i)], f"bench-{number}-{i}")
        ]
        services.write("bench", {"n": number}, lines, now=now_ms())

    def admitted(number: int) -> None:
        asks = [Amount(MJ, 1), Amount(MG, 1)]
        lines = [
            line
            for i in range(PER_CYCLE)
            for line in booking.hold("bench-holds", asks, {}, lambda *_: ADMISSIONS, f"hold-{number}-{i}")
        ]
        services.write("bench", {"n": number}, lines, now=now_ms())

    entries = POSTINGS // PER_ENTRY
    written = sum(seconds(partial(granted, number)) for number in range(entries))
    yield Figure(what=f"ledger: write an entry of {PER_ENTRY} postings", value=written / entries * 1000, unit="ms")
    yield Figure(what="ledger: write", value=POSTINGS / written, unit="postings/s")
    enough = booking.grant("bench-holds", "bench", [Amount(MJ, ADMISSIONS), Amount(MG, ADMISSIONS)], "bench-holds")
    services.write("bench", {}, enough, now=now_ms())
    booked = sum(seconds(partial(admitted, number)) for number in range(ADMISSIONS // PER_CYCLE))
    yield Figure(
        what="ledger: book admissions, each held in two units",
        value=ADMISSIONS / booked,
        unit="jobs/s",
        note=f"an entry a cycle, of {PER_CYCLE} jobs",
    )
    all_held = [Amount(MJ, ADMISSIONS), Amount(MG, ADMISSIONS)]  # no job stands behind these holds
    services.write("bench", {}, booking.release("bench-holds", all_held, "bench-holds"), now=now_ms())
    begin = time.perf_counter()
    report = verify()
    took = time.perf_counter() - begin
    if not report.ok:
        raise RuntimeError(f"the ledger just written does not verify: {report.first_divergence}")
    yield Figure(what="ledger: verify", value=report.postings / took, unit="postings/s")
    yield Figure(what="ledger: verify a million postings, at this pace", value=1e6 / report.postings * took, unit="s")
