"""Beside every job: starts it once, watches it, and writes down how it went.

`python -I -S -c … RUN_FOLDER`, started by `launch`. It leaves its starter's session, takes the run by creating the
claim (whoever cannot, goes), and from then on nothing but its own end stops it: not the loop's death, not a hang-up,
not Ctrl-C. It goes in this order, each record being on disk before the next step:

    claim -> started.json -> the job begins -> heartbeat, each second -> exit.json

So a claim without a started record is a run that never began; a started record without an exit record and without
this process is a lost run. TERM to the shim itself means that the machine goes down: the run ends as lost.

Imports the standard library only, and little of it: it must be there within 60 ms.
"""

# Pathlib alone would take a fifth of the time the shim has to start.
# ruff: noqa: PTH101, PTH102, PTH110, S103, S606

from __future__ import annotations

import binascii
import json
import os
import signal
import time

from fabrique.engines import keeper, kernel, records
from fabrique.engines.watch import TICK_MS, Watch, asked_to_stop, now_ms, stopping, utc_ms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Record = dict[str, Any]

_KEEP_TRYING_MS = 60_000  # to write the exit record on a full disk


def main(folder: str, stay: bool = False) -> None:
    """Take the run in `folder` and see it to its end; `stay` keeps to this process instead of leaving the session."""
    os.chdir(folder)
    os.umask(0o077)
    told = -1 if stay else _leave()
    _be_deaf()
    kernel.become_subreaper()
    mine = records.write_once(records.CLAIM, {**records.identity(), "at": utc_ms()})
    if told >= 0:
        os.write(told, b"1")
        os.close(told)
    if mine:
        order = records.read(records.ORDER) or {}
        _record(supervise(order))


def supervise(order: Record) -> Record:
    """The run from its claim to its exit record, which is returned."""
    _wait_while_held()
    if stopping():
        return {"cause": "lost", "started_ms": None, "ended_ms": utc_ms()}
    if os.path.exists(records.CANCEL):
        return {"cause": "cancelled", "started_ms": None, "ended_ms": utc_ms()}
    try:
        _prepare(order)
        pid, plan, answer, output = _fork_keeper(order)
    except OSError as error:
        return {"cause": "not-started", "started_ms": None, "ended_ms": utc_ms(), "error": keeper.why(error)}
    watch = Watch(order, pid, answer, output)
    keeper_start = records.start_of(pid)
    started = {**records.identity(), "at": watch.started, "keeper": pid, "keeper_start": keeper_start}
    records.write(records.STARTED, started)
    _hand_over(plan, order["plan"])
    return watch.to_the_end()


def _fork_keeper(order: Record) -> tuple[int, int, int, int]:
    """Its pid, and our ends of its pipes: plan (to write), answer and output (to read)."""
    plan, to_plan = os.pipe()
    answer, to_answer = os.pipe()
    output, to_output = os.pipe()
    if order["own_processes"]:
        kernel.separate_processes()
    pid = os.fork()
    if pid == 0:
        for descriptor in (to_plan, answer, output):
            os.close(descriptor)
        try:
            if order["command"]:
                _become_sandbox(order["command"], [plan, to_answer, to_output])
            keeper.keep(plan, to_answer, to_output)
        except BaseException as error:
            os.write(to_answer, json.dumps({"error": keeper.why(error)}).encode())
        os._exit(1)
    for descriptor in (plan, to_answer, to_output):
        os.close(descriptor)
    return pid, to_plan, answer, output


def _become_sandbox(command: list[str], pipes: list[int]) -> None:
    for descriptor in pipes:
        os.set_inheritable(descriptor, True)
    os.execve(command[0], [*command, *(str(descriptor) for descriptor in pipes)], dict(os.environ))


def _prepare(order: Record) -> None:
    """The work folder, the job's own: its script and a place for temporary files."""
    uid = order["plan"]["uid"]
    for folder in (records.WORK, f"{records.WORK}/{records.TEMPORARY}"):
        os.mkdir(folder, mode=0o700)
    script = f"{records.WORK}/{records.SCRIPT}"
    descriptor = os.open(script, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o700)
    with open(descriptor, "wb") as file:
        file.write(binascii.a2b_base64(order["script"]))
    if uid is not None:
        for path in (script, f"{records.WORK}/{records.TEMPORARY}", records.WORK):
            os.chown(path, uid, uid, follow_symlinks=False)
    if uid is not None and not order["plan"]["steps"]:
        os.chown(".", -1, uid)  # without a view of its own the job walks in, and no other user does
        os.chmod(".", 0o710)


def _hand_over(pipe: int, plan: Record) -> None:
    data = json.dumps(plan).encode()
    try:
        while data:
            data = data[os.write(pipe, data) :]
    except BrokenPipeError:
        pass  # the keeper is gone already: its answer says why
    os.close(pipe)


def _wait_while_held() -> None:
    while os.path.exists(records.HOLD) and not os.path.exists(records.CANCEL) and not stopping():
        time.sleep(TICK_MS / 1000)


def _record(record: Record) -> None:
    """Write the exit record; on a full disk, try again for a while: without it the run counts as lost."""
    until = now_ms() + _KEEP_TRYING_MS
    while True:
        try:
            return records.write(records.EXIT, record)
        except OSError:
            if now_ms() > until:
                raise
            time.sleep(1)


def _leave() -> int:
    """Leave the starter's session and its children; a pipe on which to tell it that the run is taken."""
    told, telling = os.pipe()
    if os.fork():
        os.close(telling)
        os._exit(0 if os.read(told, 1) else 1)
    os.close(told)
    return telling


def _be_deaf() -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: asked_to_stop.append(number))
