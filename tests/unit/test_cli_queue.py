"""`fabrique queue`: who sees whose jobs, why they wait, when they start; on wide and narrow terminals; as JSON."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from typer.testing import CliRunner, Result

from fabrique.apps.access import services as access
from fabrique.apps.access.models import ProjectMember
from fabrique.apps.jobs import queue as queues
from fabrique.apps.jobs import services as jobs
from fabrique.apps.jobs.models import Job, Run
from fabrique.apps.now import now_ms
from fabrique.apps.this_hub import this_hub
from fabrique.cli import context, output
from fabrique.cli import queue as cli
from fabrique.cli.main import app
from fabrique.cli.shared import Call
from fabrique.core.reasons import REASONS, reason
from fabrique.language.words import WORDS

SCRIPT = b"#!/bin/sh\n#fabrique walltime: 10m\necho hello\n"
EVERYONE = ("pi", "member", "asker", "stranger", "operator", "coordinator", "reviewer", "funder", "auditor")


@pytest.fixture
def crowd(desk: Any) -> Any:
    """The project's job waits behind one of another project; a third job runs."""
    other = access.decide(desk.waiting, desk.people["coordinator"], True, "ok", now=now_ms()).project
    assert other is not None
    theirs = jobs.submit(desk.people["asker"], other.code, SCRIPT, {"name": "secret-plan"}, now=now_ms())
    runs = jobs.submit(desk.people["pi"], desk.project.code, SCRIPT, {"name": "runs"}, now=now_ms())
    now = now_ms()
    Run.objects.create(
        job=runs, engine="local", partition="this-machine", kind="local-core", unit="core-ms:local-core",
        share_milli=1000, hold=runs.key, state="running", planned_ms=now, started_ms=now - 120_000,
        bound={"power_w": 12},
    )  # fmt: skip
    Job.objects.filter(pk=runs.pk).update(
        status="running", reason=reason("place.only", partition="this-machine").as_json()
    )
    why = reason("wait.cores", partition="this-machine", asked=4000, free=1000).as_json()
    Job.objects.filter(pk=theirs.pk).update(reason=why, forecast={"from_ms": now, "to_ms": now + 60_000})
    behind = reason("wait.behind", job=str(theirs.number)).as_json()
    Job.objects.filter(pk=desk.job.pk).update(reason=behind, forecast={"from_ms": now, "to_ms": now + 120_000})
    desk.theirs, desk.runs, desk.other = theirs, runs, other
    return desk


def run(crowd: Any, who: str, *arguments: str) -> Result:
    call = ["--home", str(settings.HOME), "--as", crowd.people[who].email, "--language", "en", "queue", *arguments]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    return done


def told(crowd: Any, who: str) -> dict[str, Any]:
    return dict(json.loads(run(crowd, who, "--json").stdout))


def at(crowd: Any, who: str, language: str = "en") -> context.Desk:
    here = this_hub()
    call = Call(home=settings.HOME, acting=crowd.people[who].email, language=language)
    return context.Desk(call, here, context.speaker(call, here))


# --- who sees what ------------------------------------------------------------------------------------------------


def test_everyone_sees_the_counts_and_those_with_the_right_the_jobs(crowd: Any) -> None:
    own, others = {crowd.job.number, crowd.runs.number}, {crowd.theirs.number}
    expected = {"pi": own, "member": own, "asker": others, "operator": own | others, "auditor": own | others}
    for who in EVERYONE:
        found = told(crowd, who)
        assert (found["waiting"], found["started"]) == (2, 1)
        assert {j["number"] for j in found["jobs"]} == expected.get(who, set()), who
        assert sum(o["jobs"] for o in found["others"]) == 3 - len(found["jobs"])
        assert [r["jobs"] for r in found["reasons"]] == [1, 1]


@pytest.mark.parametrize("who", ["pi", "coordinator", "funder", "stranger"])
def test_nothing_tells_whose_the_others_are(crowd: Any, who: str) -> None:
    for said in (run(crowd, who).stdout, run(crowd, who, "--json").stdout):
        assert "secret-plan" not in said and crowd.other.code not in said
        assert crowd.people["asker"].email not in said
    counted = told(crowd, who)["others"]
    assert {
        "state": "pending",
        "reason": "wait.cores",
        "pool": "research",
        "device": "core",
        "kinds": [],
        "jobs": 1,
    } in counted
    assert "1 job, share research, for cores: waiting for cores" in run(crowd, who).stdout


