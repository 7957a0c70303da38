"""A job's spec as JSON and back: what the table keeps. The script stands in a column of its own."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from fabrique.apps.jobs.models import Job
from fabrique.core.job import JobSpec


def to_json(spec: JobSpec) -> dict[str, Any]:
    data = asdict(spec)
    del data["script"]
    return {**data, "script_sha256": spec.script_sha256}


def of(job: Job) -> JobSpec:
    return replace(needs(job), script=job.script)


def needs(job: Job) -> JobSpec:
    """What it asks for alone, with an empty script: scripts are long, and few have to read them."""
    data: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in job.spec.items() if k != "script_sha256"
    }
    return JobSpec(script="", **data)
