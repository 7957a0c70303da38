"""What a Speaker says, in each language; sentences for every reason, error, field error and word."""

from __future__ import annotations

import ast
import re
import string
from fractions import Fraction
from pathlib import Path

import pytest

from fabrique.core.errors import ERRORS, FabriqueError
from fabrique.core.fields import FIELD_ERRORS, FieldError
from fabrique.core.reasons import REASONS, Reason, reason
from fabrique.core.units import HOUR_MS, Amount, Unit
from fabrique.language import Speaker, catalogue, errors, fields, reasons, words

SOURCE = Path(__file__).parents[2] / "src" / "fabrique"
H100 = Unit("acc-ms:h100-sxm")
NOON = 1_795_276_800_000  # 2026-11-21 16:00 UTC
LANGUAGES = ("fr", "fr-ca", "en")


def names(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


@pytest.mark.parametrize(
    ("sentences", "codes"),
    [(reasons.SENTENCES, REASONS), (errors.SENTENCES, ERRORS), (fields.SENTENCES, FIELD_ERRORS)],
    ids=["reasons", "errors", "fields"],
)
def test_every_code_has_a_sentence_and_no_sentence_lacks_a_code(sentences: dict[str, str], codes: object) -> None:
    assert {key.partition("?")[0] for key in sentences} == set(codes)  # type: ignore[call-overload]
    assert {key for key in sentences if "?" not in key} == set(codes)  # type: ignore[call-overload]


def test_a_reason_is_said_with_its_own_parameters_only() -> None:
    for key, template in reasons.SENTENCES.items():
        code, _, absent = key.partition("?")
        assert names(template) <= set(REASONS[code]), key
        assert not absent or absent in REASONS[code], key


def raised() -> list[tuple[str, set[str], str]]:
    """Every FabriqueError in the source: code, parameters given, place."""
    found = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "FabriqueError" and node.args:
                code = node.args[0]
                if isinstance(code, ast.Constant) and all(k.arg for k in node.keywords):
                    given = {str(k.arg) for k in node.keywords}
                    found.append((str(code.value), given, f"{path.name}:{node.lineno}"))
    return found


def test_every_raise_gives_what_its_sentence_says() -> None:
    sites = raised()
    assert len(sites) > 20
    for code, given, place in sites:
        variants = [key.partition("?")[2] for key in errors.SENTENCES if key.startswith(f"{code}?")]
        missing = next((v for v in variants if v not in given), None)
        template = errors.SENTENCES[f"{code}?{missing}" if missing else code]
        assert names(template) <= given, f"{place}: {code} gives {sorted(given)}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_can_be_said_with_nothing_and_with_nonsense(language: str) -> None:
    speaker = Speaker(language, "Europe/Luxembourg")
    for code, params in REASONS.items():
        for value in (None, "x", 12, [], ["FR", 3], True, {"a": 1}, "9" * 60, "<script>", -1, 10**30):
            assert speaker.reason(Reason(code, dict.fromkeys(params, value)))
    for code in ERRORS:
        assert speaker.error(FabriqueError(code))
    for code, params in FIELD_ERRORS.items():
        assert speaker.field_error(FieldError("f", code, dict.fromkeys(params, "x")))


@pytest.mark.parametrize("language", ["fr", "fr-ca"])
def test_french_is_french(language: str) -> None:
    translate = catalogue.translations(language).gettext
    every = [*reasons.SENTENCES.values(), *errors.SENTENCES.values(), *fields.SENTENCES.values()]
    for text in every:
        assert translate(text) != text, text
    # words that are the same in both languages
    same = {
        "machine",
        "production",
        "transport",
        "direct",
        "certifications",
        "nvidia",
        "amd",
        "intel",
        "iqm",
        "marginal",
        "simulation",
    }
    for group in words.WORDS.values():
        for text in group.values():
            assert translate(text) != text or text.lower() in same | {"qpus"}, text


def test_quebec_says_tache_where_france_says_job() -> None:
    france, quebec = (catalogue.merged(code) for code in ("fr", "fr-ca"))
    assert any(re.search(r"\bjobs?\b", str(m.string)) for m in france if m.id)
    said = [str(m.string) for m in quebec if m.id]
    assert [s for s in said if re.search(r"(?<![{(])\b[Jj]obs?\b", s)] == []
    assert any("tâche" in s for s in said)
    assert Speaker("fr-CA").text("turned down") == Speaker("fr").text("turned down")  # inherited


@pytest.mark.parametrize("language", ["fr", "fr-ca"])
def test_french_typography(language: str) -> None:
    for message in catalogue.merged(language):
        for text in message.string if isinstance(message.string, (tuple, list)) else (message.string,):
            if message.id and "fabrique " not in text:
                assert not re.search(r"(?<![\u202f\u00a0])[;!?»]", text), text
                assert not re.search(r"«(?!\u00a0)", text), text
                assert not re.search(r"(?<![\u00a0\d\w/]):(?!//)|\w:\s", text), text
                assert "'" not in text, text
                assert '"' not in text, text


def test_amounts_in_the_units_people_read() -> None:
    amount = Amount(H100, int(1250.5 * HOUR_MS))
    kinds = {"h100-sxm": "H100"}
    assert Speaker("fr", kinds=kinds).amount(amount) == "1\u202f250,5\u00a0heures GPU (H100)"
    assert Speaker("fr-ca", kinds=kinds).amount(amount) == "1\u00a0250,5\u00a0heures GPU (H100)"
    assert Speaker("en", kinds=kinds).amount(amount) == "1,250.5\u00a0GPU-hours (H100)"
    assert Speaker("en").amount(Amount(H100, HOUR_MS)) == "1\u00a0GPU-hour (h100-sxm)"
    half = Amount(H100, HOUR_MS * 3 // 2)
    assert Speaker("fr", kinds=kinds).amount(half) == "1,5\u00a0heure GPU (H100)"
    assert Speaker("en", kinds=kinds).amount(half) == "1.5\u00a0GPU-hours (H100)"
    assert (
        Speaker("fr").amount(Amount(Unit("core-ms:local-core"), 2 * HOUR_MS)) == "2\u00a0heures.cœur (cœurs de local)"
    )
    assert Speaker("fr").amount(Amount(Unit("uCAD"), 1_250_500_000)) == "1\u202f250,50\u00a0CAD"
    assert Speaker("en").amount(Amount(Unit("uCAD"), 1_250_500_000)) == "CAD\u00a01,250.50"
    assert Speaker("en").figure(amount) == "1,250.5"


@pytest.mark.parametrize(
    ("mj", "said"),
    [
        (0, "0 Wh"),
        (1, "<\u00a00.000001 Wh"),
        (1_800_000, "0.5 Wh"),
        (3_600_000_000, "1 kWh"),
        (3_599_000_000, "999.72 Wh"),
        (5_400_000_000_000, "1.5 MWh"),
        (-7_200_000_000, "-2 kWh"),
    ],
)
def test_energy_in_the_size_that_fits(mj: int, said: str) -> None:
    assert Speaker("en").energy(mj).replace("\u00a0", " ") == said.replace("\u00a0", " ")


def test_carbon_power_memory_and_percent() -> None:
    french, english = Speaker("fr"), Speaker("en")
    assert english.carbon(1_234_567) == "1.23\u00a0kg\u00a0CO₂e"
    assert english.carbon(0) == "0\u00a0g\u00a0CO₂e"
    assert french.intensity(34_800) == "34,8\u00a0g\u00a0CO₂e/kWh"
    assert french.power(3_000_000) == "3\u00a0MW"
    assert english.power(34) == "34\u00a0W"
    assert french.memory(64 * 2**30) == "64\u00a0Gio"
    assert english.memory(1536 * 2**20) == "1.5\u00a0GiB"
    assert french.percent(345) == "34,5\u00a0%"
    assert english.percent(345) == "34.5%"
    assert english.money(1234, "EUR") == "EUR\u00a00.0012"


def test_what_is_not_zero_is_never_shown_as_zero() -> None:
    speaker = Speaker("en")
    for value in (Fraction(1, 10**k) for k in range(12)):
        assert speaker.number(value) not in ("0", "-0")
    assert speaker.number(0) == "0"
    assert speaker.number(Fraction(5, 2), 0) == "2"  # halves to even
    assert speaker.number(2**63 - 1) == "9,223,372,036,854,775,807"


def test_time_in_the_readers_zone_and_language() -> None:
    assert Speaker("fr", "Europe/Luxembourg").instant(NOON) == "21\u00a0novembre\u00a02026 à 17:00"
    assert Speaker("fr-ca", "America/Toronto").time(NOON) == "11\u00a0h\u00a000"
    english = Speaker("en", "America/Toronto")
    assert english.instant(NOON) == "21\u00a0November\u00a02026, 11:00"
    assert english.interval(NOON, NOON + 1_800_000) == "21\u00a0November\u00a02026, between 11:00 and 11:30"
    assert english.interval(NOON, NOON + 86_400_000).startswith("from 21\u00a0November")
    assert Speaker("en", "no/such/zone").time(NOON) == "16:00"
    for far in (10**18, -(10**18)):
        assert english.instant(far)


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (0, "0 s"),
        (12, "12 ms"),
        (45_000, "45 s"),
        (7_500_000, "2 h 5 min"),
        (7_200_000, "2 h"),
        (273_600_000, "3 d 4 h"),
        (-60_000, "−1 min"),
    ],
)
def test_durations_in_their_two_largest_parts(ms: int, said: str) -> None:
    assert Speaker("en").duration(ms).replace("\u00a0", " ") == said