def test_ones_own_come_first_also_for_who_sees_all(crowd: Any) -> None:
    from fabrique.apps.access import members

    members.accept(
        members.invite(crowd.other, crowd.people["asker"], now=now_ms()), crowd.people["operator"], now=now_ms()
    )
    found = told(crowd, "operator")["jobs"]
    assert [j["number"] for j in found] == [crowd.theirs.number, crowd.runs.number, crowd.job.number]
    assert [j["mine"] for j in found] == [True, False, False]
    said = run(crowd, "operator").stdout
    assert said.index("Of your projects") < said.index("secret-plan") < said.index("Of other projects")


def test_a_member_who_left_sees_it_no_more(crowd: Any) -> None:
    gone = ProjectMember.objects.filter(project=crowd.project, person=crowd.people["member"])
    assert gone.update(until_ms=now_ms() - 1) == 1
    assert told(crowd, "member")["jobs"] == []


# --- what is said -------------------------------------------------------------------------------------------------


def test_a_job_says_place_ask_reason_forecast_and_level(crowd: Any) -> None:
    found = {j["number"]: j for j in told(crowd, "operator")["jobs"]}
    waits, first, runs = found[crowd.job.number], found[crowd.theirs.number], found[crowd.runs.number]
    assert (first["place"], waits["place"], runs["place"]) == (1, 2, None)
    assert waits["reason"]["code"] == "wait.behind" and str(crowd.theirs.number) in waits["reason"]["sentence"]
    assert waits["asks"] == {
        "milli_devices": 0, "cores": 1, "nodes": 1, "kinds": [], "walltime_ms": 600_000, "power": "auto"
    }  # fmt: skip
    assert waits["starts"]["to_ms"] > waits["starts"]["from_ms"] and waits["ends_by_ms"] is None
    assert runs["starts"] is None and runs["ends_by_ms"] == runs["since_ms"] + 600_000
    assert (runs["power_w"], runs["kind"], runs["partition"]) == (12, "local-core", "this-machine")
    assert waits["since_ms"] == waits["submitted_ms"] == crowd.job.submitted_ms


def test_one_sentence_says_why_all_wait_that_lack_the_same(crowd: Any) -> None:
    """What each asks for is said as a range; another partition is another reason."""
    now = now_ms()
    more = [jobs.submit(crowd.people["pi"], crowd.project.code, SCRIPT, {}, now=now) for _ in range(4)]
    lacks = [
        reason("wait.power", site="hub", asked_w=w, free_w=free) for w, free in ((600, 90), (5_000, 90), (700, 80))
    ]
    lacks += [reason("wait.power", site="annex", asked_w=10, free_w=5)]
    for job, why in zip(more, lacks, strict=True):
        Job.objects.filter(pk=job.pk).update(reason=why.as_json())
    lines = [line for line in run(crowd, "pi").stdout.replace("\u202f", " ").replace("\xa0", " ").splitlines() if line]
    said = [line for line in lines if line.startswith("Waiting for power")]
    assert said == [
        "Waiting for power at hub: it may draw 600 W to 5 kW, and 80 W to 90 W are left under the cap.",
        "Waiting for power at annex: it may draw 10 W, and 5 W are left under the cap.",
    ]
    place = lines.index(said[0])
    assert all(str(job.number) in line for job, line in zip(more, lines[place + 1 : place + 4], strict=False))
    assert lines.index(said[1]) == place + 4


def test_a_forecast_that_is_past_is_now_and_one_that_is_not_known_comes_last(crowd: Any) -> None:
    Job.objects.filter(pk=crowd.theirs.pk).update(forecast={})
    Job.objects.filter(pk=crowd.job.pk).update(forecast={"from_ms": 0, "to_ms": 1})
    found = {j["number"]: j for j in told(crowd, "operator")["jobs"]}
    starts = found[crowd.job.number]["starts"]
    assert starts["from_ms"] == starts["to_ms"] and found[crowd.job.number]["place"] == 1
    assert found[crowd.theirs.number]["starts"] is None and found[crowd.theirs.number]["place"] == 2
    assert "not known" in run(crowd, "asker").stdout


