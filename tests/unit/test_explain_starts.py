"""What is said of a job that waits: an interval, and changes that keep their word when they are made."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabrique.core.admission import explain as told
from fabrique.core.admission import prepare, step
from fabrique.core.admission.explain import Explained, Variant, explain
from fabrique.core.admission.rules import Rules
from fabrique.core.admission.state import (
    BlockRow,
    History,
    JobRow,
    OptionRow,
    OutlookRow,
    PartitionRow,
    PoolRow,
    Rows,
    RunRow,
    SiteRow,
)

UNIT = "core-ms:local-core"
MINUTE = 60_000
NOW = 1_800_000_000_000
RULES = Rules(name="test", pools=True, share_order=True, fair=True, reservations=2)
HISTORY = History(at_ms=NOW)
OPTION = OptionRow(partition="p", power_w=100)
JOB = JobRow(
    id="1", pool="union", project="x", allocation="a", options=(OPTION,), milli_devices=1_000, milli_cores=1_000,
    memory_mb=1, walltime_ms=60 * MINUTE, priority=0, submitted_ms=NOW, not_before_ms=0, asks=((UNIT, 60 * MINUTE),),
)  # fmt: skip
RUN = RunRow(
    id="r", job="0", pool="union", project="y", option=OPTION, milli_devices=3_000, milli_cores=1_000, memory_mb=1,
    walltime_ms=40 * MINUTE, priority=0, submitted_ms=NOW - MINUTE, started_ms=NOW - 10 * MINUTE,
    ends_ms=NOW + 30 * MINUTE,
)  # fmt: skip
PARTITION = PartitionRow(id="p", kind="k", site="s", milli_devices=4_000, milli_cores=8_000, memory_mb=64)


def hub(*jobs: JobRow, runs: tuple[RunRow, ...] = (RUN,), **more: object) -> Rows:
    rows = Rows(
        partitions=(PARTITION, replace(PARTITION, id="q", milli_devices=1_000)),
        sites=(SiteRow(id="s", cap_w=1_000, base_w=100),),
        pools=(PoolRow(id="union", share_ppm=1_000_000),),
        rooms=(("a", UNIT, 10**12),),
        jobs=jobs,
        runs=runs,
    )
    return replace(rows, **more)  # type: ignore[arg-type]


def variants(rows: Rows, job: JobRow) -> list[Variant]:
    """All that this test's jobs can be asked for instead."""
    plan = step(rows, RULES, NOW, HISTORY)
    found = [
        Variant(kind="walltime", before=job.walltime_ms, after=ms, row=replace(job, walltime_ms=ms, asks=((UNIT, ms),)))
        for ms in told.shorter(job, plan, rows, NOW)
    ]
    found += [
        Variant(kind="devices", before=job.milli_devices, after=n, row=replace(job, milli_devices=n), extra_ms=None)
        for n in (2_000, 1_000, 500)
        if n < job.milli_devices
    ]
    elsewhere = OptionRow(partition="q", power_w=100)
    found.append(Variant(kind="kind", before="p", after="q", row=replace(job, options=(elsewhere,))))
    low = tuple(replace(o, power_w=o.power_w // 2) for o in job.options)
    found.append(Variant(kind="power", before=100, after=50, row=replace(job, options=low), energy_permille=800))
    return found


def ask(rows: Rows, name: str = "1", typical: int | None = 500) -> Explained:
    job = next(j for j in rows.jobs if j.id == name)
    return explain(rows, RULES, HISTORY, name, variants(rows, job), NOW, typical_permille=typical)


def test_the_interval_goes_from_typical_runs_to_full_walltimes() -> None:
    found = ask(hub(replace(JOB, milli_devices=4_000)))
    assert found.reason is not None
    assert found.reason.code == "wait.accelerators"
    assert (found.earliest_ms, found.latest_ms) == (NOW + 10 * MINUTE, NOW + 30 * MINUTE)


def test_where_nobody_knows_how_long_jobs_run_the_earliest_start_is_now() -> None:
    found = ask(hub(replace(JOB, milli_devices=4_000)), typical=None)
    assert (found.earliest_ms, found.latest_ms) == (NOW, NOW + 30 * MINUTE)


def test_a_job_without_a_reservation_is_told_its_start_behind_those_before_it() -> None:
    wide = [replace(JOB, id=str(n), milli_devices=4_000, submitted_ms=NOW + n) for n in range(1, 6)]
    found = ask(hub(*wide), "5")
    assert found.latest_ms == NOW + (30 + 4 * 60) * MINUTE
    assert found.earliest_ms == NOW + (10 + 4 * 30) * MINUTE


def test_fewer_devices_or_a_shorter_walltime_would_start_it_now() -> None:
    first = replace(JOB, id="9", milli_devices=4_000, submitted_ms=NOW - MINUTE)
    found = ask(hub(first, replace(JOB, options=(OPTION,))), "1")
    # one device is free until the first one's reservation begins
    assert [(c.kind, c.after, c.starts_ms) for c in found.changes if c.kind == "walltime"] == [
        ("walltime", 30 * MINUTE, NOW)
    ]
    more = ask(hub(replace(JOB, milli_devices=2_000)), "1")
    assert ("devices", 1_000, NOW) in [(c.kind, c.after, c.starts_ms) for c in more.changes]


def test_another_partition_starts_it_now() -> None:
    busy = replace(RUN, milli_devices=4_000)
    found = ask(hub(JOB, runs=(busy,)))
    assert [(c.kind, c.after, c.starts_ms) for c in found.changes] == [("kind", "q", NOW), ("devices", 500, NOW)][:1]


def test_a_lower_level_starts_it_under_the_cap() -> None:
    hungry = replace(JOB, options=(replace(OPTION, power_w=850),))
    found = ask(hub(hungry))
    (change,) = [c for c in found.changes if c.kind == "power"]
    assert (change.starts_ms, change.energy_permille) == (NOW, 800)


def test_nothing_helps_is_an_answer() -> None:
    block = BlockRow(
        id="m", partition="p", from_ms=NOW - 1, until_ms=NOW + 10 * MINUTE, milli_devices=4_000, milli_cores=8_000,
        memory_mb=64,
    )  # fmt: skip
    rows = hub(JOB, runs=(), blocks=(block, replace(block, id="n", partition="q")))
    found = ask(rows)
    assert found.changes == ()
    assert found.latest_ms == NOW + 10 * MINUTE


def test_what_starts_now_needs_no_change() -> None:
    assert ask(hub(JOB)) == Explained(reason=None, earliest_ms=NOW, latest_ms=NOW, changes=())


def test_who_does_not_wait_is_not_explained() -> None:
    with pytest.raises(KeyError):
        explain(hub(JOB), RULES, HISTORY, "7", [], NOW, typical_permille=None)


def outlook(*values: int) -> OutlookRow:
    return OutlookRow(site="s", start_ms=NOW, step_ms=60 * MINUTE, values=values)


GREEN = replace(RULES, defer=True, floor_permille=50)
FLEXIBLE = replace(JOB, latest_ms=NOW + 600 * MINUTE)


def test_a_flexible_job_moves_to_a_greener_hour_and_says_what_that_saves() -> None:
    rows = hub(FLEXIBLE, runs=(), outlooks=(outlook(100, 100, 60, 100),))
    (wait,) = step(rows, GREEN, NOW, HISTORY).waits
    assert (wait.reason.code, dict(wait.reason.params)) == (
        "wait.deferred",
        {"time": NOW + 120 * MINUTE, "saved_permille": 400},
    )
    # it keeps its slot, and starts in it
    later = replace(HISTORY, deferred={"1": NOW + 120 * MINUTE})
    assert step(rows, GREEN, NOW + MINUTE, later).waits[0].reason.code == "wait.deferred"
    assert step(rows, GREEN, NOW + 120 * MINUTE, later).starts


def test_not_worth_putting_off_is_an_answer() -> None:
    rows = hub(FLEXIBLE, runs=(), outlooks=(outlook(100, 100, 96, 100),))
    assert step(rows, GREEN, NOW, HISTORY).starts
    found = explain(rows, GREEN, HISTORY, "1", [], NOW, typical_permille=None)
    assert found.deferral is not None
    assert dict(found.deferral.params) == {"saved_permille": 40, "floor_permille": 50}
    flat = replace(rows, outlooks=(outlook(100, 100, 100, 100),))
    assert explain(flat, GREEN, HISTORY, "1", [], NOW, typical_permille=None).deferral is None
    fixed = replace(rows, jobs=(JOB,))
    assert explain(fixed, GREEN, HISTORY, "1", [], NOW, typical_permille=None).deferral is None


jobs_drawn = st.lists(
    st.builds(
        replace,
        st.just(JOB),
        milli_devices=st.sampled_from([500, 1_000, 2_000, 3_000, 4_000]),
        walltime_ms=st.integers(1, 120).map(lambda n: n * MINUTE),
        options=st.sampled_from([(OPTION,), (replace(OPTION, power_w=400),), (OPTION, replace(OPTION, partition="q"))]),
        submitted_ms=st.integers(NOW - 50, NOW),
    ),
    min_size=1,
    max_size=7,
).map(lambda jobs: [replace(j, id=str(i + 1)) for i, j in enumerate(jobs)])
runs_drawn = st.lists(
    st.builds(
        replace,
        st.just(RUN),
        milli_devices=st.sampled_from([500, 1_000, 2_000]),
        ends_ms=st.integers(1, 40).map(lambda n: NOW + n * MINUTE),
    ),
    max_size=2,
).map(lambda runs: tuple(replace(r, id=f"r{i}", job=f"0{i}") for i, r in enumerate(runs)))


@settings(max_examples=60)
@given(jobs_drawn, runs_drawn, st.data())
def test_a_change_that_is_said_to_start_the_job_does(
    jobs: list[JobRow], runs: tuple[RunRow, ...], data: st.DataObject
) -> None:
    rows = hub(*jobs, runs=runs)
    job = data.draw(st.sampled_from(jobs))
    before = prepare.digest(prepare.build(rows, RULES, HISTORY, NOW).state)
    tried = variants(rows, job)
    found = explain(rows, RULES, HISTORY, job.id, tried, NOW, typical_permille=600)
    # a what-if leaves the state as it was
    assert prepare.digest(prepare.build(rows, RULES, HISTORY, NOW).state) == before
    for change in found.changes:
        applied = next(v.row for v in tried if (v.kind, v.after) == (change.kind, change.after))
        starts = {s.job for s in step(told.with_row(rows, applied), RULES, NOW, HISTORY).starts}
        if change.starts_ms == NOW:
            assert job.id in starts
        assert found.latest_ms is None or change.starts_ms < found.latest_ms
    if found.latest_ms is not None:
        assert found.earliest_ms is not None
        assert NOW <= found.earliest_ms <= found.latest_ms
    assert (found.reason is None) == (job.id in {s.job for s in step(rows, RULES, NOW, HISTORY).starts})
