"""The portal's real server against clients that are slow, silent or too large."""

from __future__ import annotations

import http.client
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from subprocess import Popen
from typing import TYPE_CHECKING

import pytest

from fabrique.portal.web_worker import RECEIVE_S

if TYPE_CHECKING:
    from tests.conftest import Home

SLOW = 40
HALF = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-a: "
BODY = (
    b"POST /api/v1/assess HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
)
CLOSING = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


class Server:
    def __init__(self, process: Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def healthy_after(self, within: float) -> float:
        """How long /healthz took."""
        began = time.monotonic()
        asked = http.client.HTTPConnection("127.0.0.1", self.port, timeout=within)
        asked.request("GET", "/healthz")
        assert asked.getresponse().status == 200
        asked.close()
        return time.monotonic() - began

    def connect(self, stack: ExitStack, said: bytes) -> list[socket.socket]:
        made = [stack.enter_context(socket.create_connection(("127.0.0.1", self.port))) for _ in range(SLOW)]
        for one in made:
            one.sendall(said)
        time.sleep(0.5)  # for the server to take them all
        return made

    def open_files(self) -> list[str]:
        """What the server's processes hold open."""
        family = [str(self.process.pid), *self._children(str(self.process.pid))]
        return [target_of(path) for pid in family for path in Path("/proc", pid, "fd").iterdir()]

    def _children(self, pid: str) -> list[str]:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def target_of(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


@pytest.fixture
def server(home: Home) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    made = Server(home.start("serve", "--port", str(port)), port)
    end = time.monotonic() + 60
    while True:
        try:
            made.healthy_after(5)
            break
        except OSError:
            assert time.monotonic() < end and made.process.poll() is None
            time.sleep(0.1)
    yield made
    made.process.send_signal(signal.SIGTERM)
    written, _ = made.process.communicate(timeout=30)
    assert "Traceback" not in written, written


def test_silent_connections_hold_no_thread(server: Server) -> None:
    with ExitStack() as stack:
        server.connect(stack, b"")
        assert server.healthy_after(10) < 3


@pytest.mark.parametrize("said", [HALF, BODY], ids=["header", "body"])
def test_half_a_request_is_given_up(server: Server, said: bytes) -> None:
    """Also one that goes on, a byte at a time."""
    with ExitStack() as stack:
        slow = server.connect(stack, said)
        began = time.monotonic()
        while time.monotonic() < began + 3:
            for one in slow:
                one.sendall(b"b")
            time.sleep(0.5)
        server.healthy_after(RECEIVE_S + 5)
        assert time.monotonic() - began < RECEIVE_S + 5
        for one in slow:
            one.settimeout(RECEIVE_S + 5)
            assert ends(one)


def test_clients_that_stay_after_their_answer_stop_nobody(server: Server) -> None:
    with ExitStack() as stack:
        server.connect(stack, CLOSING)
        assert server.healthy_after(20) < 8


def test_a_client_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same socket class as the server's, at both ends of a pair."""
    from fabrique.portal import web_worker

    monkeypatch.setattr(web_worker, "SEND_S", 0.2)
    monkeypatch.setattr(web_worker, "LEAST_RATE", 2**30)
    ours, theirs = socket.socketpair()
    sender = web_worker.PatientSocket(fileno=ours.detach())
    with sender, theirs:
        with pytest.raises(ConnectionResetError):
            sender.sendall(b"a" * 4 * 2**20)
        assert sender.gone


def test_a_large_upload_is_refused_and_never_on_a_disk(server: Server) -> None:
    length = 300 * 2**20
    head = (
        f"POST /language HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=XX\r\n"
        f"Content-Length: {length}\r\n\r\n"
        '--XX\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    ).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(head + b"a" * 2**20)
        assert client.recv(200).startswith(b"HTTP/1.1 413")
        assert not [path for path in server.open_files() if "upload" in path]


def test_a_chunked_body_is_refused(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(
            b"POST /language HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        )
        assert client.recv(200).startswith(b"HTTP/1.1 413")


def ends(client: socket.socket) -> bool:
    """Whether the server closes, with or without an answer before."""
    try:
        while client.recv(65_536):
            pass
    except ConnectionError:
        return True
    return True
