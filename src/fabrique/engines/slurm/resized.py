"""Records of the accounting that start before they were submitted: what a resize left of a job, or a clock set back.

A job that is resized while it runs has a record for each size. The rest of it was submitted, by Slurm's word, at the
resize, and started when the whole job was; what it ran before, another record has, which ended right then as RESIZING.
Where there is none, the controller's clock was set back between submission and start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fabrique.engines.slurm.model import Record


def unexplained(found: Sequence[Record]) -> set[int]:
    """Ids of jobs that started before they were submitted, and of whose resize nothing is among `found`."""
    resizes = _resizes(found)
    return {r.job_id for r in found if r.is_rest and (r.job_id, r.submitted_ms) not in resizes}


def told_apart(found: Sequence[Record], beside: Sequence[Record] = ()) -> list[Record]:
    """`found`, each with the time that it ran itself. `beside`: other records of the same jobs, from whatever time."""
    resizes = _resizes([*found, *beside])
    return [_itself(r, (r.job_id, r.submitted_ms) in resizes) for r in found]


def _resizes(found: Sequence[Record]) -> set[tuple[int, int | None]]:
    """Of which job, and when."""
    return {(r.job_id, r.ended_ms) for r in found if r.state == "RESIZING"}


def _itself(r: Record, resized: bool) -> Record:
    if not r.is_rest or r.started_ms is None:
        return r
    if not resized:
        return replace(r, clock_set_back=True)
    return replace(r, elapsed_ms=max(r.elapsed_ms - (r.submitted_ms - r.started_ms), 0))
