"""The loop's turns against a scripted engine: what is written before an act, retried after silence, fenced off."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from tests.unit.scripted import CPU, T0, Bench, ended, running

from fabrique.apps.access.models import Allocation
from fabrique.apps.energy.models import Window
from fabrique.apps.jobs import services as jobs
from fabrique.apps.jobs.models import HubState, Intent, Job, Run
from fabrique.apps.ledger import services as ledger
from fabrique.apps.ledger.models import Hold, Posting
from fabrique.apps.ledger.verify import verify
from fabrique.apps.this_hub import YEAR_MS
from fabrique.core.admission.rules import Rules
from fabrique.core.booking import Policy
from fabrique.core.errors import FabriqueError
from fabrique.core.units import MJ
from fabrique.engines.protocol import PartitionCapacity, RunSpec
from fabrique.operate import duties, settle
from fabrique.operate import loop as loops


@pytest.fixture
def bench(here: Any) -> Bench:
    return Bench(here)


def test_from_pending_to_the_books(bench: Bench) -> None:
    job = running(bench)
    assert bench.left() == 36_000_000 - 600_000  # the hold
    ended(bench, job, exit_code=0)
    run = job.runs.get()
    assert bench.status(job) == "completed"
    assert (run.elapsed_ms, run.charged[CPU]) == (60_000, "60000")
    # one core, busy for a minute: 12 W x 60 s, at the model's word
    assert run.energy_mj == 720_000
    assert run.energy_provenance["basis"] == "modelled"
    assert run.charged[MJ] == "720000"
    assert run.charged["uCAD"] == str(round(10_000 / 60))
    assert bench.left() == 36_000_000 - 60_000
    assert verify().ok


def test_every_window_sums_to_its_meter(bench: Bench) -> None:
    ended(bench, running(bench))
    bench.turn(loops.WINDOW_MS)
    bench.turn(loops.WINDOW_MS)
    rows = list(Window.objects.order_by("start_ms"))
    assert len(rows) >= 2
    assert all(w.jobs_mj + w.idle_mj + w.overhead_mj + w.residual_mj == w.meter_mj for w in rows)
    assert all(a.end_ms == b.start_ms for a, b in pairwise(rows))
    booked = -ledger.balance(f"site:{bench.here.site}:meter", MJ)
    assert booked == sum(w.meter_mj for w in rows)


def test_an_intent_is_written_before_the_engine_hears_of_it(bench: Bench) -> None:
    seen: list[bool] = []
    tell: Callable[[RunSpec], None] = bench.engine.submit

    def submit(spec: RunSpec) -> None:
        seen.append(Intent.objects.filter(pk=spec.intent, acted_ms__isnull=True).exists())
        tell(spec)

    bench.engine.submit = submit  # type: ignore[method-assign]
    bench.submit()
    bench.turn()
    assert seen == [True]


def test_an_engine_that_is_down_delays_and_loses_nothing(bench: Bench) -> None:
    job = running(bench)
    waiting = bench.submit()
    bench.engine.down = True
    for _ in range(5):
        assert bench.turn(1_000).silent == {"local": "engine.unavailable"}
    assert bench.status(job) == "running"
    assert bench.status(waiting) in ("pending", "admitted")
    bench.engine.down = False
    ended(bench, job)
    assert bench.status(job) == "completed"


def test_an_act_that_was_lost_is_repeated_after_two_listings_under_the_same_name(bench: Bench) -> None:
    bench.engine.deaf = True
    job = bench.submit()
    bench.turn()
    assert len(bench.engine.submitted) == 1
    bench.turn(settle.INTENT_TIMEOUT_MS - 200)
    assert len(bench.engine.submitted) == 1  # before the timeout nothing is concluded
    bench.turn(1_000)
    assert len(bench.engine.submitted) == 1  # one listing is not enough
    bench.turn()
    assert bench.engine.submitted == [bench.intent(job)] * 2
    assert Run.objects.count() == 1
    assert Hold.objects.count() == 1


def test_a_lost_run_is_charged_to_its_last_sign_and_given_back(bench: Bench) -> None:
    job = running(bench)
    ended(bench, job, "lost", 30_000)
    assert bench.status(job) == "lost"
    assert job.runs.get().charged[CPU] == "30000"
    assert bench.left() == 36_000_000
    refund = Posting.objects.filter(what="refund", account="hub:losses", unit=CPU).get()
    assert refund.amount == 30_000
    assert '"cause":"engine-lost"' in refund.detail


def test_a_run_that_never_started_costs_nothing(bench: Bench) -> None:
    job = bench.submit()
    bench.turn()
    bench.answer(job, "ended", cause="not-started", error="no such interpreter")
    bench.turn()
    assert bench.status(job) == "failed"
    assert bench.left() == 36_000_000
    assert verify().ok


def test_a_users_own_cancel_is_charged(bench: Bench) -> None:
    job = running(bench)
    jobs.cancel(job, bench.person, now=bench.now)
    bench.turn()
    assert bench.engine.cancelled == [bench.intent(job)]
    bench.turn()
    assert len(bench.engine.cancelled) == 1
    assert bench.status(job) == "ending"
    ended(bench, job, "cancelled", 20_000)
    assert bench.status(job) == "cancelled"
    assert bench.left() == 36_000_000 - 20_000


def test_a_waiting_job_is_cancelled_at_once(bench: Bench) -> None:
    job = bench.submit()
    jobs.cancel(job, bench.person, now=bench.now)
    bench.turn()
    assert bench.status(job) == "cancelled"
    assert bench.engine.submitted == []
    with pytest.raises(FabriqueError):
        jobs.cancel(job, bench.person, now=bench.now)


def test_a_preempted_job_waits_again_and_pays_for_what_it_used(bench: Bench) -> None:
    job = running(bench)
    ended(bench, job, "preempted", 20_000)
    job.refresh_from_db()
    assert job.runs.get(attempt=1).state == "ended"
    assert job.runs.filter(attempt=2).exists()


def copied(row: Any, **changes: Any) -> Any:
    """A row like another one, under a name of its own."""
    kept = {f.attname: getattr(row, f.attname) for f in type(row)._meta.fields}
    return type(row).objects.create(**{**kept, "id": uuid.uuid4(), **changes})


def in_another_pool(bench: Bench) -> Job:
    """A job whose allocation draws on a pool that lent all it has."""
    mine = Allocation.objects.get()
    other = next(p for p in sorted(bench.here.shares) if p != mine.pool)
    bench.here.shares = {mine.pool: 500_000, other: 500_000}
    award = copied(mine.award, pool=other, application_id=copied(mine.award.application).id)
    own = copied(mine, pool=other, award_id=award.id)
    ledger.open_allocation(str(own.id), other, {CPU: (36_000_000, Policy())}, ref="another", now=bench.now)
    job = bench.submit()
    Job.objects.filter(pk=job.pk).update(allocation=own)
    return job


def test_a_pool_takes_back_what_it_lent_and_pays_for_the_work_that_is_lost(bench: Bench) -> None:
    bench.loop.rules = Rules(name="taking", pools=True, share_order=True, reclaim=True, reclaim_any=True)
    job = bench.submit(cores="2")
    bench.turn()
    bench.answer(job, "running", started_ms=bench.now, last_seen_ms=bench.now)
    bench.turn()
    owner = in_another_pool(bench)
    bench.turn(20_000)
    assert bench.engine.preempted == [bench.intent(job)]
    assert bench.status(job) == "ending"
    owner.refresh_from_db()
    assert owner.reason == {"code": "wait.reclaiming", "job": str(job.number)}
    bench.turn(6_000)
    assert len(bench.engine.preempted) == 1
    ended(bench, job, "preempted", 30_000)
    assert bench.status(owner) == "starting"
    assert bench.status(job) == "pending"
    assert job.runs.get(attempt=1).charged[CPU] == "60000"
    assert ledger.balance(f"allocation:{job.allocation_id}:available", CPU) == 36_000_000
    owner.refresh_from_db()
    assert ledger.balance(f"pool:{owner.allocation.pool}:reclaim-cost", CPU) == 60_000
    assert ledger.balance("hub:losses", CPU) == 0
    assert verify().ok


def test_a_stop_that_was_lost_on_the_way_is_told_again(bench: Bench) -> None:
    bench.loop.rules = Rules(name="taking", pools=True, share_order=True, reclaim=True, reclaim_any=True)
    job = bench.submit(cores="2")
    bench.turn()
    bench.answer(job, "running", started_ms=bench.now, last_seen_ms=bench.now)
    bench.turn()
    in_another_pool(bench)
    preempt = bench.engine.preempt

    def down(intent: str) -> None:
        bench.engine.preempt = preempt  # type: ignore[method-assign]
        raise FabriqueError("engine.unavailable", engine="local")

    bench.engine.preempt = down  # type: ignore[method-assign]
    bench.turn()
    assert bench.engine.preempted == []
    bench.turn()
    bench.turn()
    assert bench.engine.preempted == [bench.intent(job)]


def test_a_deployment_that_changed_stops_no_turn(bench: Bench) -> None:
    """The partition of a run is gone, and the pool of a job has no share any more."""
    job = running(bench)
    Run.objects.update(partition="gone")
    bench.here.shares = {"other": 1_000_000}
    waiting = bench.submit(cores="2")
    assert bench.turn(6_000).started == []  # what the lost run is bound to stays bound
    assert bench.status(waiting) == "pending"
    ended(bench, job)
    assert bench.status(waiting) == "starting"


def test_two_loops_never_both_act(bench: Bench) -> None:
    other = bench.new_loop()
    bench.turn()
    job = bench.submit()
    assert not other.cycle().leader
    assert bench.engine.submitted == []
    # the first falls silent; the second takes over and fences it off
    bench.now += loops.LEASE_MS + 1
    assert other.cycle().leader
    assert len(bench.engine.submitted) == 1
    assert not bench.loop.cycle().leader
    assert Run.objects.filter(job=job).count() == 1


def test_a_loop_that_lost_its_lease_half_way_writes_no_intent(bench: Bench) -> None:
    bench.turn()
    bench.submit()
    other = bench.new_loop()
    capacity = bench.engine.capacity

    def late() -> PartitionCapacity:
        bench.engine.capacity = capacity  # type: ignore[method-assign]
        bench.now += loops.LEASE_MS + 1
        assert other.cycle().leader
        return capacity()

    bench.engine.capacity = late  # type: ignore[method-assign]
    with pytest.raises(FabriqueError) as caught:
        bench.turn()
    assert caught.value.code == "lease.lost"
    assert len(bench.engine.submitted) == 1
    assert Run.objects.count() == 1


def test_after_a_restore_it_observes_and_starts_nothing(bench: Bench) -> None:
    job = running(bench)
    waiting = bench.submit()
    HubState.objects.update(observe_only=True)
    bench.turn()
    waiting.refresh_from_db()
    assert waiting.reason["code"] == "wait.observe-only"
    ended(bench, job)
    assert bench.status(job) == "completed"
    assert bench.status(waiting) == "pending"


def test_a_deadline_that_passed_refuses_the_job(bench: Bench) -> None:
    blocking = [bench.submit(cores="2")]
    bench.turn()
    late = bench.submit(**{"latest-start": "2027-01-15T08:00:30Z"})
    assert bench.status(blocking[0]) == "starting"
    bench.turn(40_000)
    late.refresh_from_db()
    assert (late.status, late.reason["code"]) == ("refused", "refuse.deadline")


def test_the_end_of_an_allocation_refuses_what_still_waits(bench: Bench) -> None:
    bench.turn()
    job = bench.submit()
    bench.now += 32 * 86_400_000
    bench.turn()
    job.refresh_from_db()
    assert (job.status, job.reason["code"]) == ("refused", "refuse.allocation-ended")
    assert Allocation.objects.get().state == "ended"
    assert ledger.balance(f"allocation:{Allocation.objects.get().id}:expired", CPU) == 36_000_000


def test_two_jobs_on_one_core_each_get_their_own(bench: Bench) -> None:
    one, two, three = bench.submit(), bench.submit(), bench.submit()
    bench.turn()
    assert one.runs.get().bound["cores"] == [0]
    assert two.runs.get().bound["cores"] == [1]
    three.refresh_from_db()
    assert three.reason["code"] == "wait.cores"
    assert three.forecast["to_ms"] >= bench.now


def test_a_year_later_there_is_a_new_years_capacity(bench: Bench) -> None:
    bench.turn()
    year = bench.here.yearly_capacity("local-core")
    assert duties.renew_capacity(bench.here, now=T0 + YEAR_MS - 1) is False
    assert duties.renew_capacity(bench.here, now=T0 + YEAR_MS) is True
    assert duties.renew_capacity(bench.here, now=T0 + YEAR_MS) is False
    pools = sum(v for (a, _), v in ledger.balances("pool:").items() if a.endswith(":unallocated"))
    assert pools == year
    assert ledger.balance("hub:capacity-past", CPU) == year - 36_000_000
    assert verify().ok
