"""What every meter promises, asked of each one at its real boundary: a tree of files, a command, a vendor's library.

The answers are those of `tests/data/meters`, whose README says where each comes from.
"""

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pynvml
import pytest

from fabrique.core.energy import Window
from fabrique.core.readings import metered
from fabrique.meters.amdsmi import AmdSmiMeter
from fabrique.meters.habana import HabanaMeter
from fabrique.meters.levelzero import LevelZeroMeter
from fabrique.meters.modelled import CoreModel, ModelledMeter
from fabrique.meters.nvml import NvmlMeter
from fabrique.meters.protocol import Meter
from fabrique.meters.rapl import RaplMeter

ROOT = Path(__file__).parent.parent.parent
DATA = ROOT / "tests" / "data" / "meters"
NOW = 1_767_225_600_000


class Rocm(Exception):  # noqa: N818 — stands for the library's AmdSmiException
    pass


def recorded(name: str) -> Any:
    return json.loads((DATA / name).read_text())


def nvml(fixture: Any) -> Any:
    """nvidia-ml-py with its own errors, over a recording: each device's samples one after the other, the last stays."""
    reads: dict[str, int] = {}

    def given(value: Any) -> Any:
        if value is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return value

    def sample(device: Any, field: str) -> Any:
        index = reads.get(device["uuid"], 0)
        reads[device["uuid"]] = index + 1
        return given(device["samples"][min(index, len(device["samples"]) - 1)][field])

    def instance(device: Any, index: int) -> Any:
        return {"uuid": given(dict(enumerate(device["mig_uuids"])).get(index))}

    return SimpleNamespace(
        NVMLError=pynvml.NVMLError,
        NVML_ERROR_NOT_SUPPORTED=pynvml.NVML_ERROR_NOT_SUPPORTED,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlSystemGetDriverVersion=lambda: b"0.0",
        nvmlDeviceGetCount=lambda: len(fixture["devices"]),
        nvmlDeviceGetHandleByIndex=lambda i: fixture["devices"][i],
        nvmlDeviceGetName=lambda d: d["name"].encode(),
        nvmlDeviceGetUUID=lambda d: d["uuid"],
        nvmlDeviceGetPowerManagementLimitConstraints=lambda d: given(d["power_limit_constraints_mw"]),
        nvmlDeviceGetMigMode=lambda d: given(d["mig_mode"]),
        nvmlDeviceGetMaxMigDeviceCount=lambda d: 7,
        nvmlDeviceGetMigDeviceHandleByIndex=instance,
        nvmlDeviceGetTotalEnergyConsumption=lambda d: sample(d, "energy_mj"),
        nvmlDeviceGetPowerUsage=lambda d: sample(d, "power_mw"),
    )


def amdsmi(fixture: Any) -> Any:
    def given(value: Any) -> Any:
        if value is None:
            raise Rocm("not supported")
        return value

    return SimpleNamespace(
        AmdSmiException=Rocm,
        amdsmi_init=lambda: None,
        amdsmi_get_processor_handles=lambda: list(fixture["devices"]),
        amdsmi_get_gpu_device_uuid=lambda d: d["uuid"],
        amdsmi_get_gpu_asic_info=lambda d: given(d["asic"]),
        amdsmi_get_power_cap_info=lambda d: given(d["power_cap"]),
        amdsmi_get_energy_count=lambda d: given(d["samples"][0]["energy"]),
        amdsmi_get_power_info=lambda d: given(d["samples"][0]["power"]),
    )


def tree(root: Path, name: str) -> Path:
    for file, content in recorded(name)["files"].items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(content + "\n")
    return root


def tool(folder: Path, name: str) -> str:
    path = folder / "vendor-smi"
    path.write_text(f"#!/bin/sh\ncat {DATA / name}\n")
    path.chmod(0o755)
    return str(path)


THERE: dict[str, Callable[[Path], Meter]] = {
    "nvml": lambda folder: NvmlMeter(nvml(recorded("nvml-h200.json"))),
    "amdsmi": lambda folder: AmdSmiMeter(amdsmi(recorded("amdsmi-mi300x.json"))),
    "levelzero": lambda folder: LevelZeroMeter(tree(folder, "hwmon.json"), "/nonexistent/xpu-smi"),
    "levelzero-tool": lambda folder: LevelZeroMeter(folder / "none", tool(folder, "xpu-smi.csv")),
    "habana": lambda folder: HabanaMeter(tool(folder, "hl-smi.csv")),
    "rapl": lambda folder: RaplMeter(tree(folder, "powercap.json")),
    "modelled": lambda folder: ModelledMeter(CoreModel(2, 10), 4),
}
ABSENT: dict[str, Callable[[Path], Meter]] = {
    "nvml": lambda folder: NvmlMeter(nvml({"devices": []})),
    "amdsmi": lambda folder: AmdSmiMeter(amdsmi({"devices": []})),
    "levelzero": lambda folder: LevelZeroMeter(folder, "/nonexistent/xpu-smi"),
    "habana": lambda folder: HabanaMeter("/nonexistent/hl-smi"),
    "rapl": lambda folder: RaplMeter(folder),
    "modelled": lambda folder: ModelledMeter(None, 4),
}


