"""The local engine: one folder and one shim per run, on the machine this runs on.

Stateless but for its folder: any number of these, in any number of processes, may look at one root, and a new one
after a crash knows all that the last one knew.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

from fabrique.core.errors import FabriqueError
from fabrique.engines import binding, processes, records
from fabrique.engines.isolation import Isolation
from fabrique.engines.launch import launch
from fabrique.engines.protocol import (
    Cause,
    DeviceSlot,
    Listing,
    Observation,
    PartitionCapacity,
    RunSpec,
    State,
    Usage,
    check_intent,
)

DEFAULT_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
# How often, and how long apart, to look whether what a dead shim left behind is gone.
_SWEEPS: Final = 100
_SWEEP_S: Final = 0.02
_NEEDED: Final = {
    records.EXIT: {"cause", "started_ms", "ended_ms"},
    records.LOST: {"cause", "started_ms", "ended_ms"},
    records.STARTED: {"at", "keeper", "keeper_start"},
    records.HEARTBEAT: {"elapsed"},
}
_LOG_MOST: Final = 4 * 1024 * 1024


class LocalEngine:
    """Runs under `root`, kept apart as `isolation` says. `clock` gives UTC milliseconds, for listings alone.

    `path` is the PATH of jobs; `devices` and `cores` are what this partition hands out (cores: this process's own
    affinity unless given).
    """

    def __init__(
        self,
        root: Path,
        isolation: Isolation,
        clock: Callable[[], int],
        devices: Sequence[DeviceSlot] = (),
        cores: Sequence[int] | None = None,
        path: str = DEFAULT_PATH,
    ) -> None:
        self.root = root.absolute()
        self.isolation = isolation
        self._clock = clock
        self._devices = tuple(devices)
        self._cores = tuple(sorted(os.sched_getaffinity(0)) if cores is None else cores)
        self._path = path
        self._boot = records.boot_id()
        with _Answering():
            root.mkdir(parents=True, exist_ok=True)
            # A job under its own user, without its own view of the files, must be able to walk to its folder.
            root.chmod(0o711 if isolation.kind == "own-user" and not isolation.own_view else 0o700)

    def submit(self, spec: RunSpec) -> None:
        """Write the order, once, then start a shim; which of several shims takes the run, the claim decides."""
        run = self._run(spec.intent)
        order = self._order(spec, run)
        with _Answering():
            run.mkdir(mode=0o700, exist_ok=True)
            records.write_once(str(run / records.ORDER), order)
            if not (run / records.CLAIM).exists():
                launch(run)

    def observe(self, intents: Sequence[str]) -> list[Observation]:
        with _Answering():
            return [self._observe(intent) for intent in intents]

    def cancel(self, intent: str, grace_ms: int) -> None:
        run = self._run(intent)
        with _Answering():
            run.mkdir(mode=0o700, exist_ok=True)
            records.write(str(run / records.CANCEL), {"grace_ms": max(0, grace_ms)})

    def preempt(self, intent: str) -> None:
        run = self._run(intent)
        with _Answering():
            run.mkdir(mode=0o700, exist_ok=True)
            records.write(str(run / records.PREEMPT), {})

    def hold(self, intents: Sequence[str]) -> None:
        """Before the start only: a started run cannot be paused here. A shim that has it waits."""
        started = []
        with _Answering():
            for intent in intents:
                run = self._run(intent)
                run.mkdir(mode=0o700, exist_ok=True)
                records.write(str(run / records.HOLD), {})
                if (run / records.STARTED).exists() or (run / records.EXIT).exists():
                    (run / records.HOLD).unlink(missing_ok=True)
                    started.append(intent)
        if started:
            raise FabriqueError("engine.refused", why="started", intents=started)

    def release(self, intents: Sequence[str]) -> None:
        with _Answering():
            for intent in intents:
                (self._run(intent) / records.HOLD).unlink(missing_ok=True)

    def list(self) -> Listing:
        """Taken by a shim, that is: an order without a claim is not here, for nothing runs under it."""
        at = self._clock()
        with _Answering():
            names = sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir(follow_symlinks=False))
            return Listing(True, tuple(name for name in names if (self.root / name / records.CLAIM).exists()), at)

    def adopt(self, intent: str) -> bool:
        with _Answering():
            return (self._run(intent) / records.CLAIM).exists()

    def read_log(self, intent: str, offset: int, limit: int) -> tuple[bytes, int, bool]:
        run = self._run(intent)
        offset = max(0, offset)
        with _Answering():
            if not (run / records.CLAIM).exists():
                raise FabriqueError("log.missing", intent=intent)
            over = (run / records.EXIT).exists() or (run / records.LOST).exists()
            try:
                with open(run / records.LOG, "rb") as log:
                    log.seek(offset)
                    data = log.read(max(0, min(limit, _LOG_MOST)))
                    end = os.fstat(log.fileno()).st_size
            except FileNotFoundError:
                return b"", offset, over
        following = offset + len(data)
        return data, following, over and following >= end

    def capacity(self) -> PartitionCapacity:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1_048_576
        return PartitionCapacity(self._cores, memory, self._devices)

    def purge(self, intent: str) -> None:
        run = self._run(intent)
        if self._observe(intent).state in ("starting", "running"):
            raise FabriqueError("engine.refused", why="running", intent=intent)
        with _Answering():
            gone = run.with_name(f".{intent}.{os.urandom(4).hex()}")
            try:
                run.rename(gone)
            except FileNotFoundError:
                return
            _delete(gone)

    def _run(self, intent: str) -> Path:
        return self.root / check_intent(intent)

    def _order(self, spec: RunSpec, run: Path) -> dict[str, object]:
        """All that the shim and the keeper will ever know of this run."""
        work = run / records.WORK
        number = None if spec.preempt_signal is None else int(signal.Signals[f"SIG{spec.preempt_signal}"])
        parts = self.isolation.order(work, spec.user.uid, with_devices=bool(spec.devices))
        plan = parts["plan"] | {
            "cores": sorted(spec.cores),
            "work": str(work),
            "program": str(work / records.SCRIPT),
            "environment": binding.environment(spec, str(work), self._path),
        }
        return {
            **parts,
            "plan": plan,
            "name": spec.name,
            "script": b2a_base64(spec.script, newline=False).decode(),
            "walltime": spec.walltime_ms,
            "lead": spec.lead_ms,
            "grace": spec.grace_ms,
            "warning": number,
            "memory": None if spec.memory_mb is None else spec.memory_mb * 1_048_576,
            "output_limit": spec.output_limit_bytes,
        }

    def _observe(self, intent: str) -> Observation:
        run = self._run(intent)
        claim = _read(run, records.CLAIM)
        if claim is None:
            return Observation(intent, "unknown")
        alive = records.is_alive(claim, self._boot)
        # Read after looking for the shim: one that has just gone has left its record by then.
        for name in (records.EXIT, records.LOST):
            if record := _read(run, name):
                return _over(intent, record)
        if alive:
            return _underway(intent, _read(run, records.STARTED), _read(run, records.HEARTBEAT))
        return self._lose(intent, run)

    def _lose(self, intent: str, run: Path) -> Observation:
        """The shim is gone without a record: make sure that nothing of the run remains, then say so for good."""
        started = _read(run, records.STARTED)
        if not _sweep(run, started):
            return Observation(intent, "unknown", error="processes of a lost run do not end")
        beat = _read(run, records.HEARTBEAT)
        begin = started.get("at") if started else None
        last = begin if begin is None or not beat else begin + beat["elapsed"]
        record = {"cause": "lost", "started_ms": begin, "ended_ms": last, "usage": beat or {}}
        records.write_once(str(run / records.LOST), record)
        return _over(intent, record)


class _Answering:
    """Turns what the operating system refuses into `engine.unavailable`."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, OSError):
            raise FabriqueError("engine.unavailable", why=error.strerror or str(error)) from None


