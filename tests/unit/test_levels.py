"""A power level for a job that tolerates a slowdown: what is offered, what the cluster is told, what is charged."""

from __future__ import annotations

import html
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from tests.unit.clusters import CLUSTER, found_on_cluster
from tests.unit.levelled import A40, LEVEL, LEVELLED, SPARING, SWEPT, LevelBench
from tests.unit.scripted import T0

from fabrique.apps import connected
from fabrique.apps.jobs import queries
from fabrique.apps.jobs.models import Job
from fabrique.apps.ledger import services as ledger
from fabrique.apps.ledger.models import Hold
from fabrique.apps.ledger.verify import verify
from fabrique.apps.rules import services as rules_of
from fabrique.apps.this_hub import ThisHub
from fabrique.core import booking
from fabrique.core.admission import levels
from fabrique.core.admission.levels import Level
from fabrique.core.errors import FabriqueError
from fabrique.core.job import JobSpec
from fabrique.core.reasons import reason
from fabrique.core.units import HOUR_MS
from fabrique.definitions import accelerators
from fabrique.definitions import rules as rule_sets
from fabrique.engines.slurm.files import door
from fabrique.engines.slurm.files import levels as level_files
from fabrique.engines.slurm.model import Tres
from fabrique.language.say import Speaker
from fabrique.operate import decide, engines, readopt
from fabrique.operate import event_log as logs
from fabrique.operate.books import Books
from fabrique.twin import event_log

# --- what there is, and what is consented to ------------------------------------------------------------------------


def test_measured_levels_in_watts_of_the_top_limit() -> None:
    a40, h100 = accelerators.catalogue()["a40"], accelerators.catalogue()["h100-sxm"]
    found = levels.of_kind(a40, 300)
    assert found[:2] == (Level(273, 995, 981), Level(246, 989, 961)) and len(found) == len(a40.power_levels)
    assert levels.of_kind(a40, None) == () == levels.of_kind(h100, 700)  # a limit nobody knows; a kind nobody swept
    assert all(level.limit_w >= 200 for level in levels.of_kind(replace(a40, min_limit_w=200), 300))


def test_who_chose_its_power_tolerates_nothing() -> None:
    known = levels.of_kind(accelerators.catalogue()["a40"], 300)
    spec = JobSpec(script="", milli_devices=1000, tolerance_permille=80)
    assert [level.limit_w for level in levels.tolerated(spec, known)] == [273, 246, 201, 174]  # 1 / 0.929 is 1.076
    for other in (replace(spec, power="max"), replace(spec, power=250), replace(spec, tolerance_permille=0)):
        assert levels.tolerated(other, known) == ()
    assert levels.tolerated(replace(spec, milli_devices=0), known) == ()


@pytest.mark.parametrize(("says", "limit"), [({}, 300), ({"levels": False}, None), ({"kind": "h100-sxm"}, None)])
def test_only_a_cluster_that_sets_levels_of_a_swept_kind_offers_any(says: dict[str, Any], limit: int | None) -> None:
    nodes = SWEPT.model_copy(update={k: v for k, v in says.items() if k == "kind"})
    cluster = LEVELLED.model_copy(update={"partitions": (nodes,), **{k: v for k, v in says.items() if k == "levels"}})

    class Deployment:
        clusters = (cluster,)

    Deployment.cluster = cluster  # type: ignore[attr-defined]
    offers = connected.of(Deployment, "", accelerators.catalogue()).offers  # type: ignore[arg-type]
    assert bool(offers[0].levels) is (limit is not None)
    assert offers[1].levels == ()  # of cores


# --- on a cluster ---------------------------------------------------------------------------------------------------


@pytest.fixture
def bench(db: None, settings: Any, tmp_path: Path) -> LevelBench:
    settings.HOME = tmp_path / "home"
    return LevelBench(found_on_cluster(settings.HOME, LEVELLED))


