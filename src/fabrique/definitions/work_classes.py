"""The sorts of work that a replay tells apart: what they draw, how fast they go on each kind of device.

Everything here that nobody measured is an assumption, with its why.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import Field, TypeAdapter

from fabrique.core.access import Status
from fabrique.definitions import catalogues
from fabrique.definitions.mode_file import Id, Part, Texts, Words

FILE: Final = catalogues.DATA / "work_classes.yaml"
ANY: Final = "any"  # of a job whose sort of work nobody stated

Permille = Annotated[int, Field(ge=1, le=1000)]
Figure = Annotated[int, Field(ge=1, le=10**12)]


class WorkClass(Part):
    """`draw`: mean draw at the top limit in permille of the highest measured; `bf16`: permille of its speed that goes
    with dense BF16, the rest with memory bandwidth."""

    id: Id
    name: Texts
    draw: Permille
    bf16: Annotated[int, Field(ge=0, le=1000)]
    status: Status
    source: tuple[str, ...]
    why: Words


class Levels(Part):
    """Power limits in permille of the top one; for a kind without a sweep, the medians over `medians_of`.

    The sweeps are of work as of `of_class`.
    """

    limits: tuple[Permille, ...]
    medians_of: tuple[Id, ...]
    of_class: Id
    status: Status
    source: tuple[str, ...]
    why: Words


class Node(Part):
    """The measured node whose ratios stand for nodes that nobody measured."""

    example: Id
    status: Status
    source: tuple[str, ...]
    why: Words
    why_hpl: Words


class Restart(Part):
    """What a stopped run spends again, in ms."""

    ms: Annotated[int, Field(ge=0, le=86_400_000)]
    status: Status
    why: Words


class Figures(Part):
    """Dense BF16 and memory bandwidth of a kind that the catalogue of devices has none of."""

    kind: Id
    bf16_gflops: Figure
    bandwidth_gb_s: Figure
    why: Words


class Workload(Part):
    """The whole file."""

    sources: Mapping[str, Words]
    classes: tuple[WorkClass, ...]
    levels: Levels
    node: Node
    restart: Restart
    figures: tuple[Figures, ...]


@cache
def workload() -> Workload:
    """Raises `definition.broken` for a damaged installation."""
    return catalogues.load(FILE, TypeAdapter(Workload))


@cache
def catalogue() -> Mapping[str, WorkClass]:
    """Every work class by id."""
    return catalogues.by_id(workload().classes, FILE)


@cache
def figures() -> Mapping[str, Figures]:
    """The assumed figures by kind."""
    return MappingProxyType({row.kind: row for row in workload().figures})
