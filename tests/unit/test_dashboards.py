"""The Grafana dashboards: they can be imported, ask for metrics that exist, and are the same in both languages."""

from __future__ import annotations

import importlib.util
import json
import re
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "docs" / "grafana").glob("*.json"))
KINDS = {"stat", "gauge", "bargauge", "timeseries"}
SOURCE = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}
TEXTS = ("title", "description", "legendFormat", "label", "uid")
SELECTOR = re.compile(r"\{[^{}]*\}")


@cache
def declared() -> frozenset[str]:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tools" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return frozenset(module.metrics_declared())


def dashboard(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def expressions(found: dict[str, Any]) -> list[str]:
    queries = [t["expr"] for panel in found["panels"] for t in panel["targets"]]
    return [*queries, *(v["definition"] for v in found["templating"]["list"])]


def test_there_is_one_for_each_language() -> None:
    assert [path.name for path in FILES] == ["fabrique-fr.json", "fabrique.json"]
    french, english = map(dashboard, FILES)
    assert french["uid"] != english["uid"]
    assert without_texts(french) == without_texts(english)
    for there, here in zip(french["panels"], english["panels"], strict=True):
        assert there["description"] != here["description"] and there["title"] != here["title"]


def without_texts(value: Any) -> Any:
    """All that is the same in every language."""
    if isinstance(value, dict):
        return {k: without_texts(v) for k, v in value.items() if k not in TEXTS or v == SOURCE["uid"]}
    return [without_texts(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_grafana_can_import_it(path: Path) -> None:
    found = dashboard(path)
    assert found["id"] is None and found["schemaVersion"] >= 36 and re.fullmatch(r"[a-z-]{1,40}", found["uid"])
    assert [i["name"] for i in found["__inputs"]] == ["DS_PROMETHEUS"]
    panels = found["panels"]
    assert len({p["id"] for p in panels}) == len(panels)
    for panel in panels:
        assert panel["type"] in KINDS and panel["datasource"] == SOURCE and panel["title"] and panel["description"]
        assert [t["refId"] for t in panel["targets"]] == [chr(ord("A") + i) for i in range(len(panel["targets"]))]
        assert all(t["datasource"] == SOURCE and t["legendFormat"] for t in panel["targets"])
        assert panel["fieldConfig"]["defaults"]["unit"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_panels_lie_beside_each_other(path: Path) -> None:
    places = [p["gridPos"] for p in dashboard(path)["panels"]]
    assert all(g["x"] >= 0 and g["x"] + g["w"] <= 24 and g["h"] > 0 for g in places)
    for a, b in combinations(places, 2):
        apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], (a, b)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_it_asks_for_metrics_that_exist_of_one_hub_at_a_time(path: Path) -> None:
    for expression in expressions(dashboard(path)):
        named = re.findall(r"fabrique_\w+", expression)
        assert named and set(named) <= declared(), expression
        rest = SELECTOR.sub("", expression)
        assert not set("{}") & set(rest) and rest.count("(") == rest.count(")") and rest.count("[") == rest.count("]")
        if "label_values" not in expression:
            selectors = re.findall(r"fabrique_\w+(\{[^{}]*\})", expression)
            assert len(selectors) == len(named), f"of every hub at once: {expression}"
            assert all(s.startswith('{instance=~"$hub"') for s in selectors)
        for counter in re.findall(r"(?:rate|increase)\((fabrique_\w+)", expression):
            assert counter.endswith("_total")
        for gauge in re.findall(r"(?:delta|deriv)\((fabrique_\w+)", expression):
            assert not gauge.endswith("_total")


def test_it_draws_almost_all_that_there_is() -> None:
    drawn = set(re.findall(r"fabrique_\w+", "\n".join(expressions(dashboard(FILES[1])))))
    assert declared() - drawn == {
        "fabrique_build_info",
        "fabrique_engine_records",
        "fabrique_ledger_checkpoint_timestamp_seconds",
        "fabrique_pool_capacity_device_seconds",
        "fabrique_pool_carbon_grams",
        "fabrique_pool_cost",
        "fabrique_pool_energy_joules",
        "fabrique_power_read_timestamp_seconds",
    }


# --- names ------------------------------------------------------------------------------------------------------


def test_names_are_as_prometheus_asks() -> None:
    """Prefix, base units, `_total` for what only grows and nothing else; no plural of a unit twice."""
    names = declared()
    assert len(names) > 30
    for name in names:
        assert re.fullmatch(r"fabrique(_[a-z0-9]+)+", name)
        assert not re.search(r"_(ms|mj|mg|kwh|wh|hours|percent|permille|ppm|milliseconds|kilo\w*s)(_|$)", name), name


def test_every_metric_is_in_the_reference_with_its_kind_and_meaning() -> None:
    text = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `fabrique_")]
    assert {row[0].strip("`") for row in rows} == declared()
    for name, kind, *_, meaning in rows:
        assert (kind == "counter") == name.strip("`").endswith("_total")
        assert meaning.strip().endswith(".")