def test_a_reason_is_said_with_its_units() -> None:
    why = reason("refuse.budget", unit="core-ms:local-core", asked=str(2 * HOUR_MS), available=HOUR_MS)
    assert "needed" in Speaker("en").reason(why)
    assert "2\u00a0core-hours (cores of local)" in Speaker("en").reason(why)
    assert "1\u00a0heure.cœur (cœurs de local)" in Speaker("fr").reason(why)
    assert Speaker("en").reason(reason("eligible.cut-off", cut_off=None)) == "The next cut-off is not published yet."
    country = reason("eligible.country", country="LU", accepted=["FR", "LU"])
    assert "France ou Luxembourg" in Speaker("fr").reason(country)


def test_complaints_are_said_with_their_place() -> None:
    complaint = {"file": "hub.yaml", "line": 7, "message": "expected text", "code": "value.type"}
    said = Speaker("en").error(FabriqueError("definition.broken", complaints=[complaint, "more"]))
    assert said == "This definition can't be used: hub.yaml:7: expected text; more"


def test_any_writing_of_a_language_is_understood() -> None:
    codes = {"fr-CA": "fr-ca", "fr_CA": "fr-ca", "fr-LU": "fr", "FR": "fr", "de": "en", "": "en", "en-CA": "en"}
    assert {text: Speaker(text).language for text in codes} == codes


