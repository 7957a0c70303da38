"""A job of the queue as cells, and cells as lines of a terminal: narrow ones show fewer columns, never broken lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from babel.dates import format_skeleton

from fabrique.cli import output
from fabrique.cli.context import Desk
from fabrique.language.quantities import LOCALES, NBSP

if TYPE_CHECKING:
    from fabrique.apps.jobs.queue import Queued
    from fabrique.language.say import Speaker

COLUMNS: Final = ("place", "job", "name", "project", "asks", "walltime", "power", "since", "when")
LEFT_OUT: Final = ("power", "project", "walltime", "since", "place", "asks", "name")  # in this order, for want of room
SHORTEST: Final = {"name": 14, "asks": 10}  # columns that may be cut, down to this
RIGHT: Final = ("place", "job")
GAP: Final = 2

Row = Mapping[str, str]


def row(desk: Desk, q: Queued) -> Row:
    """What is said of one job, by column."""
    from fabrique.apps.jobs.services import name_of

    say, job = desk.say, q.job
    return {
        "place": "" if q.place is None else f"{say.number(q.place)}.",
        "job": name_of(job),
        "name": job.name,
        "project": job.project.code,
        "asks": asked(say, q),
        "walltime": say.duration(int(job.spec["walltime_ms"]) if q.run is None else q.run.walltime_ms),
        "power": level(say, q),
        "since": say.duration(max(desk.now - q.since_ms, 0) // 1000 * 1000),
        "when": when(desk, q),
    }


def asked(say: Speaker, q: Queued) -> str:
    """2 × H100 SXM 80 GB, 2 accelerators, 8 cores; of a job that runs, what it was given."""
    spec, run = q.job.spec, q.run
    devices = int(spec["milli_devices"])
    kinds = (run.kind,) if run is not None else tuple(spec["kinds"])
    if not devices:
        return say.plural("{n} core", "{n} cores", int(spec["cores"]))
    count = say.number(Fraction(devices, 1000))
    if not kinds:
        return say.plural("{count} accelerator", "{count} accelerators", -(-devices // 1000), count=count)
    return f"{count}{NBSP}×{NBSP}{kinds_said(say, 'accelerator', kinds)}"


def kinds_said(say: Speaker, device: str, kinds: Sequence[str]) -> str:
    """The kinds that will do; where any will, what sort of device."""
    return say.listed([say.kind(kind) for kind in kinds], "or") if kinds else say.word("device", device)


def level(say: Speaker, q: Queued) -> str:
    """What a running job may draw in all, and the level of each device; what a waiting one wants, or tolerates."""
    if q.run is not None and q.run.bound.get("power_w"):
        most, own = say.power(int(q.run.bound["power_w"])), q.run.level
        if own is None:
            return most
        return say.text("{power}, {level} a device", power=most, level=say.power(own.limit_w))
    power, tolerated = q.job.spec["power"], int(q.job.spec.get("tolerance_permille", 0))
    if power == "auto" and tolerated:
        return say.text("lower, up to {part} longer", part=say.percent(tolerated))
    if isinstance(power, int):
        return say.power(power)
    if q.job.door:  # who types sbatch consents to less in words of their own, or not at all
        power = "max"
    return {"auto": say.text("chosen by the hub"), "max": say.text("full")}.get(power, str(power))


def when(desk: Desk, q: Queued) -> str:
    """By when it starts, or ends."""
    say = desk.say
    if q.starts is not None:
        return say.text("starts by {time}", time=_moment(desk, q.starts[1]))
    if q.ends_by_ms is not None:
        return say.text("ends by {time}", time=_moment(desk, q.ends_by_ms))
    return say.text("not known yet") if q.waits else ""


def _moment(desk: Desk, ms: int) -> str:
    """The time alone today, with its day on any other."""
    say = desk.say
    if say.local(ms).date() == say.local(desk.now).date():
        return say.time(ms)
    day = str(format_skeleton("MMMd", say.local(ms), locale=LOCALES[say.language])).replace(" ", NBSP)
    return f"{day}{NBSP}{say.time(ms)}"


class Table:
    """Lines of one width for all rows: columns are left out, then shortened, until they fit into `width`."""

    def __init__(self, say: Speaker, rows: Sequence[Row], width: int) -> None:
        heads = {
            "place": say.text("place"),
            "job": say.text("job"),
            "name": say.text("name"),
            "project": say.text("project"),
            "asks": say.text("asks for"),
            "walltime": say.text("at most"),
            "power": say.text("power"),
            "since": say.text("since"),
            "when": say.text("forecast"),
        }
        self.widths = {c: max(output.cells(line[c]) for line in (heads, *rows)) for c in COLUMNS}
        for column in LEFT_OUT:
            if self._width - (0 if column == "power" else self._spare) > width:
                del self.widths[column]
        self._shorten(self._width - width)
        self.head = self.line(heads)

    @property
    def _width(self) -> int:
        return sum(self.widths.values()) + GAP * (len(self.widths) - 1)

    @property
    def _spare(self) -> int:
        """What shortening could still win."""
        return sum(max(self.widths[c] - least, 0) for c, least in SHORTEST.items() if c in self.widths)

    def _shorten(self, over: int) -> None:
        for column, least in SHORTEST.items():
            if column in self.widths:
                less = min(max(self.widths[column] - least, 0), max(over, 0))
                self.widths[column] -= less
                over -= less

    def line(self, row: Row) -> str:
        cells = (output.fitted(row[c], n, right=c in RIGHT) for c, n in self.widths.items())
        return (" " * GAP).join(cells).rstrip(" ")
