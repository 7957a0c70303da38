"""Records what NVML answers on a machine with NVIDIA devices, as a fixture for the tests of the meters.

It only reads: no setting is touched. UUIDs are replaced. Run where nvidia-ml-py and a driver are:

    python tools/record_nvml.py > tests/data/meters/nvml-h200.json
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import pynvml

RATE_HZ = 10
SECONDS = 5


def main() -> int:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        print(f"NVML: {error}", file=sys.stderr)
        return 6
    handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    driver = text(pynvml.nvmlSystemGetDriverVersion())
    devices = [device(index, handle) for index, handle in enumerate(handles, start=1)]
    start = time.monotonic_ns()
    for tick in range(RATE_HZ * SECONDS + 1):
        time.sleep(max(0.0, tick / RATE_HZ - (time.monotonic_ns() - start) / 1e9))
        for found, handle in zip(devices, handles, strict=True):
            found["samples"].append(sample(handle, (time.monotonic_ns() - start) // 1_000_000))
    names = ", ".join(sorted({found["name"] for found in devices}))
    provenance = {"label": "recorded", "from": f"recorded on {names}, driver {driver}; UUIDs replaced"}
    json.dump({"provenance": provenance, "driver": driver, "devices": devices}, sys.stdout, indent=2)
    print()
    return 0


def device(index: int, handle: Any) -> dict[str, Any]:
    mode = ask(pynvml.nvmlDeviceGetMigMode, handle)
    most = (ask(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0) if mode and mode[0] else 0
    instances = [ask(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, i) for i in range(most)]
    return {
        "uuid": f"GPU-00000000-0000-0000-0000-{index:012d}",
        "name": text(pynvml.nvmlDeviceGetName(handle)),
        "power_limit_constraints_mw": ask(pynvml.nvmlDeviceGetPowerManagementLimitConstraints, handle),
        "mig_mode": mode,
        "mig_uuids": [
            f"MIG-00000000-0000-{index:04d}-0000-{i:012d}" for i, found in enumerate(instances) if found is not None
        ],
        "samples": [],
    }


def sample(handle: Any, at_ms: int) -> dict[str, Any]:
    return {
        "at_ms": at_ms,
        "energy_mj": ask(pynvml.nvmlDeviceGetTotalEnergyConsumption, handle),
        "power_mw": ask(pynvml.nvmlDeviceGetPowerUsage, handle),
    }


def ask(question: Any, *arguments: Any) -> Any:
    """The answer, or None where the device does not support the question."""
    try:
        return question(*arguments)
    except pynvml.NVMLError:
        return None


def text(answer: str | bytes) -> str:
    return answer.decode() if isinstance(answer, bytes) else answer


if __name__ == "__main__":
    sys.exit(main())
