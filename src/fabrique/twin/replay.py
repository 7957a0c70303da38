"""A replay: a world's jobs through the compiled decision, along a clock of its own; and what came of each job."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fabrique.core.admission import tables as t
from fabrique.core.admission.kernels.fast import entries
from fabrique.core.admission.kernels.fast import memory as kept
from fabrique.core.admission.tables import NONE, UNLIMITED, Ints
from fabrique.twin.world import World

Progress = Callable[[int, int], None]  # jobs ended, jobs in all

_FOREVER = UNLIMITED - 1
_PARTS = 50  # how often progress is told
_SIMPLE_DEPTH = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """One row a job of the world, in its order; one a site, a pool or a slot where they are named.

    `start_ms` (of the first run) and `end_ms` are NONE where that never came; `option` is the last run's. Energy is
    above the idle draw, at the meter; `done_ms` is the work on the reference device that was done and kept by the
    submission of the last job, `lost_ms` what was done in vain or spent on restarts. Slots are `slot_ms` long from
    `slot_start_ms` on (none where time alone decides nothing). `seconds` is the replay alone.
    """

    world: World
    start_ms: Ints
    end_ms: Ints
    option: Ints
    energy_mj: Ints
    done_ms: Ints
    lost_ms: Ints
    preemptions: Ints
    deferred: Ints  # 1: was put off once
    slot_start_ms: int
    slot_ms: int
    slot_mj: Ints  # (sites, slots)
    peak_mw: Ints  # (sites, slots)
    over_mj: Ints  # (sites, slots)
    pool_work: Ints  # (pools of the rules, slots) normalised milli-device x ms
    steps: int
    seconds: float
    peak_rss_bytes: int

    @property
    def ended(self) -> int:
        return int((self.end_ms != NONE).sum())


def replay(world: World, progress: Progress | None = None) -> Replay:
    """Every job submitted, decided on, run and ended. Equal worlds give equal replays."""
    block = begun(world)
    run_until = entries.replay_of(block.cells)
    entries.load(run_until)
    seconds, milestones = 0.0, _milestones(world)
    while True:
        for until in milestones:
            before = time.perf_counter()
            ended = int(run_until(block.cells, until))
            seconds += time.perf_counter() - before
            if progress:
                progress(ended, len(world))
        if _over(block):
            break
        if milestones[-1] == _last_slot(block):
            block = _longer(world, block)  # what is left after the last submission takes as many slots as it takes
        milestones = [_last_slot(block)]
    return _found(world, block, seconds)


def begun(world: World) -> kept.Memory:
    """The memory of a replay in which nothing has happened yet."""
    block = kept.memory(world.state, world.flags, _book(world, _slots(world)))
    _write_fate(block.book.fate, world)
    return block


def _slots(world: World) -> int:
    """Twice those of the submissions, for what is left after the last one; where nothing happens they take no room."""
    if not world.tick_ms or not len(world):
        return 0
    return 2 * int(world.submit_ms[-1] // world.tick_ms - world.submit_ms[0] // world.tick_ms) + 64


def _milestones(world: World) -> list[int]:
    """Up to the end of the slot of the last submission; to the end of everything where there are no slots."""
    if not len(world):
        return []
    if not world.tick_ms:
        return [_FOREVER] if len(world) < 200_000 else [*_even(world), _FOREVER]
    last = (int(world.submit_ms[-1]) // world.tick_ms + 1) * world.tick_ms - 1
    return [*_even(world), last]


def _even(world: World) -> list[int]:
    return [int(at) for at in world.submit_ms[:: max(1, len(world) // _PARTS)][1:]]


def _last_slot(block: kept.Memory) -> int:
    book = block.book.book
    return int(book[kept.SLOT_START] + block.book.slot_mj.shape[1] * book[kept.TICK]) - 1


def _over(block: kept.Memory) -> bool:
    """Whether nothing is left to happen: all ended, or what waits would wait for ever."""
    book = block.book.book
    waits_for_ever = book[kept.TICK] == 0 or book[kept.IDLE] >= entries.MOST_IDLE
    return bool(book[kept.DONE_JOBS] == len(block.book.fate) or waits_for_ever)


def _longer(world: World, block: kept.Memory) -> kept.Memory:
    """The same block with twice the slots."""

    def wider(table: Ints) -> Ints:
        return np.concatenate([table, np.zeros((len(table), max(64, table.shape[1])), np.int64)], axis=1)

    series = {name: wider(getattr(block.book, name)) for name in ("slot_mj", "peak_mw", "over_mj", "pool_work")}
    return kept.memory(block.state, world.flags, block.book._replace(**series))


def _book(world: World, slots: int) -> kept.Book:
    jobs, sites, state = len(world), len(world.sites), world.state
    moves = world.rules.recap or world.rules.reclaim or world.rules.defer or bool((world.after != NONE).any())
    book = np.zeros(kept.BOOK_COLUMNS, np.int64)
    book[kept.TICK], book[kept.RESTART], book[kept.SIMPLE] = world.tick_ms, world.restart_ms, _simple(world)
    if jobs:
        book[kept.HORIZON] = world.submit_ms[-1]
        book[kept.SLOT_START] = world.submit_ms[0] // max(world.tick_ms, 1) * max(world.tick_ms, 1)
    return kept.Book(
        fate=np.broadcast_to(np.int64(0), (jobs, kept.FATE_COLUMNS)),  # written where it is kept
        ends=np.zeros((2 * len(state.run) + 64, 2), np.int64),
        wakes=np.zeros((2 * jobs + 64 if moves else 64, 2), np.int64),
        instants=_instants(world),
        draw=world.draw_mw,
        root=_roots(world),
        site_mw=np.zeros(sites, np.int64),
        slot_mj=np.zeros((sites, slots), np.int64),
        peak_mw=np.zeros((sites, slots), np.int64),
        over_mj=np.zeros((sites, slots), np.int64),
        pool_work=np.zeros((len(state.pool), slots), np.int64),
        book=book,
    )


def _write_fate(fate: Ints, world: World) -> None:
    unknown = (kept.FATE_CHILD, kept.FATE_SIBLING, kept.FATE_START, kept.FATE_END, kept.FATE_OPTION)
    fate[:, unknown] = NONE
    fate[:, kept.FATE_SUBMIT], fate[:, kept.FATE_LEFT] = world.submit_ms, world.left_ms
    fate[:, kept.FATE_AFTER] = world.after
    for child in np.flatnonzero(world.after != NONE)[::-1]:
        parent = world.after[child]
        fate[child, kept.FATE_SIBLING] = fate[parent, kept.FATE_CHILD]
        fate[parent, kept.FATE_CHILD] = child


def _instants(world: World) -> Ints:
    """When caps change or get known, blocks begin or end, and the trace ends; from the first submission on."""
    if not len(world):
        return np.zeros(0, np.int64)
    cap, block = world.state.cap, world.state.block
    parts = (cap[:, t.CAP_FROM], cap[:, t.CAP_KNOWN], block[:, t.BLOCK_FROM], block[:, t.BLOCK_UNTIL])
    found = np.unique(np.concatenate([*parts, world.submit_ms[-1:]]))
    later: Ints = found[found >= world.submit_ms[0]]
    return later


def _roots(world: World) -> Ints:
    """By site, the domain at the top of its places' chains."""
    roots = np.full(len(world.sites), NONE, np.int64)
    for place, chain in zip(world.state.place, world.state.chain, strict=True):
        known = chain[chain != NONE]
        if len(known):
            roots[place[t.PLACE_SITE]] = known[-1]
    return roots


