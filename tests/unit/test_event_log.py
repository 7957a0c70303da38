"""Live = twin: what the loop decided is decided again from its event log alone, and one changed byte is found."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.scripted import Bench, ended, running

from fabrique.apps.jobs import services as jobs
from fabrique.cli import twin_log
from fabrique.core.admission import record
from fabrique.core.admission.rules import Rules
from fabrique.core.admission.state import (
    CapRow,
    History,
    JobRow,
    OptionRow,
    PartitionRow,
    PoolRow,
    Rows,
    RunRow,
    SiteRow,
)
from fabrique.core.booking import Frozen
from fabrique.core.errors import FabriqueError
from fabrique.operate import event_log as logs
from fabrique.operate.deciding import Deciding
from fabrique.twin import event_log

UNIT = "core-ms:local-core"
NOW = 1_800_000_000_000
FROZEN = Frozen(35_000, "a test's", Fraction(0), None, "")
RULES = Rules(name="test", pools=True, share_order=True, fair=True, reservations=4)
OPTION = OptionRow(partition="p", power_w=100)
JOB = JobRow(
    id="1", pool="union", project="x", allocation="a", options=(OPTION,), milli_devices=1_000, milli_cores=1_000,
    memory_mb=1, walltime_ms=60_000, priority=0, submitted_ms=NOW, not_before_ms=0, asks=((UNIT, 1),),
)  # fmt: skip
RUN = RunRow(
    id="r", job="0", pool="national", project="y", option=OPTION, milli_devices=1_000, milli_cores=1_000, memory_mb=1,
    walltime_ms=60_000, priority=0, submitted_ms=NOW, started_ms=NOW, ends_ms=NOW + 60_000,
)  # fmt: skip
ROWS = Rows(
    partitions=(PartitionRow(id="p", kind="k", site="s", milli_devices=4_000, milli_cores=8_000, memory_mb=64),),
    sites=(SiteRow(id="s", cap_w=1_000, base_w=100, caps=(CapRow(from_ms=NOW + 90_000, cap_w=500, known_ms=NOW),)),),
    pools=(PoolRow(id="national", share_ppm=500_000), PoolRow(id="union", share_ppm=500_000, borrow_ppm=100_000)),
    rooms=(("a", UNIT, 100), ("b", UNIT, None)),
    jobs=(JOB,),
    runs=(RUN,),
)


def recorded(home: Path, turns: int = 12) -> list[Path]:
    """A log of decisions on rows that change: jobs come, start and end, a room shrinks, rules change once."""
    deciding = Deciding(home, {}, NOW)
    rows, now = ROWS, NOW
    for turn in range(turns):
        now += 7_000
        new = replace(JOB, id=str(turn + 2), pool="national" if turn % 3 else "union", submitted_ms=now)
        ends = tuple(run for run in rows.runs if run.ends_ms > now)
        rows = replace(rows, jobs=(*rows.jobs, new), runs=ends, rooms=(("a", UNIT, 100 - turn), ("b", UNIT, None)))
        plan = deciding.plan(record.in_order(rows), replace(RULES, version=1 + turn // 8), now)
        assert plan is not None
        started = {s.job for s in plan.starts}
        begun = [
            replace(RUN, id=f"r{j.id}", job=j.id, pool=j.pool, project=j.project, submitted_ms=j.submitted_ms,
                    started_ms=now, ends_ms=now + 20_000)
            for j in rows.jobs if j.id in started
        ]  # fmt: skip
        rows = replace(rows, jobs=tuple(j for j in rows.jobs if j.id not in started), runs=(*rows.runs, *begun))
    return logs.files(home / logs.FOLDER)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A whole log, as bytes."""
    (path,) = recorded(tmp_path_factory.mktemp("one"))
    return path.read_bytes()


def judged(folder: Path, raw: bytes) -> event_log.Verified:
    path = folder / "a.jsonl"
    path.write_bytes(raw)
    return event_log.verify([path])


def test_the_loops_own_log_gives_the_same_decisions(here: Any, tmp_path: Path) -> None:
    here.home = tmp_path  # a log of its own
    bench = Bench(here)
    first, *rest = running(bench), *(bench.submit(cores=n) for n in ("1", "2", "1"))
    bench.turn(3_000)
    ended(bench, first)
    jobs.cancel(rest[1], bench.person, now=bench.now)
    bench.turn(6_000)
    bench.loop = bench.new_loop()  # a restart: it goes on from what the database kept
    bench.now += 60_000
    assert bench.turn().leader
    bench.submit()
    bench.turn(10_000)
    found = event_log.verify(logs.files(tmp_path / logs.FOLDER))
    assert found.ok
    assert found.files == 2  # each process begins its own
    assert found.decisions >= 5
    assert found.after is None


