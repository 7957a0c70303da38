"""What the loop costs on a Slurm: its own time a job at 50 jobs a second, from a release to the job's start, and how
long it takes to see 10,000 pending jobs.

Run as a program it is the hub's loop, as in `slurm_hub`, which measures itself.
"""

from __future__ import annotations

import json
import re
import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tools.bench_cases import slurm_hub
from tools.bench_cases.figure import Figure, rank, seconds

from fabrique.core.errors import FabriqueError

if TYPE_CHECKING:
    from tools.slurm_lab.lab import SlurmLab

    from fabrique.engines.slurm.model import Order, Transport
    from fabrique.operate.loop import Turn

T = TypeVar("T")
RATE, SECONDS = 50, 60
SINGLY, APART_S = 40, 1.3  # jobs that come one after the other, on an idle cluster
SUBMITTERS: Final = 4
TRIES: Final = 5  # of a question to a daemon that is busy
LOOKS: Final = 3
CAP_W: Final = 100_000
NODES: Final = 4  # of 96 cores: more than jobs of a second ever fill
CLUSTER: Final = "hub"
CYCLE_MS: Final = 1_000  # of Slurm's scheduler in the lab, as of its own background thread
PENDING: Final = 10_000
FILLING: Final = 200  # of them a second: slurmrestd takes no more at once
DATABASE: Final = "fabrique.sqlite3"
SPENT: Final = "spent.json"  # in the home: what the loop spent since its start
_STARTED: Final = r"sched: Allocate|sched/backfill: _start_job: Started"  # as the controller's log has it
_ALLOCATED: Final = rf"(?:{_STARTED}) JobId=(\d+)"
_RELEASED: Final = r"sched: _release_job_rec: release hold on JobId=(\d+)"
STARTS: Final = "starts"  # a folder: each job says there when its script began


def overhead() -> Iterator[Figure]:
    if none := slurm_hub.away("loop on Slurm"):
        yield none
        return
    yield from at_rate(RATE, SECONDS)
    yield from observed(PENDING)


# --- a job's share of the loop ----------------------------------------------------------------------------------------
def at_rate(rate: int, seconds_: int) -> Iterator[Figure]:
    from tools.slurm_lab import guard
    from tools.slurm_lab.lab import SlurmLab

    with tempfile.TemporaryDirectory(prefix="bench-slurm-") as name, ExitStack() as stack:
        folder, home = Path(name), Path(name) / "home"
        folder.chmod(0o755)
        (folder / STARTS).mkdir()
        (folder / STARTS).chmod(0o1777)
        made = SlurmLab(folder / "lab", nodes=NODES, gpus=0, cluster=CLUSTER, job_submit=slurm_hub.DOOR)
        lab = stack.enter_context(guard.running(made, remove=True))
        logins = (lab.people * 2)[:2]
        hub = slurm_hub.operating(lab, home, CAP_W, logins, folder / "log", __name__)
        opened = stack.enter_context(hub)
        orders = [
            _order(folder / STARTS, account, login) for account, login in zip(opened.accounts, logins, strict=True)
        ]
        for number in range(SINGLY):
            _transport(lab).submit(orders[number % 2])
            time.sleep(APART_S)
        _settled(home, SINGLY)
        released, before = _released(home), _spent(home)
        log = lab.folder / "log" / "slurmctld"
        heard, started = _logged(log, _RELEASED), _logged(log, _ALLOCATED)
        lines = {path.name: int(path.read_text()) for path in (folder / STARTS).iterdir()}
        singly = {
            "from a release to Slurm's own word of it": _after(released, heard),
            "from that word to Slurm's start of the job": _after(heard, started),
            "from a release to Slurm's start of the job": _after(released, started),
            "from a release to the job's first line": _after(released, lines),
        }
        begin = time.monotonic()
        _submit(lab, orders, rate, seconds_)
        took = time.monotonic() - begin
        _settled(home, SINGLY + rate * seconds_)
        after = _spent(home)
    yield from _figures(rate, seconds_, took, before, after, singly)


