"""From the rows that a reader found to a trace, by the one convention: what is dropped, and what comes first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from fabrique.core.errors import FabriqueError
from fabrique.definitions.complaints import printable
from fabrique.twin.trace import Ints, Trace
from fabrique.twin.traces.raw import Raw

SECOND: Final = 1_000
_LONGEST_MS: Final = 100 * 366 * 86_400 * SECOND
_LAST_MS: Final = 1 << 47  # some 4,400 years after the epoch
_MOST_MILLI: Final = 10**10  # ten million devices
_MOST_PRIORITY: Final = 1_000_000
_MOST_TOLERANCE: Final = 10_000  # permille: ten times as long


@dataclass(frozen=True, slots=True)
class Named:
    """A column of names: a code a row, into `names`."""

    codes: Ints
    names: tuple[str, ...]

    def kept(self, rows: npt.NDArray[np.intp]) -> Named:
        """The rows wanted, with no name that none of them bears."""
        used, codes = np.unique(self.codes[rows], return_inverse=True)
        return Named(codes.astype(np.int64), tuple(self.names[i] for i in used))


def named(values: Iterable[str | None], unknown: str, order: Sequence[str] = ()) -> Named:
    """Codes in the `order` of names, then of first appearance; an empty name or none is `unknown`.

    Names are made safe to print.
    """
    texts = [value or unknown for value in values]
    code = {text: i for i, text in enumerate(dict.fromkeys([*order, *texts]))}
    codes = np.fromiter((code[text] for text in texts), np.int64, len(texts))
    return Named(codes, tuple(printable(text, 200) for text in code))


def everyone(name: str, rows: int) -> Named:
    return Named(np.zeros(rows, np.int64), (name,))


@dataclass(slots=True, kw_only=True)
class Rows:
    """What a reader found, a row a job; times in ms, and -1 where one is unknown, as a predecessor's number."""

    line: Ints  # where the job stands in the file, for messages
    number: Ints
    submit_ms: Ints
    run_ms: Ints
    walltime_ms: Ints
    milli_devices: Ints
    project: Named
    pool: Named
    work_class: Named
    preceding: Ints | None = None
    after_row: Ints | None = None  # the row before which this one can't start, where a table says it so
    nodes: Ints | None = None
    priority: Ints | None = None
    slack_ms: Ints | None = None
    tolerance_permille: Ints | None = None
    preemptible: Ints | None = None
    dropped: Counter[str] = field(default_factory=Counter)
    said: list[str] = field(default_factory=list)


def trace_of(raw: Raw, rows: Rows, *, processors: int | None, whole_node_devices: int | None) -> Trace:
    """The trace of `rows`. Raises `trace.value` for a quantity out of range, `trace.empty` when no job is left.

    `processors` drops the jobs that ask for more than the machine has. With `whole_node_devices`, a job that asks
    for a multiple of a node's devices takes whole nodes.
    """
    kept = _kept(rows, processors)
    if not len(kept):
        raise FabriqueError("trace.empty", file=raw.name)
    _in_range(raw, rows, kept)
    kept = kept[np.lexsort((rows.number[kept], rows.submit_ms[kept]))]
    run = np.maximum(rows.run_ms[kept], SECOND)
    milli = rows.milli_devices[kept]
    project, pool, work_class = rows.project.kept(kept), rows.pool.kept(kept), rows.work_class.kept(kept)

    def given(column: Ints | None, otherwise: int = 0) -> Ints:
        return np.full(len(kept), otherwise, np.int64) if column is None else column[kept]

    return Trace(
        source=raw.name,
        digest=raw.digest,
        projects=project.names,
        pools=pool.names,
        work_classes=work_class.names,
        number=rows.number[kept],
        submit_ms=rows.submit_ms[kept],
        run_ms=run,
        walltime_ms=np.maximum(rows.walltime_ms[kept], run),
        milli_devices=milli,
        nodes=_whole_nodes(milli, whole_node_devices) if rows.nodes is None else given(rows.nodes),
        project=project.codes,
        pool=pool.codes,
        work_class=work_class.codes,
        priority=given(rows.priority),
        slack_ms=given(rows.slack_ms, -1),
        tolerance_permille=given(rows.tolerance_permille),
        preemptible=given(rows.preemptible),
        after=_after(rows, kept),
        dropped=tuple(sorted((cause, count) for cause, count in rows.dropped.items() if count)),
        said=tuple(rows.said),
    )


