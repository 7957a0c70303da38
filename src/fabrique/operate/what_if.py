"""Replays of the hub's own jobs: taken up one at a time, each in a process of its own, never in the loop itself.

`Attendant.attend` is called at each turn of the loop that leads; `perform` is what the process does.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.db.models import Sum

from fabrique.apps.jobs.models import FINAL, Job, Run
from fabrique.apps.now import now_ms
from fabrique.apps.rules import asked as form
from fabrique.apps.rules import replays
from fabrique.apps.rules.asked import IN_FORCE, Asked
from fabrique.apps.this_hub import ThisHub, this_hub
from fabrique.core.carbon import Factor
from fabrique.core.energy import Window, frugality_rebate
from fabrique.core.errors import FabriqueError
from fabrique.core.job import LAST_INSTANT_MS
from fabrique.core.units import MJ
from fabrique.definitions import rules as rule_sets
from fabrique.grid.known import Known, load
from fabrique.grid.live import BRIDGE_MS
from fabrique.grid.series import POSSIBLE, Series, Step
from fabrique.operate.deciding import rules_in_force
from fabrique.operate.supervise import end_with

if TYPE_CHECKING:
    from fabrique.twin.grids import Grid
    from fabrique.twin.hub_fleet import Own
    from fabrique.twin.hub_trace import Past
    from fabrique.twin.study import Study
    from fabrique.twin.trace import Trace

log = logging.getLogger("fabrique.what-if")

JOBS_LEAST: Final = 10
JOBS_MOST: Final = 500_000  # the newest
LOOK_MS: Final = 1_000
TELL_S: Final = 1.0
_MODULE: Final = "fabrique.operate.what_if_process"
_MILLI: Final = 1_000_000  # thousandths of a device, mW of a W
_AHEAD_MS: Final = 28 * 86_400_000
Tell = Callable[[float], None]


class Attendant:
    """The one replay that runs, if any. Belongs to one loop."""

    def __init__(self) -> None:
        self._running: tuple[UUID, subprocess.Popen[bytes]] | None = None
        self._looked_ms = 0

    def attend(self, now: int) -> None:
        """Notices what ended, and starts what waits."""
        if self._running is not None:
            key, process = self._running
            if process.poll() is None:
                return
            if process.returncode:
                replays.failed(key, FabriqueError("what-if.failed", why=f"exit {process.returncode}"), now=now)
            self._running = None
        if 0 <= now - self._looked_ms < LOOK_MS:
            return
        self._looked_ms = now
        waiting = replays.next_waiting(now=now)
        if waiting is not None:
            self._running = waiting, _started(waiting)


def _started(key: UUID) -> subprocess.Popen[bytes]:
    """A process that ends with the loop."""
    return subprocess.Popen(
        [sys.executable, "-m", _MODULE, str(key)],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=end_with(os.getpid()),
    )


def perform(key: UUID) -> None:
    """Takes a request up and writes down what came of it; whatever goes wrong, a message stands there in the end."""
    request = replays.take(key, now=now_ms())
    if request is None:
        return
    told = time.monotonic()

    def tell(part: float) -> None:
        nonlocal told
        if time.monotonic() - told >= TELL_S:
            told = time.monotonic()
            replays.progressed(key, min(int(part * 1000), 999), now=now_ms())

    try:
        result = replayed(this_hub(), form.of_json(request.asked), request.asked_ms, tell)
    except FabriqueError as error:
        replays.failed(key, error, now=now_ms())
    except Exception as error:
        log.exception("the replay %s ended early", key)
        replays.failed(key, FabriqueError("what-if.failed", why=type(error).__name__), now=now_ms())
    else:
        replays.done(key, result, now=now_ms())


def replayed(here: ThisHub, asked: Asked, at_ms: int, tell: Tell | None = None) -> dict[str, Any]:
    """The result as JSON. Raises `what-if.few`, and what the twin raises."""
    from fabrique.twin.hub_trace import hub_trace
    from fabrique.twin.what_if import live, what_if

    from_ms, until_ms = asked.window(at_ms)
    trace = hub_trace(past(here, from_ms, until_ms), f"{here.hub.id}, its own jobs")
    if len(trace) < JOBS_LEAST:
        raise FabriqueError("what-if.few", jobs=len(trace), least=JOBS_LEAST)
    own = own_machines(here, from_ms, until_ms)
    in_force = live(rules_in_force(here, at_ms))
    sets = [in_force if name == IN_FORCE else live(rule_sets.load(name)) for name in asked.rules]
    if not asked.changes:  # the same rules on the same hub differ in nothing
        sets = [rules for rules in sets if rules != in_force]
    return what_if(*studies(here, asked, own, trace), in_force, sets, tell).as_json()


def studies(here: ThisHub, asked: Asked, own: Own, trace: Trace) -> tuple[Study, Study]:
    """The hub as it is, and as it is asked to be. Raises `twin.cap`."""
    from fabrique.twin.fleet import with_cap
    from fabrique.twin.hub_fleet import hub_fleet, with_devices
    from fabrique.twin.study import Study

    fleet = changed = hub_fleet(own)
    for partition, permille in asked.devices_permille.items():
        if permille != form.AS_IS:
            changed = with_devices(changed, own, partition, permille)
    if asked.cap_w is not None:
        changed = with_cap(changed, own.site, asked.cap_w)
    window = Window(int(trace.submit_ms[0]), int(trace.submit_ms[-1]) + _AHEAD_MS)
    grids = [_grid(here, *factors, window) for factors in ((1000, 1000), (asked.carbon_permille, asked.price_permille))]
    as_is, then = (Study(fleet=f, trace=trace, grids=(grid,)) for f, grid in zip((fleet, changed), grids, strict=True))
    return as_is, then


# --- the hub's own jobs and machines ------------------------------------------------------------------------------


def past(here: ThisHub, from_ms: int, until_ms: int) -> Iterable[Past]:
    """The jobs submitted in [from, until), the newest first."""
    from fabrique.twin.hub_fleet import sort_of
    from fabrique.twin.hub_trace import Past

    on_cores = sort_of(here.offers) == "core"
    rows = Job.objects.filter(submitted_ms__gte=from_ms, submitted_ms__lt=until_ms).order_by("-number")
    found = rows.annotate(ran_ms=Sum("runs__elapsed_ms")).values_list(
        "number", "submitted_ms", "status", "spec", "project__code", "allocation__pool", "ran_ms"
    )
    lost = _lost_ms(from_ms, until_ms)
    for number, submitted_ms, status, spec, project, pool, ran_ms in found[:JOBS_MOST].iterator(chunk_size=5_000):
        yield Past(
            number=number,
            submitted_ms=max(submitted_ms, spec["not_before_ms"] or 0),
            run_ms=int(ran_ms or 0) - lost[number] if status in FINAL else None,
            walltime_ms=spec["walltime_ms"],
            milli_devices=_asked_milli(spec, on_cores),
            project=project,
            pool=pool,
            start_by_ms=_start_by(spec),
            preemptible=spec["preemptible"],
            tolerance_permille=spec.get("tolerance_permille", 0) if spec.get("power") == "auto" else 0,
        )


def _lost_ms(from_ms: int, until_ms: int) -> Counter[int]:
    """By job, how much longer its runs took for their lower power levels."""
    rows = Run.objects.filter(
        job__submitted_ms__gte=from_ms, job__submitted_ms__lt=until_ms, bound__has_key="level", elapsed_ms__gt=0
    )
    lost: Counter[int] = Counter()
    for run in rows.only("job_id", "bound", "elapsed_ms"):
        if run.level is not None:
            lost[run.job_id] += frugality_rebate(run.elapsed_ms or 0, run.level.throughput_permille)
    return lost


def _asked_milli(spec: Mapping[str, Any], on_cores: bool) -> int:
    if on_cores:
        return 0 if spec["milli_devices"] else int(spec["cores"]) * 1000
    return int(spec["milli_devices"])


def _start_by(spec: Mapping[str, Any]) -> int | None:
    """As `JobSpec.start_by_ms` says."""
    deadline, latest = spec["deadline_ms"], spec["latest_start_ms"]
    known = [] if latest is None else [latest]
    return min(known + ([] if deadline is None else [deadline - spec["walltime_ms"]]), default=None)


def own_machines(here: ThisHub, from_ms: int, until_ms: int) -> Own:
    """What the hub hands out; a device draws what the period's runs drew on average."""
    from fabrique.twin.hub_fleet import Own

    idle = {o.kind: o.core_idle_w if o.device == "core" else _idle_w(here, o.kind) for o in here.offers}
    return Own(
        name=here.hub.id,
        site=here.site,
        zone=here.zone,
        cap_w=here.cap_w,
        base_w=here.base_w,
        pue_permille=here.pue_permille,
        offers=here.offers,
        shares=here.shares,
        idle_w=idle,
        drawn_mw={kind: mw - idle.get(kind, 0) * 1000 for kind, mw in _drawn_mw(from_ms, until_ms).items()},
    )


