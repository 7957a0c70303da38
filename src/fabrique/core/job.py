"""A job: what is asked, the states it goes through, and how one attempt at it (a run) can end.

Totals are over all nodes of a job; a job on several nodes is the same on each, so totals divide evenly.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from fabrique.core.fields import FieldError, text_error, wrong
from fabrique.core.units import Amount, Unit, ceil_divide, device_of

MILLI: Final = 1_000  # milli-devices in one device
MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
SCRIPT_MOST_BYTES: Final = 1_048_576
DEFAULT_WALLTIME_MS: Final = 60 * MINUTE_MS
DEFAULT_LEAD_MS: Final = MINUTE_MS
DEFAULT_OUTPUT_BYTES: Final = 64 * 1_048_576
LAST_INSTANT_MS: Final = 253_402_214_399_999  # the end of 9999-12-30: in every zone it still has a date
SIGNALS: Final = ("USR1", "USR2", "TERM", "INT", "HUP")

_MOST: Final[Mapping[str, tuple[int, int]]] = {  # both ends included; sanity, not policy
    "accelerators": (0, 1_000_000 * MILLI),
    "nodes": (1, 100_000),
    "cores": (1, 10_000_000),
    "memory": (1, 2**40),
    "walltime": (1_000, 366 * DAY_MS),
    "lead": (0, DAY_MS),
    "output": (1, 2**40),
    "power": (1, 1_000_000_000),
    "tolerance": (0, 1_000),
    "not-before": (0, LAST_INSTANT_MS),
    "latest-start": (0, LAST_INSTANT_MS),
    "deadline": (0, LAST_INSTANT_MS),
}
_LIST_MOST: Final = 64
_NAME_MOST: Final = 128
_KIND: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}", re.ASCII)
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}", re.ASCII)


Awaits = Literal["owner", "other-job", "array", "cluster"]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What one job asks for. Instants are UTC milliseconds, None when not asked.

    `milli_devices` 0 is a job on cores alone; below 1,000 it is a fraction of one device. `kinds` are the accelerator,
    core or QPU kinds accepted, any when empty. `memory_mb` None leaves it to the partition. `latest_start_ms` is the
    last instant it may start, `deadline_ms` the last by which it must have ended. `power` is watts per device, or
    `auto` (the hub chooses within the job's tolerance), or `max` (never lowered). `tolerance_permille` is how much
    longer than at full power it consents to take. `partition` is the only one it may run on: it came by that one's own
    door. `awaits` is whose word it waits for there: its owner's, another job's end, other tasks of its array, or, until
    `not_before_ms`, the engine's own, which said `awaits_why`.
    """

    script: str
    name: str = "job"
    project: str | None = None
    kinds: tuple[str, ...] = ()
    milli_devices: int = 0
    nodes: int = 1
    cores: int = 1
    memory_mb: int | None = None
    walltime_ms: int = DEFAULT_WALLTIME_MS
    not_before_ms: int | None = None
    latest_start_ms: int | None = None
    deadline_ms: int | None = None
    preemptible: bool = False
    checkpoint_signal: str | None = None
    lead_ms: int = DEFAULT_LEAD_MS
    datasets: tuple[str, ...] = ()
    power: int | Literal["auto", "max"] = "auto"
    tolerance_permille: int = 0
    output_limit_bytes: int = DEFAULT_OUTPUT_BYTES
    partition: str | None = None
    awaits: Awaits | None = None
    awaits_why: str = ""

    @property
    def script_sha256(self) -> str:
        return hashlib.sha256(self.script.encode()).hexdigest()

    @property
    def tolerated_permille(self) -> int:
        """How much longer the hub may let it take; nothing where it chose its power itself."""
        return self.tolerance_permille if self.power == "auto" else 0

    @property
    def start_by_ms(self) -> int | None:
        """The last instant at which it may start, its whole walltime before the deadline."""
        ends = [] if self.deadline_ms is None else [self.deadline_ms - self.walltime_ms]
        starts = [] if self.latest_start_ms is None else [self.latest_start_ms]
        return min(ends + starts, default=None)


