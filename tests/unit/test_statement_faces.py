"""Statements on the page and on paper: the same numbers as the JSON, in each language, whatever titles hold."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest
from pypdf import PdfReader

from fabrique.apps.reports.document import as_json
from fabrique.apps.reports.html import as_html
from fabrique.apps.reports.pdf import as_pdf
from fabrique.apps.reports.picture import hours_picture
from fabrique.apps.reports.sheet import COMMAND, sheet
from fabrique.apps.reports.statement import Statement, pool_statement, project_statement
from fabrique.core.units import HOUR_MS, Amount, Unit

if TYPE_CHECKING:
    from conftest import Story
    from fabrique.language.say import Speaker

pytestmark = pytest.mark.django_db
LANGUAGES = ["en", "fr", "fr-ca"]


@pytest.fixture
def made(story: Story) -> Statement:
    return project_statement(
        story.projects["a"], story.now - 20 * HOUR_MS, story.now + 1, now=story.now + 5, hub=story.hub
    )


def pages(pdf: bytes) -> list[str]:
    return [page.extract_text() for page in PdfReader(io.BytesIO(pdf)).pages]


def plain(text: str) -> str:
    """Without any space: where lines break is no matter of content."""
    return re.sub(r"\s", "", text)


def numbers(data: Any) -> Iterator[tuple[str, int]]:
    """(unit, value) of every figure in the JSON."""
    for part in data["allocations"]:
        for account in part["units"]:
            for figure in (*account["closing"].values(), *account["movements"].values()):
                yield account["unit"], int(figure["value"])
        for line in part["lines"]:
            yield from ((unit, int(figure["value"])) for unit, figure in line["amounts"].items())
    for by_unit in data["totals"].values():
        yield from ((unit, int(figure["value"])) for unit, figure in by_unit.items())


@pytest.mark.parametrize("language", LANGUAGES)
def test_page_and_paper_show_the_numbers_of_the_json(
    made: Statement, speaker: Callable[..., Speaker], language: str
) -> None:
    say = speaker(language, "America/Toronto")
    data = as_json(made)
    paper, page = "\n".join(pages(as_pdf(made, say))), as_html(made, say)
    cells = re.findall(r"<td class=\"number\" data-label=\"[^\"]+\">([^<]*)</td>", page)
    wanted = {say.figure(Amount(Unit(unit), value)) for unit, value in numbers(data)}
    assert len(wanted) > 20
    assert wanted <= set(cells)
    assert not [figure for figure in wanted if plain(figure) not in plain(paper)]
    rows = [row for section in sheet(made, say).sections for table in section.tables for row in table.rows]
    assert cells == [cell.text for row in rows for cell in row if cell.is_number]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_names_hub_period_hash_command_and_number(
    made: Statement, speaker: Callable[..., Speaker], language: str
) -> None:
    say = speaker(language, "America/Toronto")
    found = pages(as_pdf(made, say))
    assert len(found) > 1
    for number, text in enumerate(found, 1):
        for wanted in (made.hub, say.interval(made.from_ms, made.to_ms), as_json(made)["fingerprint"], COMMAND):
            assert plain(wanted) in plain(text)
        assert plain(f"{say.text('Page')} {number} {say.text('of')} {len(found)}") in plain(text)


def test_a_hostile_title_is_text(made: Statement, speaker: Callable[..., Speaker]) -> None:
    assert "<script>" in made.title
    assert "#eval" in made.title
    page = as_html(made, speaker("en"))
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert plain(made.title) in plain(pages(as_pdf(made, speaker("en")))[0])


def test_the_paper_can_be_read_aloud(made: Statement, speaker: Callable[..., Speaker]) -> None:
    for language, tag in (("en", "en"), ("fr", "fr"), ("fr-ca", "fr-CA")):
        say = speaker(language)
        reader = PdfReader(io.BytesIO(as_pdf(made, say)))
        root: Any = reader.trailer["/Root"]
        assert root["/MarkInfo"]["/Marked"]
        assert str(root["/Lang"]).lower() == tag.lower()
        assert reader.metadata is not None
        assert reader.metadata.title == sheet(made, say).title
        assert b"pdfuaid" in root["/Metadata"].get_data()


def test_the_same_statement_makes_the_same_paper_quickly(made: Statement, speaker: Callable[..., Speaker]) -> None:
    started = time.monotonic()
    first = as_pdf(made, speaker("fr"))
    assert time.monotonic() - started < 2
    assert as_pdf(made, speaker("fr")) == first


def test_the_page_needs_nothing_from_elsewhere(made: Statement, speaker: Callable[..., Speaker]) -> None:
    page = as_html(made, speaker("fr"))
    assert page.count("<html") == 1
    assert not re.search(r"(?:src|href)=|url\(|@import", page)
    assert " style=" not in page


def test_every_number_on_the_page_names_its_postings(made: Statement, speaker: Callable[..., Speaker]) -> None:
    page = as_html(made, speaker("en"))
    for part in made.allocations:
        for line in part.lines:
            for figure in line.amounts:
                assert " ".join(figure.trace) in page


def test_french_is_french_and_quebecs_is_its_own(made: Statement, speaker: Callable[..., Speaker]) -> None:
    france, quebec = as_html(made, speaker("fr")), as_html(made, speaker("fr-ca"))
    assert "Relevé du projet" in france
    assert "Travaux : ce qui" in france.replace("\u00a0", " ")
    assert "Tâches : ce qui" in quebec.replace("\u00a0", " ")
    assert "erreur jusqu’à" in france
    for english in ("Statement", "Charged", "cannot prove", "error up to"):
        assert english not in france
        assert english not in quebec


def test_causes_and_assumptions_are_said(made: Statement, speaker: Callable[..., Speaker]) -> None:
    shown = sheet(made, speaker("en"))
    said = " ".join(shown.notes)
    for wanted in ("cores/1", "CA-QC 2023", "linear", "37"):
        assert wanted in said
    assert len(shown.notes) == len(set(shown.notes)) == 5
    assert len(shown.assumptions) == 2
    assert len(shown.unproven) == 5


def test_a_pools_statement_has_both_faces(story: Story, speaker: Callable[..., Speaker]) -> None:
    made = pool_statement("union", 0, story.now + 10**9, now=story.now, hub=story.hub)
    page, paper = as_html(made, speaker("en")), "".join(pages(as_pdf(made, speaker("en"))))
    assert "Statement of pool union" in page
    assert "before the period ended" in page
    assert plain("Not yet awarded") in plain(paper)


def test_a_statement_of_nothing_says_so(story: Story, speaker: Callable[..., Speaker]) -> None:
    made = project_statement(story.projects["a"], 1, 2, now=story.now, hub=story.hub)
    assert "Nothing was charged" in as_html(made, speaker("en"))
    assert pages(as_pdf(made, speaker("en")))


def test_the_picture_is_well_formed_escaped_and_from_zero(made: Statement, speaker: Callable[..., Speaker]) -> None:
    account = next(u for u in made.allocations[0].units if u.unit == Unit("core-ms:this-cpu"))
    say = speaker("en")
    object.__setattr__(say, "kinds", {"this-cpu": "<b>&\"'"})
    drawn = hours_picture(account, made.from_ms, made.to_ms, say)
    assert drawn is not None
    root = ElementTree.fromstring(drawn[0])  # noqa: S314  # ours
    texts = [element.text or "" for element in root.iter() if element.tag.endswith("text")]
    assert any("100" in text for text in texts)
    assert any("11.5" in text for text in texts)
    assert "<b>" in drawn[1]
    energy = next(u for u in made.allocations[0].units if u.unit == "mJ")
    assert hours_picture(energy, made.from_ms, made.to_ms, say) is None


def test_a_note_says_what_was_not_recorded(speaker: Callable[..., Speaker]) -> None:
    from fabrique.apps.reports import notes

    say = speaker("en")
    assert "not recorded" in notes.energy({}, say)
    assert "not recorded" in notes.factor(None, say)
    assert "not published" in notes.energy({"basis": "modelled", "how": "x", "error_permille": None}, say)
    assert "measured" in notes.energy({"basis": "measured", "how": "NVML"}, say)
    assert notes.cause({"code": "nobody-knows"}, say) == "nobody-knows"
    whole = {
        "zone": "LU",
        "kind": "average",
        "basis": "consumption",
        "year": 2023,
        "source": "S",
        "mg_per_kwh": 284_000,
    }
    assert "LU, average, of consumption, 2023" in notes.factor(whole, say)
