"""`fabrique submit`, `jobs`, `why`, `log`, `cancel`: a job from its script to its end.

What is said goes through the Speaker of the desk.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fabrique.cli import context, output
from fabrique.cli.context import Desk
from fabrique.cli.job_json import as_json
from fabrique.cli.shared import Call, command
from fabrique.core.errors import FabriqueError

if TYPE_CHECKING:
    from fabrique.apps.jobs.models import Job

app = typer.Typer()
NUMBER = typer.Argument(metavar="JOB", help="A job's number; on a cluster its id there, or job:NUMBER.")
FLAGS: Final = {
    "project": "Whose hours are spent.",
    "name": "What people call it.",
    "accelerators": "How many, and which kinds: 1, 0.5, '2 of h100-sxm|mi300x'.",
    "kinds": "Kinds of accelerators, cores or QPUs that will do: 'h100-sxm|mi300x'.",
    "nodes": "On how many nodes.",
    "cores": "Cores in all.",
    "memory": "Memory in all: 8G.",
    "walltime": "The longest it may run: 30m, 2h, 01:30:00.",
    "not-before": "The earliest start, with a time zone: 2026-12-24T18:00+01:00.",
    "latest-start": "The latest start, with a time zone.",
    "deadline": "When it must have ended, with a time zone.",
    "preemptible": "Whether it may be paused: 'yes, signal=USR1, lead=60s'.",
    "datasets": "Registered datasets it uses.",
    "power": "auto, max, or watts per accelerator: 300W.",
    "tolerance": "How much longer it may take at a lower power level: 10%.",
    "output": "The most it may print: 64M.",
}


@command(app, "submit", flags=FLAGS)
def submit(
    call: Call,
    script: Annotated[str, typer.Argument(metavar="FILE", help="The script; - is standard input.")],
    flags: dict[str, str],
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it ends: exit code 0 when it completed.")] = False,
) -> None:
    """Submit a job. Options stand for the keys of the script's header and win over it."""
    desk = context.enter(call)
    from fabrique.apps.jobs import services as jobs

    text = _script(script)
    try:
        job = jobs.submit(desk.person, flags.get("project"), text, flags, now=desk.now)
    except FabriqueError as error:
        raise _named(error, script) from None
    if not call.json:
        output.line(desk.say.text("Job {job} is submitted.", job=jobs.name_of(job)))
    if wait:
        from fabrique.cli import waiting

        job = waiting.to_the_end(desk, job)
        waiting.tell(desk, job)
        raise typer.Exit(0 if job.status == "completed" else 1)
    if call.json:
        return output.document(as_json(desk, job))
    return output.hint(desk.say.text("Why it waits, and until when:"), desk.command(f"why {jobs.name_of(job)}"))


@command(app, "jobs")
def jobs(
    call: Call,
    everyone: Annotated[bool, typer.Option("--all", help="The hub's whole queue (desk).")] = False,
    project: Annotated[str | None, typer.Option("--project", metavar="CODE", help="Of one project.")] = None,
) -> None:
    """List jobs: yours, a project's, or the whole queue."""
    desk = context.enter(call)
    from fabrique.apps.jobs import queries
    from fabrique.apps.jobs.services import name_of
    from fabrique.apps.people import rights
    from fabrique.cli import projects

    if everyone:
        rights.require(desk.person, "operate.view", now=desk.now)
        found = list(queries.queue())
    elif project:
        found = list(projects.find(desk, project, "job.view").jobs.select_related("project"))
    else:
        found = list(queries.jobs_of(desk.person))
    if call.json:
        return output.document({"jobs": [as_json(desk, job) for job in found]})
    say = desk.say
    head = [say.text("job"), say.text("name"), say.text("project"), say.text("state"), say.text("submitted")]
    rows = [
        (name_of(j), j.name, j.project.code, say.word("job", j.status), say.instant(j.submitted_ms), _why(desk, j))
        for j in found
    ]
    output.table([*head, say.text("why")], rows, numbers=(0,))
    return None if found else output.hint(say.text("Submit one:"), desk.command("submit SCRIPT --wait"))


@command(app, "why")
def why(call: Call, job: Annotated[str, NUMBER]) -> None:
    """Say where a job stands: why it waits, when it starts at the latest, how it ended, what it cost."""
    desk = context.enter(call)
    from fabrique.cli import waiting

    return waiting.tell(desk, find(desk, job))


@command(app, "log")
def log(
    call: Call,
    job: Annotated[str, NUMBER],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="The bytes as they are, also to a terminal.")] = False,
) -> None:
    """Print what a job wrote. On a terminal, what could move its cursor is left out."""
    desk = context.enter(call)
    from fabrique.cli import logs

    found = find(desk, job, "job.log")
    if found.door:
        raise FabriqueError("log.outside", job=found.called, engine=found.door)
    return logs.show(desk, found, follow=follow, raw=raw)


@command(app, "cancel")
def cancel(call: Call, job: Annotated[str, NUMBER]) -> None:
    """End a job: a waiting one at once, a running one by the loop; what it used is charged."""
    desk = context.enter(call)
    from fabrique.apps.jobs import services

    done = services.cancel(find(desk, job, "job.cancel"), desk.person, now=desk.now)
    if call.json:
        return output.document(as_json(desk, done))
    if done.status == "cancelled":
        return output.line(desk.say.text("Job {job} is cancelled; it never started.", job=services.name_of(done)))
    return output.line(desk.say.text("Job {job} is told to end.", job=services.name_of(done)))


# --- steps ------------------------------------------------------------------------------------------------------


def _script(name: str) -> bytes:
    """The script's bytes, one more at most than a script may have."""
    from fabrique.core.job import SCRIPT_MOST_BYTES

    if name == "-":
        return sys.stdin.buffer.read(SCRIPT_MOST_BYTES + 1)
    from fabrique.definitions.yaml import read_bytes

    found, code, params = read_bytes(Path(name), SCRIPT_MOST_BYTES)
    if found is None:
        from fabrique.definitions.complaints import Complaint

        raise FabriqueError("script.broken", complaints=[Complaint(name, 0, "", code, params)])
    return found


def _named(error: FabriqueError, script: str) -> FabriqueError:
    """Complaints cite the file that was given, not the name the service knows it by."""
    from dataclasses import replace

    complaints: Any = error.params.get("complaints")
    if not complaints or script == "-":
        return error
    cited = [replace(c, file=script) if c.file == "script" else c for c in complaints]
    return FabriqueError(error.code, **{**error.params, "complaints": cited})


def find(desk: Desk, number: str, action: str = "job.view") -> Job:
    """A job this person may see. Raises `job.missing`, `right.denied`."""
    from fabrique.apps.access.relations import relations
    from fabrique.apps.jobs.services import find_named
    from fabrique.apps.people import rights

    found = find_named(number)
    related = relations(desk.person, project=found.project, now=desk.now)
    rights.require(desk.person, action, now=desk.now, relations=related, subject=found.project.code)
    return found


def _why(desk: Desk, job: Job) -> str:
    from fabrique.apps.jobs.services import reason_of

    reason = reason_of(job)
    return "" if reason is None else desk.say.reason(reason)
