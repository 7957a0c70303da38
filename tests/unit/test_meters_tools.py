"""Vendors' command-line tools: asked without a shell, bounded, and read with care."""

import os
import time
from pathlib import Path

import pytest

from fabrique.meters import habana, levelzero
from fabrique.meters.command import NoAnswerError, ask, milliwatts
from fabrique.meters.habana import HabanaMeter
from fabrique.meters.kinds import kind_of_name
from fabrique.meters.levelzero import LevelZeroMeter

DATA = Path(__file__).parent.parent / "data" / "meters"


def tool(folder: Path, body: str) -> str:
    path = folder / "tool"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_gaudi_powers_are_read_and_an_unknown_one_stays_unknown() -> None:
    rows = habana.parse((DATA / "hl-smi.csv").read_text())
    assert [(r.name, r.power_mw) for r in rows] == [("HL-225", 101_000), ("HL-225", 98_500), ("HL-325L", None)]


def test_lines_of_another_shape_are_left_out() -> None:
    assert habana.parse("warning: driver\nuuid, name, power.draw [W]\n,HL-225,1\n\n,,,,\n") == []
    assert levelzero.parse("Error: no device\n") == {}
    assert len(habana.parse("u, HL-225, 1\n" * 1_000)) == 64


def test_intel_powers_are_read() -> None:
    assert levelzero.parse((DATA / "xpu-smi.csv").read_text()) == {"0": 118_210, "1": None}


def test_the_tool_is_asked_the_documented_question(tmp_path: Path) -> None:
    command = tool(tmp_path, f'echo "$@" > {tmp_path}/asked; cat {DATA}/hl-smi.csv')
    meter = HabanaMeter(command)
    assert [r.power_mw for r in meter.read(7)] == [101_000, 98_500, None]
    assert (tmp_path / "asked").read_text().split() == [
        "--query-aip=uuid,name,power.draw",
        "--format=csv,noheader,nounits",
    ]
    assert [d.kind for d in meter.devices()] == ["gaudi2", "gaudi2", "gaudi3"]
    assert not any(d.counts for d in meter.devices())


def test_intel_falls_back_to_samples_of_power(tmp_path: Path) -> None:
    meter = LevelZeroMeter(tmp_path / "none", tool(tmp_path, f"cat {DATA}/xpu-smi.csv"))
    assert meter.available().ok
    assert [(r.source, r.power_mw) for r in meter.read(7)] == [("xpu-smi:0", 118_210), ("xpu-smi:1", None)]
    assert [d.source for d in meter.devices()] == ["xpu-smi:0", "xpu-smi:1"]


def test_the_hubs_environment_stays_with_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FABRIQUE_SECRET", "x")
    assert "FABRIQUE_SECRET" not in ask([tool(tmp_path, "env")])


@pytest.mark.parametrize(
    ("body", "why"),
    [("exit 3", "ended with 3"), ("head -c 2000000 /dev/zero", "more than"), ("exec sleep 60", "within 1 s")],
)
def test_a_tool_that_misbehaves_is_no_answer(tmp_path: Path, body: str, why: str) -> None:
    before = time.monotonic()
    with pytest.raises(NoAnswerError, match=why):
        ask([tool(tmp_path, body)], timeout_s=1)
    assert time.monotonic() - before < 20
    meter = HabanaMeter(tool(tmp_path, "exit 3"))
    assert (meter.available().ok, meter.devices(), meter.read(0)) == (False, [], [])


def test_a_tool_that_is_not_there_or_cannot_run_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(NoAnswerError, match="not installed"):
        ask(["/nonexistent/hl-smi"])
    path = tmp_path / "tool"
    path.write_bytes(b"\x7fELF garbage")
    path.chmod(0o755)
    with pytest.raises(NoAnswerError, match=r"started|ended"):
        ask([str(path)])
    assert not os.access("/nonexistent/hl-smi", os.X_OK)


@pytest.mark.parametrize(
    ("cell", "wanted"),
    [("101", 101_000), ("101 W", 101_000), ("98.5", 98_500), ("0.0005", 0), ("118.21", 118_210)]
    + [(c, None) for c in ("N/A", "", "-1", "1e3", "nan", "٣", "12345678", "1.2.3", "[Not Supported]", ".5")],
)
def test_powers_as_tools_print_them(cell: str, wanted: int | None) -> None:
    assert milliwatts(cell) == wanted


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H200", "h200-sxm"),
        ("NVIDIA H200 NVL", None),
        ("NVIDIA GH200 480GB", "gh200"),
        ("NVIDIA A100-SXM4-80GB", "a100-80"),
        ("NVIDIA A100-SXM4-40GB", None),
        ("AMD Instinct MI300X", "mi300x"),
        ("AMD Instinct MI300A", None),
        ("HL-225", "gaudi2"),
        ("", None),
    ],
)
def test_a_name_is_its_kind_or_unknown_never_the_nearest(name: str, kind: str | None) -> None:
    assert kind_of_name(name) == kind
