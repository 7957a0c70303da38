"""Pages of people's work: what is asked, what is kept, what is told, what is refused."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from fabrique.apps.access.models import Application
from fabrique.apps.audit.models import Record
from fabrique.apps.jobs import forms as job_forms
from fabrique.apps.jobs.models import HubState, Job
from fabrique.apps.ledger.models import Entry, Posting
from fabrique.apps.now import now_ms
from fabrique.apps.people import services as people
from fabrique.definitions import jobscript

pytestmark = pytest.mark.django_db
MODE = "/apply/lasalle_startup"


def text(response: Any) -> str:
    """The page's words, without markup."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", response.content.decode())).replace("\u00a0", " ")


# --- applying -----------------------------------------------------------------------------------------------------


def test_the_doors_say_who_how_much_how_long_how_fast_and_who_decides(desk: Any) -> None:
    said = text(desk.client().get("/apply"))
    for words in (
        "3 ways to computing time",
        "startup",
        "1 to 5,000 hours",
        "1, 2, 3 months",
        "At once",
        "2 working days",
    ):
        assert words in said, words
    assert "not for your kind of organisation" in text(desk.client("asker").get("/apply"))


def test_the_organisation_is_told_once_and_prefilled(desk: Any) -> None:
    client = desk.client("stranger")
    asked = client.get(MODE)
    assert (asked.status_code, asked.headers["Location"]) == (302, f"/organisation?next={MODE}")
    wrong = client.post("/organisation", {"name": "", "kind": "spaceship", "country": "XX", "next": MODE})
    assert wrong.status_code == 400
    assert people.organisation_of(desk.people["stranger"], now=now_ms()) is None
    told = {"name": "Forêts <b>&</b> Cie", "kind": "startup", "country": "CA"}
    done = client.post("/organisation", {**told, "next": "//evil.example/"})
    assert done.headers["Location"] == "/apply"
    page = client.get(MODE).content.decode()
    assert "Forêts &lt;b&gt;" in page and "<b>&</b>" not in page
    assert re.search(r'<option value="startup" selected>', page)
    assert re.search(r'<option value="CA" selected>', page)


def test_a_draft_is_kept_as_typed_and_judged_as_it_is_typed(desk: Any) -> None:
    client = desk.client("pi")
    sent = {"title": "Half", "hours": "a lot", "country": "FR", "organisation_kind": "startup", "nothing": "of ours"}
    live = client.post(MODE, {**sent, "action": "save"}, headers={"X-Fragment": "1"})
    assert "not eligible" in text(live) and "established in France" in text(live)
    assert "<html" not in live.content.decode()
    draft = Application.objects.get(applicant=desk.people["pi"], state="draft")
    assert draft.form == {k: v for k, v in sent.items() if k != "nothing"}
    page = client.get(MODE).content.decode()
    assert 'value="a lot"' in page and "Write a whole number." in page
    client.post(MODE, {**sent, "title": "Whole", "action": "save"})
    assert Application.objects.get(applicant=desk.people["pi"], state="draft").form["title"] == "Whole"


def test_an_incomplete_form_is_not_sent_and_keeps_everything(desk: Any) -> None:
    client = desk.client("pi")
    sent = desk.form("lasalle_startup", title="Kept", summary="Kept too")
    sent.pop("ethics.misuse")
    response = client.post(MODE, {**sent, "action": "submit"})
    assert response.status_code == 400
    assert "Not submitted yet" in text(response)
    assert response.content.decode().count("This is needed.") == 1
    assert Application.objects.get(applicant=desk.people["pi"], state="draft").form["title"] == "Kept"


def _in_a_startup(person: Any) -> None:
    people.join(person, people.create_organisation("New & Co", "startup", "CA", now=now_ms()), now=now_ms())


def test_a_decision_comes_at_once_with_its_reasons_and_the_next_step(desk: Any) -> None:
    _in_a_startup(desk.people["stranger"])
    client = desk.client("stranger")
    done = client.post(MODE, {**desk.form("lasalle_startup"), "action": "submit"}, follow=True)
    said = text(done)
    assert "10 core-hours (this machine) are yours until" in said
    assert "Rule by rule" in said and "What was answered" in said
    assert (
        f"/projects/{Application.objects.get(state='awarded', applicant=desk.people['stranger']).project.code}"
        in done.content.decode()
    )


def test_who_is_not_eligible_reads_which_rule_and_the_other_doors(desk: Any) -> None:
    client = desk.client("pi")
    sent = {**desk.form("lasalle_startup", hours="900000"), "action": "submit"}
    done = client.post(MODE, sent, follow=True)
    said = text(done)
    assert "Not eligible" in said and "You ask for 900,000 hours" in said and "Other doors" in said
    assert "/apply/lasalle_research" in done.content.decode()


