"""The statement as a page: inside the portal's layout when it is served, by itself when it is a file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString, mark_safe

from fabrique.apps.reports.sheet import sheet
from fabrique.apps.reports.statement import Statement
from fabrique.language.say import Speaker

_CSS: Final = Path(__file__).parent / "statement.css"


def as_html(statement: Statement, speaker: Speaker, request: HttpRequest | None = None) -> str:
    """With `request`, a page that extends the portal's `base.html`; without one, a document that needs nothing else."""
    shown = sheet(statement, speaker)
    context = {
        "base": "base.html" if request else "reports/plain.html",
        "sheet": shown,
        "words": words(speaker),
        "sections": [(section, _pictures(section.pictures)) for section in shown.sections],
        "style": None if request else _style(),
    }
    return render_to_string("reports/statement.html", context, request=request)


def words(speaker: Speaker) -> dict[str, str]:
    """The fixed words around a sheet, in the speaker's language whatever the thread's is."""
    return {
        "notes": speaker.text("Notes"),
        "assumptions": speaker.text("What these numbers assume"),
        "unproven": speaker.text("What this statement cannot prove"),
        "verify": speaker.text("How to verify it"),
        "how": speaker.text(
            "With the JSON file of this statement and the verifier, one file that needs only Python and its"
            " cryptography package, run:"
        ),
        "fingerprint": speaker.text("Fingerprint of the JSON file's content"),
        "head": speaker.text("Hash of the ledger's last entry"),
        "places": speaker.text("Where each number comes from: entry/posting"),
        "more": speaker.text("and more, all in the JSON file"),
        "nothing": speaker.text("None."),
        "colon": "\u00a0:" if speaker.language.startswith("fr") else ":",
        "page": speaker.text("Page"),
        "of": speaker.text("of"),
        "period": speaker.text("Period"),
        "hub": speaker.text("Hub"),
        "made": speaker.text("Made on"),
    }


def _pictures(drawn: tuple[tuple[str, str], ...]) -> list[SafeString]:
    return [mark_safe(svg) for svg, _ in drawn]  # noqa: S308  # ours; `picture` escapes every text in it


def _style() -> SafeString:
    return mark_safe(f"<style>{_CSS.read_text(encoding='utf-8')}</style>")  # noqa: S308  # a file of this package