def test_a_job_that_tolerates_it_runs_slower_longer_and_gets_the_time_back(bench: LevelBench) -> None:
    job = bench.asks("#fabrique tolerance: 8%\n")
    bench.turn()
    run = job.runs.get()
    assert run.level == LEVEL
    stretched = -(-100 * 60_000 * 1000 // 929)
    assert run.walltime_ms == stretched == bench.told(job).walltime_ms
    assert bench.told(job).power_limit_w == 174
    assert bench.level_of(job) == level_files.Level("limit_w", 174)
    assert run.bound["power_w"] == 200  # 174 W and a core, in whole licences
    assert bench.told(job).power_w == 200
    hold = booking.account(str(job.allocation_id), "held")
    assert ledger.balance(hold, A40) == stretched

    bench.answer(job, "running", started_ms=bench.now, last_seen_ms=bench.now)
    bench.turn()
    assert queries.explain(job, now=bench.now).ends_by_ms == run.planned_ms + stretched
    ran = 5_000_000
    began = job.runs.get().started_ms or 0
    bench.answer(job, "ended", cause="completed", started_ms=began, ended_ms=began + ran, exit_code=0)
    bench.turn(ran)
    job.refresh_from_db()
    assert job.status == "completed"
    back = ran * (1000 - 929) // 1000
    assert bench.used() == ran - back
    assert ledger.balance("hub:frugality-rebate", A40) == back
    assert ledger.balance(hold, A40) == 0
    assert verify().ok


def finished(bench: LevelBench, ran: int = 5_000_000) -> Job:
    job = bench.asks("#fabrique tolerance: 8%\n")
    bench.turn()
    bench.answer(job, "running", started_ms=bench.now, last_seen_ms=bench.now)
    bench.turn()
    began = job.runs.get().started_ms or 0
    bench.answer(job, "ended", cause="completed", started_ms=began, ended_ms=began + ran, exit_code=0)
    bench.turn(ran)
    return job


def test_what_was_decided_follows_from_the_log_alone(bench: LevelBench) -> None:
    finished(bench)
    bench.asks()
    bench.turn()
    found = event_log.verify(logs.files(bench.here.home / logs.FOLDER))
    assert found.ok and found.decisions >= 2


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", ("174 W a device, 92.9% of full speed", "Given back for it")),
        ("fr", ("174 W par appareil, 92,9 % de la pleine vitesse", "Rendu en échange")),
        ("fr-ca", ("174 W par appareil, 92,9 % de la pleine vitesse", "Rendu en échange")),
    ],
)
def test_the_job_s_page_names_the_level_and_what_it_gave_back(
    bench: LevelBench, client: Client, monkeypatch: pytest.MonkeyPatch, language: str, said: tuple[str, ...]
) -> None:
    job = finished(bench)
    client.force_login(bench.person, backend="allauth.account.auth_backends.AuthenticationBackend")
    monkeypatch.setattr("fabrique.portal.job_page.now_ms", lambda: bench.now)
    client.cookies["fabrique-language"] = language
    page = html.unescape(client.get(f"/jobs/{job.number}").content.decode())
    shown = page.replace("\u00a0", " ").replace("\u202f", " ")
    assert all(words in shown for words in said), shown


