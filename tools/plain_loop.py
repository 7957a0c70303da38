"""FCFS and EASY as they are defined, in a plain Python loop: what every other replay is held against.

No tables, no compiler: jobs are tuples (submit, run, processors, request), all in the same unit of time, in order of
submission. `request` is the end that the job asks for, never less than `run`.

EASY: start from the head of the queue while it fits. If the head doesn't, its shadow time is when enough will be free
by the ends asked for; *extra* is what is free then, after every job with that same end, less what the head needs. Then
the rest of the queue, once: who fits now starts if it ends by the shadow time or needs no more than what is extra.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import islice

Job = tuple[int, int, int, int]  # submit, run, processors, request
Ends = list[tuple[int, int]]


def fcfs(jobs: Sequence[Job], processors: int) -> list[int]:
    """When each job starts if nobody passes anybody."""
    return replay(jobs, processors, backfill=False)


def easy(jobs: Sequence[Job], processors: int) -> list[int]:
    """When each job starts if one may pass whose start can't make the head of the queue later."""
    return replay(jobs, processors, backfill=True)


def replay(jobs: Sequence[Job], processors: int, backfill: bool) -> list[int]:
    """When each job starts. A job that is larger than the machine is an error."""
    if any(job[2] > processors for job in jobs):
        raise ValueError("a job is larger than the machine")
    starts = [0] * len(jobs)
    ends: Ends = []  # (end, job) of what runs, a heap
    asked: Ends = []  # (end asked for, job) of what runs, sorted
    queue: deque[int] = deque()
    free, come, count = processors, 0, len(jobs)
    while come < count or ends:
        now = jobs[come][0] if come < count else ends[0][0]
        if ends and ends[0][0] < now:
            now = ends[0][0]
        while ends and ends[0][0] == now:
            number = heappop(ends)[1]
            free += jobs[number][2]
            del asked[bisect_left(asked, (starts[number] + jobs[number][3], number))]
        while come < count and jobs[come][0] == now:
            queue.append(come)
            come += 1
        begin = []
        while queue and jobs[queue[0]][2] <= free:
            free -= jobs[queue[0]][2]
            begin.append(queue.popleft())
        _start(begin, now, jobs, starts, ends, asked)
        if backfill and free and len(queue) > 1:
            begin = _passing(now, free, jobs, queue, asked)
            free -= sum(jobs[number][2] for number in begin)
            _start(begin, now, jobs, starts, ends, asked)
    return starts


def _start(begin: list[int], now: int, jobs: Sequence[Job], starts: list[int], ends: Ends, asked: Ends) -> None:
    for number in begin:
        _, run, _, request = jobs[number]
        starts[number] = now
        heappush(ends, (now + run, number))
        insort(asked, (now + request, number))


def _passing(now: int, free: int, jobs: Sequence[Job], queue: deque[int], asked: Ends) -> list[int]:
    """The jobs that may pass the head of the queue; they leave it."""
    head, left = jobs[queue[0]][2], free
    for k, (shadow, number) in enumerate(asked):
        left += jobs[number][2]
        if left >= head and (k + 1 == len(asked) or asked[k + 1][0] > shadow):
            break
    extra = left - head
    begin = []
    for number in islice(queue, 1, None):
        _, _, size, request = jobs[number]
        if size <= free:
            if now + request > shadow:
                if size > extra:
                    continue
                extra -= size
            free -= size
            begin.append(number)
            if not free:
                break
    for number in begin:
        queue.remove(number)
    return begin
