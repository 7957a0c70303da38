"""`fabrique twin`: the decision replayed over a trace. Needs no home, no database, no network."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fabrique.cli import output, twin_inputs, twin_tables
from fabrique.cli.context import speaker
from fabrique.cli.shared import Call, command
from fabrique.cli.twin_inputs import INPUTS, WORK
from fabrique.core.errors import FabriqueError

if TYPE_CHECKING:
    from fabrique.core.admission.rules import Rules

app = typer.Typer(help="Replay a trace through the decision: waits, power, carbon, what if.", no_args_is_help=True)

Flags = Mapping[str, str]
SHIFT = Annotated[bool, typer.Option("--shift", help="Take a series' other years where it lacks the trace's.")]
PARQUET = Annotated[
    Path | None, typer.Option("--parquet", metavar="DIR", help="Write tables of jobs and of hours there.")
]
REPORT = Annotated[Path | None, typer.Option("--report", metavar="FILE.html", help="Write a page with charts.")]


@command(app, "run", INPUTS)
def run(
    call: Call,
    rules: Annotated[str, typer.Option("--rules", metavar="NAME|FILE", help="A rule set.")] = "easy",
    shift: SHIFT = False,
    parquet: PARQUET = None,
    report: REPORT = None,
    *,
    flags: Flags,
) -> None:
    """Replay a trace under one rule set."""
    from fabrique.twin import compare, study
    from fabrique.twin.said import said

    _free(report)
    wanted = _one(rules)
    found = twin_inputs.inputs(flags, shift)
    compile_s = study.warm_up()
    with twin_tables.progress(speaker(call)) as progress:
        done = study.run(found.study, wanted, _named(progress, wanted))
    compared = compare.Comparison(runs=(done,), left_out=0, differences=({},), possible=((),))
    twin_tables.write(speaker(call), compared, parquet, report)
    if call.json:
        timings = {"parse_s": found.parse_s, "compile_s": compile_s}
        [figures] = compared.as_json()
        return output.document({**figures, **timings, **twin_tables.about(compared), "said": said(compared)})
    say = speaker(call)
    twin_tables.title(say, compared)
    output.pairs(twin_tables.pairs(say, done))
    twin_tables.notes(say, compared)
    return output.hint(say.text("Against other rules:"), "fabrique twin compare --rules easy,frugal …")


@command(app, "compare", INPUTS)
def compare_rules(
    call: Call,
    rules: Annotated[str, typer.Option("--rules", metavar="A,B,…", help="Rule sets; differences are to the first.")],
    shift: SHIFT = False,
    parquet: PARQUET = None,
    report: REPORT = None,
    *,
    flags: Flags,
) -> None:
    """Replay a trace under several rule sets: differences with their error, and how much was possible."""
    from fabrique.twin import compare, study
    from fabrique.twin.said import said

    _free(report)
    wanted = twin_inputs.rules_of(rules)
    found = twin_inputs.inputs(flags, shift)
    compile_s = study.warm_up()
    with twin_tables.progress(speaker(call)) as progress:
        compared = compare.compare(found.study, wanted, progress)
    twin_tables.write(speaker(call), compared, parquet, report)
    if call.json:
        timings = {"parse_s": found.parse_s, "compile_s": compile_s, "left_out": compared.left_out}
        return output.document(
            {"runs": compared.as_json(), **timings, **twin_tables.about(compared), "said": said(compared)}
        )
    say = speaker(call)
    twin_tables.title(say, compared)
    twin_tables.table(say, compared)
    twin_tables.notes(say, compared)
    return output.hint(say.text("With charts:"), "fabrique twin compare --report report.html …")


@command(app, "bound", INPUTS)
def bound(
    call: Call,
    rules: Annotated[str, typer.Option("--rules", metavar="NAME|FILE", help="The schedule to improve on.")] = "easy",
    shift: SHIFT = False,
    *,
    flags: Flags,
) -> None:
    """The least carbon, and cost, that any schedule of these jobs could have had, beside a rule set's."""
    from fabrique.twin import study
    from fabrique.twin.possible import possible

    wanted = _one(rules)
    found = twin_inputs.inputs(flags, shift)
    study.warm_up()
    with twin_tables.progress(speaker(call)) as progress:
        done = study.run(found.study, wanted, _named(progress, wanted))
    if done.books.job_carbon_mg is None:
        zones = ", ".join(str(site.zone) for site in found.study.fleet.sites)
        raise FabriqueError("grid.gap", zone=zones, at_ms=None)
    bounds = [possible(done, done, "carbon")]
    if done.books.job_cost is not None:
        bounds.append(possible(done, done, "cost"))
    if call.json:
        answer = {"rules": wanted.name, "certificate": done.certificate}
        return output.document({**answer, **{str(one.quantity): one.as_json() for one in bounds}})
    say = speaker(call)
    head = [say.text("of the jobs' own energy"), wanted.name, say.text("bound"), say.text("possible saving")]
    head += [say.text("jobs"), say.text("solved in")]
    return output.table(head, [twin_tables.bound_row(say, done, one) for one in bounds], numbers=(1, 2, 3, 4, 5))


