"""The fourteen hubs: they load, can be simulated, and say what the facts say."""

from __future__ import annotations

import time

import pytest

from fabrique.core.hub import Funding, Hub, Machine, Partition, nulls, published, rests_on, walk
from fabrique.core.hub_rules import WHOLE_PPM, idle_draw_w
from fabrique.core.units import MICRO
from fabrique.definitions import accelerators, hubs, sources, zones
from fabrique.meters.kinds import kind_of_name

IDS = (
    "at-ai-at", "bg-brainpp", "ca-lasalle-hub", "de-hammerhai", "de-jaif", "es-bsc-aif", "fi-lumi-aif", "fr-ai2f",
    "gr-pharos", "it-it4lia", "lu-meluxina-ai", "pl-piast", "se-mimer", "si-slaif",
)  # fmt: skip


def machine(hub: Hub, machine_id: str) -> Machine:
    return next(m for m in hub.machines if m.id == machine_id)


def partition(hub: Hub, partition_id: str) -> Partition:
    return next(p for p in hub.partitions if p.id == partition_id)


def test_there_are_fourteen() -> None:
    assert tuple(hubs.builtin()) == IDS


@pytest.mark.parametrize("hub_id", IDS)
def test_each_loads_without_complaint_for_anyone(hub_id: str) -> None:
    hub, found = hubs.load(hubs.builtin()[hub_id])
    assert found == []
    assert hub is not None and hub == hubs.load_builtin(hub_id)


@pytest.mark.parametrize("hub_id", IDS)
def test_every_fact_names_a_source_that_resolves(hub_id: str) -> None:
    known = sources.catalogue()
    for path, fact in published(hubs.load_builtin(hub_id)).items():
        assert fact.source, path
        assert all(source in known for source in fact.source), path
        assert fact.status != "not-found", path


@pytest.mark.parametrize("hub_id", IDS)
def test_assumptions_stand_only_for_what_nobody_published(hub_id: str) -> None:
    hub = hubs.load_builtin(hub_id)
    assumed = {path: fact for path, fact in walk(hub) if fact.assumed is not None}
    assert set(assumed) == set(rests_on(hub)) == {a.path for a in hub.assumptions}
    assert all(fact.value is None and fact.why for fact in assumed.values())
    assert nulls(hub) >= len(assumed) > 0


@pytest.mark.parametrize("hub_id", IDS)
def test_each_can_be_simulated(hub_id: str) -> None:
    hub, kinds = hubs.load_builtin(hub_id), accelerators.catalogue()
    prices = hub.prices_micro_per_hour.best
    assert prices is not None and hub.priority_classes.best
    for part in hub.partitions:
        assert part.devices and part.kind.best in kinds and part.kind.best in prices
    for one in hub.machines:
        assert sum(share.ppm.best or 0 for share in one.shares) in (0, WHOLE_PPM), one.id
    for site in hub.sites:
        assert site.zone.best in zones.catalogue()
        assert (site.power_cap_w.best or 0) > idle_draw_w(hub, site.id, kinds) > 0


def test_luxembourg_has_252_nodes_of_four_in_two_data_centres() -> None:
    hub = hubs.load_builtin("lu-meluxina-ai")
    ai = machine(hub, "meluxina-ai")
    assert (ai.nodes.value, ai.accelerators.value) == (252, 1008)
    assert sum(p.devices or 0 for p in ai.partitions) == 252 * 4 == 1008
    assert {p.site for p in ai.partitions} == {"bissen", "bettembourg"}
    assert all(p.nodes.rests_on_assumption for p in ai.partitions)
    assert {p.kind.value for p in ai.partitions} == {"gb200"}


def test_luxembourg_shares_are_per_machine_and_commercial_use_is_a_part_of_the_unions() -> None:
    hub = hubs.load_builtin("lu-meluxina-ai")
    shares = {m.id: {s.pool: s.ppm.best for s in m.shares} for m in hub.machines}
    assert shares["meluxina-ai"] == {"union": 500_000, "national": 500_000}
    assert shares["meluxina"] == {"union": 350_000, "national": 650_000}
    union = next(pool for pool in hub.pools if pool.id == "union")
    assert union.commercial_ppm.value is not None
    assert union.commercial_ppm.value * 500_000 // WHOLE_PPM == 100_000


def test_luxembourgs_quantum_computer_is_a_partition_of_qpus() -> None:
    qpu = partition(hubs.load_builtin("lu-meluxina-ai"), "qpu")
    assert (qpu.device, qpu.kind.value, qpu.devices) == ("qpu", "meluxina-q-qpu", 1)


def euros(hub: Hub, funding_id: str) -> int:
    found = next(f for f in hub.funding if f.id == funding_id).amount.value
    assert found is not None and found.exact.unit == "uEUR"
    return found.exact.value // MICRO


def parts(hub: Hub, whole: str, by: str) -> list[Funding]:
    return [f for f in hub.funding if f.part_of == whole and f.by == by]


def test_luxembourgs_money_reconciles_by_use_and_by_source() -> None:
    hub = hubs.load_builtin("lu-meluxina-ai")
    assert (
        sum(euros(hub, f.id) for f in parts(hub, "supercomputer", "use")) == euros(hub, "supercomputer") == 112_000_000
    )
    for by in ("use", "source"):
        assert sum(euros(hub, f.id) for f in parts(hub, "total", by)) == euros(hub, "total") == 126_000_000


