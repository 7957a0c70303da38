"""The books of a run brought to what its engine's accounting says of it: once, whatever was believed before.

Every function joins the transaction of the caller's batch, whose lock on the ledger lets one writer in at a time.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from fabrique.apps.jobs import settlement
from fabrique.apps.jobs.admission import Placement
from fabrique.apps.jobs.models import Job, Run, RunState
from fabrique.apps.jobs.settlement import HUB_FAILED, Seen
from fabrique.apps.ledger import services as ledger
from fabrique.apps.ledger.models import Hold, Posting
from fabrique.core import booking, correction
from fabrique.core.admission import filter as fits
from fabrique.core.booking import BalanceOf, Frozen, Policy
from fabrique.core.energy import Provenance
from fabrique.core.job import EndState
from fabrique.core.ledger import Key, Line, amounts_from_json, amounts_json
from fabrique.core.reasons import reason
from fabrique.core.units import MG, MJ, Amount, Unit

LATE = "after_the_fact"  # in a run's `bound`: its hold was made once its end was known
_SECOND_MS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A run that is over, as the accounting has it, in our terms. `share_milli` is what it was allocated of `unit`.

    `seen` has its own counter's energy, where it has one; `modelled` is for a run to which no window gave any.
    `mg_per_kwh` is the intensity as it was, `factor` which one that is.
    """

    handle: str
    seen: Seen
    partition: str
    kind: str
    unit: Unit
    share_milli: int
    mg_per_kwh: int
    factor: str
    modelled: tuple[int, Provenance]

    @property
    def elapsed_ms(self) -> int:
        return self.seen.elapsed_ms or 0

    @property
    def end(self) -> EndState:
        return EndState(self.seen.cause or "lost")


def book(acts: ledger.Batch, job: Job, placement: Placement, told: Told, *, now: int) -> Run:
    """A run that came and went unseen: its run, a hold of what the budget allows, and its settlement, at once."""
    seen = told.seen
    if seen.energy_mj is None:
        seen = replace(seen, energy_mj=told.modelled[0], energy_from=told.modelled[1])
    actual = fits.charges(told.elapsed_ms, told.share_milli, seen.energy_mj or 0, told.unit, placement.frozen)
    allocation = str(job.allocation_id)
    held = _held(allocation, actual, ledger.policies(allocation), acts.balance, {})
    hold = acts.hold(allocation, job.allocation.pool, fits.as_amounts(held), placement.frozen, uuid.uuid4())
    run = Run.objects.create(
        job=job,
        attempt=job.runs.count() + 1,
        handle=told.handle,
        engine=placement.offer.engine,
        partition=told.partition,
        kind=told.kind,
        unit=told.unit,
        share_milli=told.share_milli,
        bound={**placement.bound, LATE: True},
        hold=hold.id,
        state=RunState.RUNNING,
        planned_ms=now,
        started_ms=seen.started_ms,
        seen_ms=seen.ended_ms,
    )
    settlement.settle(acts, run, seen, told.mg_per_kwh, told.factor, now=now, opened=hold)
    return run


def differs(run: Run, told: Told) -> bool:
    """Whether the books say otherwise than the accounting: by a second or more, by what was allocated, by its own
    counter, or by whose failure it was.
    """
    if run.state == RunState.ABANDONED or run.elapsed_ms is None:
        return True
    own = told.seen.energy_mj
    failed = told.end in HUB_FAILED
    believed = str(run.reason.get("code", "")).removeprefix("end.")
    return (
        abs(run.elapsed_ms - told.elapsed_ms) >= _SECOND_MS
        or (run.share_milli, run.unit) != (told.share_milli, told.unit)
        or (own is not None and own != run.energy_mj)
        or failed != (believed in {end.value for end in HUB_FAILED})
    )


def correct(acts: ledger.Batch, run: Run, told: Told, *, now: int) -> bool:
    """New lines that bring the run's books to the accounting's word; False where they say it already."""
    told = _as_we_ended_it(run, told)
    hold = Hold.objects.get(pk=run.hold)
    lines = _posted(str(hold.id))
    posted = correction.net(lines)
    site = str(run.bound["site"])
    attributed = run.energy_mj if run.state == RunState.ABANDONED else -posted.get((f"site:{site}:jobs", MJ), 0)
    energy, provenance = _energy(run, told)
    detail = {
        **reason("correct.accounting", engine=run.engine).as_json(),
        "run": str(run.id),
        "end": told.end.value,
        "elapsed_ms": str(told.elapsed_ms),
        "energy": provenance,
        **({"actual_factor": told.factor} if told.factor else {}),
    }
    frozen = ledger.frozen_of(hold)
    actual = fits.charges(told.elapsed_ms, told.share_milli, energy, told.unit, frozen)
    limits = ledger.policies(hold.allocation)
    bounds = {} if run.bound.get(LATE) else {a.unit: a.value for a in amounts_from_json(hold.amounts)}
    before: BalanceOf = lambda account, unit: acts.balance(account, unit) - posted.get((account, unit), 0)  # noqa: E731
    held = _held(hold.allocation, actual, limits, before, bounds)
    ref = str(hold.id)
    wanted = booking.hold(hold.allocation, fits.as_amounts(held), limits, before, ref)
    bucket = "lost" if told.end in HUB_FAILED else "used"
    wanted += booking.debit(hold.allocation, hold.pool, held, actual, ref, detail, bucket)
    charged = {u: min(v, held.get(u, v)) for u, v in actual.items()}
    given_back = _refund(hold, posted, told.end, charged, limits, bucket)
    wanted += given_back or settlement.rebates(run, hold, charged, limits)
    wanted += correction.own_counter(site, attributed, energy, ref, detail)
    wanted += booking.supply(site, energy, ref, detail)
    wanted += _variance(told, energy, actual, frozen, ref, detail)
    if run.level is None:  # a rebate that was given otherwise stays
        wanted += [line for line in lines if line.what == "frugality-rebate"]
    more = correction.correct(lines, wanted, ref, detail)
    acts.add(more)
    _rewrite(run, told, energy, provenance, charged, now=now)
    return bool(more)


