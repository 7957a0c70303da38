"""jobs + idle + overhead + residual == meter, and windows that add up, whatever comes in."""

from hypothesis import given
from hypothesis import strategies as st

from fabrique.core.energy import Claim, Window, attribute, measured
from fabrique.core.readings import Limits, Reading, metered

ENERGY = st.integers(0, 10**18)
CLAIMS = st.lists(
    st.builds(
        Claim,
        run=st.text(min_size=1, max_size=4),
        weight=st.integers(0, 10**12),
        measured_mj=st.none() | ENERGY,
        most_mj=st.none() | ENERGY,
    ),
    max_size=8,
    unique_by=lambda c: c.run,
)


@given(ENERGY, ENERGY, st.integers(0, 3_000), CLAIMS, st.integers(0, 1_000))
def test_the_meter_is_its_parts_to_the_millijoule(
    meter: int, idle: int, overhead: int, claims: list[Claim], bound: int
) -> None:
    split = attribute(Window(0, 1), meter, idle, overhead, claims, bound)
    assert sum(split.jobs.values()) + split.idle_mj + split.overhead_mj + split.residual_mj == meter
    assert set(split.jobs) == {c.run for c in claims}
    assert split.idle_mj == idle
    assert 0 <= split.overhead_mj <= meter
    assert split.within_bound == (abs(split.residual_mj) <= split.residual_bound_mj)
    for claim in claims:
        got = split.jobs[claim.run]
        if claim.measured_mj is not None:
            assert got == claim.measured_mj
        else:
            assert 0 <= got <= meter
            assert claim.most_mj is None or got <= claim.most_mj


@given(ENERGY, st.lists(st.integers(1, 10**9), min_size=1, max_size=20))
def test_shares_without_ceiling_leave_no_residual_and_follow_the_weights(meter: int, weights: list[int]) -> None:
    claims = [Claim(str(i), w) for i, w in enumerate(weights)]
    split = attribute(Window(0, 1), meter, 0, 0, claims)
    assert split.residual_mj == 0
    for claim in claims:
        exact = meter * claim.weight // sum(weights)
        assert exact <= split.jobs[claim.run] <= exact + 1


VALUES = st.integers(0, 2_000_000) | st.sampled_from([-2, -1, 2**64 - 2, 2**64 - 1]) | st.none()
POINTS = st.lists(st.tuples(st.integers(0, 100_000), st.booleans(), VALUES), max_size=12)
LIMITS = st.builds(
    Limits,
    most_w=st.integers(1, 2_000),
    wraps_at_mj=st.none() | st.integers(1, 3_000_000),
    longest_gap_ms=st.integers(1, 50_000),
)


@given(POINTS, LIMITS, st.lists(st.integers(-10_000, 110_000), min_size=3, max_size=3))
def test_windows_add_up_and_gaps_are_told(
    points: list[tuple[int, bool, int | None]], limits: Limits, edges: list[int]
) -> None:
    readings = [
        Reading("x", at, measured("c"), **({"counter_mj": v} if counter else {"power_mw": v}))
        for at, counter, v in points
    ]
    a, b, c = sorted(edges)
    left, right, whole = (metered(readings, w, limits) for w in (Window(a, b), Window(b, c), Window(a, c)))
    assert (left.energy_mj or 0) + (right.energy_mj or 0) == (whole.energy_mj or 0)
    assert left.covered_ms + right.covered_ms == whole.covered_ms
    for found in (left, right, whole):
        assert found.covered_ms + sum(g.window.length_ms for g in found.gaps) == found.window.length_ms
        assert (found.energy_mj is None) == (found.covered_ms == 0)
        # Never more than the device can draw, a counter's refresh and one rounding aside.
        assert (found.energy_mj or 0) <= limits.most_w * (found.covered_ms + 1_000 * (len(points) + 1)) + 1
        at = found.window.start_ms
        for gap in found.gaps:
            assert gap.window.start_ms >= at
            at = gap.window.end_ms
