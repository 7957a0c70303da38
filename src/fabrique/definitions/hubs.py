"""Hub definitions: a YAML file into a `Hub`, or everything that is wrong with it at file:line.

The file is the hub's own shape (`core.hub`), key by key; a fact is written `{value: …, source: […], status: …}`.
What nobody published is `value: null`, and `assumptions:` lists what stands for it, each with its why.
"""

from __future__ import annotations

import copy
import re
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic import ConfigDict, TypeAdapter, with_config

from fabrique.core import hub as shape
from fabrique.core.errors import FabriqueError
from fabrique.core.hub import Hub
from fabrique.core.hub_rules import Fault, Surroundings, faults
from fabrique.definitions import accelerators, sources, validation, yaml, zones
from fabrique.definitions.complaints import Complaint
from fabrique.definitions.complaints import by_place as in_order
from fabrique.definitions.yaml import Document, FieldPath

FOLDER: Final = Path(__file__).parent / "data" / "hubs"

_TIMEZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}\Z")
_PARTS: Final = (
    shape.Sourced, shape.Money, shape.Site, shape.Partition, shape.Share, shape.Machine, shape.Pool,
    shape.PriorityClass, shape.Partner, shape.Funding, shape.Attribute, shape.Fact, shape.Assumption, shape.Hub,
)  # fmt: skip


def load(path: Path | str) -> tuple[Hub | None, list[Complaint]]:
    """The hub defined in the file at `path`, or None with every complaint. Never raises for what the file holds."""
    document, complaints = yaml.read(path)
    return (None, complaints) if document is None else from_document(document, sources_known=False)


def from_document(document: Document, *, sources_known: bool) -> tuple[Hub | None, list[Complaint]]:
    """The hub in `document`; with `sources_known`, each source must be one of the catalogue's."""
    if not isinstance(document.data, dict):
        return None, [document.complaint((), "value.type", expected="mapping")]
    merged, complaints = _with_assumptions(document)
    checked = validation.validate(_adapter(), merged)
    hub, wrong = checked
    complaints += wrong
    if hub is not None:
        complaints += [_complaint(merged, fault) for fault in faults(hub, _surroundings(sources_known))]
        complaints += _timezones(hub, merged)
    return (None, in_order(complaints)) if complaints else (hub, [])


def builtin() -> Mapping[str, Path]:
    """The hubs that come with the program: id -> file, in the order of their ids."""
    return MappingProxyType({path.stem: path for path in sorted(FOLDER.glob("*.yaml"))})


@cache
def load_builtin(hub_id: str) -> Hub:
    """The hub `hub_id`. Raises `definition.missing`, or `definition.broken` for a damaged installation."""
    path = builtin().get(hub_id)
    if path is None:
        raise FabriqueError("definition.missing", kind="hub", id=hub_id[:80])
    document, complaints = yaml.read(path)
    hub = None
    if document is not None:
        hub, complaints = from_document(document, sources_known=True)
    if hub is None or hub.id != hub_id:
        raise FabriqueError("definition.broken", file=str(path), complaints=[c.as_json() for c in complaints])
    return hub


@cache
def _adapter() -> TypeAdapter[Hub]:
    strict = with_config(ConfigDict(extra="forbid", strict=True))
    for part in _PARTS:
        strict(part)
    return TypeAdapter(Hub)


@cache
def _surroundings(sources_known: bool) -> Surroundings:
    known = frozenset(sources.catalogue()) if sources_known else None
    return Surroundings(accelerators.catalogue(), frozenset(zones.catalogue()), known)


