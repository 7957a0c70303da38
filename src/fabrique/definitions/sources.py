"""Where the facts come from: each source's id and its citation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

from pydantic import TypeAdapter

from fabrique.definitions import catalogues

FILE: Final = catalogues.DATA / "sources.yaml"


@cache
def catalogue() -> Mapping[str, str]:
    """Citation by id of source."""
    return MappingProxyType(catalogues.load(FILE, TypeAdapter(dict[str, str])))
