"""Values of the core as JSON: amounts and whatever JSON can't hold exactly are text."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Set
from datetime import date
from enum import Enum
from fractions import Fraction
from typing import Any
from uuid import UUID

from fabrique.core.reasons import Reason
from fabrique.core.units import Amount

MOST_EXACT = 2**53


def plain(value: object) -> Any:
    """Dataclasses become objects with the names of their fields; a Reason keeps its own form."""
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if abs(value) < MOST_EXACT else str(value)
        case float():
            return value
        case Enum():
            return plain(value.value)
        case Reason():
            return {key: plain(v) for key, v in value.as_json().items()}
        case Amount():
            return {"unit": value.unit, "value": str(value.value)}
        case Fraction():
            return f"{value.numerator}/{value.denominator}"
        case Mapping():
            return {str(key): plain(v) for key, v in value.items()}
        case date() | UUID():
            return str(value)
        case _ if dataclasses.is_dataclass(value):
            return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        case tuple() | list():
            return [plain(v) for v in value]
        case Set():
            return sorted(plain(v) for v in value)
    return str(value)