def _with_assumptions(document: Document) -> tuple[Document, list[Complaint]]:
    """A copy of the document in which each assumption stands beside the value that it is for."""
    complaints = [
        document.complaint(path, "value.unknown-key", key=str(path[-1]))
        for path in document.places
        if path[-1:] in (("assumed",), ("why",)) and path[0] != "assumptions"
    ]
    data: dict[str, Any] = copy.deepcopy(document.data)
    places = dict(document.places)
    inside = _inside_values(document)
    listed = data.get("assumptions")
    for index, assumption in enumerate(listed if isinstance(listed, list) else ()):
        at: FieldPath = ("assumptions", index)
        if _is_assumption(assumption):
            where, code = _assume(data, assumption)
            if code is None:
                places.setdefault(where, places[(*at, "path")])
                places[(*where, "why")] = places[(*at, "why")]
                places.update({(*where, "assumed", *rest): place for rest, place in inside[index]})
            else:
                complaints.append(document.complaint((*at, "path"), code, path=assumption["path"]))
    return Document(document.file, data, MappingProxyType(places)), complaints


def _is_assumption(thing: object) -> bool:
    return isinstance(thing, dict) and isinstance(thing.get("path"), str) and "value" in thing and "why" in thing


def _inside_values(document: Document) -> dict[str | int, list[tuple[FieldPath, yaml.Place]]]:
    """By the number of an assumption: the places in its value, relative to it."""
    found: dict[str | int, list[tuple[FieldPath, yaml.Place]]] = defaultdict(list)
    for path, place in document.places.items():
        if path[:1] == ("assumptions",) and path[2:3] == ("value",):
            found[path[1]].append((path[3:], place))
    return found


def _assume(data: Any, assumption: dict[str, Any]) -> tuple[FieldPath, str | None]:
    """Puts one assumption beside its value in `data`: where that is, or the code of a complaint."""
    where, leaf = _locate(data, assumption["path"])
    target = _at(data, where)
    if len(leaf) > 1 or not isinstance(target, dict):
        return where, "assumption.no-such-value"
    if leaf:  # a fact that the file leaves out, as unpublished
        where = (*where, leaf[0])
        target = target.setdefault(leaf[0], {})
    if target.get("value") is not None:
        return where, "assumption.needless"
    if "assumed" in target:
        return where, "assumption.twice"
    target["assumed"], target["why"] = assumption["value"], assumption["why"]
    return where, None


def _locate(data: Any, path: str, *, last: bool = False, by_place: bool = False) -> tuple[FieldPath, list[str]]:
    """Where `path` (names and ids joined by dots) leads in plain data, and the parts that lead no further.

    `last` chooses the last of several items of the same id, where the first is meant otherwise; `by_place` takes
    a number for an item's place where no id is meant.
    """
    found: list[str | int] = []
    here, parts = data, path.split(".")
    while parts:
        step = _step(here, parts[0], last, by_place)
        if step is None:
            break
        found.append(step)
        here = here[step]
        parts.pop(0)
    return tuple(found), parts


def _step(here: Any, part: str, last: bool, by_place: bool) -> str | int | None:
    if isinstance(here, dict) and part in here:
        return part
    if isinstance(here, list):
        hits = [i for i, item in enumerate(here) if isinstance(item, dict) and _key(item) == part]
        if hits:
            return hits[-1] if last else hits[0]
        return int(part) if by_place and part.isascii() and part.isdigit() and int(part) < len(here) else None
    return None


def _key(item: dict[str, Any]) -> object:
    return item.get("id", item.get("pool"))


def _at(data: Any, path: FieldPath) -> Any:
    for part in path:
        data = data[part]
    return data


def _complaint(document: Document, fault: Fault) -> Complaint:
    where, _ = _locate(document.data, fault.path, last=fault.code == "hub.duplicate-id", by_place=True)
    found = document.complaint(where, fault.code, **fault.params)
    return Complaint(found.file, found.line, fault.path, found.code, found.params)


def _timezones(hub: Hub, document: Document) -> list[Complaint]:
    return [
        document.complaint(("sites", index, "timezone"), "hub.timezone", timezone=site.timezone)
        for index, site in enumerate(hub.sites)
        if not _is_timezone(site.timezone)
    ]


def _is_timezone(name: str) -> bool:
    if not _TIMEZONE.match(name):
        return False
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        return False
    return True