@pytest.fixture(params=THERE)
def meter(request: pytest.FixtureRequest, tmp_path: Path) -> Meter:
    return THERE[request.param](tmp_path)


@pytest.fixture(params=ABSENT)
def absent(request: pytest.FixtureRequest, tmp_path: Path) -> Meter:
    return ABSENT[request.param](tmp_path)


def test_one_that_is_there_says_so_and_has_devices(meter: Meter) -> None:
    assert (meter.available().ok, meter.available().why) == (True, "")
    assert meter.devices()


def test_one_reading_a_device_in_the_unit_it_announced(meter: Meter) -> None:
    devices = {d.source: d for d in meter.devices()}
    readings = meter.read(NOW)
    assert [r.source for r in readings] == list(devices)
    assert len(devices) == len(meter.devices()), "a source names one device"
    assert any(r.known for r in readings)
    for reading in readings:
        assert reading.at_ms == NOW
        assert (reading.power_mw if devices[reading.source].counts else reading.counter_mj) is None
        assert all(v is None or (type(v) is int and v >= 0) for v in (reading.counter_mj, reading.power_mw))


def test_readings_become_energy_within_the_devices_limits(meter: Meter) -> None:
    first, second = meter.read(NOW), meter.read(NOW + 1_000)
    limits = {d.source: d.limits for d in meter.devices()}
    for before, after in zip(first, second, strict=True):
        found = metered([before, after], Window(NOW, NOW + 1_000), limits[before.source])
        assert (found.energy_mj is None) == (not before.known or not after.known)
        assert 0 <= (found.energy_mj or 0) <= limits[before.source].most_w * 2_000


def test_an_accelerators_parts_and_limits_are_sane(meter: Meter) -> None:
    for device in meter.devices():
        assert device.vendor in {"nvidia", "amd", "intel", "cpu"}
        assert device.name
        assert device.limits.most_w > 0
        assert device.most_w is None or 0 < device.most_w <= device.limits.most_w


def test_provenance_says_measured_or_modelled_and_what_was_never_seen(meter: Meter) -> None:
    assert meter.provenance.basis == ("modelled" if meter.name == "modelled" else "measured")
    assert meter.provenance.how
    if meter.provenance.basis == "measured":
        assert meter.provenance.tested_on is None, "no adapter here was seen on hardware: change this with a recording"


def test_one_that_is_absent_says_why_and_reads_nothing(absent: Meter) -> None:
    answer = absent.available()
    assert not answer.ok
    assert answer.why
    assert "\n" not in answer.why
    assert (absent.devices(), absent.read(NOW)) == ([], [])


def test_the_recordings_say_where_they_come_from() -> None:
    readme = (DATA / "README.md").read_text()
    for path in DATA.iterdir():
        assert path.name == "README.md" or f"`{path.name}`" in readme
        if path.suffix == ".json":
            assert recorded(path.name)["provenance"]["label"] in {"recorded", "untested on hardware"}


def test_nvml_counts_in_millijoules_between_two_readings() -> None:
    meter = NvmlMeter(nvml(recorded("nvml-h200.json")))
    meter.devices()
    first, second = meter.read(0), meter.read(1_000)
    device = meter.devices()[0]
    found = metered([first[0], second[0]], Window(0, 1_000), device.limits)
    assert found.energy_mj == 91_823_917_240 - 91_823_840_867
    assert [len(d.slices) for d in meter.devices()] == [0, 2, 0]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The recording script, over the fake library, at no pace."""
    fake = ModuleType("pynvml")
    vars(fake).update(vars(nvml(recorded("nvml-h200.json"))))
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    spec = importlib.util.spec_from_file_location("record_nvml", ROOT / "tools" / "record_nvml.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    yield module


def test_a_true_recording_would_have_the_same_form(recorder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert recorder.main() == 0
    written = json.loads(capsys.readouterr().out)
    model = recorded("nvml-h200.json")
    assert written.keys() == model.keys()
    assert [d.keys() for d in written["devices"]] == [d.keys() for d in model["devices"]]
    assert written["devices"][0]["samples"][0].keys() == model["devices"][0]["samples"][0].keys()
    assert [len(d["mig_uuids"]) for d in written["devices"]] == [0, 2, 0]
    assert NvmlMeter(nvml(written)).available().ok