class JobState(Enum):
    PENDING = "pending"  # nothing is held for it yet
    ADMITTED = "admitted"  # its quota and budget are held
    STARTING = "starting"  # given to an engine, which hasn't confirmed
    RUNNING = "running"
    ENDING = "ending"  # told to stop, not yet seen to have stopped
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"  # the engine no longer knows it, and left no record of its end
    REFUSED = "refused"  # it could never start as it stands


class EndState(Enum):
    """How one run ended; the reason `end.<value>` says it in words."""

    COMPLETED = "completed"
    FAILED = "failed"
    SIGNALLED = "signalled"
    CANCELLED = "cancelled"
    WALLTIME = "walltime"
    MEMORY = "memory"
    OUTPUT = "output"
    PREEMPTED = "preempted"
    LOST = "lost"
    NODE_FAILED = "node-failed"
    NOT_STARTED = "not-started"


_OVER: Final = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED, JobState.LOST})
# A run can be over before it was ever seen running; a preempted one, or one that no engine took, waits again.
_FROM_RUN: Final = _OVER | {JobState.PENDING}
TRANSITIONS: Final[Mapping[JobState, frozenset[JobState]]] = {
    JobState.PENDING: frozenset({JobState.ADMITTED, JobState.REFUSED, JobState.CANCELLED}),
    JobState.ADMITTED: frozenset({JobState.STARTING, JobState.PENDING, JobState.REFUSED, JobState.CANCELLED}),
    JobState.STARTING: _FROM_RUN | {JobState.RUNNING, JobState.ENDING},
    JobState.RUNNING: _FROM_RUN | {JobState.ENDING},
    JobState.ENDING: _FROM_RUN,
    JobState.COMPLETED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
    JobState.LOST: frozenset(),
    JobState.REFUSED: frozenset(),
}
_AFTER: Final[Mapping[EndState, JobState]] = {
    EndState.COMPLETED: JobState.COMPLETED,
    EndState.FAILED: JobState.FAILED,
    EndState.SIGNALLED: JobState.FAILED,
    EndState.CANCELLED: JobState.CANCELLED,
    EndState.WALLTIME: JobState.FAILED,
    EndState.MEMORY: JobState.FAILED,
    EndState.OUTPUT: JobState.FAILED,
    EndState.PREEMPTED: JobState.PENDING,
    EndState.LOST: JobState.LOST,
    EndState.NODE_FAILED: JobState.FAILED,
    EndState.NOT_STARTED: JobState.FAILED,
}


def whole_minutes(span_ms: int) -> int:
    """As long, up to a whole minute: a cluster's limits are no finer."""
    return ceil_divide(span_ms, MINUTE_MS) * MINUTE_MS


def may_follow(state: JobState, following: JobState) -> bool:
    return following in TRANSITIONS[state]


def is_over(state: JobState) -> bool:
    """Whether nothing more can happen to it."""
    return not TRANSITIONS[state]


def after(end: EndState) -> JobState:
    """The state of a job whose run ended so; a preempted job waits again."""
    return _AFTER[end]


def upper_bound(spec: JobSpec, unit: Unit) -> Amount:
    """The most computing time one run can use, in `unit`: what a hold must cover.

    Devices (or QPUs) x walltime, or cores x walltime where the unit counts cores; rounded up to a whole millisecond.
    Raises ValueError when the job asks for no device of a unit that counts devices, which would make it free.
    """
    if device_of(unit) == "core":
        return Amount(unit, spec.cores * spec.walltime_ms)
    if spec.milli_devices <= 0:
        raise ValueError(f"a job without devices has no bound in {unit}")
    return Amount(unit, ceil_divide(spec.milli_devices * spec.walltime_ms, MILLI))


