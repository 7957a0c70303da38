"""What the commands of the twin say: tables, notes, a bar of progress on a terminal, files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fabrique.cli import output

if TYPE_CHECKING:
    from fabrique.language.say import Speaker
    from fabrique.twin.compare import Comparison
    from fabrique.twin.moment import Moment
    from fabrique.twin.possible import Possible
    from fabrique.twin.study import Run
    from fabrique.twin.trace import Trace

Tell = Callable[[str, int, int], None]
_UNKNOWN: Final = "–"
_DIFFERENCES: Final = ("mean_wait_s", "mean_bounded_slowdown", "work_done", "energy_j", "carbon_g", "cost")


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


def said(compared: Comparison) -> list[str]:
    """What a reader of the figures should know: of the trace, the machines, the grid; each once."""
    from fabrique.twin.books import span

    study = compared.runs[0].study
    found = list(study.trace.said)
    for one in compared.runs:
        found += [f"{a.path}: {a.value} ({a.why})" for a in one.replay.world.said]
    weathers = study.weathers(span(compared.runs[0].replay))
    found += [text for weather in weathers if weather is not None for text in weather.said]
    return list(dict.fromkeys(found))


def title(say: Speaker, compared: Comparison) -> None:
    study, jobs = compared.runs[0].study, len(compared.runs[0].replay.world)
    text = say.text("{trace} on {fleet}: {jobs} jobs.", trace=study.trace.source, fleet=study.fleet.name, jobs=jobs)
    output.line(text, "bold")


def notes(say: Speaker, compared: Comparison) -> None:
    """What was left out, and how much rests on assumptions."""
    study = compared.runs[0].study
    for cause, count in (*study.trace.dropped, *compared.runs[0].replay.world.dropped):
        output.line(say.text("{count} jobs were left out: {cause}.", count=count, cause=say.word("left-out", cause)))
    count = len(said(compared))
    if count:
        output.line(say.text("These figures rest on {count} notes and assumptions: --json has them.", count=count))


# --- one run ------------------------------------------------------------------------------------------------------
def pairs(say: Speaker, one: Run) -> list[tuple[str, object]]:
    f = one.summary.figures
    return [
        (say.text("rules"), f["rules"]),
        (say.text("mean wait"), seconds(say, f["mean_wait_s"])),
        (
            say.text("median, 95 %, 99 %"),
            ", ".join(seconds(say, f[k]) for k in ("median_wait_s", "p95_wait_s", "p99_wait_s")),
        ),
        (say.text("mean bounded slowdown"), number(say, f["mean_bounded_slowdown"])),
        (say.text("utilisation"), percent(say, f["utilisation"])),
        (say.text("work by the end of the trace"), work(say, f["work_done"])),
        (say.text("energy"), energy(say, f["energy_j"])),
        (say.text("carbon"), _UNKNOWN if f["carbon_mg"] is None else say.carbon(f["carbon_mg"])),
        (say.text("cost"), money(say, f["cost"], f["currency"])),
        (say.text("above the cap"), _UNKNOWN if f["over_cap_ws"] is None else say.energy(f["over_cap_ws"] * 1000)),
        (say.text("preempted, put off, unfinished"), f"{f['preemptions']}, {f['deferrals']}, {f['unfinished']}"),
        (say.text("certificate"), one.certificate),
    ]


def seconds(say: Speaker, value: float | None) -> str:
    return _UNKNOWN if value is None else say.duration(round(value) * 1000)


def number(say: Speaker, value: float | None) -> str:
    return _UNKNOWN if value is None else say.number(value, 2)


def percent(say: Speaker, value: float | None) -> str:
    return _UNKNOWN if value is None else say.percent(round(value * 10_000) / 10)


def work(say: Speaker, device_s: int) -> str:
    return f"{say.number(device_s / 3600, 0)}\u00a0h"


def energy(say: Speaker, joules: int | None) -> str:
    return _UNKNOWN if joules is None else say.energy(joules * 1000)


def money(say: Speaker, micro: int | None, currency: str | None) -> str:
    return _UNKNOWN if micro is None or currency is None else say.money(micro, currency)


# --- several ------------------------------------------------------------------------------------------------------
def table(say: Speaker, compared: Comparison) -> None:
    """A row a rule set; then the differences to the first, each with its interval."""
    head = [say.text(x) for x in ("rules", "mean wait", "slowdown", "utilisation", "work", "energy", "carbon")]
    head += [say.text("cost"), say.text("above the cap")]
    rows = []
    for one in compared.runs:
        f = one.summary.figures
        over = _UNKNOWN if f["over_cap_ws"] is None else say.energy(f["over_cap_ws"] * 1000)
        waits = (seconds(say, f["mean_wait_s"]), number(say, f["mean_bounded_slowdown"]))
        use = (percent(say, f["utilisation"]), work(say, f["work_done"]))
        carbon = _UNKNOWN if f["carbon_mg"] is None else say.carbon(f["carbon_mg"])
        rows.append(
            (f["rules"], *waits, *use, energy(say, f["energy_j"]), carbon, money(say, f["cost"], f["currency"]), over)
        )
    output.table(head, rows, numbers=range(1, 9))
    for index, one in enumerate(compared.runs[1:], 1):
        output.line()
        first = compared.runs[0].rules.name
        output.line(say.text("{rules} against {first}:", rules=one.rules.name, first=first), "bold")
        output.table(
            [say.text("figure"), say.text("difference"), say.text("95 % of resamples"), say.text("verdict")],
            list(difference_rows(say, compared, index)),
            numbers=(1, 2),
        )
        for reached in compared.possible[index]:
            output.line(reached_text(say, reached))


def difference_rows(say: Speaker, compared: Comparison, index: int) -> Iterator[tuple[str, ...]]:
    currency = compared.runs[0].books.currency
    for name in _DIFFERENCES:
        found = compared.differences[index].get(name)
        if found is None or found.mean is None:
            continue

        def told(value: float | None, name: str = name) -> str:
            return _UNKNOWN if value is None else _signed(say, name, value, currency)

        interval = _UNKNOWN if found.low is None else f"{told(found.low)} … {told(found.high)}"
        yield say.word("figure", name), told(found.mean), interval, say.word("difference", found.verdict)


def _signed(say: Speaker, name: str, value: float, currency: str | None) -> str:
    sign, size = "−" if value < 0 else "+", abs(value)
    match name:
        case "mean_wait_s":
            return sign + seconds(say, size)
        case "work_done":
            return sign + work(say, round(size))
        case "energy_j":
            return sign + energy(say, round(size))
        case "carbon_g":
            return sign + say.carbon(round(size * 1000))
        case "cost":
            return sign + money(say, round(size * 1_000_000), currency)
    return f"{sign}{number(say, size)}"


def reached_text(say: Speaker, found: Possible) -> str:
    """The share of what was possible, in one sentence."""
    what = say.word("figure", "carbon_g" if found.quantity == "carbon" else "cost")
    if found.bound is None or found.bound.optimum is None:
        status = "" if found.bound is None else found.bound.status
        return say.text("{what}: the bound was not found ({status}).", what=what, status=status)
    if found.reached_permille is None:
        return say.text("{what}: nothing could have been saved on the jobs that both end in time.", what=what)
    share = say.percent(found.reached_permille)
    return say.text(
        "{what}: {share} of the possible saving was reached, on {jobs} jobs that both end in time.",
        what=what,
        share=share,
        jobs=found.jobs,
    )


def bound_row(say: Speaker, one: Run, found: Possible) -> tuple[str, ...]:
    what = say.word("figure", "carbon_g" if found.quantity == "carbon" else "cost")
    limit = found.bound
    if limit is None or limit.optimum is None or limit.saving is None:
        status = _UNKNOWN if limit is None else limit.status
        return what, _UNKNOWN, status, _UNKNOWN, say.number(found.jobs), _UNKNOWN

    def value(amount: int) -> str:
        return say.carbon(amount) if found.quantity == "carbon" else money(say, amount, one.books.currency)

    share = say.percent(limit.saving * 1000 / limit.baseline) if limit.baseline > 0 else _UNKNOWN
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
    rows: list[tuple[str, object]] = []
    if found.place is not None:
        rows.append((say.text("place"), say.text("{place} of {waiting}", place=found.place, waiting=found.waiting)))
    if before:
        rows.append((say.text("before it"), ", ".join(before)))
    if found.by_ms is not None:
        rows.append((say.text("starts by"), say.instant(found.by_ms)))
    rows.append((say.text("started"), _UNKNOWN if start is None else say.instant(start)))
    rows.append((say.text("ended"), _UNKNOWN if end is None else say.instant(end)))
    return rows
