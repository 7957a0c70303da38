"""What an engine promises. The caller writes an intent down *before* it acts; the engine makes the act safe to repeat.

Guarantees every engine gives:

- an intent starts **at most once**, however often and by however many callers it is submitted;
- a run is *ended* only on the engine's own record of its end; what merely disappeared is *lost*;
- what an engine cannot tell is *unknown*, never a guess;
- times are UTC milliseconds, and `ended_ms - started_ms` is a measured duration: setting the clock does not change it.

Errors: `engine.unavailable` (does not answer: try later), `engine.refused` (answered no), `engine.garbage` (answered
something that cannot be read).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from fabrique.core.errors import FabriqueError

State = Literal["starting", "running", "ended", "lost", "unknown"]
Cause = Literal[
    "completed",
    "failed",
    "signalled",
    "walltime",
    "memory",
    "output",
    "cancelled",
    "preempted",
    "lost",
    "node-failed",  # its node died under it: the hub's failure
    "not-started",
]

WARNING_SIGNALS: Final = ("USR1", "USR2", "TERM", "INT", "HUP")
MOST_SCRIPT_BYTES: Final = 1_048_576
MOST_ENVIRONMENT_BYTES: Final = 65_536
_INTENT = re.compile(r"[a-z0-9][a-z0-9-]{6,62}[a-z0-9]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


@dataclass(frozen=True, slots=True)
class DeviceSlot:
    """One accelerator, or `milli` thousandths of it, as the partition hands it out."""

    vendor: str
    index: int
    uuid: str = ""
    milli: int = 1000


@dataclass(frozen=True, slots=True)
class JobUser:
    """On whose behalf the run is: `label` for people, `uid` where the isolation gives each project its own user.

    `login` is the account of the person on a cluster; None there: the run is the hub's own user's.
    """

    label: str
    uid: int | None = None
    login: str | None = None


@dataclass(frozen=True, slots=True)
class Where:
    """Where on a cluster: its partition, the account and QoS that pay there, and the devices of each of its nodes.

    `gres` is a node's part, as the cluster writes it (gpu:h100:2); empty for cores alone.
    """

    partition: str
    account: str
    qos: str = ""
    nodes: int = 1
    gres: str = ""


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One run, complete: nothing is looked up later.

    `cores` are the numbers of the cores it is bound to (an engine that binds by itself takes `core_count` alone).
    `walltime_ms` is a bound on the elapsed time; TERM comes then and KILL `grace_ms` later. `preempt_signal` is sent
    `lead_ms` before that end, and at once when preempted. `power_limit_w` is each device's, `power_w` the most that the
    run may draw in all, as it was booked. Raises `job.field` when a field cannot be honoured.
    """

    intent: str
    name: str
    script: bytes
    core_count: int
    walltime_ms: int
    user: JobUser
    cores: tuple[int, ...] = ()
    devices: tuple[DeviceSlot, ...] = ()
    memory_mb: int | None = None
    output_limit_bytes: int = 64 * 1024 * 1024
    preempt_signal: str | None = None
    lead_ms: int = 0
    grace_ms: int = 5_000
    environment: Mapping[str, str] = field(default_factory=dict)
    power_limit_w: int | None = None
    power_w: int | None = None
    where: Where | None = None  # an engine of many nodes needs it; one machine has no use for it

    def __post_init__(self) -> None:
        check_intent(self.intent)
        positive = {"core_count": self.core_count, "walltime_ms": self.walltime_ms}
        positive["output_limit_bytes"] = self.output_limit_bytes
        positive |= {} if self.memory_mb is None else {"memory_mb": self.memory_mb}
        for name, value in positive.items():
            _require(value > 0, name, "positive")
        _require(self.lead_ms >= 0 and self.grace_ms >= 0, "lead_ms", "negative")
        _require(not self.cores or len(set(self.cores)) == self.core_count, "cores", "count")
        _require(all(core >= 0 for core in self.cores), "cores", "negative")
        _require(self.preempt_signal in (None, *WARNING_SIGNALS), "preempt_signal", "unknown")
        _require(0 < len(self.script) <= MOST_SCRIPT_BYTES, "script", "size")
        _check_environment(self.environment)


