"""Replays of the hub's own jobs: what is taken of the tables, what is asked, what is answered, who takes it up."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fabrique.apps.jobs.models import Job, Run
from fabrique.apps.now import now_ms
from fabrique.apps.rules import asked as form
from fabrique.apps.rules import replays
from fabrique.apps.rules.asked import Asked
from fabrique.apps.rules.models import WhatIf
from fabrique.apps.this_hub import this_hub
from fabrique.core.admission.filter import Offer
from fabrique.core.admission.levels import Level
from fabrique.core.errors import FabriqueError
from fabrique.core.units import unit
from fabrique.definitions import rules as rule_sets
from fabrique.operate import what_if
from fabrique.twin.hub_fleet import Own, hub_fleet
from fabrique.twin.hub_trace import Past, hub_trace

pytestmark = pytest.mark.django_db
HOUR, DAY = 3_600_000, 86_400_000


def fill(desk: Any, days: int, jobs: int, seed: int = 1) -> None:
    """Jobs that ran on this machine over the last days, each asking for whole or half of it."""
    drawn, now, cores = random.Random(seed), now_ms(), this_hub().cores
    for n in range(jobs):
        at = now - days * DAY + n * days * DAY // jobs
        spec = {**desk.job.spec, "cores": drawn.choice([1, max(1, cores // 2), cores]), "walltime_ms": 6 * HOUR}
        ran = drawn.randint(HOUR, 4 * HOUR)
        made = Job.objects.create(
            project=desk.project, allocation=desk.job.allocation, submitter=desk.people["pi"], name="past", spec=spec,
            script="", status="completed", submitted_ms=at, changed_ms=at,
        )  # fmt: skip
        Run.objects.create(
            job=made, engine="local", partition="this-machine", kind="local-core", unit="core-ms:local-core",
            share_milli=spec["cores"] * 1000, hold=made.key, state="ended", planned_ms=at, started_ms=at,
            ended_ms=at + ran, elapsed_ms=ran, energy_mj=ran * 8 * spec["cores"],
        )  # fmt: skip


def asking(*rules: str, **changed: Any) -> Asked:
    given: dict[str, Any] = {"weeks": 4, "rules": rules or ("easy",), "devices_permille": {}}
    return Asked(**(given | changed))


# --- what is taken of the tables ----------------------------------------------------------------------------------
def past(number: int, **more: Any) -> Past:
    given: dict[str, Any] = {"submitted_ms": number * HOUR, "run_ms": HOUR, "walltime_ms": 2 * HOUR}
    given |= {"number": number, "milli_devices": 1000, "project": "p", "pool": "union"}
    return Past(**(given | more))


def test_a_trace_holds_the_jobs_that_ran_and_counts_the_others() -> None:
    rows = [
        past(3, start_by_ms=5 * HOUR, preemptible=True),
        past(1, run_ms=5 * HOUR, project="a", pool="national"),
        past(2, run_ms=None),
        past(4, run_ms=0),
        past(5, milli_devices=0),
    ]
    found = hub_trace(rows, "here")
    assert found.number.tolist() == [1, 3]
    assert found.walltime_ms.tolist() == [5 * HOUR, 2 * HOUR]  # nobody is killed in a replay
    assert found.slack_ms.tolist() == [-1, 2 * HOUR]
    assert [found.pools[row] for row in found.pool] == ["national", "union"]
    assert dict(found.dropped) == {"not-over": 1, "no-run": 1, "other-device": 1}
    assert found.digest != hub_trace([past(1)], "here").digest
    assert found.digest == hub_trace(reversed(rows), "here").digest


def test_the_trace_of_the_tables_is_what_was_asked_and_ran(desk: Any) -> None:
    fill(desk, 3, 6)
    now = now_ms()
    rows = list(what_if.past(this_hub(), now - 4 * DAY, now + 1))
    waiting = [row for row in rows if row.run_ms is None]
    assert [row.number for row in waiting] == [desk.job.number]
    ran = [row for row in rows if row.run_ms]
    assert len(ran) == 6
    for row in ran:
        job = Job.objects.get(pk=row.number)
        assert (row.milli_devices, row.walltime_ms) == (job.spec["cores"] * 1000, job.spec["walltime_ms"])
        assert (row.project, row.pool) == (desk.project.code, desk.job.allocation.pool)
        assert row.run_ms == job.runs.get().elapsed_ms


def test_a_device_draws_what_its_runs_drew_above_idle(desk: Any) -> None:
    fill(desk, 3, 6)
    own = what_if.own_machines(this_hub(), now_ms() - 4 * DAY, now_ms())
    assert own.drawn_mw["local-core"] == 8_000 - this_hub().core_idle_w * 1000


# --- what is answered ---------------------------------------------------------------------------------------------
def test_differences_come_with_their_interval_and_a_verdict(desk: Any) -> None:
    fill(desk, 20, 240)
    told: list[float] = []
    found = what_if.replayed(this_hub(), asking("fifo", "in-force", "easy"), now_ms(), told.append)
    assert [run["rules"] for run in found["runs"]] == ["fair", "fifo", "easy"]  # in force, as it is: nothing to add
    assert found["runs"][0]["differences"] == {}
    fifo = found["runs"][1]
    for name in ("mean_wait_s", "p95_wait_s", "mean_bounded_slowdown", "utilisation", "work_done", "energy_j"):
        difference = fifo["differences"][name]
        assert difference["low"] <= difference["mean"] <= difference["high"], name
        outside = difference["low"] > 0 or difference["high"] < 0
        assert outside == (difference["verdict"] in ("less", "more")), name
    before, after = (run["figures"]["mean_wait_s"] for run in found["runs"][:2])
    assert fifo["differences"]["mean_wait_s"]["mean"] == pytest.approx(after - before)
    before, after = (run["figures"]["p95_wait_s"] for run in found["runs"][:2])
    assert fifo["differences"]["p95_wait_s"]["mean"] == pytest.approx(after - before)
    before, after = (run["figures"]["utilisation"] for run in found["runs"][:2])
    assert fifo["differences"]["utilisation"]["mean"] == pytest.approx(after - before, abs=1e-9)
    assert len({run["certificate"] for run in found["runs"]}) == 3
    assert 0 < max(told) <= 1
    again = what_if.replayed(this_hub(), asking("fifo", "in-force", "easy"), now_ms())
    assert [run["certificate"] for run in again["runs"]] == [run["certificate"] for run in found["runs"]]


def test_the_same_rules_on_a_changed_grid_differ_in_carbon_alone(desk: Any) -> None:
    fill(desk, 10, 60)
    found = what_if.replayed(this_hub(), asking("in-force", carbon_permille=2_000), now_ms())
    before, after = (run["figures"] for run in found["runs"])
    assert after["carbon_g"] == pytest.approx(2 * before["carbon_g"], abs=0.01)  # each slot is rounded
    assert {name for name in before if name != "carbon_g" and before[name] != after[name]} == set()
    assert found["runs"][1]["differences"]["carbon_g"]["verdict"] == "more"
    assert found["runs"][1]["differences"]["mean_wait_s"]["verdict"] == "no effect"


def test_a_lower_cap_is_kept_and_more_machines_have_more_room(desk: Any) -> None:
    fill(desk, 10, 120)
    here = this_hub()
    assert here.cap_w is not None
    cap = here.base_w + max(1, (here.core_max_w - here.core_idle_w) * here.cores // 2)
    low = what_if.replayed(here, asking("in-force", cap_w=cap), now_ms())
    assert low["runs"][1]["figures"]["over_cap_ws"] == 0
    assert low["runs"][1]["differences"]["mean_wait_s"]["mean"] > 0 or "over-power" in str(low["left_out"])
    both = asking("in-force", cap_w=here.cap_w * 3, devices_permille={here.local.partition: 2_000})
    more = what_if.replayed(here, both, now_ms())
    assert more["runs"][1]["differences"]["mean_wait_s"]["mean"] < 0


def test_a_few_days_are_too_short_to_tell(desk: Any) -> None:
    fill(desk, 3, 30)
    found = what_if.replayed(this_hub(), asking("fifo"), now_ms())
    assert {d["verdict"] for d in found["runs"][1]["differences"].values()} == {"too short"}
    assert found["runs"][1]["differences"]["p95_wait_s"]["low"] is None


def test_too_few_jobs_are_said_to_be_too_few(desk: Any) -> None:
    fill(desk, 3, 9)
    with pytest.raises(FabriqueError) as error:
        what_if.replayed(this_hub(), asking("fifo"), now_ms())
    assert (error.value.code, error.value.params) == ("what-if.few", {"jobs": 9, "least": 10})


def test_a_resampled_quantile_is_that_of_the_resample(desk: Any) -> None:
    from fabrique.twin import bootstrap
    from fabrique.twin import what_if as twin
    from fabrique.twin.study import run

    fill(desk, 12, 90)
    here, now = this_hub(), now_ms()
    trace = hub_trace(what_if.past(here, now - 28 * DAY, now), "here")
    study, _ = what_if.studies(here, asking(), what_if.own_machines(here, now - 28 * DAY, now), trace)
    one = run(study, rule_sets.load("fifo"))
    wait, day = twin._waits(one)
    days = twin.days_of(one)
    found = twin._resampled(one, days, 950)
    for row in (0, 7, 1999):
        drawn = np.sort(np.repeat(wait, bootstrap.draws(days)[row].astype(int)[day]))
        assert found[row] == drawn[-(-len(drawn) * 950 // 1000) - 1]


# --- what is asked ------------------------------------------------------------------------------------------------
GIVEN = {"weeks": "4", "cap_w": "", "carbon": "1,5", "price": ""}


def test_a_form_is_read_as_it_was_meant(desk: Any) -> None:
    here = this_hub()
    found = form.read({**GIVEN, f"devices.{here.local.partition}": "0.5"}, ["easy", "easy", "in-force"], here)
    assert found.rules == ("easy", "in-force")
    assert (found.carbon_permille, found.devices_permille) == (1_500, {here.local.partition: 500})
    assert form.of_json(found.as_json()) == found
    assert found.changes and not replace(found, carbon_permille=1000, devices_permille={}).changes


@pytest.mark.parametrize(
    ("given", "rules", "field"),
    [
        ({"weeks": "9"}, ["easy"], "weeks"),
        ({"weeks": "0"}, ["easy"], "weeks"),
        ({"weeks": "²"}, ["easy"], "weeks"),
        ({"weeks": "9" * 5000}, ["easy"], "weeks"),
        ({}, [], "rules"),
        ({}, ["../../etc/passwd"], "rules"),
        ({}, ["easy"] * 3 + [f"x{n}" for n in range(30)], "rules"),
        ({"cap_w": "1"}, ["easy"], "cap_w"),
        ({"cap_w": "-5"}, ["easy"], "cap_w"),
        ({"carbon": "nan"}, ["easy"], "carbon"),
        ({"carbon": "1e99999999"}, ["easy"], "carbon"),
        ({"carbon": "-1"}, ["easy"], "carbon"),
        ({"carbon": "0.00001"}, ["easy"], "carbon"),
        ({"devices.this-machine": "0"}, ["easy"], "devices"),
    ],
)
def test_a_hostile_form_gets_one_message(given: dict[str, str], rules: list[str], field: str, desk: Any) -> None:
    with pytest.raises(FabriqueError) as error:
        form.read({**GIVEN, **given}, rules, this_hub())
    assert (error.value.code, error.value.params["field"]) == ("what-if.field", field)


def test_the_hub_as_it_is_is_no_question(desk: Any) -> None:
    with pytest.raises(FabriqueError) as error:
        form.read({**GIVEN, "carbon": ""}, ["in-force"], this_hub())
    assert error.value.code == "what-if.same"


# --- who takes it up ----------------------------------------------------------------------------------------------
def waiting(desk: Any, **more: Any) -> WhatIf:
    return replays.ask(desk.people["operator"], asking("fifo").as_json() | more, now=now_ms())


def test_a_request_is_performed_once_and_its_result_kept(desk: Any) -> None:
    fill(desk, 10, 60)
    made = waiting(desk)
    what_if.perform(made.id)
    made.refresh_from_db()
    assert (made.state, made.permille, made.error) == ("done", 1000, {})
    first = made.result
    what_if.perform(made.id)  # another process that comes too late
    made.refresh_from_db()
    assert (made.attempts, made.result) == (1, first)


def test_whatever_goes_wrong_a_message_stands_there(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = waiting(desk)
    what_if.perform(made.id)
    made.refresh_from_db()
    assert (made.state, made.error["code"]) == ("failed", "what-if.few")
    other = waiting(desk)
    monkeypatch.setattr(what_if, "replayed", lambda *given: 1 // 0)
    what_if.perform(other.id)
    other.refresh_from_db()
    assert (other.state, other.error) == (
        "failed",
        {"code": "what-if.failed", "params": {"why": "ZeroDivisionError"}},
    )


def test_a_request_whose_process_died_is_taken_up_again_but_not_for_ever(desk: Any) -> None:
    made, now = waiting(desk), now_ms()
    for attempt in (1, 2):
        found = replays.take(made.id, now=now)
        assert found is not None and found.attempts == attempt
        assert replays.take(made.id, now=now) is None  # it is another's
        assert replays.next_waiting(now=now) is None
        now += replays.SILENT_MS + 1
        assert replays.next_waiting(now=now) == made.id
    assert replays.take(made.id, now=now) is None
    made.refresh_from_db()
    assert (made.state, made.error["code"]) == ("failed", "what-if.failed")


def test_so_many_wait_and_no_more(desk: Any) -> None:
    for _ in range(replays.WAITING_MOST):
        waiting(desk)
    with pytest.raises(FabriqueError) as error:
        waiting(desk)
    assert error.value.code == "what-if.busy"


class _Ended:
    """A process that ends as the test says."""

    def __init__(self, code: int | None) -> None:
        self.returncode = code

    def poll(self) -> int | None:
        return self.returncode


def test_the_loop_starts_one_at_a_time_and_notices_a_process_that_died(
    desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, later = waiting(desk), waiting(desk)
    started: list[Any] = []
    processes = [_Ended(None), _Ended(None)]

    def start(key: Any) -> _Ended:
        started.append(key)
        return processes[len(started) - 1]

    monkeypatch.setattr(what_if, "_started", start)
    attendant, now = what_if.Attendant(), now_ms()
    for turn in range(3):
        attendant.attend(now + turn * 2_000)
    assert started == [made.id]
    replays.take(made.id, now=now)
    processes[0].returncode = -9
    attendant.attend(now + 8_000)
    made.refresh_from_db()
    assert (made.state, made.error["params"]) == ("failed", {"why": "exit -9"})
    assert started == [made.id, later.id]


def test_the_sources_of_the_twin_know_no_table() -> None:
    for name in ("hub_trace", "hub_fleet", "what_if"):
        text = (Path(what_if.__file__).parents[1] / "twin" / f"{name}.py").read_text(encoding="utf-8")
        assert "django" not in text and "fabrique.apps" not in text


# --- power levels ------------------------------------------------------------------------------------------------
def test_a_run_at_a_lower_level_is_replayed_as_it_would_have_gone_at_the_top(desk: Any) -> None:
    now = now_ms()
    fill(desk, days=1, jobs=2)
    job = Job.objects.filter(name="past").latest("number")
    job.spec = {**job.spec, "tolerance_permille": 80}
    job.save()
    Run.objects.filter(job=job).update(
        elapsed_ms=HOUR, bound={"level": {"limit_w": 174, "throughput_permille": 929}, "walltime_ms": 7 * HOUR}
    )
    found = {one.number: one for one in what_if.past(this_hub(), now - 2 * DAY, now + 1)}
    assert found[job.number].run_ms == HOUR * 929 // 1000
    assert found[job.number].tolerance_permille == 80
    others = [one for one in found.values() if one.number != job.number]
    assert others and all(one.tolerance_permille == 0 for one in others)
    assert hub_trace([found[job.number]], "x").tolerance_permille.tolist() == [80]


def test_a_place_whose_levels_are_set_has_them_in_the_twin() -> None:
    offer = Offer(
        partition="gpu", engine="lab", site="hall", kind="a40", device="accelerator", unit=unit("acc-ms:a40"),
        milli_devices=4_000, cores=8, memory_mb=1, device_w=300, core_w=4, core_idle_w=0,
        levels=(Level(174, 929, 776), Level(246, 989, 961), Level(299, 1000)),
    )  # fmt: skip
    own = Own(
        name="x", site="hall", zone=None, cap_w=2_000, base_w=0, pue_permille=1_200, offers=(offer,),
        shares={"union": 1_000_000}, idle_w={}, drawn_mw={"a40": 200_000},
    )  # fmt: skip
    (place,) = hub_fleet(own).places
    told = [(pace.speed_ppm, pace.measured_mw, pace.draw_mw) for pace in place.paces_of("any")]
    assert told == [
        (1_000_000, 360_000, 200_000), (1_000_000, 358_800, 200_000), (989_000, 295_200, 192_200),
        (929_000, 208_800, 155_200),
    ]  # fmt: skip
    (plain,) = hub_fleet(replace(own, offers=(replace(offer, levels=()),))).places
    assert len(plain.paces_of("any")) == 1