def test_an_officer_reads_what_would_be_granted_and_is_warned(desk: Any) -> None:
    page = desk.client("coordinator").get(f"/applications/{desk.waiting.id}")
    said = text(page)
    assert "Accepting grants 10 core-hours (this machine) from the pool" in said
    assert "It would last a month only." in said
    Application.objects.filter(pk=desk.waiting.pk).update(due_ms=1, form={**desk.waiting.form, "hours": "90000"})
    said = text(desk.client("coordinator").get(f"/applications/{desk.waiting.id}"))
    assert "The answer was due on" in said and "less than is asked" in said


@pytest.mark.parametrize(("decision", "state"), [("accept", "awarded"), ("refuse", "refused")])
def test_an_officers_decision_has_a_note_and_leaves_a_record(desk: Any, decision: str, state: str) -> None:
    client, address = desk.client("operator"), f"/applications/{desk.waiting.id}/decide"
    assert client.post(address, {"decision": decision, "note": " "}).status_code == 400
    assert client.post(address, {"decision": "perhaps", "note": "x"}).status_code == 400
    assert client.post(address, {"decision": decision, "note": "Read <i>it</i>"}).status_code == 302
    desk.waiting.refresh_from_db()
    assert desk.waiting.state == state
    assert Record.objects.filter(action="application.decide").count() == 1
    page = desk.client("asker").get(f"/applications/{desk.waiting.id}").content.decode()
    assert "Read &lt;i&gt;it&lt;/i&gt;" in page
    assert client.post(address, {"decision": decision, "note": "again"}).status_code == 409


def test_an_application_can_be_withdrawn_once(desk: Any) -> None:
    address = f"/applications/{desk.waiting.id}/withdraw"
    assert desk.client("asker").post(address).status_code == 302
    assert desk.client("asker").post(address).status_code == 409
    desk.waiting.refresh_from_db()
    assert desk.waiting.state == "withdrawn"


# --- projects -----------------------------------------------------------------------------------------------------


def test_the_project_answers_in_its_first_lines_and_gives_the_lines_to_copy(desk: Any) -> None:
    page = desk.client("member").get(f"/projects/{desk.project.code}")
    said = text(page)
    assert re.search(r"0 of 10 core-hours \(this machine\) used; 10 still bookable; ends on .+ \(in \d+ days\)", said)
    assert f"#fabrique project: {desk.project.code}" in said
    for words in ("Data deleted", "The sentence for your paper", "Pace needed a day", "even pace"):
        assert words in said, words
    assert "Make an invitation link" not in said and "Remove" not in said
    assert "Make an invitation link" in text(desk.client("pi").get(f"/projects/{desk.project.code}"))


def test_every_page_escapes_what_people_wrote(desk: Any) -> None:
    hostile = "<script>alert(1)</script>\"'&"
    desk.project.title = hostile
    desk.project.save()
    Job.objects.filter(pk=desk.job.pk).update(name=hostile[:80], script="#!/bin/sh\n" + hostile)
    code, number = desk.project.code, desk.job.number
    for address in ("/projects", f"/projects/{code}", f"/projects/{code}/submit", "/jobs", f"/jobs/{number}"):
        page = desk.client("pi").get(address).content.decode()
        assert "<script>alert" not in page, address
    assert "<script>alert" not in desk.client("pi").get(f"/statements/{code}.html").content.decode()


@pytest.mark.parametrize("period", ["", "?period=all", "?period=2026-01"])
def test_a_statement_is_a_page_a_pdf_and_a_json_file(desk: Any, period: str) -> None:
    client = desk.client("member")
    page = client.get(f"/statements/{desk.project.code}.html{period}")
    assert page.status_code == 200 and desk.project.code in text(page)
    made = client.get(f"/statements/{desk.project.code}.json{period}")
    assert made.headers["Content-Disposition"] == f'attachment; filename="statement-{desk.project.code}.json"'
    assert json.loads(made.content)["schema"].startswith("fabrique-statement/")


def test_a_pdf_is_one(desk: Any) -> None:
    made = desk.client("member").get(f"/statements/{desk.project.code}.pdf")
    assert made.content.startswith(b"%PDF-") and made.headers["Content-Type"] == "application/pdf"


def test_a_period_that_is_none_is_refused(desk: Any) -> None:
    client = desk.client("operator")
    for period in ("2026-13", "2026", "9999-99", "0000-01", "２０２６-01", "2026-1a", "x" * 3000):
        assert client.get(f"/statements/{desk.project.code}.json", {"period": period}).status_code == 400, period
    assert client.get("/statements/pool/nothing.json").status_code == 404


# --- jobs ---------------------------------------------------------------------------------------------------------


def test_every_key_of_a_header_is_explained() -> None:
    assert set(job_forms.HEADER) == set(jobscript.KEYS)


