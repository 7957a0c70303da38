"""`fabrique queue`: what waits and what runs, why, and until when; grouped by reason, the asker's own first.

`queue_rows` makes cells of jobs; here they become one frame of lines, shown once or again and again. What is said
goes through the Speaker of the desk.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fabrique.cli import context, output
from fabrique.cli.context import Desk
from fabrique.cli.shared import Call, command

if TYPE_CHECKING:
    from fabrique.apps.jobs.queue import Counted, Queue, Queued

app = typer.Typer()
EVERY_S: Final = 2.0
SHOWN: Final = 50

Line = tuple[str, str]  # a text and its style


@command(app, "queue")
def queue(
    call: Call,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it again whenever it changes, until Ctrl-C.")
    ] = False,
    most: Annotated[
        int, typer.Option("--most", metavar="N", min=1, help="Jobs shown at most; all are counted.")
    ] = SHOWN,
) -> None:
    """Say what waits and what runs: why, since when, until when; yours first, others' as far as you may know."""
    desk = context.enter(call)
    from fabrique.apps.jobs.queue import queue_for

    def look() -> Queue:
        return queue_for(desk.person, now=desk.now)

    if watch:
        return _watch(desk, look, most)
    if call.json:
        return output.document(as_json(desk, look()))
    return _show(desk, look(), most)


def _show(desk: Desk, seen: Queue, most: int) -> None:
    for text, style in frame(desk, seen, most, output.width()):
        output.line(text, style)
    output.line()
    return output.hint(*following(desk, seen))


def _watch(desk: Desk, look: Callable[[], Queue], most: int) -> None:
    """On a terminal one frame that is written over; elsewhere a new one, or a line of JSON, when something changed."""
    if output.on_terminal() and not desk.call.json:
        with output.redrawn() as draw:
            while True:
                seen = look()
                draw([*frame(desk, seen, most, output.width()), ("", ""), (" ".join(following(desk, seen)), "dim")])
                time.sleep(EVERY_S)
    told: object = None
    while True:
        seen = look()
        if still(seen) != told:
            told = still(seen)
            if desk.call.json:
                output.event(as_json(desk, seen))
            else:
                _show(desk, seen, most)
                output.line()
        time.sleep(EVERY_S)


def still(seen: Queue) -> object:
    """What is said, without what changes by itself."""
    jobs = [(q.job.number, q.job.status, q.reason, q.place, q.starts and q.starts[1]) for q in seen.jobs]
    return jobs, tuple(seen.others), tuple(sorted(seen.groups.items()))


# --- a frame ----------------------------------------------------------------------------------------------------


def frame(desk: Desk, seen: Queue, most: int, width: int) -> list[Line]:
    """The whole answer for a terminal of `width` columns."""
    from fabrique.cli.waiting import absence

    lines = [*_summary(desk, seen)]
    if missing := absence(desk):
        lines.append((missing, "yellow"))
    shown = seen.jobs[:most]
    for title, mine in ((desk.say.text("Of your projects"), True), (desk.say.text("Of other projects"), False)):
        of = [q for q in shown if q.mine is mine]
        lines += _block(desk, title, of, width) if of else []
    if len(shown) < len(seen.jobs):
        lines += [
            ("", ""),
            (desk.say.text("{n} more are not shown: see --most.", n=len(seen.jobs) - len(shown)), "dim"),
        ]
    return [*lines, *_others(desk, seen.others)]


def _summary(desk: Desk, seen: Queue) -> Iterator[Line]:
    say = desk.say
    if not seen.groups:
        yield say.text("Nothing waits and nothing runs: a job that fits starts at once."), "bold"
        return
    waiting = say.plural("{n} job waits", "{n} jobs wait", seen.waiting)
    started = say.plural("{n} has started", "{n} have started", seen.started)
    yield say.text("{waiting}, {started}.", waiting=waiting, started=started), "bold"
    counts: Counter[str] = Counter()  # several groups may be said in the same words
    for (waits, group), n in seen.groups.items():
        counts[_title(desk, True, group)] += n if waits else 0
    said = sorted(((n, title) for title, n in counts.items() if n), key=lambda c: (-c[0], c[1]))
    widest = max((len(say.number(n)) for n, _ in said), default=0)
    for n, title in said:
        yield f"  {say.number(n):>{widest}}  {title}", ""


def _title(desk: Desk, waits: bool, group: str) -> str:
    """What a group of jobs has in common, in few words."""
    from fabrique.language.words import WORDS

    if not waits:
        return desk.say.word("job", group)
    known = WORDS["waits"]
    return desk.say.word("waits", group if group in known else f"{group.partition('.')[0]}.*")


