"""What is wrong with one field, beside the field. Codes are those of `core.fields`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fabrique.language.marks import msg
from fabrique.language.parameters import Params, filled

if TYPE_CHECKING:
    from fabrique.language.say import Speaker

SENTENCES: Final[dict[str, str]] = {
    "required": msg("This is needed."),
    "unknown-field": msg("This form has no such field."),
    "not-text": msg("Write a text."),
    "not-a-number": msg("Write a whole number."),
    "not-a-date": msg("Write a date as 2026-11-21."),
    "not-yes-no": msg("Answer yes or no."),
    "not-a-country": msg("Write the two letters of a country, as LU or CA."),
    "not-a-choice": msg("Choose one of: {accepted}."),
    "not-a-name": msg("Use small letters, digits, dots and hyphens only."),
    "out-of-bounds": msg("It must be from {least} to {most}."),
    "out-of-bounds?least": msg("It must be {most} at most."),
    "out-of-bounds?most": msg("It must be {least} at least."),
    "too-long": msg("Too long: {most} characters at most."),
    "too-many": msg("Too many: {most} at most."),
    "control-characters": msg("This text holds characters that can't be shown."),
    "not-a-whole-device": msg("Ask for whole devices, or for a part of one."),
    "not-divisible": msg("This does not divide evenly over {nodes} nodes."),
    "not-after": msg("It must come after {other}."),
    "needs": msg("It also needs {other}."),
    "repeated": msg("{value} is given twice."),
}


def sentence(speaker: Speaker, code: str, params: Params) -> str:
    return filled(speaker, SENTENCES, code, params, {})
