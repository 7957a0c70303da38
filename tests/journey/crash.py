"""A hub that is killed at random instants, and what must hold when it comes back.

One process with everything loaded forks the parts that are killed (the loop, a submitter), so that a hundred deaths
take a minute. Run as a program by `test_crash.py`, with the home in FABRIQUE_HOME: arguments are the number of kills
and the seed. Prints one line of JSON.
"""

from __future__ import annotations

import collections
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCRIPT = b"""#!/bin/sh
#fabrique walltime: 1m
#fabrique name: crash
echo ran >>"$HOME/ran"
sleep 0.%d
echo done
"""


def main(kills: int, seed: int) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "fabrique.portal.settings"
    import django

    django.setup()
    from django.db import connections

    from fabrique.apps.now import now_ms
    from fabrique.engines.isolation import detect
    from fabrique.operate import engines, founding

    home = Path(os.environ["FABRIQUE_HOME"])
    founding.make_home(home, "ca-lasalle-hub", port=8000, now=now_ms())
    here = founding.found(now=now_ms())
    # a wide machine, so that several runs are alive at each kill; cores beyond the real ones are shared
    person, code = apply(now_ms())
    isolation = detect(home, engines.exposed())
    connections.close_all()
    chance = random.Random(seed)
    deaths: collections.Counter[str] = collections.Counter()
    submitted = 0
    for _ in range(kills):
        loop = fork(lambda: turn(here, isolation))
        for _ in range(chance.randrange(3)):
            submitted += submit(person, code, chance)
        time.sleep(chance.random() * 0.5)
        deaths[strike(chance, loop, person, code)] += 1
        connections.close_all()
    finish(here, isolation)
    sys.stdout.write(
        json.dumps({"kills": sum(deaths.values()), "deaths": deaths, "submitted": submitted, **audit(home)}) + "\n"
    )


def apply(now: int) -> tuple[Any, str]:
    from fabrique.apps.access import services as access
    from fabrique.apps.people import services as people

    person = people.create_person("Ana", "ana@crash.example", now=now)
    mode = access.find_mode("lasalle_startup", now=now)
    form = {
        "title": "Crash", "summary": "s", "organisation_kind": "startup", "country": "CA", "founded": "2024-01-01",
        "staff": "5", "turnover": "1", "kind": "local-core", "hours": "100", "months": "1", "civilian": "yes",
        "data_class": "public", "confidential": "no",
    }  # fmt: skip
    form |= {f"ethics.{q.id}": "yes" if q.settled else "no" for q in mode.ethics}
    application = access.submit(access.save_draft(person, mode.id, form, now=now), person, now=now)
    assert application.project is not None, application.reason
    return person, application.project.code


def fork(work: Callable[[], None]) -> int:
    """A child that does `work` until it is killed."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    finally:
        os._exit(1)


def turn(here: Any, isolation: Any) -> None:
    from fabrique.apps.now import now_ms
    from fabrique.meters import detect as meters
    from fabrique.meters.modelled import CoreModel
    from fabrique.operate import engines, loop
    from fabrique.operate.metering import Metering

    model = CoreModel(here.core_idle_w, here.core_max_w, here.model_error_permille)
    metering = Metering(meters.present(meters.discover(model)), here)
    loop.LEASE_MS = 300  # a dead loop's lease must run out before the next one acts
    running = loop.Loop(here, engines.open_engines(here, isolation), metering, now_ms)
    while True:
        running.cycle()
        time.sleep(0.02)


def submit(person: Any, code: str, chance: random.Random) -> int:
    from fabrique.apps.jobs import services as jobs
    from fabrique.apps.now import now_ms

    jobs.submit(person, code, SCRIPT % chance.randrange(1, 9), {}, now=now_ms())
    return 1


def submit_many(person: Any, code: str, chance: random.Random) -> None:
    for _ in range(9):
        submit(person, code, chance)


def strike(chance: random.Random, loop: int, person: Any, code: str) -> str:
    """Kills the loop and, sometimes, more; answers what died with it."""
    what = chance.choice(["loop", "loop", "loop", "job", "shim", "everything", "submitter"])
    if what == "submitter":
        child = fork(lambda: submit_many(person, code, chance))
        time.sleep(chance.random() * 0.1)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if what != "loop":
        for pid in victims(what, chance):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    os.kill(loop, signal.SIGKILL)
    os.waitpid(loop, 0)
    return what


def victims(what: str, chance: random.Random) -> list[int]:
    """Processes of the runs under our home: the jobs' own, or the shims, or all."""
    import psutil

    home = os.environ["FABRIQUE_HOME"]
    jobs, shims = [], []
    for process in psutil.process_iter(["pid", "cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if f"{home}/runs/" not in line:
            continue
        (shims if "shim" in line else jobs).append(process.info["pid"])
    if what == "everything":
        return jobs + shims
    chosen = {"job": jobs, "shim": shims}.get(what, [])
    return [chance.choice(chosen)] if chosen else []


def finish(here: Any, isolation: Any) -> None:
    """The loop runs on until nothing is pending or alive, two minutes at most."""
    from fabrique.apps.jobs.queries import queue

    loop = fork(lambda: turn(here, isolation))
    until = time.monotonic() + 240
    while queue().exists() and time.monotonic() < until:
        time.sleep(0.2)
    os.kill(loop, signal.SIGKILL)
    os.waitpid(loop, 0)


def audit(home: Path) -> dict[str, Any]:
    """What is true at the end; the test says what must be."""
    from fabrique.apps.jobs.models import Job, Run
    from fabrique.apps.ledger import services as ledger
    from fabrique.apps.ledger.models import Hold
    from fabrique.apps.ledger.verify import verify
    from fabrique.core.booking import BUCKETS

    ran = collections.Counter(
        len(path.read_text().splitlines()) for path in (home / "runs").glob("*/work/ran") if path.exists()
    )
    runs = list(Run.objects.select_related("job"))
    unit = "core-ms:local-core"
    sums = {
        b: sum(v for (a, u), v in ledger.balances("allocation:").items() if u == unit and a.endswith(b))
        for b in BUCKETS
    }
    completed = [r for r in runs if r.reason.get("code") == "end.completed"]
    report = verify()
    return {
        "jobs": Job.objects.count(),
        "by_status": dict(collections.Counter(Job.objects.values_list("status", flat=True))),
        "runs": len(runs),
        "runs_a_job_most": max(collections.Counter(r.job_id for r in runs).values(), default=0),
        "started_more_than_once": sum(n for lines, n in ran.items() if lines > 1),
        "completed_without_trace": sum(
            not (home / "runs" / f"run-{r.id.hex}" / "work" / "ran").exists() for r in completed
        ),
        "open_holds": Hold.objects.filter(settled__isnull=True).count(),
        "held": sums["held"],
        "lost": sums["lost"],
        "used": sums["used"],
        "elapsed_charged": sum(int(r.charged.get(unit, 0)) for r in runs if r.state == "ended"),
        "ledger_ok": report.ok,
        "divergence": str(report.first_divergence),
        "alive": len(victims("everything", random.Random(0))),
    }


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
