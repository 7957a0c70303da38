"""The statement as a PDF for the shelf: tagged, paged, every page naming hub, period, hash and how to verify it.

Typst typesets it. The data travels as JSON beside the template and is never part of its source, so a project's title
is text whatever it holds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import typst

from fabrique.apps.reports.html import words
from fabrique.apps.reports.sheet import Cell, Section, Table, sheet
from fabrique.apps.reports.statement import Statement
from fabrique.language.say import Speaker

TEMPLATE: Final = Path(__file__).parent / "statement.typ"
STANDARD: Final = "ua-1"  # PDF/UA-1: readable aloud
MOST_PLACES: Final = 40  # postings named for one number on paper; the JSON file names them all


def as_pdf(statement: Statement, speaker: Speaker) -> bytes:
    """The same bytes for the same statement and speaker. Takes about a second."""
    data = json.dumps(_data(statement, speaker), ensure_ascii=False)
    made = typst.compile(
        TEMPLATE,
        root=TEMPLATE.parent,
        font_paths=[],
        ignore_system_fonts=True,
        format="pdf",
        sys_inputs={"data": data},
        pdf_standards=STANDARD,
        timestamp=statement.made_ms // 1000,
    )
    if not isinstance(made, bytes):
        raise TypeError("typst answered no document")
    return made


def _data(statement: Statement, speaker: Speaker) -> dict[str, Any]:
    shown = sheet(statement, speaker)
    language, _, region = shown.language.partition("-")
    return {
        "language": language,
        "region": region.upper() or None,
        "title": shown.title,
        "subtitle": shown.subtitle,
        "facts": [list(fact) for fact in shown.facts],
        "sections": [_section(section) for section in shown.sections],
        "notes": list(shown.notes),
        "assumptions": list(shown.assumptions),
        "unproven": list(shown.unproven),
        "fingerprint": shown.fingerprint,
        "head": shown.head,
        "command": shown.command,
        "period": shown.period,
        "made": shown.made,
        "hub": shown.hub,
        "words": words(speaker),
    }


def _section(section: Section) -> dict[str, Any]:
    return {
        "title": section.title,
        "lead": section.lead,
        "pictures": [{"svg": svg, "description": description} for svg, description in section.pictures],
        "tables": [_table(table) for table in section.tables if table.rows],
    }


def _table(table: Table) -> dict[str, Any]:
    return {
        "caption": table.caption,
        "columns": [_cell(head) for head in table.columns],
        "rows": [[_cell(cell) for cell in row] for row in table.rows],
        "traces": [_trace(name, places) for name, places in table.traces],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    return {"text": cell.text, "number": cell.is_number}


def _trace(name: str, places: str) -> dict[str, Any]:
    listed = places.split(" ")
    return {"name": name, "places": " ".join(listed[:MOST_PLACES]), "more": len(listed) > MOST_PLACES}