def _idle_w(here: ThisHub, kind: str) -> int:
    known = here.kinds.get(kind)
    return known.idle_w or 0 if known else 0


@dataclass(slots=True)
class _Drawn:
    energy_mj: int = 0
    milli_ms: int = 0


def _drawn_mw(from_ms: int, until_ms: int) -> dict[str, int]:
    """By kind, the mean draw of one device in mW, idle draw included."""
    runs = Run.objects.filter(planned_ms__gte=from_ms, planned_ms__lt=until_ms, elapsed_ms__gt=0, energy_mj__gt=0)
    sums: dict[str, _Drawn] = {}
    for kind, share, elapsed, energy in runs.order_by("-planned_ms").values_list(
        "kind", "share_milli", "elapsed_ms", "energy_mj"
    )[:JOBS_MOST]:
        drawn = sums.setdefault(kind, _Drawn())
        drawn.energy_mj += energy
        drawn.milli_ms += share * (elapsed or 0)
    return {kind: d.energy_mj * _MILLI // d.milli_ms for kind, d in sums.items() if d.milli_ms}


# --- the grid -----------------------------------------------------------------------------------------------------


def _grid(here: ThisHub, carbon_permille: int, price_permille: int, window: Window) -> Grid | None:
    """The zone's hourly files where they tell of the period, else its average; times the factors asked for."""
    from fabrique.twin.grids import Grid

    price = _price(here, price_permille)
    known = _hourly(here, carbon_permille)
    if known is not None:
        found = Grid(zone=here.zone, intensity=known, price=price, shift=True)
        try:
            found.over(window)
        except FabriqueError:
            log.info("the yearly average stands in for the grid's files in a replay")
        else:
            return found
    try:
        factor = here.factor(window.start_ms)
    except FabriqueError:  # nobody published one: neither carbon nor cost is told
        return None
    return Grid(zone=here.zone, intensity=_times(factor, carbon_permille), price=price)


def _times(factor: Factor, permille: int) -> Factor:
    if permille == form.AS_IS:
        return factor
    source = f"{factor.source} × {permille / 1000:g}"
    return replace(factor, mg_per_kwh=factor.mg_per_kwh * permille // 1000, source=source)


def _hourly(here: ThisHub, permille: int) -> Known | None:
    files = next((f for f in here.deployment.grid if f.zone == here.zone), None)
    if files is None:
        return None
    forecast = here.home / files.forecast if files.forecast else None
    try:
        known = load(here.home / files.actual, forecast=forecast, bridge_ms=BRIDGE_MS)
    except FabriqueError:
        return None
    if permille == form.AS_IS:
        return known
    scaled = [None if series is None else _scaled(series, permille) for series in (known.actual, known.forecast)]
    return Known(scaled[0] or known.actual, scaled[1], (*known.digests, ("permille", str(permille))))


def _scaled(series: Series, permille: int) -> Series:
    steps = tuple(Step(step.window, step.value * permille // 1000) for step in series.steps)
    return replace(series, steps=steps, source=f"{series.source} × {permille / 1000:g}")


def _price(here: ThisHub, permille: int) -> Known | None:
    """The deployment's price of energy, the same at every hour; None where it has none."""
    micro_per_kwh = here.deployment.money.prices.get(MJ)
    if micro_per_kwh is None:
        return None
    micro_per_mwh = min(
        micro_per_kwh * permille,  # a thousand kWh, a thousandth
        POSSIBLE["price"][1],
    )
    unit, source = f"u{here.currency}/MWh", f"the deployment's price × {permille / 1000:g}"
    steps = (Step(Window(0, LAST_INSTANT_MS), micro_per_mwh),)
    return Known(Series(here.zone, "price", unit, source, steps), None, (("price", str(micro_per_mwh)),))
