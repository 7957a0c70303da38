"""The modelled meter, and which meters there are."""

from fabrique.core.energy import CALIBRATED_MODEL_ERROR, Window
from fabrique.core.readings import Reading, metered
from fabrique.meters.detect import discover, present
from fabrique.meters.modelled import CoreModel, ModelledMeter, ProcessorTimes, modelled_run, processor_times
from fabrique.meters.protocol import Availability, Device

MODEL = CoreModel(idle_w=2, max_w=10)


class Named:
    """A meter that answers, of a given name."""

    provenance = ModelledMeter(MODEL, 1).provenance

    def __init__(self, name: str, ok: bool = True) -> None:
        self.name = name
        self._ok = ok

    def available(self) -> Availability:
        return Availability(self._ok)

    def devices(self) -> list[Device]:
        return []

    def read(self, now_ms: int) -> list[Reading]:
        return []


def test_the_machine_is_counted_since_its_start_from_its_processor_times() -> None:
    times = [ProcessorTimes(0, 40_000), ProcessorTimes(20_000, 80_000)]
    meter = ModelledMeter(MODEL, 4, lambda: times.pop(0))
    readings = meter.read(0) + meter.read(10_000)
    found = metered(readings, Window(0, 10_000), meter.devices()[0].limits)
    assert found.energy_mj == 2 * 40_000 + 8 * 20_000
    assert found.provenance is not None
    assert (found.provenance.basis, found.provenance.error_permille) == ("modelled", 370)


def test_without_the_deployments_powers_there_is_no_energy() -> None:
    meter = ModelledMeter(None, 4)
    assert not meter.available().ok
    assert "deployment" in meter.available().why
    assert (meter.devices(), meter.read(0)) == ([], [])


def test_this_machines_times_grow_and_busy_is_part_of_all() -> None:
    before = processor_times()
    sum(range(2_000_000))
    after = processor_times()
    assert 0 <= before.busy_ms <= before.whole_ms
    assert after.busy_ms >= before.busy_ms
    assert after.whole_ms >= before.whole_ms


def test_a_run_has_its_cores_idle_and_its_own_processor_time() -> None:
    run = modelled_run(CoreModel(2, 10, CALIBRATED_MODEL_ERROR), cpu_ms=1_500, wall_ms=1_000, cores=2)
    assert run.energy_mj == 2 * 2_000 + 8 * 1_500
    assert run.error_mj == 1_760


def test_every_meter_is_listed_there_or_not_and_says_why() -> None:
    meters = discover(MODEL)
    assert [m.name for m in meters] == ["nvml", "amdsmi", "levelzero", "habana", "rapl", "modelled"]
    for meter in meters:
        answer = meter.available()
        assert answer.ok or answer.why


def test_the_model_stands_aside_where_a_counter_counts_the_same() -> None:
    names = [m.name for m in present([Named("nvml"), Named("rapl"), Named("modelled")])]
    assert names == ["nvml", "rapl"]
    assert [m.name for m in present([Named("rapl", ok=False), Named("modelled")])] == ["modelled"]
