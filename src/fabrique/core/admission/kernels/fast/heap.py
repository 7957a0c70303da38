"""Instants to come, soonest first: a binary heap of (at, job) from cell `base` on, ties by job."""

from __future__ import annotations

from fabrique.core.admission.kernels.fast.compiled import compiled
from fabrique.core.admission.tables import Ints


@compiled
def sooner(m: Ints, a: int, b: int) -> bool:
    return m[a] < m[b] or (m[a] == m[b] and m[a + 1] < m[b + 1])


@compiled
def swap(m: Ints, a: int, b: int) -> None:
    m[a], m[b] = m[b], m[a]
    m[a + 1], m[b + 1] = m[b + 1], m[a + 1]


@compiled
def push(m: Ints, base: int, count: int, at: int, job: int) -> None:
    """`count` is the cell that counts them; the table must have room."""
    i = m[count]
    m[count] = i + 1
    m[base + 2 * i], m[base + 2 * i + 1] = at, job
    while i > 0:
        above = (i - 1) // 2
        if not sooner(m, base + 2 * i, base + 2 * above):
            break
        swap(m, base + 2 * i, base + 2 * above)
        i = above


@compiled
def pop(m: Ints, base: int, count: int) -> None:
    """Take the soonest, which is the first, away."""
    left = m[count] - 1
    m[count] = left
    swap(m, base, base + 2 * left)
    i = 0
    while True:
        least = i
        for child in range(2 * i + 1, min(2 * i + 3, left)):
            if sooner(m, base + 2 * child, base + 2 * least):
                least = child
        if least == i:
            return
        swap(m, base + 2 * i, base + 2 * least)
        i = least
