"""The definition of FCFS and EASY (`tools/plain_loop.py`) beside the traces it is applied to."""

from __future__ import annotations

import gzip
from pathlib import Path

from tools.plain_loop import Job, easy, fcfs, replay

__all__ = ["Job", "easy", "fcfs", "mean_wait", "replay", "swf"]


def swf(path: Path, processors: int) -> list[Job]:
    """The jobs of a trace in the Standard Workload Format, in seconds, as every engine is to read them.

    Processors and time as requested, else as used; a job that never ran, or is larger than the machine, is left out.
    """
    jobs = []
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.strip() and not line.startswith(";"):
                number, submit, _, run, used, _, _, asked, request, *_ = (int(float(x)) for x in line.split())
                size = asked if asked > 0 else used
                if run > 0 and 0 < size <= processors:
                    jobs.append((submit, number, run, size, max(request, run)))
    return [(submit, run, size, request) for submit, _, run, size, request in sorted(jobs)]


def mean_wait(jobs: list[Job], starts: list[int]) -> float:
    return sum(start - job[0] for job, start in zip(jobs, starts, strict=True)) / len(jobs)