def _simple(world: World) -> bool:
    """Whether what waited before an arrival waits after it: then only the newcomers need a look."""
    rules, state = world.rules, world.state
    changes = (rules.share_order, rules.fair, rules.age_ms, rules.defer, rules.reclaim, rules.recap, rules.water_fill)
    one_by_one = rules.reservations == 1 and not rules.drain_permille and rules.depth >= _SIMPLE_DEPTH
    return not any(changes) and not rules.pools and one_by_one and len(state.line) == 1 and not len(state.room)


def _found(world: World, block: kept.Memory, seconds: float) -> Replay:
    fate, book = block.book.fate, block.book.book
    done = np.where(fate[:, kept.FATE_AT_HORIZON] == NONE, world.left_ms, fate[:, kept.FATE_AT_HORIZON])
    return Replay(
        world=world,
        start_ms=fate[:, kept.FATE_START].copy(),
        end_ms=fate[:, kept.FATE_END].copy(),
        option=fate[:, kept.FATE_OPTION].copy(),
        energy_mj=fate[:, kept.FATE_ENERGY].copy(),
        done_ms=done,
        lost_ms=fate[:, kept.FATE_LOST].copy(),
        preemptions=block.state.job[:, t.JOB_PREEMPTIONS].copy(),
        deferred=np.isin(block.state.job[:, t.JOB_DEFERRED], (1, 2)).astype(np.int64),
        slot_start_ms=int(book[kept.SLOT_START]),
        slot_ms=world.tick_ms,
        slot_mj=block.book.slot_mj,
        peak_mw=block.book.peak_mw,
        over_mj=block.book.over_mj,
        pool_work=block.book.pool_work,
        steps=int(book[kept.STEPS]),
        seconds=seconds,
        peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )
