"""The decision: what fits starts, what does not says why, and no plan passes a limit at any instant."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabrique.core.admission import History, Plan, Rows, Rules, prepare, step
from fabrique.core.admission import decide as decisions
from fabrique.core.admission.state import BlockRow, CapRow, JobRow, OptionRow, PartitionRow, PoolRow, RunRow, SiteRow

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


@pytest.mark.parametrize(("short_first", "expected"), [(False, ["1", "2"]), (True, ["3", "4"])])
def test_a_project_s_short_jobs_go_first_where_the_rules_say_so(short_first: bool, expected: list[str]) -> None:
    """Those of another project keep their place, and alike short ones go by age."""
    long, short = {"walltime_ms": 5_000, "milli_devices": 2_000}, {"walltime_ms": 600, "milli_devices": 2_000}
    jobs = [job("1", **long), job("2", **long), job("3", **short, submitted_ms=1), job("4", **short, submitted_ms=2)]
    plan = step(rows(jobs), replace(RULES, short_first=short_first), NOW)
    assert [s.job for s in plan.starts] == expected


def test_who_waited_long_enough_goes_before_the_short_ones() -> None:
    jobs = [job("1", walltime_ms=5_000, milli_devices=4_000), job("2", walltime_ms=600, submitted_ms=NOW)]
    plan = step(rows(jobs), replace(RULES, short_first=True, age_ms=NOW), NOW)
    assert [s.job for s in plan.starts] == ["1"]


@pytest.mark.parametrize(
    ("drain_permille", "since_ms", "kept"),
    [(0, NOW, True), (150, NOW - 3_334, True), (150, NOW - 3_333, False), (150, NOW, False)],
)
def test_the_machine_is_drained_for_a_part_of_what_a_job_has_waited(
    drain_permille: int, since_ms: int, kept: bool
) -> None:
    """The wide one fits in 500 ms; the other is late for that, and passes unless the start is kept."""
    wide = job("1", milli_devices=4_000, milli_cores=4_000, submitted_ms=since_ms)
    for one in (wide, replace(wide, submitted_ms=0, not_before_ms=since_ms)):  # before that it did not wait
        jobs = [one, job("2", submitted_ms=NOW, walltime_ms=501), job("3", submitted_ms=NOW, walltime_ms=500)]
        plan = step(rows(jobs, [RUN]), replace(RULES, drain_permille=drain_permille), NOW)
        assert [s.job for s in plan.starts] == (["3"] if kept else ["2", "3"])
        waits = plan.waits[0]
        assert (waits.job, waits.by_ms) == ("1", RUN.ends_ms)


def test_who_waits_behind_a_reserved_start_is_told_whose() -> None:
    """The first that waits came just now: it drains nothing. The other waited long enough."""
    young = job("1", pool="national", milli_devices=4_000, milli_cores=4_000, submitted_ms=NOW)
    old = job("2", milli_devices=4_000, milli_cores=4_000)
    late = job("3", submitted_ms=NOW, walltime_ms=501)
    here = rows([young, old, late], [RUN])
    plan = step(here, replace(RULES, drain_permille=150), NOW)
    assert {w.job: w.reason.code for w in plan.waits} == {
        "1": "wait.accelerators",
        "2": "wait.accelerators",
        "3": "wait.behind",
    }
    assert next(w.reason.params for w in plan.waits if w.job == "3") == {"job": "2"}


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


@settings(max_examples=150)
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


@settings(max_examples=60)
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


# --- what comes later: falling caps, maintenance, quotas, time --------------------------------------------------


def test_a_job_that_would_run_into_maintenance_waits_for_after_it() -> None:
    block = BlockRow(
        id="m",
        partition="p",
        from_ms=NOW + 500,
        until_ms=NOW + 900,
        milli_devices=4_000,
        milli_cores=8_000,
        memory_mb=64,
    )
    plan = decide([job("1"), job("2", walltime_ms=500)], blocks=(block,))
    assert [s.job for s in plan.starts] == ["2"]
    assert (plan.waits[0].reason.code, plan.waits[0].reason.params["time"]) == ("wait.window", NOW + 500)
    assert plan.waits[0].by_ms == NOW + 900


def test_a_cap_that_will_fall_keeps_its_headroom_once_it_is_known() -> None:
    falls = (CapRow(from_ms=NOW + 500, cap_w=150, known_ms=NOW), CapRow(from_ms=NOW + 900, cap_w=1_000, known_ms=NOW))
    plan = decide([job("1")], caps=falls)
    assert (plan.starts, plan.waits[0].reason.code, plan.waits[0].by_ms) == ((), "wait.window", NOW + 900)
    unknown = tuple(replace(c, known_ms=NOW + 1) for c in falls)
    assert len(decide([job("1")], caps=unknown).starts) == 1


def test_whole_watts_up_to_the_cap_fit_whatever_devices_share_them() -> None:
    seven = [job(str(n), power_w=128 + (n == 1), milli_devices=500, milli_cores=1_000) for n in range(1, 8)]
    assert sum(j.options[0].power_w for j in seven) == 897
    assert len(decide([replace(seven[0], options=(OptionRow(partition="p", power_w=132),)), *seven[1:]]).starts) == 7
    over = replace(seven[0], options=(OptionRow(partition="p", power_w=133),))
    assert len(decide([over, *seven[1:]]).starts) == 6


def test_a_share_that_may_borrow_nothing_waits_for_its_own() -> None:
    limited = tuple(replace(p, borrow_ppm=0) for p in POOLS)
    asked = rows([job("1", milli_devices=0, milli_cores=7_000)])
    plan = step(replace(asked, pools=limited), RULES, NOW)
    assert dict(plan.waits[0].reason.params) == {"pool": "union", "asked": 7_000, "left": 4_000}
    assert step(asked, RULES, NOW).starts


def test_without_shares_in_the_rules_age_alone_counts() -> None:
    easy = Rules(name="easy")
    jobs = [
        job("1", pool="national", milli_devices=4_000),
        job("2", pool="union", milli_devices=4_000, submitted_ms=-1),
    ]
    assert [s.job for s in step(rows(jobs), easy, NOW).starts] == ["2"]


def test_the_project_that_used_least_goes_first_inside_a_pool() -> None:
    jobs = [job("1", milli_devices=4_000), job("2", project="y", milli_devices=4_000, submitted_ms=9)]
    used = History(at_ms=NOW, use={"x": 1_000})
    assert [s.job for s in step(rows(jobs), RULES, NOW, used).starts] == ["2"]
    assert [s.job for s in step(rows(jobs), RULES, NOW).starts] == ["1"]


def test_time_counts_for_what_ran_since_the_last_decision() -> None:
    first = decisions.take(decisions.Memory(History(at_ms=NOW)), rows([], [RUN]), RULES, NOW)
    second = decisions.take(first.memory, rows([job("1", pool="national")], []), RULES, NOW + 10)
    assert second.memory.history.use == {"x": 10 * 2_000}  # a device goes with two cores here
    assert second.memory.history.at_ms == NOW + 10
    # what a pool asked for and did not get is owed to it, up to its share
    waits = rows([job("1", pool="national", milli_devices=4_000)], [RUN])
    third = decisions.take(decisions.take(second.memory, waits, RULES, NOW + 10).memory, waits, RULES, NOW + 20)
    assert third.memory.history.owed == {"national": 10 * 4_000}  # half of eight cores


RECLAIM = replace(RULES, reclaim=True, reclaim_any=True, backoff_ms=60_000)


def borrowed(**changes: object) -> Rows:
    """Union's run has everything; national asks for its own."""
    run = replace(RUN, milli_devices=4_000, milli_cores=7_000, walltime_ms=1_000, **changes)  # type: ignore[arg-type]
    return rows([job("1", pool="national", milli_devices=2_000)], [run])


