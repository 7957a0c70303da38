"""An engine on a lab's Slurm, by either transport, with an empty folder of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fabrique.engines.protocol import JobUser, Where
from fabrique.engines.slurm.commands import CommandTransport
from fabrique.engines.slurm.engine import SlurmEngine
from fabrique.engines.slurm.model import Transport, Way
from fabrique.engines.slurm.placing import Settings
from fabrique.engines.slurm.rest import RestTransport

if TYPE_CHECKING:
    from tools.slurm_lab.lab import SlurmLab

ACCOUNT = "contract"
_PREPARED: set[Path] = set()


def user(lab: SlurmLab) -> JobUser:
    """A person of the lab's; where all is one user's, that one."""
    return JobUser("ada", login=lab.people[0] if os.geteuid() == 0 else None)


def where(lab: SlurmLab) -> Where:
    """Where runs go; the account is made at the first call."""
    if lab.folder not in _PREPARED:
        lab.account(ACCOUNT, *lab.people)
        _PREPARED.add(lab.folder)
    return Where("gpu", ACCOUNT)


def transport(lab: SlurmLab, way: Way) -> Transport:
    if way == "commands":
        return CommandTransport(lab.conf, timeout_s=30)
    return RestTransport(lab.rest_url, lab.jwt_key, lab.slurm_user, timeout_s=30)


def is_oldest(lab: SlurmLab) -> bool:
    return transport(lab, "commands").version() < (23, 2)


def connector(lab: SlurmLab, way: Way, clock: Callable[[], int], **changes: object) -> Callable[[], SlurmEngine]:
    """Each call is another engine on the same folder, as another process has it. `changes` to its settings."""
    runs = lab.folder / "runs" / f"{time.monotonic_ns()}"
    runs.parent.mkdir(mode=0o711, exist_ok=True)
    settings = Settings(cluster=lab.cluster, partitions=("gpu",), runs=runs, look_ms=150, grace_ms=2_000)
    settings = replace(settings, **changes)  # type: ignore[arg-type]
    return lambda: SlurmEngine(transport(lab, way), settings, clock)
