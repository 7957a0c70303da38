"""What `fabrique slurm install` puts beside slurm.conf: the deployment's choices in the files' words."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fabrique.apps.people import rights
from fabrique.apps.people.models import Person
from fabrique.apps.provision.models import Place
from fabrique.apps.this_hub import ThisHub
from fabrique.core.errors import FabriqueError
from fabrique.definitions.cluster import Cluster
from fabrique.engines.slurm.files import door, levels, render
from fabrique.engines.slurm.files.install import Difference, check, put
from fabrique.engines.slurm.files.render import Choice, Generated, PartitionPower
from fabrique.operate.provision import RIGHT, accounting_of, cluster_of

ROOT = 0  # who may always release what is held
_LINE = re.compile(r"^\s*(\w+)\s*=\s*([^\s#]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Nodes:
    """The site's own commands that power nodes down and up; None: nobody does."""

    suspend: str | None = None
    resume: str | None = None


@dataclass(frozen=True, slots=True)
class Installed:
    """`written` are names of files; `lines` lack in slurm.conf; `licences` there are now, None: `refused` says why."""

    folder: Path
    written: list[str]
    lines: list[str]
    licences: int | None
    refused: str | None


def choice_of(here: ThisHub, nodes: Nodes) -> Choice:
    """Raises `provision.none`, OSError."""
    cluster = cluster_of(here)
    vendors = render.vendors_of([v for k in cluster.kinds if (v := _vendor(here, k)) is not None])
    return Choice(
        conf=cluster.conf,
        bin=cluster.bin,
        hub_uids=tuple(sorted({ROOT, here.home.stat().st_uid})),
        hold=cluster.hold,
        door=cluster.door,
        silent_s=cluster.silent_s,
        licence=cluster.watt_licence,
        pue_permille=cluster.pue_permille,
        partitions=tuple(
            PartitionPower(p.names, p.nodes, p.devices, p.cores, p.memory_mb, p.device_w, p.core_w)
            for p in cluster.partitions
        ),
        state=str(here.home / door.STATE),
        levels=str(here.home / levels.LEVELS),
        vendors=vendors,
        suspend=nodes.suspend,
        resume=nodes.resume,
    )


def compare(here: ThisHub, person: Person, folder: Path | None, nodes: Nodes, *, now: int) -> list[Difference]:
    """What in `folder` (None: beside slurm.conf) is not what would be generated now. Raises as `install` does."""
    target, files, chosen = _prepared(here, person, folder, nodes, now=now)
    lost = [] if Path(chosen.state).is_file() else [Difference(chosen.state, "missing")]
    return check(target, files) + lost


def install(here: ThisHub, person: Person, folder: Path | None, nodes: Nodes, *, now: int) -> Installed:
    """Writes the files and makes the watt licence where there is none. What slurm.conf lacks is said, never written.

    The door's own file is put there too, where the hub has not written one: a closed door has to know whose jobs it is.

    Raises `right.denied`, `provision.none`, `file.exists` (a file of that name is not ours), OSError.
    """
    target, files, chosen = _prepared(here, person, folder, nodes, now=now)
    written = put(target, files)
    licences, refused = _licences(cluster_of(here))
    there = door.Licences(licences or 0, cluster_of(here).licence_w)
    _first_word(here, Path(chosen.state), there)
    lines = lacking(Path(chosen.conf), render.conf_lines(chosen, str(target)))
    return Installed(target, written, lines, licences, refused)


def lacking(conf: Path, wanted: Iterable[str]) -> list[str]:
    """Those of `wanted` that slurm.conf does not say; a list counts as said where it holds every word asked."""
    try:
        text = conf.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    said: dict[str, set[str]] = {}
    for key, value in _LINE.findall(text):
        said.setdefault(key.lower(), set()).update(value.lower().split(","))
    missing = []
    for line in wanted:
        key, _, value = line.partition("=")
        if not set(value.lower().split(",")) <= said.get(key.lower(), set()):
            missing.append(line)
    return missing


def full_licences(cluster: Cluster) -> int:
    """How many licences the cluster's cap leaves above what its nodes draw idle."""
    idle = sum(p.nodes * p.idle_w for p in cluster.partitions) * cluster.pue_permille // 1_000
    return max(cluster.cap_w - idle, 0) // cluster.licence_w


# --- steps ------------------------------------------------------------------------------------------------------------


def _prepared(
    here: ThisHub, person: Person, folder: Path | None, nodes: Nodes, *, now: int
) -> tuple[Path, list[Generated], Choice]:
    rights.require(person, RIGHT, now=now)
    chosen = choice_of(here, nodes)
    target = Path(chosen.conf).parent if folder is None else folder.absolute()
    return target, render.generate(chosen), chosen


def _first_word(here: ThisHub, state: Path, licences: door.Licences) -> None:
    """The accounts that there are, from a hub that has not spoken yet: what the door does then is the site's choice."""
    if state.is_file():
        return
    names = Place.objects.filter(engine=cluster_of(here).engine).values_list("account__name", flat=True).distinct()
    folder, owner = state.parent, here.home.stat()
    fresh = not folder.exists()
    door.write(state, 0, [door.AccountRoom(name, 0, 0) for name in names], [], licences)
    if fresh and os.geteuid() == ROOT:  # the hub's own user goes on writing there
        os.chown(folder, owner.st_uid, owner.st_gid)


def _licences(cluster: Cluster) -> tuple[int | None, str | None]:
    """There are as many as there were; where there were none, as many as the cap leaves."""
    if cluster.watt_licence is None:
        return None, None
    accounting = accounting_of(cluster)
    try:
        there = accounting.licences(cluster.watt_licence)
        if there is None:
            there = accounting.set_watts(cluster.watt_licence, full_licences(cluster))
    except FabriqueError as error:
        return None, str(error.params.get("why", error.code))
    return there, None


def _vendor(here: ThisHub, kind: str) -> str | None:
    known = here.kinds.get(kind)
    return known.vendor.lower() if known is not None and known.vendor else None
