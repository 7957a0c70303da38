"""What the commands of the twin say: tables, notes, a bar of progress on a terminal, files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabrique.cli import output

if TYPE_CHECKING:
    from fabrique.language.say import Speaker
    from fabrique.twin.compare import Comparison
    from fabrique.twin.moment import Moment
    from fabrique.twin.possible import Possible
    from fabrique.twin.study import Run
    from fabrique.twin.trace import Trace

Tell = Callable[[str, int, int], None]


# --- while it runs ------------------------------------------------------------------------------------------------
@contextmanager
def progress(say: Speaker) -> Iterator[Tell]:
    """A bar with the time left, on standard error and on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda rules, ended, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:

        def tell(rules: str, ended: int, total: int) -> None:
            if rules not in tasks:
                tasks[rules] = bar.add_task(output.safe(say.text("Replay under {rules}", rules=rules)), total=total)
            bar.update(tasks[rules], completed=ended)

        yield tell


def write(say: Speaker, compared: Comparison, parquet: Path | None, report: Path | None) -> None:
    """The tables and the page that were asked for. Raises `file.exists`."""
    if parquet is not None:
        from fabrique.twin import files

        parquet.mkdir(parents=True, exist_ok=True)
        for one in compared.runs:
            for name, columns in (("jobs", files.job_columns(one)), ("series", files.series_columns(one))):
                output.write_new(parquet / f"{name}-{one.rules.name}.parquet", files.parquet(columns))
    if report is not None:
        from fabrique.twin.report import page

        output.write_new(report, page(say, compared).encode())


# --- what is said of every comparison -----------------------------------------------------------------------------
def about(compared: Comparison) -> dict[str, Any]:
    """The inputs, by name and digest."""
    study = compared.runs[0].study
    return {
        "trace": {"source": study.trace.source, "digest": study.trace.digest, "dropped": dict(study.trace.dropped)},
        "fleet": {"name": study.fleet.name, "digest": study.fleet.digest, "devices": study.fleet.milli_devices / 1000},
        "grids": [None if grid is None else {"zone": grid.zone, "digest": grid.digest} for grid in study.grids],
    }


def title(say: Speaker, compared: Comparison) -> None:
    study, jobs = compared.runs[0].study, len(compared.runs[0].replay.world)
    text = say.text("{trace} on {fleet}: {jobs} jobs.", trace=study.trace.source, fleet=study.fleet.name, jobs=jobs)
    output.line(text, "bold")


def notes(say: Speaker, compared: Comparison) -> None:
    """What was left out, and how much rests on assumptions."""
    from fabrique.twin import said as told

    study = compared.runs[0].study
    left = len(study.trace.dropped) + len(compared.runs[0].replay.world.dropped)
    texts = told.notes(say, compared)
    for text in texts[:left]:
        output.line(text)
    if len(texts) > left:
        count = len(texts) - left
        output.line(say.text("Notes and assumptions beneath these figures: {count}; --json has them.", count=count))


# --- one run ------------------------------------------------------------------------------------------------------
def pairs(say: Speaker, one: Run) -> list[tuple[str, object]]:
    from fabrique.twin import said as told

    f = one.summary.figures
    return [
        (say.text("rules"), f["rules"]),
        (say.text("mean wait"), told.seconds(say, f["mean_wait_s"])),
        (
            say.text("median, 95 %, 99 %"),
            ", ".join(told.seconds(say, f[k]) for k in ("median_wait_s", "p95_wait_s", "p99_wait_s")),
        ),
        (say.text("mean bounded slowdown"), told.number(say, f["mean_bounded_slowdown"])),
        (say.text("utilisation"), told.percent(say, f["utilisation"])),
        (say.text("work by the end of the trace"), told.work(say, f["work_done"])),
        (say.text("energy"), told.energy(say, f["energy_j"])),
        (say.text("carbon"), told.carbon(say, f["carbon_mg"])),
        (say.text("cost"), told.money(say, f["cost"], f["currency"])),
        (say.text("above the cap"), told.above(say, f["over_cap_ws"])),
        (say.text("preempted, put off, unfinished"), f"{f['preemptions']}, {f['deferrals']}, {f['unfinished']}"),
        (say.text("certificate"), one.certificate),
    ]


# --- several ------------------------------------------------------------------------------------------------------
def table(say: Speaker, compared: Comparison) -> None:
    """A row a rule set; then the differences to the first, each with its interval."""
    from fabrique.twin import said as told

    head, rows = told.overview(say, compared)
    output.table(head, rows, numbers=range(1, 9))
    for index, one in enumerate(compared.runs[1:], 1):
        output.line()
        first = compared.runs[0].rules.name
        output.line(say.text("{rules} against {first}:", rules=one.rules.name, first=first), "bold")
        output.table(
            [say.text("figure"), say.text("difference"), say.text("95 % of resamples"), say.text("verdict")],
            list(told.difference_rows(say, compared, index)),
            numbers=(1, 2),
        )
        for reached in compared.possible[index]:
            output.line(told.reached_text(say, reached))


def bound_row(say: Speaker, one: Run, found: Possible) -> tuple[str, ...]:
    from fabrique.twin import said as told

    what = say.word("figure", "carbon_g" if found.quantity == "carbon" else "cost")
    limit = found.bound
    if limit is None or limit.optimum is None or limit.saving is None:
        status = told.UNKNOWN if limit is None else limit.status
        return what, told.UNKNOWN, status, told.UNKNOWN, say.number(found.jobs), told.UNKNOWN

    def value(amount: int) -> str:
        return say.carbon(amount) if found.quantity == "carbon" else told.money(say, amount, one.books.currency)

    share = say.percent(limit.saving * 1000 / limit.baseline) if limit.baseline > 0 else told.UNKNOWN
    saved = f"{value(limit.saving)} ({share})"
    solved = f"{say.number(limit.seconds, 1)}\u00a0s"
    return what, value(limit.baseline), value(limit.optimum), saved, say.number(found.jobs), solved


# --- a trace, a moment --------------------------------------------------------------------------------------------
def trace_facts(trace: Trace) -> dict[str, Any]:
    return {
        "source": trace.source,
        "digest": trace.digest,
        "jobs": len(trace),
        "from_ms": int(trace.submit_ms[0]),
        "until_ms": int(trace.submit_ms[-1]),
        "device_s": int((trace.run_ms // 1000 * trace.milli_devices).sum()) // 1000,
        "said": list(trace.said),
    }


def moment_pairs(
    say: Speaker, found: Moment, before: list[str], start: int | None, end: int | None
) -> list[tuple[str, object]]:
    from fabrique.twin import said as told

    rows: list[tuple[str, object]] = []
    if found.place is not None:
        rows.append((say.text("place"), say.text("{place} of {waiting}", place=found.place, waiting=found.waiting)))
    if before:
        rows.append((say.text("before it"), ", ".join(before)))
    if found.by_ms is not None:
        rows.append((say.text("starts by"), say.instant(found.by_ms)))
    rows.append((say.text("started"), told.UNKNOWN if start is None else say.instant(start)))
    rows.append((say.text("Ended").lower(), told.UNKNOWN if end is None else say.instant(end)))
    return rows