def _kept(rows: Rows, processors: int | None) -> npt.NDArray[np.intp]:
    """The rows that the convention keeps; each other one is counted under the first cause that holds."""
    causes = [
        ("no-submit", rows.submit_ms < 0),
        ("no-run", rows.run_ms <= 0),
        ("no-devices", rows.milli_devices <= 0),
    ]
    if processors is not None:
        causes.append(("larger-than-machine", rows.milli_devices > processors * 1_000))
    kept = np.ones(len(rows.number), bool)
    for cause, holds in causes:
        rows.dropped[cause] += int((kept & holds).sum())
        kept &= ~holds
    return np.flatnonzero(kept)


def _in_range(raw: Raw, rows: Rows, kept: npt.NDArray[np.intp]) -> None:
    bounds = (
        ("submit", rows.submit_ms, 0, _LAST_MS),
        ("run", rows.run_ms, 0, _LONGEST_MS),
        ("walltime", rows.walltime_ms, -_LONGEST_MS, _LONGEST_MS),
        ("devices", rows.milli_devices, 0, _MOST_MILLI),
        ("nodes", rows.nodes, 0, _MOST_MILLI // 1_000),
        ("priority", rows.priority, -_MOST_PRIORITY, _MOST_PRIORITY),
        ("slack", rows.slack_ms, -1, _LONGEST_MS),
        ("tolerance", rows.tolerance_permille, 0, _MOST_TOLERANCE),
        ("preemptible", rows.preemptible, 0, 1),
    )
    for name, column, least, most in bounds:
        if column is None:
            continue
        values = column[kept]
        wrong = np.flatnonzero((values < least) | (values > most))
        if len(wrong):
            raise raw.broken(int(rows.line[kept[wrong[0]]]), name, values[wrong[0]] / 1_000)


def _whole_nodes(milli: Ints, whole_node_devices: int | None) -> Ints:
    if whole_node_devices is None:
        return np.zeros_like(milli)
    node = whole_node_devices * 1_000
    return np.where(milli % node == 0, milli // node, 0)


def _after(rows: Rows, kept: npt.NDArray[np.intp]) -> Ints:
    """The row of each job's predecessor; only an earlier row counts, so that nothing waits in a circle."""
    after = np.full(len(kept), -1, np.int64)
    if rows.after_row is not None:
        return _after_row(rows.after_row, kept)
    if rows.preceding is None or not (rows.preceding[kept] > 0).any():
        return after
    row = {number: i for i, number in enumerate(rows.number[kept].tolist())}
    wanted = rows.preceding[kept]
    missing = 0
    for i in np.flatnonzero(wanted > 0).tolist():
        found = row.get(int(wanted[i]), i)
        if found < i:
            after[i] = found
        else:
            missing += 1
    rows.said.append("A job that names its predecessor waits for its end; the think time between the two is ignored.")
    if missing:
        rows.said.append(
            f"{missing} jobs name a predecessor that is not before them in this trace: they wait for none."
        )
    return after


def _after_row(wanted: Ints, kept: npt.NDArray[np.intp]) -> Ints:
    """The same, where a table names the row: one that is left out, not there or not earlier counts as none."""
    place = np.full(len(wanted), -1, np.int64)
    place[kept] = np.arange(len(kept))
    asked = wanted[kept]
    found = np.where((asked >= 0) & (asked < len(wanted)), place[np.clip(asked, 0, len(wanted) - 1)], -1)
    return np.where(found < np.arange(len(kept)), found, -1)
