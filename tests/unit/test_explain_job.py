"""What a person is told of a waiting job: by the page, the command line, and what comes true when they follow it."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import pytest
from tests.unit.scripted import Bench, ended, running

from fabrique.apps.jobs import services as jobs
from fabrique.apps.jobs.models import HubState, Run
from fabrique.core.admission.explain import Change, Explained
from fabrique.language import Speaker
from fabrique.language.sooner import sentence
from fabrique.operate import why as explaining

MINUTE = 60_000


@pytest.fixture
def bench(here: Any) -> Bench:
    return Bench(here)


def told(bench: Bench, job: Any) -> Explained:
    job.refresh_from_db()
    found = explaining.why(bench.here, job, now=bench.now)
    assert found is not None
    return found


def test_fewer_cores_would_start_it_now_and_do(bench: Bench) -> None:
    run = running(bench).runs.get()
    waiting = bench.submit(cores="2")
    bench.turn()
    found = told(bench, waiting)
    assert found.reason is not None
    assert found.reason.code == "wait.cores"
    assert found.latest_ms == (run.started_ms or 0) + 10 * MINUTE
    assert found.earliest_ms == bench.now  # too few runs have ended here to know how long they take
    (change,) = found.changes
    assert (change.kind, change.before, change.after, change.starts_ms) == ("cores", 2_000, 1_000, bench.now)
    jobs.cancel(waiting, bench.person, now=bench.now)
    follow = bench.submit(cores="1")
    bench.turn()
    assert bench.status(follow) == "starting"


def test_a_shorter_walltime_fits_before_the_reservation(bench: Bench) -> None:
    running(bench)
    bench.submit(cores="2")
    waiting = bench.submit(cores="1", walltime="1h")
    bench.turn()
    found = told(bench, waiting)
    assert found.reason is not None
    assert found.reason.code == "wait.behind"
    (change,) = [c for c in found.changes if c.kind == "walltime"]
    assert (change.starts_ms, change.before) == (bench.now, 60 * MINUTE)
    follow = bench.submit(cores="1", walltime=f"{int(change.after) // MINUTE}m")
    bench.turn()
    assert bench.status(follow) == "starting"


def test_how_long_jobs_run_here_is_learnt_from_enough_of_them(bench: Bench) -> None:
    job = running(bench)
    ended(bench, job, after_ms=2 * MINUTE)
    assert explaining.typical_permille() is None
    whole = job.runs.get()
    kept = {f.attname: getattr(whole, f.attname) for f in Run._meta.fields}
    more = [Run(**{**kept, "id": uuid.uuid4(), "hold": uuid.uuid4(), "attempt": n}) for n in range(2, 30)]
    Run.objects.bulk_create(more)
    assert explaining.typical_permille() == 200


def test_a_job_that_does_not_wait_is_not_explained(bench: Bench) -> None:
    job = running(bench)
    job.refresh_from_db()
    assert explaining.why(bench.here, job, now=bench.now) is None


def test_while_the_hub_only_observes_nothing_is_foretold(bench: Bench) -> None:
    waiting = bench.submit()
    HubState.objects.update(observe_only=True)
    found = told(bench, waiting)
    assert found.reason is not None
    assert (found.reason.code, found.latest_ms, found.changes) == ("wait.observe-only", None, ())


def test_asking_changes_nothing(bench: Bench) -> None:
    running(bench)
    waiting = bench.submit(cores="2")
    bench.turn()
    before = HubState.objects.values().get()
    first, second = told(bench, waiting), told(bench, waiting)
    assert first == second
    assert HubState.objects.values().get() == before


CHANGES = {
    Change(kind="walltime", before=24 * 60 * MINUTE, after=4 * 60 * MINUTE, starts_ms=0, extra_ms=0,
           energy_permille=1000): "With a walltime of 4 h instead of 1 d: it starts now.",
    Change(kind="power", before=750, after=420, starts_ms=0, extra_ms=6 * MINUTE, energy_permille=690):
        "At 420 W per accelerator instead of 750 W: it starts now, and may run 6 min longer, using 31% less energy.",
    Change(kind="devices", before=4_000, after=2_000, starts_ms=0, extra_ms=None, energy_permille=None):
        "With 2 instead of 4 accelerators: it starts now, how long it then runs is not known.",
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_said_in_one_line(change: Change) -> None:
    said = sentence(Speaker("en", "America/Toronto"), change, 0)
    assert said.replace("\u00a0", " ").replace("\u202f", " ") == CHANGES[change]


@pytest.mark.parametrize("language", ["fr", "fr-ca"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_said_in_french_with_its_spaces(language: str, change: Change) -> None:
    said = sentence(Speaker(language, "Europe/Luxembourg"), change, 0)
    assert re.search(r"[^\u00a0\u202f][:;!?]", re.sub(r"\d:\d", "", said)) is None
    assert "'" not in said
    assert said != sentence(Speaker("en", "Europe/Luxembourg"), change, 0)


def test_the_page_answers_in_its_first_line(desk: Any) -> None:
    page = desk.client("member").get(f"/jobs/{desk.job.number}/sooner")
    assert page.status_code == 200
    assert f"Job {desk.job.number} starts at the next turn" in page.content.decode()
    HubState.objects.update_or_create(pk=1, defaults={"observe_only": True})
    page = desk.client("member").get(f"/jobs/{desk.job.number}/sooner").content.decode()
    assert "only observes" in page
    assert "No start can be foretold" in page
    assert "sooner" in desk.client("member").get(f"/jobs/{desk.job.number}").content.decode()
    assert desk.client("stranger").get(f"/jobs/{desk.job.number}/sooner").status_code == 403


def test_the_command_says_it_too(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fabrique.cli import waiting
    from fabrique.cli.context import Desk
    from fabrique.cli.shared import Call

    running(bench)
    job = bench.submit(cores="2")
    bench.turn()
    job.refresh_from_db()
    monkeypatch.setattr("fabrique.apps.now.now_ms", lambda: bench.now)
    for call in (Call(), Call(json=True)):
        waiting.tell(Desk(call, bench.here, Speaker("en", "America/Toronto")), job)
    said = capsys.readouterr().out
    assert "What would start it sooner:" in said
    told_json = json.loads(said[said.index("{") :])
    assert "changes" in told_json["sooner"]
