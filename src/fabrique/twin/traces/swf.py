"""The Standard Workload Format, version 2.2 (Parallel Workloads Archive): 18 numbers a line, -1 what is not known.

Fields, from 1: job, submit, wait, run (s), processors allocated, CPU time, memory, processors requested, time
requested (s), memory requested, status, user, group, application, queue, partition, preceding job, think time.
Source: cs.huji.ac.il/labs/parallel/workload/swf.html. Lines that begin with `;` are the header.
"""

from __future__ import annotations

import re
import warnings
from typing import Final

import numpy as np
import numpy.typing as npt

from fabrique.core.errors import FabriqueError
from fabrique.twin.trace import Ints
from fabrique.twin.traces.raw import Raw
from fabrique.twin.traces.rows import SECOND, Named, Rows, everyone

FIELDS: Final = (
    "job submit wait run allocated cpu memory requested requested-time requested-memory status user group application "
    "queue partition preceding think"
).split()
_AT: Final = {name: i for i, name in enumerate(FIELDS)}
_FOREIGN: Final = re.compile(r"[^0-9eE+\-. \t\r\f\v]")
_HEADER: Final = re.compile(r";\s*(UnixStartTime|MaxProcs|TimeZone)\s*:\s*(-?[0-9]{1,12})\s*$")
_PARTIAL: Final = (2, 3, 4)  # pieces of a job that was checkpointed, beside the line that sums it up
_EXACT: Final = 1 << 53
_MOST_SECONDS: Final = 1 << 44


def read(raw: Raw) -> Rows:
    """The rows of a trace in SWF. Raises `trace.line`, `trace.value`, `trace.empty`."""
    body, lines, header = _parted(raw)
    table = _numbers(raw, body, lines)
    start = header.get("UnixStartTime", -1)
    table, lines, partial = _without_pieces(table, lines)
    rows = Rows(
        line=lines,
        number=table[:, _AT["job"]].astype(np.int64),
        submit_ms=_ms(table, "submit", max(start, 0)),
        run_ms=_ms(table, "run"),
        walltime_ms=_ms(table, "requested-time"),
        milli_devices=_processors(table) * 1_000,
        project=_projects(table),
        pool=everyone("all", len(table)),
        work_class=everyone("any", len(table)),
        preceding=table[:, _AT["preceding"]].astype(np.int64),
    )
    rows.dropped["partial"] = partial
    if start < 0:
        rows.said.append("The header gives no UnixStartTime: times count from 1970-01-01.")
    if "MaxProcs" in header:
        rows.said.append(f"The header gives a machine of {header['MaxProcs']} processors.")
    return rows


def _parted(raw: Raw) -> tuple[list[str], Ints, dict[str, int]]:
    """Lines of jobs with their numbers, and what the header says. A header may be in any encoding."""
    body: list[str] = []
    lines: list[int] = []
    header: dict[str, int] = {}
    for number, line in enumerate(raw.content.decode("latin-1").removeprefix("ï»¿").split("\n"), start=1):
        if line.lstrip().startswith(";"):
            if found := _HEADER.match(line.strip()):
                header.setdefault(found[1], int(found[2]))
        elif line.strip():
            body.append(line)
            lines.append(number)
    if not body:
        raise FabriqueError("trace.empty", file=raw.name)
    return body, np.array(lines, np.int64), header


def _numbers(raw: Raw, body: list[str], lines: Ints) -> npt.NDArray[np.float64]:
    """A row of 18 a line; one pass of NumPy, and a slow second one only to name the line that is wrong."""
    text = "\n".join(body)
    for i, line in enumerate(body):
        if len(line.split()) != len(FIELDS):
            raise raw.ragged(int(lines[i]), len(line.split()), len(FIELDS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it stops at what is no number: the size tells
        try:
            flat = np.fromstring(text, np.float64, sep=" ") if not _FOREIGN.search(text.replace("\n", " ")) else None
        except ValueError:
            flat = None
    if flat is None or len(flat) != len(body) * len(FIELDS) or not (np.abs(flat) < _EXACT).all():
        raise _first_wrong(raw, body, lines)
    table = flat.reshape(-1, len(FIELDS))
    for name in ("submit", "run", "requested-time"):
        wrong = np.flatnonzero(np.abs(table[:, _AT[name]]) > _MOST_SECONDS)
        if len(wrong):
            raise raw.broken(int(lines[wrong[0]]), name, table[wrong[0], _AT[name]])
    return table


def _first_wrong(raw: Raw, body: list[str], lines: Ints) -> FabriqueError:
    for line, text in zip(lines.tolist(), body, strict=True):
        for name, token in zip(FIELDS, text.split(), strict=True):
            try:
                good = not _FOREIGN.search(token) and abs(float(token)) < _EXACT
            except ValueError:
                good = False
            if not good:
                return raw.broken(line, name, token)
    return FabriqueError("trace.format", file=raw.name)


def _without_pieces(table: npt.NDArray[np.float64], lines: Ints) -> tuple[npt.NDArray[np.float64], Ints, int]:
    """Without the pieces of a job whose sum has a line of its own: they would run twice."""
    piece = np.isin(table[:, _AT["status"]], _PARTIAL)
    if not piece.any():
        return table, lines, 0
    jobs = table[:, _AT["job"]]
    twice = piece & np.isin(jobs, jobs[~piece])
    return table[~twice], lines[~twice], int(twice.sum())


def _ms(table: npt.NDArray[np.float64], name: str, start: int = 0) -> Ints:
    """ms of a field in seconds, from `start`; -1 where it is unknown."""
    seconds = table[:, _AT[name]]
    known = np.rint(np.maximum(seconds, 0) * SECOND).astype(np.int64) + start * SECOND
    return np.where(seconds < 0, -1, known)


def _processors(table: npt.NDArray[np.float64]) -> Ints:
    """Requested, else allocated."""
    asked, had = table[:, _AT["requested"]], table[:, _AT["allocated"]]
    return np.minimum(np.where(asked > 0, asked, np.maximum(had, 0)), 1 << 40).astype(np.int64)


def _projects(table: npt.NDArray[np.float64]) -> Named:
    """The group where it is known, else the user."""
    user, group = table[:, _AT["user"]].astype(np.int64), table[:, _AT["group"]].astype(np.int64)
    by_group = group >= 0
    keys = np.stack((np.where(by_group, 0, 1), np.where(by_group, group, np.maximum(user, -1))))
    found, codes = np.unique(keys, axis=1, return_inverse=True)
    names = ["unknown" if i < 0 else f"{'u' if sort else 'g'}{i}" for sort, i in found.T.tolist()]
    return Named(codes.reshape(-1).astype(np.int64), tuple(names))