def test_lasalle_says_three_megawatts_but_not_where_they_are_metered() -> None:
    hub = hubs.load_builtin("ca-lasalle-hub")
    site = hub.sites[0]
    assert site.power_cap_w.value == 3_000_000
    assert site.power_cap_point.value is None and site.power_cap_point.assumed == "facility"
    assert "sites.lasalle.power_cap_point" in rests_on(hub)
    assert 1_300 <= sum(p.devices or 0 for p in hub.partitions) <= 4_000
    assert all(s.ppm.rests_on_assumption for s in hub.machines[0].shares)


def test_lasalle_counts_in_canadian_dollars_and_serves_french_first() -> None:
    hub = hubs.load_builtin("ca-lasalle-hub")
    money = hub.funding[0].amount.value
    assert hub.currency == "CAD" and money is not None
    assert (money.amount, money.currency) == (250_000_000, "CAD")
    assert (hub.funding[0].kind or "").startswith("up to")
    assert hub.languages[0] == "fr-CA" and hub.jurisdiction == "CA-QC"


@pytest.mark.parametrize(
    ("hub_id", "machine_id", "count"),
    [
        ("es-bsc-aif", "mn5-acc", 4480),
        ("it-it4lia", "leonardo", 13824),
        ("it-it4lia", "lisa", 1328),
        ("fi-lumi-aif", "lumi", 11912),
        ("se-mimer", "arrhenius", 1528),
        ("de-hammerhai", "hammerhai", 860),
        ("de-jaif", "jupiter-booster", 23536),
        ("at-ai-at", "musica", 1088),
        ("bg-brainpp", "discoverer-plus", 32),
        ("si-slaif", "vega", 240),
        ("lu-meluxina-ai", "meluxina", 800),
    ],
)
def test_published_counts_are_those_of_the_partitions(hub_id: str, machine_id: str, count: int) -> None:
    one = machine(hubs.load_builtin(hub_id), machine_id)
    assert one.accelerators.value == count
    own = [p for p in one.partitions if p.device == "accelerator" and p.id != "cloud"]
    assert sum(p.devices or 0 for p in own) == count


def test_lumi_ai_keeps_its_count_unpublished() -> None:
    ai = machine(hubs.load_builtin("fi-lumi-aif"), "lumi-ai")
    assert ai.accelerators.value is None and ai.partitions[0].nodes.rests_on_assumption


def test_a_sum_with_cents_is_exact() -> None:
    hub = hubs.load_builtin("at-ai-at")
    services = next(f for f in hub.funding if f.id == "services").amount.value
    assert services is not None and services.exact.value == 29_999_998_790_000


def test_quebec_is_not_canada() -> None:
    zone = zones.catalogue()["CA-QC"]
    assert zone.latest().mg_per_kwh == 34_800 and zone.latest().zone == "CA-QC"
    assert [(f.zone, f.mg_per_kwh, f.basis) for f in zone.of_country] == [("CA", 170_000, "production")]


def test_what_luxembourg_produces_is_not_what_it_consumes() -> None:
    zone = zones.catalogue()["LU"]
    in_2023 = {f.basis: f.mg_per_kwh for f in (*zone.factors, *zone.of_country) if f.year == 2023}
    assert in_2023 == {"consumption": 284_000, "production": 105_300}
    assert zone.latest().mg_per_kwh == 260_600


def test_every_zone_states_what_its_factors_are() -> None:
    for zone in zones.catalogue().values():
        for factor in (*zone.factors, *zone.of_country):
            assert (factor.kind, factor.scope, factor.method) == ("average", "lifecycle", "location")
            assert factor.source in sources.catalogue()


def test_accelerators_keep_their_origin_and_their_gaps() -> None:
    kinds = accelerators.catalogue()
    h100 = kinds["h100-sxm"]
    assert (h100.vendor, h100.vendor_jurisdiction) == ("nvidia", "US")
    assert (h100.board_w, h100.min_limit_w, h100.idle_w) == (700, 200, 79)
    assert kinds["gh200"].board_w is None and kinds["mi300x"].idle_w is None
    assert kinds["mi250x"].parts == 2
    assert (kinds["local-core"].device, kinds["meluxina-q-qpu"].device) == ("core", "qpu")
    assert [(level.limit, level.throughput, level.draw, level.energy) for level in kinds["v100"].power_levels][-1] == (
        400, 725, 508, 836,
    )  # fmt: skip
    node = accelerators.node_examples()["8xh100"]
    assert (node.nameplate_w, node.measured_max_w) == (10_200, 8_400)
    assert all(source in sources.catalogue() for kind in kinds.values() for source in kind.source)


def test_what_the_meters_name_is_in_the_catalogue() -> None:
    names = ("NVIDIA H100 80GB HBM3", "NVIDIA H200", "AMD Instinct MI300X", "HL-325L")
    found = {kind_of_name(name) for name in names}
    assert found == {"h100-sxm", "h200-sxm", "mi300x", "gaudi3"} <= set(accelerators.catalogue())


def test_loading_is_quick() -> None:
    start = time.process_time()
    for path in hubs.builtin().values():
        hubs.load(path)
    assert time.process_time() - start < 4
