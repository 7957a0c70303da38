"""The decision, phase by phase. Pure, integer-only, with total tie-breaks: equal states give equal plans.

1. Order: the pool furthest below its share, then priority, then age, then id.
2. Budget: a job whose hold its allocation can't cover waits.
3. Place and time: start where it fits now, under the cap; else reserve its earliest start by the ends asked for.
   A job behind a reservation starts only if it can't make that one later (backfill).
4. Explain: the binding constraint of every job that waits, and when it starts at the latest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fabrique.core.admission.plan import Plan, Start, Wait
from fabrique.core.admission.rules import Rules
from fabrique.core.admission.state import Ints, State
from fabrique.core.reasons import Reason, reason

_PPM = 1_000_000
_RESOURCES = ("accelerators", "cores", "memory")
_Shape = tuple[tuple[int, ...], tuple[int, ...], int, int]


@dataclass(slots=True)
class _Usage:
    """What is taken over time: rows of (from, to, partition, needs, power); one list for runs and reservations."""

    begins: list[int]
    ends: list[int]
    partitions: list[int]
    needs: list[Ints]
    powers: list[int]

    def take(self, begin: int, end: int, partition: int, needs: Ints, power: int) -> None:
        self.begins.append(begin)
        self.ends.append(end)
        self.partitions.append(partition)
        self.needs.append(needs)
        self.powers.append(power)


def step(state: State, rules: Rules, now_ms: int) -> Plan:
    """The plan for every pending job. Reads `state`, changes nothing."""
    # 1. order
    queue = _order(state, rules)
    # 2.-3. budget, place and time, job by job in that order
    room = state.room.copy()
    usage = _running(state, now_ms)
    starts: list[Start] = []
    waits: list[Wait] = []
    blocked: list[str] = []
    shapes: dict[_Shape, Reason] = {}  # that did not fit: what is taken only grows, so none alike fits later
    for job in queue:
        name, shape = state.job_ids[job], _shape(state, job)
        why = _held_back(state, rules, room, job, now_ms)
        if why is None and len(blocked) >= rules.reservations:
            why = shapes.get(shape)
        if why is not None:
            waits.append(Wait(name, why, None))
            continue
        partition, at_ms = _earliest(state, usage, job, now_ms, len(blocked) < rules.reservations)
        if partition is not None and at_ms <= now_ms and (not blocked or rules.backfill):
            starts.append(Start(name, state.partition_ids[partition], _ground(state, job, partition)))
            for budget, asked in state.job_asks[job]:
                room[budget] -= asked
        else:
            # 4. explain
            why = _binding(state, usage, job, blocked[0] if blocked else None, now_ms)
            waits.append(Wait(name, why, None if partition is None else at_ms))
            shapes.setdefault(shape, why)
            blocked.append(name)
        if partition is not None and (at_ms <= now_ms or len(blocked) <= rules.reservations):
            end = at_ms + int(state.job_walltime[job])
            usage.take(at_ms, end, partition, state.job_needs[job], int(state.job_power[job]))
    return Plan(f"{rules.name}/{rules.version}", now_ms, tuple(starts), tuple(waits))


def _shape(state: State, job: int) -> _Shape:
    """Jobs alike in all that a place must have; one answer serves them all."""
    needs = tuple(int(x) for x in state.job_needs[job])
    return state.job_partitions[job], needs, int(state.job_power[job]), int(state.job_walltime[job])


def _order(state: State, rules: Rules) -> list[int]:
    """Pending jobs, first served first. A pool's deficit counts what runs, as a share of what it is entitled to."""
    taken = np.zeros(len(state.pool_ids), dtype=np.int64)
    weight = state.run_needs[:, 0] + state.run_needs[:, 1] if len(state.run_pool) else state.run_pool
    np.add.at(taken, state.run_pool, weight)
    excess = taken * _PPM // np.maximum(state.share_ppm, 1) if rules.share_order else taken * 0

    def rank(job: int) -> tuple[int, int, int, int, str]:
        pool, name = int(state.job_pool[job]), state.job_ids[job]
        # a number written as text: 9 goes before 10
        return -int(state.job_priority[job]), int(excess[pool]), int(state.job_submitted[job]), len(name), name

    return sorted(range(len(state.job_ids)), key=rank)