class Hours:
    """An intensity that is lower from the third hour on, and known for ten."""

    def expected(self, at_ms: int) -> tuple[SimpleNamespace, str]:
        hour = (at_ms - NOW) // 3_600_000
        if hour >= 10:
            raise FabriqueError("grid.gap", zone="test", at_ms=at_ms)
        return SimpleNamespace(mg_per_kwh=200_000 if hour < 2 else 50_000), "forecast"

    def news(self, now: int) -> None: ...


def test_a_job_that_is_put_off_keeps_its_hour_through_a_restart(
    here: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.home = tmp_path
    bench = Bench(here)
    monkeypatch.setitem(here.__dict__, "hourly", Hours())
    monkeypatch.setattr(here, "frozen", lambda unit, now: FROZEN)
    monkeypatch.setattr(here, "actual", lambda window: here._told(window.end_ms, None))
    green = replace(RULES, defer=True)
    bench.loop.rules = green
    job = bench.submit(**{"latest-start": "2027-01-15T16:00:00Z"})
    bench.turn()
    job.refresh_from_db()
    assert job.reason == {"code": "wait.deferred", "time": NOW + 2 * 3_600_000, "saved_permille": 750}
    bench.loop = bench.new_loop()
    bench.loop.rules = green
    bench.turn(60_000)
    job.refresh_from_db()
    assert job.reason["code"] == "wait.deferred"
    bench.turn(2 * 3_600_000)
    assert bench.status(job) == "starting"
    found = event_log.verify(logs.files(tmp_path / logs.FOLDER))
    assert (found.ok, found.decisions) == (True, 3)


def test_a_log_holds_every_decision(tmp_path: Path, one: bytes) -> None:
    found = judged(tmp_path, one)
    assert (found.ok, found.decisions, found.torn) == (True, 12, False)
    assert (found.from_ms, found.to_ms) == (NOW + 7_000, NOW + 84_000)
    assert len(one.splitlines()) == 13
    assert {s["kind"] for s in map(json.loads, one.splitlines()[1:])} == {"decision"}


def test_only_what_changed_is_written(one: bytes) -> None:
    second = json.loads(one.splitlines()[2])
    assert set(second["rows"]) <= {"jobs", "runs", "rooms"}
    assert "rules" not in second
    assert sum("rules" in json.loads(line) for line in one.splitlines()) == 2


@settings(max_examples=60)
@given(st.data())
def test_one_changed_byte_is_found(tmp_path_factory: pytest.TempPathFactory, one: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(one) - 2))  # the last newline alone says that a line is finished
    other = data.draw(st.integers(0, 255).filter(lambda b: b != one[at]))
    raw = one[:at] + bytes([other]) + one[at + 1 :]
    found = judged(tmp_path_factory.mktemp("changed"), raw)
    assert not found.ok
    assert found.divergence is not None
    assert found.divergence.line <= one[: at + 1].count(b"\n") + 1


@pytest.mark.parametrize("what", ["state", "plan"])
def test_a_log_whose_hashes_were_made_anew_still_has_to_give_the_same_decision(
    tmp_path: Path, one: bytes, what: event_log.What
) -> None:
    lines = [json.loads(line) for line in one.splitlines()]
    lines[4][what] = "0" * 64
    assert judged(tmp_path, forged(lines)).divergence == event_log.Divergence(
        str(tmp_path / "a.jsonl"),
        5,
        what,
        lines[4]["at"],
    )


def test_a_forged_row_gives_other_tables(tmp_path: Path, one: bytes) -> None:
    lines = [json.loads(line) for line in one.splitlines()]
    lines[3]["rows"]["jobs"]["set"][0]["walltime_ms"] += 1
    found = judged(tmp_path, forged(lines))
    assert found.divergence is not None
    assert (found.divergence.line, found.divergence.what) == (4, "state")


@pytest.mark.parametrize(
    "change",
    [
        lambda line: line["rows"]["jobs"]["set"][0].update(milli_cores="many"),
        lambda line: line["rows"]["jobs"]["set"][0].update(options=[{"partition": "nowhere", "power_w": 1}]),
        lambda line: line["rows"]["jobs"]["set"][0].update(walltime_ms=2**80),
        lambda line: line["rows"]["jobs"]["set"][0].pop("pool"),
        lambda line: line.update(rows={"jobs": {"gone": [["none"]]}}),
        lambda line: line.update(kind="other"),
        lambda line: line.update(rows=7),
        lambda line: line.update(at=None),
    ],
)
def test_hostile_lines_are_named_and_nothing_else_happens(tmp_path: Path, one: bytes, change: Any) -> None:
    lines = [json.loads(line) for line in one.splitlines()]
    change(lines[3])
    found = judged(tmp_path, forged(lines))
    assert found.divergence is not None
    assert (found.divergence.line, found.divergence.what) == (4, "broken")


