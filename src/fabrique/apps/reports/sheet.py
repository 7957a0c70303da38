"""The statement in a reader's words: titles, tables and notes that page and PDF both show, number for number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fabrique.apps import names
from fabrique.apps.reports import notes
from fabrique.apps.reports.document import UNPROVEN, fingerprint
from fabrique.apps.reports.picture import hours_picture
from fabrique.apps.reports.statement import AllocationPart, Figure, Statement, StatementLine, UnitAccount
from fabrique.core.units import Amount, Unit
from fabrique.language.marks import msg
from fabrique.language.say import Speaker

COMMAND: Final = "python fabrique_verify.py statement.json"

_PARTS: Final[Mapping[str, str]] = {
    "granted": msg("Granted"),
    "used": msg("Used"),
    "held": msg("Held"),
    "lost": msg("Lost"),
    "expired": msg("Expired"),
    "transferred": msg("Transferred"),
    "available": msg("Available"),
    "unallocated": msg("Not yet awarded"),
    "awarded": msg("Awarded"),
}
_ACTS: Final[Mapping[str, str]] = {
    "debit": msg("Charged"),
    "refund": msg("Refunded"),
    "frugality-rebate": msg("Frugality rebate"),
    "correction": msg("Corrected"),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """A text; a number has the places of its postings."""

    text: str
    trace: tuple[str, ...] = ()
    is_number: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    caption: str
    columns: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @property
    def labelled(self) -> list[list[tuple[str, Cell]]]:
        """Each cell beside the head of its column, for a screen that is too narrow for both."""
        return [[(head.text, cell) for head, cell in zip(self.columns, row, strict=True)] for row in self.rows]

    @property
    def traces(self) -> list[tuple[str, str]]:
        """Each number by its row and column, with the places of its postings as entry/position."""
        found = []
        for row in self.rows:
            name = " · ".join(
                c.text for c, head in zip(row, self.columns, strict=True) if not head.is_number and c.text
            )
            for cell, head in zip(row, self.columns, strict=True):
                if cell.trace:
                    found.append((f"{name} · {head.text}", " ".join(cell.trace)))
        return found


@dataclass(frozen=True, slots=True)
class Section:
    """`pictures` are SVG documents of our own making, each with its description in words."""

    title: str
    lead: str
    tables: tuple[Table, ...]
    pictures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Sheet:
    """`command` verifies the JSON file of the same statement, whose content has this `fingerprint`."""

    language: str
    title: str
    subtitle: str
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
    assumptions: tuple[str, ...]
    unproven: tuple[str, ...]
    fingerprint: str
    head: str
    command: str
    period: str
    made: str
    hub: str


def sheet(statement: Statement, speaker: Speaker) -> Sheet:
    """All that is shown of `statement`, in the speaker's language; titles of others stand in it as plain text."""
    numbered = notes.Notes(speaker)
    is_pool = statement.kind == "pool"
    title = (
        speaker.text("Statement of pool {id}", id=names.pool_name(statement.id, speaker))
        if is_pool
        else speaker.text("Statement of project {id}", id=statement.id)
    )
    sections = [Section(speaker.text("The period"), _lead(statement, speaker), (_totals(statement, speaker),))]
    if statement.pool:
        sections.append(Section(speaker.text("The pool"), "", (_balances(statement.pool, speaker),)))
    sections += [_allocation(part, statement, speaker, numbered) for part in statement.allocations]
    return Sheet(
        language=speaker.language,
        title=title,
        subtitle="" if is_pool else statement.title,
        facts=_facts(statement, speaker),
        sections=tuple(sections),
        notes=numbered.texts,
        assumptions=tuple(notes.assumption(a, speaker) for a in statement.assumptions),
        unproven=tuple(speaker.text(text) for text in UNPROVEN),
        fingerprint=fingerprint(statement),
        head=statement.checkpoint["entry_hash"],
        command=COMMAND,
        period=speaker.interval(statement.from_ms, statement.to_ms),
        made=speaker.instant(statement.made_ms),
        hub=statement.hub,
    )


def _facts(statement: Statement, speaker: Speaker) -> tuple[tuple[str, str], ...]:
    made = speaker.instant(statement.made_ms)
    return (
        (speaker.text("Hub"), statement.hub),
        (speaker.text("Period"), speaker.interval(statement.from_ms, statement.to_ms)),
        (
            speaker.text("Made on"),
            speaker.text("{time}, before the period ended", time=made) if statement.is_provisional else made,
        ),
        (speaker.text("Ledger"), speaker.text("up to entry {seq}", seq=int(statement.checkpoint["seq"]))),
    )


