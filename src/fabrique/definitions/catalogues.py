"""What the catalogues share: every file of a folder read strictly into one mapping by id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol, TypeVar

from pydantic import TypeAdapter

from fabrique.core.errors import FabriqueError
from fabrique.definitions import validation, yaml
from fabrique.definitions.complaints import Complaint

DATA: Final = Path(__file__).parent / "data"

T = TypeVar("T")


class Named(Protocol):
    @property
    def id(self) -> str: ...


N = TypeVar("N", bound=Named)


def load(path: Path, adapter: TypeAdapter[T]) -> T:
    """The content of a file of ours. Raises `definition.broken` with its complaints."""
    document, complaints = yaml.read(path)
    if document is not None:
        checked = validation.validate(adapter, document)
        value, complaints = checked
        if value is not None:
            return value
    raise broken(path, complaints)


def by_id(things: Iterable[N], where: Path) -> Mapping[str, N]:
    """`things` by their ids. Raises `definition.broken` when two share one."""
    found: dict[str, N] = {}
    for thing in things:
        if thing.id in found:
            raise broken(where, [Complaint(str(where), 0, thing.id, "hub.duplicate-id", {"id": thing.id})])
        found[thing.id] = thing
    return MappingProxyType(found)


def broken(path: Path, complaints: list[Complaint]) -> FabriqueError:
    return FabriqueError("definition.broken", file=str(path), complaints=[c.as_json() for c in complaints])
