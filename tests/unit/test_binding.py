"""What a job is told about its devices."""

from __future__ import annotations

import pytest

from fabrique.core.errors import FabriqueError
from fabrique.engines import binding
from fabrique.engines.protocol import DeviceSlot, JobUser, RunSpec


def test_a_job_without_devices_sees_none() -> None:
    assert binding.devices([]) == {
        "CUDA_VISIBLE_DEVICES": "",
        "ROCR_VISIBLE_DEVICES": "",
        "ZE_AFFINITY_MASK": "9999",
        "HABANA_VISIBLE_DEVICES": "none",
    }


@pytest.mark.parametrize(
    ("slots", "name", "value"),
    [
        ([DeviceSlot("nvidia", 3, "GPU-1b2c"), DeviceSlot("nvidia", 0)], "CUDA_VISIBLE_DEVICES", "GPU-1b2c,0"),
        ([DeviceSlot("nvidia", 0, "MIG-77", 500)], "CUDA_VISIBLE_DEVICES", "MIG-77"),
        ([DeviceSlot("amd", 1, "GPU-deadbeef")], "ROCR_VISIBLE_DEVICES", "GPU-deadbeef"),
        ([DeviceSlot("intel", 1, "some-uuid")], "ZE_AFFINITY_MASK", "1"),
        ([DeviceSlot("habana", 0), DeviceSlot("habana", 7)], "HABANA_VISIBLE_DEVICES", "0,7"),
    ],
)
def test_devices_of_one_vendor_hide_those_of_the_others(slots: list[DeviceSlot], name: str, value: str) -> None:
    bound = binding.devices(slots)
    assert bound.pop(name) == value
    hidden = {binding.VARIABLE[vendor]: binding.NOTHING[vendor] for vendor in binding.VARIABLE}
    assert bound == {other: nothing for other, nothing in hidden.items() if other != name}


def test_an_unknown_vendor_cannot_be_bound() -> None:
    with pytest.raises(FabriqueError, match=r"engine\.refused"):
        binding.devices([DeviceSlot("unheard-of", 0)])


def test_what_the_job_asks_for_never_overrides_its_place() -> None:
    asked = {"HOME": "/root", "FABRIQUE_INTENT": "other", "ZE_AFFINITY_MASK": "0", "OMP_NUM_THREADS": "1", "PATH": "/x"}
    spec = RunSpec("some-intent", "job", b"x", 4, 1, JobUser("ada"), environment=asked)
    told = binding.environment(spec, "/w", "/usr/bin")
    assert (told["HOME"], told["TMPDIR"], told["FABRIQUE_INTENT"]) == ("/w", "/w/tmp", "some-intent")
    assert told["ZE_AFFINITY_MASK"] == "9999"
    assert (told["OMP_NUM_THREADS"], told["MKL_NUM_THREADS"], told["PATH"]) == ("1", "4", "/x")