def test_a_script_is_submitted_from_text_or_file_with_flags_above_its_header(desk: Any) -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile

    client, address = desk.client("member"), f"/projects/{desk.project.code}/submit"
    typed = {"script": "#!/bin/sh\r\n#fabrique cores: 1\r\necho hi\r\n", "flag-walltime": "5m", "flag-name": "typed"}
    done = client.post(address, typed)
    job = Job.objects.order_by("-number").first()
    assert job is not None and done.headers["Location"] == f"/jobs/{job.number}"
    assert (job.name, job.spec["walltime_ms"], "\r" in job.script) == ("typed", 300_000, False)
    file = SimpleUploadedFile("train.sh", b"#!/bin/sh\n#fabrique name: filed\ntrue\n")
    client.post(address, {"script": "not this", "file": file})
    filed = Job.objects.order_by("-number").first()
    assert filed is not None and filed.name == "filed"


def test_complaints_name_their_line_and_the_text_stays(desk: Any) -> None:
    client, before = desk.client("pi"), Job.objects.count()
    sent = {"script": "#!/bin/sh\n#fabrique walltime: soon\n#fabrique cpus: 3\n", "flag-memory": "<4>"}
    response = client.post(f"/projects/{desk.project.code}/submit", sent)
    said = text(response)
    assert response.status_code == 400 and Job.objects.count() == before
    assert "3 things to mend" in said and "line 2" in said and "line 3" in said and "memory" in said
    page = response.content.decode()
    assert "#fabrique walltime: soon" in page and 'value="&lt;4&gt;"' in page


@pytest.mark.parametrize(
    "script", [b"", b"\xff\xfe\0", b"#!/bin/sh\n\0", b"#" * 1_100_000, b"#!/bin/sh\r\n#fabrique x\r\n"]
)
def test_hostile_scripts_are_complaints(desk: Any, script: bytes) -> None:
    from django.core.files.uploadedfile import SimpleUploadedFile

    sent = {"file": SimpleUploadedFile("x", script), "script": script.decode("latin-1")[:2000]}
    response = desk.client("pi").post(f"/projects/{desk.project.code}/submit", sent)
    assert response.status_code == 400
    assert "Nothing was submitted." in text(response)


def test_a_job_that_could_never_start_is_refused_with_its_reason(desk: Any) -> None:
    sent = {"script": "#!/bin/sh\n#fabrique cores: 9999\ntrue\n"}
    response = desk.client("pi").post(f"/projects/{desk.project.code}/submit", sent)
    assert response.status_code == 409 and "could never start" in text(response) and "9,999" in text(response)


def test_the_queue_is_public_and_names_nobody(desk: Any) -> None:
    page = desk.client("stranger").get("/jobs")
    assert "1 job is in the queue, 1 waiting" in text(page)
    assert desk.project.code not in page.content.decode()
    assert f"/jobs/{desk.job.number}" not in page.content.decode()
    assert desk.project.code in desk.client("pi").get("/jobs").content.decode()
    assert "1 core," in text(page) and "1 cores" not in text(page)


def test_a_waiting_job_is_cancelled_at_once_a_running_one_when_its_number_is_typed(desk: Any) -> None:
    client, address = desk.client("member"), f"/jobs/{desk.job.number}/cancel"
    Job.objects.filter(pk=desk.job.pk).update(status="running")
    told = client.post(address, {"confirm": "yes"}, follow=True)
    assert "type the job's number" in text(told).replace("&#x27;", "'")
    desk.job.refresh_from_db()
    assert desk.job.cancel_ms is None
    client.post(address, {"confirm": str(desk.job.number)})
    desk.job.refresh_from_db()
    assert desk.job.cancel_ms is not None
    Job.objects.filter(pk=desk.job.pk).update(status="pending", cancel_ms=None)
    client.post(address)
    desk.job.refresh_from_db()
    assert desk.job.status == "cancelled"
    assert client.post(address, {"confirm": str(desk.job.number)}).status_code == 409


def test_an_operator_sees_a_job_but_never_what_it_prints(desk: Any) -> None:
    assert "What it printed" not in text(desk.client("operator").get(f"/jobs/{desk.job.number}"))
    assert "What it printed" in text(desk.client("member").get(f"/jobs/{desk.job.number}"))


def test_a_job_without_a_log_says_so(desk: Any) -> None:
    client = desk.client("member")
    assert client.get(f"/jobs/{desk.job.number}/log").status_code == 404
    assert client.get(f"/jobs/{desk.job.number}/log.txt").status_code == 404
    assert client.get("/jobs/999999999999999999999/log").status_code == 404


# --- the machine room ---------------------------------------------------------------------------------------------


