"""Hub files: what a broken one is told, at its line, and how an assumption finds its place."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fabrique.core.errors import FabriqueError
from fabrique.core.hub import Hub, rests_on
from fabrique.definitions import hubs, template, yaml
from fabrique.definitions.complaints import Complaint

GOOD = template.new_hub("my-hub")


def read(text: str) -> tuple[Hub | None, list[Complaint]]:
    document, found = yaml.parse(text.encode(), "my.yaml")
    return (None, found) if document is None else hubs.from_document(document, sources_known=False)


def line_of(text: str, fragment: str, nth: int = 1) -> int:
    hits = [number for number, row in enumerate(text.split("\n"), start=1) if fragment in row]
    assert len(hits) >= nth, fragment
    return hits[nth - 1]


def broken(old: str, new: str) -> list[tuple[int, str]]:
    """Complaints of the good file with `old` once replaced by `new`."""
    assert old in GOOD, old
    hub, found = read(GOOD.replace(old, new, 1))
    assert hub is None
    return [(c.line, c.code) for c in found]


def test_the_template_loads_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(GOOD, encoding="utf-8")
    hub, found = hubs.load(path)
    assert found == []
    assert hub is not None and hub.id == "my-hub" and hub.partitions[0].devices == 32
    assert len(rests_on(hub)) == len(hub.assumptions) == 4


@pytest.mark.parametrize("hub_id", ["", "A", "../x", "x" * 64, "a\nb: 1", "é"])
def test_the_template_refuses_a_bad_id(hub_id: str) -> None:
    with pytest.raises(FabriqueError, match=r"request\.broken"):
        template.new_hub(hub_id)


def test_the_template_takes_an_id_of_digits() -> None:
    hub, _ = read(template.new_hub("007"))
    assert hub is not None and hub.id == "007"


@pytest.mark.parametrize(
    ("old", "new", "fragment", "code"),
    [
        # wrong types
        ("nodes: {value: 4,", "nodes: {value: four,", "nodes: {value: four", "value.type"),
        ("nodes: {value: 4,", "nodes: {value: 4.5,", "nodes: {value: 4.5", "value.type"),
        ("nodes: {value: 4,", "nodes: {value: true,", "nodes: {value: true", "value.type"),
        ("nodes: {value: 4,", "nodes: {value: '4',", "nodes: {value: '4'", "value.type"),
        ("nodes: {value: 4, source: [own], status: sourced}", "nodes: 4", "nodes: 4", "value.type"),
        ("languages: [fr-FR, en] ", "languages: fr-FR ", "languages: fr-FR", "value.type"),
        # words of closed lists
        ("phase: operational   ", "phase: soon   ", "phase: soon", "value.choice"),
        ("device: accelerator", "device: gpu", "device: gpu", "value.choice"),
        ("languages: [fr-FR, en]", "languages: [fr-FR, xx]", "languages: [fr-FR, xx]", "value.choice"),
        # unknown and missing keys
        ("timezone: ", "time_zone: ", "time_zone:", "value.unknown-key"),
        ("currency: EUR  ", "curency: EUR  ", "curency", "value.unknown-key"),
        ("group: own\n", "", "id: ", "value.missing"),
        # bounds and codes
        ("nodes: {value: 4,", "nodes: {value: -4,", "nodes: {value: -4", "value.bound"),
        ("ppm: {value: 700000", "ppm: {value: 7000000", "ppm: {value: 7000000", "value.bound"),
        ("amount: 2000000, currency: EUR", "amount: 2000000, currency: euros", "currency: euros", "hub.currency"),
        ("currency: EUR  ", "currency: eur  ", "currency: eur  ", "hub.currency"),
        ("jurisdiction: LU     ", "jurisdiction: Lux     ", "jurisdiction: Lux  ", "hub.jurisdiction"),
        ("timezone: Europe/Luxembourg", "timezone: Europe/Bissen", "timezone: Europe/Bissen", "hub.timezone"),
        ("timezone: Europe/Luxembourg", "timezone: ../../etc/passwd", "timezone: ../", "hub.timezone"),
        ("valid_from: '2026-01-01'", "valid_from: 'soon'", "- id: operator-jurisdiction", "value.type"),
        ("'2026-01-01'", "'2026-01-01'\n    valid_to: '2025-01-01'", "- id: operator-jurisdiction", "hub.dates"),
        ("- id: machine-1", "- id: machine.1", "- id: machine.1", "value.pattern"),
        # shares, power
        ("ppm: {value: 300000", "ppm: {value: 300001", "shares: ", "hub.shares-above-whole"),
        ("power_cap_w: {value: 60000", "power_cap_w: {value: 6000", "power_cap_w: {value: 6000,", "hub.cap-below-idle"),
        # references
        ("site: site-1", "site: site-2", "site: site-2", "hub.unknown-reference"),
        ("kind: {value: h100-sxm", "kind: {value: h1000", "kind: {value: h1000", "hub.unknown-reference"),
        ("kind: {value: h100-sxm", "kind: {value: local-core", "kind: {value: local-core", "hub.device"),
        ("zone: {value: LU", "zone: {value: XX", "zone: {value: XX", "hub.unknown-reference"),
        ("pool: startup", "pool: startups", "pool: startups", "hub.unknown-reference"),
        ("funder: me\n  - id: startup", "funder: you\n  - id: startup", "funder: you", "hub.unknown-reference"),
        ("    funder: me\n\n", "    funder: me\n    part_of: total\n\n", "part_of: total", "hub.part-of-itself"),
        # sources
        ("{value: 700000, source: [own]", "{value: 700000", "ppm: {value: 700000", "hub.source-missing"),
        # nothing known, nothing assumed
        ("nodes: {value: 4,", "nodes: {value: null,", "nodes: {value: null", "hub.not-simulable"),
        # YAML
        ("currency: EUR  ", "currency: !!str EUR  ", "currency: !!str", "yaml.tag"),
        ("currency: EUR  ", "currency: &c EUR  ", "currency: &c", "yaml.anchor"),
    ],
)  # fmt: skip
def test_each_fault_is_told_at_its_line(old: str, new: str, fragment: str, code: str) -> None:
    line = line_of(GOOD.replace(old, new, 1), fragment)
    assert (line, code) in broken(old, new)


def test_a_duplicate_key_is_told_at_the_second() -> None:
    text = GOOD.replace("group: own\n", "group: own\ngroup: own\n", 1)
    _, found = read(text)
    assert [(c.line, c.code) for c in found] == [(line_of(text, "group: own", 2), "yaml.duplicate-key")]


@pytest.mark.parametrize(
    ("old", "new", "fragment"),
    [
        ("  - id: startup\n    kind: startup", "  - id: research\n    kind: startup", "- id: research"),
        ("      - pool: startup", "      - pool: research", "- pool: research"),
    ],
)
def test_a_duplicate_id_is_told_at_the_second(old: str, new: str, fragment: str) -> None:
    text = GOOD.replace(old, new, 1)
    assert (line_of(text, fragment, 2), "hub.duplicate-id") in broken(old, new)


def test_all_complaints_are_collected_in_the_order_of_their_lines() -> None:
    text = GOOD.replace("phase: operational   ", "phase: soon   ").replace("nodes: {value: 4,", "nodes: {value: x,")
    text = text.replace("by: total", "by: nobody")
    _, found = read(text)
    assert [c.code for c in found] == ["value.choice", "value.type", "value.choice"]
    assert [c.line for c in found] == sorted(c.line for c in found)
    assert found[1].field == "machines[0].partitions[0].nodes.value"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("sites.site-9.pue_permille", "assumption.no-such-value"),
        ("sites", "assumption.no-such-value"),
        ("currency", "assumption.no-such-value"),
        ("", "value.unknown-key"),
        ("..", "assumption.no-such-value"),
        ("sites.site-1.pue", "value.unknown-key"),
        ("sites.site-1.power_cap_w", "assumption.needless"),
        ("machines.machine-1.partitions.gpu.node_idle_w", "assumption.twice"),
    ],
)
def test_an_assumption_out_of_place_is_told_at_its_line(path: str, code: str) -> None:
    text = GOOD + f"  - {{path: '{path}', value: 1, why: because}}\n"
    _, found = read(text)
    assert (text.count("\n"), code) in [(c.line, c.code) for c in found]


def test_an_assumption_has_the_type_and_bounds_of_its_value() -> None:
    old = "{path: sites.site-1.pue_permille, value: 1200,"
    for wrong, code in (("many", "value.type"), ("1.2", "value.type"), ("999", "value.bound")):
        new = old.replace("1200", wrong)
        line = line_of(GOOD, "path: sites.site-1.pue_permille")
        assert (line, code) in broken(old, new) or (line_of(GOOD, "pue_permille:"), code) in broken(old, new)


def test_assumptions_that_are_no_list_are_told() -> None:
    _, found = read(GOOD[: GOOD.index("assumptions:\n")] + "assumptions:\n  value: {a: 1}\n")
    assert "value.type" in [c.code for c in found]


def test_what_is_assumed_is_written_under_assumptions_alone() -> None:
    found = broken(
        "pue_permille: {value: null, status: not-found}", "pue_permille: {value: null, assumed: 1100, why: x}"
    )
    assert (line_of(GOOD, "pue_permille: {"), "value.unknown-key") in found


def test_a_file_that_is_no_mapping_is_told_so() -> None:
    for text in ("- a\n- b\n", "just text\n", "12\n"):
        _, found = read(text)
        assert [(c.line, c.code) for c in found] == [(1, "value.type")]


def test_a_great_many_assumptions_take_no_great_time() -> None:
    text = GOOD + "".join(f"  - {{path: x{n}, value: 1, why: y}}\n" for n in range(2000))
    start = time.monotonic()
    hub, found = read(text)
    assert hub is None and len(found) >= 2000
    assert time.monotonic() - start < 20


def test_a_source_of_ours_must_resolve_a_visitors_need_not() -> None:
    document, _ = yaml.parse(GOOD.encode(), "my.yaml")
    assert document is not None
    _, found = hubs.from_document(document, sources_known=True)
    assert {c.code for c in found} == {"hub.source-unknown"}
    assert (line_of(GOOD, "name: {value: My hub"), "name") in [(c.line, c.field) for c in found]


def test_an_unknown_builtin_is_missing() -> None:
    with pytest.raises(FabriqueError, match=r"definition\.missing"):
        hubs.load_builtin("../../etc/passwd")
