"""The web server's worker: a client that says nothing, little or slowly holds no thread for long.

A connection gets a thread when its first byte is there. From then on it has `RECEIVE_S` for its request, and a second
more for each `LEAST_RATE` bytes that came; a client that does not read its answer is held to the same rate.
"""

from __future__ import annotations

import errno
import selectors
import signal
import socket
import time
from functools import partial
from typing import Any, Final

from gunicorn import util  # type: ignore[import-untyped]  # gunicorn ships no types
from gunicorn.glogging import Logger  # type: ignore[import-untyped]
from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]

from fabrique.operate.supervise import end_with
from fabrique.portal.log_filter import Discreet

RECEIVE_S: Final = 10.0
SEND_S: Final = 30.0
LINGER_S: Final = 1.0
LEAST_RATE: Final = 16 * 1024  # bytes a second


class PatientSocket(socket.socket):
    """Receives until its time is over. Running out of it is the same as a client that went away."""

    until = 0.0
    gone = False

    def begin(self) -> None:
        self.until = time.monotonic() + RECEIVE_S

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """What lies there is taken even when the time is over. Raises ConnectionResetError."""
        self.settimeout(max(self.until - time.monotonic(), 0.0))
        try:
            data = super().recv(size, flags)
        except (TimeoutError, BlockingIOError):
            self._give_up("the client is too slow")
        finally:
            self.settimeout(None)
        self.until += len(data) / LEAST_RATE
        return data

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Raises ConnectionResetError."""
        self.settimeout(SEND_S + len(data) / LEAST_RATE)
        try:
            super().sendall(data, flags)
        except TimeoutError:
            self._give_up("the client does not read")
        finally:
            self.settimeout(None)

    def say_goodbye(self) -> None:
        """Closes; before that, waits a moment for the client to take its answer."""
        self.until = time.monotonic() + LINGER_S
        if self.gone:
            self.close()
        else:
            util.close_graceful(self, timeout=LINGER_S)

    def _give_up(self, why: str) -> None:
        self.gone = True
        raise ConnectionResetError(errno.ECONNRESET, why)


class Connection(TConn):  # type: ignore[misc]
    def close(self, graceful: bool = False) -> None:
        """At once: the goodbye was said in a thread of its own, never in the loop that accepts."""
        util.close(self.sock)


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    def init_process(self) -> None:
        """A worker whose server was killed ends at once, and leaves the port to the next one."""
        end_with(self.ppid, signal.SIGKILL)()
        super().init_process()

    def accept(self, listener: socket.socket) -> None:
        """A new connection waits beside the others, without a thread, until it says something."""
        try:
            accepted, address = listener.accept()
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ECONNABORTED):
                return
            raise
        self.nr_conns += 1
        made = PatientSocket(fileno=accepted.detach())
        conn = Connection(self.cfg, made, address, listener.getsockname())
        conn.set_timeout()
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def enqueue_req(self, conn: Connection) -> None:
        conn.sock.begin()
        super().enqueue_req(conn)

    def handle(self, conn: Connection) -> Any:
        kept = super().handle(conn)
        if not kept:
            conn.sock.say_goodbye()
        return kept


class DiscreetLogger(Logger):  # type: ignore[misc]
    """The server's own lines are as discreet as the portal's."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.addFilter(Discreet())
