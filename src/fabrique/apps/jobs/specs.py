"""A job's spec as JSON and back: what the table keeps. The script stands in a column of its own."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fabrique.apps.jobs.models import Job
from fabrique.core.job import JobSpec


def to_json(spec: JobSpec) -> dict[str, Any]:
    data = asdict(spec)
    del data["script"]
    return {**data, "script_sha256": spec.script_sha256}


def of(job: Job) -> JobSpec:
    data: dict[str, Any] = dict(job.spec)
    del data["script_sha256"]
    data = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    return JobSpec(script=job.script, **data)