def check_spec(spec: JobSpec) -> list[FieldError]:
    """Everything in `spec` that no hub could run, by the names people write in a script's header."""
    errors = [e for e in (_within(name, value) for name, value in _numbers(spec)) if e is not None]
    errors.extend(_texts(spec))
    errors.extend(_devices(spec))
    errors.extend(_times(spec))
    return errors


def _numbers(spec: JobSpec) -> Iterable[tuple[str, int]]:
    yield "accelerators", spec.milli_devices
    yield "nodes", spec.nodes
    yield "cores", spec.cores
    yield "walltime", spec.walltime_ms
    yield "lead", spec.lead_ms
    yield "output", spec.output_limit_bytes
    yield "tolerance", spec.tolerance_permille
    if spec.memory_mb is not None:
        yield "memory", spec.memory_mb
    if isinstance(spec.power, int):
        yield "power", spec.power
    instants = {
        "not-before": spec.not_before_ms,
        "latest-start": spec.latest_start_ms,
        "deadline": spec.deadline_ms,
    }
    yield from ((name, ms) for name, ms in instants.items() if ms is not None)


def _within(name: str, value: int) -> FieldError | None:
    least, most = _MOST[name]
    return None if least <= value <= most else wrong(name, "out-of-bounds", least=least, most=most)


def _texts(spec: JobSpec) -> list[FieldError]:
    errors: list[FieldError | None] = [text_error("name", spec.name, _NAME_MOST)]
    if not spec.name.strip():
        errors.append(wrong("name", "required"))
    if spec.project is not None and not _ID.fullmatch(spec.project):
        errors.append(wrong("project", "not-a-name"))
    if spec.checkpoint_signal is not None and spec.checkpoint_signal not in SIGNALS:
        errors.append(wrong("preemptible", "not-a-choice", accepted=SIGNALS))
    errors.extend(_listed("kinds", spec.kinds, _KIND))
    errors.extend(_listed("datasets", spec.datasets, _ID))
    if len(spec.script.encode("utf-8", "surrogatepass")) > SCRIPT_MOST_BYTES:
        errors.append(wrong("script", "too-long", most=SCRIPT_MOST_BYTES))
    elif "\0" in spec.script or any("\ud800" <= c <= "\udfff" for c in spec.script):
        errors.append(wrong("script", "control-characters"))
    return [e for e in errors if e is not None]


def _listed(name: str, given: tuple[str, ...], pattern: re.Pattern[str]) -> Iterable[FieldError]:
    if len(given) > _LIST_MOST:
        yield wrong(name, "too-many", most=_LIST_MOST)
    elif not all(pattern.fullmatch(text) for text in given):
        yield wrong(name, "not-a-name")
    elif len(set(given)) < len(given):
        yield wrong(name, "repeated", value=next(g for g in given if given.count(g) > 1))


def _devices(spec: JobSpec) -> Iterable[FieldError]:
    """A fraction is a part of one device: one and a half of them can't be bound to a job."""
    if spec.milli_devices > MILLI and spec.milli_devices % MILLI:
        yield wrong("accelerators", "not-a-whole-device")
    if spec.nodes > 1:
        if spec.milli_devices % (spec.nodes * MILLI):
            yield wrong("accelerators", "not-divisible", nodes=spec.nodes)
        if spec.cores % spec.nodes:
            yield wrong("cores", "not-divisible", nodes=spec.nodes)


def _times(spec: JobSpec) -> Iterable[FieldError]:
    if spec.checkpoint_signal is not None:
        if not spec.preemptible:
            yield wrong("preemptible", "needs", other="signal")
        if spec.lead_ms >= spec.walltime_ms:
            yield wrong("lead", "out-of-bounds", least=0, most=spec.walltime_ms - 1)
    if spec.not_before_ms is None:
        return
    if spec.latest_start_ms is not None and spec.latest_start_ms < spec.not_before_ms:
        yield wrong("latest-start", "not-after", other="not-before")
    if spec.deadline_ms is not None and spec.deadline_ms - spec.walltime_ms < spec.not_before_ms:
        yield wrong("deadline", "not-after", other="not-before")
