"""What a hub on a Slurm cluster hands out, and which jobs fit its nodes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.test_deployment import ON_SLURM, PLAIN

from fabrique.apps import connected
from fabrique.core.admission.filter import candidates, power_bound
from fabrique.core.job import JobSpec
from fabrique.core.reasons import Reason
from fabrique.definitions import accelerators

KNOWN = accelerators.catalogue()
HERE = connected.of(ON_SLURM, "elsewhere", KNOWN)
SPEC = JobSpec(script="", milli_devices=8_000, nodes=1, cores=8)


def lack(spec: JobSpec) -> Reason | None:
    return candidates(spec, HERE.offers)[1]


def test_a_cluster_is_all_that_is_connected() -> None:
    assert HERE.site == "lasalle"
    assert HERE.counts == {"h100-sxm": 128, "lab-core": 2 * 8 * 96}
    assert HERE.kinds == {"h100-sxm": "accelerator", "lab-core": "core"}
    assert HERE.vendors == {"h100-sxm": "nvidia"}
    assert HERE.base_w == 2 * 8 * 900
    assert [(o.partition, o.kind, o.milli_devices, o.nodes) for o in HERE.offers] == [
        ("gpu", "h100-sxm", 64_000, 8), ("gpu", "lab-core", 768_000, 8),
        ("cpu", "h100-sxm", 64_000, 8), ("cpu", "lab-core", 768_000, 8),
    ]  # fmt: skip
    assert connected.of(PLAIN, "here", KNOWN).site == "here"


def test_a_job_must_fit_the_nodes_it_asks_for() -> None:
    assert lack(SPEC) is None
    whole = lack(replace(SPEC, milli_devices=16_000))
    assert whole is not None and whole.code == "refuse.too-large"
    assert (whole.params["resource"], whole.params["most"]) == ("accelerators", 8_000)
    assert lack(replace(SPEC, milli_devices=16_000, nodes=2)) is None
    many = lack(replace(SPEC, milli_devices=72_000, nodes=9, cores=9))
    assert many is not None and (many.params["resource"], many.params["most"]) == ("nodes", 8)
    cores = lack(JobSpec(script="", cores=97))
    assert cores is not None and (cores.params["resource"], cores.params["most"]) == ("cores", 96)


@pytest.mark.parametrize(("pue", "watts"), [(1_000, 4_992), (1_200, 5_991)])
def test_a_jobs_watts_come_on_top_of_the_idle_nodes(pue: int, watts: int) -> None:
    assert power_bound(SPEC, HERE.offers[0], pue) == watts
