"""What a pending job could be started at: its places and power levels, what each may draw, and what it would hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from fabrique.apps.jobs.models import Job
from fabrique.apps.this_hub import ThisHub
from fabrique.core import booking
from fabrique.core.admission import filter as fits
from fabrique.core.admission import levels
from fabrique.core.admission.levels import Level
from fabrique.core.admission.state import OptionRow
from fabrique.core.booking import Exhaustion
from fabrique.core.job import JobSpec
from fabrique.core.reasons import Reason
from fabrique.core.units import Unit, ceil_divide
from fabrique.operate.books import Books


@dataclass(frozen=True, slots=True)
class Asked:
    """A pending job with the offers its filter left; none, and why, when it can never start as things stand."""

    job: Job
    spec: JobSpec
    offers: tuple[fits.Offer, ...]
    refusal: Reason | None


@dataclass(frozen=True, slots=True)
class Lower:
    """A level below the top one: what the job may draw there, what is booked for it, and what it would hold."""

    offer: fits.Offer
    level: Level
    watts: int
    booked_w: int
    asks: Mapping[Unit, int]


def options(here: ThisHub, ask: Asked, lower: Sequence[Lower]) -> tuple[OptionRow, ...]:
    """By partition, in the filter's order; the levels of each by energy to completion.

    Where a partition offers several kinds, its top level is the most that any of them may draw.
    """
    found: dict[str, list[tuple[Fraction | int, OptionRow]]] = {}
    for o in ask.offers:
        top = OptionRow(partition=o.partition, power_w=power_bound(here, ask.spec, o))
        before = found.get(o.partition)
        if before is None or before[0][1].power_w < top.power_w:
            found[o.partition] = [(_watts(here, ask.spec, o) if lower else 0, top)]
    for one in lower:
        speed = one.level.throughput_permille
        option = OptionRow(
            partition=one.offer.partition, power_w=one.booked_w, level=one.level.name, speed_ppm=speed * 1000
        )
        found[one.offer.partition].append((Fraction(one.watts * levels.FULL, speed), option))
    return tuple(o for some in found.values() for _, o in sorted(some, key=lambda one: (one[0], -one[1].speed_ppm)))


def lower_levels(here: ThisHub, ask: Asked, books: Books, *, now: int) -> Sequence[Lower]:
    """The levels below the top one at which the job could start now, by its consent and its budget.

    None at which it would miss its deadline, or outlast what its engine allows. Asked once for jobs that are alike.
    """
    spec = ask.spec
    if not spec.tolerated_permille or not any(o.levels for o in ask.offers):
        return ()
    asked = spec.milli_devices, spec.nodes, spec.cores, spec.walltime_ms, spec.deadline_ms, spec.tolerance_permille
    places = tuple((o.partition, o.kind) for o in ask.offers)
    alike = ask.job.allocation_id, bool(ask.job.door), asked, places, now
    return books.once(("lower", *alike), lambda: tuple(_lower(here, ask, books, now)))


def _lower(here: ThisHub, ask: Asked, books: Books, now: int) -> Iterator[Lower]:
    partitions = [o.partition for o in ask.offers]
    for offer in ask.offers:
        if partitions.count(offer.partition) > 1:
            continue  # of several kinds on one partition, none is known before it is bound
        for level in levels.tolerated(ask.spec, offer.levels):
            slower = levels.at(ask.spec, level)
            watts, asks = _watts(here, slower, offer), holds(here, ask, slower, offer, books)
            in_time = slower.deadline_ms is None or now + slower.walltime_ms <= slower.deadline_ms
            allowed = offer.longest_ms is None or slower.walltime_ms <= offer.longest_ms
            draws_less = watts < _watts(here, ask.spec, offer)
            if in_time and allowed and draws_less and _affords(ask, asks, books):
                yield Lower(offer, level, watts, power_bound(here, slower, offer), asks)


def _affords(ask: Asked, asks: Mapping[Unit, int], books: Books) -> bool:
    """Whether what is available covers the longer hold: no margin is drawn on for it."""
    allocation = str(ask.job.allocation_id)
    free, limits = booking.account(allocation, "available"), books.policies(allocation)
    bounded = [u for u in asks if u in limits and limits[u].exhaustion is not Exhaustion.SHARE]
    return all(asks[unit] <= books.balance(free, unit) for unit in bounded)


def most_held(asks: Mapping[Unit, int], lower: Sequence[Lower]) -> dict[Unit, int]:
    """The most of each unit of `asks` that the job would set aside at any of its levels."""
    return {unit: max([value, *(one.asks.get(unit, 0) for one in lower)]) for unit, value in asks.items()}


def holds(here: ThisHub, ask: Asked, spec: JobSpec, offer: fits.Offer, books: Books) -> dict[Unit, int]:
    """What a start as `spec` would set aside."""
    limits = books.policies(str(ask.job.allocation_id))
    return dict(fits.bounds(spec, offer, limits, books.frozen(offer.unit), here.pue_permille))


def power_bound(here: ThisHub, spec: JobSpec, offer: fits.Offer) -> int:
    """In whole licences where the cluster keeps the cap with them: both count alike."""
    watts = _watts(here, spec, offer)
    cluster = here.deployment.cluster
    step = cluster.licence_w if cluster is not None and cluster.watt_licence is not None else 1
    return ceil_divide(watts, step) * step


def _watts(here: ThisHub, spec: JobSpec, offer: fits.Offer) -> int:
    return fits.power_bound(spec, offer, here.pue_permille)
