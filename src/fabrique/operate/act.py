"""Act: tell the engines, after the intent is written. Every act is safe to repeat under the same intent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from fabrique.apps.jobs import specs
from fabrique.apps.jobs.models import Intent, Job, Run
from fabrique.apps.provision import services as provision
from fabrique.apps.this_hub import ThisHub
from fabrique.core.admission import levels as levels_of
from fabrique.core.errors import FabriqueError
from fabrique.core.job import MILLI, JobSpec
from fabrique.engines.protocol import DeviceSlot, Engine, JobUser, RunSpec, Where
from fabrique.engines.slurm.files import levels
from fabrique.engines.slurm.files.levels import Level
from fabrique.engines.slurm.model import QueuedJob, Unread
from fabrique.operate.door_levels import forget_over
from fabrique.operate.observe import intent_of

GRACE_MS = 5_000
FIRST_UID = 200_000  # one numeric user a project, where the hub runs as root


def bind(
    cores: Sequence[int], slots: Sequence[DeviceSlot], bounds: Sequence[Mapping[str, Any]], spec: JobSpec
) -> dict[str, Any] | None:
    """The cores and devices that are free for a job, lowest first; a fraction goes to the fullest that has room.

    `slots` are those of the kind it was given, `bounds` what live runs have. None when there are too few: fractions
    that are free on two devices do not make one.
    """
    taken = {c for bound in bounds for c in bound.get("cores", [])}
    free = [c for c in cores if c not in taken]
    used: dict[str, int] = {}
    for bound in bounds:
        for d in bound.get("devices", []):
            used[d["uuid"]] = used.get(d["uuid"], 0) + d["milli"]
    devices = _devices(slots, used, spec.milli_devices)
    if len(free) < spec.cores or sum(d["milli"] for d in devices) < spec.milli_devices:
        return None
    return {"cores": free[: spec.cores], "devices": devices}


def _devices(slots: Sequence[DeviceSlot], used: Mapping[str, int], milli: int) -> list[dict[str, Any]]:
    if not milli:
        return []
    if milli < 1000:
        fitting = [s for s in slots if used.get(s.uuid, 0) + milli <= 1000]
        chosen = sorted(fitting, key=lambda s: (-used.get(s.uuid, 0), s.uuid))[:1]
    else:
        chosen = [s for s in slots if not used.get(s.uuid)][: milli // 1000]
    each = min(milli, 1000)
    return [{"vendor": s.vendor, "index": s.index, "uuid": s.uuid, "milli": each} for s in chosen]


def run_spec(here: ThisHub, run: Run) -> RunSpec:
    """The run as the engine takes it, made from the database alone, so that a repeat is the same."""
    job = run.job
    spec = levels_of.at(specs.of(job), run.level)
    cores = tuple(run.bound.get("cores", []))
    return RunSpec(
        intent=intent_of(run),
        name=str(job.number),
        script=spec.script.encode(),
        core_count=len(cores) or spec.cores,
        cores=cores,
        devices=tuple(DeviceSlot(d["vendor"], d["index"], d["uuid"], d["milli"]) for d in run.bound.get("devices", [])),
        memory_mb=spec.memory_mb,
        walltime_ms=spec.walltime_ms,
        output_limit_bytes=spec.output_limit_bytes,
        preempt_signal=spec.checkpoint_signal,
        lead_ms=spec.lead_ms if spec.checkpoint_signal else 0,
        grace_ms=GRACE_MS,
        environment={"FABRIQUE_JOB_NAME": spec.name, "FABRIQUE_PROJECT": job.project.code},
        user=job_user(here, job),
        power_limit_w=spec.power if isinstance(spec.power, int) else None,
        power_w=run.bound.get("power_w"),
        where=where(here, run, spec),
    )


def where(here: ThisHub, run: Run, spec: JobSpec) -> Where | None:
    """Its partition, account and devices in the terms of the hub's cluster; None on this machine.

    Raises `engine.refused` while the cluster knows no account of the project, which the loop looks at before.
    """
    cluster = here.deployment.cluster
    if cluster is None:
        return None
    partition = next(p for p in cluster.partitions if p.id == run.partition)
    place = account(here, run.job)
    if place is None:
        raise FabriqueError("engine.refused", engine=cluster.engine, why="no account")
    each = spec.milli_devices // MILLI // spec.nodes
    return Where(
        partition=partition.names[0],
        account=place[0],
        qos=place[1] or "",
        nodes=spec.nodes,
        gres=f"{partition.gres}:{each}" if each else "",
    )


def account(here: ThisHub, job: Job) -> tuple[str, str | None] | None:
    """The account and QoS that pay for the job on the hub's cluster; None until they were made there."""
    cluster = here.deployment.cluster
    return provision.place_of(cluster.engine, job.allocation_id) if cluster else None


def job_user(here: ThisHub, job: Job) -> JobUser:
    """On whose behalf: a user a project on this machine; on a cluster the hub's own, or the person's login.

    Raises `engine.refused` where the cluster wants a login and the person has none.
    """
    cluster = here.deployment.cluster
    if cluster is None:
        own = here.local.isolation == "own-user"
        return JobUser(job.project.code, FIRST_UID + job.project.serial if own else None)
    if cluster.run_as == "own":
        return JobUser(job.project.code)
    login = job.login or (job.submitter.login if job.submitter else "")
    if not login:
        raise FabriqueError("engine.refused", engine=cluster.engine, why="no login")
    return JobUser(job.project.code, login=login)


def tell(engine: Engine, here: ThisHub, intent: Intent) -> None:
    """The act that `intent` announces. Raises what the engine raises."""
    name = intent_of(intent.run)
    if intent.act == "submit":
        spec = run_spec(here, intent.run)
        if spec.power_limit_w is not None and isinstance(engine, Levelled):
            submit_at_level(engine, here.home / levels.LEVELS, spec, spec.power_limit_w)
        else:
            engine.submit(spec)
    elif intent.act == "release":
        engine.release([name])
    elif intent.act == "cancel":
        engine.cancel(name, GRACE_MS)
    else:
        engine.preempt(name)


@runtime_checkable
class Levelled(Engine, Protocol):
    """An engine whose nodes set a job's power level by its number, which is known once it was submitted."""

    def job_of(self, intent: str) -> int | None: ...
    def queue(self) -> tuple[Sequence[QueuedJob], Sequence[Unread]]: ...


def submit_at_level(engine: Levelled, folder: Path, spec: RunSpec, watts: int) -> None:
    """The job is held until its level stands where its nodes look; repeated after a crash, it goes on from there."""
    try:
        engine.hold([spec.intent])
    except FabriqueError as error:
        if error.code == "engine.refused" and error.params.get("why") == "started":
            return  # an earlier attempt came to its end
        raise
    engine.submit(spec)
    job = engine.job_of(spec.intent)
    if job is None:  # cancelled before it ever came there
        return
    known, unread = engine.queue()
    try:
        forget_over(folder, known, unread, but=[job])
        levels.put(folder, job, Level("limit_w", watts))
    except (OSError, ValueError) as error:
        raise FabriqueError("engine.unavailable", why=f"the power level can't be written: {error}") from error
    engine.release([spec.intent])
