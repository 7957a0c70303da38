"""The deployment: which hub this is and which engine serves which partition. `HOME/fabrique.toml`.

`read` answers a deployment or complaints at file:line; `write` gives the text that `read` reads back exactly. Nothing
secret stands in it.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, Field, TypeAdapter

from fabrique.core.errors import FabriqueError
from fabrique.core.units import unit
from fabrique.definitions.cluster import Cluster, cluster_rules
from fabrique.definitions.complaints import Complaint, by_place
from fabrique.definitions.parts import Folders, Id, Name, Part, Watts
from fabrique.definitions.validation import validate
from fabrique.definitions.yaml import Document, FieldPath, Place, decode, read_bytes

FILE_NAME: Final = "fabrique.toml"
MOST_BYTES: Final = 262_144
VERSION: Final = 1
PPM: Final = 1_000_000


class HubOf(Part):
    """The hub, by id; `path` where its definition is a file of the visitor's, `sha256` of the definition as read."""

    id: Id
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    path: Name | None = None


class Portal(Part):
    address: Name = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65_535)


class EngineOf(Part):
    name: Id
    kind: Literal["local", "slurm"]
    partitions: tuple[Id, ...] = Field(min_length=1, max_length=1_000)


class Gpu(Part):
    uuid: Name
    kind: Id
    vendor: Literal["nvidia", "amd", "intel"]
    memory_mb: int | None = Field(default=None, ge=1, le=10**9)  # None: the vendor's library didn't say


class Local(Part):
    """This machine as a partition. `cap_w` bounds what its jobs may draw; it was measured or is assumed."""

    partition: Id = "this-machine"
    zone: Name
    cores: int = Field(ge=1, le=100_000)
    core_kind: Id = "local-core"
    memory_mb: int = Field(ge=1, le=10**9)
    cap_w: Watts = Field(ge=1)
    cap_basis: Literal["measured", "assumed"]
    job_path: Folders
    isolation: Literal["own-user", "bubblewrap", "landlock", "none"]
    gpus: tuple[Gpu, ...] = Field(default=(), max_length=1_024)

    @property
    def kinds(self) -> dict[str, str]:
        """Kinds this machine serves -> their device: core or accelerator."""
        return {self.core_kind: "core", **{gpu.kind: "accelerator" for gpu in self.gpus}}


class Power(Part):
    """The modelled meter: watts per core, idle and at most, and its error."""

    idle_w: Watts
    max_w: Watts
    error_permille: int = Field(ge=0, le=10_000)


class Money(Part):
    """Prices in micro-units of `currency` for one hour of a unit of time, or one kWh of `mJ`."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    prices: dict[str, Annotated[int, Field(ge=0, le=10**15)]] = {}


class GridFiles(Part):
    """Files of a zone's carbon intensity over time, in the home or by their whole path: what was, what is expected."""

    zone: Annotated[str, Field(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,8}){0,3}$")]
    actual: Name
    forecast: Name | None = None


class Deployment(Part):
    """`pools`: the shares in use, in parts per million."""

    version: Literal[1] = VERSION
    created: AwareDatetime
    hub: HubOf
    local: Local
    energy: Power
    money: Money
    portal: Portal = Portal()
    pools: dict[Id, Annotated[int, Field(ge=0, le=PPM)]] = {}
    engines: tuple[EngineOf, ...] = Field(min_length=1, max_length=100)
    grid: tuple[GridFiles, ...] = Field(default=(), max_length=100)
    clusters: tuple[Cluster, ...] = Field(default=(), max_length=1)  # one, so far

    @property
    def cluster(self) -> Cluster | None:
        """The Slurm cluster that the hub runs on; None: it runs on this machine."""
        return next(iter(self.clusters), None)

    @property
    def created_ms(self) -> int:
        return round(self.created.timestamp() * 1_000)


_ADAPTER: Final = TypeAdapter(Deployment)


def read(path: Path) -> tuple[Deployment | None, list[Complaint]]:
    """The deployment in the file at `path`, or everything that is wrong with it. Never raises."""
    raw, code, params = read_bytes(path, MOST_BYTES)
    if raw is None:
        return None, [Complaint(str(path), 0, "", code, params)]
    return parse(raw, str(path))


def parse(raw: bytes, file: str) -> tuple[Deployment | None, list[Complaint]]:
    """The deployment in `raw`, cited as `file`. Never raises, whatever the bytes."""
    text, complaints = decode(raw, file)
    if text is None:
        return None, complaints
    try:
        data = _plain(tomllib.loads(text))
    except (ValueError, RecursionError) as error:  # a number of a thousand digits, brackets by the thousand
        return None, [_syntax(file, error)]
    document = Document(file, data, dict(_places(text)))
    checked = validate(_ADAPTER, document)
    if checked[0] is None:
        return None, checked[1]
    complaints = by_place(_rules(document, checked[0]))
    return (None, complaints) if complaints else (checked[0], [])


