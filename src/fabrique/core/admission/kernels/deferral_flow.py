"""Work laid into the cheapest slots along paths: a flow of least cost. Whole numbers only, ties broken to the last.

Slots are filled from the cheapest up, each with all that can be made to fit: what finds its place taken has a job there
make way for another slot, which may have a third one make way, and so on to a slot with room. What a slot may hold so
is a polymatroid, so where all draw the same watts a device no plan costs less. Units are `deferral`'s.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from fabrique.core.admission.kernels.deferral import END, MILLI, MW, RELEASE, Ints, compiled, first_of

LOOKS: Final = 1 << 22  # at jobs and slots for paths; what has none by then takes the room that is left
WIDEST: Final = 1 << 32  # milli-devices × ms: the least that moves along a path
GRAIN_MS: Final = 1000  # less than this makes no way for another, and asks for none


@compiled
def spare(edges: Ints, job: Ints, share: Ints, s: int) -> int:
    """How much longer the job could run in the slot, room aside."""
    return int(min(job[END], edges[s + 1]) - max(job[RELEASE], edges[s]) - share[s])


@compiled
def lay(edges: Ints, room: Ints, power: Ints, jobs: Ints, rows: Ints, left: Ints, share: Ints, s: int) -> int:
    """What fits into the slot as it is, in the order of `rows`. Answers the ms of run still to place, of all jobs."""
    more = 0
    for row in rows:
        milli, mw = max(jobs[row, MILLI], 1), max(jobs[row, MW], 1)
        ms = min(left[row], spare(edges, jobs[row], share[row], s), room[s] // milli, power[s] // mw)
        if ms > 0:
            move(room, power, jobs[row], share[row], s, ms)
            left[row] -= ms
        more += left[row]
    return more


@compiled
def move(room: Ints, power: Ints, job: Ints, share: Ints, s: int, ms: int) -> None:
    """The job runs `ms` more in the slot; less, where it is below zero."""
    share[s] += ms
    room[s] -= ms * job[MILLI]
    power[s] -= ms * job[MW]


@compiled
def reach(
    edges: Ints, jobs: Ints, rows: Ints, left: Ints, share: Ints, s: int, row_of: Ints, next_of: Ints
) -> tuple[int, int, int]:
    """(row, slot, looks): the first job with work to place that comes to `s` by the fewest moves, by way of that slot.

    Row `row_of[u]` makes way in slot u for slot `next_of[u]`. Row -1: none comes to it.
    """
    slots, looks = share.shape[1], 0
    queue, known, asked = np.full(slots, s, np.int64), np.zeros(slots, np.bool_), np.zeros(len(rows), np.bool_)
    known[s] = True
    head, tail = 0, 1
    while head < tail:
        t = queue[head]
        head += 1
        looks += len(rows)
        for i in range(len(rows)):
            row = rows[i]
            if asked[i] or spare(edges, jobs[row], share[row], t) < GRAIN_MS:
                continue
            if left[row] >= GRAIN_MS:
                return row, t, looks
            asked[i] = True
            looks += slots
            for u in range(slots):
                if share[row, u] >= GRAIN_MS and not known[u]:
                    known[u], row_of[u], next_of[u], queue[tail] = True, row, t, u
                    tail += 1
    return -1, s, looks


@compiled
def steps(
    edges: Ints,
    room: Ints,
    power: Ints,
    jobs: Ints,
    left: Ints,
    share: Ints,
    row: int,
    at: int,
    s: int,
    row_of: Ints,
    next_of: Ints,
) -> tuple[int, int]:
    """(steps, milli-devices × ms of a step) that may go along the path from `row` by `at` to `s`.

    A step is whole ms of each job on it.
    """
    area, u = jobs[row, MILLI], at
    while u != s:
        area = np.lcm(area, jobs[row_of[u], MILLI])
        if area > WIDEST:
            return 0, area
        u = next_of[u]
    each = area // jobs[row, MILLI]
    most = min(room[s] // area, left[row] // each, spare(edges, jobs[row], share[row], at) // each)
    comes, u = each * jobs[row, MW], at
    while u != s:
        other, to = row_of[u], next_of[u]
        each = area // jobs[other, MILLI]
        goes = each * jobs[other, MW]
        if comes > goes:
            most = min(most, power[u] // (comes - goes))
        most = min(most, share[other, u] // each, spare(edges, jobs[other], share[other], to) // each)
        comes, u = goes, to
    return (min(most, power[s] // comes) if comes > 0 else most), area


@compiled
def flow(edges: Ints, ranked: Ints, room: Ints, power: Ints, jobs: Ints, rows: Ints, left: Ints, share: Ints) -> bool:
    """Whether all that is `left` of `rows` found a place; `share` says where, `room` and `power` are used up.

    `ranked`: slots, the cheapest first; `rows` in the order in which they are asked.
    """
    row_of, next_of = np.zeros(len(ranked), np.int64), np.zeros(len(ranked), np.int64)
    looks = 0
    for s in ranked:
        if lay(edges, room, power, jobs, rows, left, share, s) == 0:
            return True
        while looks < LOOKS:
            row, at, looked = reach(edges, jobs, rows, left, share, s, row_of, next_of)
            looks += looked
            if row < 0:
                break
            count, area = steps(edges, room, power, jobs, left, share, row, at, s, row_of, next_of)
            if count <= 0:
                break
            left[row] -= count * (area // jobs[row, MILLI])
            move(room, power, jobs[row], share[row], at, count * (area // jobs[row, MILLI]))
            while at != s:
                row, to = row_of[at], next_of[at]
                ms = count * (area // jobs[row, MILLI])
                move(room, power, jobs[row], share[row], at, -ms)
                move(room, power, jobs[row], share[row], to, ms)
                at = to
    return not np.any(left[rows] > 0)


@compiled
def starts(edges: Ints, share: Ints, earliest: Ints) -> Ints:
    """When the first piece of each row starts."""
    found = np.zeros(len(share), np.int64)
    for row in range(len(share)):
        found[row] = first_of(edges, share[row], earliest[row])
    return found