def _running(state: State, now_ms: int) -> _Usage:
    usage = _Usage([], [], [], [], [])
    for run in range(len(state.run_ends)):
        # a run past its end still holds what it has until it is seen to have ended
        end = max(int(state.run_ends[run]), now_ms + 1)
        usage.take(now_ms, end, int(state.run_partition[run]), state.run_needs[run], int(state.run_power[run]))
    return usage


def _held_back(state: State, rules: Rules, room: Ints, job: int, now_ms: int) -> Reason | None:
    """What keeps a job from any start now, whatever is free."""
    if rules.observe_only:
        return reason("wait.observe-only")
    if state.job_not_before[job] > now_ms:
        return reason("wait.not-before", time=int(state.job_not_before[job]))
    for budget, asked in state.job_asks[job]:
        if asked > room[budget]:
            unit = state.budget_keys[budget][1]
            return reason("wait.budget-held", unit=unit, asked=asked, available=max(int(room[budget]), 0))
    return None


def _earliest(state: State, usage: _Usage, job: int, now_ms: int, later: bool) -> tuple[int | None, int]:
    """The partition and instant of the earliest start, now or (with `later`) when something ends.

    Ties go to the partition that the filter put first.
    """
    best: tuple[int, int] | None = None
    for partition in state.job_partitions[job]:
        at_ms = _fits_from(state, usage, job, partition, now_ms, later)
        if at_ms is not None and (best is None or at_ms < best[1]):
            best = (partition, at_ms)
    return best if best is not None else (None, now_ms)


def _fits_from(state: State, usage: _Usage, job: int, partition: int, now_ms: int, later: bool) -> int | None:
    """The first instant from which the job fits for its whole walltime."""
    for at_ms in [now_ms, *(sorted({e for e in usage.ends if e > now_ms}) if later else [])]:
        if _fits(state, usage, job, partition, at_ms, at_ms + int(state.job_walltime[job])):
            return at_ms
    return None


def _fits(state: State, usage: _Usage, job: int, partition: int, begin: int, end: int) -> bool:
    """Whether devices, cores, memory and watts suffice at every instant of [begin, end)."""
    instants = {begin} | {b for b in usage.begins if begin < b < end}
    return all(_short(state, usage, job, partition, at) is None for at in instants)


def _short(state: State, usage: _Usage, job: int, partition: int, at_ms: int) -> tuple[str, int, int] | None:
    """What lacks at one instant: (resource, asked, free); None when nothing does."""
    free = state.capacity[partition].copy()
    site = int(state.partition_site[partition])
    watts = int(state.cap_w[site] - state.base_w[site])
    for begin, end, where, needs, power in zip(
        usage.begins, usage.ends, usage.partitions, usage.needs, usage.powers, strict=True
    ):
        if begin <= at_ms < end:
            if where == partition:
                free = free - needs
            if int(state.partition_site[where]) == site:
                watts -= power
    for resource, name in enumerate(_RESOURCES):
        asked = int(state.job_needs[job, resource])
        if asked and asked > free[resource]:
            return name, asked, max(int(free[resource]), 0)
    asked = int(state.job_power[job])
    return ("power", asked, max(watts, 0)) if asked > watts else None


def _binding(state: State, usage: _Usage, job: int, blocked: str | None, now_ms: int) -> Reason:
    """The constraint that keeps the job from starting now, in the partition that it would take first.

    Where nothing lacks, it waits behind `blocked`: the rules let nobody pass.
    """
    partition = state.job_partitions[job][0]
    instants = sorted({now_ms} | {b for b in usage.begins if now_ms < b < now_ms + int(state.job_walltime[job])})
    for at_ms in instants:
        short = _short(state, usage, job, partition, at_ms)
        if short is not None:
            return _reason(state, partition, *short)
    return reason("wait.behind", job=blocked)


def _reason(state: State, partition: int, what: str, asked: int, free: int) -> Reason:
    if what == "power":
        site = state.site_ids[int(state.partition_site[partition])]
        return reason("wait.power", site=site, asked_w=asked, free_w=free)
    name = state.partition_ids[partition]
    if what == "memory":
        return reason("wait.memory", partition=name, asked_mb=asked, free_mb=free)
    return reason(f"wait.{what}", partition=name, asked=asked, free=free)


def _ground(state: State, job: int, partition: int) -> Reason:
    if len(state.job_partitions[job]) == 1:
        return reason("place.only", partition=state.partition_ids[partition])
    return reason("place.earliest", partition=state.partition_ids[partition])
