"""What the hub's cluster says of a job, asked when somebody asks; the loop has its own look."""

from __future__ import annotations

from fabrique.apps.jobs.models import Job
from fabrique.apps.this_hub import ThisHub
from fabrique.core.errors import FabriqueError
from fabrique.engines.slurm.files.render import held_by_owner
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
    return next((one for one in jobs if _is(one, wanted, array, task)), None)


def reason_of(found: QueuedJob) -> str:
    """Slurm's word for why it waits. The hub's own hold is the administrator's: Slurm calls it the user's."""
    ours = found.held and found.reason == "JobHeldUser" and not held_by_owner(found.comment, found.admin_comment)
    return "JobHeldAdmin" if ours else found.reason


def _is(one: QueuedJob, wanted: str, array: str, task: str) -> bool:
    if wanted.startswith(OURS):
        return one.name == wanted
    waits_in_array = task.isdigit() and str(one.array_id) == array and int(task) in one.task_ids
    return waits_in_array or handle_of(one) == wanted
