"""Side by side on one machine: the same jobs on the same nodes under plain Slurm, and under Slurm with a hub.

Both sides keep the same cap with watt licences, plain Slurm's of 100 W, as a site makes them by hand, the hub's as it
makes them; both have the same two halves (accounts with fair share, or pools) and the same configuration. What happened
is read from the accounting of each.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from tools.bench_cases import slurm_hub, work
from tools.bench_cases.figure import Figure, Reach, absent

if TYPE_CHECKING:
    from tools.slurm_lab.lab import SlurmLab

    from fabrique.engines.slurm.model import Record

NODES, GPUS = 4, 8
CAP_W: Final = 18_000  # three quarters of what all devices draw above their nodes' idle draw
JOBS, PERIOD_S, LOAD = 300, 1_200, 1.2  # work asked for, over what the cap lets be done in the period
GRACE_S: Final = 60
SEED: Final = 1  # which of the trace's jobs
LEAST_S: Final = 5
MOST_DEVICES: Final = 16
SLOT_S: Final = 60  # shares are looked at minute by minute
PLAIN, HUB = "plain Slurm", "under Fabrique"


@dataclass(frozen=True, slots=True)
class Ask:
    """A job: when it comes, in seconds; its devices; how long it runs; which of the two halves asks."""

    at_s: float
    devices: int
    run_s: float
    pool: int

    @property
    def nodes(self) -> int:
        return -(-self.devices // GPUS)

    @property
    def limit(self) -> int:
        """Minutes: Slurm knows no finer limit. The trace has no estimates; users' margins are left out."""
        return max(1, -(-int(self.run_s + 2) // 60))


def side_by_side() -> Iterator[Figure]:
    what = f"one-machine Slurm, {JOBS} of Philly's jobs in {PERIOD_S // 60} minutes"
    if none := absent(what, work.PHILLY) or slurm_hub.away(what):
        yield none
        return
    asks = philly(JOBS, PERIOD_S, LOAD)
    done, opened = run(asks)
    yield from figures(what, asks, done, opened, PERIOD_S + GRACE_S)


def philly(count: int, period_s: float, load: float, seed: int = SEED) -> list[Ask]:
    """A sample of the trace in its order, arrivals scaled to the period, runs scaled to the load: at least 5 s, at most
    a quarter of the period. Virtual clusters are dealt to two pools.
    """
    trace = work.philly()
    random = np.random.Generator(np.random.PCG64(seed))
    chosen = np.sort(random.choice(len(trace.submit_ms), count, replace=False))
    at = (trace.submit_ms[chosen] - trace.submit_ms[chosen[0]]).astype(float)
    at *= period_s / at[-1]
    devices = np.minimum(trace.milli_devices[chosen] // 1000, MOST_DEVICES)
    wanted = load * period_s * NODES * GPUS * 3 / 4
    least, most = 0.0, 1.0
    for _ in range(60):
        scale = (least + most) / 2
        runs = np.clip(trace.run_ms[chosen] / 1000 * scale, LEAST_S, period_s / 4)
        least, most = (least, scale) if (runs * devices).sum() > wanted else (scale, most)
    pools = trace.pool[chosen] % 2
    rows = zip(at.tolist(), devices.tolist(), runs.tolist(), pools.tolist(), strict=True)
    return [Ask(round(a, 2), int(d), round(r, 2), int(p)) for a, d, r, p in rows]


# --- to run -----------------------------------------------------------------------------------------------------------
def run(
    asks: Sequence[Ask], patience_s: float = 3_000, cap_w: int = CAP_W
) -> tuple[dict[str, list[Record]], slurm_hub.Opened]:
    """Both labs at once; each job is submitted to one right after the other. The accounting of both, once all ended."""
    from tools.slurm_lab import guard
    from tools.slurm_lab.lab import SlurmLab

    with tempfile.TemporaryDirectory(prefix="bench-slurm-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        made = SlurmLab(folder / "hub", nodes=NODES, gpus=GPUS, cluster="hub", job_submit=slurm_hub.DOOR, rest=False)
        hub = stack.enter_context(guard.running(made, remove=True))
        logins = (hub.people * 2)[:2]
        opened = stack.enter_context(slurm_hub.operating(hub, folder / "home", cap_w, logins, folder / "log"))
        licences = {"watts": opened.licences}
        made = SlurmLab(folder / "plain", nodes=NODES, gpus=GPUS, cluster="plain", licences=licences, rest=False)
        plain = stack.enter_context(guard.running(made, remove=True))
        for account, login in zip(opened.accounts, logins, strict=True):
            plain.account(account, login)
        submit(asks, {PLAIN: plain, HUB: hub}, opened, logins)
        until = time.monotonic() + patience_s
        done = {side: records(lab, len(asks), until) for side, lab in ((PLAIN, plain), (HUB, hub))}
    return done, opened


def submit(asks: Sequence[Ask], labs: Mapping[str, SlurmLab], opened: slurm_hub.Opened, logins: Sequence[str]) -> None:
    """Each at its time, in turn first to the one and first to the other."""
    begin = time.monotonic()
    for number, ask in enumerate(asks):
        time.sleep(max(begin + ask.at_s - time.monotonic(), 0))
        options = ["-A", opened.accounts[ask.pool], "-N", str(ask.nodes), "-t", str(ask.limit)]
        options.append(f"--gres=gpu:{slurm_hub.GPU}:{-(-ask.devices // ask.nodes)}")
        more = {PLAIN: ["-L", f"watts:{opened.units(ask.devices, ask.nodes)}"], HUB: []}
        for side in sorted(labs, reverse=bool(number % 2)):
            labs[side].submit(
                *options, "-J", f"j{number}", *more[side], script=f"exec sleep {ask.run_s}", user=logins[ask.pool]
            )


def records(lab: SlurmLab, count: int, until: float) -> list[Record]:
    """Once every job has ended. RuntimeError where that takes longer."""
    from fabrique.engines.slurm.commands import CommandTransport

    transport = CommandTransport(lab.conf)
    while True:
        found, _ = transport.records(since_ms=0)
        if len(found) >= count and all(r.ended_ms is not None for r in found):
            return found
        if time.monotonic() > until:
            raise RuntimeError(f"{sum(r.ended_ms is None for r in found)} of {len(found)} jobs have not ended")
        time.sleep(2)


# --- to measure -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Ran:
    """One job's run, in ms; `pool` is 0 or 1."""

    pool: int
    devices: int
    cores: int
    submitted_ms: int
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Work and waits in device-seconds; `off` is the worse pool's missing part of its share."""

    work: int
    waited: int
    off: float
    makespan_s: int


def figures(
    what: str, asks: Sequence[Ask], done: Mapping[str, Sequence[Record]], opened: slurm_hub.Opened, horizon_s: float
) -> Iterator[Figure]:
    pools = {f"j{i}": ask.pool for i, ask in enumerate(asks)}
    half = opened.room_mw / opened.device_mw / 2
    ran = {side: [run for r in found if (run := _ran(r, pools))] for side, found in done.items()}
    sides = {side: outcome(runs, half, horizon_s) for side, runs in ran.items()}
    excess = {side: over(runs, opened) for side, runs in ran.items()}
    ours, theirs = sides[HUB], sides[PLAIN]
    rows: Sequence[tuple[str, float, float, str, Reach]] = (
        ("work done under the cap", ours.work, theirs.work, "device-s", "at least"),
        ("total weighted wait", ours.waited, theirs.waited, "device-s", "at most"),
        ("share error of the worse pool", ours.off * 100, theirs.off * 100, "%", "at most"),
        ("watts over the cap", excess[HUB], 0, "W.s", "at most"),
        ("makespan", ours.makespan_s, theirs.makespan_s, "s", "at most"),
    )
    for name, own, other, unit, reach in rows:
        said = excess[PLAIN] if unit == "W.s" else other
        yield Figure(
            what=f"{what}: {name}", value=own, unit=unit, reach=reach, target=other, anchor=f"plain Slurm {said:,.6g}"
        )
    failed = {side: len(asks) - sum(r.state == "COMPLETED" for r in found) for side, found in done.items()}
    if any(failed.values()):
        raise RuntimeError(f"jobs did not complete: {failed[HUB]} with the hub, {failed[PLAIN]} without")


def outcome(ran: Sequence[Ran], half: float, horizon_s: float) -> Outcome:
    """Of what ran within so many seconds of the first submission; each pool is entitled to `half` devices."""
    begin = min(r.submitted_ms for r in ran)
    end = begin + int(horizon_s * 1000)
    return Outcome(
        work=sum(r.devices * max(min(r.end_ms, end) - r.start_ms, 0) for r in ran) // 1000,
        waited=sum(r.devices * (r.start_ms - r.submitted_ms) for r in ran) // 1000,
        off=max(_off([r for r in ran if r.pool == pool], half, begin, end) for pool in (0, 1)),
        makespan_s=(max(r.end_ms for r in ran) - begin) // 1000,
    )


def _ran(r: Record, pools: Mapping[str, int]) -> Ran | None:
    if r.started_ms is None or r.ended_ms is None:
        return None
    return Ran(pools[r.name], r.given.devices, r.given.cores, r.submitted_ms, r.started_ms, r.ended_ms)


def _off(mine: Sequence[Ran], entitled: float, begin: int, end: int) -> float:
    """How much of min(entitled, asked for), minute by minute, a pool did not get. Lent time is not paid back."""
    wanted = got = 0.0
    for slot in range(begin, end, SLOT_S * 1000):
        until = min(slot + SLOT_S * 1000, end)
        used = sum(r.devices * _within(r.start_ms, r.end_ms, slot, until) for r in mine)
        asked = sum(r.devices * _within(r.submitted_ms, r.end_ms, slot, until) for r in mine)
        due = min(entitled * (until - slot), asked)
        wanted, got = wanted + due, got + min(used, due)
    return 1 - got / wanted if wanted else 0.0


def over(ran: Sequence[Ran], opened: slurm_hub.Opened) -> float:
    """Watt-seconds above the cap, by the model that both sides keep it with: what is in use draws its most."""
    steps: dict[int, int] = {}
    for r in ran:
        draw = opened.milliwatts(r.devices, r.cores)
        steps[r.start_ms] = steps.get(r.start_ms, 0) + draw
        steps[r.end_ms] = steps.get(r.end_ms, 0) - draw
    instants, level, over = sorted(steps), 0, 0
    for at, after in itertools.pairwise(instants):
        level += steps[at]
        over += max(level - opened.room_mw, 0) * (after - at)
    return over / 1_000_000


def _within(start: int, end: int, slot: int, until: int) -> int:
    return max(min(end, until) - max(start, slot), 0)
