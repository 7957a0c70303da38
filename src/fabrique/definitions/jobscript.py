"""A job's script and its header: comment lines `#fabrique key: value` after the shebang.

    #!/usr/bin/env python3
    #fabrique project: frugal-1
    #fabrique accelerators: 2 of h100-sxm|mi300x
    #fabrique walltime: 02:00:00
    #fabrique preemptible: yes, signal=USR1, lead=60s

The header ends at the first line that is neither empty nor a comment. Flags of the command line override it, key by
key. The script itself is kept as it was given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from fabrique.core.fields import FieldError
from fabrique.core.job import SCRIPT_MOST_BYTES, JobSpec, check_spec
from fabrique.definitions import job_values as values
from fabrique.definitions.complaints import Complaint, by_place

_HEADER = re.compile(r"#[ \t]?fabrique(?=[ \t:]|$)(.*)")
_LINE = re.compile(r"[ \t]+([a-z][a-z-]*)[ \t]*:(.*)")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ALIASES: Final = {"gpus": "accelerators"}


@dataclass(frozen=True, slots=True)
class _Given:
    """One value and the place it was written at; line 0 is a flag."""

    file: str
    line: int
    key: str
    text: str

    def complaint(self, code: str, **params: str | int) -> Complaint:
        return Complaint(self.file, self.line, self.key, code, params)


def parse(raw: bytes, file: str, overrides: Mapping[str, str] | None = None) -> tuple[JobSpec | None, list[Complaint]]:
    """The job that the script in `raw` asks for, or everything that is wrong, cited as `file:line`.

    `overrides` are flags by their key of the header. `project` stays None when nobody named one. Never raises.
    """
    text, complaints = _text(raw, file)
    if text is None:
        return None, complaints
    given, complaints = _header(text, file)
    flags = [_Given(f"--{key}", 0, key, value.strip()) for key, value in (overrides or {}).items()]
    chosen, doubled = _chosen(given, flags)
    asked, unread = _asked(chosen)
    complaints += doubled + unread
    if complaints:
        return None, by_place(complaints)
    spec = JobSpec(script=text, **asked)
    complaints = by_place(_wrong(error, chosen, file) for error in check_spec(spec))
    return (None, complaints) if complaints else (spec, [])


def header(spec: JobSpec) -> list[str]:
    """The lines that ask for `spec`, without what is the default; `parse` reads them back exactly."""
    plain = JobSpec(script=spec.script)
    lines = [f"#fabrique {key}: {said}" for key, name, said in _said(spec) if _differs(spec, plain, name)]
    if spec.preemptible != plain.preemptible or spec.lead_ms != plain.lead_ms or spec.checkpoint_signal:
        lines.append(f"#fabrique preemptible: {_said_preemptible(spec)}")
    return lines


# --- the text ---------------------------------------------------------------------------------------------------------


def _text(raw: bytes, file: str) -> tuple[str | None, list[Complaint]]:
    if len(raw) > SCRIPT_MOST_BYTES:
        return None, [Complaint(file, 0, "", "file.too-large", {"size": len(raw), "most": SCRIPT_MOST_BYTES})]
    for mark, code in ((b"\0", "script.nul"), (b"\r\n", "script.crlf")):
        if mark in raw:
            return None, [Complaint(file, _line_of(raw, raw.index(mark)), "", code)]
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = _line_of(raw, error.start)
        return None, [Complaint(file, place, "", "file.not-utf8", {"byte": error.start + 1})]
    if not re.match(r"#![ \t]*/", text):
        return None, [Complaint(file, 1, "", "script.no-shebang")]
    return text, []


def _line_of(raw: bytes, at: int) -> int:
    return raw.count(b"\n", 0, at) + 1


def _header(text: str, file: str) -> tuple[list[_Given], list[Complaint]]:
    given: list[_Given] = []
    complaints: list[Complaint] = []
    ended = False
    for number, line in enumerate(text.split("\n"), start=1):
        match = _HEADER.fullmatch(line)
        if not match:
            ended = ended or bool(line.strip() and not line.lstrip().startswith("#"))
            continue
        pair = _LINE.fullmatch(match[1])
        if not pair:
            if not ended:  # further down it is a remark about us
                complaints.append(Complaint(file, number, "", "script.syntax"))
        elif ended:
            complaints.append(Complaint(file, number, pair[1], "script.late-header"))
        else:
            given.append(_Given(file, number, pair[1], pair[2].strip(" \t")))
    return given, complaints


def _chosen(given: list[_Given], flags: list[_Given]) -> tuple[dict[str, _Given], list[Complaint]]:
    """One value per key, flags before the header; two in the same place are a complaint."""
    chosen: dict[str, _Given] = {}
    complaints: list[Complaint] = []
    for values_of in (given, flags):
        seen: set[str] = set()
        for value in values_of:
            key = _ALIASES.get(value.key, value.key)
            if key in seen:
                complaints.append(value.complaint("script.repeated", value=value.key))
            seen.add(key)
            chosen[key] = value
    return chosen, complaints


# --- the values -------------------------------------------------------------------------------------------------------


def _asked(chosen: Mapping[str, _Given]) -> tuple[dict[str, Any], list[Complaint]]:
    """The values by the names of `JobSpec`; the kinds of a flag win over those of the header, as any flag does."""
    asked: dict[str, Any] = {}
    complaints: list[Complaint] = []
    for of_flags in (False, True):
        together: dict[str, Any] = {}
        for given in chosen.values():
            if (given.line == 0) is of_flags:
                complaints += _read(given, together)
        asked.update(together)
    if "nodes" in asked:
        asked.setdefault("cores", max(asked["nodes"], 1))  # one on each
    return asked, complaints


def _read(given: _Given, asked: dict[str, Any]) -> list[Complaint]:
    """Puts what `given` says into `asked`, under the names of `JobSpec`."""
    key = _ALIASES.get(given.key, given.key)
    reader = _READERS.get(key)
    if reader is None:
        return [given.complaint("value.unknown-key", key=given.key)]
    if not given.text:
        return [given.complaint("value.missing", key=given.key)]
    try:
        found = reader(given.text)
    except values.NotRead as problem:
        return [given.complaint(problem.code, **problem.params)]
    if "kinds" in found and "kinds" in asked:
        return [given.complaint("script.repeated", value="kinds")]
    asked.update(found)
    return []


def _accelerators(text: str) -> dict[str, Any]:
    milli, kinds = values.accelerators(text)
    return {"milli_devices": milli, "kinds": kinds} if kinds else {"milli_devices": milli}


def _preemptible(text: str) -> dict[str, Any]:
    said, signal, lead = values.preemptible(text)
    found: dict[str, Any] = {"preemptible": said, "checkpoint_signal": signal}
    return found if lead is None else {**found, "lead_ms": lead}


def _as(name: str, reader: Callable[[str], object]) -> Callable[[str], dict[str, Any]]:
    return lambda text: {name: reader(text)}


_READERS: Final[Mapping[str, Callable[[str], dict[str, Any]]]] = {
    "name": _as("name", str),
    "project": _as("project", str),
    "accelerators": _accelerators,
    "kinds": _as("kinds", values.names),
    "nodes": _as("nodes", values.whole),
    "cores": _as("cores", values.whole),
    "memory": _as("memory_mb", values.memory_mb),
    "walltime": _as("walltime_ms", values.duration),
    "not-before": _as("not_before_ms", values.instant),
    "latest-start": _as("latest_start_ms", values.instant),
    "deadline": _as("deadline_ms", values.instant),
    "preemptible": _preemptible,
    "datasets": _as("datasets", values.names),
    "power": _as("power", values.power),
    "tolerance": _as("tolerance_permille", values.permille),
    "output": _as("output_limit_bytes", values.size),
}
KEYS: Final = tuple(_READERS)
# Where a value stands that has no line of its own.
_BESIDE: Final = {"lead": "preemptible", "kinds": "accelerators", "cores": "nodes"}

_CODES: Final[Mapping[str, str]] = {
    "not-a-whole-device": "script.fraction",
    "not-divisible": "script.not-divisible",
    "not-after": "script.not-after",
    "needs": "script.needs",
    "repeated": "script.repeated",
    "control-characters": "value.control-characters",
}


def _wrong(error: FieldError, chosen: Mapping[str, _Given], file: str) -> Complaint:
    """A rule of the job that is broken, at the line that broke it; see `_BESIDE`."""
    key = error.field
    place = chosen.get(key) or chosen.get(_BESIDE.get(key, key)) or _Given(file, 0, key, "")
    if error.code == "out-of-bounds":
        return place.complaint("value.bound", bound=f"{error.params['least']} … {error.params['most']}")
    if error.code in ("too-many", "too-long"):
        return place.complaint("value.bound", bound=f"length ≤ {error.params['most']}")
    if error.code == "not-a-name":
        return place.complaint("value.pattern", pattern="a-z, 0-9, -")
    if error.code == "required":
        return place.complaint("value.missing", key=key)
    params = {k: v if isinstance(v, int) else str(v) for k, v in error.params.items()}
    return place.complaint(_CODES[error.code], **params)


# --- and back ---------------------------------------------------------------------------------------------------------


def _differs(spec: JobSpec, plain: JobSpec, name: str) -> bool:
    return bool(getattr(spec, name) != getattr(plain, name))


def _said(spec: JobSpec) -> Iterable[tuple[str, str, str]]:
    """Key of the header, name in `JobSpec`, value as written."""
    yield "name", "name", spec.name
    yield "project", "project", spec.project or ""
    yield "accelerators", "milli_devices", _said_devices(spec.milli_devices)
    yield "kinds", "kinds", "|".join(spec.kinds)
    yield "nodes", "nodes", str(spec.nodes)
    yield "cores", "cores", str(spec.cores)
    yield "memory", "memory_mb", f"{spec.memory_mb}M"
    yield "walltime", "walltime_ms", _said_duration(spec.walltime_ms)
    yield "not-before", "not_before_ms", _said_instant(spec.not_before_ms)
    yield "latest-start", "latest_start_ms", _said_instant(spec.latest_start_ms)
    yield "deadline", "deadline_ms", _said_instant(spec.deadline_ms)
    yield "datasets", "datasets", ", ".join(spec.datasets)
    yield "power", "power", str(spec.power)
    yield "tolerance", "tolerance_permille", _said_percent(spec.tolerance_permille)
    yield "output", "output_limit_bytes", _said_bytes(spec.output_limit_bytes)


def _said_devices(milli: int) -> str:
    return f"{milli}m" if milli % 1_000 else str(milli // 1_000)


def _said_duration(ms: int) -> str:
    minutes, seconds = divmod(ms // 1_000, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}"


def _said_percent(permille: int) -> str:
    whole, tenth = divmod(permille, 10)
    return f"{whole}.{tenth}%" if tenth else f"{whole}%"


def _said_bytes(count: int) -> str:
    """Kibibytes, halved as often as it takes to write a power of two's fraction exactly."""
    whole, rest = divmod(count, 1_024)
    return f"{whole}K" if not rest else f"{whole}.{rest * 10**10 // 1_024:010}".rstrip("0") + "K"


def _said_instant(ms: int | None) -> str:
    return "" if ms is None else (_EPOCH + timedelta(milliseconds=ms)).isoformat()


def _said_preemptible(spec: JobSpec) -> str:
    parts = ["yes" if spec.preemptible else "no"]
    if spec.checkpoint_signal:
        parts.append(f"signal={spec.checkpoint_signal}")
    return ", ".join([*parts, f"lead={spec.lead_ms // 1_000}s"])
