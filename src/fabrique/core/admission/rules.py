"""What is wanted, as data. A rule set has a name and a version, so that a plan can say which rules made it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Watts = Literal["none", "nameplate", "measured", "levels"]
Signal = Literal["carbon", "price"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """One rule set; every field is a choice that the decision or the edge that prepares its tables reads.

    `backfill`: a job may pass one that waits, if it can't make it later. `reservations`: the first so many jobs that
    wait get their earliest start reserved. `drain_permille`: but none that is further away than this part of what the
    job has waited (0: however far), for what is kept free until then does nothing. `depth`: jobs looked at once
    those are reserved. `pools`: nominal quotas, borrowing and lending limits hold. `share_order`: the pool owed most
    goes first; `window_ms` bounds what it may be owed. `fair`: inside a pool, the project that used least for its
    weight; use decays to `decay_ppm` a day. `short_first`: inside a project (a pool, where `fair` is off), jobs of a
    shorter walltime, by `length_of`.
    `age_ms`: who waited so long goes before all (0: never). `reclaim`: a pool takes back what it lent, from
    runs older than `min_run_ms`; of all borrowers with `reclaim_any`, else of those that consent; then the
    borrower may not borrow for `backoff_ms`, doubled at each preemption of a job. `preempt_lower`: of its own pool's
    lower priorities too. `watts`: how power is counted: not at all, by nameplate or by measured maximum at the top
    level, or by the level chosen for each job. `water_fill`: leftover power goes to the jobs. `recap`: a falling cap
    lowers the level of runs that consent, then stops those that write checkpoints. `defer`: flexible jobs
    move to slots of less `signal`, if the forecast saves at least `floor_permille`, filling at most
    `fill_ppm` of a place. `observe_only`: nothing starts (after a restore).
    """

    name: str
    version: int = 1
    backfill: bool = True
    reservations: int = 1
    drain_permille: int = 0
    depth: int = 1_000_000_000
    pools: bool = False
    share_order: bool = False
    window_ms: int = 28 * 86_400_000
    fair: bool = False
    decay_ppm: int = 905_724  # a week's half-life, a day: 0.5 ** (1 / 7)
    short_first: bool = False
    age_ms: int = 0
    reclaim: bool = False
    reclaim_any: bool = False
    preempt_lower: bool = False
    min_run_ms: int = 0
    backoff_ms: int = 0
    watts: Watts = "none"
    water_fill: bool = False
    recap: bool = False
    defer: bool = False
    signal: Signal = "carbon"
    floor_permille: int = 50
    fill_ppm: int = 800_000
    observe_only: bool = False

    def reserves(self, away_ms: int, waited_ms: int) -> bool:
        """Whether a start so far away is kept for one of the first jobs that wait, after it has waited so long."""
        return self.drain_permille == 0 or away_ms * 1000 <= self.drain_permille * waited_ms

    def flags(self) -> Flags:
        """What the compiled decision reads of them."""
        return Flags(*(int(getattr(self, name)) for name in Flags._fields))


def length_of(walltime_ms: int) -> int:
    """Which walltimes count as equally short: those within the same power of two."""
    return walltime_ms.bit_length()


class Flags(NamedTuple):
    """The fields of `Rules` with the same names, as integers."""

    backfill: int
    reservations: int
    drain_permille: int
    depth: int
    pools: int
    share_order: int
    window_ms: int
    fair: int
    decay_ppm: int
    age_ms: int
    reclaim: int
    reclaim_any: int
    preempt_lower: int
    min_run_ms: int
    backoff_ms: int
    water_fill: int
    recap: int
    defer: int
    floor_permille: int
    fill_ppm: int
    observe_only: int
