"""What a pending job could be started at: its places and power levels, what each may draw, and what it would hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from fabrique.apps.this_hub import ThisHub
from fabrique.core import booking
from fabrique.core.admission import filter as fits
from fabrique.core.admission import levels
from fabrique.core.admission.levels import Level
from fabrique.core.admission.state import OptionRow
from fabrique.core.booking import Exhaustion
from fabrique.core.job import JobSpec
from fabrique.core.units import Unit, ceil_divide
from fabrique.engines.slurm.model import LICENCE_W
from fabrique.operate.books import Books

if TYPE_CHECKING:
    from fabrique.operate.decide import Asked

Lower = Sequence[tuple[fits.Offer, Level]]


def options(here: ThisHub, ask: Asked, lower: Lower) -> tuple[OptionRow, ...]:
    """By partition, in the filter's order; the levels of each by energy to completion.

    Where a partition offers several kinds, its top level is the most that any of them may draw.
    """
    found: dict[str, list[tuple[Fraction, OptionRow]]] = {}
    for o in ask.offers:
        top = OptionRow(partition=o.partition, power_w=power_bound(here, ask.spec, o))
        before = found.get(o.partition)
        if before is None or before[0][1].power_w < top.power_w:
            found[o.partition] = [(Fraction(_watts(here, ask.spec, o)), top)]
    for o, level in lower:
        slower, speed = levels.at(ask.spec, level), level.throughput_permille
        option = OptionRow(
            partition=o.partition, power_w=booked_w(here, ask, slower, o), level=level.name, speed_ppm=speed * 1000
        )
        found[o.partition].append((Fraction(_watts(here, slower, o) * levels.FULL, speed), option))
    return tuple(o for some in found.values() for _, o in sorted(some, key=lambda one: (one[0], -one[1].speed_ppm)))


def lower_levels(here: ThisHub, ask: Asked, books: Books, *, now: int) -> Lower:
    """The levels below the top one at which the job could start now, by its consent and its budget.

    None at which it would miss its deadline, or outlast what its engine allows.
    """
    partitions = [o.partition for o in ask.offers]
    # of several kinds on one partition, none is known before it is bound
    return [
        (offer, level)
        for offer in ask.offers
        for level in levels.tolerated(ask.spec, offer.levels)
        if partitions.count(offer.partition) == 1 and _may(here, ask, offer, level, books, now=now)
    ]


def _may(here: ThisHub, ask: Asked, offer: fits.Offer, level: Level, books: Books, *, now: int) -> bool:
    slower = levels.at(ask.spec, level)
    if _watts(here, slower, offer) >= _watts(here, ask.spec, offer):
        return False
    if slower.deadline_ms is not None and now + slower.walltime_ms > slower.deadline_ms:
        return False
    if offer.longest_ms is not None and slower.walltime_ms > offer.longest_ms:
        return False
    allocation = str(ask.job.allocation_id)
    free, limits = booking.account(allocation, "available"), books.policies(allocation)
    asks = holds(here, ask, slower, offer, books)
    bounded = [u for u in asks if u in limits and limits[u].exhaustion is not Exhaustion.SHARE]
    return all(asks[unit] <= books.balance(free, unit) for unit in bounded)  # no margin is drawn on for it


def holds(here: ThisHub, ask: Asked, spec: JobSpec, offer: fits.Offer, books: Books) -> dict[Unit, int]:
    """What a start as `spec` would set aside."""
    limits = books.policies(str(ask.job.allocation_id))
    return dict(fits.bounds(spec, offer, limits, books.frozen(offer.unit), here.pue_permille))


def most_held(here: ThisHub, ask: Asked, lower: Lower, asks: Mapping[Unit, int], books: Books) -> dict[Unit, int]:
    """The most of each unit of `asks` that any of the job's levels would set aside."""
    found = dict(asks)
    for offer, level in lower:
        slower = holds(here, ask, levels.at(ask.spec, level), offer, books)
        found = {unit: max(value, slower.get(unit, 0)) for unit, value in found.items()}
    return found


def booked_w(here: ThisHub, ask: Asked, spec: JobSpec, offer: fits.Offer) -> int:
    """Of a start as `spec`. Who came by the cluster's own door took its licences there, for the top level."""
    cluster = here.deployment.cluster
    took = bool(ask.job.door) and cluster is not None and cluster.watt_licence is not None
    return power_bound(here, ask.spec if took else spec, offer)


def power_bound(here: ThisHub, spec: JobSpec, offer: fits.Offer) -> int:
    """In whole licences where the cluster keeps the cap with them: both count alike."""
    watts = _watts(here, spec, offer)
    cluster = here.deployment.cluster
    step = LICENCE_W if cluster is not None and cluster.watt_licence is not None else 1
    return ceil_divide(watts, step) * step


def _watts(here: ThisHub, spec: JobSpec, offer: fits.Offer) -> int:
    return fits.power_bound(spec, offer, here.pue_permille)
