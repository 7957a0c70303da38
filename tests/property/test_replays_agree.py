"""A replay by the compiled kernel is the reference's: every start, end, level and preemption, under every rule set.

Here the compiled kernel leaves out what only says why, and looks at newcomers alone where nothing was freed: so this
also holds that those short cuts change nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fabrique.core.admission.kernels import reference
from fabrique.core.admission.rules import Rules
from fabrique.definitions import rules as rule_sets
from fabrique.twin.fleet import Fleet, Pool, bare, with_cap, with_event
from fabrique.twin.fleet_of_hub import saturated_site
from fabrique.twin.generate import generate, workload
from fabrique.twin.load import flexed, rescaled
from fabrique.twin.replay import replay
from fabrique.twin.trace import Trace
from fabrique.twin.world import Outlook, World, world

HOUR = 3_600_000
JOBS = 90
NAMES = ("fifo", "easy", "conservative", "fair", "static-nameplate", "static-measured", "frugal")


def site(seed: int) -> Fleet:
    """Ten nodes and two pools under a cap that falls for three hours, told an hour before."""
    fleet = saturated_site(cap_w=90_000, most_nameplate_w=120_000)
    pools = (Pool(id="union", share_ppm=500_000), Pool(id="national", share_ppm=500_000))
    return with_cap(replace(fleet, pools=pools), fleet.sites[0].id, 85_000 + 1_000 * (seed % 5))


def jobs(fleet: Fleet, seed: int, load: float) -> Trace:
    trace = generate(workload("ai-hub"), seed)
    few = replace(trace, **trace.take(np.arange(JOBS)))
    flexible = flexed(
        few,
        flexible_permille=400,
        slack_ms=20 * HOUR,
        preemptible_permille=500,
        tolerant_permille=700,
        tolerance_permille=250,
        seed=seed,
    )
    return rescaled(flexible, fleet.milli_devices, load)


def both(here: World) -> None:
    found = replay(here)
    there = reference.replay(
        reference.read(here.state),
        here.flags,
        here.submit_ms.tolist(),
        here.left_ms.tolist(),
        here.after.tolist(),
        here.tick_ms,
        here.restart_ms,
    )
    assert found.start_ms.tolist() == there["start"]
    assert found.end_ms.tolist() == there["end"]
    assert found.option.tolist() == there["option"]
    assert found.preemptions.tolist() == there["preemptions"]
    assert found.ended > 0


def outlook(trace: Trace, seed: int) -> Outlook:
    start = int(trace.submit_ms[0]) // HOUR * HOUR
    slots = int(trace.submit_ms[-1] - start) // HOUR + 72
    values = np.random.default_rng(seed).integers(20_000, 500_000, (1, slots))
    return Outlook(forecast=values, start_ms=start, step_ms=HOUR)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NAMES)
def test_a_replay_equals_the_references(name: str, seed: int) -> None:
    fleet = site(seed)
    trace = jobs(fleet, seed, 1.4)
    at = int(trace.submit_ms[JOBS // 2])
    event = with_event(fleet, fleet.sites[0].id, at, at + 3 * HOUR, 60_000, at - HOUR)
    both(world(event, trace, rule_sets.load(name), weather=outlook(trace, seed) if name == "frugal" else None))


@pytest.mark.parametrize("backfill", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_a_bare_machine_equals_the_references(backfill: bool, seed: int) -> None:
    fleet = bare(256)
    trace = rescaled(generate(workload("ai-hub"), seed), fleet.milli_devices, 1.2)
    few = replace(trace, **trace.take(np.arange(JOBS)))
    both(world(fleet, few, Rules(name="bare", backfill=backfill)))