def test_jobs_that_share_a_reason_stand_under_one_sentence(crowd: Any) -> None:
    why = reason("wait.cores", partition="this-machine", asked=4000, free=1000)
    Job.objects.filter(status="pending").update(reason=why.as_json())
    said = run(crowd, "operator").stdout
    assert said.startswith("2 jobs wait, 1 has started.\n  2  waiting for cores\n")
    own = said[said.index("Of your projects") if "Of your projects" in said else said.index("Of other projects") :]
    assert own.count("Waiting for cores on this-machine") == 1
    assert own.count("starts by") == 2 and own.count("ends by") == 1


def test_what_is_said_in_the_same_words_is_counted_together(crowd: Any) -> None:
    for job, code, params in (
        (crowd.job, "refuse.no-budget-in-kind", {"kind": "h100-sxm"}),
        (crowd.theirs, "refuse.power", {"asked_w": 2, "most_w": 1}),
    ):
        Job.objects.filter(pk=job.pk).update(reason=reason(code, **params).as_json())
    assert run(crowd, "pi").stdout.startswith("2 jobs wait, 1 has started.\n  2  not able to start as asked\n")


def test_the_next_command_is_the_useful_one(crowd: Any) -> None:
    assert re.search(rf"sooner: .*why {crowd.job.number}$", run(crowd, "pi").stdout.rstrip())
    Job.objects.filter(pk=crowd.job.pk).update(status="cancelled")
    assert re.search(rf"log {crowd.runs.number} --follow$", run(crowd, "pi").stdout.rstrip())
    assert run(crowd, "stranger").stdout.rstrip().endswith("submit SCRIPT --wait")


def test_a_queue_that_is_empty_says_so(crowd: Any) -> None:
    Job.objects.update(status="completed")
    assert run(crowd, "pi").stdout.startswith("Nothing waits and nothing runs")
    found = told(crowd, "pi")
    assert (found["waiting"], found["started"], found["jobs"], found["others"], found["reasons"]) == (0, 0, [], [], [])


def test_more_than_is_asked_for_is_counted(crowd: Any) -> None:
    said = run(crowd, "operator", "--most", "1").stdout
    assert "2 more are not shown" in said and said.count("10\u00a0min") == 1
    assert CliRunner().invoke(app, ["queue", "--most", "0"]).exit_code == 2


def test_what_jobs_are_called_moves_no_cursor_and_breaks_no_line(crowd: Any) -> None:
    Job.objects.filter(pk=crowd.job.pk).update(name="\x1b[31mred\n\u202egnp")
    said = run(crowd, "pi").stdout
    assert "\x1b" not in said and "\u202e" not in said
    assert any("red" in line and "gnp" in line for line in said.splitlines())


def test_a_reason_of_another_version_breaks_nothing(crowd: Any) -> None:
    Job.objects.filter(pk=crowd.job.pk).update(reason={})
    said = run(crowd, "pi").stdout
    assert "not looked at yet" in said and "Not looked at yet" in said


# --- terminals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "fr", "fr-ca"])
@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 120, 200])
def test_the_table_fits_the_terminal(crowd: Any, width: int, language: str) -> None:
    Job.objects.filter(pk=crowd.job.pk).update(name=("a-name-that-is-as-long-as-a-name-may-be-長い名前-" * 2)[:80])
    desk = at(crowd, "operator", language)
    seen = queues.queue_for(desk.person, now=desk.now)
    lines = [text for text, _ in cli.frame(desk, seen, 50, width)]
    forecast = "starts by" if language == "en" else "démarre avant"
    rows = [text for text in lines if forecast in text]
    assert len(rows) == 2, "number and forecast are never left out"
    assert all(output.cells(text) <= max(width, 30) for text in rows), rows
    assert all(re.search(rf"\b({crowd.job.number}|{crowd.theirs.number})\b", text) for text in rows)
    assert all("…" in text for text in rows if "a-name" in text and width < 80)
    assert ("10\u00a0min" in "".join(rows)) is (width >= 80)


def test_a_wide_terminal_shows_every_column(crowd: Any) -> None:
    desk = at(crowd, "operator")
    lines = [text for text, _ in cli.frame(desk, queues.queue_for(desk.person, now=desk.now), 50, 200)]
    head = next(text for text in lines if text.lstrip().startswith("place"))
    for column in ("job", "name", "project", "asks for", "at most", "power", "since", "forecast"):
        assert column in head
    assert any("12\u00a0W" in text and "ends by" in text for text in lines)
    assert any("chosen by the hub" in text for text in lines)