def _lead(statement: Statement, speaker: Speaker) -> str:
    """The answer in one line: what was used, all given back deducted."""
    net = {unit: figure.value for unit, figure in _net(statement).items() if figure.value}
    if not net:
        return speaker.text("Nothing was charged in this period.")
    amounts = speaker.listed([speaker.amount(Amount(unit, value)) for unit, value in net.items()])
    return speaker.text("Used in this period, all given back deducted: {amounts}.", amounts=amounts)


def _net(statement: Statement) -> dict[Unit, Figure]:
    found: dict[Unit, Figure] = {}
    for by_unit in statement.totals.values():
        for unit, figure in by_unit.items():
            old = found.get(unit, Figure(unit, 0))
            found[unit] = Figure(unit, old.value + figure.value, old.trace + figure.trace)
    return dict(sorted(found.items()))


def _totals(statement: Statement, speaker: Speaker) -> Table:
    acts = sorted(statement.totals, key=lambda what: (what != "debit", what))
    columns = (speaker.text("Unit"), *(_act(what, speaker) for what in acts), speaker.text("Net"))
    rows = []
    for unit, net in _net(statement).items():
        cells = [_number(statement.totals[what].get(unit), speaker) for what in acts]
        rows.append((Cell(speaker.unit_name(unit)), *cells, _number(net, speaker)))
    return Table(speaker.text("What was charged and given back"), _heads(columns, 1), tuple(rows))


def _allocation(part: AllocationPart, statement: Statement, speaker: Speaker, numbered: notes.Notes) -> Section:
    lead = speaker.text(
        "Project {project}, pool {pool}, access mode {mode}, from {start} to {end}.",
        project=part.project,
        pool=names.pool_name(part.pool, speaker),
        mode=names.mode_name(part.mode, speaker),
        start=speaker.date(part.starts_ms),
        end=speaker.date(part.ends_ms),
    )
    tables = [_balances(part.units, speaker), _movements(part.units, speaker)]
    if part.lines:
        tables.append(_lines(part.lines, speaker, numbered))
    pictures = [hours_picture(account, statement.from_ms, statement.to_ms, speaker) for account in part.units]
    title = speaker.text("Allocation {id}", id=part.id)
    return Section(title, lead, tuple(tables), tuple(p for p in pictures if p))


def _balances(units: Sequence[UnitAccount], speaker: Speaker) -> Table:
    rows = [(account.unit, account.closing) for account in units]
    return _parts(speaker.text("Where each unit stands at the end of the period"), rows, speaker)


def _movements(units: Sequence[UnitAccount], speaker: Speaker) -> Table:
    rows = [(account.unit, account.movements) for account in units]
    return _parts(speaker.text("What moved in the period"), rows, speaker)


def _parts(caption: str, accounts: Sequence[tuple[Unit, Mapping[str, Figure]]], speaker: Speaker) -> Table:
    parts = [name for name in _PARTS if accounts and name in accounts[0][1]]
    columns = (speaker.text("Unit"), *(speaker.text(_PARTS[name]) for name in parts))
    rows = [
        (Cell(speaker.unit_name(unit)), *(_number(figures[name], speaker) for name in parts))
        for unit, figures in accounts
    ]
    return Table(caption, _heads(columns, 1), tuple(rows))


def _lines(lines: Sequence[StatementLine], speaker: Speaker, numbered: notes.Notes) -> Table:
    """One row per act on a run; what its numbers rest on stands in numbered notes."""
    units = sorted({figure.unit for line in lines for figure in line.amounts})
    columns = (
        speaker.text("When"),
        speaker.text("Job"),
        speaker.text("Act"),
        *(speaker.unit_name(u) for u in units),
        speaker.text("Notes"),
    )
    rows = []
    for line in lines:
        by_unit = {figure.unit: figure for figure in line.amounts}
        numbers = [_number(by_unit.get(unit), speaker) for unit in units]
        marks = " ".join(f"[{n}]" for n in numbered.of(line))
        job = line.job or line.ref[:8]
        rows.append(
            (Cell(speaker.instant(line.at_ms)), Cell(job), Cell(_act(line.what, speaker)), *numbers, Cell(marks))
        )
    return Table(speaker.text("Jobs, what was charged and what was given back"), _heads(columns, 3, 1), tuple(rows))


def _act(what: str, speaker: Speaker) -> str:
    return speaker.text(_ACTS[what]) if what in _ACTS else what


def _heads(texts: Iterable[str], before: int, after: int = 0) -> tuple[Cell, ...]:
    """Column heads; the first `before` and the last `after` are of texts, the others of numbers."""
    listed = list(texts)
    last = len(listed) - after
    return tuple(Cell(text, is_number=before <= i < last) for i, text in enumerate(listed))


def _number(figure: Figure | None, speaker: Speaker) -> Cell:
    if figure is None:
        return Cell("–", is_number=True)
    return Cell(speaker.figure(Amount(figure.unit, figure.value)), figure.trace, is_number=True)
