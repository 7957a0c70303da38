"""slurmrestd at a real socket: a daemon that says 200 and means no, passes things over, stops half-way, or hangs."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from fabrique.core.errors import FabriqueError
from fabrique.engines.slurm import arrays
from fabrique.engines.slurm.model import Change, Order
from fabrique.engines.slurm.rest import RestTransport

KEY = b"0123456789abcdef0123456789abcdef"
NOW = 1_795_986_041
Answer = tuple[int, bytes] | Callable[[BaseHTTPRequestHandler], None]


class Daemon:
    """Answers by (method, path), by ("NEWS", path) where it is asked for what changed; keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Answer] = {}
        self.asked: list[tuple[str, str, dict[str, list[str]], Any, str, str]] = []
        self.controller_s: object = NOW
        daemon = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                parts = urlsplit(self.path)
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size)) if size else None
                who, token = self.headers["X-SLURM-USER-NAME"], self.headers["X-SLURM-USER-TOKEN"]
                daemon.asked.append((self.command, parts.path, parse_qs(parts.query), body, who, token))
                asked = parts.path.endswith("/jobs") and "update_time" in parts.query
                answer = daemon.answers.get((self.command, parts.path), daemon.clock(parts.path))
                answer = daemon.answers.get(("NEWS", parts.path), answer) if asked else answer
                if callable(answer):
                    answer(self)
                    return
                self.send_response(answer[0])
                self.send_header("Content-Length", str(len(answer[1])))
                self.end_headers()
                self.wfile.write(answer[1])

            do_GET = do_POST = do_DELETE = handle_any  # noqa: N815 - the library's names

            def log_message(self, *args: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def clock(self, path: str) -> Answer:
        """The controller's own."""
        said = {"statistics": {"req_time": self.controller_s}}
        return (200, json.dumps(said).encode()) if path.endswith("/diag") else (404, b"{}")

    def says(self, method: str, path: str, document: object, status: int = 200) -> None:
        self.answers[method, path] = (status, json.dumps(document).encode())


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    made = Daemon()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "jwt.key"
    path.write_bytes(KEY)
    return path


@pytest.fixture
def connect(daemon: Daemon, key: Path) -> Callable[..., RestTransport]:
    def make(api: str | None = "v0.0.40", timeout_s: float = 5.0) -> RestTransport:
        return RestTransport(daemon.url, key, "slurm", api, timeout_s, lambda: NOW)

    return make


def job(number: int = 7, **fields: object) -> dict[str, object]:
    submitted = {"set": True, "infinite": False, "number": NOW}
    return {"job_id": number, "name": "a", "job_state": ["PENDING"], "submit_time": submitted, **fields}


def order(**changes: Any) -> Order:
    whole = {"intent": "run-00000001", "script": b"#!/bin/sh\n", "user": "alice", "account": "lab_a", "qos": None}
    more = {"partition": "gpu", "nodes": 2, "cores": 4, "memory_mb": 100, "gres": "gpu:h100:2", "limit_ms": 90_000}
    places = {"output": "/runs/out.log", "folder": "/runs", "environment": {"A": "b"}}
    return Order(**{**whole, **more, **places, **changes})


def test_each_request_brings_a_token_of_its_own_that_soon_ends(daemon: Daemon, connect: Callable[..., Any]) -> None:
    daemon.says("GET", "/slurm/v0.0.40/jobs", {"jobs": [job()], "errors": []})
    connect().queue()
    _, path, _, _, who, token = daemon.asked[0]
    head, claims, sign = token.split(".")
    made = hmac.new(KEY, f"{head}.{claims}".encode(), hashlib.sha256).digest()
    said = json.loads(urlsafe_b64decode(claims + "=="))
    assert urlsafe_b64decode(sign + "==") == made and who == said["sun"] == "slurm"
    assert NOW < said["exp"] <= NOW + 300 and token not in path


def test_a_submission_is_its_user_s_own(daemon: Daemon, connect: Callable[..., Any]) -> None:
    daemon.says("POST", "/slurm/v0.0.40/job/submit", {"job_id": 12, "errors": []})
    assert connect().submit(order()) == 12
    _, _, _, body, who, _ = daemon.asked[0]
    asked = body["job"]
    assert who == "alice" and asked["requeue"] is False and asked["environment"] == ["A=b"]
    assert (asked["tres_per_node"], asked["nodes"], asked["time_limit"]) == ("gres/gpu:h100:2", "2", 2)


def test_two_hundred_with_errors_is_an_error(daemon: Daemon, connect: Callable[..., Any]) -> None:
    daemon.says(
        "GET", "/slurm/v0.0.40/jobs", {"jobs": [job()], "errors": [{"error": "Unable to contact slurm controller"}]}
    )
    with pytest.raises(FabriqueError, match=r"engine\.unavailable"):
        connect().queue()
    daemon.says("POST", "/slurm/v0.0.40/job/submit", {"errors": [{"description": "Invalid account"}]})
    with pytest.raises(FabriqueError, match=r"engine\.refused.*Invalid account"):
        connect().submit(order())


def test_a_submission_that_names_its_job_happened_whatever_stands_beside(
    daemon: Daemon, connect: Callable[..., Any]
) -> None:
    """The oldest daemon reports a held job as an error, with its id."""
    said = {"errors": [{"error_code": 2042, "error": "Job is in held state, pending scheduler release"}], "job_id": 40}
    daemon.says("POST", "/slurm/v0.0.38/job/submit", said)
    assert connect("v0.0.38").submit(order(held=True)) == 40


# --- what changed -------------------------------------------------------------------------------------------------

JOBS = "/slurm/v0.0.40/jobs"


def asked_since(daemon: Daemon) -> list[int | None]:
    """The instants since which jobs were asked for; None: all of them."""
    return [
        int(query["update_time"][0]) if "update_time" in query else None
        for _, path, query, *_ in daemon.asked
        if path == JOBS
    ]


@pytest.mark.parametrize("unchanged", [(304, b""), (200, b'{"jobs": [], "errors": []}')])
def test_a_queue_in_which_nothing_changed_is_not_written_again(
    daemon: Daemon, connect: Callable[..., Any], unchanged: tuple[int, bytes]
) -> None:
    daemon.says("GET", JOBS, {"jobs": [job(1), job(2)]})
    daemon.answers["NEWS", JOBS] = unchanged
    transport = connect()
    first = transport.queue()
    daemon.controller_s = NOW + 5
    assert transport.queue() == first and len(first[0]) == 2
    assert asked_since(daemon)[:2] == [None, NOW]


def test_what_changed_is_read_and_the_next_question_is_from_then_on(
    daemon: Daemon, connect: Callable[..., Any]
) -> None:
    daemon.says("GET", JOBS, {"jobs": [job(1)]})
    daemon.says("NEWS", JOBS, {"jobs": [job(1), job(2)]})
    transport = connect()
    transport.queue()
    daemon.controller_s = {"set": True, "infinite": False, "number": NOW + 5}  # as newer ones say it
    assert [j.job_id for j in transport.queue()[0]] == [1, 2]
    daemon.answers["NEWS", JOBS] = (304, b"")
    assert [j.job_id for j in transport.queue()[0]] == [1, 2]
    assert asked_since(daemon) == [None, NOW, NOW + 5]


def test_a_queue_that_became_empty_is_empty(daemon: Daemon, connect: Callable[..., Any]) -> None:
    daemon.says("GET", JOBS, {"jobs": [job(1)]})
    transport = connect()
    transport.queue()
    for way in ("NEWS", "GET"):
        daemon.says(way, JOBS, {"jobs": []})
    assert transport.queue()[0] == []


@pytest.mark.parametrize("clock", [NOW - 1, NOW + 60, None, "later", {"set": False}, {"a": 1}, [NOW]])
def test_a_clock_that_proves_nothing_has_the_whole_queue_read(
    daemon: Daemon, connect: Callable[..., Any], clock: object
) -> None:
    """One that was set back, one that is far on, and none at all."""
    daemon.says("GET", JOBS, {"jobs": [job(1)]})
    daemon.answers["NEWS", JOBS] = (304, b"")
    transport = connect()
    transport.queue()
    daemon.controller_s = clock
    transport.queue()
    assert asked_since(daemon) == [None, None]


def test_a_caller_that_changes_its_list_changes_no_other_s(daemon: Daemon, connect: Callable[..., Any]) -> None:
    daemon.says("GET", JOBS, {"jobs": [job(1)]})
    daemon.answers["NEWS", JOBS] = (304, b"")
    transport = connect()
    for _ in range(3):
        jobs, _ = transport.queue()
        assert len(jobs) == 1
        jobs.clear()


def test_what_the_daemon_passed_over_is_read_back(daemon: Daemon, connect: Callable[..., Any]) -> None:
    daemon.says("POST", "/slurm/v0.0.40/job/7", {"errors": []})
    daemon.says("GET", "/slurm/v0.0.40/job/7", {"jobs": [job(comment="old", priority=5)], "errors": []})
    denied = connect().change([Change(7, comment="new")])
    assert [(one.job_id, one.why) for one in denied] == [(7, "slurmrestd took no notice")]
    daemon.says("GET", "/slurm/v0.0.40/job/7", {"jobs": [job(comment="new", priority=5)], "errors": []})
    assert connect().change([Change(7, comment="new", priority=5)]) == []


def test_a_refused_change_stops_no_other(daemon: Daemon, connect: Callable[..., Any]) -> None:
    daemon.says("POST", "/slurm/v0.0.40/job/7", {"errors": [{"error": "Invalid job id specified"}]}, 500)
    daemon.says("POST", "/slurm/v0.0.40/job/8", {"errors": []})
    daemon.says("GET", "/slurm/v0.0.40/job/8", {"jobs": [job(8, comment="new")], "errors": []})
    denied = connect().change([Change(7, comment="new"), Change(8, comment="new")])
    assert [one.job_id for one in denied] == [7]


def test_tasks_that_wait_together_are_changed_together_or_not_at_all(
    daemon: Daemon, connect: Callable[..., Any]
) -> None:
    """24.11 and later refuse a task without a number of its own."""

    def number(value: int) -> dict[str, object]:
        return {"set": True, "infinite": False, "number": value}

    held = job(7, array_job_id=number(7), array_task_string="1,3", priority=number(0))
    own = job(9, array_job_id=number(7), array_task_id=number(2), priority=number(50), job_state=["RUNNING"])
    daemon.says("GET", "/slurm/v0.0.40/jobs", {"jobs": [held, own], "errors": []})
    daemon.says("POST", "/slurm/v0.0.40/job/9", {"errors": [{"error": "Job is running"}]}, 500)
    part = connect().change([Change((7, 1), priority=50), Change((7, 2), nice=3), Change((7, 4), priority=50)])
    assert [(one.job_id, one.why) for one in part] == [((7, 1), arrays.ALONE), ((7, 2), "Job is running")]
    assert [path for method, path, *_ in daemon.asked if method == "POST"] == ["/slurm/v0.0.40/job/9"]
    unlike = connect().change([Change((7, 1), limit_ms=60_000), Change((7, 3), limit_ms=120_000)])
    assert [one.job_id for one in unlike] == [(7, 1), (7, 3)]
    daemon.says("POST", "/slurm/v0.0.40/job/7", {"errors": []})
    daemon.says("GET", "/slurm/v0.0.40/job/7", {"jobs": [{**held, "priority": number(50)}], "errors": []})
    assert connect().change([Change((7, 3), priority=49), Change((7, 1), priority=50)]) == []
    sent = [body for method, path, _, body, *_ in daemon.asked if (method, path) == ("POST", "/slurm/v0.0.40/job/7")]
    assert sent == [{"hold": False}, {"priority": number(50)}]
    again = connect().change([Change((7, 3), priority=48), Change((7, 1), priority=47)])
    assert [(one.job_id, one.why) for one in again] == [((7, t), "slurmrestd took no notice") for t in (3, 1)]


def test_one_element_that_cannot_be_read_hides_no_other(daemon: Daemon, connect: Callable[..., Any]) -> None:
    elements = [job(7), job(8, submit_time="yesterday"), {"job_id": []}, 3, job(9)]
    daemon.says("GET", "/slurm/v0.0.40/jobs", {"jobs": elements, "errors": []})
    jobs, unread = connect().queue()
    assert [one.job_id for one in jobs] == [7, 9] and len(unread) == 3


def test_bytes_in_a_name_that_are_no_text_hide_no_other_job(daemon: Daemon, connect: Callable[..., Any]) -> None:
    """`sbatch -J $'\\xff'`: Slurm takes it, and its daemon passes it on as it is."""
    answer = json.dumps({"jobs": [job(1, name="?bad"), job(2)]}).encode().replace(b"?bad", b"\xff\xed\xa0\x80")
    daemon.answers["GET", "/slurm/v0.0.40/jobs"] = (200, answer)
    jobs, unread = connect().queue()
    assert ([j.job_id for j in jobs], unread) == ([1, 2], [])
    jobs[0].name.encode()


def half(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(b'{"jobs": [')


def hang(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(3)


def drip(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for _ in range(100):
            handler.wfile.write(b" ")
            time.sleep(0.1)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((200, b"<html>"), "engine.garbage"),
        ((200, b"[1, 2]"), "engine.garbage"),
        ((200, b'{"jobs": 7, "errors": []}'), "engine.garbage"),
        ((200, b'{"errors": []}'), "engine.garbage"),
        ((200, b"[" * 100_000), "engine.garbage"),
        ((500, b"INTERNAL"), "engine.unavailable"),
        ((401, b""), "engine.unavailable"),
        ((511, b'{"errors": [{"error": "Authentication failure"}]}'), "engine.unavailable"),
        (half, "engine.garbage"),
        (hang, "engine.unavailable"),
        (drip, "engine.unavailable"),
    ],
    ids=["page", "list", "number", "nothing", "deep", "500", "401", "511", "half", "hang", "drip"],
)
def test_what_is_no_answer(daemon: Daemon, connect: Callable[..., Any], answer: Answer, code: str) -> None:
    daemon.answers["GET", "/slurm/v0.0.40/jobs"] = answer
    begin = time.monotonic()
    with pytest.raises(FabriqueError) as caught:
        connect(timeout_s=0.5).queue()
    assert caught.value.code == code and time.monotonic() - begin < 3
    assert KEY.decode() not in str(caught.value)


def test_nobody_there(key: Path) -> None:
    with pytest.raises(FabriqueError, match=r"engine\.unavailable"):
        RestTransport("http://127.0.0.1:1", key, "slurm", "v0.0.40").queue()


def test_a_key_that_is_gone(daemon: Daemon, key: Path, connect: Callable[..., Any]) -> None:
    transport = connect()
    key.unlink()
    with pytest.raises(FabriqueError, match=r"engine\.unavailable"):
        transport.queue()
    assert daemon.asked == []


def test_the_newest_version_that_serves_both_is_chosen(daemon: Daemon, connect: Callable[..., Any]) -> None:
    paths = ["/slurm/v0.0.41/jobs/", "/slurm/v0.0.42/jobs/", "/slurmdb/v0.0.41/jobs/", "/slurmdb/v0.0.40/jobs/"]
    daemon.says("GET", "/openapi/v3", {"paths": {path: {} for path in paths}})
    assert connect(None).api == "v0.0.41"
    daemon.says("GET", "/openapi/v3", {"paths": {"/slurm/v0.0.99/jobs": {}}})
    with pytest.raises(FabriqueError, match="no version known"):
        connect(None).queue()


def test_duplicates_are_asked_for_where_one_flag_turns_the_others_off(
    daemon: Daemon, connect: Callable[..., Any]
) -> None:
    for api in ("v0.0.38", "v0.0.40"):
        daemon.says("GET", f"/slurmdb/{api}/jobs", {"jobs": [], "errors": []})
        connect(api).records(since_ms=NOW * 1000)
    old, new = (asked[2] for asked in daemon.asked)
    assert old == {"skip_steps": ["true"], "start_time": [f"uts{NOW}"]}
    assert new == {**old, "show_duplicates": ["true"]}


def test_ids_are_numbers_and_names_are_names(daemon: Daemon, connect: Callable[..., Any]) -> None:
    """The oldest daemon exits when it is asked for a job that is no number."""
    with pytest.raises(ValueError):
        connect().records(jobs=["abc"])
    with pytest.raises(FabriqueError, match=r"job\.field"):
        connect().records(names=["a,b&step=x"])
    assert daemon.asked == []


def test_what_it_cannot_do_is_refused(daemon: Daemon, connect: Callable[..., Any]) -> None:
    with pytest.raises(FabriqueError, match=r"engine\.refused"):
        connect().requeue([7], hold=True)
    with pytest.raises(FabriqueError, match=r"engine\.refused"):
        connect("v0.0.38").change([Change(7, admin_comment="x")])
    with pytest.raises(FabriqueError, match=r"engine\.refused"):
        connect("v0.0.38").submit(order(signal="USR1", lead_ms=1_000))
    assert daemon.asked == []


def test_a_cancel_of_what_is_over_is_no_error(daemon: Daemon, connect: Callable[..., Any]) -> None:
    daemon.says("DELETE", "/slurm/v0.0.40/job/7_3", {"errors": [{"error": "Invalid job id specified"}]}, 500)
    connect().cancel([(7, 3)])
    daemon.says("DELETE", "/slurm/v0.0.40/job/8", {"errors": [{"error": "Access/permission denied"}]}, 500)
    with pytest.raises(FabriqueError, match=r"engine\.refused"):
        connect().cancel([8])