@command(app, "generate", {k: WORK[k] for k in ("workload", "seed", "from", "until")})
def generate(
    call: Call,
    target: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Write the jobs as a table: Parquet, or CSV by its name."),
    ] = None,
    *,
    flags: Flags,
) -> None:
    """Generate work from sourced parameters; the same seed makes the same jobs. Without --workload, list them."""
    from fabrique.twin import files
    from fabrique.twin.workload import ready_made, workload

    say = speaker(call)
    if "workload" not in flags:
        known = [(name, workload(name).about) for name in ready_made()]
        if call.json:
            return output.document({"workloads": [{"id": name, "about": about} for name, about in known]})
        output.table([say.text("id"), say.text("what it is")], known)
        return output.hint(say.text("Its jobs:"), "fabrique twin generate --workload ID --output jobs.parquet")
    trace = twin_inputs.trace_of(flags, None)
    if target is not None:
        output.write_new(target, files.trace_file(trace, target.name))
    facts = twin_tables.trace_facts(trace)
    if call.json:
        return output.document({**facts, "file": None if target is None else str(target)})
    output.pairs([(say.text("jobs"), say.number(facts["jobs"])), (say.text("trace"), trace.source)])
    for text in trace.said:
        output.line(text)
    again = f"--workload {flags['workload']}" if target is None else f"--trace {shlex.quote(str(target))}"
    return output.hint(say.text("Replay it:"), f"fabrique twin run {again} --hub ID")


@command(app, "explain", INPUTS)
def explain(
    call: Call,
    job: Annotated[int, typer.Option("--job", metavar="NUMBER", help="A job's number in the trace.")],
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="2026-01-31T00:00Z, or 2d after the first (else once it came)."),
    ] = None,
    rules: Annotated[str, typer.Option("--rules", metavar="NAME|FILE", help="A rule set.")] = "easy",
    shift: SHIFT = False,
    *,
    flags: Flags,
) -> None:
    """Say why a job of a trace waited at an instant, what bound it, and who came before it."""
    from fabrique.twin.moment import moment
    from fabrique.twin.replay import replay

    wanted = _one(rules)
    study = twin_inputs.inputs(flags, shift).study
    world = study.world(wanted)
    names = [str(number) for number in study.trace.number[world.rows]]
    if str(job) not in names:
        raise FabriqueError("twin.job", job=str(job))
    row = names.index(str(job))
    at_ms = int(world.submit_ms[row]) if at is None else twin_inputs.instant_of(at, study.trace)
    found = moment(world, row, at_ms, names)
    with twin_tables.progress(speaker(call)) as progress:
        done = replay(world, _named(progress, wanted))
    start, end = (None if ms < 0 else int(ms) for ms in (done.start_ms[row], done.end_ms[row]))
    before = [names[other] for other in found.before]
    say = speaker(call)
    if call.json:
        why = None if found.reason is None else {**found.reason.as_json(), "sentence": say.reason(found.reason)}
        told = {"job": job, "at_ms": at_ms, "status": found.status, "reason": why, "place": found.place}
        waits = {"waiting": found.waiting, "before": before, "reserved_by_ms": found.by_ms}
        return output.document({**told, **waits, "start_ms": start, "end_ms": end, "rules": wanted.name})
    state = say.word("moment", found.status)
    output.line(say.text("Job {job} at {time}: {state}.", job=str(job), time=say.instant(at_ms), state=state), "bold")
    if found.reason is not None:
        output.line(say.reason(found.reason))
    return output.pairs(twin_tables.moment_pairs(say, found, before, start, end))


# --- steps --------------------------------------------------------------------------------------------------------
def _free(*targets: Path | None) -> None:
    """Refuse what can't be written before any time is spent. Raises `file.exists`, `twin.option`."""
    for path in targets:
        if path is not None and path.exists():
            raise FabriqueError("file.exists", file=str(path))
        if path is not None and not path.parent.is_dir():
            raise FabriqueError("twin.option", option="--report", given=str(path)[:80], example="report.html")


def _one(rules: str) -> Rules:
    """Raises `twin.option`."""
    found = twin_inputs.rules_of(rules)
    if len(found) != 1:
        raise FabriqueError("twin.option", option="--rules", given=rules, example="easy")
    return found[0]


def _named(progress: Callable[[str, int, int], None], rules: Rules) -> Callable[[int, int], None]:
    return lambda ended, total: progress(rules.name, ended, total)
