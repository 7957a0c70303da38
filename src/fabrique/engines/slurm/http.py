"""One request to slurmrestd: bounded in time and size, and no answer with errors in it passes for a good one."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from fabrique.core.errors import FabriqueError
from fabrique.engines.slurm.tokens import token

MOST_ANSWER: Final = 512 * 1024 * 1024
_STEP: Final = 1 << 20
_AWAY: Final = re.compile(
    r"unable to contact|connect|timed out|zero bytes|standby|temporarily|communication|not running|database|"
    r"authentication|try again|munge|token|i/o error|no space",
    re.IGNORECASE,
)
_NOTHING: Final = re.compile(r"nothing found|no jobs found|query returned empty|empty results?", re.IGNORECASE)


class Rest:
    """`user` is whose token is used unless a request says otherwise; `now_s` gives seconds since the epoch."""

    def __init__(self, url: str, key_file: Path, user: str, timeout_s: float, now_s: Callable[[], int]) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise FabriqueError("engine.unavailable", why="not an address of slurmrestd")
        self._kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._host, self._port = parts.hostname, parts.port
        self._key_file, self._user, self._timeout_s, self._now_s = key_file, user, timeout_s, now_s

    def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        user: str | None = None,
        done: Callable[[dict[str, Any]], bool] = lambda answer: False,
    ) -> dict[str, Any]:
        """Raises `engine.unavailable`, `engine.garbage`, and `engine.refused` with the daemon's own words.

        `done` says of an answer that what was asked for happened, whatever errors stand in it.
        """
        return _answer(*self._exchange(method, _with(path, query), body, user), done)

    def news(self, path: str, query: Mapping[str, str]) -> dict[str, Any] | None:
        """The answer, or None where nothing has changed since the instant that `query` names. Raises as `ask` does."""
        status, data = self._exchange("GET", _with(path, query), None, None)
        if status == HTTPStatus.NOT_MODIFIED:
            return None
        return _answer(status, data, lambda answer: False)

    def _exchange(self, method: str, path: str, body: object, user: str | None) -> tuple[int, bytes]:
        who = user or self._user
        headers = {
            "X-SLURM-USER-NAME": who,
            "X-SLURM-USER-TOKEN": token(self._key_file, who, self._now_s()),
            "Accept": "application/json",
        }
        content = None if body is None else json.dumps(body).encode()
        if content is not None:
            headers["Content-Type"] = "application/json"
        until = time.monotonic() + self._timeout_s
        connection = self._kind(self._host, self._port, timeout=self._timeout_s)
        try:
            connection.request(method, path, content, headers)
            response = connection.getresponse()
            return response.status, _read(response, until)
        except TimeoutError:
            raise FabriqueError("engine.unavailable", why="slurmrestd: no answer in time") from None
        except (OSError, HTTPException) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise FabriqueError("engine.unavailable", why=f"slurmrestd: {why}") from None
        finally:
            connection.close()


def _answer(status: int, data: bytes, done: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    try:
        answer = json.loads(data.decode("utf-8", "replace"))  # the daemon passes on whatever bytes a job's name has
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict):
        errors = answer.get("errors") or []
        if (not errors and status < 400) or done(answer):
            return answer
        why = _said(errors)
        if _NOTHING.search(why) and status < 500:
            return {**answer, "errors": []}
        if why and not _AWAY.search(why):
            raise FabriqueError("engine.refused", why=why)
        raise FabriqueError("engine.unavailable", why=why or f"HTTP {status}")
    if status < 400:
        raise FabriqueError("engine.garbage", why="no JSON object")
    raise FabriqueError("engine.unavailable", why=f"HTTP {status}")


def _with(path: str, query: Mapping[str, str] | None) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _read(response: HTTPResponse, until: float) -> bytes:
    parts: list[bytes] = []
    left = MOST_ANSWER
    while part := response.read1(_STEP):
        parts.append(part)
        left -= len(part)
        if left < 0:
            raise FabriqueError("engine.unavailable", why="slurmrestd: an answer without end")
        if time.monotonic() > until:
            raise TimeoutError
    if response.length:
        raise FabriqueError("engine.garbage", why="half an answer")
    return b"".join(parts)


def _said(errors: object) -> str:
    """The daemon's own words, on one line."""
    found = []
    for error in errors if isinstance(errors, list) else [errors]:
        if isinstance(error, dict):
            found += [str(error.get(name)) for name in ("description", "error") if error.get(name)]
        elif error:
            found.append(str(error))
    return "".join(sign if sign.isprintable() else " " for sign in "; ".join(dict.fromkeys(found)))[:300]
