"""How fast a place's devices go and what they draw, for each work class and power level.

A device's highest draw is measured on a whole node where someone did, is the machine's own in its HPL run where that is
published, and rests on the ratios of the one measured node elsewhere. A power limit holds the device's part of that
and leaves the rest of the node as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from statistics import median

from fabrique.core import energy
from fabrique.core.admission.tables import PPM
from fabrique.core.catalogue import DeviceKind, NodeExample
from fabrique.core.errors import FabriqueError
from fabrique.core.hub import Assumption
from fabrique.definitions import accelerators, work_classes
from fabrique.definitions.work_classes import WorkClass, workload
from fabrique.twin.fleet import Pace


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Like nodes: one device's board limit and idle draw, the node's idle draw without devices, in W at their plugs.

    `hpl_w` is the measured draw of one device's share of the machine during HPL (None: not published).
    """

    id: str
    kind: DeviceKind
    devices: int
    devices_per_node: int
    board_w: int
    device_idle_w: int
    node_idle_w: int
    hpl_w: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Draw:
    """W of one device with its share of the node, at the plug; `device` is what a power limit governs of `highest`."""

    idle: Fraction
    nameplate: Fraction
    highest: Fraction
    device: Fraction


def draw(part: Part) -> Draw:
    """What a device of the part draws, as far as it is known."""
    host = Fraction(part.node_idle_w, part.devices_per_node)
    example, own = _example(part)
    if part.kind.device != "accelerator":
        nameplate = highest = part.board_w + host
    elif own:
        nameplate = Fraction(example.nameplate_w, example.devices)
        highest = Fraction(example.measured_max_w, example.devices)
    elif part.hpl_w is not None:
        highest = part.hpl_w
        nameplate = highest * example.nameplate_w / example.measured_max_w
    else:
        nameplate = part.board_w * _over_board(example)
        highest = nameplate * example.measured_max_w / example.nameplate_w
    idle = part.device_idle_w + host
    highest = max(highest, idle)
    return Draw(idle, max(nameplate, highest), highest, max(min(Fraction(part.board_w), highest - host), Fraction(0)))


def paces(part: Part, reference: DeviceKind, pue_permille: int) -> dict[str, tuple[Pace, ...]]:
    """By work class: the top level, then each lower one that books less. Raises `twin.fleet` for an unknown speed."""
    drawn = draw(part)
    found = {}
    for sort in workload().classes:
        top = speed_ppm(part.kind, reference, sort)
        levels = [_pace(part, drawn, sort, 1000, top, pue_permille)]
        for limit in _limits(part):
            pace = _pace(part, drawn, sort, limit, top, pue_permille)
            if pace is not None and levels[-1] is not None and pace.measured_mw < levels[-1].measured_mw:
                levels.append(pace)
        found[sort.id] = tuple(pace for pace in levels if pace is not None)
    return found


def speed_ppm(kind: DeviceKind, reference: DeviceKind, sort: WorkClass) -> int:
    """The work of a device of `kind` at its top limit, in ppm of a device of `reference`."""
    if kind.id == reference.id:
        return PPM
    (bf16, bandwidth), (bf16_of, bandwidth_of) = _figures(kind), _figures(reference)
    parts = Fraction(bf16 * sort.bf16, bf16_of) + Fraction(bandwidth * (1000 - sort.bf16), bandwidth_of)
    return max(1, int(parts * PPM / 1000))


def assumptions(part: Part, reference: DeviceKind, path: str) -> list[Assumption]:
    """What the paces of a part rest on, beside the hub's own assumptions; `path` leads to it in the hub."""
    if part.kind.device != "accelerator":
        return []
    said = []
    if not _example(part)[1]:
        why = workload().node.why if part.hpl_w is None else workload().node.why_hpl
        said.append(Assumption(f"{path}.node_w", _rounded(draw(part)), why))
    if not part.kind.power_levels:
        levels = workload().levels
        said.append(Assumption(f"kinds.{part.kind.id}.power_levels", ", ".join(levels.medians_of), levels.why))
    for kind in (part.kind, reference) if part.kind.id != reference.id else ():
        own = work_classes.figures().get(kind.id)
        if own is not None and (kind.bf16_gflops is None or kind.bandwidth_gb_s is None):
            value = f"{own.bf16_gflops} GFLOP/s, {own.bandwidth_gb_s} GB/s"
            said.append(Assumption(f"kinds.{kind.id}.figures", value, own.why))
    return said


