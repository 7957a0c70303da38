"""A hub on a Slurm whose loop is killed at random instants while jobs come by both doors; a program of its own.

One process with everything loaded forks the loops that are killed, so that twenty deaths take seconds. The home is in
FABRIQUE_HOME; arguments: the lab's folder, the number of kills, the seed, and of each user EMAIL LOGIN PROJECT ACCOUNT
NEEDS. Prints one line of JSON.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LEASE_MS = 300  # a dead loop's lease must run out before the next one acts
SCRIPT = b"#!/bin/sh\n#fabrique walltime: 2m\n#fabrique %s\nsleep %d\n"


def main(folder: Path, kills: int, seed: int, people: list[str]) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "fabrique.portal.settings"
    import django

    django.setup()
    logging.disable(logging.CRITICAL)
    from django.db import connections
    from tools.slurm_lab.lab import SlurmLab

    from fabrique.apps.now import now_ms
    from fabrique.core.admission.kernels import fast
    from fabrique.operate import founding

    fast.load()
    here = founding.found(now=now_ms())
    connections.close_all()
    lab, chance = SlurmLab.open(folder), random.Random(seed)
    users = [people[i : i + 5] for i in range(0, len(people), 5)]
    submitted = 0
    for _ in range(kills):
        loops = [fork(lambda: turn(here)) for _ in range(chance.choice((1, 1, 2)))]
        for _ in range(chance.randrange(3)):
            submitted += submit(lab, chance.choice(users), chance)
        time.sleep(chance.random() * 1.2)
        for loop in loops:
            end(loop)
        connections.close_all()
    finish(here)
    sys.stdout.write(json.dumps({"kills": kills, "submitted": submitted}) + "\n")


def fork(work: Callable[[], None]) -> int:
    """A child that does `work` until it is killed."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    finally:
        os._exit(1)


def end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def turn(here: Any) -> None:
    from fabrique.cli.serve import open_loop
    from fabrique.core.errors import FabriqueError
    from fabrique.operate import loop

    loop.LEASE_MS = LEASE_MS
    running = open_loop(here)
    while True:
        try:
            running.cycle()
        except FabriqueError as error:  # as `loop.run` does
            if error.code.startswith("home."):
                raise
        time.sleep(0.05)


def submit(lab: Any, user: list[str], chance: random.Random) -> int:
    """By one door or the other; how many jobs that made."""
    from fabrique.apps.jobs import services as jobs
    from fabrique.apps.now import now_ms
    from fabrique.apps.people import services as people

    email, login, project, account, needs = user
    seconds, way = chance.randint(1, 3), chance.randrange(3)
    if way == 0:
        jobs.submit(people.find_person(email), project, SCRIPT % (needs.encode(), seconds), {}, now=now_ms())
        return 1
    tasks = 3 if way == 1 and chance.randrange(3) == 0 else 1
    array = [f"--array=0-{tasks - 1}"] if tasks > 1 else []
    lab.submit(
        "-A",
        account,
        "-t",
        "2",
        "-c2" if "cores" in needs else "--gres=gpu:1",
        *array,
        script=f"sleep {seconds}",
        user=login,
    )
    return tasks


def finish(here: Any) -> None:
    """The loop runs on until nothing is pending or alive, two minutes at most."""
    from fabrique.apps.jobs.queries import queue

    loop = fork(lambda: turn(here))
    until = time.monotonic() + 120
    time.sleep(3)
    while queue().exists() and time.monotonic() < until:
        time.sleep(0.2)
    time.sleep(12)  # the accounting is asked every ten seconds
    end(loop)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
