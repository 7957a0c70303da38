"""The page of a comparison: one file that asks for nothing else, in the reader's language; and the tables beside it."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO

import polars as pl
import pytest
from tests.unit.test_twin_summary import EASY, T0, flat, hours, powered

from fabrique.core.units import HOUR_MS
from fabrique.language.say import Speaker
from fabrique.twin import files
from fabrique.twin.compare import Comparison, compare
from fabrique.twin.report import page
from fabrique.twin.study import Study

NASTY = '<script>alert(1)</script>"&\x07'


@pytest.fixture(scope="module")
def compared() -> Comparison:
    jobs = [{"submit_ms": T0 + i * HOUR_MS, "run_ms": 3 * HOUR_MS, "walltime_ms": 3 * HOUR_MS} for i in range(12)]
    trace = replace(hours(*jobs), source=NASTY, said=(NASTY,))
    study = Study(fleet=powered(2, cap_w=3000), trace=trace, grids=(flat(),))
    return compare(study, [EASY, replace(EASY, name="nobody-passes", backfill=False)])


class _Tags(HTMLParser):
    """Every opened and closed tag, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.links: list[str] = []
        self.wrong: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action", "style")]
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def test_the_page_is_whole_and_needs_nothing_else(compared: Comparison) -> None:
    text = page(Speaker("en"), compared)
    tags = _Tags(text)
    assert tags.open == [] and tags.wrong == [] and tags.links == []
    assert not {"script", "img", "iframe", "link", "form"} & set(tags.seen)
    assert "url(" not in text and "@import" not in text


def test_its_policy_allows_its_own_style_alone(compared: Comparison) -> None:
    text = page(Speaker("en"), compared)
    style = re.search(r"<style>(.*)</style>", text, re.DOTALL)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert style is not None and policy is not None
    allowed = b64encode(sha256(style[1].encode()).digest()).decode()
    assert policy[1].startswith(f"default-src 'none'; style-src 'sha256-{allowed}'")


def test_names_of_strangers_are_text(compared: Comparison) -> None:
    text = page(Speaker("en"), compared)
    assert "<script" not in text and "&lt;script&gt;" in text and "\x07" not in text


def test_every_chart_has_its_table_and_both_sizes(compared: Comparison) -> None:
    text = page(Speaker("en"), compared)
    figures = re.findall(r"<figure>.*?</figure>", text, re.DOTALL)
    titles = [re.sub("<.*?>", "", re.findall(r"<figcaption>(.*?)</figcaption>", f)[0]) for f in figures]
    for wanted in ("Power under its cap: easy", "Carbon against work", "Waits by class"):
        assert wanted in titles
    for figure in figures:
        assert figure.count("<svg") == 2 and "<details><summary>As a table" in figure and "<tbody><tr>" in figure


def test_it_speaks_the_reader_s_language(compared: Comparison) -> None:
    english, french = page(Speaker("en"), compared), page(Speaker("fr"), compared)
    assert '<html lang="fr">' in french and "attente moyenne" in french and "attente moyenne" not in english
    assert '<html lang="fr-CA">' in page(Speaker("fr-ca"), compared)
    assert "Power under its cap" in english and "Power under its cap" not in french


def test_it_says_the_figures_and_the_certificates(compared: Comparison) -> None:
    text = page(Speaker("en"), compared)
    for run in compared.runs:
        assert run.certificate in text and run.rules.name in text
    assert "no effect" in text or "too short to tell" in text


def test_the_tables_hold_every_job_and_every_hour(compared: Comparison) -> None:
    run = compared.runs[0]
    jobs = pl.read_parquet(BytesIO(files.parquet(files.job_columns(run))))
    assert jobs["number"].to_list() == list(range(1, 13))
    assert (jobs["start_ms"] >= jobs["submit_ms"]).all() and jobs["energy_mj"].sum() == run.replay.energy_mj.sum()
    assert jobs["work_class"].unique().to_list() == ["training-compute"]
    series = pl.read_parquet(BytesIO(files.parquet(files.series_columns(run))))
    figures = run.summary.figures
    assert series["carbon_mg"].sum() == figures["carbon_mg"]
    assert (series["jobs_mj"] + series["idle_mj"]).sum() == figures["energy_j"] * 1000
    assert series["cap_mw"].unique().to_list() == [3_000_000] and series["over_mj"].sum() == 0
    assert series["work_all"].sum() == 12 * 3 * HOUR_MS * 1000


def test_unknown_cells_are_null(compared: Comparison) -> None:
    run = compared.runs[0]
    unknown = replace(run, books=replace(run.books, carbon_mg=None, jobs_mj=None, job_carbon_mg=None))
    assert pl.read_parquet(BytesIO(files.parquet(files.job_columns(unknown))))["carbon_mg"].null_count() == 12
    series = pl.read_parquet(BytesIO(files.parquet(files.series_columns(unknown))))
    assert series["carbon_mg"].null_count() == len(series)