@pytest.mark.parametrize("dies", ["submit", "hold", "release"])
def test_one_whose_release_did_not_arrive_is_told_again(
    bench: LevelBench, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    """It is there, held until its level was written: that it is there is not enough."""
    real, away = getattr(bench.slurm, dies), [True]

    def once(*given: Any, **more: Any) -> None:
        if away:
            away.clear()
            raise FabriqueError("engine.unavailable", engine="lab", why="no answer in time")
        real(*given, **more)

    monkeypatch.setattr(bench.slurm, dies, once)
    job = bench.asks("#fabrique tolerance: 8%\n")
    bench.turn()
    assert bench.slurm.released == []
    for _ in range(5):
        bench.turn(3_000)
    assert bench.slurm.released == [bench.intent(job)]
    assert bench.level_of(job) == level_files.Level("limit_w", 174)


@pytest.mark.parametrize(
    "header", ["", "#fabrique tolerance: 8%\n#fabrique power: max\n", "#fabrique tolerance: 0.4%\n"]
)
def test_without_consent_it_runs_as_it_was_asked(bench: LevelBench, header: str) -> None:
    job = bench.asks(header)
    bench.turn()
    run = job.runs.get()
    assert (run.level, run.walltime_ms, bench.told(job).walltime_ms) == (None, 6_000_000, 6_000_000)
    assert bench.told(job).power_limit_w is None and bench.level_of(job) is None


def test_rules_that_choose_no_level_leave_it_at_the_top(bench: LevelBench) -> None:
    bench.loop.rules = rule_sets.load("fair")
    job = bench.asks("#fabrique tolerance: 8%\n")
    bench.turn()
    assert job.runs.get().level is None


def options_of(bench: LevelBench, job: Job, rules: Any = SPARING) -> list[tuple[str, int]]:
    books = Books(bench.here, bench.now)
    row = decide.job_row(bench.here, decide.asked(bench.here, [job], books)[0], rules, books, now=bench.now)
    return [(o.level, o.speed_ppm) for o in row.options]


def test_levels_are_offered_by_energy_to_completion(bench: LevelBench) -> None:
    job = bench.asks("#fabrique tolerance: 8%\n")
    assert options_of(bench, job) == [
        ("174W", 929_000), ("201W", 956_000), ("246W", 989_000), ("273W", 995_000), ("", 1_000_000),
    ]  # fmt: skip
    assert options_of(bench, job, rule_sets.load("fair")) == [("", 1_000_000)]
    most = bench.asks("#fabrique tolerance: 100%\n")  # half the speed, and it takes more energy: no such level is best
    assert options_of(bench, most)[0] == ("174W", 929_000)


def test_no_level_misses_a_deadline_a_limit_of_slurm_s_or_a_budget(bench: LevelBench) -> None:
    late = bench.asks("#fabrique tolerance: 8%\n", deadline=_iso(bench.now + 6_100_000))
    assert options_of(bench, late) == [("246W", 989_000), ("273W", 995_000), ("", 1_000_000)]
    short = tuple(replace(o, longest_ms=6_050_000) for o in bench.here.offers)
    job = bench.asks("#fabrique tolerance: 8%\n")
    books = Books(bench.here, bench.now)
    ask = decide.asked(bench.here, [job], books)[0]
    ask = replace(ask, offers=tuple(o for o in short if o.device == "accelerator"))
    row = decide.job_row(bench.here, ask, SPARING, books, now=bench.now)
    assert [o.level for o in row.options] == ["273W", ""]
    whole = bench.asks("#fabrique tolerance: 8%\n", walltime="99h")
    assert [level for level, _ in options_of(bench, whole)] == ["273W", ""]  # of a hundred hours


def test_the_reason_and_the_queue_name_the_level(bench: LevelBench) -> None:
    job = bench.asks("#fabrique tolerance: 8%\n")
    bench.turn()
    job.refresh_from_db()
    assert job.reason == reason("place.level", partition="gpu", level="174W").as_json()
    for language, said in (("en", "174 W a device"), ("fr", "174 W par appareil"), ("fr-ca", "174 W par appareil")):
        sentence = Speaker(language, "UTC").reason(reason("place.level", partition="gpu", level="174W"))
        assert said in sentence.replace("\u00a0", " ").replace("\u202f", " ")


def test_a_hub_that_sets_levels_may_adopt_rules_that_choose_them(bench: LevelBench) -> None:
    assert rules_of.not_live(bench.here, SPARING) == ()
    plain: ThisHub = ThisHub(
        bench.here.home, bench.here.hub, bench.here.deployment.model_copy(update={"clusters": (CLUSTER,)})
    )
    assert rules_of.not_live(plain, SPARING) == ("levels",)


def test_licences_of_a_run_at_a_level_are_what_was_booked(bench: LevelBench, tmp_path: Path) -> None:
    job = bench.asks("#fabrique tolerance: 8%\n")
    bench.turn()
    spec, state = bench.told(job), tmp_path / "door"
    assert engines.watt_licences(state, LEVELLED, spec) == {}  # the hub never said how many there are
    door.write(state, T0, [], [], door.Licences(50, 100))
    assert engines.watt_licences(state, LEVELLED, spec) == {"fabrique_w@fabrique": 2}
    door.write(state, T0, [], [], door.Licences(1, 100))
    assert engines.watt_licences(state, LEVELLED, spec) == {"fabrique_w@fabrique": 1}
    assert engines.watt_licences(state, LEVELLED, replace(spec, power_limit_w=None)) == {}


def test_what_the_hub_lost_gets_all_back_and_no_rebate_beside(bench: LevelBench) -> None:
    job = bench.asks("#fabrique tolerance: 8%\n")
    bench.turn()
    bench.answer(job, "running", started_ms=bench.now, last_seen_ms=bench.now)
    bench.turn()
    began = job.runs.get().started_ms or 0
    bench.answer(job, "ended", cause="node-failed", started_ms=began, ended_ms=began + HOUR_MS)
    bench.turn(HOUR_MS)
    assert ledger.balance("hub:frugality-rebate", A40) == 0
    assert ledger.balance(booking.LOSSES, A40) == HOUR_MS
    assert verify().ok


def test_the_accounting_s_word_corrects_the_rebate_too(bench: LevelBench) -> None:
    job = bench.asks("#fabrique tolerance: 8%\n")
    bench.turn()
    bench.answer(job, "running", started_ms=bench.now, last_seen_ms=bench.now)
    bench.turn()
    began = job.runs.get().started_ms or 0
    bench.answer(job, "ended", cause="completed", started_ms=began, ended_ms=began + 5_000_000, exit_code=0)
    bench.turn(5_000_000)
    given = Tres(cores=1, nodes=1, gpus={"": 1})
    bench.slurm.ran(70, began, 4_000_000, name=bench.intent(job), user="hub", asked=given, given=given)
    bench.turn(20_000)
    assert job.runs.get().elapsed_ms == 4_000_000
    assert ledger.balance("hub:frugality-rebate", A40) == 4_000_000 * 71 // 1000
    assert bench.used() == 4_000_000 - 4_000_000 * 71 // 1000
    assert verify().ok


@pytest.mark.parametrize(("limit_ms", "level"), [(6_480_000, LEVEL), (6_000_000, None), (None, None)])
def test_after_a_restore_a_run_is_known_at_its_level(
    bench: LevelBench, limit_ms: int | None, level: Level | None
) -> None:
    job = bench.asks("#fabrique tolerance: 8%\n")
    bench.turn()
    run, intent = job.runs.get(), bench.intent(job)
    run.intents.all().delete()
    Hold.objects.filter(pk=run.hold).delete()
    run.delete()
    Job.objects.filter(pk=job.pk).update(status="pending")
    assert readopt.readopt(bench.here, {intent: limit_ms}, now=bench.now) == {intent: job.number}
    assert job.runs.get().level == level


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()
