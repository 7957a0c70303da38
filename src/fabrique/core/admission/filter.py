"""Phase 0, once at submission and again before a start: the partitions a job may ever run in, and its upper bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fabrique.core.admission.levels import Level
from fabrique.core.booking import Frozen, price_of
from fabrique.core.carbon import at_intensity
from fabrique.core.catalogue import Device
from fabrique.core.job import MILLI, JobSpec, upper_bound
from fabrique.core.reasons import Reason, reason
from fabrique.core.units import MG, MJ, MJ_PER_KWH, Amount, Unit, ceil_divide, is_money, is_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One kind of device that a connected partition hands out. Watts are upper bounds for one whole device or core.

    `cores` and `memory_mb` are the partition's, shared by all that it offers; its `nodes` are alike. `levels` are what
    its engine can set each device to, below the top one; `longest_ms` is the longest run that the engine lets be there
    (None: no end).
    """

    partition: str
    engine: str
    site: str
    kind: str
    device: Device
    unit: Unit
    milli_devices: int  # in all; for cores, thousandths of cores
    cores: int
    memory_mb: int
    device_w: int
    core_w: int  # above its idle draw, which is drawn anyway
    core_idle_w: int
    nodes: int = 1
    levels: tuple[Level, ...] = ()
    longest_ms: int | None = None


def candidates(spec: JobSpec, offers: Sequence[Offer]) -> tuple[tuple[Offer, ...], Reason | None]:
    """The offers that could run the job if nothing else ran, or the reason why none could."""
    of_kind = [o for o in offers if _accepts(spec, o)]
    if not of_kind:
        return (), reason("refuse.no-partition", kind=", ".join(spec.kinds) or _wanted(spec))
    fitting = tuple(o for o in of_kind if _lack(spec, o) is None)
    return (fitting, None) if fitting else ((), _lack(spec, of_kind[0]))


def _wanted(spec: JobSpec) -> str:
    return "accelerator" if spec.milli_devices else "core"


def _accepts(spec: JobSpec, offer: Offer) -> bool:
    """A job that asks for devices takes accelerators or QPUs, any other takes cores."""
    sort_fits = (offer.device == "core") == (spec.milli_devices == 0)
    if spec.partition not in (None, offer.partition):
        return False
    return sort_fits and (not spec.kinds or offer.kind in spec.kinds)


def _lack(spec: JobSpec, offer: Offer) -> Reason | None:
    devices = offer.milli_devices if offer.device != "core" else 0
    asks = (
        ("accelerators", spec.milli_devices, devices),
        ("cores", spec.cores, offer.cores),
        ("memory", spec.memory_mb or 0, offer.memory_mb),
    )
    if spec.nodes > offer.nodes:
        return reason(
            "refuse.too-large", partition=offer.partition, resource="nodes", asked=spec.nodes, most=offer.nodes
        )
    for resource, asked, whole in asks:
        most = whole * spec.nodes // offer.nodes  # what so many of its nodes have
        if asked > most:
            return reason("refuse.too-large", partition=offer.partition, resource=resource, asked=asked, most=most)
    return None


def power_bound(spec: JobSpec, offer: Offer, pue_permille: int) -> int:
    """The most the job can draw at the facility meter, in W."""
    watts = ceil_divide(spec.milli_devices * offer.device_w, MILLI) + spec.cores * offer.core_w
    if isinstance(spec.power, int) and spec.milli_devices:
        watts = min(watts, ceil_divide(spec.milli_devices * spec.power, MILLI) + spec.cores * offer.core_w)
    return ceil_divide(watts * pue_permille, 1000)


def bounds(
    spec: JobSpec, offer: Offer, limited: Iterable[Unit], frozen: Frozen, pue_permille: int
) -> Mapping[Unit, int]:
    """What a hold must cover, in each unit its allocation limits; always in the unit of time it is charged in."""
    time = upper_bound(spec, offer.unit)
    # a run is charged its cores' idle draw too
    idle_w = ceil_divide(spec.cores * offer.core_idle_w * pue_permille, 1000)
    energy_mj = (power_bound(spec, offer, pue_permille) + idle_w) * spec.walltime_ms
    held = {time.unit: time.value}
    for unit in limited:
        if unit == MJ:
            held[unit] = energy_mj
        elif unit == MG:
            held[unit] = ceil_divide(energy_mj * frozen.mg_per_kwh, MJ_PER_KWH)
        elif is_money(unit) and unit == frozen.currency:
            held[unit] = price_of(time.value, frozen.price)  # rounding is monotone: no run costs more
    return {u: v for u, v in held.items() if is_time(u) or v}


def charges(elapsed_ms: int, share_milli: int, energy_mj: int, unit: Unit, frozen: Frozen) -> dict[Unit, int]:
    """A run's totals: elapsed x allocated time, its energy, its carbon and money at what the hold froze."""
    time = ceil_divide(share_milli * elapsed_ms, MILLI)
    totals = {unit: time, MJ: energy_mj, MG: at_intensity(energy_mj, frozen.mg_per_kwh)}
    if frozen.currency is not None and frozen.price:
        totals[frozen.currency] = price_of(time, frozen.price)
    return totals


def as_amounts(values: Mapping[Unit, int]) -> list[Amount]:
    return [Amount(u, v) for u, v in sorted(values.items())]
