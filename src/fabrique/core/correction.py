"""Corrections: the books of one run brought to what they should say, by new lines alone; nothing is ever changed.

Each function is pure and returns the lines of one act; they sum to zero in each unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from fabrique.core.ledger import Key, Line, canonical
from fabrique.core.units import MJ

REFUND: Final = "refund"


def net(lines: Iterable[Line]) -> dict[Key, int]:
    """What lines move in all, by (account, unit)."""
    sums: dict[Key, int] = {}
    for line in lines:
        key = (line.account, line.unit)
        sums[key] = sums.get(key, 0) + line.value
    return {key: value for key, value in sums.items() if value}


def correct(posted: Iterable[Line], wanted: Iterable[Line], ref: str, detail: Mapping[str, object]) -> list[Line]:
    """What turns `posted`, all that was posted for `ref` so far, into `wanted`: none where they agree.

    Refunds are corrected by refunds, all else by corrections. Both sum to zero in each unit, and within each
    allocation: so do their differences.
    """
    text = canonical(dict(detail))
    was, to = _apart(posted), _apart(wanted)
    return [
        Line(account, unit, value, what, ref, text)
        for what in ("correction", REFUND)
        for account, unit in sorted({*was[what], *to[what]})
        if (value := to[what].get((account, unit), 0) - was[what].get((account, unit), 0))
    ]


def _apart(lines: Iterable[Line]) -> dict[str, dict[Key, int]]:
    """What refunds move in all, and what everything else does."""
    known = list(lines)
    refunds = net(line for line in known if line.what == REFUND)
    return {REFUND: refunds, "correction": net(line for line in known if line.what != REFUND)}


def own_counter(site: str, attributed_mj: int, own_mj: int, ref: str, detail: Mapping[str, object]) -> list[Line]:
    """A run's own counter in place of what windows attributed to it; the difference is the site's residual.

    jobs + idle + overhead + residual stay the meter.
    """
    difference = own_mj - attributed_mj
    if not difference:
        return []
    text = canonical(dict(detail))
    return [
        Line(f"site:{site}:residual", MJ, -difference, "own-counter", ref, text),
        Line(f"site:{site}:jobs", MJ, difference, "own-counter", ref, text),
    ]
