"""What the hub's cluster says of a job, asked when somebody asks; the loop has its own look."""

from __future__ import annotations

from fabrique.apps.jobs.models import Job
from fabrique.apps.this_hub import ThisHub
from fabrique.core.errors import FabriqueError
from fabrique.engines.slurm.model import OURS, QueuedJob, Transport, handle_of
from fabrique.operate.observe import intent_of


def queued(here: ThisHub, job: Job, transport: Transport) -> QueuedJob | None:
    """The job as the cluster's queue has it; None where it has none, or does not answer.

    A hub's own run is found by its intent, any other by the cluster's name of it: a task of an array by its array.
    """
    cluster = here.deployment.cluster
    if cluster is None:
        return None
    run = job.runs.order_by("-attempt").first()
    if not job.door and run is None:
        return None
    wanted = job.handle if job.door or run is None else intent_of(run)
    try:
        jobs, _ = transport.queue()
    except FabriqueError:
        return None
    array, _, task = job.outside_id.partition("_")
    for one in jobs:
        if wanted.startswith(OURS):
            if one.name == wanted:
                return one
        elif handle_of(one) == wanted:
            return one
        elif task.isdigit() and str(one.array_id) == array and int(task) in one.task_ids:
            return one
    return None