def test_the_machine_room_says_what_waits_and_what_does_not_work(desk: Any) -> None:
    said = text(desk.client("operator").get("/operate"))
    assert "The control loop does not turn" in said
    assert "Proteins" in said and "nvml" in said and "untested on hardware" in said
    HubState.objects.filter(pk=1).update(last_cycle_ms=now_ms())
    assert "1 application waits for a decision" in text(desk.client("operator").get("/operate"))


def test_resuming_names_its_consequences_and_is_typed(desk: Any) -> None:
    HubState.objects.filter(pk=1).update(observe_only=True, observe_only_since_ms=now_ms())
    client = desk.client("operator")
    assert "1 waiting job will start" in text(client.get("/operate"))
    assert 'action="/operate/resume"' not in desk.client("coordinator").get("/operate").content.decode()
    client.post("/operate/resume", {"confirm": "yes"})
    assert HubState.objects.get(pk=1).observe_only
    client.post("/operate/resume", {"confirm": "ca-lasalle-hub"})
    assert not HubState.objects.get(pk=1).observe_only
    assert Record.objects.filter(action="operate.resume", actor=str(desk.people["operator"].id)).count() == 1


def test_verifying_recomputes_and_names_the_first_divergence(desk: Any) -> None:
    client, entries = desk.client("auditor"), Entry.objects.count()
    said = text(client.post("/operate/verify", follow=True))
    assert "all agrees" in said and f"{entries} entries" in said
    first = Posting.objects.order_by("entry_id", "position").first()
    assert first is not None
    Posting.objects.filter(pk=first.pk).update(amount=first.amount + 1)
    said = text(client.post("/operate/verify", follow=True))
    assert "does not agree" in said and f"entry {first.entry_id}," in said


def test_the_record_pages_back(desk: Any) -> None:
    client = desk.client("auditor")
    for n in range(60):
        Record.objects.create(at_ms=n, actor="loop", action="test", subject=f"n:{n}", detail={"a": "<b>"})
    page = client.get("/operate/record")
    assert "&lt;b&gt;" in page.content.decode()
    earlier = re.search(r"\?before=(\d+)", page.content.decode())
    assert earlier is not None
    assert "job.submit" in text(client.get(f"/operate/record?before={earlier[1]}"))
    for before in ("x", "-1", "9" * 30, "１"):
        assert client.get("/operate/record", {"before": before}).status_code == 400


# --- any request --------------------------------------------------------------------------------------------------


def test_writes_need_their_token(desk: Any) -> None:
    client = desk.client("pi", enforce_csrf_checks=True)
    for address in (MODE, "/organisation", f"/jobs/{desk.job.number}/cancel", f"/projects/{desk.project.code}/submit"):
        assert client.post(address, {"action": "save"}).status_code == 403, address


@pytest.mark.parametrize(
    "address", ["/apply/%00", "/projects/%00", "/jobs/%E2%92%8E", "/applications/x", "/statements/..%2f.json"]
)
def test_hostile_addresses_are_no_fault_of_ours(desk: Any, address: str) -> None:
    assert desk.client("operator", raise_request_exception=False).get(address).status_code == 404


def test_hostile_fields_are_no_fault_of_ours(desk: Any) -> None:
    client = desk.client("pi", raise_request_exception=False)
    hostile = "\0\ud83d\u202e" + "9" * 5000
    for address, fields in (
        (MODE, ("title", "hours", "country", "kind", "founded", "ethics.misuse")),
        ("/organisation", ("name", "kind", "country", "next")),
        (f"/projects/{desk.project.code}/submit", ("script", "flag-walltime", "flag-name")),
        (f"/projects/{desk.project.code}/members/remove", ("person", "confirm")),
    ):
        sent = {f: hostile.encode("utf-8", "surrogatepass") for f in fields}
        assert client.post(address, sent).status_code < 500, address


def test_a_job_by_a_cluster_s_own_door_is_found_by_its_name_there(desk: Any) -> None:
    Job.objects.filter(pk=desk.job.pk).update(door="lab", outside_id="4711_3", login="ada")
    client, here = desk.client("pi"), f"/jobs/{desk.job.number}"
    page = client.get(here).content.decode()
    assert "job 4711_3 at the cluster" in page and "its output stay there" in page
    assert "What it printed" not in page and "what it prints will show here" not in page
    for listed in ("/jobs", f"/projects/{desk.project.code}"):
        assert "(4711_3)" in client.get(listed).content.decode()
    for asked in ("4711_3", "4711", "#4711"):
        assert f'href="{here}"' in client.get("/search", {"q": asked}).content.decode()
    assert f'href="{here}"' not in client.get("/search", {"q": "471"}).content.decode()
    assert f'href="{here}"' not in desk.client("stranger").get("/search", {"q": "4711"}).content.decode()
