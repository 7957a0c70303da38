"""What is wanted, as data. A rule set has a name and a version, so that a plan can say which rules made it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rules:
    """`backfill` lets a job pass one that waits, if it can't make it later; `share_order` serves the pool first
    that is furthest below its share; `observe_only` starts nothing (after a restore). The first `reservations`
    jobs that wait get their earliest start reserved, and said; the others wait without a forecast.
    """

    name: str = "first"
    version: int = 1
    backfill: bool = True
    share_order: bool = True
    observe_only: bool = False
    reservations: int = 8
