"""Where a run goes in the cluster, and the order that Slurm is given for it."""

from __future__ import annotations

import os
import pwd
from binascii import b2a_base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fabrique.core.errors import FabriqueError
from fabrique.engines.protocol import RunSpec, Where
from fabrique.engines.slurm import batch
from fabrique.engines.slurm.folder import Folder
from fabrique.engines.slurm.model import Order

JOB_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


def no_licences(spec: RunSpec) -> Mapping[str, int]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`partitions` are Slurm's names of those that the hub serves; `runs` is a folder that the nodes share.

    `login` is as whom the hub's own commands submit (None: who runs this); `licences` what a run asks for beside; and
    `vendors` names the maker of each type of device. A look at the queue serves for `look_ms`. A run that is gone from
    the queue is lost once the accounting, readable, has known no end of it for `grace_ms`: its writes come late. An end
    that the controller knows is taken from the accounting where it comes within `late_ms`. A submission that Slurm did
    not answer is repeated no sooner than `unclear_ms` later. For `forgotten_ms` after the folder was made, the
    accounting is asked before each submission: a restored hub has forgotten some.
    """

    cluster: str
    partitions: tuple[str, ...]
    runs: Path
    login: str | None = None
    licences: Callable[[RunSpec], Mapping[str, int]] = no_licences
    look_ms: int = 400  # less than a turn of the loop: each turn sees what came since
    grace_ms: int = 60_000
    late_ms: int = 0
    unclear_ms: int = 30_000
    forgotten_ms: int = 86_400_000
    vendors: Mapping[str, str] = field(default_factory=dict)

    @property
    def own_login(self) -> str:
        return self.login or login()


def where(spec: RunSpec) -> Where:
    """Raises `job.field`: a cluster does not choose for itself."""
    if spec.where is None or spec.where.nodes < 1:
        raise FabriqueError("job.field", field="where", why="missing")
    return spec.where


def written(spec: RunSpec, login: str) -> dict[str, Any]:
    """The order as the folder keeps it: all that is needed to follow the run, and to know it again."""
    place = where(spec)
    return {
        "name": spec.name,
        "script": b2a_base64(spec.script, newline=False).decode(),
        "environment": dict(spec.environment),
        "user": spec.user.login or login,
        "account": place.account,
        "partition": place.partition,
        "nodes": place.nodes,
        "cores": spec.core_count,
        "walltime": spec.walltime_ms,
        "warning": spec.preempt_signal,
        "lead": spec.lead_ms if spec.preempt_signal else 0,
        "output_limit": spec.output_limit_bytes,
    }


def order(spec: RunSpec, run: Folder, licences: Mapping[str, int], *, held: bool) -> Order:
    """Cores and memory are the run's, shared out evenly over its nodes. Raises `job.field`."""
    place = where(spec)
    lead = bool(spec.preempt_signal and spec.lead_ms)
    return Order(
        intent=spec.intent,
        script=batch.wrapped(spec.script, spec.intent),
        user=spec.user.login,
        account=place.account,
        qos=place.qos or None,
        partition=place.partition,
        nodes=place.nodes,
        cores=-(-spec.core_count // place.nodes),
        memory_mb=None if spec.memory_mb is None else -(-spec.memory_mb // place.nodes),
        gres=place.gres or _gres(spec, place.nodes),
        limit_ms=spec.walltime_ms,
        output=str(run.output),
        folder=str(run.work),
        environment=_environment(spec, run),
        signal=spec.preempt_signal if lead else None,
        lead_ms=spec.lead_ms,
        licences=licences,
        held=held,
    )


def _gres(spec: RunSpec, nodes: int) -> str | None:
    """Whole devices, as many on each node. Raises `job.field`: Slurm shares no device out by thousandths."""
    if not spec.devices:
        return None
    if any(slot.milli != 1000 for slot in spec.devices) or len(spec.devices) % nodes:
        raise FabriqueError("job.field", field="devices", why="count")
    return f"gpu:{len(spec.devices) // nodes}"


def _environment(spec: RunSpec, run: Folder) -> dict[str, str]:
    """What a job starts with, beside what Slurm tells it. A person's job is at home in the person's own folder."""
    entry = _entry(spec.user.login)
    home = entry.pw_dir if entry is not None else str(run.work)
    name = spec.user.login or login()
    own = {"HOME": home, "USER": name, "LOGNAME": name, "SHELL": "/bin/sh", "PATH": JOB_PATH}
    return {**own, **spec.environment, "FABRIQUE_JOB": spec.name, "FABRIQUE_INTENT": spec.intent}


def _entry(user: str | None) -> pwd.struct_passwd | None:
    try:
        return None if user is None else pwd.getpwnam(user)
    except KeyError:
        return None


def login() -> str:
    """Who runs this."""
    return pwd.getpwuid(os.geteuid()).pw_name
