"""The decision in its plainest form. Start with `step`."""

from __future__ import annotations

from fabrique.core.admission.kernels.reference import events
from fabrique.core.admission.kernels.reference.choice import better_slot, choose
from fabrique.core.admission.kernels.reference.fitting import binding, foreseen, reserve
from fabrique.core.admission.kernels.reference.model import Decision, Job, Option, Step, World
from fabrique.core.admission.kernels.reference.order import next_job
from fabrique.core.admission.kernels.reference.power import fall, refill, want_more
from fabrique.core.admission.kernels.reference.questions import contended
from fabrique.core.admission.kernels.reference.reclaim import reclaim
from fabrique.core.admission.rules import Flags
from fabrique.core.admission.tables import AWAY, NONE, READY, V_BEHIND, V_BUDGET, V_DEFERRED, V_QUOTA


def step(world: World, flags: Flags, now_ms: int) -> Decision:
    """What is done now. Every job that stays ready says why; `world` is as it is afterwards."""
    if flags.observe_only:
        world.saw("observe-only")
        return Decision()
    turn = Step(world, flags, now_ms)
    forget(world)
    if flags.recap:
        fall(turn)
    turn.contended = contended(world)
    if flags.water_fill and turn.contended:
        want_more(turn)
    turn.criticals = foreseen(turn)
    serve(turn)
    if flags.water_fill:
        refill(turn)
    return turn.decision


def forget(world: World) -> None:
    """What was said at the last step no longer holds."""
    world.blocked = NONE
    for job in world.jobs:
        if job.status == READY:
            job.say()


def serve(turn: Step) -> None:
    while (found := next_job(turn)) is not None:
        job, aged = found
        turn.considered.add(job.row)
        if not consider(turn, job, aged):
            return


def consider(turn: Step, job: Job, aged: bool) -> bool:
    """Start the job, put it off or say why it waits; whether to go on with the next."""
    if held_back(turn, job):
        return True
    if turn.blocked > 0 and not turn.flags.backfill:
        turn.world.saw("no-backfill")
        return False
    if turn.blocked >= turn.flags.reservations:
        if known_to_fail(turn, job):
            return True
        turn.looked += 1
        if turn.looked > turn.flags.depth:
            turn.world.saw("depth")
            return False
    if turn.flags.defer and put_off(turn, job):
        return True
    option = choose(turn, job)
    if option is None and turn.flags.reclaim and turn.blocked < turn.flags.reservations:
        option = reclaim(turn, job)
    if option is None:
        wait(turn, job, aged)
    else:
        start(turn, job, option)
    return True


def held_back(turn: Step, job: Job) -> bool:
    """By its pool's quota, since an older one waits for it; or by a budget."""
    if job.pool.row in turn.closed:
        turn.world.saw("quota-closed")
        job.say(V_QUOTA, job.asked, 0)
        return True
    for row, ask in job.asks:
        if ask > turn.world.room[row]:
            turn.world.saw("budget")
            job.say(V_BUDGET, row, turn.world.room[row])
            return True
    return False


def known_to_fail(turn: Step, job: Job) -> bool:
    """Whether one alike failed in this step: what is taken only grows."""
    other = turn.failed.get(job.shape)
    if other is None:
        return False
    turn.world.saw("shape-remembered")
    job.say(other.verdict, other.short, other.free)
    return True


def put_off(turn: Step, job: Job) -> bool:
    """Each flexible job is judged once, when its turn first comes."""
    if job.latest == NONE or job.deferred != 0:
        return False
    at = better_slot(turn, job)
    if at is None:
        job.deferred = 3
        return False
    turn.world.saw("defer")
    job.status, job.not_before, job.deferred = AWAY, at, 1
    job.say(V_DEFERRED, 0, 0, at)
    turn.decision.deferrals.append((job.row, at))
    return True


def start(turn: Step, job: Job, option: Option) -> None:
    turn.world.saw("start-behind" if turn.blocked else "start")
    events.start(turn.world, job, option, turn.now)
    turn.decision.starts.append((job.row, option.row))


def wait(turn: Step, job: Job, aged: bool) -> None:
    """Say what lacks; the first that wait get their earliest start reserved."""
    lack = binding(turn, job)
    job.say(*(lack or (V_BEHIND, 0, 0)))
    turn.world.saw(f"verdict-{job.verdict}")
    fail(turn, job)
    if job.verdict == V_QUOTA:
        if aged:
            turn.world.saw("pool-closed")
            turn.closed.add(job.pool.row)
        return
    if turn.blocked < turn.flags.reservations:
        at = reserve(turn, job)
        if at is None:
            turn.world.saw("never-fits")
            return
        turn.world.saw("reserved")
        job.at = at
    if turn.blocked == 0:
        turn.world.blocked = job.row
    turn.blocked += 1


def fail(turn: Step, job: Job) -> None:
    if job.shape != NONE:
        turn.failed.setdefault(job.shape, job)