def forged(lines: list[dict[str, Any]]) -> bytes:
    previous, out = lines[0]["previous"], []
    for body in lines:
        line, previous = record.chained(previous, {k: v for k, v in body.items() if k != "hash"})
        out.append(line.encode() + b"\n")
    return b"".join(out)


def test_a_line_that_is_missing_breaks_the_chain(tmp_path: Path, one: bytes) -> None:
    lines = one.splitlines(keepends=True)
    found = judged(tmp_path, b"".join(lines[:3] + lines[4:]))
    assert found.divergence is not None
    assert (found.divergence.line, found.divergence.what) == (4, "chain")


def test_a_torn_last_line_is_said_and_forgiven(tmp_path: Path, one: bytes) -> None:
    found = judged(tmp_path, one[:-20])
    assert (found.ok, found.torn, found.decisions) == (True, True, 11)


def test_files_follow_each_other_and_the_oldest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST_BYTES", 1)
    monkeypatch.setattr(logs.EventLog.__init__, "__defaults__", (1,))
    found = recorded(tmp_path, turns=logs.KEPT + 4)
    assert len(found) == logs.KEPT
    whole = event_log.verify(found)
    assert (whole.ok, whole.decisions) == (True, logs.KEPT)
    assert whole.after is not None  # of a file that is gone
    gap = event_log.verify([found[0], found[2]])
    assert gap.divergence == event_log.Divergence(str(found[2]), 1, "chain")


def test_a_clock_that_went_back_makes_the_next_file_all_the_same(tmp_path: Path) -> None:
    """Else it would be the oldest, and the first to go."""
    for at_ms in (5_000, 3_000, 3_000):
        logs.EventLog(tmp_path).begin(at_ms, {"rules": {}})
    assert [path.stem for path in logs.files(tmp_path / logs.FOLDER)] == [f"{at:015d}" for at in (5_000, 5_001, 5_002)]


def test_a_disk_that_refuses_the_log_stops_no_decision(tmp_path: Path) -> None:
    (tmp_path / logs.FOLDER).write_text("not a folder")
    assert recorded(tmp_path) == []


def test_who_goes_on_after_a_restart_remembers(tmp_path: Path) -> None:
    deciding = Deciding(tmp_path, {}, NOW)
    deciding.plan(ROWS, RULES, NOW)
    deciding.plan(replace(ROWS, jobs=()), RULES, NOW + 50_000)
    kept = deciding.kept()
    assert json.loads(json.dumps(kept)) == kept
    assert int(kept["use"]["y"]) >= 50_000 * 1_000
    assert Deciding(tmp_path, kept, NOW + 60_000).kept() == kept


def test_a_history_of_the_future_or_of_nonsense_begins_anew(tmp_path: Path) -> None:
    later = record.history_json(History(at_ms=NOW + 1, use={"x": 5}))
    for kept in (later, {"at_ms": "never"}, {"owed": 3}):
        assert Deciding(tmp_path, kept, NOW).kept() == record.history_json(History(at_ms=NOW))


def test_the_same_rows_are_not_decided_on_twice_at_once(tmp_path: Path) -> None:
    busy = replace(ROWS, jobs=(replace(JOB, milli_devices=4_000),))
    deciding = Deciding(tmp_path, {}, NOW)
    assert deciding.plan(busy, RULES, NOW) is not None
    assert deciding.plan(busy, RULES, NOW + 500) is None
    assert deciding.plan(replace(busy, runs=()), RULES, NOW + 1_000) is not None
    assert deciding.plan(busy, RULES, NOW + 2_000) is not None
    assert deciding.plan(busy, RULES, NOW + 7_000) is not None


def test_rows_come_back_from_json_as_they_were() -> None:
    told = json.loads(json.dumps(record.changes(None, ROWS)))
    assert record.apply(None, told) == record.in_order(ROWS)
    assert record.changes(ROWS, ROWS) == {}


def test_the_command_says_so(tmp_path: Path, one: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    from typer.testing import CliRunner

    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_bytes(one)
    bad.write_bytes(one.replace(b'"walltime_ms":60000', b'"walltime_ms":60001', 1))
    runs = [CliRunner().invoke(twin_log.app, args) for args in ([str(good)], [str(bad)], [str(tmp_path / "none")])]
    assert [run.exit_code for run in runs] == [0, 1, 2]
    assert "12 decisions" in runs[0].output
    assert "bad.jsonl:1" in runs[1].output
    told = json.loads(CliRunner().invoke(twin_log.app, [str(bad), "--json"]).output)
    assert told["divergence"]["what"] == "chain"