def _as_we_ended_it(run: Run, told: Told) -> Told:
    """The accounting knows what a run used; why it ended, the engine knew better, unless the hub failed."""
    believed = str(run.reason.get("code", "")).removeprefix("end.")
    known = {end.value for end in EndState} - {end.value for end in HUB_FAILED}
    if run.state != RunState.ENDED or told.end in HUB_FAILED or believed not in known:
        return told
    return replace(told, seen=replace(told.seen, cause=believed))


def _posted(ref: str) -> list[Line]:
    """All that was posted for a hold."""
    rows = Posting.objects.filter(ref=ref).values_list("account", "unit", "amount", "what", "detail")
    return [Line(account, Unit(unit), amount, what, ref, detail) for account, unit, amount, what, detail in rows]


def _held(
    allocation: str,
    actual: Mapping[Unit, int],
    limits: Mapping[Unit, Policy],
    balance: BalanceOf,
    bounds: Mapping[Unit, int],
) -> dict[Unit, int]:
    """Of what was used, what the budgets allow and the hold bounded; the rest is the hub's overrun."""
    held = {}
    for unit in sorted(limits.keys() & actual.keys()):
        room = booking.room(allocation, unit, limits[unit], balance)
        most = min(actual[unit], bounds.get(unit, actual[unit]))
        held[unit] = most if room is None else min(most, max(room, 0))
    return held


def _energy(run: Run, told: Told) -> tuple[int, Mapping[str, object]]:
    """The run's own counter's, else what windows gave it, else the model's."""
    if told.seen.energy_mj is not None and told.seen.energy_from is not None:
        return told.seen.energy_mj, told.seen.energy_from.as_json()
    if run.energy_mj and not (run.bound.get(LATE) and run.energy_provenance.get("basis") == "modelled"):
        return run.energy_mj, run.energy_provenance
    return told.modelled[0], told.modelled[1].as_json()


def _refund(
    hold: Hold,
    posted: Mapping[Key, int],
    end: EndState,
    charged: Mapping[Unit, int],
    limits: Collection[Unit],
    bucket: str,
) -> list[Line]:
    """Given back where the hub failed, or where a pool took back what it had lent, as was decided then."""
    amounts = [Amount(u, v) for u, v in sorted(charged.items()) if v]
    pools = sorted({account for account, _ in posted if account.endswith(":reclaim-cost")})
    if end in HUB_FAILED:
        cost, why = booking.LOSSES, reason("refund.hub-failure", cause=HUB_FAILED[end])
    elif pools:
        cost, why = pools[0], reason("refund.reclaim", pool=pools[0].split(":")[1])
    else:
        return []
    return booking.refund(hold.allocation, hold.pool, amounts, limits, str(hold.id), why.as_json(), bucket, cost)


def _variance(
    told: Told, energy: int, actual: Mapping[Unit, int], frozen: Frozen, ref: str, detail: Mapping[str, object]
) -> Iterable[Line]:
    was = replace(frozen, mg_per_kwh=told.mg_per_kwh)
    actual_mg = fits.charges(told.elapsed_ms, told.share_milli, energy, told.unit, was)[MG]
    return booking.forecast_variance(actual.get(MG, 0), actual_mg, ref, detail)


def _rewrite(
    run: Run, told: Told, energy: int, provenance: Mapping[str, object], charged: Mapping[Unit, int], *, now: int
) -> None:
    """The run and its job as they are known now."""
    seen = told.seen
    run.state = RunState.LOST if told.end is EndState.LOST else RunState.ENDED
    run.started_ms, run.ended_ms, run.elapsed_ms = seen.started_ms, seen.ended_ms, told.elapsed_ms
    run.share_milli, run.unit, run.kind = told.share_milli, told.unit, told.kind
    run.energy_mj, run.energy_provenance = energy, dict(provenance)
    run.exit_code = seen.exit_code
    run.reason = settlement.why_ended(told.end, seen, run).as_json()
    run.charged = amounts_json(Amount(u, v) for u, v in charged.items())
    run.save()
    settlement.finish(run, told.end, now=now, late=True)
