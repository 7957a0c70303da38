"""The hub at a glance, as numbers: power and its plan, devices, pools, queue. Pictures are made in `glance_charts`."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from fabrique.apps.energy.models import Window
from fabrique.apps.jobs import specs
from fabrique.apps.jobs.models import HubState, Job, Run, RunState
from fabrique.apps.names import pool_name
from fabrique.apps.this_hub import ThisHub
from fabrique.core.carbon import Factor
from fabrique.core.errors import FabriqueError
from fabrique.core.job import MILLI, JobState
from fabrique.core.reasons import Reason, from_json
from fabrique.core.units import Unit
from fabrique.language import Speaker
from fabrique.language.words import WORDS
from fabrique.operate import out_of_service
from fabrique.operate.out_of_service import Away

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
BUCKETS: Final = 144  # ten minutes each over a day
SHARES_OVER_MS: Final = 30 * DAY_MS
STALE_MS: Final = 120_000


@dataclass(frozen=True, slots=True)
class Bucket:
    """Mean watts over [from_ms, to_ms), by what drew them; None where nothing was measured."""

    from_ms: int
    to_ms: int
    jobs: float | None
    idle: float | None
    overhead: float | None
    residual: float | None
    cap_w: int | None


@dataclass(frozen=True, slots=True)
class Planned:
    """The most that is drawn over [from_ms, to_ms): what runs at its bound, the rest idle."""

    from_ms: int
    to_ms: int
    watts: int


@dataclass(frozen=True, slots=True)
class Devices:
    """Devices of one kind, in thousandths; `down` is offered to nobody: out of service, or taken by others' jobs."""

    kind: str
    device: str
    vendor: str
    total: int
    used: int
    down: int = 0

    @property
    def free(self) -> int:
        return max(self.total - self.used - self.down, 0)


@dataclass(frozen=True, slots=True)
class PoolUse:
    """A pool's part of what was used of `unit`, and its entitlement, in parts per million."""

    pool: str
    name: str
    unit: Unit
    used_ms: int
    used_ppm: int
    entitled_ppm: int | None
    assumed: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """Jobs that wait for the same sort of reason; `reason` None while no cycle has looked at them, the first one's
    where they are not `alike`: then its parameters are not those of all.
    """

    reason: Reason | None
    jobs: int
    first: int
    alike: bool = True

    @property
    def group(self) -> str:
        """The key of what they have in common, among the words of what jobs wait for."""
        code = self.reason.code if self.reason else ""
        return code if code in WORDS["waits"] else f"{code.partition('.')[0]}.*"


@dataclass(frozen=True, slots=True)
class Glance:
    """Everything the home page says, at `now`."""

    now: int
    drawn_w: int | None
    seen_ms: int | None
    cap_w: int | None
    saved_mj: int
    basis: str
    error_permille: int | None
    buckets: Sequence[Bucket]
    plan: Sequence[Planned]
    factor: Factor | None
    devices: Sequence[Devices]
    pools: Sequence[PoolUse]
    waiting: Sequence[Waiting]
    running: int
    ever: bool
    observe_only: bool
    loop_ms: int | None

    @property
    def stale(self) -> bool:
        return self.loop_ms is None or self.now - self.loop_ms > STALE_MS


def glance(here: ThisHub, *, now: int, language: str = "en") -> Glance:
    """Reads the tables once; pure functions below make sense of them."""
    windows = list(Window.objects.filter(site=here.site, end_ms__gt=now - DAY_MS).order_by("start_ms"))
    alive = Run.objects.filter(state__in=(RunState.PLANNED, RunState.RUNNING))
    runs = list(alive.select_related("job").defer("job__script"))
    last = windows[-1] if windows else None
    state = HubState.objects.filter(pk=1).first()
    pending = Job.objects.filter(status=JobState.PENDING.value).order_by("number").values_list("number", "reason")
    return Glance(
        now=now,
        drawn_w=None if last is None else round(last.meter_mj / max(last.end_ms - last.start_ms, 1)),
        seen_ms=None if last is None else last.end_ms,
        cap_w=here.cap_w,
        saved_mj=sum(w.saved_mj for w in windows),
        basis="" if last is None else str(last.provenance.get("basis", "")),
        error_permille=None if last is None else last.provenance.get("error_permille"),
        buckets=buckets(windows, now - DAY_MS, now, BUCKETS),
        plan=plan(runs, here.base_w, now, now + DAY_MS),
        factor=_factor(here, now),
        devices=devices(here, runs, out_of_service.kept(state.decided) if state else out_of_service.NOTHING),
        pools=pools(here, now=now, language=language),
        waiting=waiting(pending),
        running=sum(r.state == RunState.RUNNING for r in runs),
        ever=Job.objects.exists(),
        observe_only=bool(state and state.observe_only),
        loop_ms=state.last_cycle_ms if state else None,
    )


def _factor(here: ThisHub, now: int) -> Factor | None:
    try:
        return here.factor(now)
    except FabriqueError:
        return None