def _pace(part: Part, drawn: Draw, sort: WorkClass, limit: int, top: int, pue: int) -> Pace | None:
    """The level of a power limit in permille of the top one; None where nothing tells the throughput."""
    training = next(c.draw for c in workload().classes if c.id == workload().levels.of_class)
    felt = min(1000, limit * training // sort.draw)  # the limit on training work that is as tight
    throughput, drawing = _swept(part.kind, felt)
    if throughput is None or drawing is None:
        return None
    rest = drawn.highest - drawn.device
    booked = rest + min(drawn.device, Fraction(part.board_w * limit, 1000))
    mean = Fraction(sort.draw, 1000) * (rest + drawn.device * Fraction(drawing, 1000))
    return Pace(
        limit_permille=limit,
        speed_ppm=max(1, top * throughput // 1000),
        nameplate_mw=_at_meter(drawn.nameplate, drawn, pue),
        measured_mw=_at_meter(booked, drawn, pue),
        draw_mw=_at_meter(min(mean, booked), drawn, pue),
    )


def _at_meter(watts: Fraction, drawn: Draw, pue_permille: int) -> int:
    """mW above idle at the facility meter, rounded up."""
    return max(0, ceil((watts - drawn.idle) * pue_permille))


def _limits(part: Part) -> tuple[int, ...]:
    """The lower limits that a kind offers, in permille of the top one, highest first."""
    if part.kind.device != "accelerator":
        return ()
    least = part.kind.min_limit_w or 0
    return tuple(limit for limit in workload().levels.limits if part.board_w * limit >= least * 1000)


def _swept(kind: DeviceKind, limit: int) -> tuple[int | None, int | None]:
    """Throughput and draw at a limit, permille of the top's: the kind's own sweep, else the medians of the public ones.

    Linear between measured limits; None below the lowest one.
    """
    if limit >= 1000:
        return 1000, 1000
    if kind.power_levels:
        return _between(kind, limit)
    pairs = [_between(accelerators.catalogue()[other], limit) for other in workload().levels.medians_of]
    throughput, drawing = zip(*pairs, strict=True)
    return _median(throughput), _median(drawing)


def _between(kind: DeviceKind, limit: int) -> tuple[int | None, int | None]:
    work = [energy.PowerLevel(x.limit, x.throughput, x.draw) for x in kind.power_levels]
    power = [energy.PowerLevel(x.limit, x.draw, x.draw) for x in kind.power_levels]
    return energy.throughput_permille(limit, work), energy.throughput_permille(limit, power)


def _median(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return int(median(known)) if len(known) == len(values) else None


def _example(part: Part) -> tuple[NodeExample, bool]:
    """The measured node that tells a part's draw, and whether it is of the part's own kind."""
    nodes = accelerators.node_examples()
    own = next((node for node in nodes.values() if node.kind == part.kind.id), None)
    return own or nodes[workload().node.example], own is not None


def _over_board(example: NodeExample) -> Fraction:
    """A measured node's nameplate over its devices' limits."""
    board_w = accelerators.catalogue()[example.kind].board_w
    if board_w is None:
        raise FabriqueError("twin.fleet", hub=example.id, field=f"kinds.{example.kind}.board_w")
    return Fraction(example.nameplate_w, example.devices * board_w)


def _figures(kind: DeviceKind) -> tuple[int, int]:
    """Dense BF16 in GFLOP/s and bandwidth in GB/s: the catalogue's, else assumed. Raises `twin.fleet`."""
    assumed = work_classes.figures().get(kind.id)
    bf16 = kind.bf16_gflops or (assumed.bf16_gflops if assumed else None)
    bandwidth = kind.bandwidth_gb_s or (assumed.bandwidth_gb_s if assumed else None)
    if bf16 is None or bandwidth is None:
        missing = "bf16_gflops" if bf16 is None else "bandwidth_gb_s"
        raise FabriqueError("twin.fleet", hub=kind.id, field=f"kinds.{kind.id}.{missing}")
    return bf16, bandwidth


def _rounded(drawn: Draw) -> str:
    return f"{ceil(drawn.nameplate)} W a device on the nameplate, {ceil(drawn.highest)} W at most"
