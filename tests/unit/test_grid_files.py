"""Files of the grid, from strangers: what is right is read exactly, what is wrong is told at its place."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabrique.core.units import HOUR_MS
from fabrique.grid.files import read

HEADER = """# fabrique-series: 1
# zone: LU
# quantity: intensity
# unit: gCO2e/kWh
# step_s: 3600
# source: an operator's own file
# kind: average
# scope: lifecycle
# basis: consumption
# year: 2026
start,value
"""
PRICES = """# fabrique-series: 1
# zone: LU
# quantity: price
# unit: EUR/MWh
# step_s: 900
# source: an operator's own file
"""


@pytest.fixture
def told(tmp_path: Path):  # type: ignore[no-untyped-def]
    """The complaints about a text, as `place field code`."""

    def complaints(text: str | bytes) -> list[str]:
        path = tmp_path / "grid.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        found, complaints = read(path)
        assert (found is None) == bool(complaints)
        return [f"{c.place.removeprefix('grid.csv').removeprefix(':')} {c.field} {c.code}".strip() for c in complaints]

    return complaints


def test_an_intensity_is_read_to_the_milligram(tmp_path: Path) -> None:
    path = tmp_path / "lu.csv"
    path.write_text(HEADER + "2026-01-01T00:00:00Z,260.6\n2026-01-01T02:00:00+01:00,34.8125\n")
    found, complaints = read(path)
    assert complaints == []
    assert found is not None
    start = 1_767_225_600_000
    assert [found.at(start), found.at(start + HOUR_MS)] == [260_600, 34_812]
    assert (found.zone, found.unit) == ("LU", "mg/kWh")
    assert found.like is not None
    assert (found.like.basis, found.like.scope, found.like.year) == ("consumption", "lifecycle", 2026)


def test_prices_are_micro_units_and_an_empty_value_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(PRICES + "2026-01-01T00:00:00Z,-12.34\n2026-01-01T00:15:00Z,\n2026-01-01T00:30:00Z,0\n")
    found, _ = read(path)
    assert found is not None
    assert (found.unit, found.like) == ("uEUR/MWh", None)
    start = 1_767_225_600_000
    assert [found.at(start + n * 900_000) for n in range(3)] == [-12_340_000, None, 0]
    bridged, _ = read(path, bridge_ms=900_000)
    assert bridged is not None
    assert len(bridged.bridged) == 1


def test_json_holds_the_same(tmp_path: Path) -> None:
    keys = dict(line[2:].split(": ", 1) for line in HEADER.splitlines()[:-1])
    data = {**keys, "step_s": 3600, "values": [["2026-01-01T00:00:00Z", 260.6], ["2026-01-01T01:00:00Z", None]]}
    path = tmp_path / "lu.json"
    path.write_text(json.dumps(data))
    found, complaints = read(path)
    assert complaints == []
    assert found is not None
    assert found.at(1_767_225_600_000) == 260_600


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ("2026-01-01T00:00:00,1", "12 start local-time"),
        ("yesterday,1", "12 start not-a-time"),
        ("2026-01-01T00:00:00Z,NaN", "12 value not-a-number"),
        ("2026-01-01T00:00:00Z,1e3", "12 value not-a-number"),
        ("2026-01-01T00:00:00Z,٣", "12 value not-a-number"),
        ("2026-01-01T00:00:00Z,-1", "12 value impossible"),
        ("2026-01-01T00:00:00Z,2001", "12 value impossible"),
        ("2026-01-01T00:00:00Z,1,2", "12 row not-a-row"),
        ("0001-01-01T00:00:00+23:59,1", "12 start not-a-time"),
        ("9999-12-31T23:59:59Z,1", "12 start not-a-time"),
    ],
)
def test_a_broken_row_is_told_at_its_line(told, row: str, wanted: str) -> None:  # type: ignore[no-untyped-def]
    assert told(HEADER + row + "\n") == [wanted]


def test_local_days_of_23_and_25_hours_are_told(told) -> None:  # type: ignore[no-untyped-def]
    spring = "2025-03-30T01:00:00Z,1\n2025-03-30T03:00:00Z,1\n"
    autumn = "2025-10-26T02:00:00Z,1\n2025-10-26T02:00:00Z,1\n"
    assert told(HEADER + spring) == ["13 start clock-change"]
    assert told(HEADER + autumn) == ["13 start clock-change"]
    assert told(HEADER + "2025-06-01T02:00:00Z,1\n2025-06-01T02:00:00Z,1\n") == ["13 start overlap"]


def test_each_wrong_key_is_told(told) -> None:  # type: ignore[no-untyped-def]
    assert told("") == [f"{k} missing-key" for k in ("fabrique-series", "zone", "quantity", "unit", "step_s", "source")]
    assert told(HEADER.replace("# basis: consumption\n", "")) == ["basis missing-key"]
    assert told(HEADER.replace("# basis: consumption", "# basis: both")) == ["basis not-allowed"]
    assert told(HEADER.replace("gCO2e", "kgCO2e")) == ["unit not-allowed"]
    assert told(HEADER.replace("LU", "<b>")) == ["zone not-allowed"]
    assert told(HEADER.replace("3600", "0")) == ["step_s not-allowed"]
    assert told("# colour: red\n" + HEADER) == ["colour unknown-key"]
    assert told("# zone: LU\n" + HEADER) == ["3 zone duplicate-key"]
    assert told(PRICES + "# kind: average\n") == ["kind unknown-key"], "a price is no factor"


def test_hostile_files_get_one_clear_answer(told, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert told(b"# zone: LU\n\xff\xfe") == ["2 file not-text"]
    assert told('{"values":' + "[" * 100_000) == ["file broken-json"]
    assert told('{\n"zone": "LU",\n"zone"') == ["3 file broken-json"]
    assert "zone duplicate-key" in told('{"zone": "LU", "zone": "LU", "values": []}')
    assert "zone not-allowed" in told('{"zone": {"a": 1}, "values": []}')
    assert told('{"values": [[null, 2], ["x"], 3, ["x", true]]}')[:4] == [
        f"values[{n}] row not-a-row" for n in range(4)
    ]
    assert "values missing-key" in told('{"values": {}}')
    assert told(HEADER.replace("own file", "own\x1bfile")) == ["source not-allowed"]
    assert told(b"x" * ((32 << 20) + 1)) == ["file too-large"]
    assert len(told(HEADER + "noise\n" * 1_000)) == 50
    for missing in (tmp_path / "no-such-file", tmp_path, tmp_path / "nul\0"):
        assert [c.code for c in read(missing)[1]] == ["unreadable"]
    os.mkfifo(tmp_path / "pipe")
    assert [c.code for c in read(tmp_path / "pipe")[1]] == ["unreadable"]


def test_more_rows_than_a_decade_are_too_many(told, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("fabrique.grid.files.MOST_ROWS", 1)
    rows = "2026-01-01T00:00:00Z,1\n2026-01-01T01:00:00Z,1\n"
    assert told(HEADER + rows) == ["13 row too-many"]
    assert "values too-many" in told('{"values": [["2026-01-01T00:00:00Z", 1], ["2026-01-01T01:00:00Z", 1]]}')


def test_what_is_cited_cannot_reach_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "grid.csv"
    path.write_text(HEADER + "\x1b[31mred,1\n")
    (complaint,) = read(path)[1]
    assert "\x1b" not in str(complaint)
    assert str(complaint).startswith("grid.csv:12: start: not-a-time")


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda t: (HEADER + t).encode()))
def test_noise_never_raises(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise"
    path.write_bytes(noise)
    found, complaints = read(path)
    assert (found is None) == bool(complaints)