@pytest.mark.parametrize(("text", "columns", "right", "fits"), [
    ("abc", 5, False, "abc  "), ("abc", 5, True, "  abc"), ("abcdef", 4, False, "abc…"), 
    ("長い名前", 5, False, "長い…"), ("長い名前", 4, False, "長… "), ("a\nb", 3, False, "a b"),
])  # fmt: skip
def test_a_cell_has_exactly_its_columns(text: str, columns: int, right: bool, fits: str) -> None:
    assert output.fitted(text, columns, right=right) == fits and output.cells(fits) == columns


# --- watching -----------------------------------------------------------------------------------------------------


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`turns(act, act, …)`: what happens while the watch sleeps; then Ctrl-C."""

    def plan(*acts: Callable[[], object]) -> None:
        left = list(acts)

        def sleep(seconds: float) -> None:
            assert seconds == cli.EVERY_S
            if not left:
                raise KeyboardInterrupt
            left.pop(0)()

        monkeypatch.setattr("fabrique.cli.queue.time.sleep", sleep)

    return plan


def test_a_watch_says_only_what_changed(crowd: Any, turns: Callable[..., None]) -> None:
    def nothing() -> None: ...

    turns(nothing, lambda: Job.objects.filter(pk=crowd.job.pk).update(status="cancelled"), nothing)
    call = ["--home", str(settings.HOME), "--as", crowd.people["pi"].email, "queue", "--watch"]
    done = CliRunner().invoke(app, [*call, "--json"])
    assert done.exit_code == 130
    assert [json.loads(line)["waiting"] for line in done.stdout.splitlines()] == [2, 1]


def test_on_a_terminal_it_is_written_over(
    crowd: Any, turns: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[tuple[str, str]]] = []

    class Redrawn:
        def __enter__(self) -> Callable[[list[tuple[str, str]]], None]:
            return drawn.append

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(output, "on_terminal", lambda: True)
    monkeypatch.setattr(output, "redrawn", Redrawn)
    turns(lambda: Job.objects.filter(pk=crowd.job.pk).update(status="cancelled"))
    call = ["--home", str(settings.HOME), "--as", crowd.people["pi"].email, "--language", "en", "queue", "-w"]
    assert CliRunner().invoke(app, call).exit_code == 130
    assert [frame[0][0] for frame in drawn] == ["2 jobs wait, 1 has started.", "1 job waits, 1 has started."]


def test_what_is_redrawn_keeps_its_spaces_and_its_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    written = Terminal()
    monkeypatch.setattr("sys.stdout", written)
    monkeypatch.setenv("TERM", "xterm")
    output._console.cache_clear()
    try:
        with output.redrawn() as draw:
            draw([("since 2\u00a0min", "bold"), ("10\u202fh\x1b[2J", "")])
            draw([("since 3\u00a0min", "")])
    finally:
        output._console.cache_clear()
    said = written.getvalue()
    assert "since 2\u00a0min" in said and "since 3\u00a0min" in said and "10\u202fh" in said
    assert "\ue000" not in said and "\x1b[2J" not in said


# --- cost and words -----------------------------------------------------------------------------------------------


def test_the_number_of_queries_does_not_grow_with_the_queue(crowd: Any, django_assert_max_num_queries: Any) -> None:
    rows = []
    for number in range(300):
        job = Job.objects.get(pk=crowd.theirs.pk)
        job.pk, job.key = None, f"00000000-0000-4000-8000-{number:012d}"
        rows.append(job)
    Job.objects.bulk_create(rows)
    person = crowd.people["operator"]
    with django_assert_max_num_queries(6) as found:
        seen = queues.queue_for(person, now=now_ms())
        assert [q.job.allocation.pool + q.job.project.code for q in seen.jobs]
    assert len(seen.jobs) == 303
    assert not any('"script"' in q["sql"] for q in found.captured_queries), "scripts may be large"


def test_every_reason_to_wait_has_its_words() -> None:
    known = set(WORDS["waits"])
    assert {code for code in REASONS if code.startswith("wait.")} <= known
    assert known <= set(REASONS) | {"wait.*", "refuse.*", "end.*", "preempt.*", ".*"}
