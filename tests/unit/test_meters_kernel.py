"""What the kernel shows of energy: powercap zones and the hwmon of Intel GPUs, from trees of files."""

import json
from pathlib import Path

import pytest

from fabrique.core.energy import Window
from fabrique.core.readings import Reading, metered
from fabrique.meters import sysfs
from fabrique.meters.levelzero import LevelZeroMeter
from fabrique.meters.rapl import RaplMeter

DATA = Path(__file__).parent.parent / "data" / "meters"
ABSENT = "/nonexistent/xpu-smi"


def tree(root: Path, recorded: str) -> Path:
    for name, content in json.loads((DATA / recorded).read_text())["files"].items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return root


def counters(readings: list[Reading]) -> dict[str, int | None]:
    return {r.source: r.counter_mj for r in readings}


def test_rapl_counts_packages_and_memory_once_each(tmp_path: Path) -> None:
    meter = RaplMeter(tree(tmp_path, "powercap.json"))
    assert meter.available().ok
    assert counters(meter.read(5)) == {"intel-rapl:0": 262_143_000, "intel-rapl:0:0": 52_116_045}
    package, dram = meter.devices()
    assert (package.name, package.most_w, package.limits.wraps_at_mj) == ("package-0", 205, 262_143_328)
    assert (dram.name, dram.most_w) == ("dram", None)


def test_rapl_wraps_at_the_range_the_kernel_names(tmp_path: Path) -> None:
    meter = RaplMeter(tree(tmp_path, "powercap.json"))
    readings = [r for r in meter.read(0) if r.source == "intel-rapl:0"]
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("400000\n")
    readings += [r for r in meter.read(10_000) if r.source == "intel-rapl:0"]
    found = metered(readings, Window(0, 10_000), meter.devices()[0].limits)
    assert (found.energy_mj, found.gaps) == (728, ())


def test_rapl_that_we_may_not_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = RaplMeter(tree(tmp_path, "powercap.json"))
    monkeypatch.setattr("fabrique.meters.rapl.os.access", lambda path, mode: False)
    assert "root" in meter.available().why
    assert (meter.devices(), meter.read(0)) == ([], [])


def test_rapl_without_zones_or_numbers_says_so(tmp_path: Path) -> None:
    assert "no RAPL zone" in RaplMeter(tmp_path / "none").available().why
    root = tree(tmp_path, "powercap.json")
    for zone in root.glob("intel-rapl*/energy_uj"):
        zone.write_text("noise")
    assert "no number" in RaplMeter(root).available().why


def test_one_broken_zone_is_unknown_and_the_others_are_read(tmp_path: Path) -> None:
    meter = RaplMeter(tree(tmp_path, "powercap.json"))
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("-2")
    assert counters(meter.read(0)) == {"intel-rapl:0": None, "intel-rapl:0:0": 52_116_045}


def test_intel_cards_are_counted_whole(tmp_path: Path) -> None:
    meter = LevelZeroMeter(tree(tmp_path, "hwmon.json"), ABSENT)
    assert meter.available().ok
    assert counters(meter.read(5)) == {"hwmon3": 81_923_740, "hwmon5": 123_456}
    first, second = meter.devices()
    assert (first.kind, first.most_w, first.counts) == ("max1550", 600, True)
    assert (second.kind, second.name, second.most_w) == (None, "Intel GPU 0xe20b", None)
    assert meter.provenance.tested_on is None


def test_a_card_is_named_by_its_address_which_outlives_a_restart(tmp_path: Path) -> None:
    (tmp_path / "pci" / "0000:4d:00.0").mkdir(parents=True)
    card = tmp_path / "hwmon" / "hwmon7"
    card.mkdir(parents=True)
    (card / "name").write_text("xe\n")
    (card / "energy1_input").write_text("1000\n")
    (card / "device").symlink_to(tmp_path / "pci" / "0000:4d:00.0")
    assert counters(LevelZeroMeter(tmp_path / "hwmon", ABSENT).read(0)) == {"pci:0000:4d:00.0": 1}


def test_without_cards_and_tool_it_says_what_is_missing(tmp_path: Path) -> None:
    why = LevelZeroMeter(tmp_path, ABSENT).available().why
    assert "i915 or xe" in why
    assert "not installed" in why


@pytest.mark.parametrize(
    "content", [b"", b"12 34", b"-1", b"1" * 21, b"\xff\xfe", b"0x10", "٣".encode(), b"1" * 5_000, b"1e9", b"+5"]
)
def test_a_file_of_the_kernel_is_not_trusted(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "energy_uj"
    path.write_bytes(content)
    assert sysfs.whole_number(path) is None
    assert sysfs.whole_number(tmp_path) is None
    assert sysfs.text(tmp_path / "none") is None
