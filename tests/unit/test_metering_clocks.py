"""Metering windows while the clock is set, forward and back, with a loop that watches it and one that does not."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from tests.unit.scripted import T0, Bench
from tests.unit.test_metering import (
    GPU,
    MINUTE,
    WATTS,
    Counters,
    close,
    contiguous,
    energy,
    gpu,
    package,
    planned,
    sight,
    site,
    sound,
    started,
    turn,
)  # fmt: skip

from fabrique.apps.energy.models import Window
from fabrique.apps.jobs import cycle
from fabrique.apps.ledger.models import Posting
from fabrique.apps.ledger.verify import verify
from fabrique.operate.steady import Steady


@pytest.fixture
def bench(here: Any) -> Bench:
    return Bench(here)


# --- nobody watched ------------------------------------------------------------------------------------------------


def test_a_clock_a_little_behind_is_waited_for(bench: Bench) -> None:
    meter = Counters(bench, gpu())
    close(bench)
    run = started(bench)
    close(bench, (run, sight(run)))
    kept, count = cycle.hub_state().meter_state[GPU], Window.objects.count()
    meter.hidden_ms += 50_000
    close(bench, (run, sight(run)), after_ms=-30_000)
    after = cycle.hub_state().meter_state[GPU]
    assert {k: after[k] for k in kept} == kept
    assert Window.objects.count() == count
    close(bench, (run, sight(run)), after_ms=31_000)  # 81 s of energy in a window of 1 s
    close(bench, (run, sight(run)))
    rows = sound(bench, meter.total() - WATTS * MINUTE)
    assert contiguous(rows)
    assert [w.provenance.get("detail") for w in rows] == [None, "clock-step", None]
    assert energy(run) == 2 * WATTS * MINUTE


def test_a_clock_far_behind_is_followed_and_no_energy_is_lost(bench: Bench) -> None:
    meter = Counters(bench, gpu())
    close(bench)
    run = started(bench)
    close(bench, (run, sight(run)))
    close(bench, (run, sight(run)))
    meter.hidden_ms += 3_600_000
    close(bench, (run, sight(run)), after_ms=30_000 - 3_600_000)  # dated anew
    meter.silent = {GPU}
    close(bench, (run, sight(run)))
    meter.silent = set()
    close(bench, (run, sight(run)))  # what is of unknown duration
    lost = WATTS * (30_000 + 2 * MINUTE)
    assert site(bench, "residual") == lost
    for _ in range(70):  # through the same hours, over the instants of older rows
        close(bench, (run, sight(run)))
    rows = sound(bench, meter.total() - WATTS * MINUTE)
    again = site(bench, "idle")  # where the clock passes the run's start a second time
    assert energy(run) == meter.total() - WATTS * MINUTE - lost - again
    assert again <= 2 * WATTS * MINUTE
    assert [w.provenance["detail"] for w in rows if "detail" in w.provenance] == ["clock-step"]
    assert contiguous(rows[:2]) and contiguous(rows[2:])
    assert rows[2].start_ms == T0 + 3 * MINUTE + 30_000 - 3_600_000
    assert verify().ok


def test_a_start_that_an_older_row_has_is_moved_by_a_millisecond(bench: Bench) -> None:
    meter = Counters(bench, gpu())
    for _ in range(6):
        close(bench)
    meter.hidden_ms += 4 * MINUTE
    close(bench, after_ms=-3 * MINUTE)
    for _ in range(5):
        close(bench)
    rows = sound(bench, meter.total() - WATTS * MINUTE)
    first = T0 + 3 * MINUTE
    assert [w.start_ms - first for w in rows[5:]] == [1, MINUTE + 1, 2 * MINUTE + 1, 3 * MINUTE, 4 * MINUTE]
    assert [w.end_ms - first for w in rows[5:]] == [i * MINUTE for i in range(1, 6)]


# --- the loop watches ----------------------------------------------------------------------------------------------

STEPS = (90_000, -90_000, 20_000, -20_000, 36_000_000, -36_000_000, 150)


@pytest.mark.parametrize("step", STEPS)
def test_a_clock_that_steps_while_the_loop_watches_changes_no_energy(bench: Bench, step: int) -> None:
    bench.stepped_ms = 0
    meter = Counters(bench, gpu(), gpu("GPU-2"), package(0), watts=9)
    close(bench)
    run = started(bench)
    bench.now += 20_000
    turn(bench)
    bench.step(step)
    close(bench, (run, sight(run, cpu_ms=MINUTE // 2)), after_ms=MINUTE - 20_000)
    for n in range(3):
        close(bench, (run, sight(run, cpu_ms=(n + 3) * MINUTE // 2)))
    assert energy(run) == 4 * 9 * MINUTE + measured_on_cores(bench)
    assert site(bench, "idle") == 4 * 9 * MINUTE + 4 * 2 * MINUTE  # the other accelerator, and one free core
    rows = sound(bench, 3 * (meter.total() - 9 * MINUTE))
    assert [w.end_ms - w.start_ms for w in rows] == [MINUTE] * 4
    assert [b.start_ms - a.end_ms for a, b in pairwise([Window(end_ms=T0 + MINUTE), *rows])] == [step, 0, 0, 0]
    assert [w.provenance.get("detail") for w in rows] == [None] * 4
    told = [p.detail for p in Posting.objects.filter(what="meter", account__endswith=":meter").order_by("pk")]
    assert ["clock_stepped_ms" in d for d in told] == [True, False, False, False]
    assert verify().ok


def measured_on_cores(bench: Bench) -> int:
    """What four minutes leave of the processors' meter for the run on one of two cores that is half busy."""
    return 4 * (9 - bench.here.core_idle_w) * MINUTE


