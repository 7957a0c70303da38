"""Act: tell the engines, after the intent is written. Every act is safe to repeat under the same intent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fabrique.apps.jobs import specs
from fabrique.apps.jobs.models import Intent, Run
from fabrique.apps.this_hub import ThisHub
from fabrique.core.job import JobSpec
from fabrique.engines.protocol import DeviceSlot, Engine, JobUser, RunSpec
from fabrique.operate.observe import intent_of

GRACE_MS = 5_000
FIRST_UID = 200_000  # one numeric user a project, where the hub runs as root


def bind(
    cores: Sequence[int], slots: Sequence[DeviceSlot], runs: Sequence[Run], spec: JobSpec
) -> dict[str, Any] | None:
    """The cores and devices that are free for a job, lowest first; a fraction goes to the fullest that has room.

    `slots` are those of the kind it was given. None when there are too few: fractions that are free on two devices
    do not make one.
    """
    taken = {c for r in runs for c in r.bound.get("cores", [])}
    free = [c for c in cores if c not in taken]
    used: dict[str, int] = {}
    for run in runs:
        for d in run.bound.get("devices", []):
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
    spec = specs.of(job)
    cores = tuple(run.bound.get("cores", []))
    uid = FIRST_UID + job.project.serial if here.local.isolation == "own-user" else None
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
        user=JobUser(job.project.code, uid),
        power_limit_w=spec.power if isinstance(spec.power, int) else None,
    )


def tell(engine: Engine, here: ThisHub, intent: Intent) -> None:
    """The act that `intent` announces. Raises what the engine raises."""
    name = intent_of(intent.run)
    if intent.act == "submit":
        engine.submit(run_spec(here, intent.run))
    elif intent.act == "cancel":
        engine.cancel(name, GRACE_MS)
    else:
        engine.preempt(name)