def _block(desk: Desk, title: str, jobs: Sequence[Queued], width: int) -> Iterator[Line]:
    """A table by group: the sentence once above all jobs that share it."""
    from fabrique.cli import queue_rows

    rows = {q.job.pk: queue_rows.row(desk, q) for q in jobs}
    table = queue_rows.Table(desk.say, list(rows.values()), width)
    yield "", ""
    yield title, "bold"
    yield table.head, "dim"
    groups: dict[tuple[str, ...], list[Queued]] = {}
    for q in jobs:
        groups.setdefault(_alike(q), []).append(q)
    told: dict[str, list[Queued]] = {}
    for group in groups.values():
        told.setdefault(_sentence(desk, group), []).extend(group)
    for sentence, group in told.items():
        yield sentence, "cyan"
        for q in group:
            yield table.line(rows[q.job.pk]), ""


def _alike(q: Queued) -> tuple[str, ...]:
    from fabrique.language import reasons

    if q.waits and q.reason is not None:
        return reasons.alike(q.reason.code, q.reason.params)
    return str(q.waits), q.group


def _sentence(desk: Desk, group: Sequence[Queued]) -> str:
    """What the jobs of a group have in common."""
    from fabrique.language import reasons

    first = group[0]
    if first.waits and first.reason is not None:
        why = [q.reason.params for q in group if q.reason is not None]
        return reasons.shared(desk.say, first.reason.code, why)
    title = _title(desk, first.waits, first.group)
    return f"{title[:1].upper()}{title[1:]}"


def _others(desk: Desk, others: Sequence[Counted]) -> Iterator[Line]:
    """Work of people whose jobs the asker may not know: how many, of which pool, asking for what."""
    from fabrique.cli import queue_rows

    if not others:
        return
    say = desk.say
    yield "", ""
    yield say.text("Jobs of others"), "bold"
    for one in others:
        what = queue_rows.kinds_said(say, one.device, one.kinds)
        text = say.plural(
            "{n} job, share {pool}, for {what}: {title}",
            "{n} jobs, share {pool}, for {what}: {title}",
            one.jobs,
            what=what,
            pool=one.pool,
            title=_title(desk, one.waits, one.group),
        )
        yield f"  {text}", ""


def following(desk: Desk, seen: Queue) -> tuple[str, str]:
    """The next useful command, and what it says."""
    from fabrique.apps.jobs.services import name_of

    first = next((q for q in seen.jobs if q.waits), None)
    if first is not None:
        text, words = desk.say.text("What would start it sooner:"), f"why {name_of(first.job)}"
    elif seen.jobs and seen.jobs[0].job.door:  # it writes where its script says
        text, words = desk.say.text("Where it stands:"), f"why {name_of(seen.jobs[0].job)}"
    elif seen.jobs:
        text, words = desk.say.text("What it writes:"), f"log {name_of(seen.jobs[0].job)} --follow"
    else:
        text, words = desk.say.text("Submit one:"), "submit SCRIPT --wait"
    return text, desk.command(words)


# --- JSON -------------------------------------------------------------------------------------------------------


def as_json(desk: Desk, seen: Queue) -> dict[str, Any]:
    """Counts over the whole queue, every job the person may know, the rest as counts. Instants are UTC milliseconds."""
    reasons = sorted(((n, group) for (waits, group), n in seen.groups.items() if waits), key=lambda c: (-c[0], c[1]))
    return {
        "at_ms": desk.now,
        "waiting": seen.waiting,
        "started": seen.started,
        "reasons": [{"code": group or None, "jobs": n} for n, group in reasons],
        "jobs": [_job_json(desk, q) for q in seen.jobs],
        "others": [
            {
                "state": "pending" if c.waits else c.group,
                "reason": c.group if c.waits and c.group else None,
                "pool": c.pool,
                "device": c.device,
                "kinds": list(c.kinds),
                "jobs": c.jobs,
            }
            for c in seen.others
        ],
    }


def _job_json(desk: Desk, q: Queued) -> dict[str, Any]:
    job, spec = q.job, q.job.spec
    return {
        "place": q.place,
        "number": job.number,
        "outside_id": job.outside_id or None,
        "name": job.name,
        "project": job.project.code,
        "pool": job.allocation.pool,
        "mine": q.mine,
        "state": job.status,
        "reason": desk.why(q.reason),
        "asks": {k: spec[k] for k in ("milli_devices", "cores", "nodes", "kinds", "walltime_ms", "power")},
        "submitted_ms": job.submitted_ms,
        "since_ms": q.since_ms,
        "starts": None if q.starts is None else {"from_ms": q.starts[0], "to_ms": q.starts[1]},
        "ends_by_ms": q.ends_by_ms,
        "partition": None if q.run is None else q.run.partition,
        "kind": None if q.run is None else q.run.kind,
        "power_w": None if q.run is None else q.run.bound.get("power_w"),
        "level": None if q.run is None or q.run.level is None else asdict(q.run.level),
    }