def _read(run: Path, name: str) -> dict[str, Any] | None:
    """A record; None also when it cannot be read: then it proves nothing, and the run counts as lost."""
    try:
        record = records.read(str(run / name))
    except records.BrokenRecordError:
        return {} if name == records.CLAIM else None
    return record if record is not None and _NEEDED.get(name, set()) <= set(record) else None


def _over(intent: str, record: dict[str, Any]) -> Observation:
    cause = cast(Cause, record["cause"])
    state: State = "lost" if cause == "lost" else "ended"
    return Observation(
        intent,
        state,
        cause,
        started_ms=None if cause == "not-started" else record["started_ms"],
        ended_ms=record["ended_ms"] if state == "ended" else None,
        last_seen_ms=record["ended_ms"],
        exit_code=record.get("exit_code"),
        signal=record.get("signal"),
        usage=_usage(record.get("usage") or {}),
        error=record.get("error"),
        interpreter=record.get("interpreter"),
    )


def _underway(intent: str, started: dict[str, Any] | None, beat: dict[str, Any] | None) -> Observation:
    if started is None:
        return Observation(intent, "starting")
    begin = started["at"]
    last = begin + (beat["elapsed"] if beat else 0)
    return Observation(intent, "running", started_ms=begin, last_seen_ms=last, usage=_usage(beat or {}))


def _usage(record: dict[str, Any]) -> Usage:
    return Usage(record.get("cpu_ms"), record.get("max_rss"), record.get("output"), record.get("processes"))


def _sweep(run: Path, started: dict[str, Any] | None) -> bool:
    """End whatever a dead shim has left running; whether all of it is gone.

    The keeper, told by the kernel, is doing so already, and knows best: it sees processes that hide from us by
    clearing their environment. Where it does not finish, or was killed with the shim, whatever carries the run's mark
    is killed, with all below it.
    """
    mark = os.fsencode(f"{records.MARK}={run}")
    for turn in range(_SWEEPS):
        remaining = processes.marked(mark)
        if not remaining:
            return True
        if turn >= _SWEEPS // 2 or not _keeper_is_alive(started):
            for pid in remaining:
                processes.end_below(pid)
                processes.send(pid, signal.SIGKILL)
        time.sleep(_SWEEP_S)
    return False


def _keeper_is_alive(started: dict[str, Any] | None) -> bool:
    return started is not None and records.start_of(started["keeper"]) == started["keeper_start"]


def _delete(folder: Path) -> None:
    """Remove a tree whose owner may have closed its folders; symbolic links are removed, never followed."""
    for parent, folders, _ in os.walk(folder):
        for path in (Path(parent, name) for name in folders):
            if not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(folder)
