"""Access modes: what ours say, and every complaint that a visitor's own file gets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fabrique.core.access import LANGUAGES, Bounds, Mode, Text, commercial_cap, in_force
from fabrique.core.form import check_form
from fabrique.definitions import mode_lists, modes
from fabrique.definitions.complaints import say

DATA = Path(modes.__file__).parent / "data" / "modes"
BY_ID = {m.id: m for m in modes.catalogue()}


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000


def test_the_nine_modes_load_without_a_complaint() -> None:
    for path in sorted(DATA.glob("*.yaml")):
        mode, complaints = modes.load(path)
        assert [say(c) for c in complaints] == []
        assert mode is not None
        assert (mode.id, mode.version) == (path.stem, 1)
    assert len(BY_ID) == 9


def test_every_value_of_policy_says_where_it_comes_from() -> None:
    for mode in modes.catalogue():
        assert {"audience", "size_acc_h", "months", "cut_offs", "decision", "pool", "data_kept_days"} <= set(
            mode.provenance
        )
        for name, provenance in mode.provenance.items():
            if provenance.status == "assumption":
                assert provenance.note, f"{mode.id}.{name} is assumed without a why"
            elif provenance.status in ("seed", "sourced", "derived"):
                assert provenance.source, f"{mode.id}.{name} has no source"


def test_what_lasalle_never_published_is_marked_as_assumed() -> None:
    for name in ("lasalle_research", "lasalle_startup"):
        for value in ("size_acc_h", "months", "decision", "pool", "rate", "target_working_days"):
            assert BY_ID[name].assumed(value)
        assert not BY_ID[name].assumed("audience")


@pytest.mark.parametrize(
    ("mode", "size", "months", "target", "decision"),
    [
        ("fast_lane", Bounds(10_000, 50_000), (1, 2, 3), 4, "officer"),
        ("large_scale", Bounds(50_001, None), (3, 6, 12), 10, "officer"),
        ("ai_for_science", Bounds(None, None), (6,), 22, "officer"),
        ("playground", Bounds(1, 5_000), (1, 2, 3), 2, "automatic"),
    ],
)
def test_published_bounds_of_the_european_modes(
    mode: str, size: Bounds, months: tuple[int, ...], target: int, decision: str
) -> None:
    found = BY_ID[mode]
    assert (found.size_acc_h, found.months, found.target_working_days, found.decision) == (
        size,
        months,
        target,
        decision,
    )


def test_a_size_nobody_published_is_an_assumption_or_unknown() -> None:
    assert BY_ID["playground"].assumed("size_acc_h")
    assert BY_ID["ai_for_science"].provenance["size_acc_h"].status == "not-found"
    assert not BY_ID["fast_lane"].assumed("size_acc_h")


def test_cut_offs_are_ten_in_brussels_whatever_the_season() -> None:
    large = BY_ID["large_scale"].cut_offs
    assert len(large) == 22
    assert large[0] == at("2026-01-30T09:00")  # winter time
    assert large[8] == at("2026-06-15T08:00")  # summer time
    assert large[-1] == at("2027-01-04T09:00")
    assert list(large) == sorted(large)
    assert BY_ID["ai_for_science"].cut_offs[-1] == at("2026-12-11T09:00")


def test_an_application_at_the_cut_off_itself_is_too_late() -> None:
    mode = BY_ID["large_scale"]
    assert mode.next_cut_off(at("2026-06-15T08:00") - 1) == at("2026-06-15T08:00")
    assert mode.next_cut_off(at("2026-06-15T08:00")) == at("2026-06-30T08:00")
    assert mode.next_cut_off(at("2027-01-04T09:00")) is None


def test_when_an_answer_is_due() -> None:
    # Playground, Friday evening: Monday and Tuesday are the two working days, so midnight after Tuesday in Brussels.
    assert modes.answer_due_ms(BY_ID["playground"], at("2026-11-20T19:00")) == at("2026-11-24T23:00")
    # Large Scale counts from the cut-off of 30 November.
    assert modes.answer_due_ms(BY_ID["large_scale"], at("2026-11-20T19:00")) == at("2026-12-14T23:00")
    assert modes.answer_due_ms(BY_ID["large_scale"], at("2027-02-01T00:00")) is None
    assert modes.answer_due_ms(BY_ID["playground"], at("2029-01-01T00:00")) is None


@pytest.mark.parametrize(
    ("hub", "group", "offered"),
    [
        ("ca-lasalle-hub", "sovereign-hub", {"lasalle_research", "lasalle_startup", "teaching"}),
        (
            "lu-meluxina-ai",
            "first-seven",
            {"playground", "fast_lane", "large_scale", "ai_for_science", "national", "commercial", "teaching"},
        ),
        ("somebody-s-own", "whatever", {"national", "commercial", "teaching"}),
    ],
)
def test_modes_of_a_hub(hub: str, group: str, offered: set[str]) -> None:
    assert {m.id for m in modes.for_hub(hub, group)} == offered


def test_the_latest_version_in_force_is_used() -> None:
    import dataclasses

    old = BY_ID["playground"]
    new = dataclasses.replace(old, version=2, valid_from=old.valid_from + 1_000)
    assert in_force((old, new), old.valid_from) == (old,)
    assert in_force((old, new), old.valid_from + 1_000) == (new,)
    assert in_force((old, new), old.valid_from - 1) == ()


def test_commercial_use_is_capped_on_the_unions_time_not_on_the_machine() -> None:
    half = 500_000
    assert commercial_cap(1_000_000, half) == 100_000
    # MeluXina-AI: 1,008 accelerators over a year of 8,760 hours
    assert commercial_cap(1_008 * 8_760, half) == 883_008
    assert commercial_cap(100, 350_000) == 7


def every_text(mode: Mode) -> list[Text]:
    inside = [f.label for f in mode.form] + [f.help for f in mode.form if f.help] + [d.text for d in mode.duties]
    inside += [q.text for q in mode.ethics] + [c.label for f in mode.form for c in f.choices]
    return [mode.name, mode.summary, mode.acknowledgement, *inside]


@pytest.mark.parametrize("mode", modes.catalogue(), ids=lambda m: m.id)
def test_french_is_set_as_french_is(mode: Mode) -> None:
    for text in every_text(mode):
        for said in (text.said("fr-FR"), text.said("fr-CA")):
            assert "'" not in said, said
            for sign in "?;!:»":
                assert f" {sign}" not in said, f"a breaking space before {sign} in {said}"
                assert sign not in said or f"\u00a0{sign}" in said, said


def test_languages_fall_back() -> None:
    text = Text("Startup", "Jeune pousse", "Entreprise en démarrage")
    assert [text.said(x) for x in (*LANGUAGES, "fr-FR", "de")] == [
        "Startup",
        "Jeune pousse",
        "Entreprise en démarrage",
        "Jeune pousse",
        "Startup",
    ]
    assert Text("a", "b").said("fr-CA") == "b"


def test_the_acknowledgement_has_its_blanks() -> None:
    for mode in modes.catalogue():
        for language in LANGUAGES:
            said = mode.acknowledgement.said(language).format(hub="H", project="P", machine="M")
            assert "P" in said and "M" in said and "{" not in said


def test_a_form_always_asks_what_the_rules_need() -> None:
    for mode in modes.catalogue():
        asked = {f.id for f in mode.form}
        assert {"title", "organisation_kind", "country", "kind", "hours", "months", "civilian", "data_class"} <= asked
        assert not mode.smallness or {"staff", "turnover"} <= asked
        assert mode.age_most_years is None or "founded" in asked
        assert mode.inference_most_permille is None or "inference_hours" in asked
        assert [e.field for e in check_form(mode, {})] == [f.id for f in mode.form if f.required and not f.only_for]


def test_calendars_name_no_day_outside_their_years() -> None:
    for calendar in mode_lists.calendars().values():
        assert all(calendar.covers(day) for day in calendar.holidays)
    assert {m.calendar for m in modes.catalogue()} <= set(mode_lists.calendars())


# --- a visitor's own file ---------------------------------------------------------------------------------------------

TEACHING = (DATA / "teaching.yaml").read_text()


def line_of(text: str, start: str) -> int:
    return next(i for i, line in enumerate(text.splitlines(), 1) if line.startswith(start))


@pytest.mark.parametrize(
    ("change", "start", "code"),
    [
        (lambda t: t.replace("version: 1", "version: one"), "version", "value.type"),
        (lambda t: t.replace("version: 1", "version: 1\ncolour: red"), "colour", "value.unknown-key"),
        (lambda t: t.replace("version: 1", "version: 1\nversion: 2"), "version: 2", "yaml.duplicate-key"),
        (lambda t: t.replace("family: teaching", "family: royal"), "family", "value.choice"),
        (lambda t: t.replace("calendar: eu-institutions", "calendar: moon"), "calendar", "hub.unknown-reference"),
        (lambda t: t.replace("zone: UTC", "zone: Mars/Olympus"), "zone", "hub.timezone"),
        (lambda t: t.replace("zone: UTC", "zone: ../../etc/passwd"), "zone", "hub.timezone"),
        (lambda t: t.replace("valid_to: null", "valid_to: 2025-01-01"), "valid_to", "hub.dates"),
        (lambda t: t.replace("{least: 1, most: 2000}", "{least: 9, most: 2}"), "size_acc_h", "value.bound"),
        (lambda t: t.replace("[prohibited-practice,", "[colour,"), "ethics", "hub.unknown-reference"),
        (lambda t: t.replace("value: [title, summary", "value: [title, title"), "  value: [title", "hub.duplicate-id"),
        (lambda t: t.replace("[title, summary", "[moon, summary"), "  value: [moon", "hub.unknown-reference"),
        (lambda t: t.replace("free, status: assumption", "free, status: sourced"), "rate", "hub.source-missing"),
        (lambda t: t.replace("rate: {value: free,", "rate: {value: free, source: S-Z,"), "rate", "hub.source-unknown"),
        (lambda t: t.replace("a course comes back each year", "~"), "once", "value.missing"),
        (lambda t: t.replace("months: {value: [1, 2, 3, 4, 5, 6]", "months: {value: null"), "months", "value.refused"),
        (lambda t: t.replace("commercial: false", "commercial: true"), "rate", "value.refused"),
    ],
)  # fmt: skip
def test_a_broken_mode_is_told_at_its_line(tmp_path: Path, change: Callable[[str], str], start: str, code: str) -> None:
    text = change(TEACHING).replace("note: ~}", "note: null}")
    assert text != TEACHING
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    mode, complaints = modes.load(path)
    assert mode is None
    assert (line_of(text, start), code) in [(c.line, c.code) for c in complaints], [say(c) for c in complaints]


def test_a_mode_of_ones_own_may_write_its_fields_and_questions(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    red = "choices: [{id: red, label: {en: Red, fr: Rouge}}]"
    own = "{id: colour, kind: choice, required: true, label: {en: Colour, fr: Couleur}, " + red + "}"
    path.write_text(TEACHING.replace("[title, summary, course,", f"[title, summary, course, {own},"))
    mode, complaints = modes.load(path)
    assert complaints == []
    assert mode is not None and (colour := mode.field("colour")) is not None
    assert [c.id for c in colour.choices] == ["red"]


def test_cut_offs_out_of_order_are_refused(tmp_path: Path) -> None:
    text = (DATA / "ai_for_science.yaml").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("2026-02-27, 2026-04-30", "2026-04-30, 2026-02-27"))
    mode, complaints = modes.load(path)
    assert mode is None
    assert [(c.code, c.line) for c in complaints] == [("value.refused", line_of(text, "    dates:"))]
