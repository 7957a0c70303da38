"""What the reference decides about: plain objects, and no total kept beside what it totals.

Units as in `admission.tables`: thousandths of devices and cores, MB, mW, UTC epoch ms, ppm. Rows order ties.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from fabrique.core.admission.rules import Flags
from fabrique.core.admission.tables import NONE, PPM, V_BEHIND, State


@dataclass(slots=True, eq=False)
class Cap:
    begin: int
    mw: int
    known: int  # since when


@dataclass(slots=True, eq=False)
class Domain:
    row: int
    caps: list[Cap]  # by begin


@dataclass(slots=True, eq=False)
class Place:
    row: int
    site: int
    weight_ppm: int
    capacity: list[int]
    chain: list[Domain]  # from its own to the root


@dataclass(slots=True, eq=False)
class Block:
    place: Place
    begin: int
    until: int
    need: list[int]


@dataclass(slots=True, eq=False)
class Option:
    row: int
    place: Place
    mw: int  # of one device
    speed: int


@dataclass(slots=True, eq=False)
class Profile:
    options: list[Option]  # best first
    thrifty: list[Option]  # one a place


@dataclass(slots=True, eq=False)
class Cohort:
    row: int
    size: int


@dataclass(slots=True, eq=False)
class Pool:
    row: int
    cohort: Cohort | None
    nominal: int
    borrow: int
    lend: int
    owed: int
    no_borrow: int


@dataclass(slots=True, eq=False)
class Project:
    row: int
    weight: int
    use: int


@dataclass(slots=True, eq=False)
class Line:
    row: int
    pool: Pool
    priority: int
    project: Project | None


@dataclass(slots=True, eq=False)
class Job:
    row: int
    status: int
    profile: Profile
    walltime: int
    pool: Pool
    project: Project | None
    line: Line
    shape: int
    submit: int
    not_before: int
    latest: int
    preemptible: bool
    elastic: bool
    preemptions: int
    deferred: int
    need: list[int]
    asks: list[tuple[int, int]]  # (row of room, how much)
    verdict: int
    short: int
    free: int
    at: int

    @property
    def first(self) -> Option:
        return self.profile.options[0]

    @property
    def amount(self) -> int:
        """Devices, or cores where it asks for no device."""
        if self.need[0] > 0:
            return self.need[0]
        return self.need[1] if len(self.need) > 1 else 0

    def weight(self, place: Place) -> int:
        return self.amount * place.weight_ppm // PPM

    @property
    def asked(self) -> int:
        """What it weighs while it waits: at its first choice."""
        return self.weight(self.first.place)

    def watts(self, option: Option) -> int:
        return -(-self.amount * option.mw // 1000)

    def length(self, option: Option) -> int:
        return -(-self.walltime * PPM // option.speed)

    def say(self, verdict: int = V_BEHIND, short: int = 0, free: int = 0, at: int = NONE) -> None:
        self.verdict, self.short, self.free, self.at = verdict, short, free, at


@dataclass(slots=True, eq=False)
class Run:
    job: Job
    option: Option
    start: int
    end: int
    mw: int
    weight: int
    chosen: Option
    leaving: bool

    @property
    def place(self) -> Place:
        return self.option.place

    def until(self, now_ms: int) -> int:
        """Until when it counts: a run past its end holds what it has until it is seen to have ended."""
        return max(self.end, now_ms + 1)


@dataclass(slots=True, eq=False)
class World:
    """All that is known. `visited` counts the branches that the decision took, by name."""

    tables: State  # as read; what never changes is written back from here
    domains: list[Domain]
    places: list[Place]
    blocks: list[Block]
    options: list[Option]
    pools: list[Pool]
    cohorts: list[Cohort]
    projects: list[Project]
    lines: list[Line]
    jobs: list[Job]
    runs: list[Run]
    room: list[int]
    grid: list[list[int]]  # a site: summed up from `grid_begin`
    grid_begin: int
    grid_step: int
    last: int
    day: int
    blocked: int = NONE  # the first blocked job of the last step
    visited: Counter[str] = field(default_factory=Counter)

    def saw(self, branch: str) -> None:
        self.visited[branch] += 1

    def run_of(self, job: Job) -> Run:
        return next(run for run in self.runs if run.job is job)


@dataclass(slots=True, frozen=True, eq=False)
class Reservation:
    """What the step keeps for a job that waits, in [begin, end)."""

    job: Job
    option: Option
    begin: int
    end: int


@dataclass(slots=True, frozen=True, eq=False)
class Critical:
    """An instant ahead at which less may be free than before. What is left then is counted when asked."""

    kind: str
    at: int
    place: Place | None
    domains: tuple[Domain, ...]


@dataclass(slots=True)
class Decision:
    """What one step did, each in the order taken, as rows."""

    starts: list[tuple[int, int]] = field(default_factory=list)  # (job, option)
    preempts: list[tuple[int, int]] = field(default_factory=list)  # (job, for which job; NONE: for power)
    recaps: list[tuple[int, int]] = field(default_factory=list)  # (job, option)
    deferrals: list[tuple[int, int]] = field(default_factory=list)  # (job, when)


@dataclass(slots=True, eq=False)
class Step:
    """One step under way."""

    world: World
    flags: Flags
    now: int
    decision: Decision = field(default_factory=Decision)
    contended: bool = False
    considered: set[int] = field(default_factory=set)
    closed: set[int] = field(default_factory=set)  # rows of pools
    failed: dict[int, Job] = field(default_factory=dict)  # shape: its first job that failed
    blocked: int = 0
    looked: int = 0
    reservations: list[Reservation] = field(default_factory=list)
    criticals: list[Critical] = field(default_factory=list)
