"""What engines, clocks and records do wrong, and that the loop neither stops nor loses anything for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.scripted import CPU, T0, Bench, ended, running

from fabrique.apps.access.models import Allocation
from fabrique.apps.audit.models import SovereigntyDecision
from fabrique.apps.catalogue import services as catalogue
from fabrique.apps.jobs import specs
from fabrique.apps.jobs.models import HubState, Run
from fabrique.apps.ledger import services as ledger
from fabrique.apps.ledger.models import Hold
from fabrique.apps.ledger.verify import verify
from fabrique.core.admission.filter import bounds
from fabrique.core.booking import Frozen
from fabrique.core.clock import has_passed
from fabrique.core.errors import FabriqueError
from fabrique.core.units import MJ
from fabrique.engines.protocol import DeviceSlot, RunSpec, Usage
from fabrique.operate import act

SLOTS = [DeviceSlot("nvidia", i, f"G{i}") for i in range(2)]


@pytest.fixture
def bench(here: Any) -> Bench:
    return Bench(here)


def test_a_run_that_vanished_is_lost_after_two_complete_listings(bench: Bench) -> None:
    job = running(bench)
    bench.engine.answers.clear()
    bench.turn(1_000)
    bench.turn(1_500)
    assert bench.status(job) == "running"  # one absence proves nothing
    bench.turn(1_500)
    assert bench.status(job) == "lost"
    assert not Hold.objects.filter(settled__isnull=True).exists()
    assert bench.left() == 36_000_000
    assert verify().ok


def test_a_run_that_is_seen_again_was_never_lost(bench: Bench) -> None:
    job = running(bench)
    known = dict(bench.engine.answers)
    bench.engine.answers.clear()
    bench.turn(2_500)
    bench.engine.answers.update(known)
    bench.turn(2_500)
    assert bench.status(job) == "running"


def test_what_the_engine_refuses_for_ever_ends_and_gives_its_hold_back(bench: Bench) -> None:
    def refuse(spec: RunSpec) -> None:
        raise FabriqueError("engine.refused", why="no-user")

    bench.engine.submit = refuse  # type: ignore[method-assign]
    job = bench.submit()
    bench.turn()
    assert bench.status(job) == "failed"
    assert job.reason["code"] == "end.not-started"
    assert bench.left() == 36_000_000


def test_an_end_that_cannot_be_read_is_no_proof_and_stops_no_other_run(bench: Bench) -> None:
    odd, plain = running(bench), running(bench)
    at = {"started_ms": bench.now, "ended_ms": bench.now + 5, "usage": Usage(cpu_ms=0)}
    bench.answer(odd, "ended", cause="weird", **at)
    bench.answer(plain, "ended", cause="completed", **at)
    bench.turn()
    assert (bench.status(odd), bench.status(plain)) == ("lost", "completed")


def test_one_run_that_cannot_be_settled_stops_no_other(bench: Bench) -> None:
    broken, plain = running(bench), running(bench)
    Run.objects.filter(job=broken).update(bound={})  # a row that somebody damaged
    for job in (broken, plain):
        at = {"started_ms": bench.now, "ended_ms": bench.now + 5, "usage": Usage(cpu_ms=0)}
        bench.answer(job, "ended", cause="completed", **at)
    bench.turn()
    assert bench.status(plain) == "completed"
    assert bench.status(broken) == "running"
    assert Hold.objects.filter(settled__isnull=True).count() == 1
    assert verify().ok


def test_observe_only_refuses_and_ends_nothing(bench: Bench) -> None:
    bench.turn()
    job = bench.submit(**{"latest-start": "2027-01-15T08:00:30Z"})
    HubState.objects.update(observe_only=True)
    bench.turn(60_000)
    assert bench.status(job) == "pending"
    bench.turn(40 * 86_400_000)
    assert Allocation.objects.get().state == "open"
    assert bench.left() == 36_000_000


def test_fractions_on_two_devices_do_not_make_one() -> None:
    spec = specs_of(milli=700)
    runs = [{"cores": [], "devices": [{"uuid": f"G{i}", "milli": 600}]} for i in range(2)]
    assert act.bind([0], SLOTS, runs, spec) is None
    assert act.bind([0], SLOTS, runs[:1], spec) is not None
    assert act.bind([0], SLOTS, runs[:1], replace(spec, milli_devices=2_000)) is None
    assert act.bind([], SLOTS, [], spec) is None


def test_a_fraction_goes_to_the_fullest_device_that_has_room() -> None:
    runs = [{"cores": [], "devices": [{"uuid": "G1", "milli": 500}]}]
    bound = act.bind([0], SLOTS, runs, specs_of(milli=500))
    assert bound is not None
    assert [d["uuid"] for d in bound["devices"]] == ["G1"]


def specs_of(milli: int) -> specs.JobSpec:
    return specs.JobSpec(script="#!/bin/sh\n", milli_devices=milli)


def test_the_laws_answer_is_recorded_when_it_refuses(bench: Bench) -> None:
    catalogue.register("fr-health", "Registry", bench.project.organisation, "health", "FR", now=T0)
    with pytest.raises(FabriqueError):
        bench.submit(datasets="fr-health")
    assert list(SovereigntyDecision.objects.values_list("moment", "verdict")) == [("binding", "fail")]


def test_a_hold_in_energy_covers_what_a_run_can_be_charged(bench: Bench) -> None:
    job = running(bench)
    spec = specs.of(job)
    offer = bench.here.offers[0]
    bound = bounds(spec, offer, [CPU, MJ], Frozen(1, "f"), bench.here.pue_permille)
    most_w = bench.here.core_max_w  # one core, busy all along
    assert bound[MJ] >= most_w * spec.walltime_ms
    ended(bench, job, after_ms=spec.walltime_ms)
    assert job.runs.get().energy_mj <= bound[MJ]


def test_hours_of_a_year_that_is_over_return_to_no_pool(bench: Bench) -> None:
    bench.turn()
    allocation = Allocation.objects.get()
    year = 365 * 86_400_000
    Allocation.objects.update(ends_ms=T0 + year + 1_000)
    bench.turn(year)  # the new year's capacity comes
    pool = ledger.balance("pool:startup:unallocated", CPU)
    bench.turn(61_000)
    allocation.refresh_from_db()
    assert allocation.state == "ended"
    assert ledger.balance("pool:startup:unallocated", CPU) == pool
    assert verify().ok


def test_a_clock_that_is_set_back_holds_up_no_act(bench: Bench) -> None:
    """What was written while it was ahead is past, not to come."""
    bench.now += 300_000
    bench.engine.deaf = True
    job = bench.submit()
    bench.turn()
    bench.engine.deaf = False
    bench.now -= 300_000
    bench.turn()
    bench.turn()
    assert bench.engine.submitted == [bench.intent(job)] * 2
    bench.turn()
    assert bench.status(job) == "starting"


def test_a_lease_from_a_clock_that_was_ahead_locks_nobody_out(bench: Bench) -> None:
    bench.now += 3_600_000
    assert bench.turn().leader
    bench.now -= 3_600_000
    after = bench.new_loop()
    assert after.cycle().leader
    assert not bench.turn().leader


def test_has_passed_knows_ahead_from_past() -> None:
    assert [has_passed(since, 10, now=100) for since in (89, 90, 91, 100, 101)] == [True, True, False, False, True]
