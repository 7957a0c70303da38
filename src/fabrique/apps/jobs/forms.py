"""The page that takes a script: its flags, the help on its header, and complaints at their line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from django.http import HttpRequest
from django.utils.translation import get_language

from fabrique.core.errors import FabriqueError
from fabrique.core.job import SCRIPT_MOST_BYTES
from fabrique.definitions.complaints import Complaint, say
from fabrique.language.marks import msg

# key of the header -> an example, what it means; `definitions.jobscript.KEYS` has the same keys
HEADER: Final[Mapping[str, tuple[str, str]]] = {
    "name": ("train-1", msg("What the job is called.")),
    "project": ("p-3f9a2c", msg("The project that pays.")),
    "walltime": ("01:30:00", msg("The longest it may run: HH:MM:SS, 30m, 2h. One hour if you say nothing.")),
    "cores": ("2", msg("Processor cores.")),
    "accelerators": (
        "0.5 of h100-sxm|mi300x",
        msg("How many accelerators, or which part of one, and of which kinds."),
    ),
    "kinds": ("h100-sxm, mi300x", msg("The kinds you accept, when the line above does not say.")),
    "nodes": ("1", msg("On how many nodes.")),
    "memory": ("4G", msg("Memory, always with its unit.")),
    "datasets": ("forest-2024", msg("The datasets it reads; the law that binds them is checked.")),
    "not-before": ("2026-11-21T18:00+01:00", msg("Do not start earlier.")),
    "latest-start": ("2026-11-22T08:00+01:00", msg("Start by then, or not at all.")),
    "deadline": ("2026-11-22T12:00+01:00", msg("It must have ended by then.")),
    "preemptible": ("yes, signal=USR1, lead=60s", msg("It may be paused: the signal it is sent, and how long before.")),
    "power": ("auto", msg("auto lets the hub choose the power level; max never lowers it; or watts per device.")),
    "tolerance": (
        "10%",
        msg("How much longer it may take at a lower power level, which the hub chooses; time is given back for it."),
    ),
    "output": ("64M", msg("The most it may print.")),
}
FLAGS: Final = ("name", "walltime", "cores", "accelerators", "memory", "datasets")  # asked beside the script
TYPED_MOST: Final = 400


@dataclass(frozen=True, slots=True)
class Trouble:
    """One complaint: `line` of the script with its `text`, or line 0 for a flag `key`."""

    line: int
    text: str
    key: str
    sentence: str


def script_of(request: HttpRequest) -> bytes:
    """The uploaded file, else what was typed; browsers end typed lines with CR LF. Cut just above the limit."""
    upload = request.FILES.get("file")
    if upload is not None and upload.size:
        return bytes(upload.read(SCRIPT_MOST_BYTES + 1))
    typed = request.POST.get("script", "").replace("\r\n", "\n")
    return typed.encode("utf-8", "surrogatepass")[: SCRIPT_MOST_BYTES + 1]


def flags_of(request: HttpRequest) -> dict[str, str]:
    """The flags that were filled in."""
    typed = {key: request.POST.get(f"flag-{key}", "")[:TYPED_MOST].strip() for key in FLAGS}
    return {key: value for key, value in typed.items() if value}


def troubles(error: FabriqueError, script: bytes) -> list[Trouble]:
    """The complaints of a `script.broken`, each with the line it is about."""
    lines = script.decode("utf-8", "replace").split("\n")
    complaints = error.params.get("complaints")
    listed = complaints if isinstance(complaints, Sequence) else ()
    return [_trouble(c, lines) for c in listed if isinstance(c, Complaint)]


def _trouble(complaint: Complaint, lines: Sequence[str]) -> Trouble:
    text = lines[complaint.line - 1][:200] if 0 < complaint.line <= len(lines) else ""
    key = complaint.file[2:] if complaint.file.startswith("--") else ""
    return Trouble(complaint.line, text, key, _sentence(complaint))


def _sentence(complaint: Complaint) -> str:
    """The complaint without the place, which the page shows by itself."""
    whole = say(complaint, get_language() or "en")
    place = complaint.file + (f":{complaint.line}" if complaint.line else "")
    return whole.removeprefix(place).lstrip(" :\u00a0")
