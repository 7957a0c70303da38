"""Whence an energy and a carbon factor come, in words: the books keep both as short texts of ours, in English.

What is no text of ours, as a source's name or a counter's, is said as it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from fabrique.language.marks import msg

if TYPE_CHECKING:
    from fabrique.language.say import Speaker

# zone year kind scope basis (source), and how it was come by
_FACTOR: Final = re.compile(r"(\S+) (\d{4}) (\w+) (\w+) (\w+) \((.*)\)(?:, (.*))?", re.DOTALL)
_INSTEAD: Final = "yearly average in place of the hourly series: "


def how(speaker: Speaker, text: str) -> str:
    """The counter, the rule or the model behind an energy."""
    return speaker.word("how", text)


def carbon_factor(speaker: Speaker, text: str) -> str:
    """A factor as a hold or an entry names it: its zone and year, which sort, its source."""
    found = _FACTOR.fullmatch(text)
    if found is None:
        return text
    zone, year, kind, scope, basis, source, tail = found.groups()
    sort = ", ".join(speaker.word("factor", part) for part in (kind, scope, basis))
    parts = [
        f"{zone} {year}, {sort} ({source})",
        *(_come_by(speaker, part) for part in (tail or "").split(", ") if part),
    ]
    return ", ".join(parts)


def _come_by(speaker: Speaker, part: str) -> str:
    if part.startswith(_INSTEAD):
        why = part.removeprefix(_INSTEAD)
        return speaker.text(msg("the yearly average in place of the hourly series ({why})"), why=why)
    return speaker.word("factor-how", part)
