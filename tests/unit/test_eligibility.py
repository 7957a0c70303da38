"""Eligibility: each rule answers pass, fail or unknown; and what a form may hold."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from fabrique.core.access import Mode
from fabrique.core.eligibility import Answer, Closing, Facts, Verdict, evaluate, overall
from fabrique.core.form import check_form, checked
from fabrique.core.reasons import reason
from fabrique.core.units import HOUR_MS
from fabrique.definitions import modes

BY_ID = {m.id: m for m in modes.catalogue()}
NOW = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp() * 1_000)
PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN


def public_only(data_class: str) -> Answer:
    rule = reason("eligible.data-class", data_class=data_class, rule="sovereign.public")
    return Answer("data-class", PASS if data_class == "public" else UNKNOWN, rule)


FACTS = Facts(
    kinds={"local-core": "core", "h100-sxm": "accelerator"},
    available={"local-core": 2_000 * HOUR_MS, "h100-sxm": 100_000 * HOUR_MS},
    commercial_left={"h100-sxm": 1_000 * HOUR_MS},
    data_rule=public_only,
    earlier_modes=frozenset(),
)
FORM: dict[str, object] = {
    "title": "Small models",
    "summary": "Smaller models for a few languages.",
    "organisation_kind": "startup",
    "country": "LU",
    "founded": "2024-02-29",
    "staff": "12",
    "turnover": "0",
    "kind": "local-core",
    "hours": "20",
    "months": "1",
    "civilian": "yes",
    "data_class": "public",
    "ethics.prohibited-practice": "no",
    "ethics.high-risk": "no",
    "ethics.personal-data": "no",
    "ethics.data-rights": "yes",
    "ethics.misuse": "no",
}


def judged(mode: Mode | str, facts: Facts = FACTS, now_ms: int = NOW, **changes: object) -> dict[str, Answer]:
    mode = BY_ID[mode] if isinstance(mode, str) else mode
    names = {f.id for f in mode.form} | {f"ethics.{q.id}" for q in mode.ethics}
    given = {k: v for k, v in {**FORM, **changes}.items() if k in names and v is not None}
    values, _ = checked(mode, given)
    return {a.rule: a for a in evaluate(mode, values, facts, now_ms)}


def test_a_newcomer_is_told_yes_at_once() -> None:
    answers = judged("playground")
    assert {rule: a.verdict for rule, a in answers.items() if a.verdict is not PASS} == {}
    assert overall(list(answers.values())) is PASS


@pytest.mark.parametrize(
    ("rule", "change", "verdict"),
    [
        ("organisation-kind", {"organisation_kind": "researcher"}, FAIL),
        ("organisation-kind", {"organisation_kind": None}, UNKNOWN),
        ("country", {"country": "US"}, FAIL),
        ("country", {"country": "CH"}, UNKNOWN),  # an association has to be confirmed
        ("country", {"country": None}, UNKNOWN),
        ("staff", {"staff": "249"}, PASS),
        ("staff", {"staff": "250"}, FAIL),
        ("staff", {"staff": None}, UNKNOWN),
        ("turnover", {"turnover": "50000000"}, PASS),
        ("turnover", {"turnover": "50000001"}, UNKNOWN),  # the balance sheet may still be small
        ("turnover", {"turnover": "50000001", "balance": "43000000"}, PASS),
        ("turnover", {"turnover": "50000001", "balance": "43000001"}, FAIL),
        ("turnover", {"turnover": None}, UNKNOWN),
        ("kind", {"kind": "mi300x"}, FAIL),
        ("kind", {"kind": None}, UNKNOWN),
        ("size", {"hours": "5000"}, PASS),
        ("size", {"hours": "5001"}, FAIL),
        ("size", {"hours": None}, UNKNOWN),
        ("size", {"kind": "mi300x"}, UNKNOWN),
        ("capacity", {"hours": "2000"}, PASS),
        ("capacity", {"hours": "2001"}, FAIL),
        ("capacity", {"kind": "mi300x"}, UNKNOWN),
        ("duration", {"months": "3"}, PASS),
        ("duration", {"months": "4"}, FAIL),
        ("duration", {"months": None}, UNKNOWN),
        ("civilian", {"civilian": "no"}, FAIL),
        ("civilian", {"civilian": None}, UNKNOWN),
        ("ethics", {"ethics.misuse": None}, FAIL),  # an open question is no answer
        ("ethics", {"ethics.misuse": "yes"}, UNKNOWN),  # to be explained to a person
        ("ethics", {"ethics.data-rights": "no"}, UNKNOWN),
        ("data-class", {"data_class": "health"}, UNKNOWN),
        ("data-class", {"data_class": None}, UNKNOWN),
    ],
)
def test_each_rule(rule: str, change: dict[str, Any], verdict: Verdict) -> None:
    assert judged("playground", **change)[rule].verdict is verdict


def test_smallness_is_asked_of_small_organisations_alone() -> None:
    answers = judged("playground", organisation_kind="large-company", staff=None, turnover=None, founded=None)
    assert not {"staff", "turnover", "age"} & set(answers)


def test_an_assumed_bound_is_said_to_be_assumed() -> None:
    assert judged("playground")["size"].evidence["assumed"] is True
    assert judged("fast_lane", kind="h100-sxm", hours="10000")["size"].evidence["assumed"] is False


@pytest.mark.parametrize(
    ("mode", "hours", "verdict"),
    [
        ("fast_lane", "9999", FAIL),
        ("fast_lane", "10000", PASS),
        ("fast_lane", "50000", PASS),
        ("fast_lane", "50001", FAIL),
        ("large_scale", "50000", FAIL),
        ("large_scale", "50001", PASS),
        ("ai_for_science", "1", UNKNOWN),  # no size is published
    ],
)
def test_the_size_of_each_door(mode: str, hours: str, verdict: Verdict) -> None:
    assert judged(mode, kind="h100-sxm", hours=hours)["size"].verdict is verdict


def test_a_mode_is_open_within_its_validity() -> None:
    mode = dataclasses.replace(BY_ID["playground"], valid_from=NOW, valid_to=NOW + 10)
    assert judged(mode, now_ms=NOW)["mode-open"].verdict is PASS
    assert judged(mode, now_ms=NOW + 10)["mode-open"].reason.params["status"] == "ended"
    assert judged(mode, now_ms=NOW - 1)["mode-open"].reason.params["status"] == "not-yet"


def test_a_mode_can_be_closed_for_a_time() -> None:
    for_a_time = dataclasses.replace(FACTS, closings=(Closing("playground", NOW, NOW + 5), Closing("fast_lane", 0)))
    assert judged("playground", for_a_time)["mode-open"].reason == reason(
        "eligible.mode-closed", mode="playground", status="closed"
    )
    assert judged("playground", for_a_time, NOW + 5)["mode-open"].verdict is PASS
    assert judged("fast_lane", for_a_time, NOW)["mode-open"].verdict is FAIL


def test_after_the_last_published_cut_off_the_next_one_is_unknown() -> None:
    later = int(datetime(2027, 6, 1, tzinfo=UTC).timestamp() * 1_000)
    assert judged("large_scale", now_ms=later)["cut-off"].verdict is UNKNOWN
    assert judged("large_scale")["cut-off"].reason.params["cut_off"] == BY_ID["large_scale"].next_cut_off(NOW)
    assert "cut-off" not in judged("playground")


def test_inference_takes_at_most_a_tenth_of_ai_for_science() -> None:
    for hours, verdict in (("10", PASS), ("11", FAIL), (None, UNKNOWN)):
        answers = judged("ai_for_science", kind="h100-sxm", hours="109", inference_hours=hours)
        assert answers["inference"].verdict is verdict


def test_commercial_time_is_what_the_cap_leaves() -> None:
    for kind, hours, verdict in (("h100-sxm", "1000", PASS), ("h100-sxm", "1001", FAIL), ("local-core", "1", UNKNOWN)):
        assert judged("commercial", kind=kind, hours=hours)["commercial-cap"].verdict is verdict
    assert "commercial-cap" not in judged("playground")


def test_where_the_cap_is_no_law_nothing_is_asked_of_it() -> None:
    uncapped = dataclasses.replace(FACTS, commercial_left=None)
    assert "commercial-cap" not in judged("commercial", uncapped, kind="h100-sxm", hours="1001")
    untold = dataclasses.replace(FACTS, commercial_left={})
    assert judged("commercial", untold, kind="h100-sxm", hours="1")["commercial-cap"].verdict is UNKNOWN


def test_a_startup_of_lasalle_is_young_and_canadian() -> None:
    for founded, verdict in (("2016-11-22", PASS), ("2016-11-21", FAIL), ("2027-01-01", UNKNOWN), (None, UNKNOWN)):
        assert judged("lasalle_startup", country="CA", founded=founded)["age"].verdict is verdict
    assert judged("lasalle_startup", country="CA")["country"].verdict is PASS
    assert judged("lasalle_startup", country="LU")["country"].verdict is FAIL
    assert judged("lasalle_startup", country="CA", turnover="50000001")["turnover"].verdict is FAIL


def test_one_award_per_organisation_where_the_mode_says_so() -> None:
    mode = dataclasses.replace(BY_ID["playground"], once=True)
    for earlier, verdict in ((frozenset[str](), PASS), (frozenset({"playground"}), FAIL), (None, UNKNOWN)):
        assert judged(mode, dataclasses.replace(FACTS, earlier_modes=earlier))["once"].verdict is verdict


def test_the_data_rule_is_the_hubs_own() -> None:
    blind = dataclasses.replace(FACTS, data_rule=None)
    assert judged("playground", blind)["data-class"].verdict is UNKNOWN


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [([PASS, PASS], PASS), ([PASS, UNKNOWN], UNKNOWN), ([UNKNOWN, FAIL, PASS], FAIL), ([], UNKNOWN)],
)
def test_the_whole_answer(verdicts: list[Verdict], whole: Verdict) -> None:
    why = reason("eligible.civilian", answer=None)
    assert overall([Answer("x", v, why) for v in verdicts]) is whole


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("title", None, "required"),
        ("title", "   ", "required"),
        ("title", "x" * 151, "too-long"),
        ("title", "a\nb", "control-characters"),
        ("title", "a\0b", "control-characters"),
        ("title", "a\ud800b", "control-characters"),
        ("title", "a\u202eb", "control-characters"),
        ("title", 5, "not-text"),
        ("title", ["a"], "not-text"),
        ("summary", "x" * 3001, "too-long"),
        ("summary", "a\x1b[2Jb", "control-characters"),
        ("organisation_kind", "royalty", "not-a-choice"),
        ("organisation_kind", {"a": 1}, "not-a-choice"),
        ("country", "Luxembourg", "not-a-country"),
        ("country", "lu", "not-a-country"),
        ("founded", "2026-02-30", "not-a-date"),
        ("founded", "yesterday", "not-a-date"),
        ("staff", "twelve", "not-a-number"),
        ("staff", "1.5", "not-a-number"),
        ("staff", "1e3", "not-a-number"),
        ("staff", "9" * 5_000, "not-a-number"),
        ("staff", "٣", "not-a-number"),
        ("staff", 1.0, "not-a-number"),
        ("staff", True, "not-a-number"),
        ("staff", "-1", "out-of-bounds"),
        ("hours", 0, "out-of-bounds"),
        ("hours", 10**13, "out-of-bounds"),
        ("kind", "H100; drop table", "not-a-name"),
        ("civilian", "perhaps", "not-yes-no"),
        ("civilian", 1, "not-yes-no"),
        ("ethics.misuse", "perhaps", "not-yes-no"),
        ("colour", "red", "unknown-field"),
    ],
)
def test_a_field_that_is_wrong(field: str, value: object, code: str) -> None:
    errors = check_form(BY_ID["playground"], {**FORM, field: value})
    assert [(e.field, e.code) for e in errors] == [(field, code)]


def test_a_form_that_is_right() -> None:
    values, errors = checked(BY_ID["playground"], {**FORM, "hours": "1\u202f000", "summary": "a\r\nb"})
    assert errors == []
    assert (values["hours"], values["summary"], values["civilian"]) == (1_000, "a\nb", True)
    assert "balance" not in values


def test_a_field_asked_of_some_is_not_required_of_others() -> None:
    without = {k: v for k, v in FORM.items() if k not in ("staff", "turnover", "founded")}
    asked: dict[str, Any] = {**without, "organisation_kind": "large-company"}
    assert check_form(BY_ID["playground"], asked) == []
    assert {e.field for e in check_form(BY_ID["playground"], without)} == {"staff", "turnover", "founded"}


def test_strange_names_are_told_safely_and_not_without_end() -> None:
    errors = check_form(BY_ID["playground"], {**FORM, **{f"x\x1b{i}\ud800": 1 for i in range(100)}})
    assert len(errors) == 20
    assert all(e.field.isprintable() and e.field.isascii() for e in errors)
