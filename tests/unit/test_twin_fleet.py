"""Fleets: what a hub's definition and its assumptions say of speeds, watts, caps and pools; events that lower a cap."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabrique.core.admission.tables import PPM, UNLIMITED
from fabrique.core.errors import FabriqueError
from fabrique.core.hub import Hub, Machine, Site, Sourced
from fabrique.core.hub_rules import idle_draw_w
from fabrique.definitions import accelerators, hubs, work_classes
from fabrique.twin.fleet import Domain, Fleet, Limit, bare, nameplate_w, steps, with_cap, with_event
from fabrique.twin.fleet_of_hub import of_hub, saturated_site

HOUR = 3_600_000
HUBS = tuple(hubs.builtin())


def held(fleet: Fleet, at_ms: int, now_ms: int) -> int:
    """The cap in W at an instant as known at another, read off the rows as the decision reads them."""
    domain = fleet.domains[0]
    mw = UNLIMITED
    for start, value, known in steps(domain):
        if start <= at_ms and known <= now_ms:
            mw = value
    return UNLIMITED if mw == UNLIMITED else mw // 1000 + domain.base_w


def with_site(hub: Hub, **changes: Sourced[object]) -> Hub:
    site: Site = replace(hub.sites[0], **changes)  # type: ignore[arg-type]
    return replace(hub, sites=(site, *hub.sites[1:]))


def with_partition(hub: Hub, **changes: Sourced[object]) -> Hub:
    machine: Machine = hub.machines[0]
    part = replace(machine.partitions[0], **changes)  # type: ignore[arg-type]
    return replace(hub, machines=(replace(machine, partitions=(part, *machine.partitions[1:])), *hub.machines[1:]))


# --- a machine of processors ---------------------------------------------------------------------------------------
def test_a_bare_machine_has_one_place_one_speed_and_no_power() -> None:
    fleet = bare(100)
    (place,) = fleet.places
    (pace,) = place.paces_of("training-compute")
    assert (place.milli_devices, place.devices_per_node, place.weight_ppm) == (100_000, 1, PPM)
    assert (pace.speed_ppm, pace.nameplate_mw, pace.measured_mw, pace.draw_mw) == (PPM, 0, 0, 0)
    assert nameplate_w(fleet) == 0 and steps(fleet.domains[0]) == [] and fleet.said == ()
    with pytest.raises(ValueError, match="processor"):
        bare(0)


# --- the site that power rules are tried on ------------------------------------------------------------------------
def test_the_saturated_site_is_3_mw_of_accelerators_that_are_4_mw_on_paper() -> None:
    fleet = saturated_site()
    node_w = 10_200 * 1150 // 1000
    assert 4_000_000 - node_w < nameplate_w(fleet) <= 4_000_000
    assert held(fleet, 0, 0) == 3_000_000
    assert fleet.milli_devices == 341 * 8 * 1000


def test_a_measured_node_says_what_its_devices_draw() -> None:
    place = saturated_site().places[0]
    top = place.paces_of("training-compute")[0]
    idle = 79 + Fraction(700, 8)
    assert top.nameplate_mw == ceil((Fraction(10_200, 8) - idle) * 1150)
    assert top.measured_mw == ceil((Fraction(8_400, 8) - idle) * 1150)
    assert top.draw_mw == ceil((Fraction(8_400 * 923, 8_000) - idle) * 1150)  # 76 % of nameplate, nearly


def test_a_lower_limit_takes_off_the_devices_part_alone() -> None:
    paces = {pace.limit_permille: pace for pace in saturated_site().places[0].paces_of("training-compute")}
    assert paces[1000].measured_mw - paces[600].measured_mw == 700 * 400 * 1150 // 1000


def test_lower_limits_give_about_a_tenth_more_work_a_facility_watt() -> None:
    fleet = saturated_site()
    idle_mw = fleet.sites[0].base_w * 1000 // (fleet.milli_devices // 1000)
    top, *lower = fleet.places[0].paces_of("training-compute")
    gains = [Fraction(p.speed_ppm, p.draw_mw + idle_mw) / Fraction(top.speed_ppm, top.draw_mw + idle_mw) for p in lower]
    assert all(Fraction(105, 100) < gain < Fraction(120, 100) for gain in gains)


def test_memory_bound_work_loses_less_at_each_limit() -> None:
    place = saturated_site().places[0]
    compute, memory = place.paces_of("training-compute"), place.paces_of("training-memory")
    assert [p.limit_permille for p in compute] == [p.limit_permille for p in memory]
    assert all(m.speed_ppm > c.speed_ppm for c, m in zip(compute[1:], memory[1:], strict=True))
    assert memory[1].speed_ppm == PPM  # it never reached the top limit, nor four fifths of it


# --- hubs ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("hub_id", HUBS)
def test_every_hub_makes_a_fleet_that_physics_allows(hub_id: str) -> None:
    fleet = of_hub(hubs.load_builtin(hub_id))
    assert sum(pool.share_ppm for pool in fleet.pools) == PPM
    for place in fleet.places:
        assert set(place.paces) == set(work_classes.catalogue())
        for top, *lower in place.paces.values():
            levels = [top, *lower]
            assert all(0 <= p.draw_mw <= p.measured_mw <= p.nameplate_mw and p.speed_ppm > 0 for p in levels)
            assert [p.measured_mw for p in levels] == sorted({p.measured_mw for p in levels}, reverse=True)
            assert [p.speed_ppm for p in levels] == sorted((p.speed_ppm for p in levels), reverse=True)


@pytest.mark.parametrize("hub_id", HUBS)
def test_a_fleet_says_each_assumption_of_its_hub_that_it_rests_on(hub_id: str) -> None:
    hub = hubs.load_builtin(hub_id)
    fleet = of_hub(hub)
    said = {a.path for a in fleet.said}
    sites = {site.id for site in fleet.sites}
    assumed = {a.path for a in hub.assumptions}
    for site in sites:
        wanted = {f"sites.{site}.{name}" for name in ("power_cap_w", "power_cap_point", "pue_permille", "zone")}
        assert assumed & wanted <= said
    for place in fleet.places:
        machine, partition = place.id.split("/")
        prefix = f"machines.{machine}.partitions.{partition}."
        assert {path for path in assumed if path.startswith(prefix)} <= said
    assert all(a.why for a in fleet.said) and len(said) == len({(a.path, str(a.value)) for a in fleet.said})


def test_idle_draw_is_all_of_the_site_at_the_meter() -> None:
    hub = hubs.load_builtin("ca-lasalle-hub")
    idle = idle_draw_w(hub, "lasalle", accelerators.catalogue())
    assert of_hub(hub).sites[0].base_w == -(-idle * 1150 // 1000)


def test_a_cap_on_the_machines_is_counted_at_the_meter() -> None:
    hub = hubs.load_builtin("ca-lasalle-hub")
    at_it = with_site(hub, power_cap_point=Sourced("IT", ("own",), "sourced"))
    assert held(of_hub(hub), 0, 0) == 3_000_000
    assert held(of_hub(at_it), 0, 0) == 3_450_000


def test_a_machine_whose_hpl_power_is_published_draws_that_at_most() -> None:
    fleet = of_hub(hubs.load_builtin("de-jaif"))
    (place,) = fleet.places
    top = place.paces_of("training-compute")[0]
    assert top.measured_mw == ceil((Fraction(15_800_000, 23_536) - 90 - Fraction(500, 4)) * 1100)
    assert any(a.path.endswith("booster.node_w") and "HPL" in a.why for a in fleet.said)


def test_processors_beside_accelerators_count_idle_and_that_is_said() -> None:
    fleet = of_hub(hubs.load_builtin("de-jaif"))
    assert [place.kind for place in fleet.places] == ["gh200"]
    assert any(a.path == "machines.jupiter-cluster.partitions.cluster" and a.value == "idle" for a in fleet.said)


def test_a_hub_of_processors_alone_hands_out_its_cores() -> None:
    hub = hubs.load_builtin("de-jaif")
    cluster = next(machine for machine in hub.machines if machine.id == "jupiter-cluster")
    (place,) = of_hub(replace(hub, machines=(cluster,))).places
    (pace,) = place.paces_of("simulation")  # nobody measured a core at a lower limit
    assert place.milli_devices == 1300 * 160 * 1000
    assert pace.nameplate_mw == pace.measured_mw == (4 - 1) * 1100  # above idle; the host draws the same at work


def test_kinds_go_with_arithmetic_or_with_bandwidth() -> None:
    fleet = of_hub(hubs.load_builtin("ca-lasalle-hub"))
    assert fleet.reference == "h200-sxm"
    mi300x = next(place for place in fleet.places if place.kind == "mi300x")
    assert mi300x.paces_of("training-compute")[0].speed_ppm == 1_307_000 * PPM // 989_000
    assert mi300x.paces_of("training-memory")[0].speed_ppm == 5_300 * PPM // 4_800
    assert mi300x.paces_of("never heard of") == mi300x.paces_of("any")


def test_pools_weigh_their_shares_by_what_the_machines_can_do() -> None:
    fleet = of_hub(hubs.load_builtin("bg-brainpp"))  # two machines: 35 % of a small one, 50 % of a large one
    union = next(pool for pool in fleet.pools if pool.id == "union")
    small, large = (place.milli_devices * place.weight_ppm // PPM for place in fleet.places)
    assert union.share_ppm == pytest.approx((small * 350_000 + large * 500_000) / (small + large), abs=1)
    assert not any(a.path == "pools.shares" for a in fleet.said)


def test_machines_that_no_pool_shares_are_shared_out_and_said() -> None:
    fleet = of_hub(hubs.load_builtin("de-hammerhai"))  # Hunter is lent and has no shares
    assert any(a.path == "pools.shares" for a in fleet.said)


def test_a_fleet_of_one_site() -> None:
    hub = hubs.load_builtin("lu-meluxina-ai")
    fleet = of_hub(hub, site="bettembourg")
    assert [place.id for place in fleet.places] == ["meluxina-ai/ai-bettembourg"]
    assert [site.zone for site in fleet.sites] == ["LU"]
    with pytest.raises(FabriqueError) as caught:
        of_hub(hub, site="nowhere")
    assert caught.value.code == "twin.site" and caught.value.params["sites"] == "bissen, bettembourg"


def test_a_part_of_a_hub() -> None:
    whole = of_hub(hubs.load_builtin("ca-lasalle-hub"))
    tenth = of_hub(hubs.load_builtin("ca-lasalle-hub"), scale=Fraction(1, 10))
    assert [place.milli_devices for place in tenth.places] == [16 * 8000, 12 * 8000, 9 * 8000]
    assert held(tenth, 0, 0) == 300_000 and tenth.sites[0].base_w == -(-whole.sites[0].base_w // 10)
    assert ("scale", "1/10") in {(a.path, a.value) for a in tenth.said}


@pytest.mark.parametrize("field", ["kind", "nodes", "devices_per_node", "node_idle_w"])
def test_what_is_neither_published_nor_assumed_is_named(field: str) -> None:
    hub = with_partition(hubs.load_builtin("ca-lasalle-hub"), **{field: Sourced()})
    with pytest.raises(FabriqueError) as caught:
        of_hub(hub)
    assert caught.value.code == "twin.fleet"
    assert caught.value.params == {"hub": hub.id, "field": f"machines.lasalle.partitions.nvidia.{field}"}


@pytest.mark.parametrize("field", ["power_cap_w", "power_cap_point", "pue_permille"])
def test_what_is_not_known_of_a_site_is_named(field: str) -> None:
    with pytest.raises(FabriqueError) as caught:
        of_hub(with_site(hubs.load_builtin("ca-lasalle-hub"), **{field: Sourced()}))
    assert caught.value.params["field"] == f"sites.lasalle.{field}"


def test_a_hub_without_machines_can_not_be_simulated() -> None:
    with pytest.raises(FabriqueError) as caught:
        of_hub(replace(hubs.load_builtin("ca-lasalle-hub"), machines=()))
    assert caught.value.code == "twin.fleet"


# --- events --------------------------------------------------------------------------------------------------------
def test_an_event_is_unknown_until_it_is_announced() -> None:
    fleet = with_event(saturated_site(), "site", 10 * HOUR, 12 * HOUR, 2_000_000, 9 * HOUR)
    assert held(fleet, 11 * HOUR, 9 * HOUR - 1) == 3_000_000
    assert held(fleet, 11 * HOUR, 9 * HOUR) == 2_000_000
    assert [held(fleet, t, 9 * HOUR) for t in (10 * HOUR - 1, 10 * HOUR, 12 * HOUR - 1, 12 * HOUR)] == [
        3_000_000,
        2_000_000,
        2_000_000,
        3_000_000,
    ]


def test_the_lower_of_two_events_holds_where_they_overlap() -> None:
    fleet = with_event(saturated_site(), "site", 10 * HOUR, 14 * HOUR, 2_000_000, 0)
    fleet = with_event(fleet, "site", 12 * HOUR, 16 * HOUR, 1_500_000, 11 * HOUR)
    assert [held(fleet, t * HOUR, 11 * HOUR) for t in (10, 12, 14, 16)] == [2_000_000, 1_500_000, 1_500_000, 3_000_000]
    assert [held(fleet, t * HOUR, 10 * HOUR) for t in (10, 12, 14, 16)] == [2_000_000, 2_000_000, 3_000_000, 3_000_000]


def test_an_event_above_the_cap_changes_nothing() -> None:
    fleet = saturated_site()
    assert steps(with_event(fleet, "site", 5, 9, 3_500_000, 0).domains[0]) == steps(fleet.domains[0])


def test_another_cap_keeps_the_events() -> None:
    fleet = with_cap(with_event(saturated_site(), "site", 5, 9, 2_000_000, 0), "site", 2_500_000)
    assert [held(fleet, t, 0) for t in (0, 5, 9)] == [2_500_000, 2_000_000, 2_500_000]


def test_a_cap_below_the_idle_draw_is_refused() -> None:
    fleet = saturated_site()
    with pytest.raises(FabriqueError) as caught:
        with_cap(fleet, "site", 500_000)
    assert caught.value.code == "twin.cap" and caught.value.params["idle_w"] == fleet.sites[0].base_w
    with pytest.raises(FabriqueError, match=r"twin\.cap"):
        with_event(fleet, "site", 5, 9, 500_000, 0)


def test_an_event_that_ends_before_it_begins_and_a_site_that_is_not_there() -> None:
    with pytest.raises(FabriqueError, match=r"twin\.event"):
        with_event(saturated_site(), "site", 9, 9, 2_000_000, 0)
    with pytest.raises(FabriqueError, match=r"twin\.site"):
        with_event(saturated_site(), "elsewhere", 5, 9, 2_000_000, 0)


instants = st.integers(0, 12)
limits = st.builds(
    lambda watts, start, length, known: Limit(
        watts=watts, from_ms=start, until_ms=None if length is None else start + length, known_ms=known
    ),
    st.integers(100, 105),
    instants,
    st.none() | st.integers(1, 6),
    instants,
)


@given(st.lists(limits, max_size=5))
def test_the_rows_say_the_least_limit_at_every_instant_as_known_at_every_other(found: list[Limit]) -> None:
    domain = Domain(id="d", site="s", base_w=40, limits=tuple(found))
    rows = steps(domain)
    assert [(row[0], row[2]) for row in rows] == sorted({(row[0], row[2]) for row in rows})
    for now in range(14):
        for at in range(20):
            seen = [mw for start, mw, known in rows if start <= at and known <= now]
            least = min((x.watts for x in found if x.holds(at, now)), default=None)
            assert (seen[-1] if seen else UNLIMITED) == (UNLIMITED if least is None else (least - 40) * 1000)


def test_equal_fleets_have_equal_digests() -> None:
    assert saturated_site().digest == saturated_site().digest
    assert with_cap(saturated_site(), "site", 2_900_000).digest != saturated_site().digest
    assert of_hub(hubs.load_builtin("de-jaif")).digest == of_hub(hubs.load_builtin("de-jaif")).digest


# --- the data they rest on -----------------------------------------------------------------------------------------
def test_work_classes_cite_or_say_why() -> None:
    known = work_classes.workload()
    assert {c.id for c in known.classes} == {"training-compute", "training-memory", "inference", "simulation", "any"}
    stated = [(c.source, c.status, c.why) for c in known.classes]
    stated += [(x.source, x.status, x.why) for x in (known.levels,)] + [
        (x.source, x.status, x.why) for x in (known.node,)
    ]
    for source, status, why in stated:
        assert set(source) <= set(known.sources) and why
        assert status == "assumption" or source
    assert known.levels.of_class in work_classes.catalogue()
    assert list(known.levels.limits) == sorted(known.levels.limits, reverse=True)
    assert min(known.levels.limits) > 450  # below, the same work takes more energy again


def test_assumed_figures_are_of_kinds_that_have_none() -> None:
    kinds = accelerators.catalogue()
    for figures in work_classes.workload().figures:
        assert kinds[figures.kind].bf16_gflops is None and figures.why
    assert all(kinds[kind].power_levels for kind in work_classes.workload().levels.medians_of)
    assert work_classes.workload().node.example in accelerators.node_examples()
