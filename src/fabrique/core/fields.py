"""What a person filled in wrongly: a field, a code of a closed list and its parameters.

The text rules here are for anything that comes from outside and will be stored, shown or signed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as made
from types import MappingProxyType
from typing import Final

# code -> names of its parameters
FIELD_ERRORS: Final[Mapping[str, tuple[str, ...]]] = {
    "required": (),
    "unknown-field": (),
    "not-text": (),
    "not-a-number": (),
    "not-a-date": (),
    "not-yes-no": (),
    "not-a-country": (),
    "not-a-choice": ("accepted",),
    "not-a-name": (),
    "out-of-bounds": ("least", "most"),
    "too-long": ("most",),
    "too-many": ("most",),
    "control-characters": (),
    "not-a-whole-device": (),
    "not-divisible": ("nodes",),
    "not-after": ("other",),
    "needs": ("other",),
    "repeated": ("value",),
}

# Direction, line and order marks make a text read as something else, or look empty. Each prints nothing itself.
HIDING: Final = "\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"  # of any text
# In a name, also what is no mark of writing: two names that look alike must be alike. Joiners belong to some scripts.
_BLANK: Final = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
_JOINERS: Final = frozenset("\u200c\u200d")
_LINES: Final = frozenset("\n\t")


@dataclass(frozen=True, slots=True)
class FieldError:
    """`field` of a form or of a job is wrong: one code of `FIELD_ERRORS` with exactly its parameters."""

    field: str
    code: str
    params: Mapping[str, object] = made(default_factory=dict)

    def __post_init__(self) -> None:
        wanted = FIELD_ERRORS.get(self.code)
        if wanted is None:
            raise ValueError(f"unknown field error: {self.code}")
        if set(self.params) != set(wanted):
            raise ValueError(f"{self.code} takes {wanted}, not {tuple(self.params)}")
        object.__setattr__(self, "params", MappingProxyType(dict(self.params)))


def wrong(name: str, code: str, **params: object) -> FieldError:
    return FieldError(name, code, params)


def text_error(name: str, text: str, most: int, *, lines: bool = False) -> FieldError | None:
    """Why `text` can't be kept: longer than `most` characters, or with characters that do not print.

    Control characters (NUL among them), lone surrogates, non-characters and the marks of `HIDING` are refused;
    a line feed and a tab pass when `lines` is set.
    """
    if len(text) > most:
        return wrong(name, "too-long", most=most)
    for character in text:
        if lines and character in _LINES:
            continue
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in HIDING or _nonchar(character):
            return wrong(name, "control-characters")
    return None


def name_error(name: str, text: str, most: int) -> FieldError | None:
    """Why `text` can't be a person's or an organisation's name: as `text_error`, empty, or with what nobody sees."""
    if not text.strip():
        return wrong(name, "required")
    invisible = (c in _BLANK or (unicodedata.category(c) == "Cf" and c not in _JOINERS) for c in text)
    return text_error(name, text, most) or (wrong(name, "control-characters") if any(invisible) else None)


def _nonchar(character: str) -> bool:
    point = ord(character)
    return point & 0xFFFE == 0xFFFE or 0xFDD0 <= point <= 0xFDEF
