"""NVML and amdsmi: what is asked, and every way in which they do not answer."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pynvml
import pytest

from fabrique.meters.amdsmi import AmdSmiMeter
from fabrique.meters.nvml import NvmlMeter


class AmdSmiException(Exception):  # noqa: N818 — the library's own name
    pass


def refuse(error: type[Exception], *arguments: Any) -> Any:
    def function(*_: Any) -> Any:
        raise error(*arguments)

    return function


def nvml(**answers: Any) -> Any:
    """One device that supports what `answers` says and refuses all else as NVML does."""
    unsupported = refuse(pynvml.NVMLError, pynvml.NVML_ERROR_NOT_SUPPORTED)
    functions = dict.fromkeys(
        (
            "nvmlDeviceGetTotalEnergyConsumption",
            "nvmlDeviceGetPowerUsage",
            "nvmlDeviceGetPowerManagementLimitConstraints",
            "nvmlDeviceGetMigMode",
            "nvmlDeviceGetMaxMigDeviceCount",
            "nvmlDeviceGetMigDeviceHandleByIndex",
        ),
        unsupported,
    )
    always = {
        "NVMLError": pynvml.NVMLError,
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda i: i,
        "nvmlDeviceGetName": lambda h: "NVIDIA H200",
        "nvmlDeviceGetUUID": lambda h: f"GPU-{h}",
    }
    return SimpleNamespace(**(functions | always | answers))


def test_nvml_without_a_driver_says_so() -> None:
    library = nvml(nvmlInit=refuse(pynvml.NVMLError, pynvml.NVML_ERROR_LIBRARY_NOT_FOUND))
    answer = NvmlMeter(library).available()
    assert not answer.ok
    assert "Not Found" in answer.why


def test_nvml_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert NvmlMeter().available().why == "nvidia-ml-py is not installed"


def test_nvml_without_devices_says_so() -> None:
    meter = NvmlMeter(nvml(nvmlDeviceGetCount=lambda: 0))
    assert meter.available().why == "NVML sees no device"
    assert (meter.devices(), meter.read(0)) == ([], [])


def test_the_counter_is_preferred_to_samples() -> None:
    library = nvml(nvmlDeviceGetTotalEnergyConsumption=lambda h: 42, nvmlDeviceGetPowerUsage=lambda h: 7)
    (reading,) = NvmlMeter(library).read(5)
    assert (reading.counter_mj, reading.power_mw, reading.at_ms) == (42, None, 5)


def test_without_a_counter_power_is_sampled_and_said() -> None:
    (reading,) = NvmlMeter(nvml(nvmlDeviceGetPowerUsage=lambda h: 31_000)).read(5)
    assert (reading.counter_mj, reading.power_mw) == (None, 31_000)
    assert "sampled" in reading.provenance.how


def test_a_device_that_is_lost_is_unknown_not_zero() -> None:
    library = nvml(nvmlDeviceGetTotalEnergyConsumption=lambda h: 42)
    meter = NvmlMeter(library)
    assert meter.available().ok
    library.nvmlDeviceGetTotalEnergyConsumption = refuse(pynvml.NVMLError, pynvml.NVML_ERROR_GPU_IS_LOST)
    (reading,) = meter.read(5)
    assert not reading.known


def test_slices_share_their_devices_meter() -> None:
    def instance(handle: int, index: int) -> str:
        if index == 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return f"slice-{index}"

    library = nvml(
        nvmlDeviceGetMigMode=lambda h: [1, 1],
        nvmlDeviceGetMaxMigDeviceCount=lambda h: 3,
        nvmlDeviceGetMigDeviceHandleByIndex=instance,
        nvmlDeviceGetUUID=lambda h: b"MIG-" + str(h).encode(),
    )
    (device,) = NvmlMeter(library).devices()
    assert device.slices == ("MIG-slice-0", "MIG-slice-2")
    assert not device.counts


def test_the_power_limits_bound_what_is_possible() -> None:
    library = nvml(nvmlDeviceGetPowerManagementLimitConstraints=lambda h: (200_000, 700_000))
    (device,) = NvmlMeter(library).devices()
    assert (device.least_w, device.most_w, device.limits.most_w) == (200, 700, 1_050)


def test_closing_lets_go_and_the_next_call_starts_again() -> None:
    calls: list[str] = []

    def shutdown() -> None:
        calls.append("shutdown")
        raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)

    library = nvml(nvmlInit=lambda: calls.append("init"), nvmlShutdown=shutdown)
    meter = NvmlMeter(library)
    meter.close()
    assert meter.available().ok
    meter.close()
    assert len(meter.devices()) == 1
    assert calls == ["init", "shutdown", "init"]


def amdsmi(**answers: Any) -> Any:
    library: dict[str, Any] = {
        "AmdSmiException": AmdSmiException,
        "amdsmi_init": lambda: None,
        "amdsmi_get_processor_handles": lambda: [0],
        "amdsmi_get_gpu_device_uuid": lambda h: "uuid",
        "amdsmi_get_gpu_asic_info": refuse(AmdSmiException),
        "amdsmi_get_power_cap_info": refuse(AmdSmiException),
        "amdsmi_get_energy_count": refuse(AmdSmiException),
        "amdsmi_get_power_info": refuse(AmdSmiException),
    }
    return SimpleNamespace(**(library | answers))


def test_amdsmi_without_rocm_raises_keyerror_at_import_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "amdsmi.py").write_text("import os\nos.environ['ROCM_HOME_THAT_IS_NOT_THERE']\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "amdsmi", raising=False)
    assert AmdSmiMeter().available().why == "amdsmi finds no ROCm (KeyError)"


def test_amdsmi_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "amdsmi", None)
    assert AmdSmiMeter().available().why == "amdsmi is not installed"


def test_amdsmi_without_driver_or_devices_says_so() -> None:
    assert "amdsmi: " in AmdSmiMeter(amdsmi(amdsmi_init=refuse(AmdSmiException, "34"))).available().why
    none = AmdSmiMeter(amdsmi(amdsmi_get_processor_handles=list))
    assert none.available().why == "amdsmi sees no device"
    assert (none.devices(), none.read(0)) == ([], [])


@pytest.mark.parametrize("field", ["energy_accumulator", "power"])
def test_the_accumulator_counts_in_its_resolution_under_both_its_names(field: str) -> None:
    answer = {field: 1_000_000, "counter_resolution": 15.259000778198242, "timestamp": 1}
    (reading,) = AmdSmiMeter(amdsmi(amdsmi_get_energy_count=lambda h: answer)).read(0)
    assert reading.counter_mj == 15_259


@pytest.mark.parametrize(
    "answer",
    [
        {"energy_accumulator": 2**64 - 1, "counter_resolution": 15.259},
        {"energy_accumulator": 0, "counter_resolution": 15.259},
        {"energy_accumulator": "N/A", "counter_resolution": "N/A"},
        {"energy_accumulator": 5, "counter_resolution": 0.0},
        {},
    ],
)
def test_an_accumulator_that_says_nothing_leaves_samples(answer: dict[str, Any]) -> None:
    library = amdsmi(
        amdsmi_get_energy_count=lambda h: answer,
        amdsmi_get_power_info=lambda h: {"current_socket_power": "N/A", "average_socket_power": 131},
    )
    (reading,) = AmdSmiMeter(library).read(0)
    assert (reading.counter_mj, reading.power_mw) == (None, 131_000)


def test_a_die_that_answers_nothing_is_unknown() -> None:
    (reading,) = AmdSmiMeter(amdsmi()).read(0)
    assert not reading.known
    library = amdsmi(amdsmi_get_power_info=lambda h: {"average_socket_power": 65_535})
    assert not AmdSmiMeter(library).read(0)[0].known


def test_the_real_library_is_loaded_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    library = ModuleType("pynvml")
    vars(library).update(vars(nvml()))
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert len(NvmlMeter().devices()) == 1
