"""A job's log on the way to whoever reads it. Its bytes are hostile: a terminal gets text alone."""

from __future__ import annotations

import codecs
import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from fabrique.cli import output
from fabrique.cli.context import Desk
from fabrique.core.errors import FabriqueError

if TYPE_CHECKING:
    from fabrique.apps.jobs.models import Job

_CHUNK: Final = 1_048_576
_EVERY_S: Final = 0.5
# ECMA-48: strings (OSC, DCS, …) up to their end, control sequences, and short escapes; each may still be incomplete
_SEQUENCE: Final = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?"
)
_HELD_MOST: Final = 4_096  # characters of a sequence that is not complete yet


class Plain:
    """Bytes in, text out that can do nothing to a terminal but write: also when a sequence comes in pieces."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def text(self, data: bytes, last: bool = False) -> str:
        whole, self._held = self._held + self._decode.decode(data, last), ""
        if not last:
            whole, self._held = _without_tail(whole)
        lines = _SEQUENCE.sub("", whole).replace("\r\n", "\n").replace("\r", "\n")
        return output.safe(lines.expandtabs(8))


def _without_tail(text: str) -> tuple[str, str]:
    """`text` and what of its end may be the beginning of a sequence, or of a line end."""
    at = run = len(text)
    for found in reversed(list(_SEQUENCE.finditer(text))):
        if found.end() != run:
            break
        at, run = (found.start() if at == len(text) else at), found.start()
    if text[:run].endswith("\r"):  # what goes between a return and its line feed parts them no more
        at = run - 1
    return (text[:at], text[at:]) if len(text) - at <= _HELD_MOST else (text, "")


def show(desk: Desk, job: Job, *, follow: bool, raw: bool) -> None:
    """The log of the job's last run. Raises `log.missing` while there is none, unless it is followed."""
    plain = Plain()
    as_text = output.on_terminal() and not raw
    collected = b""
    for data, over in _pieces(desk, job, follow):
        if desk.call.json:
            collected += data
            if over is not None:
                output.document({"job": job.number, "text": collected.decode(errors="replace"), "over": over})
        elif as_text:
            output.raw(plain.text(data, last=over is not None))
        else:
            output.raw_bytes(data)


def _pieces(desk: Desk, job: Job, follow: bool) -> Iterator[tuple[bytes, bool | None]]:
    """Pieces of the log; with the last one, whether nothing will ever follow."""
    from fabrique.operate.engines import reader
    from fabrique.operate.observe import intent_of

    engine, offset = reader(desk.here), 0
    while True:
        run = job.runs.order_by("-attempt").first()
        try:
            if run is None:
                raise FabriqueError("log.missing", job=job.number)
            data, offset, over = engine.read_log(intent_of(run), offset, _CHUNK)
        except FabriqueError as error:
            job.refresh_from_db()
            if error.code != "log.missing" or not follow or _is_over(job):
                raise
            data, over = b"", False
        if over or (not follow and not data):
            yield data, over
            return
        yield data, None
        if not data:
            time.sleep(_EVERY_S)


def _is_over(job: Job) -> bool:
    from fabrique.apps.jobs.models import FINAL

    return job.status in FINAL
