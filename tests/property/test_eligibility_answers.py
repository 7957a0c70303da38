"""Whatever is typed into a form: it is checked without a crash, and unknown never turns into yes or no."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabrique.core.access import AUDIENCES, Mode
from fabrique.core.eligibility import Facts, Verdict, evaluate, overall
from fabrique.core.form import checked
from fabrique.core.units import HOUR_MS
from fabrique.definitions import modes

NOW = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp() * 1_000)
MODES = modes.catalogue()
FIELDS = sorted({f.id for m in MODES for f in m.form} | {f"ethics.{q.id}" for m in MODES for q in m.ethics})
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.binary(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
LIKELY = st.sampled_from(
    ["yes", "no", "1", "12", "250", "5000", "2024-02-29", "LU", "CA", "US", "CH", "public", "local-core", *AUDIENCES]
)
FACTS = Facts(
    kinds={"local-core": "core", "h100-sxm": "accelerator", "ion": "qpu"},
    available={"local-core": 100 * HOUR_MS},
)


@given(
    st.sampled_from(MODES),
    st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=20), LIKELY | ANYTHING, max_size=25),
)
@settings(max_examples=200)
def test_any_form_is_answered(mode: Mode, form: dict[str, object]) -> None:
    values, errors = checked(mode, form)
    assert not {e.field for e in errors} & set(values)
    answers = evaluate(mode, values, FACTS, NOW)
    assert len({a.rule for a in answers}) == len(answers)
    verdicts = {a.verdict for a in answers}
    whole = overall(answers)
    assert (whole is Verdict.FAIL) == (Verdict.FAIL in verdicts)
    assert (whole is Verdict.PASS) == (verdicts == {Verdict.PASS})


@given(st.sampled_from(MODES), st.integers(-(10**15), 10**15))
@settings(max_examples=100)
def test_an_empty_form_is_never_eligible(mode: Mode, now_ms: int) -> None:
    answers = evaluate(mode, {}, Facts(kinds={}), now_ms)
    assert overall(answers) is not Verdict.PASS
    told = {a.rule: a.verdict for a in answers}
    for rule in ("organisation-kind", "size", "duration", "capacity", "civilian", "kind"):
        assert told[rule] is Verdict.UNKNOWN


@given(st.sampled_from(MODES), st.integers(1, 10**9), st.integers(0, 10**9))
@settings(max_examples=100)
def test_nobody_is_awarded_more_than_there_is(mode: Mode, hours: int, left: int) -> None:
    facts = Facts(kinds={"local-core": "core"}, available={"local-core": left * HOUR_MS})
    answers = {a.rule: a for a in evaluate(mode, {"hours": hours, "kind": "local-core"}, facts, NOW)}
    assert (answers["capacity"].verdict is Verdict.PASS) == (hours <= left)


@pytest.mark.parametrize("mode", MODES, ids=lambda m: m.id)
@given(hours=st.integers(1, 10**6))
@settings(max_examples=30)
def test_more_hours_never_make_a_size_pass_again(mode: Mode, hours: int) -> None:
    def passes(asked: int) -> bool:
        answers = evaluate(mode, {"hours": asked, "kind": "h100-sxm"}, FACTS, NOW)
        return next(a for a in answers if a.rule == "size").verdict is Verdict.PASS

    bounds = mode.size_acc_h
    if passes(hours) and not passes(hours + 1):
        assert bounds.most == hours
    if not passes(hours) and passes(hours + 1):
        assert bounds.least == hours + 1
