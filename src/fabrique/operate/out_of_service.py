"""What of the cluster nobody can be given now: nodes that are down or drained, and what others' jobs have taken."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol, runtime_checkable

from fabrique.core.admission.state import BlockRow
from fabrique.core.clock import has_passed
from fabrique.core.errors import FabriqueError
from fabrique.core.job import MILLI
from fabrique.core.units import HOUR_MS, ceil_divide
from fabrique.definitions.cluster import Cluster, ClusterPartition
from fabrique.engines.slurm.model import OUT, Node, QueuedJob, Tres

log = logging.getLogger("fabrique.loop")

NODES_MOST: Final = 200  # named one by one
REASON_MOST: Final = 200
NODES_MS: Final = 10_000  # how often nodes are asked: they go out of service by an operator's word, or by a mishap


@runtime_checkable
class HasNodes(Protocol):
    def nodes(self) -> Sequence[Node]: ...


@dataclass(frozen=True, slots=True)
class NodeOut:
    """A node that runs nothing new, as Slurm says it; `reason` is whatever somebody typed."""

    name: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class Away:
    """`watts` at the facility meter are what others' jobs may draw: their licences hold them under the same cap. Of
    `nodes` the first `NODES_MOST` are named.
    """

    blocks: tuple[BlockRow, ...] = ()
    watts: int = 0
    nodes: tuple[NodeOut, ...] = ()

    def as_json(self) -> dict[str, Any]:
        blocks, nodes = [asdict(one) for one in self.blocks], [asdict(one) for one in self.nodes]
        return {"blocks": blocks, "watts": self.watts, "nodes": nodes}


NOTHING: Final = Away()
KEPT: Final = "away"  # in what the loop remembers


def kept(decided: Mapping[str, Any]) -> Away:
    """What the loop knew when it decided last; nothing where that can't be read."""
    try:
        told = decided[KEPT]
        blocks = tuple(BlockRow(**block) for block in told["blocks"])
        return Away(blocks, int(told["watts"]), tuple(NodeOut(**node) for node in told.get("nodes", ())))
    except (KeyError, TypeError, ValueError):
        return NOTHING


class OutOfService:
    """Kept between turns. Nobody knows when it comes back: within the hour, and the next hour says so again."""

    def __init__(self, cluster: Cluster, nodes: Callable[[], Sequence[Node]]) -> None:
        self.cluster, self._nodes = cluster, nodes
        self._seen: Sequence[Node] = ()
        self._seen_at = -NODES_MS
        self._unknown: Mapping[str, str] = {}

    def look(self, others: Sequence[QueuedJob], *, now: int) -> Away:
        """`others` run on the cluster and are no jobs of this hub."""
        if has_passed(self._seen_at, NODES_MS, now=now):
            self._seen_at = now
            try:
                self._seen = self._nodes()
            except FabriqueError as error:
                log.warning("the nodes of %s are taken to be as they were: %s", self.cluster.engine, error)
            self._say(unknown(self.cluster, self._seen))
        of = {node.name: partition for node in self._seen if (partition := self._of(node)) is not None}
        lost: dict[str, Counter[str]] = {}
        watts = 0
        for node in self._seen:
            if node.name in of and not node.up:  # what still runs on it is counted where it runs
                _add(lost, of[node.name], node.total, node.used)
        for job in others:
            partition = next((of[name] for name in job.nodes if name in of), None)
            if partition is not None:
                _add(lost, partition, job.given)
                watts += partition.above_idle_w(job.given.devices, job.given.cores)
        blocks = tuple(_block(name, one, now) for name, one in sorted(lost.items()) if any(one.values()))
        out = tuple(_out(node) for node in self._seen if node.name in of and not node.up)
        return Away(blocks, ceil_divide(watts * self.cluster.pue_permille, 1000), out[:NODES_MOST])

    def _say(self, found: Mapping[str, str]) -> None:
        for name in found.keys() - self._unknown.keys():
            log.warning(
                "the partition %s lies on nodes of %s, and the hub does not know it: its jobs take no watt licences,"
                " and are seen as others' (fabrique slurm connect --again)",
                name,
                found[name],
            )
        self._unknown = found

    def _of(self, node: Node) -> ClusterPartition | None:
        return _serving(self.cluster, node)


def unknown(cluster: Cluster, nodes: Sequence[Node]) -> dict[str, str]:
    """Slurm's partitions that the hub does not know, on nodes that it serves -> its own partition of these nodes."""
    known = {name for p in cluster.partitions for name in p.names}
    ours = ((node, served.id) for node in nodes if (served := _serving(cluster, node)) is not None)
    return {name: where for node, where in ours for name in node.partitions if name not in known}


def _serving(cluster: Cluster, node: Node) -> ClusterPartition | None:
    return next((p for p in cluster.partitions if set(p.names) & set(node.partitions)), None)


def _out(node: Node) -> NodeOut:
    return NodeOut(node.name, "+".join([node.state, *sorted(node.flags & OUT)]), node.reason[:REASON_MOST])


def _add(lost: dict[str, Counter[str]], partition: ClusterPartition, tres: Tres, but: Tres | None = None) -> None:
    less = but or Tres()
    one = lost.setdefault(partition.id, Counter())
    one["devices"] += max(tres.devices - less.devices, 0) if partition.devices else 0
    one["cores"] += max(tres.cores - less.cores, 0)
    one["memory"] += max(tres.memory_mb - less.memory_mb, 0)


def _block(partition: str, lost: Counter[str], now: int) -> BlockRow:
    return BlockRow(
        id=f"away-{partition}",
        partition=partition,
        from_ms=0,
        until_ms=(now // HOUR_MS + 2) * HOUR_MS,
        milli_devices=lost["devices"] * MILLI,
        milli_cores=lost["cores"] * 1000,
        memory_mb=lost["memory"],
    )
