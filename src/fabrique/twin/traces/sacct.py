"""Slurm's accounting, as `sacct --parsable2` (or `--parsable`) prints it, and what both of its forms share.

What was allocated counts, never what was asked. With duplicates (`-D`) each run of a requeued job is a row, told
apart by cluster, job, submission and start; steps and jobs that never ran or still run are left out, and counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import tzinfo
from typing import Final, NamedTuple

import numpy as np

from fabrique.core.errors import FabriqueError
from fabrique.twin.traces import slurm_words as slurm
from fabrique.twin.traces.raw import Raw
from fabrique.twin.traces.rows import Rows, everyone, named

_TRES: Final = "AllocTRES"
_CORES: Final = ("AllocCPUS", "NCPUS")
_NUMBER: Final = re.compile(r"\d{1,15}")


class Record(NamedTuple):
    """One accounting record; times in epoch ms, lengths in ms, -1 what is unknown."""

    line: int
    cluster: str
    job: str  # as Slurm writes it: 123, 123_4, 123+0
    submit_ms: int
    start_ms: int
    run_ms: int
    limit_ms: int
    cores: int
    accelerators: int
    project: str
    state: str


def is_header(line: str) -> bool:
    names = line.strip().split("|")
    return len(names) > 1 and ("JobID" in names or "JobIDRaw" in names)


def read(raw: Raw, timezone: str) -> Rows:
    """The rows of a parsable export. Raises `trace.column`, `trace.line`, `trace.value`, `trace.timezone`."""
    rows = rows_of(_records(raw, slurm.zone(timezone)))
    rows.said.append(f"Times without a zone are read as {timezone}.")
    return rows


def _records(raw: Raw, local: tzinfo) -> Iterator[Record]:
    lines = raw.text().split("\n")
    head = next(i for i, line in enumerate(lines) if line.strip())
    names = lines[head].rstrip("\r").split("|")
    _require(raw, names)
    for number, text in enumerate(lines[head + 1 :], start=head + 2):
        if not text.strip():
            continue
        values = text.rstrip("\r").split("|")
        if values == names:  # two exports, one after the other
            continue
        if len(values) != len(names):
            raise raw.ragged(number, len(values), len(names))
        yield _record(raw, number, dict(zip(names, values, strict=True)), local)


def _require(raw: Raw, names: list[str]) -> None:
    wanted = (("Submit",), ("Elapsed", "ElapsedRaw"), (_TRES, *_CORES))
    for choices in wanted:
        if not any(name in names for name in choices):
            raise FabriqueError("trace.column", file=raw.name, column=choices[0])


def _record(raw: Raw, line: int, values: dict[str, str], local: tzinfo) -> Record:
    def take(name: str, read: Callable[[str], int], *others: str) -> int:
        name = next((n for n in (name, *others) if values.get(n)), name)
        try:
            return read(values.get(name, ""))
        except (ValueError, OverflowError):
            raise raw.broken(line, name, values[name]) from None

    try:
        cores, accelerators = slurm.resources(values.get(_TRES, ""))
    except ValueError:
        raise raw.broken(line, _TRES, values[_TRES]) from None
    return Record(
        line=line,
        cluster=values.get("Cluster", ""),
        job=values.get("JobIDRaw") or values.get("JobID", ""),
        submit_ms=take("Submit", lambda text: slurm.instant(text, local)),
        start_ms=take("Start", lambda text: slurm.instant(text, local)),
        run_ms=take("ElapsedRaw", _seconds) if values.get("ElapsedRaw") else take("Elapsed", slurm.length),
        limit_ms=take("TimelimitRaw", _minutes) if values.get("TimelimitRaw") else take("Timelimit", slurm.length),
        cores=cores or max(take(_CORES[0], slurm.count, *_CORES[1:]), 0),
        accelerators=accelerators,
        project=values.get("Account") or values.get("User", ""),
        state="PENDING" if "[" in values.get("JobID", "") else slurm.state(values.get("State", "")),
    )


def _seconds(text: str) -> int:
    return _times(slurm.count(text), 1_000)


def _minutes(text: str) -> int:
    return _times(slurm.count(text), 60_000)


def _times(value: int, by: int) -> int:
    return value * by if value >= 0 else slurm.UNKNOWN


def rows_of(records: Iterator[Record]) -> Rows:
    """The runs among the records, each once. Counted in accelerators where any run had one, else in cores."""
    dropped: Counter[str] = Counter()
    runs: dict[tuple[str, str, int, int], Record] = {}
    for record in records:
        key = (record.cluster, record.job, record.submit_ms, record.start_ms)
        cause = _left_out(record) or ("duplicate" if key in runs else "")
        if cause:
            dropped[cause] += 1
        else:
            runs[key] = record
    found = list(runs.values())
    counted = any(run.accelerators for run in found)
    if counted:
        dropped["no-accelerator"] = sum(not run.accelerators for run in found)
        found = [run for run in found if run.accelerators]
    devices = [run.accelerators if counted else run.cores for run in found]
    rows = _rows(found, devices)
    rows.dropped = dropped
    rows.said.append(
        "Runs without an accelerator are left out." if counted else "No run had an accelerator: a device is a core."
    )
    return rows


def _left_out(record: Record) -> str:
    if "." in record.job:
        return "step"
    if record.state in slurm.NOT_STARTED:
        return "pending"
    return "unfinished" if record.state in slurm.NOT_ENDED else ""


def _rows(found: list[Record], devices: list[int]) -> Rows:
    numbers = [_NUMBER.match(run.job) for run in found]
    return Rows(
        line=np.array([run.line for run in found], np.int64),
        number=np.array([int(match[0]) if match else 0 for match in numbers], np.int64),
        submit_ms=np.array([run.submit_ms for run in found], np.int64),
        run_ms=np.array([run.run_ms for run in found], np.int64),
        walltime_ms=np.array([run.limit_ms for run in found], np.int64),
        milli_devices=np.array(devices, np.int64) * 1_000,
        project=named((run.project for run in found), "unknown"),
        pool=everyone("all", len(found)),
        work_class=everyone("any", len(found)),
    )
