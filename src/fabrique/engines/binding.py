"""What a job is told about its place: the devices it may see, its cores, and nothing of the hub's own environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fabrique.core.errors import FabriqueError
from fabrique.engines import records
from fabrique.engines.protocol import DeviceSlot, RunSpec

VARIABLE: Final = {
    "nvidia": "CUDA_VISIBLE_DEVICES",
    "amd": "ROCR_VISIBLE_DEVICES",
    "intel": "ZE_AFFINITY_MASK",
    "habana": "HABANA_VISIBLE_DEVICES",
}
# What hides every device. Intel's runtime takes an empty mask for no mask at all and shows everything
# (compute-runtime, ExecutionEnvironment::parseAffinityMask), so it gets an index that no machine has.
NOTHING: Final = {"nvidia": "", "amd": "", "intel": "9999", "habana": "none"}
THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def devices(slots: Sequence[DeviceSlot]) -> dict[str, str]:
    """One variable per vendor, always all of them: a job without a device of a vendor sees none of it.

    Raises `engine.refused` for a vendor no variable is known for: it could not be bound.
    """
    bound = {vendor: [slot for slot in slots if slot.vendor == vendor] for vendor in VARIABLE}
    for slot in slots:
        if slot.vendor not in VARIABLE:
            raise FabriqueError("engine.refused", why="vendor", vendor=slot.vendor[:40])
    return {
        VARIABLE[vendor]: ",".join(_name(slot) for slot in mine) if mine else NOTHING[vendor]
        for vendor, mine in bound.items()
    }


def environment(spec: RunSpec, work: str, path: str) -> dict[str, str]:
    """The job's whole environment; `work` is its folder (within the run's), `path` the deployment's PATH.

    Nothing is inherited. What the job asks for comes first, so that it overrides neither its binding nor its names.
    """
    threads = str(spec.core_count)
    return {
        **dict.fromkeys(THREADS, threads),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        **spec.environment,
        "PATH": spec.environment.get("PATH", path),
        "HOME": work,
        "PWD": work,
        "TMPDIR": f"{work}/{records.TEMPORARY}",
        "USER": spec.user.label,
        "LOGNAME": spec.user.label,
        records.MARK: work.rpartition("/")[0],
        "FABRIQUE_INTENT": spec.intent,
        "FABRIQUE_JOB": spec.name,
        "FABRIQUE_RUN": spec.intent,
        "FABRIQUE_CORES": threads,
        "FABRIQUE_MEMORY_MB": "" if spec.memory_mb is None else str(spec.memory_mb),
        "FABRIQUE_POWER_LIMIT_W": "" if spec.power_limit_w is None else str(spec.power_limit_w),
        **devices(spec.devices),
    }


def _name(slot: DeviceSlot) -> str:
    """NVIDIA and AMD take an identifier, which stays right when indexes move; the others take the index."""
    return slot.uuid if slot.uuid and slot.vendor in ("nvidia", "amd") else str(slot.index)
