"""Meter a cluster: a window of its nodes' energy, split into jobs, idle and residual node by node.

A node's idle draw is nobody's. What it draws above that is shared by the runs on it, by their devices and cores at
their most, over the time they had it, and never beyond that most. A node without a meter is modelled: its idle power,
and each run at its most. What neither explains, such as jobs that are not the hub's, is residual.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from fabrique.apps.jobs.models import Run
from fabrique.apps.jobs.settlement import LIVE, Seen
from fabrique.apps.this_hub import ThisHub
from fabrique.core.energy import Claim, Provenance, Split, Window, attribute, attributed, least_certain
from fabrique.core.errors import FabriqueError
from fabrique.core.job import MILLI
from fabrique.core.readings import Reading, metered
from fabrique.definitions.cluster import Cluster, ClusterPartition
from fabrique.engines.slurm.model import Node
from fabrique.meters.slurm import MODEL, NodeDraw, SlurmMeter
from fabrique.operate.metering import CLOCK_STEP, Found, Kept, Metering, Parts, difference

log = logging.getLogger("fabrique.loop")

SHARED: Final = attributed("its nodes' meters, by devices and cores over time")
REFRESH_MS: Final = 120_000  # a node's counter may hold so much more than the time between two readings
_OFF: Final = frozenset({"POWERED_DOWN"})


class ClusterMetering(Metering):
    """`nodes` reads the cluster's; those of no partition that the hub serves are not its affair."""

    def __init__(self, here: ThisHub, cluster: Cluster, nodes: Callable[[], Sequence[Node]]) -> None:
        self.cluster, self._nodes = cluster, nodes
        self._of: dict[str, ClusterPartition] = {}  # by source
        self._off: dict[str, int] = {}  # by source, how long of its last interval it was powered down
        self._fresh: Sequence[NodeDraw] | None = None
        self.meter = SlurmMeter(self._draws)
        super().__init__([], here)
        self.meters = [self.meter]

    def ready(self) -> None:
        """Reads the nodes now: no engine is asked inside a transaction."""
        try:
            self._fresh = self._read()
        except FabriqueError as error:
            log.warning("the nodes of %s can't be read: %s", self.cluster.engine, error)
            self._fresh = []

    def _draws(self) -> Sequence[NodeDraw]:
        if self._fresh is None:
            self.ready()
        fresh, self._fresh = self._fresh, None
        return fresh or []

    def _read(self) -> list[NodeDraw]:
        found = []
        for node in self._nodes():
            partition = next((p for p in self.cluster.partitions if set(p.names) & set(node.partitions)), None)
            if partition is not None:
                found.append(draw_of(node, partition))
                self._of[found[-1].source] = partition
        return found

    # --- a node's energy ------------------------------------------------------------------------------------------

    def _found(self, kept: Kept, reading: Reading) -> Found | None:
        """By its counter, by its watts; by the model where they say nothing of the interval (its idle part here)."""
        draw = self.meter.last[reading.source]
        counter, power = kept.get("counter_mj"), kept.get("power_mw")
        before = Reading(reading.source, kept["at_ms"], reading.provenance, counter, power)
        interval = Window(before.at_ms, reading.at_ms)
        self._off[reading.source] = _off_ms(kept, draw, interval)
        stepped = kept.get("mark") == CLOCK_STEP
        more = difference(before, reading, draw.limits)
        if more is not None and (stepped or more <= draw.limits.most_w * (interval.length_ms + REFRESH_MS)):
            return Found(reading.source, interval, more, reading.provenance, stepped)
        if stepped:
            return None
        mean = metered([before, reading], interval, draw.limits).energy_mj if more is None else None
        if mean is not None and reading.provenance.basis == "measured":
            return Found(reading.source, interval, mean, reading.provenance, stepped=False)
        idle = draw.idle_w * (interval.length_ms - self._off[reading.source])
        return Found(reading.source, interval, idle, MODEL, stepped=False)

    # --- and whose it is ------------------------------------------------------------------------------------------

    def _split(
        self, found: Sequence[Found], runs: Sequence[Run], settled: Sequence[Run], seen: Mapping[str, Seen]
    ) -> Parts:
        parts = Parts({str(r.id): 0 for r in runs}, provenances=[f.provenance for f in found])
        others = {r.id: r for r in (*settled, *self._late(found)) if str(r.id) not in parts.jobs}
        on = self._placed([*runs, *others.values()], seen)
        for one in found:
            draw, there = self.meter.last[one.source], on.get(one.source, [])
            if one.stepped:
                parts.stepped = True
                parts.add(attribute(one.interval, one.energy_mj, 0, 0, []))
                continue
            off_ms = self._off[one.source]
            parts.saved += draw.idle_w * off_ms
            split = self._node(one, draw, off_ms, there, seen)
            parts.add(split)
            how = MODEL if one.provenance.basis == "modelled" else SHARED
            for run, _ in there:
                if str(run.id) in parts.jobs and split.jobs.get(str(run.id)):
                    _label(parts, run, how)
        return parts

    def _node(
        self, found: Found, draw: NodeDraw, off_ms: int, there: Sequence[tuple[Run, int]], seen: Mapping[str, Seen]
    ) -> Split:
        """One node over its interval; `there` are the runs on it, each with the number of its nodes."""
        partition, interval = self._of[found.source], found.interval
        idle = draw.idle_w * (interval.length_ms - off_ms)
        most = {
            str(run.id): _most_mw(run, partition)
            // nodes
            * self._overlap(run, seen.get(str(run.id)), interval)
            // MILLI
            for run, nodes in there
        }
        if found.provenance.basis == "measured":
            claims = [Claim(run, weight=part, most_mj=part) for run, part in most.items()]
            return attribute(interval, found.energy_mj, min(idle, found.energy_mj), 0, claims)
        ours_w = sum(_most_mw(run, partition) // nodes for run, nodes in there if run.ended_ms is None) // MILLI
        strangers = max(draw.allocated_w - ours_w, 0) * (interval.length_ms - off_ms)
        claims = [Claim(run, measured_mj=part) for run, part in most.items()]
        return attribute(interval, idle + sum(most.values()) + strangers, idle, 0, claims)

    def _placed(self, runs: Sequence[Run], seen: Mapping[str, Seen]) -> dict[str, list[tuple[Run, int]]]:
        """By node, the runs on it; one whose nodes nobody told is spread over those of its partition."""
        of_partition: dict[str, list[str]] = defaultdict(list)
        for source, partition in self._of.items():
            of_partition[partition.id].append(source)
        on: dict[str, list[tuple[Run, int]]] = defaultdict(list)
        for run in runs:
            sight = seen.get(str(run.id))
            told = (sight.nodes if sight else ()) or run.bound.get("nodes") or ()
            sources = [f"node/{name}" for name in told] or of_partition[run.partition]
            for source in sources:
                on[source].append((run, len(sources)))
        return on

    def _late(self, found: Sequence[Found]) -> list[Run]:
        """Runs of the time that the accounting alone told of: they were there, and are charged already."""
        since = min((f.interval.start_ms for f in found), default=None)
        if since is None:
            return []
        late = Run.objects.filter(engine=self.cluster.engine, ended_ms__gt=since, bound__after_the_fact=True)
        return list(late.exclude(state__in=LIVE).select_related("job").defer("job__script").order_by("pk"))


def draw_of(node: Node, partition: ClusterPartition) -> NodeDraw:
    """A node as its partition describes it. Powered down it draws nothing; one that is only broken idles."""
    used = partition.above_idle_w(node.used.devices, node.used.cores)
    return NodeDraw(
        name=node.name,
        on=not node.flags & _OFF,
        idle_w=partition.idle_w,
        most_w=max(partition.node_w, partition.idle_w + used),
        allocated_w=used,
        watts=node.watts,
        energy_mj=node.energy_mj,
    )


def _off_ms(kept: Kept, draw: NodeDraw, interval: Window) -> int:
    """How long it was powered down: all the time where both ends say so, half of it where one does."""
    ends = (kept.get("power_mw") == 0) + (not draw.on)
    return interval.length_ms * ends // 2


def _most_mw(run: Run, partition: ClusterPartition) -> int:
    """The most that a run draws above idle, all its nodes together, in mW."""
    if run.unit.startswith("core-ms:"):
        return run.share_milli * partition.core_w
    return run.share_milli * partition.device_w + int(run.job.spec["cores"]) * MILLI * partition.core_w


def _label(parts: Parts, run: Run, how: Provenance) -> None:
    """The least certain of all that the run's energy came from."""
    before = run.energy_provenance if run.energy_mj else {}
    known = [Provenance(**before)] if before else []
    told = parts.of_run.get(str(run.id))
    parts.of_run[str(run.id)] = least_certain([*known, *([told] if told else []), how])
