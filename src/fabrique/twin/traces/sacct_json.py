"""Slurm's accounting as `sacct --json` (and slurmdbd's REST answers) give it, through the plugins of 22.05 to 24.11.

A number may be plain or tri-state: `{"set": true, "infinite": false, "number": 60}`. A state is a word or a list of
them. An answer with `errors` is refused, whatever else it holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from fabrique.core.errors import FabriqueError
from fabrique.definitions.complaints import printable
from fabrique.twin.traces import slurm_words as slurm
from fabrique.twin.traces.raw import Raw
from fabrique.twin.traces.rows import Rows
from fabrique.twin.traces.sacct import Record, rows_of

_MOST: Final = 1 << 45


def read(raw: Raw) -> Rows:
    """The rows of a JSON export; `line` in a message is the place in `jobs`, from 1.

    Raises `trace.format`, `trace.refused`, `trace.value`.
    """
    try:
        data = json.loads(raw.text())
    except json.JSONDecodeError as error:
        raise raw.broken(error.lineno, "JSON", error.msg) from None
    except (ValueError, RecursionError):
        raise FabriqueError("trace.format", file=raw.name) from None
    if not isinstance(data, dict):
        raise FabriqueError("trace.format", file=raw.name)
    if data.get("errors"):
        raise FabriqueError("trace.refused", file=raw.name, said=printable(json.dumps(data["errors"]), 200))
    if not isinstance(data.get("jobs"), list):
        raise FabriqueError("trace.format", file=raw.name)
    return rows_of(_records(raw, data["jobs"]))


def _records(raw: Raw, jobs: list[Any]) -> Iterator[Record]:
    for place, job in enumerate(jobs, start=1):
        try:
            if not isinstance(job, dict):
                raise TypeError(type(job).__name__)
            yield _record(place, job)
        except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            raise raw.broken(place, f"jobs[{place - 1}]", error) from None


def _record(place: int, job: dict[str, Any]) -> Record:
    time = job["time"]
    tallied = [(_resource(t), str(_number(t.get("count")))) for t in job.get("tres", {}).get("allocated") or []]
    cores, accelerators = slurm.tallied(tallied)
    about = job.get("association") or {}
    array = job.get("array") or {}
    waiting = _number(array.get("task_id")) < 0 and bool(array.get("task"))  # the rest of an array, not yet started
    return Record(
        line=place,
        cluster=_text(job.get("cluster") or about.get("cluster")),
        job=str(_number(job["job_id"])),
        submit_ms=_times(_number(time.get("submission")) or -1, 1_000),
        start_ms=_times(_number(time.get("start")) or -1, 1_000),
        run_ms=_times(_number(time.get("elapsed")), 1_000),
        limit_ms=_times(_number(time.get("limit")), 60_000),
        cores=cores,
        accelerators=accelerators,
        project=_text(job.get("account") or about.get("account") or job.get("user") or about.get("user")),
        state="PENDING" if waiting else _state(job.get("state")),
    )


def _number(value: Any) -> int:
    """A plain or tri-state number; UNKNOWN where it is unset, infinite or a sentinel."""
    if isinstance(value, dict):
        value = value.get("number") if value.get("set", True) and not value.get("infinite") else None
    if value is None or value == "":
        return slurm.UNKNOWN
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError(type(value).__name__)
    number = slurm.count(str(int(value)))
    if number > _MOST:
        raise ValueError(number)
    return number


def _times(value: int, by: int) -> int:
    return value * by if value >= 0 else slurm.UNKNOWN


def _resource(tres: dict[str, Any]) -> str:
    kind, name = _text(tres.get("type")), _text(tres.get("name"))
    return f"{kind}/{name}" if name else kind


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(type(value).__name__)
    return value


def _state(value: Any) -> str:
    """`COMPLETED` of "COMPLETED", ["COMPLETED"], {"current": …}; a flag beside it, as REQUEUED, is no state."""
    if isinstance(value, dict):
        value = value.get("current")
    if isinstance(value, list):
        value = value[0] if value else ""
    return slurm.state(_text(value))