def write(deployment: Deployment) -> str:
    """The file's text, for people to read and change."""
    lines = [
        "# What this deployment of Fabrique is: its hub, its engines, this machine. Nothing secret stands here.",
        *_table("", {"version": deployment.version, "created": deployment.created}),
        *_table("hub", deployment.hub.model_dump()),
        *_table("portal", deployment.portal.model_dump()),
        *_table("local", deployment.local.model_dump(exclude={"gpus"})),
    ]
    for gpu in deployment.local.gpus:
        lines += _table("[local.gpus]", gpu.model_dump())
    lines += [
        "",
        "# Watts per core, and the error of the model.",
        *_table("energy", deployment.energy.model_dump())[1:],
    ]
    lines += _table("money", {"currency": deployment.money.currency})
    lines += ["", "# Micro-units of the currency for an hour, or for a kWh of mJ."]
    lines += _table("money.prices", deployment.money.prices)[1:]
    lines += ["", "# Parts per million.", *_table("pools", deployment.pools)[1:]]
    for engine in deployment.engines:
        lines += _table("[engines]", engine.model_dump())
    for files in deployment.grid:
        lines += _table("[grid]", files.model_dump())
    for cluster in deployment.clusters:
        lines += _table("[clusters]", cluster.model_dump(exclude={"partitions"}))
        for partition in cluster.partitions:
            lines += _table("[clusters.partitions]", partition.model_dump())
    return "\n".join(lines) + "\n"


def _table(name: str, values: Mapping[str, object]) -> list[str]:
    head = ["", f"[{name}]"] if name else [""]
    return head + [f"{_key(key)} = {_value(value)}" for key, value in values.items() if value is not None]


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _quoted(key)


def _value(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_value(part) for part in value) + "]"
    return _quoted(value) if isinstance(value, str) else str(value)


def _quoted(text: str) -> str:
    """A basic string: JSON's escapes are TOML's, but for DEL, which TOML wants escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


# --- what the shape can't say -----------------------------------------------------------------------------------------


def _rules(document: Document, deployment: Deployment) -> Iterable[Complaint]:
    yield from _partitions(document, deployment)
    uuids = [gpu.uuid for gpu in deployment.local.gpus]
    for i, uuid in enumerate(uuids):
        if uuid in uuids[:i]:
            yield document.complaint(("local", "gpus", i, "uuid"), "hub.duplicate-id", id=uuid)
    zones = [files.zone for files in deployment.grid]
    for i, zone in enumerate(zones):
        if zone in zones[:i]:
            yield document.complaint(("grid", i, "zone"), "hub.duplicate-id", id=zone)
    if sum(deployment.pools.values()) > PPM:
        total = sum(deployment.pools.values())
        yield document.complaint(("pools",), "hub.shares-above-whole", total_ppm=total)
    if deployment.energy.max_w < deployment.energy.idle_w:
        yield document.complaint(("energy", "max_w"), "value.bound", bound=f"≥ {deployment.energy.idle_w}")
    for name in deployment.money.prices:
        try:
            unit(name)
        except FabriqueError:
            yield document.complaint(("money", "prices", name), "hub.unknown-reference", kind="unit", id=name)


def _partitions(document: Document, deployment: Deployment) -> Iterable[Complaint]:
    """Every partition is served by one engine of its kind, and what is connected by one."""
    kinds = {p.id: "slurm" for c in deployment.clusters for p in c.partitions}
    kinds = kinds or {deployment.local.partition: "local"}
    seen: set[str] = set()
    names: set[str] = set()
    for i, engine in enumerate(deployment.engines):
        if engine.name in names:
            yield document.complaint(("engines", i, "name"), "hub.duplicate-id", id=engine.name)
        names.add(engine.name)
        for partition in engine.partitions:
            if partition in seen:
                yield document.complaint(("engines", i, "partitions"), "hub.duplicate-id", id=partition)
            elif kinds.get(partition) != engine.kind:
                yield document.complaint(
                    ("engines", i, "partitions"), "hub.unknown-reference", kind="partition", id=partition
                )
            seen.add(partition)
    for missing in sorted(kinds.keys() - seen):
        yield document.complaint(("engines",), "value.missing", key=missing)
    for i, cluster in enumerate(deployment.clusters):
        if cluster.engine not in names:
            yield document.complaint(
                ("clusters", i, "engine"), "hub.unknown-reference", kind="engine", id=cluster.engine
            )
        yield from cluster_rules(document, cluster)


# --- places, which tomllib does not give ------------------------------------------------------------------------------

_AT_LINE = re.compile(r"line (\d+)")
_HEAD = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_.-]+)\s*\]\]?\s*(?:#.*)?")
_PAIR = re.compile(r"\s*(?:([A-Za-z0-9_-]+)|\"([^\"\\]*)\")\s*=.*")


def _syntax(file: str, error: Exception) -> Complaint:
    at = _AT_LINE.search(str(error))
    problem = str(error) if isinstance(error, tomllib.TOMLDecodeError) else type(error).__name__
    return Complaint(file, int(at[1]) if at else 0, "", "toml.syntax", {"problem": problem})


def _places(text: str) -> Iterator[tuple[FieldPath, Place]]:
    """Where each table and each key of our own way of writing stands; good enough to cite, not a parser."""
    table: FieldPath = ()
    counts: dict[str, int] = {}
    yield (), (1, 1)
    for number, line in enumerate(text.split("\n"), start=1):
        if head := _HEAD.fullmatch(line):
            outer, _, last = head[2].rpartition(".")
            # a table inside an element of a list is that element's
            table = (*outer.split("."), *((counts[outer],) if outer in counts else ())) if outer else ()
            table = (*table, last)
            yield table, (number, 1)
            if head[1] == "[[":
                counts[head[2]] = counts.get(head[2], -1) + 1
                for inner in [name for name in counts if name.startswith(f"{head[2]}.")]:
                    del counts[inner]  # the next element counts its own from the start
                table = (*table, counts[head[2]])
                yield table, (number, 1)
        elif pair := _PAIR.fullmatch(line):
            yield (*table, pair[1] or pair[2]), (number, 1)


def _plain(value: Any) -> Any:
    """TOML's dates as text, which is how validation reads them."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, (str, int, float, bool)) else value.isoformat()
