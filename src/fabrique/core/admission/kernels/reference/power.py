"""Power: what yields when a cap falls, and what gets its level back when there is power left."""

from __future__ import annotations

from fabrique.core.admission.kernels.reference import events
from fabrique.core.admission.kernels.reference.choice import even_mw
from fabrique.core.admission.kernels.reference.fitting import passed
from fabrique.core.admission.kernels.reference.model import Domain, Option, Run, Step
from fabrique.core.admission.kernels.reference.questions import cap, mw_at, used_mw
from fabrique.core.admission.tables import NONE, UNLIMITED


def yielding(run: Run) -> tuple[int, int, int]:
    """Who yields first: the lowest priority, then who started last."""
    return run.job.line.priority, -run.start, -run.job.row


def fall(step: Step) -> None:
    """Bring every domain under its cap, as far as those consent who run there."""
    for domain in step.world.domains:
        if over(step, domain) > 0:
            step.world.saw("over-cap")
            lower(step, domain)
            stop(step, domain)
            if over(step, domain) > 0:
                step.world.saw("spared")


def over(step: Step, domain: Domain) -> int:
    return used_mw(step.world, domain) - cap(domain, step.now, step.now)


def movable(step: Step, domain: Domain) -> list[Run]:
    inside = [run for run in step.world.runs if domain in run.place.chain and not run.leaving]
    return sorted(inside, key=yielding)


def lower(step: Step, domain: Domain) -> None:
    for run in movable(step, domain):
        excess = over(step, domain)
        if excess <= 0:
            return
        if not run.job.elastic:
            continue
        option = lowered(step, run, excess)
        if option is not None:
            recap(step, run, option)


def lowered(step: Step, run: Run, excess: int) -> Option | None:
    """The highest level that saves enough, else the lowest; None where there is none lower."""
    job = run.job
    below = [o for o in job.profile.options if o.place is run.place and job.watts(o) < run.mw]
    if not below:
        step.world.saw("recap-none-lower")
        return None
    enough = [o for o in below if run.mw - job.watts(o) >= excess]
    if enough:
        step.world.saw("recap-enough")
        return min(enough, key=lambda o: (-job.watts(o), o.row))
    step.world.saw("recap-lowest")
    return min(below, key=lambda o: (job.watts(o), o.row))


def stop(step: Step, domain: Domain) -> None:
    for run in movable(step, domain):
        if over(step, domain) <= 0:
            return
        if run.job.preemptible:
            step.world.saw("preempt-power")
            events.preempt(step.world, run, step.flags.backoff_ms, step.now)
            step.decision.preempts.append((run.job.row, NONE))


def recap(step: Step, run: Run, option: Option) -> None:
    events.recap(run, option, step.now)
    step.decision.recaps.append((run.job.row, option.row))


def want_more(step: Step) -> None:
    """Elastic runs want the fastest level within the even share of a cap, if that is faster than what was chosen."""
    for run in step.world.runs:
        even = even_mw(step, run.place)
        if even == UNLIMITED or run.leaving or not run.job.elastic:
            continue
        here = [o for o in run.job.profile.options if o.place is run.place and o.mw <= even]
        more = [o for o in here if o.speed > run.chosen.speed]
        if more:
            step.world.saw("wants-more")
            run.chosen = min(more, key=lambda o: (-o.speed, o.mw, o.row))


def refill(step: Step) -> None:
    """Give the runs that are below the level chosen for them that level, first come first."""
    lowered_runs = [run for run in step.world.runs if not run.leaving and run.option is not run.chosen]
    for run in sorted(lowered_runs, key=lambda run: (run.start, run.job.row)):
        if may_rise(step, run):
            step.world.saw("raised")
            recap(step, run, run.chosen)
        else:
            step.world.saw("kept-low")


def may_rise(step: Step, run: Run) -> bool:
    """Whether its chosen level fits now and at every critical instant before the end that it would have."""
    watts = run.job.watts(run.chosen)
    for domain in run.place.chain:
        if used_mw(step.world, domain) - run.mw + watts > cap(domain, step.now, step.now):
            return False
    for critical in passed(step, step.now, events.end_at(run, run.chosen, step.now)):
        own = run.mw if critical.at < run.end else 0
        covered = [domain for domain in run.place.chain if domain in critical.domains]
        if any(mw_at(step, domain, critical.at) + own < watts for domain in covered):
            step.world.saw("rise-would-break")
            return False
    return True
