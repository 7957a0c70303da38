"""The catalogue of devices: accelerators by vendor, processor cores, QPUs, and whole nodes as measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from pydantic import ConfigDict, TypeAdapter, with_config

from fabrique.core.catalogue import Device, DeviceKind, NodeExample, PowerLevel
from fabrique.definitions import catalogues

FOLDER: Final = catalogues.DATA / "accelerators"
LOCAL_KIND: Final = "local-core"  # the cores of the machine that the hub runs on

_LevelRow = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A kind as its file has it; its id is its key, and its vendor, source and status stand once per file."""

    name: str
    device: Device = "accelerator"
    memory_mb: int | None = None
    memory: str | None = None
    bandwidth_gb_s: int | None = None
    bf16_gflops: int | None = None
    board_w: int | None = None
    min_limit_w: int | None = None
    idle_w: int | None = None
    parts: int = 1
    power_levels: tuple[_LevelRow, ...] = ()
    note: str | None = None
    source: tuple[str, ...] | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class _File:
    vendor: str | None
    vendor_jurisdiction: str | None
    source: tuple[str, ...]
    status: str
    kinds: Mapping[str, _Entry]
    node_examples: tuple[NodeExample, ...] = ()


@cache
def catalogue() -> Mapping[str, DeviceKind]:
    """Every kind of device by id; a visitor's own machine is of kind `local-core`."""
    return catalogues.by_id((kind for file in _files() for kind in _kinds(file)), FOLDER)


@cache
def node_examples() -> Mapping[str, NodeExample]:
    """Whole nodes as measured, by id."""
    return catalogues.by_id((node for file in _files() for node in file.node_examples), FOLDER)


@cache
def _files() -> tuple[_File, ...]:
    for part in (_Entry, _File, NodeExample):
        with_config(ConfigDict(extra="forbid", strict=True))(part)
    adapter = TypeAdapter(_File)
    return tuple(catalogues.load(path, adapter) for path in sorted(FOLDER.glob("*.yaml")))


def _kinds(file: _File) -> list[DeviceKind]:
    return [_kind(file, kind_id, entry) for kind_id, entry in file.kinds.items()]


def _kind(file: _File, kind_id: str, entry: _Entry) -> DeviceKind:
    kind = DeviceKind(
        id=kind_id,
        device=entry.device,
        name=entry.name,
        vendor=file.vendor,
        vendor_jurisdiction=file.vendor_jurisdiction,
        source=file.source if entry.source is None else entry.source,
        status=entry.status or file.status,
        memory_mb=entry.memory_mb,
        memory=entry.memory,
        bandwidth_gb_s=entry.bandwidth_gb_s,
        bf16_gflops=entry.bf16_gflops,
        board_w=entry.board_w,
        min_limit_w=entry.min_limit_w,
        idle_w=entry.idle_w,
        parts=entry.parts,
        note=entry.note,
    )
    return replace(kind, power_levels=tuple(PowerLevel(*row) for row in entry.power_levels))