def buckets(windows: Sequence[Window], from_ms: int, to_ms: int, count: int) -> list[Bucket]:
    """Mean power by bucket; a window lies in the bucket of its middle. mJ per ms are watts."""
    size = (to_ms - from_ms) // count
    inside: dict[int, list[Window]] = defaultdict(list)
    for w in windows:
        index = ((w.start_ms + w.end_ms) // 2 - from_ms) // size
        if 0 <= index < count:
            inside[index].append(w)
    return [_bucket(inside.get(i, []), from_ms + i * size, from_ms + (i + 1) * size) for i in range(count)]


def _bucket(windows: Sequence[Window], from_ms: int, to_ms: int) -> Bucket:
    length = sum(w.end_ms - w.start_ms for w in windows)
    if length <= 0:
        return Bucket(from_ms, to_ms, None, None, None, None, None)
    jobs, idle, overhead, residual = (
        sum(getattr(w, f"{part}_mj") for w in windows) / length for part in ("jobs", "idle", "overhead", "residual")
    )
    return Bucket(from_ms, to_ms, jobs, idle, overhead, residual, windows[-1].cap_w)


def plan(runs: Iterable[Run], base_w: int, from_ms: int, to_ms: int) -> list[Planned]:
    """Steps of the upper bound: what runs keeps its bound until the end of its walltime."""
    ends = [(end_of(run), int(run.bound.get("power_w") or 0)) for run in runs]
    times = sorted({from_ms, to_ms, *(end for end, _ in ends if from_ms < end < to_ms)})
    return [
        Planned(start, stop, base_w + sum(watts for end, watts in ends if end > start))
        for start, stop in pairwise(times)
    ]


def end_of(run: Run) -> int:
    """The latest a run can end."""
    return (run.started_ms or run.planned_ms) + run.walltime_ms


def devices(here: ThisHub, runs: Iterable[Run], away: Away = out_of_service.NOTHING) -> list[Devices]:
    """What is connected, and how much of it is handed out: to a job of accelerators, the cores beside them too."""
    used: Counter[str] = Counter()
    down = _down(here, away)
    cores_of = {offer.partition: offer.kind for offer in here.offers if offer.device == "core"}
    for run in runs:
        used[run.kind] += run.share_milli
        beside = cores_of.get(run.partition, run.kind)
        if beside != run.kind:
            used[beside] += specs.needs(run.job).cores * MILLI
    found = []
    for kind, device in sorted(here.devices.items(), key=lambda item: (item[1] == "core", item[0])):
        vendor = here.connected.vendors.get(kind, "")
        found.append(Devices(kind, device, vendor, here.count(kind) * 1000, used[kind], down[kind]))
    return found


def _down(here: ThisHub, away: Away) -> Counter[str]:
    """By kind, in thousandths, what the loop knew to be away when it decided last."""
    sorts = {(offer.partition, offer.kind): offer.device for offer in here.offers}
    down: Counter[str] = Counter()
    for block in away.blocks:
        for (partition, kind), device in sorts.items():
            if partition == block.partition:
                down[kind] += block.milli_cores if device == "core" else block.milli_devices
    return down


def pools(here: ThisHub, *, now: int, language: str = "en") -> list[PoolUse]:
    """Each pool's part of the computing time used in the last 30 days, by unit, against its entitlement."""
    since = now - SHARES_OVER_MS
    used: dict[tuple[Unit, str], int] = defaultdict(int)
    runs = Run.objects.filter(started_ms__isnull=False).exclude(ended_ms__lt=since)
    for unit, pool, share, started, ended in runs.values_list(
        "unit", "job__allocation__pool", "share_milli", "started_ms", "ended_ms"
    ):
        lived = max(min(ended or now, now) - max(started or now, since), 0)
        used[Unit(unit), pool] += share * lived // 1000
    units = sorted({unit for unit, _ in used}) or sorted(here.units.values())[:1]
    assumed = _assumed_shares(here)
    found = []
    for unit in units:
        total = sum(ms for (u, _), ms in used.items() if u == unit)
        for pool in sorted(set(here.shares) | {p for u, p in used if u == unit}):
            mine = used[unit, pool]
            ppm = mine * 1_000_000 // total if total else 0
            name = pool_name(pool, Speaker(language))
            found.append(PoolUse(pool, name, unit, mine, ppm, here.shares.get(pool), pool in assumed))
    return found


def _assumed_shares(here: ThisHub) -> set[str]:
    """The pools of which a share rests on an assumption."""
    shares = [share for machine in here.hub.machines for share in machine.shares]
    return {share.pool for share in shares if share.ppm.rests_on_assumption}


def waiting(pending: Iterable[tuple[int, Mapping[str, object]]]) -> list[Waiting]:
    """Jobs by the code of their reason, the most common first."""
    first: dict[str, tuple[Reason | None, int]] = {}
    differ: set[str] = set()
    count: Counter[str] = Counter()
    for number, stored in pending:
        why = _reason(stored)
        code = why.code if why else ""
        if first.setdefault(code, (why, number))[0] != why:
            differ.add(code)
        count[code] += 1
    return [Waiting(first[code][0], n, first[code][1], code not in differ) for code, n in count.most_common()]


def _reason(stored: Mapping[str, object]) -> Reason | None:
    try:
        return from_json(stored) if stored else None
    except (KeyError, ValueError):
        return None
