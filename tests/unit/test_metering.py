"""Metering windows: who held what for how long, sources and engines that fall silent."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from tests.unit.scripted import T0, Bench, running

from fabrique.apps.energy.models import Window
from fabrique.apps.jobs import cycle, settlement
from fabrique.apps.jobs.models import Run, RunState
from fabrique.apps.jobs.settlement import Seen
from fabrique.apps.ledger import services as ledger
from fabrique.apps.ledger.verify import verify
from fabrique.core.energy import measured
from fabrique.core.readings import Limits, Reading
from fabrique.core.units import MJ
from fabrique.engines.protocol import Usage
from fabrique.meters.protocol import Device
from fabrique.operate.loop import Turn
from fabrique.operate.observe import Sight

GPU = "GPU-1"
WATTS = 60
MINUTE = 60_000


class Counters:
    """Sources that draw a constant power in true time, which runs on when the clock steps back."""

    def __init__(self, bench: Bench, *devices: Device, watts: int = WATTS) -> None:
        self.all = devices
        self.silent: set[str] = set()
        self.watts = watts
        self.hidden_ms = 0  # true time that the clock does not show
        self.bench = bench
        bench.loop.metering.meters = [self]  # type: ignore[list-item]
        bench.loop.metering.devices = {d.source: d for d in devices}

    def total(self) -> int:
        """What each counter stands at, in mJ."""
        return (self.bench.now + self.hidden_ms - (self.bench.stepped_ms or 0) - T0) * self.watts

    def devices(self) -> list[Device]:
        return list(self.all)

    def read(self, now: int) -> list[Reading]:
        return [
            Reading(d.source, now, measured("scripted"), counter_mj=None if d.source in self.silent else self.total())
            for d in self.all
        ]


def gpu(source: str = GPU, most_w: int = 100) -> Device:
    return Device(source, "nvidia", "h200", None, True, Limits(most_w=most_w), most_w=most_w)


def package(index: int) -> Device:
    return Device(f"intel-rapl:{index}", "cpu", f"package-{index}", None, True, Limits(most_w=1000), most_w=500)


@pytest.fixture
def bench(here: Any) -> Bench:
    return Bench(here)


def planned(bench: Bench, milli: int = 1000) -> Run:
    """A run that holds a part of the accelerator; its engine has not started it."""
    number = bench.submit().number
    epoch = cycle.take_lease(bench.loop.holder, now=bench.now, life_ms=10_000)
    assert epoch is not None
    bench.loop._decide_and_act(cycle.hub_state(), cycle.live_runs(), Sight(), epoch, Turn())
    run = Run.objects.get(job__number=number)
    run.bound = {**run.bound, "devices": [{"vendor": "nvidia", "index": 0, "uuid": GPU, "milli": milli}]}
    run.save()
    return run


def started(bench: Bench, milli: int = 1000) -> Run:
    """A run that holds a part of the accelerator and runs since now."""
    run = planned(bench, milli)
    settlement.observe([(run, sight(run, started_ms=bench.now))], now=bench.now)
    return run


def sight(run: Run, state: str = "running", **more: Any) -> Seen:
    more.setdefault("started_ms", run.started_ms)
    return Seen(f"run-{run.id.hex}", state, **more)


def close(bench: Bench, *seen: tuple[Run, Seen], after_ms: int = MINUTE) -> None:
    """A window closes; an engine says only what is in `seen`. A run that is over is settled, as the loop does."""
    bench.now += after_ms
    found = {str(run.id): s for run, s in seen}
    turn(bench)
    with ledger.batch("cycle", {"epoch": 1}, now=bench.now) as acts:
        bench.loop.metering.close(acts, cycle.hub_state(), cycle.live_runs(), found)
        for run, s in seen:
            if s.state in ("ended", "lost"):
                settlement.settle(acts, run, s, 1, now=bench.now)


def turn(bench: Bench) -> None:
    """A turn of the loop, as far as the clocks go."""
    if bench.ticks is not None:
        started = {str(r.id): r.started_ms for r in cycle.live_runs() if r.started_ms is not None}
        bench.loop.metering.steady.turn(bench.now, bench.ticks, started)


def energy(run: Run) -> int:
    run.refresh_from_db()
    return run.energy_mj


def site(bench: Bench, part: str) -> int:
    return ledger.balance(f"site:{bench.here.site}:{part}", MJ)


def sound(bench: Bench, metered_mj: int) -> list[Window]:
    """Every row sums to its meter, rows and ledger agree, and no energy of a counter went missing."""
    rows = list(Window.objects.order_by("pk"))
    assert all(w.jobs_mj + w.idle_mj + w.overhead_mj + w.residual_mj == w.meter_mj for w in rows)
    assert all(w.start_ms < w.end_ms for w in rows)
    assert sum(w.meter_mj for w in rows) == metered_mj == -site(bench, "meter")
    assert sum(w.jobs_mj for w in rows) == sum(r.energy_mj for r in Run.objects.all())
    assert site(bench, "jobs") == sum(r.energy_mj for r in cycle.live_runs())  # settlement took the others' over
    return rows


def contiguous(rows: list[Window]) -> bool:
    return all(a.end_ms == b.start_ms for a, b in pairwise(rows))


# --- overlap -------------------------------------------------------------------------------------------------------


def test_a_run_gets_the_accelerator_for_as_long_as_it_was_there(bench: Bench) -> None:
    meter = Counters(bench, gpu())
    close(bench)
    bench.now += 55_000
    run = started(bench)
    over = sight(run, "ended", cause="completed", ended_ms=bench.now + 2_000)
    close(bench, (run, over), after_ms=3_000)
    assert energy(run) == WATTS * 2_000
    assert site(bench, "idle") == WATTS * 56_000
    assert contiguous(sound(bench, meter.total() - WATTS * MINUTE))
    assert verify().ok


def test_a_loop_that_was_away_charges_a_run_for_its_life_alone(bench: Bench) -> None:
    meter = Counters(bench, gpu())
    close(bench)
    run = started(bench)
    over = sight(run, "ended", cause="completed", ended_ms=bench.now + 300_000)
    close(bench, (run, over), after_ms=36_000_000)
    assert energy(run) == WATTS * 300_000
    sound(bench, meter.total() - WATTS * MINUTE)


def test_holders_of_fractions_share_by_fraction_and_time_and_the_rest_is_idle(bench: Bench) -> None:
    meter = Counters(bench, gpu(), watts=7)
    close(bench)
    half = started(bench, 500)
    bench.now += 20_000
    third = started(bench, 333)
    close(bench, (half, sight(half)), (third, sight(third)), after_ms=40_000)
    whole = 7 * MINUTE
    assert energy(half) == whole // 2
    assert energy(third) == 7 * 40 * 333
    assert site(bench, "idle") == whole - whole // 2 - 7 * 40 * 333
    assert site(bench, "residual") == 0
    sound(bench, meter.total() - whole)


def test_a_planned_run_gets_nothing(bench: Bench) -> None:
    Counters(bench, gpu())
    close(bench)
    run = planned(bench)
    close(bench, (run, Seen("x", "starting")))
    close(bench)
    assert energy(run) == 0
    assert site(bench, "idle") == 2 * WATTS * MINUTE


def test_a_run_that_never_started_leaves_nothing_with_the_jobs(bench: Bench) -> None:
    meter = Counters(bench, gpu(), package(0))
    close(bench)
    run = planned(bench)
    close(bench, (run, Seen("x", "starting", cpu_ms=5)))
    never = Seen("x", "ended", cause="not-started", started_ms=bench.now, ended_ms=bench.now + 5_000, cpu_ms=9)
    close(bench, (run, never))
    assert Run.objects.get().state == RunState.ABANDONED
    assert energy(run) == 0 == site(bench, "jobs")
    sound(bench, 2 * (meter.total() - WATTS * MINUTE))


# --- silence -------------------------------------------------------------------------------------------------------


def test_a_source_that_did_not_answer_is_bridged_by_its_counter(bench: Bench) -> None:
    meter = Counters(bench, gpu(), gpu("GPU-2"))
    close(bench)
    run = started(bench)
    for silent in ([], [GPU], [GPU], [], [GPU, "GPU-2"], []):
        meter.silent = set(silent)
        close(bench, (run, sight(run)))
    assert energy(run) == 6 * WATTS * MINUTE
    assert site(bench, "idle") == 6 * WATTS * MINUTE  # the other one
    rows = sound(bench, 12 * WATTS * MINUTE)
    assert contiguous(rows)
    assert (rows[0].start_ms, rows[-1].end_ms) == (T0 + MINUTE, bench.now)


def test_a_bridged_source_is_shared_over_its_own_interval(bench: Bench) -> None:
    meter = Counters(bench, gpu(), gpu("GPU-2"))
    close(bench)
    meter.silent = {GPU}
    close(bench)
    run = started(bench)
    meter.silent = set()
    close(bench, (run, sight(run)))
    assert energy(run) == WATTS * MINUTE
    assert contiguous(sound(bench, 4 * WATTS * MINUTE))


def test_what_a_settled_run_can_not_be_charged_any_more_is_residual_and_never_idle(bench: Bench) -> None:
    meter = Counters(bench, gpu())
    close(bench)
    run = started(bench)
    meter.silent = {GPU}
    close(bench, (run, sight(run, "ended", cause="completed", ended_ms=bench.now + 50_000)))
    meter.silent = set()
    close(bench)
    assert (energy(run), site(bench, "jobs")) == (0, 0)
    assert (site(bench, "residual"), site(bench, "idle")) == (WATTS * 50_000, WATTS * 70_000)
    assert contiguous(sound(bench, 2 * WATTS * MINUTE))


def test_a_run_whose_engine_is_silent_keeps_its_accelerator(bench: Bench) -> None:
    Counters(bench, gpu())
    close(bench)
    run = started(bench)
    close(bench)
    close(bench, (run, sight(run, "unknown", started_ms=None)))
    assert energy(run) == 2 * WATTS * MINUTE
    assert site(bench, "idle") == 0


def test_processor_time_of_a_silent_engine_comes_with_the_next_sight(bench: Bench) -> None:
    """Both cores: one is busy for two minutes, its engine heard only at the end."""
    close(bench, after_ms=100)
    run = started(bench)
    run.bound = {**run.bound, "devices": []}
    run.save()
    bench.busy_ms += MINUTE
    close(bench)
    assert energy(run) == 2 * MINUTE  # an idle core's 2 W
    bench.busy_ms += MINUTE
    close(bench, (run, sight(run, cpu_ms=2 * MINUTE)))
    assert energy(run) == 2 * 12 * MINUTE
    assert site(bench, "residual") == 0
    sound(bench, 2 * (12 + 2) * MINUTE)


def test_processor_time_waits_for_processors_that_did_not_answer(bench: Bench) -> None:
    meter = Counters(bench, package(0), gpu(), watts=8)
    close(bench)
    run, other = started(bench, 0), started(bench, 0)
    meter.silent = {"intel-rapl:0"}
    close(bench, (run, sight(run, cpu_ms=30_000)), (other, sight(other, cpu_ms=0)))
    meter.silent = set()
    close(bench, (run, sight(run, cpu_ms=30_000)), (other, sight(other, cpu_ms=30_000)))
    assert energy(run) == energy(other) > 0
    assert contiguous(sound(bench, 4 * 8 * MINUTE))


# --- several processors --------------------------------------------------------------------------------------------


def test_idle_of_free_cores_counts_once_over_all_packages(bench: Bench) -> None:
    here = bench.here
    Counters(bench, *(package(i) for i in range(4)), watts=here.cores * 5)
    close(bench)
    close(bench)
    assert site(bench, "idle") == here.core_idle_w * here.cores * MINUTE
    assert site(bench, "residual") == (4 * 5 - here.core_idle_w) * here.cores * MINUTE


def test_a_run_draws_no_more_than_its_cores_could_over_all_packages(bench: Bench) -> None:
    here = bench.here
    meter = Counters(bench, *(package(i) for i in range(4)), watts=here.cores * 5)
    close(bench)
    run = started(bench)
    close(bench, (run, sight(run, cpu_ms=MINUTE)))
    assert energy(run) == here.core_max_w * MINUTE
    sound(bench, 4 * (meter.total() - here.cores * 5 * MINUTE))


def test_packages_of_different_intervals_share_the_cores(bench: Bench) -> None:
    here = bench.here
    meter = Counters(bench, *(package(i) for i in range(4)), watts=here.cores * 5)
    close(bench)
    meter.silent = {"intel-rapl:2"}
    close(bench)
    meter.silent = set()
    close(bench)
    # three packages bear all of the first minute's idle; the fourth brings its quarter of two minutes
    idle = here.core_idle_w * here.cores * MINUTE
    assert site(bench, "idle") == idle + idle * 3 // 4 + idle * 2 // 4
    assert contiguous(sound(bench, 4 * 2 * here.cores * 5 * MINUTE))


# --- through the loop ----------------------------------------------------------------------------------------------


def test_the_loop_books_a_run_that_lived_between_two_turns(bench: Bench) -> None:
    meter = Counters(bench, gpu(most_w=700))
    job = running(bench)
    run = job.runs.get()
    run.bound = {**run.bound, "devices": [{"vendor": "nvidia", "index": 0, "uuid": GPU, "milli": 1000}]}
    run.save()
    begun = run.started_ms or 0
    bench.answer(job, "ended", cause="completed", started_ms=begun, ended_ms=begun + 300_000, usage=Usage(cpu_ms=0))
    bench.turn(36_000_000)
    assert energy(run) == WATTS * 300_000
    first = Window.objects.order_by("pk")[0].start_ms
    sound(bench, meter.total() - WATTS * (first - T0))
