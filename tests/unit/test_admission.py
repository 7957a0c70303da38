"""The decision: what fits starts, what does not says why, and no plan passes a limit at any instant."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabrique.core.admission import History, Plan, Rows, Rules, prepare, step
from fabrique.core.admission import decide as decisions
from fabrique.core.admission.state import JobRow, OptionRow, PartitionRow, PoolRow, RunRow, SiteRow

UNIT = "core-ms:local-core"
NOW = 1_000_000
PARTITION = PartitionRow(id="p", kind="h100-sxm", site="s", milli_devices=4_000, milli_cores=8_000, memory_mb=64)
SITE = SiteRow(id="s", cap_w=1_000, base_w=100)
RULES = Rules(name="test", pools=True, share_order=True, fair=True, reservations=8)
POOLS = [PoolRow(id="union", share_ppm=500_000), PoolRow(id="national", share_ppm=500_000)]
JOB = JobRow(
    id="1", pool="union", project="x", allocation="a", options=(OptionRow(partition="p", power_w=100),),
    milli_devices=1_000, milli_cores=1_000, memory_mb=1, walltime_ms=1_000, priority=0, submitted_ms=0,
    not_before_ms=0, asks=((UNIT, 1),),
)  # fmt: skip
RUN = RunRow(
    id="r", job="0", pool="union", project="x", option=OptionRow(partition="p", power_w=100), milli_devices=1_000,
    milli_cores=1_000, memory_mb=1, walltime_ms=1_000, priority=0, submitted_ms=0, started_ms=NOW - 500,
    ends_ms=NOW + 500,
)  # fmt: skip


def rows(jobs: list[JobRow], runs: list[RunRow] | None = None, room: int | None = None, **changes: object) -> Rows:
    site = replace(SITE, **{k: v for k, v in changes.items() if k in ("cap_w", "base_w", "caps")})  # type: ignore[arg-type]
    rooms = tuple((a, UNIT, room) for a in sorted({j.allocation for j in jobs}))
    blocks = changes.get("blocks", ())
    return Rows(
        partitions=(PARTITION,), sites=(site,), pools=tuple(POOLS), rooms=rooms, jobs=tuple(jobs),
        runs=tuple(replace(r, id=f"r{i}", job=f"0{i}") for i, r in enumerate(runs or [])),
        blocks=blocks,  # type: ignore[arg-type]
    )  # fmt: skip


def decide(jobs: list[JobRow], runs: list[RunRow] | None = None, room: int | None = None, **changes: object) -> Plan:
    rules = replace(RULES, **{k: v for k, v in changes.items() if k in ("backfill", "observe_only")})  # type: ignore[arg-type]
    return step(rows(jobs, runs, room, **changes), rules, NOW)


def job(name: str, power_w: int | None = None, **changes: object) -> JobRow:
    options = {} if power_w is None else {"options": (OptionRow(partition="p", power_w=power_w),)}
    return replace(JOB, id=name, **options, **changes)  # type: ignore[arg-type]


def test_what_fits_starts() -> None:
    plan = decide([job("1"), job("2")])
    assert [s.job for s in plan.starts] == ["1", "2"]
    assert plan.waits == ()
    assert plan.starts[0].reason.code == "place.only"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"milli_devices": 4_000}, "wait.accelerators"),
        ({"milli_cores": 8_000}, "wait.cores"),
        ({"memory_mb": 64}, "wait.memory"),
        ({"power_w": 900}, "wait.power"),
    ],
)
def test_the_binding_constraint_is_named_with_the_latest_start(changes: dict[str, int], code: str) -> None:
    plan = decide([job("1", **changes)], [RUN])
    assert plan.starts == ()
    assert plan.waits[0].reason.code == code
    assert plan.waits[0].by_ms == RUN.ends_ms


def test_what_no_end_would_make_fit_has_no_forecast() -> None:
    plan = decide([job("1", power_w=901)])
    assert (plan.waits[0].reason.code, plan.waits[0].by_ms) == ("wait.power", None)


def test_a_budget_that_is_held_makes_the_next_job_wait() -> None:
    plan = decide([job("1", asks=((UNIT, 6),)), job("2", asks=((UNIT, 6),))], room=10)
    assert [s.job for s in plan.starts] == ["1"]
    assert dict(plan.waits[0].reason.params) == {"unit": UNIT, "asked": 6, "available": 4}


def test_no_limit_is_no_limit() -> None:
    assert len(decide([job("1", asks=((UNIT, 10**18),))], room=None).starts) == 1


def test_before_its_time_a_job_waits() -> None:
    plan = decide([job("1", not_before_ms=NOW + 1)])
    assert plan.waits[0].reason.code == "wait.not-before"
    assert decide([job("1", not_before_ms=NOW)]).starts


def test_observe_only_starts_nothing() -> None:
    plan = decide([job("1")], observe_only=True)
    assert plan.waits[0].reason.code == "wait.observe-only"


def test_a_small_job_passes_one_that_waits_if_it_makes_it_no_later() -> None:
    wide = job("1", milli_devices=4_000, walltime_ms=100)
    short = job("2", walltime_ms=500, submitted_ms=1)  # over when the running one is
    long = job("3", walltime_ms=501, submitted_ms=2)
    plan = decide([wide, short, long], [RUN])
    assert [s.job for s in plan.starts] == ["2"]
    assert {w.job: w.by_ms for w in plan.waits}["1"] == RUN.ends_ms


def test_without_backfill_nobody_passes() -> None:
    plan = decide([job("1", milli_devices=4_000), job("2", submitted_ms=1)], [RUN], backfill=False)
    assert plan.starts == ()


def test_the_pool_furthest_below_its_share_goes_first() -> None:
    jobs = [job("1", pool="union", milli_devices=3_000), job("2", pool="national", milli_devices=3_000, submitted_ms=9)]
    assert [s.job for s in decide(jobs, [RUN]).starts] == ["2"]
    assert [s.job for s in decide(jobs).starts] == ["1"]


def test_priority_goes_before_age_and_age_before_number() -> None:
    jobs = [job("3", submitted_ms=5), job("1", submitted_ms=5), job("2", submitted_ms=9, priority=1)]
    wide = [replace(j, milli_devices=4_000) for j in jobs]
    plan = decide(wide)
    assert [s.job for s in plan.starts] + [w.job for w in sorted(plan.waits, key=lambda w: w.by_ms or 0)] == [
        "2",
        "1",
        "3",
    ]


def test_a_run_past_its_end_still_holds_what_it_has() -> None:
    plan = decide([job("1", milli_devices=4_000)], [replace(RUN, ends_ms=NOW - 5)])
    assert plan.starts == ()


jobs_drawn = st.lists(
    st.builds(
        replace,
        st.just(JOB),
        pool=st.sampled_from(["union", "national"]),
        allocation=st.sampled_from(["a", "b"]),
        milli_devices=st.sampled_from([0, 250, 500, 1_000, 2_000, 4_000]),
        milli_cores=st.integers(1, 8).map(lambda n: n * 1_000),
        memory_mb=st.integers(0, 64),
        options=st.integers(0, 900).map(lambda w: (OptionRow(partition="p", power_w=w),)),
        walltime_ms=st.integers(1, 5_000),
        priority=st.integers(0, 2),
        submitted_ms=st.integers(0, 20),
        asks=st.integers(0, 60).map(lambda n: ((UNIT, n),)),
    ),
    max_size=12,
).map(lambda jobs: [replace(j, id=f"{i:02}") for i, j in enumerate(jobs)])
runs_drawn = st.lists(
    st.builds(
        replace,
        st.just(RUN),
        milli_devices=st.sampled_from([0, 500, 1_000]),
        milli_cores=st.just(1_000),
        memory_mb=st.integers(0, 8),
        option=st.integers(0, 100).map(lambda w: OptionRow(partition="p", power_w=w)),
        ends_ms=st.integers(NOW - 10, NOW + 4_000),
    ),
    max_size=3,
)


@settings(max_examples=150, deadline=None)
@given(jobs_drawn, runs_drawn, st.integers(0, 100), st.booleans())
def test_no_plan_passes_capacity_cap_or_budget(jobs: list[JobRow], runs: list[RunRow], room: int, fill: bool) -> None:
    plan = decide(jobs, runs, room, backfill=fill)
    started = [j for j in jobs if j.id in {s.job for s in plan.starts}]
    together: list[JobRow | RunRow] = [*started, *runs]
    assert sum(x.milli_devices for x in together) <= PARTITION.milli_devices
    assert sum(x.milli_cores for x in together) <= PARTITION.milli_cores
    assert sum(x.memory_mb for x in together) <= PARTITION.memory_mb
    watts = [j.options[0].power_w for j in started] + [r.option.power_w for r in runs]
    assert sum(watts) + SITE.base_w <= (SITE.cap_w or 0)
    for allocation in ("a", "b"):
        assert sum(j.asks[0][1] for j in started if j.allocation == allocation) <= room
    # every job has one verdict, and every wait a reason
    assert sorted([s.job for s in plan.starts] + [w.job for w in plan.waits]) == [j.id for j in jobs]


@settings(max_examples=60, deadline=None)
@given(jobs_drawn, runs_drawn, st.randoms(use_true_random=False))
def test_the_same_state_gives_the_same_plan_whatever_the_order_of_its_rows(
    jobs: list[JobRow], runs: list[RunRow], chance: object
) -> None:
    shuffled = list(jobs)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    one, two = decide(jobs, runs, 100), decide(shuffled, list(reversed(runs)), 100)
    assert one == two


def test_a_decision_leaves_the_state_as_it_was() -> None:
    tables = prepare.build(rows([JOB], [RUN], 10), RULES, History(at_ms=NOW), NOW)
    before = prepare.digest(tables.state)
    decisions._decided(tables, RULES, NOW)
    assert prepare.digest(tables.state) == before


def test_the_first_that_wait_get_a_forecast_and_the_others_wait_all_the_same() -> None:
    plan = decide([job(f"{i:03}", milli_devices=4_000, walltime_ms=100 + i % 3) for i in range(300)], [RUN])
    told = [w.by_ms for w in plan.waits]
    assert all(by is not None for by in told[:8])
    assert told[8:] == [None] * 292
    assert {w.reason.code for w in plan.waits} == {"wait.accelerators"}


def test_behind_the_last_reservation_what_fits_still_starts() -> None:
    wide = [job(f"{i:03}", milli_devices=4_000, walltime_ms=100) for i in range(20)]
    small = job("900", milli_devices=1_000, walltime_ms=500, submitted_ms=9)
    assert [s.job for s in decide([*wide, small], [RUN]).starts] == ["900"]


def test_nine_goes_before_ten() -> None:
    plan = decide([job("10", milli_devices=4_000), job("9", milli_devices=4_000)])
    assert [s.job for s in plan.starts] == ["9"]
