"""What a job prints, as it comes: a part from an offset for the page, and the whole as a file.

A job's output is hostile: escape sequences are taken out, what does not print is replaced, and the page receives it
as text that is never parsed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.views.decorators.http import require_GET

from fabrique.apps.asking import asker, require
from fabrique.apps.jobs import services
from fabrique.apps.jobs.models import Job, Run
from fabrique.apps.now import now_ms
from fabrique.apps.this_hub import this_hub
from fabrique.core.errors import FabriqueError
from fabrique.core.fields import HIDING
from fabrique.operate import engines
from fabrique.operate.observe import intent_of

CHUNK: Final = 64 * 1024
_ESCAPE: Final = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_].*?(?:\x07|\x1b\\|$)|[ -/]*[0-~])|\x9b[0-?]*[ -/]*[@-~]", re.DOTALL
)
_CONTROL: Final = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f{HIDING}\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Part:
    """Printable text of the bytes [offset, next); `end` when nothing will follow."""

    text: str
    next: int
    end: bool


def readable(raw: bytes) -> str:
    """A log's bytes as text that a page may show: no escape sequence, no control character but line ends and tabs.

    A line that a carriage return overwrites, as progress bars do, keeps its last state.
    """
    text = _ESCAPE.sub("", raw.decode("utf-8", "replace"))
    last = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return _CONTROL.sub("\ufffd", "\n".join(last))


def part(run: Run, offset: int, limit: int = CHUNK) -> Part:
    """At most `limit` bytes from `offset`, cut at the end of a line where more follows. Raises `log.missing`."""
    engine = engines.reader(this_hub())
    raw, following, end = engine.read_log(intent_of(run), offset, limit)
    if not end and (cut := raw.rfind(b"\n") + 1) and cut < len(raw):
        return Part(readable(raw[:cut]), offset + cut, False)
    return Part(readable(raw), following, end)


def last_part(run: Run, limit: int = CHUNK) -> Part:
    """The end of the log: what a page shows at first, without a script. Empty while there is none."""
    size = int(run.usage.get("output_bytes") or 0)
    try:
        return part(run, max(size - limit, 0), limit)
    except FabriqueError as error:
        if error.code != "log.missing":
            raise
        return Part("", 0, run.ended_ms is not None)


def latest_run(job: Job) -> Run:
    """Raises `log.missing` for a job that was never started."""
    run = job.runs.order_by("-attempt").first()
    if run is None:
        raise FabriqueError("log.missing", job=job.number)
    return run


@require_GET
def log(request: HttpRequest, number: int) -> HttpResponse:
    """The job's output from `?from=BYTES` on, as JSON: its text, where to go on, whether it is over."""
    job = services.find_job(number)
    require(asker(request), "job.log", now=now_ms(), project=job.project)
    found = part(latest_run(job), _offset(request))
    return JsonResponse({"text": found.text, "next": str(found.next), "end": found.end})


@require_GET
def whole_log(request: HttpRequest, number: int) -> StreamingHttpResponse:
    """The job's whole output as it was written, as a file."""
    job = services.find_job(number)
    require(asker(request), "job.log", now=now_ms(), project=job.project)
    run = latest_run(job)
    part(run, 0, 1)  # there is one, or the error comes before the answer begins
    headers = {
        "Content-Disposition": f'attachment; filename="job-{job.number}.log"',
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingHttpResponse(_bytes(run), content_type="text/plain; charset=utf-8", headers=headers)


def _bytes(run: Run) -> Iterator[bytes]:
    """What is there now; a job that writes on does not keep the answer open."""
    engine, offset = engines.reader(this_hub()), 0
    while True:
        raw, following, end = engine.read_log(intent_of(run), offset, CHUNK)
        if raw:
            yield raw
        if end or following <= offset:
            return
        offset = following


def _offset(request: HttpRequest) -> int:
    """Raises `request.broken`."""
    text = request.GET.get("from", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise FabriqueError("request.broken", field="from")
    return int(text)