@dataclass(frozen=True, slots=True)
class Usage:
    """What the run has used so far. `None`: this engine does not measure it.

    `cpu_ms` counts user and system time of every process of the run; `max_rss_bytes` is the largest sum of resident
    memory seen at one instant (memory shared between the run's processes counts once for each: an upper bound).
    `energy_mj` is what a counter of the run's own says; energy that others share in is never given here.
    """

    cpu_ms: int | None = None
    max_rss_bytes: int | None = None
    output_bytes: int | None = None
    processes: int | None = None
    energy_mj: int | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """What the engine can prove about one intent at this instant.

    `unknown` with no cause: the engine holds nothing started under this intent (submitting it again is safe).
    `starting`: taken, nothing runs yet. `lost`: it was taken, and went away without a record of its end; `last_seen_ms`
    is then the last instant it was surely there. `cause` is set exactly when `state` is `ended` or `lost`.
    A `preempted` run keeps its exit code: whether 0 means that its work is done is for the caller's policy to say.
    `interpreter` is the program that a script names on its first line, where that one can't be run here.
    `nodes` are those it has, by the engine's names, where it has several.
    """

    intent: str
    state: State
    cause: Cause | None = None
    started_ms: int | None = None
    ended_ms: int | None = None
    last_seen_ms: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    usage: Usage = Usage()
    error: str | None = None
    interpreter: str | None = None
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """The intents the engine holds. Only a `complete` listing lets its reader conclude anything from an absence."""

    complete: bool
    intents: tuple[str, ...]
    at_ms: int


@dataclass(frozen=True, slots=True)
class PartitionCapacity:
    """What the partition has in all, busy or not."""

    cores: tuple[int, ...]
    memory_mb: int | None
    devices: tuple[DeviceSlot, ...]


class Engine(Protocol):
    """Every method may raise `engine.unavailable`; none raises for an intent it does not know unless it says so."""

    def submit(self, spec: RunSpec) -> None:
        """Take the run. Safe to repeat at any instant, also after the caller was killed half-way: the first spec wins.

        Raises `engine.refused` when it can never run here.
        """

    def observe(self, intents: Sequence[str]) -> list[Observation]:
        """One observation per intent asked, in that order. One unreadable run never hides the others."""

    def cancel(self, intent: str, grace_ms: int) -> None:
        """End it: TERM, then KILL after `grace_ms`. Durable in any state: a run submitted later does not start."""

    def preempt(self, intent: str) -> None:
        """Send the checkpoint signal now, TERM after the lead time, KILL after the grace."""

    def hold(self, intents: Sequence[str]) -> None:
        """Keep runs from starting. Raises `engine.refused` for one that has started; the others are held."""

    def release(self, intents: Sequence[str]) -> None:
        """Undo `hold`."""

    def list(self) -> Listing:
        """Every intent taken and not purged, whatever its state."""

    def adopt(self, intent: str) -> bool:
        """Whether the engine holds this run, so that a caller who forgot it (a restored backup) may follow it again."""

    def read_log(self, intent: str, offset: int, limit: int) -> tuple[bytes, int, bool]:
        """At most `limit` raw bytes from `offset`; the next offset; whether nothing will ever follow.

        Bytes come as the job wrote them, hostile or not. Raises `log.missing` for an intent the engine does not hold.
        """

    def capacity(self) -> PartitionCapacity:
        """What there is to hand out."""

    def purge(self, intent: str) -> None:
        """Forget a run that is over, with its files; its intent must never be submitted again.

        Raises `engine.refused` while it runs.
        """


def check_intent(intent: str) -> str:
    """`intent` itself, safe as a file name. Raises `job.field`."""
    _require(_INTENT.fullmatch(intent) is not None, "intent", "form")
    return intent


def _check_environment(environment: Mapping[str, str]) -> None:
    size = 0
    for name, value in environment.items():
        _require(_VARIABLE.fullmatch(name) is not None, "environment", "name")
        _require("\0" not in value, "environment", "value")
        size += len(name) + len(value.encode("utf-8", "surrogateescape")) + 2
    _require(size <= MOST_ENVIRONMENT_BYTES, "environment", "size")


def _require(holds: bool, name: str, why: str) -> None:
    if not holds:
        raise FabriqueError("job.field", field=name, why=why)