def _figures(
    rate: int,
    seconds_: int,
    took: float,
    before: dict[str, float],
    after: dict[str, float],
    singly: dict[str, list[float]],
) -> Iterator[Figure]:
    count = rate * seconds_
    spent = {name: (after[name] - before[name]) * 1000 / count for name in after}
    what = f"loop on Slurm, {rate} jobs/s for {seconds_} s"
    whole = after["at"] - before["at"]
    note = (
        f"{count:,} jobs came in {took:.0f} s and were settled within {whole:.0f} s; with Slurm's commands "
        f"{spent['wall']:.2f} ms of wall clock a job, {spent['told']:.2f} of them in the commands; "
        f"{after['turns'] - before['turns']:.0f} turns"
    )
    yield Figure(what=f"{what}: own time a job", value=spent["cpu"], unit="ms", reach="at most", target=5, note=note)
    for until, found in singly.items():
        for permille, name in ((500, "median"), (990, "p99")):
            yield Figure(
                what=f"loop on Slurm: {until}, {name}",
                value=rank(found, permille),
                unit="ms",
                reach="at most",
                target=CYCLE_MS,
                note=f"{len(found)} jobs one after the other; Slurm's cycle is {CYCLE_MS} ms",
            )


def _order(starts: Path, account: str, login: str) -> Order:
    from fabrique.engines.slurm.model import Order

    script = f"#!/bin/sh\ndate +%s%3N >{starts}/$SLURM_JOB_ID\nexec sleep 1\n"
    return Order(
        intent="job", script=script.encode(), user=login, account=account, qos=None, partition="gpu", nodes=1,
        cores=1, memory_mb=100, gres=None, limit_ms=60_000, output="/dev/null", folder="/",
        environment={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip


def _transport(lab: SlurmLab) -> Transport:
    from fabrique.engines.slurm.rest import RestTransport

    return RestTransport(lab.rest_url, lab.jwt_key, lab.slurm_user, timeout_s=60)


def _submit(lab: SlurmLab, orders: Sequence[Order], rate: int, seconds_: int) -> None:
    """From several submitters, each at its part of the rate."""
    begin, broken = time.monotonic(), []

    def one(which: int) -> None:
        transport = _transport(lab)
        try:
            for number in range(which, rate * seconds_, SUBMITTERS):
                time.sleep(max(begin + number / rate - time.monotonic(), 0))
                _surely(transport, orders[number % 2])
        except Exception as error:
            broken.append(error)

    threads = [threading.Thread(target=one, args=(which,)) for which in range(SUBMITTERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if broken:
        raise broken[0]


def _surely(transport: Transport, order: Order) -> None:
    """A daemon that is too busy to answer is asked again: one job more is none too many here."""
    for _ in range(TRIES):
        try:
            transport.submit(order)
            return
        except FabriqueError as error:
            if error.code != "engine.unavailable":
                raise
            time.sleep(0.5)
    raise RuntimeError(f"slurmrestd did not answer {TRIES} times")


def _spent(home: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((home / SPENT).read_text())
    return found


def _settled(home: Path, count: int, patience_s: float = 600) -> None:
    until = time.monotonic() + patience_s
    while (done := _spent(home)["ended"]) < count:
        if time.monotonic() > until:
            raise RuntimeError(f"{done:.0f} of {count} jobs have ended")
        time.sleep(0.5)


def _released(home: Path) -> dict[str, int]:
    """By Slurm's id, the instant before each job's release, in ms."""
    asked = "SELECT handle, acted_ms FROM jobs_intent JOIN jobs_run ON run_id = jobs_run.id WHERE act = 'release'"
    with closing(sqlite3.connect(f"file:{home / DATABASE}?mode=ro", uri=True)) as database:
        return {handle.split("-")[1]: acted for handle, acted in database.execute(asked)}


def _logged(log: Path, what: str) -> dict[str, int]:
    """By Slurm's id, when the controller did this to each job, in ms: its own log says it, in local time."""
    found = re.findall(rf"^\[(\S+)\] {what}", log.read_text(errors="replace"), re.MULTILINE)
    return {job: round(datetime.fromisoformat(at).timestamp() * 1000) for at, job in found}


def _after(released: dict[str, int], until: dict[str, int]) -> list[float]:
    """Sorted, in ms."""
    return sorted(float(until[job] - released[job]) for job in released.keys() & until.keys())


# --- many that wait ---------------------------------------------------------------------------------------------------
def observed(count: int) -> Iterator[Figure]:
    from tools.slurm_lab import guard
    from tools.slurm_lab.lab import SlurmLab

    from fabrique.engines.slurm.commands import CommandTransport

    with tempfile.TemporaryDirectory(prefix="bench-slurm-") as name:
        Path(name).chmod(0o755)
        with guard.running(SlurmLab(Path(name) / "lab", nodes=1, gpus=0), remove=True) as lab:
            lab.account("bench", lab.people[0])
            order = _order(Path(name), "bench", lab.people[0])
            _submit(lab, [replace(order, held=True)] * 2, FILLING, count // FILLING)
            commands, rest = CommandTransport(lab.conf), _transport(lab)
            yield _look(commands, "commands", count, commands)
            yield _look(rest, "REST, one of them changed since", count, commands)
            time.sleep(2)  # the controller tells changes by the second
            rest.queue()
            yield _look(rest, "REST, nothing changed since", count)


def _look(transport: Transport, way: str, count: int, changes: Transport | None = None) -> Figure:
    """By `changes` a job is changed before each look."""
    from fabrique.engines.slurm.model import Change

    def look() -> None:
        jobs, unread = transport.queue()
        if len(jobs) < count or unread:
            raise RuntimeError(f"{len(jobs)} jobs were seen, {len(unread)} could not be read")

    times, own = [], 0.0
    for number in range(LOOKS):
        if changes is not None:
            one = next(job.job_id for job in transport.queue()[0] if job.held)
            if denied := changes.change([Change(one, comment=f"look {number}")]):
                raise RuntimeError(denied[0].why)
        begin = time.process_time()
        times.append(seconds(look))
        own += (time.process_time() - begin) / LOOKS
    what = f"{count:,} pending jobs observed, by {way}"
    said = ", ".join(f"{t:.2f}" for t in times)
    note = f"asked, answered and read into our terms, which takes {own:.2f} s of our own time; the best of {said}"
    return Figure(what=what, value=min(times), unit="s", reach="at most", target=2, note=note)


# --- the loop, measured -----------------------------------------------------------------------------------------------
def main(home: Path, conf: Path, cap_w: int, logins: Sequence[str]) -> None:
    slurm_hub.prepare(home)
    here, codes = slurm_hub.found(home, conf, cap_w, logins, kind=f"{CLUSTER}-core")
    from fabrique.engines.slurm import running
    from fabrique.operate.loop import Loop

    spent = {"ended": 0.0, "turns": 0.0, "told": 0.0, "wall": 0.0}
    running.run = _timed(running.run, spent, "told")
    Loop.cycle = _timed(Loop.cycle, spent, "wall")  # type: ignore[method-assign]

    def on_turn(done: Turn) -> None:
        spent["turns"] += 1
        spent["ended"] += done.ended
        draft = home / "spent.draft"
        draft.write_text(json.dumps({**spent, "cpu": time.process_time(), "at": time.monotonic()}))
        draft.replace(home / SPENT)

    slurm_hub.turn(here, codes, on_turn)


def _timed(act: Callable[..., T], spent: dict[str, float], name: str) -> Callable[..., T]:
    """The same, whose seconds of wall clock are added up."""

    def timed(*given: Any, **more: Any) -> T:
        begin = time.perf_counter()
        try:
            return act(*given, **more)
        finally:
            spent[name] += time.perf_counter() - begin

    return timed


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4].split(","))
