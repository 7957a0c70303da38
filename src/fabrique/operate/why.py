"""Why a job waits, when it starts, and what would start it sooner: worked out when somebody asks, off the loop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median_low
from typing import Final

from fabrique.apps.jobs import cycle
from fabrique.apps.jobs.models import Job, Run, RunState
from fabrique.apps.this_hub import ThisHub
from fabrique.core.admission import decide as decisions
from fabrique.core.admission import explain as told
from fabrique.core.admission import filter as fits
from fabrique.core.admission.decide import Memory
from fabrique.core.admission.explain import Explained, Kind, Variant
from fabrique.core.admission.rules import Rules
from fabrique.core.admission.state import JobRow
from fabrique.core.energy import extended_walltime
from fabrique.core.job import MILLI, JobSpec, JobState
from fabrique.operate import decide, out_of_service
from fabrique.operate.books import Books
from fabrique.operate.deciding import history_of, rules_in_force
from fabrique.operate.options import Asked

_RUNS_SEEN: Final = 200
_RUNS_LEAST: Final = 20  # fewer tell nothing of how long jobs run here


def why(here: ThisHub, job: Job, *, now: int) -> Explained | None:
    """None for a job that does not wait, or that nothing could start as things stand, a smaller one neither."""
    if job.status != JobState.PENDING.value:
        return None
    state = cycle.hub_state()
    books = Books(here, now)
    asks = [a for a in decide.asked(here, cycle.pending_jobs(), books, capped=True) if a.offers]
    own = next((a for a in asks if a.job.pk == job.pk), None)
    if own is None:  # one that the cap never lets start may ask for less
        own = next((a for a in decide.asked(here, [job], books) if a.offers), None)
        if own is None:
            return None
        asks.append(own)
    rules = replace(rules_in_force(here, now), observe_only=state.observe_only)
    away = out_of_service.kept(state.decided)
    rows = decide.rows(here, asks, cycle.live_runs(), rules, books, away, now=now)
    history = decisions.passed(Memory(history_of(state.decided, now)), rows, rules, now)
    row = next(r for r in rows.jobs if r.id == str(job.number))
    walltimes = told.shorter(row, decisions.step(rows, rules, now, history), rows, now)
    variants = list(_Asker(here, own, rules, books, now).variants(walltimes))
    return told.explain(rows, rules, history, row.id, variants, now, typical_permille=typical_permille())


def typical_permille() -> int | None:
    """The median fraction of its walltime that a run took here lately; None while too few have ended."""
    ended = Run.objects.filter(state=RunState.ENDED, elapsed_ms__isnull=False).select_related("job")
    taken = [
        min(int(run.elapsed_ms or 0) * 1000 // max(run.walltime_ms, 1), 1000)
        for run in ended.order_by("-ended_ms")[:_RUNS_SEEN]
    ]
    return median_low(taken) if len(taken) >= _RUNS_LEAST else None


@dataclass(frozen=True, slots=True)
class _Asker:
    """One waiting job, as it is and as it could be asked for."""

    here: ThisHub
    ask: Asked
    rules: Rules
    books: Books
    now: int

    def variants(self, walltimes: tuple[int, ...]) -> Iterator[Variant]:
        """The smallest change of each kind first."""
        spec = self.ask.spec
        for ms in walltimes:
            yield from self._variant("walltime", spec.walltime_ms, ms, replace(spec, walltime_ms=ms))
        yield from self._fewer()
        yield from self._other_kinds()
        yield from self._lower_levels()

    def _fewer(self) -> Iterator[Variant]:
        """Half the devices, or cores, and half of that: how much longer it then takes is the job's own affair."""
        spec = self.ask.spec
        if spec.nodes > 1:
            return
        many = spec.milli_devices // MILLI if spec.milli_devices else spec.cores
        while (many := many // 2) >= 1:
            if spec.milli_devices:
                less = replace(spec, milli_devices=many * MILLI)
                yield from self._variant("devices", spec.milli_devices, less.milli_devices, less, None, None)
            else:
                yield from self._variant(
                    "cores", spec.cores * MILLI, many * MILLI, replace(spec, cores=many), None, None
                )

    def _other_kinds(self) -> Iterator[Variant]:
        """Kinds that are connected and that the job did not accept; its speed there is the job's own affair."""
        spec = self.ask.spec
        for kind in sorted({o.kind for o in self.here.offers} - set(spec.kinds)) if spec.kinds else ():
            yield from self._variant("kind", ", ".join(spec.kinds), kind, replace(spec, kinds=(kind,)), None, None)

    def _lower_levels(self) -> Iterator[Variant]:
        """Power limits at which somebody measured the kind it would get, with the walltime that does the same work."""
        spec, kind = self.ask.spec, self.here.kinds.get(self.ask.offers[0].kind)
        if spec.power == "max" or not spec.milli_devices or kind is None or not kind.board_w:
            return
        top = spec.power if isinstance(spec.power, int) else kind.board_w
        for level in sorted(kind.power_levels, key=lambda one: -one.limit):
            watts = kind.board_w * level.limit // 1000
            if watts >= top or watts < (kind.min_limit_w or 0):
                continue
            walltime = extended_walltime(spec.walltime_ms, level.throughput)
            slower = replace(spec, power=watts, walltime_ms=walltime)
            yield from self._variant("power", top, watts, slower, walltime - spec.walltime_ms, level.energy)

    def _variant(
        self,
        kind: Kind,
        before: int | str,
        after: int | str,
        spec: JobSpec,
        extra_ms: int | None = 0,
        energy_permille: int | None = 1000,
    ) -> Iterator[Variant]:
        row = self._row(spec)
        if row is not None:
            yield Variant(
                kind=kind, before=before, after=after, row=row, extra_ms=extra_ms, energy_permille=energy_permille
            )

    def _row(self, spec: JobSpec) -> JobRow | None:
        """The row that the loop would make of it; None where no partition or no budget would take it."""
        limits = self.books.policies(str(self.ask.job.allocation_id))
        offers = tuple(o for o in fits.candidates(spec, self.here.offers)[0] if o.unit in limits)
        if not offers:
            return None
        changed = Asked(self.ask.job, spec, offers, None)
        return decide.job_row(self.here, changed, self.rules, self.books, now=self.now)