@pytest.mark.parametrize("language", ["en", "fr", "fr-ca"])
def test_what_was_typed_is_given_back_as_it_was(language: str) -> None:
    error = FabriqueError("twin.option", option="--from", given="2020", example="2026-01-31T00:00Z")
    assert "2020" in Speaker(language).error(error)
    assert "1234" in Speaker(language).error(FabriqueError("twin.job", job="1234"))


def test_one_free_device_is_no_plural_in_french() -> None:
    why = reason("wait.cores", partition="gpu", asked=1_000, free=1_000)
    assert Speaker("fr").reason(why).endswith("demandés\u00a0: 1, libres\u00a0: 1.")


def test_what_stands_between_backticks_is_code_and_nothing_else_is_markup() -> None:
    from fabrique.portal.templatetags.say import code

    assert code("a `b<c` & d") == "a <code>b&lt;c</code> &amp; d"
    assert code("`x` and `y") == "<code>x</code> and `y"
    assert code("<b>") == "&lt;b&gt;"


@pytest.mark.parametrize(("language", "said"), [("en", "cores of lab"), ("fr-ca", "cœurs de lab")])
def test_the_cores_of_a_cluster_are_called_after_it(language: str, said: str) -> None:
    speaker = Speaker(language, kinds={"h100-sxm": "H100 SXM", "local-core": "here"})
    assert speaker.kind("lab-core") == said
    assert (speaker.kind("h100-sxm"), speaker.kind("local-core"), speaker.kind("x1")) == ("H100 SXM", "here", "x1")
