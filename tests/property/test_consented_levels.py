"""No job is slowed down that did not consent, none by more than it consented to, whatever the decision has to fit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fabrique.core.admission import levels
from fabrique.core.admission.decide import step
from fabrique.core.admission.filter import Offer
from fabrique.core.admission.levels import Level
from fabrique.core.admission.state import JobRow, PartitionRow, PoolRow, Rows, SiteRow
from fabrique.core.booking import Frozen, Policy
from fabrique.core.job import JobSpec
from fabrique.core.units import ceil_divide, unit
from fabrique.definitions import rules as rule_sets
from fabrique.operate import options

GPU = unit("acc-ms:a40")
LEVEL = st.builds(Level, limit_w=st.integers(1, 299), throughput_permille=st.integers(1, 1000) | st.integers(700, 990))
SPEC = st.builds(
    JobSpec,
    script=st.just(""),
    milli_devices=st.integers(1, 4).map(lambda n: n * 1000),
    walltime_ms=st.integers(1_000, 10**9),
    power=st.sampled_from(["auto", "auto", "max", 250]),
    tolerance_permille=st.sampled_from([0, 0, 1, 50, 150, 1000]),
)


def offer(found: list[Level]) -> Offer:
    return Offer(
        partition="gpu", engine="lab", site="hall", kind="a40", device="accelerator", unit=GPU, milli_devices=8_000,
        cores=64, memory_mb=1_000, device_w=300, core_w=4, core_idle_w=0, levels=tuple(found),
    )  # fmt: skip


def here(licence: str | None) -> Any:
    cluster = SimpleNamespace(watt_licence=licence, licence_w=100)
    return SimpleNamespace(pue_permille=1_200, deployment=SimpleNamespace(cluster=cluster))


def books(room: int) -> Any:
    return SimpleNamespace(
        policies=lambda _: {GPU: Policy()},
        frozen=lambda _: Frozen(35_000, "a test's"),
        balance=lambda *_: room,
        once=lambda _, work_out: work_out(),
    )


@given(SPEC, st.lists(LEVEL, max_size=6))
def test_no_level_stretches_a_job_by_more_than_it_tolerates(spec: JobSpec, found: list[Level]) -> None:
    tolerated = levels.tolerated(spec, found)
    if spec.power != "auto" or not spec.tolerance_permille:
        assert tolerated == ()
    most = ceil_divide(spec.walltime_ms * (1000 + spec.tolerance_permille), 1000)
    for level in tolerated:
        slower = levels.at(spec, level)
        assert spec.walltime_ms <= slower.walltime_ms <= most
        assert slower.walltime_ms * level.throughput_permille >= spec.walltime_ms * 1000  # the work is done in it
        assert levels.tolerated(slower, found) == ()  # never stretched twice


TWO = [JobSpec(script="", milli_devices=1_000, walltime_ms=1_000_000, tolerance_permille=150)] * 2


@settings(deadline=None)
@example(TWO, [Level(174, 929)], 100_000, 1_030, None)  # there is room for both at the top, for one of them slower
@given(
    st.lists(SPEC, min_size=1, max_size=6),
    st.lists(LEVEL, max_size=6, unique_by=lambda level: level.name),
    st.integers(0, 3_000) | st.just(100_000),
    st.integers(0, 1_500) | st.integers(1_001, 1_300),  # all at the top, hardly all of them slower
    st.sampled_from([None, "fabrique_w"]),
)
def test_a_decision_slows_down_only_who_consents_and_keeps_the_cap(
    specs: list[JobSpec], found: list[Level], cap_w: int, room_permille: int, licence: str | None
) -> None:
    room = sum(spec.milli_devices * spec.walltime_ms for spec in specs) * room_permille // 1_000_000
    hub, kept, one = here(licence), books(room), offer(found)
    rows = []
    for n, spec in enumerate(specs, 1):
        ask: Any = SimpleNamespace(spec=spec, offers=(one,), job=SimpleNamespace(allocation_id="a", door=""))
        lower = options.lower_levels(hub, ask, kept, now=0)
        held = options.holds(hub, ask, spec, one, kept)
        rows.append(
            JobRow(
                id=str(n), pool="p", project="x", allocation="a", options=options.options(hub, ask, lower),
                milli_devices=spec.milli_devices, milli_cores=1_000, memory_mb=0, walltime_ms=spec.walltime_ms,
                priority=0, submitted_ms=n, not_before_ms=0, elastic=bool(lower),
                asks=tuple(options.most_held(held, lower).items()),
            )
        )  # fmt: skip
    plan = step(
        Rows(
            partitions=(
                PartitionRow(
                    id="gpu", kind="a40", site="hall", milli_devices=8_000, milli_cores=64_000, memory_mb=1_000
                ),
            ),
            sites=(SiteRow(id="hall", cap_w=cap_w, base_w=0),),
            pools=(PoolRow(id="p", share_ppm=1_000_000),),
            rooms=(("a", GPU, room),),
            jobs=tuple(rows),
            runs=(),
        ),
        rule_sets.load("sparing"),
        0,
    )
    drawn = held_in_all = 0
    for start in plan.starts:
        spec = specs[int(start.job) - 1]
        level = next((x for x in found if x.name == start.level), None)
        assert (level is None) == (start.level == "")
        if spec.power != "auto" or not spec.tolerance_permille:
            assert level is None
        slower = levels.at(spec, level)
        assert slower.walltime_ms <= ceil_divide(spec.walltime_ms * (1000 + spec.tolerated_permille), 1000)
        drawn += options.power_bound(hub, slower, one)
        ask = SimpleNamespace(spec=spec, offers=(one,), job=SimpleNamespace(allocation_id="a", door=""))
        held_in_all += options.holds(hub, ask, slower, one, kept)[GPU]
    assert drawn <= cap_w and held_in_all <= room
