"""Trackable resources (TRES), as a string (`cpu=4,mem=8G,gres/gpu:h100=2`) or as REST's list, into `Tres`.

All counts are of the whole job, every node together: nothing here is multiplied by the number of nodes again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from fabrique.engines.slurm import words
from fabrique.engines.slurm.model import Tres

_MB: Final = 1 << 20
_GPU: Final = re.compile(r"gres/gpu(?::([A-Za-z0-9_.+/-]{1,64}))?")
_TYPED: Final = re.compile(r"(?:gres[:/])?gpu(?:[:=](?:[^:=(]{1,64}[:=])?(\d{1,6})|[:=][^:=(]{1,64})?(?:\(|$)")
_MOST_TEXT: Final = 65_536
_SHORT: Final = 512
_MOST_COUNT: Final = 1 << 53


def read(written: str) -> Tres:
    """Raises ValueError for what is no list of TRES; an unknown resource is passed over."""
    if words.text(written) == "":
        return Tres()
    if len(written) > _MOST_TEXT:
        raise ValueError("a list of resources without end")
    return _read_again(written) if len(written) <= _SHORT else _read(written)


def _read(written: str) -> Tres:
    pairs = []
    for part in written.split(","):
        name, sign, amount = part.rpartition("=")
        if not sign:
            raise ValueError(f"not a resource: {part[:60]!r}")
        pairs.append((name.strip(), amount.strip()))
    return _gather(pairs)


_read_again = lru_cache(maxsize=4096)(_read)  # ten thousand jobs have a few dozen shapes


def devices(written: str) -> int:
    """Devices in a request as it was typed: `gres:gpu:h100:2`, `gres/gpu=2`, `gpu`, several by comma."""
    total = 0
    for part in words.text(written)[:_MOST_TEXT].split(","):
        if match := _TYPED.match(part.strip()):
            total += int(match[1] or 1)
    return total


def listed(elements: object) -> Tres:
    """REST's `[{"type": "gres", "name": "gpu:h100", "count": 2}, …]`; memory comes in MB."""
    if elements is None:
        return Tres()
    if not isinstance(elements, list):
        raise ValueError("resources are no list")
    pairs = []
    for element in elements:
        if not isinstance(element, dict) or not isinstance(element.get("type"), str):
            raise ValueError(f"not a resource: {element!r:.60}")
        name = element.get("name")
        whole = f"{element['type']}/{name}" if isinstance(name, str) and name else str(element["type"])
        amount = words.number(element.get("count"))
        pairs.append((whole, "" if amount is None else str(amount)))
    return _gather(pairs)


def _gather(pairs: Iterable[tuple[str, str]]) -> Tres:
    cores = memory = nodes = 0
    billing = energy = None
    gpus: dict[str, int] = {}
    licences: dict[str, int] = {}
    for name, amount in pairs:
        if name == "cpu":
            cores = _count(amount)
        elif name == "mem":
            memory = words.size(amount, _MB) if words.text(amount) else 0
        elif name == "node":
            nodes = _count(amount)
        elif name == "billing":
            billing = _count(amount)
        elif name == "energy":
            energy = millijoules(amount)
        elif match := _GPU.fullmatch(name):
            gpus[match[1] or ""] = _count(amount)
        elif name.startswith("license/"):
            licences[name.removeprefix("license/")] = _count(amount)
    return Tres(cores, memory, nodes, gpus, billing, energy, licences)


def millijoules(joules: object) -> int | None:
    """Energy in joules; None for the sentinels, and for 0, which is what a cluster without meters says."""
    if isinstance(joules, str) and (match := re.fullmatch(r"(\d{1,15})(?:\.\d+)?([KMGTP])", joules)):
        joules = int(match[1]) * 1000 ** (1 + "KMGTP".index(match[2]))
    found = words.number(joules)
    if found is None or found <= 0:
        return None
    # the sentinel, counted up or shared out by nodes, is as little a measure as the sentinel itself
    return found * 1000 if found < 1 << 43 else None


def licences(written: str) -> dict[str, int]:
    """`watts:12,matlab@server:2,seat`."""
    found: dict[str, int] = {}
    if not written:
        return found
    for part in words.text(written).replace(";", ",").split(","):
        name, _, amount = part.strip().replace("=", ":").partition(":")
        if name and name != "(null)":
            found[name] = _count(amount) if amount else 1
    return found


def _count(amount: str) -> int:
    """A count may carry a suffix of thousands where somebody forgot to switch them off."""
    found = words.count(amount) if amount.isdecimal() or words.text(amount) == "" else words.size(amount, 1)
    if found > _MOST_COUNT:
        return 0 if found >= (1 << 64) - 2 else _refuse(amount)
    return found


def _refuse(amount: str) -> int:
    raise ValueError(f"not a count: {amount[:40]!r}")
