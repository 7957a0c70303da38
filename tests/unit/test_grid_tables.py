"""Parquet tables of the grid, wide, long and with forecasts: read as their columns are named, refused at their row."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabrique.core.energy import Window
from fabrique.core.errors import FabriqueError
from fabrique.core.units import HOUR_MS, MICRO
from fabrique.grid import tables
from fabrique.grid.known import load
from fabrique.grid.tables import Columns, parse

CARBON = Columns(zone="LU", source="a test", kind="average", basis="consumption")
PRICES = Columns(zone="DE-LU", of_zone="LU", source="a test", quantity="price", unit="EUR/MWh", value="price")
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
FIRST_MS = round(FIRST.timestamp() * 1000)


def hours(*at: int, first: datetime = FIRST) -> pl.Series:
    values = [first + timedelta(hours=h) for h in at]
    return pl.Series("ts_utc", values, dtype=pl.Datetime("ms", "UTC" if first.tzinfo else None))


def parquet(**columns: Any) -> bytes:
    out = BytesIO()
    pl.DataFrame(columns).write_parquet(out)
    return out.getvalue()


def told(raw: bytes, columns: Columns = CARBON) -> list[str]:
    found, complaints = parse(raw, "t.parquet", columns)
    assert (found is None) == bool(complaints)
    return [f"{c.place.removeprefix('t.parquet').removeprefix(':')} {c.field} {c.code}".strip() for c in complaints]


def prices(at: pl.Series, *values: float | None, zone: str = "DE-LU") -> bytes:
    return parquet(zone=[zone] * len(values), ts_utc=at, price=list(values))


def test_a_wide_table_has_a_column_a_zone(tmp_path: Path) -> None:
    raw = parquet(ts_utc=hours(0, 1), LU=pl.Series([260.6, 27.44], dtype=pl.Float32), FR=[1.0, 2.0])
    (tmp_path / "t.parquet").write_bytes(raw)
    known = load(tmp_path / "t.parquet", CARBON)
    assert [s.value for s in known.actual.steps] == [260_600, 27_440]
    assert known.actual.steps[0].window == Window(FIRST_MS, FIRST_MS + HOUR_MS)
    like = known.actual.like
    assert like is not None
    assert (like.zone, like.kind, like.scope, like.basis, like.year) == ("LU", "average", None, "consumption", 2026)
    assert known.forecast is None
    assert known.digests[0][0] == "t.parquet"
    assert len(known.digests[0][1]) == 64


def test_a_long_table_is_read_for_one_zone_whatever_its_order() -> None:
    raw = parquet(zone=["FR", "DE-LU", "FR", "DE-LU"], ts_utc=hours(0, 1, 1, 0), price=[1.0, -129.96, 2.0, 107.21])
    found, complaints = parse(raw, "t.parquet", PRICES)
    assert complaints == []
    assert found is not None
    assert [s.value for s in found[0].steps] == [107_210_000, -129_960_000]
    assert (found[0].zone, found[0].unit, found[0].like) == ("LU", "uEUR/MWh", None)


def test_what_was_and_what_was_expected_stay_apart() -> None:
    raw = parquet(zone=["LU"] * 2, ts_utc=hours(0, 1), err0=[100.0, 200.0], err40=[90.0, None])
    found, _ = parse(raw, "t.parquet", replace(CARBON, value="err0", forecast="err40"))
    assert found is not None
    assert [s.value for s in found[0].steps] == [100_000, 200_000]
    assert found[1] is not None
    assert [s.value for s in found[1].steps] == [90_000], "what nobody expected is not known, and not what was"


def test_missing_hours_are_bridged_up_to_the_bound_and_said() -> None:
    raw = prices(hours(0, 3), 10.0, 40.0)
    open_, _ = parse(raw, "t.parquet", PRICES, bridge_ms=HOUR_MS)
    assert open_ is not None
    assert open_[0].bridged == ()
    with pytest.raises(FabriqueError, match=r"grid\.gap"):
        open_[0].over(Window(FIRST_MS, FIRST_MS + 4 * HOUR_MS))
    found, _ = parse(raw, "t.parquet", PRICES, bridge_ms=2 * HOUR_MS)
    assert found is not None
    assert found[0].bridged == (Window(FIRST_MS + HOUR_MS, FIRST_MS + 3 * HOUR_MS),)
    assert found[0].at(FIRST_MS + 2 * HOUR_MS) == 10 * MICRO


def test_impossible_values_are_refused_at_their_row() -> None:
    assert told(prices(hours(0, 1, 2), -500.0, -500.01, 10_001.0), PRICES) == [
        "row 2 price impossible", "row 3 price impossible",
    ]  # fmt: skip
    assert told(parquet(ts_utc=hours(0, 1, 2), LU=[1.0, float("nan"), float("inf")])) == [
        "row 2 LU not-a-number", "row 3 LU not-a-number",
    ]  # fmt: skip
    assert told(parquet(ts_utc=hours(0), LU=[1e300])) == ["row 1 LU impossible"]


def test_local_times_and_their_clock_changes_are_refused() -> None:
    assert told(parquet(ts_utc=hours(0, first=datetime(2026, 1, 1)), LU=[1.0])) == [  # noqa: DTZ001
        "ts_utc local-time"
    ]
    autumn, spring = datetime(2026, 10, 25, tzinfo=UTC), datetime(2026, 3, 29, tzinfo=UTC)
    assert told(parquet(ts_utc=hours(0, 1, 2, 2, 3, first=autumn), LU=[1.0] * 5)) == ["row 4 ts_utc clock-change"]
    assert told(parquet(ts_utc=hours(0, 1, 3, 4, first=spring), LU=[1.0] * 4)) == ["row 3 ts_utc clock-change"]
    assert told(parquet(ts_utc=hours(5, 6, 6), LU=[1.0] * 3)) == ["row 3 ts_utc overlap"]
    eastern = hours(0, 1, first=autumn).dt.convert_time_zone("America/Toronto")
    assert told(parquet(ts_utc=eastern, LU=[1.0, 2.0])) == [], "an instant with its offset is no local time"


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        (replace(CARBON, zone="BE"), ["value missing-key"]),
        (replace(CARBON, time="when"), ["time missing-key"]),
        (replace(CARBON, forecast="err40"), ["forecast missing-key"]),
        (replace(CARBON, value="name"), ["name not-a-number"]),
        (replace(CARBON, time="LU"), ["LU not-a-time"]),
        (replace(CARBON, kind=None, basis=None), ["kind missing-key", "basis missing-key"]),
        (replace(CARBON, unit="EUR/MWh"), ["unit not-allowed"]),
        (replace(CARBON, zones="name", value="LU"), ["LU missing-key"]),
        (replace(CARBON, zones="name"), ["value missing-key"]),
        (replace(CARBON, step_s=0), ["step_s not-allowed"]),
    ],
)
def test_a_column_that_is_not_there_is_told(columns: Columns, wanted: list[str]) -> None:
    assert told(parquet(ts_utc=hours(0), LU=[1.0], name=["x"]), columns) == wanted


def test_a_table_without_a_time_in_a_row_is_told() -> None:
    at = pl.Series("ts_utc", [FIRST, None, datetime(1950, 1, 1, tzinfo=UTC)], dtype=pl.Datetime("us", "UTC"))
    assert sorted(told(parquet(ts_utc=at, LU=[1.0, 2.0, 3.0]))) == [
        "row 2 ts_utc not-a-time", "row 3 ts_utc not-a-time",
    ]  # fmt: skip


def test_more_rows_than_a_decade_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = parquet(ts_utc=hours(0, 1, 2, 3), LU=[1.0] * 4)
    monkeypatch.setattr(tables, "MOST_ROWS", 3)
    assert told(raw) == ["row too-many"]
    monkeypatch.setattr(tables, "_MOST_ROWS_OF_ALL_ZONES", 3)
    assert told(raw) == ["row too-many"]


def test_a_broken_file_gets_one_message_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    for raw in (b"", b"PAR1", b"PAR1" + b"\xff" * 64 + b"PAR1", parquet(ts_utc=hours(0), LU=[1.0])[:-9]):
        path.write_bytes(raw)
        with pytest.raises(FabriqueError) as caught:
            load(path, CARBON)
        assert caught.value.code == "grid.file"
        assert "t.parquet: file: broken-table" in str(caught.value.params["complaints"])
    with pytest.raises(FabriqueError, match="no such file"):
        load(tmp_path / "*.parquet", CARBON)


@given(at=st.integers(0, 900), byte=st.integers(0, 255))
def test_a_damaged_table_never_raises(at: int, byte: int) -> None:
    raw = bytearray(parquet(ts_utc=hours(0, 1), LU=[1.0, 2.0]))
    raw[at % len(raw)] = byte
    found, complaints = parse(bytes(raw), "t.parquet", CARBON)
    assert (found is None) == bool(complaints)


def test_a_forecast_file_is_of_the_same_zone(tmp_path: Path) -> None:
    head = "# fabrique-series: 1\n# zone: {}\n# quantity: price\n# unit: EUR/MWh\n# step_s: 3600\n# source: a test\n"
    (tmp_path / "was.csv").write_text(head.format("LU") + "2026-01-01T00:00:00Z,1\n")
    (tmp_path / "told.csv").write_text(head.format("LU") + "2026-01-01T00:00:00Z,2\n")
    (tmp_path / "other.csv").write_text(head.format("FR") + "2026-01-01T00:00:00Z,2\n")
    known = load(tmp_path / "was.csv", forecast=tmp_path / "told.csv")
    assert known.forecast is not None
    assert (known.actual.at(FIRST_MS), known.forecast.at(FIRST_MS)) == (MICRO, 2 * MICRO)
    assert [name for name, _ in known.digests] == ["was.csv", "told.csv"]
    with pytest.raises(FabriqueError, match=r"other.csv: zone: not-allowed \(FR\)"):
        load(tmp_path / "was.csv", forecast=tmp_path / "other.csv")


def test_the_public_series_are_read(traces: Path) -> None:
    carbon = load(traces / "carbon_hourly_2021-2022.parquet", CARBON).actual
    assert len(carbon.steps) == 17_520
    assert carbon.bridged == ()
    columns = replace(CARBON, zone="CA-QC", value="err0", forecast="err20")
    both = load(traces / "carbon_2022_with_forecast_error.parquet", columns)
    assert both.forecast is not None
    assert len(both.actual.steps) == len(both.forecast.steps) == 8_760
    assert (both.actual.steps[0].value, both.forecast.steps[0].value) == (27_440, 26_510)
    path, market = traces / "prices_dayahead_2023.parquet", replace(PRICES, value="price_eur_mwh")
    assert load(path, market).actual.bridged == ()
    bridged = load(path, market, bridge_ms=72 * HOUR_MS).actual
    assert len(bridged.bridged) == 15
    assert bridged.over(Window(bridged.steps[0].window.start_ms, bridged.steps[-1].window.end_ms))
