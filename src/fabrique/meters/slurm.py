"""A cluster's nodes as Slurm meters them: each by its own energy counter, else by its watts, else by a model.

Slurm refreshes a node's counter at its own pace, tens of seconds; it starts again when the node does. A node that is
powered down draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fabrique.core.energy import TDP_MODEL_ERROR, Provenance, measured, modelled
from fabrique.core.readings import Limits, Reading
from fabrique.meters.protocol import Availability, Device

COUNTER: Final = measured("Slurm's energy counter of each node")
WATTS: Final = measured("Slurm's watts of each node")
MODEL: Final = modelled("idle power, and what is allocated at its most", TDP_MODEL_ERROR)
LONGEST_GAP_MS: Final = 150_000  # windows of a minute, one missed
_ROOM: Final = 3  # times what a node is said to draw: it is an assumption of the deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDraw:
    """`allocated_w` is what its jobs draw at most above `idle_w`; `watts` and `energy_mj` are None without a meter."""

    name: str
    on: bool
    idle_w: int
    most_w: int
    allocated_w: int
    watts: int | None = None
    energy_mj: int | None = None

    @property
    def source(self) -> str:
        return f"node/{self.name}"

    @property
    def limits(self) -> Limits:
        return Limits(most_w=max(self.most_w, 1) * _ROOM, longest_gap_ms=LONGEST_GAP_MS)


class SlurmMeter:
    """`nodes` reads them all; what it raises as OSError, or an empty answer, is no answer. It asks once a reading."""

    name = "slurm"
    provenance: Provenance = COUNTER

    def __init__(self, nodes: Callable[[], Sequence[NodeDraw]]) -> None:
        self._nodes = nodes
        self.last: dict[str, NodeDraw] = {}  # by source, as they were at the last reading

    def available(self) -> Availability:
        self._ask()
        return Availability(True) if self.last else Availability(False, "Slurm shows no node of the hub's partitions")

    def devices(self) -> list[Device]:
        return [
            Device(
                source,
                "slurm",
                node.name,
                None,
                node.energy_mj is not None,
                node.limits,
                most_w=node.most_w,
            )
            for source, node in sorted(self.last.items())
        ]

    def read(self, now_ms: int) -> list[Reading]:
        self._ask()
        return [_reading(source, node, now_ms) for source, node in sorted(self.last.items())]

    def _ask(self) -> None:
        try:
            self.last = {node.source: node for node in self._nodes()}
        except OSError:
            self.last = {}


def _reading(source: str, node: NodeDraw, now_ms: int) -> Reading:
    if not node.on:
        return Reading(source, now_ms, MODEL, power_mw=0)
    if node.energy_mj is not None:
        return Reading(source, now_ms, COUNTER, counter_mj=node.energy_mj)
    if node.watts is not None:
        return Reading(source, now_ms, WATTS, power_mw=node.watts * 1000)
    return Reading(source, now_ms, MODEL, power_mw=(node.idle_w + node.allocated_w) * 1000)
