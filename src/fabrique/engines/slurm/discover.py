"""What a cluster says of itself: its name, and its nodes by sort, each with the partitions that they lie in."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fabrique.core.errors import FabriqueError
from fabrique.engines.slurm import running, words
from fabrique.engines.slurm.commands import PATH
from fabrique.engines.slurm.model import Node

WITHIN_S: Final = 20.0
_FOR_EVER_MIN: Final = 10_000_000  # nineteen years
_MOST: Final = 1_000  # settings: what is longer is no configuration


@dataclass(frozen=True, slots=True)
class Sort:
    """Nodes that are alike: `gpus` devices of Slurm's type `gpu` ("" untyped) each. `partitions` as Slurm orders them.

    `memory_mb` is the least of them.
    """

    partitions: tuple[str, ...]
    nodes: int
    cores: int
    memory_mb: int
    gpu: str
    gpus: int


def settings(conf: Path, binaries: Path) -> dict[str, str]:
    """The controller's settings by name. Raises `engine.unavailable`, `engine.garbage`."""
    found: dict[str, str] = {}
    for line in _shown(conf, binaries, "config"):
        name, equals, value = line.partition(" = ")
        if equals:
            found[name.strip()] = value.strip()
    if "ClusterName" not in found:
        raise FabriqueError("engine.garbage", why="scontrol names no cluster")
    return found


def counts_devices(settings: Mapping[str, str]) -> bool:
    """Whether the accounting counts the devices that nodes may have; a setting that is not said forbids nothing."""
    counted = settings.get("AccountingStorageTRES", "gres/gpu").lower().split(",")
    has = "gpu" in settings.get("GresTypes", "").lower().split(",")
    return not has or any(tres.strip().startswith("gres/gpu") for tres in counted)


def longest_min(conf: Path, binaries: Path) -> dict[str, int]:
    """The longest run that each partition lets be, in minutes; none of one without an end. Raises as `settings`."""
    found: dict[str, int] = {}
    for line in _shown(conf, binaries, "partition", "--oneliner"):
        said = dict(word.split("=", 1) for word in line.split() if "=" in word)
        try:
            limit = words.duration_ms(said.get("MaxTime", ""))
        except ValueError:
            raise FabriqueError("engine.garbage", why=f"MaxTime={said['MaxTime'][:40]}") from None
        if limit and "PartitionName" in said:
            found[said["PartitionName"]] = min(max(limit // 60_000, 1), _FOR_EVER_MIN)
    return found


def _shown(conf: Path, binaries: Path, *what: str) -> list[str]:
    environment = {"PATH": PATH, "LC_ALL": "C", "TZ": "UTC", "SLURM_CONF": str(conf)}
    ran = running.run([str(binaries / "scontrol"), "show", *what], environment, WITHIN_S)
    if ran.code != 0:
        raise FabriqueError("engine.unavailable", why=ran.why)
    return ran.output.decode("utf-8", "replace").splitlines()[:_MOST]


def sorts(nodes: Iterable[Node]) -> list[Sort]:
    """Nodes by what they are, the most numerous first. A node of several types of GPU counts by the first of them.

    Nodes that are alike, of which some lie in a partition more, are of one sort: what goes to the larger may use all.
    """
    groups: dict[tuple[tuple[str, ...], int, str, int], list[Node]] = defaultdict(list)
    for node in nodes:
        gpu, gpus = _gpus(node.total.gpus)
        groups[node.partitions, node.total.cores, gpu, gpus].append(node)
    found: list[Sort] = []
    for (partitions, cores, gpu, gpus), own in sorted(groups.items(), key=lambda group: -len(group[1])):
        if partitions and cores:
            memory_mb = min(n.total.memory_mb for n in own)
            found = _joined(found, Sort(partitions, len(own), cores, memory_mb, gpu, gpus))
    return sorted(found, key=lambda s: (-s.nodes * max(s.gpus, 1), s.partitions))


def _joined(found: Sequence[Sort], new: Sort) -> list[Sort]:
    """`new` with all that are as it and share a partition with it, the most numerous first; the others as they are."""
    same = [one for one in found if _is_as(one, new) and set(one.partitions) & set(new.partitions)]
    whole = [*sorted(same, key=lambda s: -s.nodes), new]
    names = dict.fromkeys(name for one in whole for name in one.partitions)
    joined = replace(new, partitions=tuple(names), nodes=sum(one.nodes for one in whole))
    return [*(one for one in found if one not in same), joined]


def _is_as(one: Sort, other: Sort) -> bool:
    return replace(one, partitions=other.partitions, nodes=other.nodes) == other


def named_once(found: Iterable[Sort]) -> tuple[list[Sort], list[str]]:
    """Each partition with one sort alone, the larger; and what is left out: a partition over nodes of several sorts."""
    taken: Counter[str] = Counter()
    kept, left = [], []
    for sort in found:
        own = tuple(p for p in sort.partitions if not taken[p])
        left += [p for p in sort.partitions if taken[p]]
        taken.update(own)
        if own:
            kept.append(Sort(own, sort.nodes, sort.cores, sort.memory_mb, sort.gpu, sort.gpus))
    return kept, sorted(set(left))


def _gpus(by_type: Mapping[str, int]) -> tuple[str, int]:
    typed = {name: count for name, count in by_type.items() if name}
    if typed:
        return min(typed.items())
    return "", by_type.get("", 0)
