"""A cluster that is read anew: what Slurm says of itself is taken from it, what an operator chose stays as it was.

Slurm says which partitions there are, on which nodes, and how long their runs may be. Everything else is a choice: it
changes where the command names it, and watts of a node where the node itself is another now.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from fabrique.definitions.cluster import Cluster, ClusterPartition

SLURMS: Final = frozenset({"cluster", "partitions"})  # fields that are never a choice
_OF_A_SORT: Final = ("gres", "devices", "cores")  # nodes that agree in these are of the same sort
_CHOSEN: Final = ("kind", "core_kind", "idle_w", "device_w", "core_w", "limit_w")


@dataclass(frozen=True, slots=True)
class Difference:
    """`key` as the file has it, a partition by its id; a value is None where there is none."""

    key: str
    before: str | None
    after: str | None


def kept(
    before: Cluster,
    found: Cluster,
    given: Collection[str],
    longest: Mapping[str, int],
    kinds: Collection[str] = (),
) -> Cluster:
    """`found` with all that was chosen in `before`, but for the fields in `given` and the devices of Slurm's types in
    `kinds`. Another cluster keeps nothing. `longest`: of each of Slurm's partitions, in minutes.
    """
    if before.cluster != found.cluster:
        return found
    chosen = {name: getattr(before, name) for name in Cluster.model_fields if name not in {*SLURMS, *given}}
    if "cap_w" in given:
        del chosen["cap_basis"]
    elif before.cap_basis == "assumed" and before.cap_w == _most(before.partitions):
        del chosen["cap_w"]  # all that everything draws was nobody's choice
    left = list(before.partitions)
    partitions: list[ClusterPartition] = []
    for one in found.partitions:
        same = next((old for old in left if set(old.names) & set(one.names)), None)
        if same is not None:
            left.remove(same)
            one = _partition(same, one, longest, kinds)
        partitions.append(one)
    whole = found.model_copy(update={**chosen, "partitions": tuple(_apart(partitions))})
    return whole if "cap_w" in {*chosen, *given} else whole.model_copy(update={"cap_w": _most(whole.partitions)})


def kinds_in(before: Cluster | None) -> dict[str, str]:
    """Slurm's types -> our kinds, as they stand in the file."""
    known = () if before is None else before.partitions
    return {p.gres.removeprefix("gpu:"): p.kind for p in known if p.gres and p.kind and ":" in p.gres}


def differences(before: Cluster, after: Cluster) -> list[Difference]:
    """What the file says now, field by field, in its order."""
    return [*_fields("", before, after, SLURMS), *_of_partitions(before, after)]


# --- steps ------------------------------------------------------------------------------------------------------------


def _partition(
    before: ClusterPartition, found: ClusterPartition, longest: Mapping[str, int], kinds: Collection[str]
) -> ClusterPartition:
    """The hub submits where it did, as long as that is there."""
    there = [name for name in before.names if name in found.names]
    names = (*there, *(name for name in found.names if name not in there))
    alike = all(getattr(before, name) == getattr(found, name) for name in _OF_A_SORT)
    if alike and (found.gres or "").removeprefix("gpu:") in kinds:
        alike = before.kind == found.kind
    chosen = {name: getattr(before, name) for name in _CHOSEN if alike}
    return found.model_copy(update={**chosen, "id": before.id, "names": names, "longest_min": longest.get(names[0])})


def _apart(partitions: list[ClusterPartition]) -> Iterator[ClusterPartition]:
    """With ids of their own: a new one may be called as an old one was."""
    taken = set[str]()
    for one in partitions:
        name, number = one.id, 2
        while name in taken:
            name, number = f"{one.id[:47]}-{number}", number + 1
        taken.add(name)
        yield one if name == one.id else one.model_copy(update={"id": name})


def _most(partitions: Collection[ClusterPartition]) -> int:
    return sum(p.nodes * p.node_w for p in partitions)


def _of_partitions(before: Cluster, after: Cluster) -> Iterator[Difference]:
    old, new = ({p.id: p for p in cluster.partitions} for cluster in (before, after))
    for name in [*old, *(name for name in new if name not in old)]:
        key = f"partitions.{name}"
        if name in old and name in new:
            yield from _fields(f"{key}.", old[name], new[name], ("id",))
        else:
            yield Difference(key, *(_said(one[name].names) if name in one else None for one in (old, new)))


def _fields(
    where: str, before: Cluster | ClusterPartition, after: Cluster | ClusterPartition, but: Collection[str]
) -> Iterator[Difference]:
    for name in type(before).model_fields:
        one, other = getattr(before, name), getattr(after, name)
        if name not in but and one != other:
            yield Difference(f"{where}{name}", _said(one), _said(other))


def _said(value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
