"""Measure what people wait for: starts, the ledger's writing and verification, the decision, a turn of the loop.

Runs on a hub of its own in a temporary folder; prints a table, or JSON with `--json`. Figures are of this machine,
the best of a few repetitions (what the machine can do), not limits that a test enforces.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fabrique.apps.this_hub import ThisHub

BIN = Path(sys.executable).parent
POSTINGS, PER_ENTRY = 20_000, 200
QUEUES = (10, 100, 1000)
CORES = 64


@dataclass(frozen=True, slots=True)
class Figure:
    what: str
    value: float
    unit: str


def best(act: Callable[[], object], times: int = 3) -> float:
    """Seconds of the quickest of `times` calls."""
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        act()
        found.append(time.perf_counter() - begin)
    return min(found)


def starts() -> Iterator[Figure]:
    """How long a process takes before it is of use."""
    commands = {
        "Python alone": [sys.executable, "-c", "pass"],
        "fabrique --help": [str(BIN / "fabrique"), "--help"],
        "Django with the apps": [sys.executable, "-c", "import django; django.setup()"],
        "the portal, ready to answer": [sys.executable, "-c", "import fabrique.portal.wsgi, fabrique.portal.urls"],
    }
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "fabrique.portal.settings"}
    for name, command in commands.items():
        done = subprocess.run(command, env=environment, capture_output=True)
        if done.returncode != 0:
            sys.exit(f"bench: {name} does not start:\n{done.stderr.decode(errors='replace')[-800:]}")
        run = partial(subprocess.run, command, env=environment, capture_output=True, check=True)
        yield Figure(f"start: {name}", best(run) * 1000, "ms")


def open_hub(home: Path) -> tuple[ThisHub, Figure]:
    import django

    django.setup()
    from fabrique.apps.now import now_ms
    from fabrique.operate import founding

    begin = time.perf_counter()
    founding.make_home(home, "ca-lasalle-hub", port=8000, now=now_ms())
    here = founding.found(now=now_ms())
    return here, Figure("a new hub, whole", (time.perf_counter() - begin) * 1000, "ms")


def ledger_figures() -> Iterator[Figure]:
    """Grants of money and energy to one allocation: four postings each."""
    from fabrique.apps.ledger import services
    from fabrique.apps.ledger.verify import verify
    from fabrique.apps.now import now_ms
    from fabrique.core import booking
    from fabrique.core.units import MJ, Amount

    def entry(number: int) -> None:
        lines = [
            line
            for i in range(PER_ENTRY // 4)
            for line in booking.grant(f"bench-{number}", "bench", [Amount(MJ, 1 + i)], f"bench-{number}-{i}")
        ]
        services.write("bench", {"n": number}, lines, now=now_ms())

    begin = time.perf_counter()
    for number in range(POSTINGS // PER_ENTRY):
        entry(number)
    written = time.perf_counter() - begin
    yield Figure(f"ledger: write an entry of {PER_ENTRY} postings", written / (POSTINGS // PER_ENTRY) * 1000, "ms")
    yield Figure("ledger: write", POSTINGS / written, "postings/s")
    begin = time.perf_counter()
    report = verify()
    took = time.perf_counter() - begin
    if not report.ok:
        sys.exit(f"bench: the ledger just written does not verify: {report.first_divergence}")
    yield Figure("ledger: verify", report.postings / took, "postings/s")
    yield Figure("ledger: verify a million postings, at this pace", 1e6 / report.postings * took, "s")


def decision_figures() -> Iterator[Figure]:
    """A full machine with a queue of mixed sizes behind it."""
    from fabrique.core.admission import Rules, build, step
    from fabrique.core.admission.state import JobRow, PartitionRow, PoolRow, SiteRow

    partitions = [
        PartitionRow(id="m", kind="core", site="s", milli_devices=0, milli_cores=CORES * 1000, memory_mb=2**18)
    ]
    sites = [SiteRow(id="s", cap_w=5000, base_w=100)]
    pools = [PoolRow(id=f"p{i}", share_ppm=250_000) for i in range(4)]
    rooms = [(f"a{i}", "core-ms:core", 10**12) for i in range(4)]

    def job(i: int) -> JobRow:
        cores = 1 + i * 7 % 16
        return JobRow(
            id=f"{i:06}", pool=f"p{i % 4}", allocation=f"a{i % 4}", partitions=("m",), milli_devices=0,
            milli_cores=cores * 1000, memory_mb=1024 * cores, power_w=12 * cores, walltime_ms=(1 + i % 5) * 1_800_000,
            priority=0, submitted_ms=i, not_before_ms=0, asks=(("core-ms:core", cores * 1_800_000),),
        )  # fmt: skip

    for queue in QUEUES:
        state = build(partitions, sites, pools, rooms, [job(i) for i in range(queue)], [])
        yield Figure(
            f"decision: {queue} jobs waiting",
            best(partial(step, state, Rules(), 10**6), 1 if queue > 100 else 3) * 1000,
            "ms",
        )


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
    yield Figure("loop: a turn with nothing to do", best(loop.cycle, 20) * 1000, "ms")


def measure(home: Path) -> Iterator[Figure]:
    yield from starts()
    yield from decision_figures()
    here, figure = open_hub(home)
    yield figure
    yield from loop_figures(here)
    yield from ledger_figures()


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--json"]):
        print(__doc__)
        return 2
    with tempfile.TemporaryDirectory(prefix="fabrique-bench-") as folder:
        home = Path(folder) / "home"
        os.environ["FABRIQUE_HOME"] = str(home)
        os.environ["DJANGO_SETTINGS_MODULE"] = "fabrique.portal.settings"
        os.environ.pop("FABRIQUE_DATABASE_URL", None)
        figures = []
        for figure in measure(home):
            figures.append(figure)
            if not arguments:
                print(f"{figure.what:<52} {figure.value:>12,.1f} {figure.unit}", flush=True)
    if arguments:
        print(json.dumps([asdict(figure) for figure in figures]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
