"""Where things are in the one block of memory: `m[of.job(m, j) + JOB_POOL]` is the pool of job `j`.

Imported as `of`. ROWS_, WIDTH_ and OFFSET_ are cells of the block's directory, FLAG_ the cells of the rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fabrique.core.admission import tables as t
from fabrique.core.admission.kernels.fast.compiled import compiled
from fabrique.core.admission.kernels.fast.memory import FATE_COLUMNS, PARTS
from fabrique.core.admission.rules import Flags
from fabrique.core.admission.tables import Ints

Where = Callable[[Ints, int], int]


def _offset(table: str) -> int:
    return 3 * PARTS.index(table)


def _rows(table: str) -> int:
    return 3 * PARTS.index(table) + 1


def _width(table: str) -> int:
    return 3 * PARTS.index(table) + 2


def _of(table: str, columns: int = 0) -> Where:
    """The function that tells where a row begins; `columns` 0: as many as the directory says."""
    offset, width = _offset(table), _width(table)

    def fixed(m: Ints, row: int) -> int:
        return m[offset] + row * columns

    def varied(m: Ints, row: int) -> int:
        return m[offset] + row * m[width]

    return compiled(fixed if columns else varied)


def _flag(name: str) -> int:
    return 3 * len(PARTS) + Flags._fields.index(name)


place = _of("place", t.PLACE_COLUMNS)
capacity = _of("capacity")
free = _of("free")
chain = _of("chain")
domain = _of("domain", t.DOMAIN_COLUMNS)
cap = _of("cap", t.CAP_COLUMNS)
block = _of("block", t.BLOCK_COLUMNS)
block_need = _of("block_need")
option = _of("option", t.OPTION_COLUMNS)
profile = _of("profile", t.PROFILE_COLUMNS)
thrifty = _of("thrifty", 1)
pool = _of("pool", t.POOL_COLUMNS)
cohort = _of("cohort", t.COHORT_COLUMNS)
project = _of("project", t.PROJECT_COLUMNS)
line = _of("line", t.LINE_COLUMNS)
job = _of("job", t.JOB_COLUMNS)
need = _of("need")
budget = _of("budget", t.BUDGETS)
ask = _of("ask", t.BUDGETS)
room = _of("room", 1)
run = _of("run", t.RUN_COLUMNS)
by_end = _of("by_end", 1)
grid = _of("grid")
planned = _of("planned")
clock = _of("clock", 1)
fate = _of("fate", FATE_COLUMNS)
ends = _of("ends", 2)
wakes = _of("wakes", 2)
instants = _of("instants", 1)
draw = _of("draw", 1)
root = _of("root", 1)
site_mw = _of("site_mw", 1)
slot_mj = _of("slot_mj")
peak_mw = _of("peak_mw")
over_mj = _of("over_mj")
pool_work = _of("pool_work")
book = _of("book", 1)
critical = _of("critical", 2)
critical_free = _of("critical_free")
critical_mw = _of("critical_mw")
reserved = _of("reserved", 4)
reserved_need = _of("reserved_need")
postponed = _of("postponed", 1)
marks = _of("marks", 1)
rank = _of("rank", 1)
ranked = _of("ranked", 1)
excess = _of("excess", 1)
pool_at = _of("pool_at", 2)
pool_key = _of("pool_key", 2)
closed = _of("closed", 1)
elastic = _of("elastic", 2)
more_at = _of("more_at", 1)
least_mw = _of("least_mw", 1)
failed = _of("failed", 2)
free_rows = _of("free_rows", 1)
row = _of("row", 1)
victims = _of("victims", 1)
starts = _of("starts", 2)
preempts = _of("preempts", 2)
recaps = _of("recaps", 2)
deferrals = _of("deferrals", 2)
work = _of("work", 1)

FLAG_AGE_MS: Final = _flag("age_ms")
FLAG_BACKFILL: Final = _flag("backfill")
FLAG_BACKOFF_MS: Final = _flag("backoff_ms")
FLAG_DECAY_PPM: Final = _flag("decay_ppm")
FLAG_DEFER: Final = _flag("defer")
FLAG_DEPTH: Final = _flag("depth")
FLAG_DRAIN_PERMILLE: Final = _flag("drain_permille")
FLAG_FAIR: Final = _flag("fair")
FLAG_FILL_PPM: Final = _flag("fill_ppm")
FLAG_FLOOR_PERMILLE: Final = _flag("floor_permille")
FLAG_MIN_RUN_MS: Final = _flag("min_run_ms")
FLAG_OBSERVE_ONLY: Final = _flag("observe_only")
FLAG_POOLS: Final = _flag("pools")
FLAG_PREEMPT_LOWER: Final = _flag("preempt_lower")
FLAG_RECAP: Final = _flag("recap")
FLAG_RECLAIM: Final = _flag("reclaim")
FLAG_RECLAIM_ANY: Final = _flag("reclaim_any")
FLAG_RESERVATIONS: Final = _flag("reservations")
FLAG_SHARE_ORDER: Final = _flag("share_order")
FLAG_WATER_FILL: Final = _flag("water_fill")
FLAG_WINDOW_MS: Final = _flag("window_ms")
OFFSET_ENDS: Final = _offset("ends")
OFFSET_WAKES: Final = _offset("wakes")
ROWS_BLOCK: Final = _rows("block")
ROWS_DOMAIN: Final = _rows("domain")
ROWS_ENDS: Final = _rows("ends")
ROWS_FATE: Final = _rows("fate")
ROWS_INSTANTS: Final = _rows("instants")
ROWS_LINE: Final = _rows("line")
ROWS_OPTION: Final = _rows("option")
ROWS_ROOM: Final = _rows("room")
ROWS_PLACE: Final = _rows("place")
ROWS_POOL: Final = _rows("pool")
ROWS_PROJECT: Final = _rows("project")
ROWS_SITE_MW: Final = _rows("site_mw")
WIDTH_CHAIN: Final = _width("chain")
WIDTH_CRITICAL_MW: Final = _width("critical_mw")
WIDTH_GRID: Final = _width("grid")
WIDTH_NEED: Final = _width("need")
WIDTH_SLOT_MJ: Final = _width("slot_mj")
