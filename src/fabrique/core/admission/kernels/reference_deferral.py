"""`deferral` again, said naively: lists, every sum made anew. Slow, and only there to be compared with.

It shares no line with the compiled one; what the columns mean is `core.admission.deferral`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

from fabrique.core.units import HOUR_MS


@dataclass(frozen=True, slots=True)
class Job:
    release_ms: int
    end_ms: int
    run_ms: int
    milli_devices: int
    power_mw: int
    preemptible: bool
    began: str  # fresh, paused, running


@dataclass(slots=True)
class Slot:
    start_ms: int
    end_ms: int
    value: int
    device_ms: int  # milli-devices × ms left
    energy: int  # mW × ms left

    def within(self, start_ms: int, end_ms: int) -> int:
        return max(0, min(end_ms, self.end_ms) - max(start_ms, self.start_ms))


@dataclass(frozen=True, slots=True)
class Choice:
    verdict: str
    start_ms: int
    cost_soonest: int
    cost: int
    share_ms: tuple[int, ...]


def plan(slots: list[Slot], jobs: list[Job], restart_ms: int, floor: int, floor_permille: int) -> dict[int, Choice]:
    """The choice of each job, by its place in `jobs`, those with the least slack first; `slots` are used up."""
    now = slots[0].start_ms
    chosen = {}

    def rank(row: int) -> tuple[object, ...]:
        job = jobs[row]
        began = ("fresh", "paused", "running").index(job.began)
        slack = job.end_ms - max(job.release_ms, now) - job.run_ms
        return (slack, job.end_ms, job.run_ms, job.milli_devices, job.power_mw, job.preemptible, began, row)

    for row in sorted(range(len(jobs)), key=rank):
        choice = choose(slots, jobs[row], restart_ms, floor, floor_permille)
        chosen[row] = choice
        for slot, share in zip(slots, choice.share_ms, strict=True):
            slot.device_ms -= share * jobs[row].milli_devices
            slot.energy -= share * jobs[row].power_mw
    return chosen


def choose(slots: list[Slot], job: Job, restart_ms: int, floor: int, floor_permille: int) -> Choice:
    """One job: not to wait, an unbroken run, or pieces; whichever is cheapest and worth it."""
    earliest, end = max(job.release_ms, slots[0].start_ms), min(job.end_ms, slots[-1].end_ms)
    length = job.run_ms + (restart_ms if job.began == "paused" else 0)
    at_once = spread(slots, earliest, earliest + length)
    bound = end - earliest <= length or (job.began == "running" and not job.preemptible)
    soonest = None if bound else next(iter(starts(slots, job, earliest, end, length)), None)
    best = None if bound else cheapest(slots, job, earliest, end, restart_ms)
    if best is None and soonest is None:
        return Choice("no slack", earliest, price(slots, at_once), price(slots, at_once), at_once)
    if soonest is None and best is not None:
        cost, start, shares = best
        return Choice("deferred" if start > earliest else "run now", start, cost, cost, shares)
    waited = spread(slots, soonest or 0, (soonest or 0) + length)
    cost = price(slots, waited)
    saving = cost - best[0] if best else 0
    values = job.power_mw * (saving // HOUR_MS) // 1_000_000
    if best and saving > 0 and values >= floor and saving >= abs(cost) // 1000 * floor_permille:
        return Choice("deferred" if best[1] > earliest else "run now", best[1], cost, best[0], best[2])
    return Choice("not worth" if saving > 0 else "run now", soonest or 0, cost, cost, waited)


def cheapest(
    slots: list[Slot], job: Job, earliest: int, end: int, restart_ms: int
) -> tuple[int, int, tuple[int, ...]] | None:
    """(cost, start, shares) of the cheapest run, unbroken before in pieces, early before late."""
    in_pieces = pieces(slots, job, earliest, end, restart_ms) if job.preemptible else None
    if in_pieces is not None and restart_ms == 0:
        return in_pieces
    length = job.run_ms + (restart_ms if job.began != "fresh" else 0)
    unbroken = [
        (price(slots, spread(slots, start, start + length)), start, spread(slots, start, start + length))
        for start in starts(slots, job, earliest, end, length)
    ]
    whole = min(unbroken, default=None)
    if whole is None or in_pieces is None:
        return whole or in_pieces
    return whole if whole[0] <= in_pieces[0] else in_pieces


def starts(slots: list[Slot], job: Job, earliest: int, end: int, length: int) -> list[int]:
    """Starts with room at which either end of the run meets an edge, and the ends of the window."""
    latest = end - length
    edges = [slot.start_ms for slot in slots] + [slots[-1].end_ms]
    tried = {earliest, latest, *edges, *(edge - length for edge in edges)}
    return [
        start
        for start in sorted(tried)
        if earliest <= start <= latest
        and all(
            slot.device_ms >= job.milli_devices * share and slot.energy >= job.power_mw * share
            for slot, share in zip(slots, spread(slots, start, start + length), strict=True)
            if share
        )
    ]


def pieces(
    slots: list[Slot], job: Job, earliest: int, end: int, restart_ms: int
) -> tuple[int, int, tuple[int, ...]] | None:
    """(cost, start, shares) in the cheapest slots first, or None where they do not hold the whole job."""
    shares = [0] * len(slots)
    need = job.run_ms
    for s in sorted(range(len(slots)), key=lambda s: (slots[s].value, s)):
        most = slots[s].within(earliest, end)
        most = min(most, slots[s].device_ms // max(job.milli_devices, 1), slots[s].energy // max(job.power_mw, 1))
        if most <= 0:
            continue
        beside = any(shares[t] for t in (s - 1, s + 1) if 0 <= t < len(slots))
        begins = job.began == "fresh" and not any(shares)
        goes_on = job.began == "running" and s == 0 and earliest == slots[0].start_ms
        if not (beside or begins or goes_on):
            if most <= restart_ms:
                continue
            need += restart_ms
        shares[s] = min(most, need - sum(shares))
        if sum(shares) == need:
            return price(slots, tuple(shares)), first_piece(slots, shares, earliest), tuple(shares)
    return None


def first_piece(slots: list[Slot], shares: list[int], earliest: int) -> int:
    """At once in the slot it falls in, else late enough to run into the next slot's piece."""
    first = next(s for s, share in enumerate(shares) if share)
    if slots[first].start_ms > earliest and any(shares[first + 1 : first + 2]):
        return slots[first].end_ms - shares[first]
    return max(earliest, slots[first].start_ms)


def spread(slots: list[Slot], start_ms: int, end_ms: int) -> tuple[int, ...]:
    return tuple(slot.within(start_ms, end_ms) for slot in slots)


def price(slots: list[Slot], shares: tuple[int, ...]) -> int:
    return sum(slot.value * share for slot, share in zip(slots, shares, strict=True))
