"""`fabrique twin`: what each command answers, and one clear message for what it can't take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from fabrique.cli.main import app

SWF = """; a machine of two
1 0 -1 3600 2 -1 -1 2 3600 -1 1 1 1 -1 -1 -1 -1 -1
2 0 -1 3600 1 -1 -1 1 7200 -1 1 1 1 -1 -1 -1 -1 -1
3 600 -1 1800 1 -1 -1 1 1800 -1 1 2 1 -1 -1 -1 -1 -1
4 700 -1 1800 2 -1 -1 2 1800 -1 1 2 1 -1 -1 -1 -1 -1
"""
SERIES = """# fabrique-series: 1
# zone: CA-QC
# quantity: intensity
# unit: gCO2e/kWh
# step_s: 3600
# source: a test
# kind: average
# scope: lifecycle
# basis: consumption
# year: 2026
start,value
"""
PRICE_KEYS = ("fabrique-series", "zone", "quantity", "unit", "step_s", "source")
ENGLISH = {"LC_ALL": "C.UTF-8", "COLUMNS": "200"}
HUB = ("--hub", "ca-lasalle-hub")


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "small.swf"
    path.write_text(SWF, encoding="utf-8")
    return path


def run(*arguments: object, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, ["twin", *map(str, arguments)], env=env or ENGLISH)


def answer(*arguments: object) -> Any:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_run_answers_with_every_key_that_is_promised(trace: Path) -> None:
    found = answer("run", "--trace", trace, "--processors", 2, "--rules", "easy")
    assert found["rules"] == "easy" and found["jobs"] == 4
    # 1 starts at once; 2 at 3600; 3 passes nobody's reservation beside it; 4 when both have ended
    assert found["mean_wait_s"] == (0 + 3600 + 3000 + 6500) / 4
    assert found["mean_bounded_slowdown"] == pytest.approx((1 + 2 + 4800 / 1800 + 8300 / 1800) / 4)
    assert found["over_cap_ws"] == 0 and found["energy_j"] is None and found["carbon_mg"] is None
    assert found["work_done"] >= 0 and len(found["certificate"]) == 64
    for key in ("jobs_per_s", "parse_s", "compile_s", "peak_rss_bytes", "utilisation"):
        assert found[key] > 0, key


def test_equal_runs_have_equal_answers_but_for_the_time(trace: Path) -> None:
    timings = {"jobs_per_s", "parse_s", "compile_s", "prepare_s", "replay_s", "peak_rss_bytes"}
    one, other = (
        {k: v for k, v in answer("run", "--trace", trace, "--processors", 2).items() if k not in timings}
        for _ in range(2)
    )
    assert one == other


def test_run_is_a_table_in_the_language_of_the_reader(trace: Path) -> None:
    assert "mean wait" in run("run", "--trace", trace, "--processors", 2).stdout
    assert "attente moyenne" in run("run", "--trace", trace, "--processors", 2, "--language", "fr").stdout


def test_compare_answers_one_run_a_rule_set(trace: Path, tmp_path: Path) -> None:
    report, tables = tmp_path / "report.html", tmp_path / "tables"
    rules = "static-nameplate,static-measured,frugal"
    found = answer(
        "compare", *HUB, "--trace", trace, "--load", "0.001", "--rules", rules, "--report", report, "--parquet", tables
    )
    assert [one["rules"] for one in found["runs"]] == rules.split(",")
    assert all(one["over_cap_ws"] == 0 and one["jobs"] == 4 and one["energy_j"] is not None for one in found["runs"])
    assert found["runs"][0]["differences"] == {} and "mean_wait_s" in found["runs"][1]["differences"]
    assert found["runs"][1]["possible"]["carbon"]["status"] == "optimal"
    assert report.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert {path.name for path in tables.iterdir()} == {
        f"{name}-{one}.parquet" for name in ("jobs", "series") for one in rules.split(",")
    }


def test_a_file_that_is_there_stays(trace: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("mine", encoding="utf-8")
    done = run("run", "--trace", trace, "--processors", 2, "--report", report)
    assert done.exit_code == 5 and "[file.exists]" in done.stderr and report.read_text(encoding="utf-8") == "mine"


def test_a_lower_cap_and_an_event_are_kept(trace: Path) -> None:
    given = (*HUB, "--trace", trace, "--rules", "static-measured")
    free = answer("run", *given)
    capped = answer("run", *given, "--cap", "620kW", "--event", "0s,1h,615kW,0s")
    assert capped["over_cap_ws"] == 0 and capped["certificate"] != free["certificate"]


def test_consents_that_are_assumed_are_said(trace: Path) -> None:
    found = answer("run", "--trace", trace, "--processors", 2, "--flexible", "50%", "--slack", "6h")
    assert any("500 ‰ of jobs may be put off" in text for text in found["said"])


def test_the_grid_s_file_takes_the_place_of_the_average(trace: Path, tmp_path: Path) -> None:
    series = tmp_path / "grid.csv"
    rows = [f"2026-01-01T{hour:02}:00:00Z,50" for hour in range(24)]
    series.write_text(SERIES + "\n".join(rows) + "\n", encoding="utf-8")
    given = ("run", *HUB, "--trace", trace, "--rules", "easy")
    dated = tmp_path / "dated.swf"
    dated.write_text("; UnixStartTime: 1767225600\n" + SWF, encoding="utf-8")
    found = answer("run", *HUB, "--trace", dated, "--rules", "easy", "--grid", series)
    assert found["carbon_mg"] == pytest.approx(found["energy_j"] / 3_600_000 * 50_000, rel=1e-6)
    other = run(*given, "--grid", series, "--zone", "FR")
    assert other.exit_code == 2 and "[grid.zone]" in other.stderr


def test_bound_prints_the_programme_s_answer(trace: Path) -> None:
    found = answer("bound", *HUB, "--trace", trace)
    assert found["carbon"]["status"] == "optimal" and found["carbon"]["jobs"] == 4
    assert 0 < found["carbon"]["optimum"] <= found["carbon"]["baseline"]
    assert "possible saving" in run("bound", *HUB, "--trace", trace).stdout


def test_under_flat_prices_cost_has_the_bound_that_carbon_has(trace: Path, tmp_path: Path) -> None:
    prices = tmp_path / "prices.csv"
    head = SERIES.replace("intensity", "price").replace("gCO2e/kWh", "CAD/MWh")
    head = "".join(f"{line}\n" for line in head.splitlines() if line.split(":")[0][2:] in PRICE_KEYS or line[0] != "#")
    prices.write_text(head + "".join(f"2026-01-01T{hour:02}:00:00Z,50\n" for hour in range(24)), encoding="utf-8")
    found = answer("bound", *HUB, "--trace", trace, "--price", prices, "--shift")
    cost, carbon = found["cost"], found["carbon"]
    assert 0 < cost["optimum"] <= cost["baseline"]
    assert cost["optimum"] / cost["baseline"] == pytest.approx(carbon["optimum"] / carbon["baseline"], rel=1e-3)


def test_bound_needs_a_grid(trace: Path) -> None:
    done = run("bound", "--processors", 2, "--trace", trace)
    assert done.exit_code == 6 and "[grid.gap]" in done.stderr


def test_generate_lists_workloads_and_writes_one(tmp_path: Path) -> None:
    import polars as pl

    assert "ai-hub" in [one["id"] for one in answer("generate")["workloads"]]
    file = tmp_path / "jobs.parquet"
    found = answer("generate", "--workload", "ai-hub", "--until", "1d", "--output", file)
    table = pl.read_parquet(file)
    assert len(table) == found["jobs"] > 0 and table["pool"].dtype == pl.String
    again = answer("generate", "--workload", "ai-hub", "--until", "1d")
    assert again["digest"] == found["digest"] and again["file"] is None


@pytest.mark.parametrize("name", ["g.parquet", "g.csv"])
def test_what_generate_writes_run_reads(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    work = ("--workload", "ai-hub", "--until", "1d")
    assert str(file) in run("generate", *work, "--output", file).stdout.splitlines()[-1]  # what to type next
    given = [*HUB, *(("--pools", "union=research,national=startup,commercial=commercial") if "csv" in name else ())]
    own = answer("run", *work, *given)
    read = answer("run", "--trace", file, *given)
    speed = {"jobs_per_s", "prepare_s", "replay_s", "parse_s", "compile_s", "peak_rss_bytes"}
    figures = {key for key, value in own.items() if isinstance(value, int | float)} - speed
    assert len(figures) > 10 and {key: read[key] for key in figures} == {key: own[key] for key in figures}
    by_pool = [sorted(one["pools"], key=lambda pool: str(pool["name"])) for one in (own, read)]
    assert by_pool[0] == by_pool[1]


def test_explain_says_what_bound_a_job_and_who_came_before(trace: Path) -> None:
    given = ("explain", "--trace", trace, "--processors", 2, "--rules", "easy")
    waits = answer(*given, "--job", 4, "--at", "20m")
    assert waits["status"] == "waits" and waits["place"] == 3 and waits["before"] == ["2", "3"]
    assert waits["reason"]["code"].startswith("wait.") and waits["reason"]["sentence"]
    assert waits["start_ms"] - waits["at_ms"] == (7200 - 1200) * 1000
    head = answer(*given, "--job", 2, "--at", "20m")
    assert head["place"] == 1 and head["reason"]["code"] == "wait.accelerators"
    assert answer(*given, "--job", 1, "--at", "20m")["status"] == "runs"
    assert answer(*given, "--job", 1, "--at", "2h")["status"] == "ended"
    assert answer(*given, "--job", 4, "--at", "5m")["status"] == "not submitted"
    assert "Job 4 at" in run(*given, "--job", 4, "--at", "20m").stdout


@pytest.mark.parametrize(
    ("arguments", "code", "status"),
    [
        (["--processors", "2", "--hub", "ca-lasalle-hub"], "twin.choose", 2),
        ([], "twin.choose", 2),
        (["--processors", "none"], "twin.option", 2),
        (["--processors", "0"], "twin.option", 2),
        (["--processors", "2", "--rules", "nothing"], "definition.missing", 4),
        (["--processors", "2", "--rules", ","], "twin.option", 2),
        (["--processors", "2", "--rules", "easy,fifo"], "twin.option", 2),
        (["--processors", "2", "--load", "much"], "twin.option", 2),
        (["--processors", "2", "--load", "1000"], "trace.load", 2),
        (["--processors", "2", "--workload", "ai-hub"], "twin.choose", 2),
        (["--processors", "2", "--from", "yesterday"], "twin.option", 2),
        (["--processors", "2", "--from", "9d"], "trace.empty", 2),
        (["--processors", "2", "--report", "no/such/folder.html"], "twin.option", 2),
        (["--processors", "2", "--flexible", "120%"], "twin.option", 2),
        (["--hub", "nowhere"], "definition.missing", 4),
        (["--hub", "ca-lasalle-hub", "--site", "moon"], "twin.site", 2),
        (["--hub", "ca-lasalle-hub", "--cap", "1kW"], "twin.cap", 2),
        (["--hub", "ca-lasalle-hub", "--cap", "lots"], "twin.option", 2),
        (["--hub", "ca-lasalle-hub", "--event", "1h,2h"], "twin.option", 2),
        (["--hub", "ca-lasalle-hub", "--event", "2h,1h,2MW"], "twin.event", 2),
        (["--hub", "ca-lasalle-hub", "--pools", "x=nobody"], "twin.pool", 2),
        (["--hub", "ca-lasalle-hub", "--grid", "none.csv"], "grid.file", 2),
        (["--hub", "ca-lasalle-hub", "--price", "none.parquet", "--price-columns", "unit"], "twin.option", 2),
    ],
)
def test_what_can_t_be_taken_gets_one_message_and_a_code(
    trace: Path, arguments: list[str], code: str, status: int
) -> None:
    done = run("run", "--trace", trace, *arguments)
    assert done.exit_code == status, done.output
    assert f"[{code}]" in done.stderr and done.stdout == "" and "Traceback" not in done.stderr
    assert done.stderr.count("fabrique:") == 1


def test_what_is_wrong_with_a_grid_s_file_is_said_at_its_line(trace: Path, tmp_path: Path) -> None:
    series = tmp_path / "grid.csv"
    series.write_text(SERIES + "2026-01-01T00:00:00Z,many\n", encoding="utf-8")
    done = run("run", *HUB, "--trace", trace, "--grid", series)
    assert done.exit_code == 2 and "grid.csv:12: value: not-a-number (many)" in done.stderr


def test_a_gap_in_the_grid_s_file_is_said_with_its_time(trace: Path, tmp_path: Path) -> None:
    series = tmp_path / "grid.csv"
    series.write_text(SERIES + "2026-01-01T00:00:00Z,50\n", encoding="utf-8")
    done = run("run", *HUB, "--trace", trace, "--grid", series)
    assert done.exit_code == 6 and "[grid.gap]" in done.stderr and "CA-QC" in done.stderr
    assert answer("run", *HUB, "--trace", trace, "--grid", series, "--shift", "--bridge", "1h")["carbon_mg"] > 0


def test_a_trace_that_is_missing_and_a_job_that_is_not_there(trace: Path) -> None:
    assert run("run", "--processors", 2, "--trace", trace.with_name("no.swf")).exit_code == 4
    done = run("explain", "--processors", 2, "--trace", trace, "--job", 99)
    assert done.exit_code == 4 and "[twin.job]" in done.stderr


def test_rules_that_look_at_prices_need_some(trace: Path, tmp_path: Path) -> None:
    rules = tmp_path / "cheap.yaml"
    rules.write_text("name: cheap\nversion: 1\ndefer: true\nsignal: price\n", encoding="utf-8")
    done = run("run", *HUB, "--trace", trace, "--rules", rules)
    assert done.exit_code == 2 and "[twin.price]" in done.stderr


def test_what_was_left_out_is_counted_in_words(tmp_path: Path) -> None:
    never = "{} 800 -1 -1 2 -1 -1 2 1800 -1 5 2 1 -1 -1 -1 -1 -1\n"
    for others, said in ((1, "1 job was left out: "), (2, "2 jobs were left out: ")):
        path = tmp_path / f"left-{others}.swf"
        path.write_text(SWF + "".join(never.format(5 + n) for n in range(others)), encoding="utf-8")
        shown = run("run", "--trace", path, "--processors", 2).stdout
        assert said in shown