@pytest.mark.parametrize("step", STEPS)
def test_a_run_inside_the_window_of_a_step_is_charged_for_its_life(bench: Bench, step: int) -> None:
    bench.stepped_ms = 0
    meter = Counters(bench, gpu())
    close(bench)
    bench.now += 10_000
    run = started(bench)
    turn(bench)
    bench.now += 5_000
    turn(bench)
    bench.step(step)
    bench.now += 400
    turn(bench)
    bench.now += 6_600
    over = sight(run, "ended", cause="completed", ended_ms=bench.now)
    close(bench, (run, over), after_ms=400)
    assert energy(run) == WATTS * 12_000
    sound(bench, meter.total() - WATTS * MINUTE)


@pytest.mark.parametrize("step", STEPS)
def test_a_run_between_two_turns_is_charged_for_its_life_when_the_clock_steps_after_it(bench: Bench, step: int) -> None:
    """Within a step shorter than a turn, an instant may be from before or after it."""
    bench.stepped_ms = 0
    meter = Counters(bench, gpu())
    close(bench)
    run = planned(bench)
    bench.now += 200
    turn(bench)
    over = sight(run, "ended", cause="completed", started_ms=bench.now + 50, ended_ms=bench.now + 250)
    bench.now += 300
    bench.step(step)
    close(bench, (run, over), after_ms=100)
    assert abs(energy(run) - WATTS * 200) <= WATTS * (abs(step) if abs(step) < 400 else 0)
    sound(bench, meter.total() - WATTS * MINUTE)


@pytest.mark.parametrize("step", STEPS)
def test_a_source_that_was_silent_over_a_step_is_shared_over_its_own_time(bench: Bench, step: int) -> None:
    bench.stepped_ms = 0
    meter = Counters(bench, gpu(), gpu("GPU-2"))
    close(bench)
    run = started(bench)
    turn(bench)
    meter.silent = {GPU}
    close(bench, (run, sight(run)))
    bench.step(step)
    close(bench, (run, sight(run)))
    meter.silent = {GPU, "GPU-2"}
    close(bench, (run, sight(run)))
    meter.silent = set()
    close(bench, (run, sight(run)))
    assert energy(run) == site(bench, "idle") == 4 * WATTS * MINUTE
    assert site(bench, "residual") == 0
    sound(bench, 2 * (meter.total() - WATTS * MINUTE))


def test_another_loop_s_readings_are_believed_by_the_clock(bench: Bench) -> None:
    """Its time is not ours to know: a step forward looks like time that went by, as to a loop that was down."""
    bench.stepped_ms = 0
    meter = Counters(bench, gpu())
    close(bench)
    run = started(bench)
    bench.loop.metering.steady = Steady()
    bench.step(90_000)
    close(bench, (run, sight(run)))
    rows = sound(bench, meter.total() - WATTS * MINUTE)
    assert rows[0].end_ms - rows[0].start_ms == MINUTE + 90_000
    assert energy(run) == WATTS * MINUTE
