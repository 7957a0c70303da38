"""What `/metrics` says: the hub in numbers, read from the tables at each scrape.

Base units as Prometheus asks for them: seconds, joules, watts, grams. Labels are names of pools, partitions, kinds,
sites and engines, never of a person or a project. What is not known has no sample. A collector is made for each
request and forgotten: whichever worker is asked, the answer is the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from fabrique import __version__
from fabrique.apps.access import queries as access
from fabrique.apps.energy import queries as energy
from fabrique.apps.energy.models import Window
from fabrique.apps.jobs import queries as jobs
from fabrique.apps.jobs.cycle import hub_state
from fabrique.apps.jobs.models import FINAL, HubState, Intent, Lease, RecordState, Run, RunState
from fabrique.apps.ledger import services as ledger
from fabrique.apps.ledger.models import Checkpoint, Entry, Hold
from fabrique.apps.this_hub import ThisHub
from fabrique.core.errors import FabriqueError
from fabrique.core.job import JobState
from fabrique.core.reasons import REASONS
from fabrique.core.units import MG, MICRO, MJ, currency_of, device_of, is_money, is_time, kind_of
from fabrique.operate import out_of_service
from fabrique.portal import glance

ALIVE: Final = tuple(s.value for s in JobState if s.value not in FINAL)
ACTS: Final = tuple(str(act) for act, _ in Intent._meta.get_field("act").choices or ())
MILLI: Final = 1_000
PPM: Final = 1_000_000
HOUR_MS: Final = 3_600_000

Family = CounterMetricFamily | GaugeMetricFamily
Samples = Iterable[tuple[Sequence[str], float | None]]


class HubCollector(Collector):
    """The hub at `now`, for one scrape."""

    def __init__(self, here: ThisHub, now: int) -> None:
        self.here, self.now = here, now

    def collect(self) -> Iterator[Metric]:
        alive = (RunState.PLANNED, RunState.RUNNING)
        runs = list(Run.objects.filter(state__in=alive).select_related("job").defer("job__script"))
        yield from about(self.here)
        yield from queue(self.here)
        yield from devices(self.here, runs)
        yield from power(self.here, runs, self.now)
        yield from used_energy()
        yield from pools(self.here)
        yield from books()
        yield from loop(self.here, self.now)


def filled(family: Family, samples: Samples) -> Family:
    """The family with its samples; one that is not known is left out."""
    for labels, value in samples:
        if value is not None:
            family.add_metric(labels, value)
    return family


def about(here: ThisHub) -> Iterator[Metric]:
    version = GaugeMetricFamily("fabrique_build_info", "1, for this version of the program.", labels=["version"])
    yield filled(version, [([__version__], 1)])
    hub = GaugeMetricFamily("fabrique_hub_info", "1, for this hub and its grid zone.", labels=["hub", "zone"])
    yield filled(hub, [([here.hub.id, here.zone], 1)])


# --- jobs -----------------------------------------------------------------------------------------------------------


def queue(here: ThisHub) -> Iterator[Metric]:
    found = jobs.alive_by_pool()
    pairs = {(state, pool) for state in ALIVE for pool in here.shares} | set(found)
    alive = GaugeMetricFamily("fabrique_jobs", "Jobs that are not over, by state and pool.", labels=["state", "pool"])
    yield filled(alive, ((pair, found.get(pair, 0)) for pair in sorted(pairs)))
    over = CounterMetricFamily("fabrique_jobs_over_total", "Jobs that are over, by how they ended.", labels=["state"])
    ended = jobs.over_by_state()
    yield filled(over, (([state], ended.get(state, 0)) for state in FINAL))
    waiting = GaugeMetricFamily(
        "fabrique_jobs_waiting",
        "Jobs that wait, by the code of the reason (none: not looked at yet), the partition it names, and pool.",
        labels=["reason", "partition", "pool"],
    )
    yield filled(waiting, _by_reason(here))
    first = jobs.longest_waiting()
    since = GaugeMetricFamily(
        "fabrique_jobs_waiting_since_timestamp_seconds",
        "When the job that waits longest was submitted; none waits: no sample.",
    )
    yield filled(since, [([], _seconds(first))])


def _by_reason(here: ThisHub) -> Samples:
    """Partitions and codes as this hub knows them: what came from elsewhere adds no label."""
    partitions = {offer.partition for offer in here.offers}
    sums: dict[tuple[str, str, str], int] = {}
    for (code, partition, pool), n in jobs.waiting_by_reason().items():
        known = code if code in REASONS else "other" if code else "none"
        key = (known, partition if partition in partitions else "", pool)
        sums[key] = sums.get(key, 0) + n
    return sorted(sums.items())


# --- machines -------------------------------------------------------------------------------------------------------


def devices(here: ThisHub, runs: Sequence[Run]) -> Iterator[Metric]:
    away = out_of_service.kept(hub_state().decided)
    found = [((d.kind, d.device, d.vendor), d) for d in glance.devices(here, runs, away)]
    there = GaugeMetricFamily(
        "fabrique_devices",
        "Devices that are connected: accelerators, cores, QPUs.",
        labels=["kind", "device", "vendor"],
    )
    yield filled(there, ((key, d.total / MILLI) for key, d in found))
    used = GaugeMetricFamily(
        "fabrique_devices_used",
        "Devices that are handed out to jobs, in parts too.",
        labels=["kind", "device", "vendor"],
    )
    yield filled(used, ((key, d.used / MILLI) for key, d in found))
    down = GaugeMetricFamily(
        "fabrique_devices_down", "Devices that are connected and not offered.", labels=["kind", "device", "vendor"]
    )
    yield filled(down, ((key, d.down / MILLI) for key, d in found))


def power(here: ThisHub, runs: Sequence[Run], now: int) -> Iterator[Metric]:
    site, last = [here.site], Window.objects.filter(site=here.site).order_by("-start_ms").first()
    drawn = None if last is None else last.meter_mj / max(last.end_ms - last.start_ms, 1)
    step = glance.plan(runs, here.base_w, now, now + HOUR_MS)[0]
    drew = GaugeMetricFamily("fabrique_power_watts", "Mean draw at the meter over the last window.", labels=["site"])
    yield filled(drew, [(site, drawn)])
    read = GaugeMetricFamily(
        "fabrique_power_read_timestamp_seconds", "The end of the last metering window.", labels=["site"]
    )
    yield filled(read, [(site, _seconds(last.end_ms if last else None))])
    cap = GaugeMetricFamily("fabrique_power_cap_watts", "What the site may draw; no sample: no cap.", labels=["site"])
    yield filled(cap, [(site, here.cap_w)])
    planned = GaugeMetricFamily(
        "fabrique_power_planned_watts",
        "The most that is drawn now by plan: running jobs at their bound, the rest idle.",
        labels=["site"],
    )
    yield filled(planned, [(site, step.watts)])
    intensity = GaugeMetricFamily(
        "fabrique_carbon_intensity_grams_per_kilowatt_hour",
        "CO2 equivalent of a kWh as the hub counts it now; no sample: nobody published one.",
        labels=["site", "zone"],
    )
    yield filled(intensity, [([here.site, here.zone], _intensity(here, now))])


def _intensity(here: ThisHub, now: int) -> float | None:
    try:
        return here.expected(now).factor.mg_per_kwh / MILLI
    except FabriqueError:
        return None


def used_energy() -> Iterator[Metric]:
    """Counters since the founding; the residual can fall, so it is a gauge."""
    by = sorted(energy.totals().by.items())
    joules = {part: [(key, sums[i] / MILLI) for key, sums in by] for i, part in enumerate(energy.PARTS)}
    meter = CounterMetricFamily(
        "fabrique_energy_joules_total",
        "Energy at the meter, by provenance: measured, attributed, modelled.",
        labels=["site", "provenance"],
    )
    yield filled(meter, joules["meter"])
    uses = CounterMetricFamily(
        "fabrique_energy_use_joules_total",
        "Energy at the meter by use: jobs, idle, overhead.",
        labels=["site", "provenance", "use"],
    )
    yield filled(uses, (((*key, use), n) for use in ("jobs", "idle", "overhead") for key, n in joules[use]))
    rest = GaugeMetricFamily(
        "fabrique_energy_residual_joules",
        "Energy at the meter that no use explains, since the founding.",
        labels=["site", "provenance"],
    )
    yield filled(rest, joules["residual"])
    saved = CounterMetricFamily(
        "fabrique_energy_saved_joules_total",
        "Energy that nodes would have drawn idle, had they not been powered down.",
        labels=["site"],
    )
    sites = sorted({site for (site, _), _ in joules["saved"]})
    yield filled(saved, (((site,), sum(n for (of, _), n in joules["saved"] if of == site)) for site in sites))
    carbon = CounterMetricFamily(
        "fabrique_carbon_grams_total",
        "CO2 equivalent of the energy at the meter, where a factor was known.",
        labels=["site", "provenance"],
    )
    yield filled(carbon, ((key, sums[-1] / MILLI) for key, sums in by))


# --- pools ----------------------------------------------------------------------------------------------------------


def pools(here: ThisHub) -> Iterator[Metric]:
    """Refunds give back what was used: all of these may fall, so they are gauges."""
    found = [
        (pool, u, bucket, n) for (pool, u), of in sorted(access.pool_balances().items()) for bucket, n in of.items()
    ]
    times = GaugeMetricFamily(
        "fabrique_pool_device_seconds",
        "Computing time of the pool's allocations: granted, used, held, lost, expired, transferred, available.",
        labels=["pool", "device", "kind", "bucket"],
    )
    yield filled(times, (((p, device_of(u), kind_of(u), b), n / MILLI) for p, u, b, n in found if is_time(u)))
    joules = GaugeMetricFamily(
        "fabrique_pool_energy_joules",
        "Energy of the pool's allocations, by the same buckets as time.",
        labels=["pool", "bucket"],
    )
    yield filled(joules, (((p, b), n / MILLI) for p, u, b, n in found if u == MJ))
    grams = GaugeMetricFamily(
        "fabrique_pool_carbon_grams",
        "CO2 equivalent of the pool's allocations, by the same buckets as time.",
        labels=["pool", "bucket"],
    )
    yield filled(grams, (((p, b), n / MILLI) for p, u, b, n in found if u == MG))
    money = GaugeMetricFamily(
        "fabrique_pool_cost",
        "Money of the pool's allocations, by the same buckets as time.",
        labels=["pool", "currency", "bucket"],
    )
    yield filled(money, (((p, currency_of(u), b), n / MICRO) for p, u, b, n in found if is_money(u)))
    yield from _entitled(here)


def _entitled(here: ThisHub) -> Iterator[Metric]:
    share = GaugeMetricFamily(
        "fabrique_pool_entitlement_ratio", "The pool's share of the hub, 0 to 1.", labels=["pool"]
    )
    yield filled(share, (([pool], ppm / PPM) for pool, ppm in sorted(here.shares.items())))
    capacity: dict[tuple[str, str, str], int] = {}
    for (account, u), value in ledger.balances("pool:").items():
        _, pool, what = account.split(":", 2)
        if what in ("unallocated", "awarded") and is_time(u):
            key = (pool, device_of(u), kind_of(u))
            capacity[key] = capacity.get(key, 0) + value
    year = GaugeMetricFamily(
        "fabrique_pool_capacity_device_seconds",
        "Computing time of the year at the pool's disposal.",
        labels=["pool", "device", "kind"],
    )
    yield filled(year, ((key, n / MILLI) for key, n in sorted(capacity.items())))


# --- books and loop -------------------------------------------------------------------------------------------------


def books() -> Iterator[Metric]:
    head = Entry.objects.order_by("-seq").values_list("seq", flat=True).first()
    last = Checkpoint.objects.order_by("-seq", "-id").first()
    entries = CounterMetricFamily("fabrique_ledger_entries_total", "Entries of the ledger.")
    yield filled(entries, [([], head or 0)])
    covered = GaugeMetricFamily("fabrique_ledger_checkpoint_entries", "Entries that the last signed checkpoint covers.")
    yield filled(covered, [([], last.seq if last else 0)])
    signed = GaugeMetricFamily("fabrique_ledger_checkpoint_timestamp_seconds", "When the last checkpoint was signed.")
    yield filled(signed, [([], _seconds(last.at_ms if last else None))])
    holds = GaugeMetricFamily("fabrique_holds", "Holds that are open: one for each run that is not settled.")
    yield filled(holds, [([], Hold.objects.filter(settled__isnull=True).count())])


def loop(here: ThisHub, now: int) -> Iterator[Metric]:
    state = HubState.objects.filter(pk=1).first() or HubState(pk=1)
    lease = Lease.objects.filter(name="loop").first() or Lease()
    led = GaugeMetricFamily("fabrique_loop_leading", "1 while a control loop holds the lease, else 0.")
    yield filled(led, [([], float(now < lease.expires_ms))])
    epoch = GaugeMetricFamily("fabrique_loop_epoch", "The leader's epoch: it grows whenever another loop takes over.")
    yield filled(epoch, [([], lease.epoch)])
    cycles = CounterMetricFamily("fabrique_loop_cycles_total", "Cycles of the control loop that came to their end.")
    yield filled(cycles, [([], state.cycles)])
    took = GaugeMetricFamily("fabrique_loop_cycle_duration_seconds", "How long the last cycle took.")
    yield filled(took, [([], _seconds(state.last_cycle_took_ms))])
    last = GaugeMetricFamily("fabrique_loop_last_cycle_timestamp_seconds", "When the last cycle began.")
    yield filled(last, [([], _seconds(state.last_cycle_ms))])
    only = GaugeMetricFamily("fabrique_observe_only", "1 while a restored hub only observes, else 0.")
    yield filled(only, [([], float(state.observe_only))])
    silent = GaugeMetricFamily(
        "fabrique_engine_silent",
        "1 for an engine that did not answer in the last cycle, else 0.",
        labels=["engine", "kind"],
    )
    yield filled(silent, (([e.name, e.kind], float(e.name in state.silent)) for e in here.deployment.engines))
    records, engines = jobs.records_by_state(), {e.name for e in here.deployment.engines}
    keys = {(engine, state.value) for engine in engines for state in RecordState} | set(records)
    told = GaugeMetricFamily(
        "fabrique_engine_records",
        "What engines' accounting told of runs: open, booked, or quarantined since nobody can be charged for it yet.",
        labels=["engine", "state"],
    )
    yield filled(told, ((key, records.get(key, 0)) for key in sorted(keys)))
    aside = jobs.quarantined_by_reason()
    codes = {(engine, code) for engine in engines for code in REASONS if code.startswith("quarantine.")} | set(aside)
    quarantined = GaugeMetricFamily(
        "fabrique_quarantined_records",
        "Records that nobody can be charged for yet, or that run by the accounting's word alone, by reason.",
        labels=["engine", "reason"],
    )
    yield filled(quarantined, ((key, aside.get(key, 0)) for key in sorted(codes)))
    unresolved = jobs.unresolved_by_act()
    intents = GaugeMetricFamily("fabrique_intents_unresolved", "Acts that no engine has confirmed yet.", labels=["act"])
    yield filled(intents, (([act], unresolved.get(act, 0)) for act in ACTS))


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / MILLI
