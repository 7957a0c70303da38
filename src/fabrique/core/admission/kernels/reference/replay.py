"""A trace through the decision, with a clock of its own: the plainest event loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fabrique.core.admission.kernels.reference import events
from fabrique.core.admission.kernels.reference.decide import step
from fabrique.core.admission.kernels.reference.model import Decision, Job, World
from fabrique.core.admission.rules import Flags
from fabrique.core.admission.tables import AWAY, DONE, NONE, PPM, READY


@dataclass(slots=True)
class _Work:
    """What is left of a running job, in ms on the reference device, since `since`."""

    at_start: int
    left: int
    since: int
    speed: int

    def done(self, now_ms: int) -> int:
        return min(self.left, (now_ms - self.since) * self.speed // PPM)

    def ends(self) -> int:
        return max(self.since + -(-self.left * PPM // self.speed), self.since + 1)


@dataclass(slots=True)
class _Twin:
    world: World
    flags: Flags
    submit: Sequence[int]
    left: list[int]
    after: Sequence[int]
    restart: int
    work: dict[int, _Work] = field(default_factory=dict)
    first: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    option: list[int] = field(default_factory=list)


def replay(
    world: World,
    flags: Flags,
    submit_ms: Sequence[int],
    left_ms: Sequence[int],
    after: Sequence[int],
    tick_ms: int,
    restart_ms: int,
) -> dict[str, list[int]]:
    """Every job's first start, end, option that it last ran at, and preemptions, by row; NONE for what never was.

    `left_ms`: work on the reference device; `after`: the row of the job that must be done before, or NONE;
    `restart_ms`: work that a stopped job does again. The replay ends when nothing lies ahead; ticks alone keep it
    going only while a step could differ from the last.
    """
    nothing = [NONE] * len(world.jobs)
    twin = _Twin(world, flags, submit_ms, list(left_ms), after, restart_ms, {}, nothing[:], nothing[:], nothing[:])
    now, moved = world.last - 1, True
    while True:
        ahead = _ahead(twin, now)
        if tick_ms > 0 and now >= world.last and _unfinished(twin) and (ahead or moved or _changing(twin, now)):
            ahead.append((now // tick_ms + 1) * tick_ms)
        if not ahead:
            break
        now = min(ahead)
        moved = _turn(twin, now)
    preemptions = [job.preemptions for job in world.jobs]
    return {"start": twin.first, "end": twin.last, "option": twin.option, "preemptions": preemptions}


def _ahead(twin: _Twin, now_ms: int) -> list[int]:
    """The instants after `now_ms` at which something is known to happen."""
    world = twin.world
    instants = [work.ends() for work in twin.work.values()]
    instants += [twin.submit[job.row] for job in world.jobs if job.status == AWAY]
    instants += [job.not_before for job in world.jobs if job.status == AWAY and twin.submit[job.row] <= now_ms]
    instants += [at for domain in world.domains for row in domain.caps for at in (row.begin, row.known)]
    instants += [at for block in world.blocks for at in (block.begin, block.until)]
    return [at for at in instants if at > now_ms]


def _unfinished(twin: _Twin) -> bool:
    return any(job.status != DONE for job in twin.world.jobs)


def _changing(twin: _Twin, now_ms: int) -> bool:
    """Whether time alone may still let a job start: a pool that may borrow again, or a job that comes of age."""
    waits = [job.submit + twin.flags.age_ms for job in twin.world.jobs if job.status == READY and twin.flags.age_ms > 0]
    return any(at >= now_ms for at in [*waits, *(pool.no_borrow for pool in twin.world.pools)])


def _turn(twin: _Twin, now_ms: int) -> bool:
    """One instant: time, ends, jobs that come, the decision. Whether anything started, stopped or was put off."""
    world = twin.world
    events.advance(world, twin.flags, now_ms)
    for row in sorted(row for row, work in twin.work.items() if work.ends() <= now_ms):
        events.end(world, world.jobs[row])
        twin.last[row] = now_ms
        del twin.work[row]
    for job in world.jobs:
        if job.status == AWAY and max(twin.submit[job.row], job.not_before) <= now_ms and _free_to_come(twin, job):
            events.ready(world, job)
    decision = step(world, twin.flags, now_ms)
    _follow(twin, decision, now_ms)
    return bool(decision.starts or decision.preempts or decision.deferrals)


def _free_to_come(twin: _Twin, job: Job) -> bool:
    before = twin.after[job.row]
    return before == NONE or twin.world.jobs[before].status == DONE


def _follow(twin: _Twin, decision: Decision, now_ms: int) -> None:
    """Keep account of the work that the decision starts, slows down and stops."""
    options = twin.world.options
    for row, option in decision.recaps:
        work = twin.work[row]
        work.left -= work.done(now_ms)
        work.since, work.speed = now_ms, options[option].speed
        twin.option[row] = option
    for row, option in decision.starts:
        left = twin.left[row]
        twin.work[row] = _Work(left, left, now_ms, options[option].speed)
        twin.option[row] = option
        if twin.first[row] == NONE:
            twin.first[row] = now_ms
    for row, _ in decision.preempts:
        _stop(twin, twin.world.jobs[row], twin.work.pop(row), now_ms)


def _stop(twin: _Twin, job: Job, work: _Work, now_ms: int) -> None:
    """A job that writes checkpoints goes on from where it was; another begins again."""
    job.shape = NONE  # what is left of it is like no other's
    if job.preemptible:
        left = work.left - work.done(now_ms)
        twin.left[job.row] = left + twin.restart
        job.walltime = max(twin.left[job.row], job.walltime - (work.at_start - left) + twin.restart)
