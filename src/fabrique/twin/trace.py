"""A trace: the jobs that a replay submits, as arrays with one row a job, in order of submission, then of number.

How a trace is read is one convention, so that engines can be compared: devices requested, else allocated; a run of at
least a second, jobs with none dropped; walltime = max(requested, run), so that nobody is killed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """All columns are int64 and of the same length.

    Times are UTC epoch ms (`submit_ms`) or lengths in ms; `run_ms` is the run at the top power level of the kind the
    trace was recorded on. `milli_devices` are thousandths of a device, `nodes` whole nodes where the job takes whole
    ones (0: it shares). `project`, `pool` and `work_class` index the name tuples. `slack_ms` is how long the
    job may be put off after its submission (-1: not flexible); `tolerance_permille` how much longer than at the top
    level it may run (0: not at all); `preemptible` 1 where it writes checkpoints; `after` the row of a job
    that must end first (-1: none). `dropped` counts the rows left out, by cause; `said` what a reader should know.
    """

    source: str  # file name, or the generator's name and parameters
    digest: str  # SHA-256 of the bytes read, or of the parameters
    projects: tuple[str, ...]
    pools: tuple[str, ...]
    work_classes: tuple[str, ...]
    number: Ints
    submit_ms: Ints
    run_ms: Ints
    walltime_ms: Ints
    milli_devices: Ints
    nodes: Ints
    project: Ints
    pool: Ints
    work_class: Ints
    priority: Ints
    slack_ms: Ints
    tolerance_permille: Ints
    preemptible: Ints
    after: Ints
    dropped: tuple[tuple[str, int], ...] = ()
    said: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in COLUMNS:
            column = getattr(self, name)
            if column.dtype != np.int64 or column.shape != self.submit_ms.shape:
                raise ValueError(f"{name}: {column.dtype}{column.shape} is no int64 column of {self.submit_ms.shape}")

    def __len__(self) -> int:
        return len(self.submit_ms)

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> dict[str, Ints]:
        """The columns at `rows`, to build another trace with; `after` is only right where the rows before remain."""
        return {name: getattr(self, name)[rows] for name in COLUMNS}


COLUMNS = tuple(f.name for f in fields(Trace) if f.type == "Ints")