def test_a_pool_takes_back_what_it_lent_and_waits_until_it_is_free_in_fact() -> None:
    taken = decisions.take(decisions.Memory(History(at_ms=NOW)), borrowed(), RECLAIM, NOW)
    (stop,) = taken.plan.preempts
    assert (stop.job, dict(stop.reason.params)) == ("00", {"pool": "national", "job": "1"})
    assert taken.plan.starts == ()
    assert (taken.plan.waits[0].reason.code, taken.plan.waits[0].reason.params["job"]) == ("wait.reclaiming", "00")
    # while it leaves, nobody else is stopped
    leaving = decisions.take(taken.memory, borrowed(leaving=True), RECLAIM, NOW + 10)
    assert (leaving.plan.preempts, leaving.plan.starts) == ((), ())
    # and once it left, the job starts; the other stays away for a while, and may not borrow
    gone = replace(borrowed(), runs=(), jobs=(*borrowed().jobs, job("00", milli_devices=4_000, milli_cores=7_000)))
    after = decisions.take(leaving.memory, gone, RECLAIM, NOW + 20)
    assert [s.job for s in after.plan.starts] == ["1"]
    assert after.memory.history.preempted == {"00": (1, NOW + 60_000)}
    assert after.memory.history.no_borrow == {"union": NOW + 60_000}
    (wait,) = after.plan.waits
    assert (wait.reason.code, wait.reason.params["time"]) == ("wait.backing-off", NOW + 60_000)


def test_while_one_leaves_what_is_free_in_fact_still_starts() -> None:
    leaving = borrowed(leaving=True)
    small = job("2", milli_devices=0, milli_cores=1_000, submitted_ms=9)
    plan = step(replace(leaving, jobs=(*leaving.jobs, small)), RECLAIM, NOW)
    assert [s.job for s in plan.starts] == ["2"]


def test_a_job_that_asks_for_nothing_or_holds_too_much_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="neither devices nor cores"):
        decide([job("1", milli_devices=0, milli_cores=0)])
    with pytest.raises(ValueError, match="at most 4"):
        decide([job("1", asks=tuple((f"u{n}", 1) for n in range(5)))])
