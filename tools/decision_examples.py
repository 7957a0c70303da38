"""The worked examples of docs/decision.md: tiny hubs through the real decision. Prints them; a test compares the page.

Everywhere: a partition `gpu` of four accelerators at the site `hall`, pools `union` and `national` of half each, and
noon as the time. What is written is what `core.admission.step` answered.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from fabrique.core.admission import History, Plan, Rules, step
from fabrique.core.admission.explain import Variant, explain
from fabrique.core.admission.filter import Offer, candidates
from fabrique.core.admission.state import (
    CapRow,
    JobRow,
    OptionRow,
    OutlookRow,
    PartitionRow,
    PoolRow,
    Rows,
    RunRow,
    SiteRow,
)
from fabrique.core.job import JobSpec
from fabrique.core.reasons import Reason
from fabrique.core.units import HOUR_MS, device_of, time_unit

NOON: Final = 20_000 * 86_400_000 + 12 * HOUR_MS
UNIT: Final = time_unit("accelerator", "h100-sxm")
TOP: Final = OptionRow(partition="gpu", power_w=700, level="")
PARTITION: Final = PartitionRow(id="gpu", kind="h100-sxm", site="hall", milli_devices=4_000, milli_cores=0, memory_mb=0)
RULES: Final = Rules(name="example", pools=True, share_order=True)


def job(number: str, devices: int, hours: int, pool: str = "union", **more: object) -> JobRow:
    """Draws 700 W a device at the top level."""
    plain = JobRow(
        id=number, pool=pool, project=f"of-{pool}", allocation=f"a-{pool}",
        options=(replace(TOP, power_w=700 * devices),), milli_devices=devices * 1000, milli_cores=0, memory_mb=0,
        walltime_ms=hours * HOUR_MS, priority=0, submitted_ms=NOON - HOUR_MS + int(number), not_before_ms=0,
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


def run(number: str, devices: int, left_h: int, pool: str = "union", **more: object) -> RunRow:
    """Began two hours ago."""
    plain = RunRow(
        id=f"r{number}", job=number, pool=pool, project=f"of-{pool}", option=replace(TOP, power_w=700 * devices),
        milli_devices=devices * 1000, milli_cores=0, memory_mb=0, walltime_ms=(2 + left_h) * HOUR_MS, priority=0,
        submitted_ms=NOON - 3 * HOUR_MS, started_ms=NOON - 2 * HOUR_MS, ends_ms=NOON + left_h * HOUR_MS,
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


def hub(jobs: list[JobRow], runs: list[RunRow] | None = None, **more: object) -> Rows:
    plain = Rows(
        partitions=(PARTITION,),
        sites=(SiteRow(id="hall", cap_w=None, base_w=200),),
        pools=(PoolRow(id="union", share_ppm=500_000), PoolRow(id="national", share_ppm=500_000)),
        rooms=(("a-union", UNIT, None), ("a-national", UNIT, None)),
        jobs=tuple(jobs),
        runs=tuple(runs or ()),
    )
    return replace(plain, **more)  # type: ignore[arg-type]


# --- the nine phases ----------------------------------------------------------------------------------------------
def filtered() -> Iterator[str]:
    offer = Offer(
        partition="gpu", engine="slurm", site="hall", kind="h100-sxm", device="accelerator", unit=UNIT,
        milli_devices=4_000, cores=64, memory_mb=500_000, device_w=700, core_w=0, core_idle_w=0,
    )  # fmt: skip
    for kinds, devices in ((("mi300x",), 1), (("h100-sxm",), 8), (("h100-sxm",), 2)):
        spec = JobSpec(name="a", script="true", milli_devices=devices * 1000, kinds=kinds, walltime_ms=HOUR_MS)
        found, refused = candidates(spec, [offer])
        yield f"{devices} of {kinds[0]}: {told(refused) if refused else 'may run on ' + found[0].partition}"


def budgeted() -> Iterator[str]:
    ask = 4 * HOUR_MS * 1000
    rows = hub([job("1", 4, 1, asks=((UNIT, ask),))], rooms=(("a-union", UNIT, ask // 2), ("a-national", UNIT, None)))
    yield from plan(step(rows, RULES, NOON))


def ordered() -> Iterator[str]:
    rows = hub([job("1", 1, 1), job("2", 1, 1), job("3", 2, 1, "national")], [run("9", 2, 4)])
    yield from plan(step(rows, RULES, NOON))


def placed() -> Iterator[str]:
    levels = (replace(TOP, power_w=2_800), OptionRow(partition="gpu", power_w=1_600, level="400W", speed_ppm=900_000))
    rows = hub([job("1", 4, 9, options=levels, elastic=True)], sites=(SiteRow(id="hall", cap_w=2_000, base_w=200),))
    yield from plan(step(rows, replace(RULES, watts="levels"), NOON))


def timed() -> Iterator[str]:
    rows = hub([job("1", 4, 1), job("2", 2, 2), job("3", 2, 3)], [run("9", 2, 2)])
    yield from plan(step(rows, RULES, NOON))


def deferred() -> Iterator[str]:
    wait = NOON + 6 * HOUR_MS
    for name, values in (("a windy night", (300, 300, 300, 120, 120, 300)), ("Québec", (35, 35, 35, 34, 34, 35))):
        outlook = OutlookRow(site="hall", start_ms=NOON, step_ms=HOUR_MS, values=tuple(v * 1000 for v in values))
        rows = hub([job("1", 1, 2, latest_ms=wait)], outlooks=(outlook,))
        yield f"{name}:"
        yield from plan(step(rows, replace(RULES, defer=True), NOON))


def reclaimed() -> Iterator[str]:
    runs = [run("8", 2, 4), run("9", 2, 4, preemptible=True, started_ms=NOON - HOUR_MS)]
    rules = replace(RULES, reclaim=True, min_run_ms=HOUR_MS, backoff_ms=HOUR_MS // 2)
    yield from plan(step(hub([job("1", 2, 1, "national")], runs), rules, NOON))


def filled() -> Iterator[str]:
    cap = SiteRow(id="hall", cap_w=1_900, base_w=200)
    levels = (replace(TOP, power_w=1_400), OptionRow(partition="gpu", power_w=800, level="400W", speed_ppm=900_000))
    both = [job(number, 2, 4, options=levels, elastic=True) for number in ("1", "2")]
    rules = replace(RULES, watts="levels", water_fill=True, recap=True)
    rest = (job("3", 2, 4, "national", options=levels, elastic=True),)
    yield "one job, nobody behind it:"
    yield from plan(step(hub(both[:1], sites=(cap,)), rules, NOON))
    yield "three jobs, more than the hall has room for:"
    yield from plan(step(hub([*both, *rest], sites=(cap,)), rules, NOON))
    yield "the cap falls to 1,000 W while a run that writes checkpoints draws 1,400:"
    low = replace(cap, caps=(CapRow(from_ms=NOON, cap_w=1_000, known_ms=NOON),))
    yield from plan(step(hub([], [run("9", 2, 4, preemptible=True)], sites=(low,)), rules, NOON))


def explained() -> Iterator[str]:
    rows = hub([job("1", 4, 24), job("2", 2, 24)], [run("9", 2, 4)])
    shorter = Variant(kind="walltime", before=24 * HOUR_MS, after=4 * HOUR_MS, row=job("2", 2, 4))
    found = explain(rows, RULES, History(at_ms=NOON), "2", [shorter], NOON, typical_permille=500)
    yield f"2 waits: {told(found.reason)}; starts between {clock(found.earliest_ms)} and {clock(found.latest_ms)}"
    for change in found.changes:
        yield f"with 4 h instead of 24 h: {clock(change.starts_ms)}"


# --- words --------------------------------------------------------------------------------------------------------
def plan(found: Plan) -> Iterator[str]:
    for start in found.starts:
        yield f"start {start.job} on {start.partition}" + (f" at {start.level}" if start.level else "")
    for one in found.preempts:
        yield f"preempt {one.job}: {told(one.reason)}"
    for recap in found.recaps:
        yield f"re-cap {recap.job} to {recap.level or 'the top level'}: {told(recap.reason)}"
    for wait in found.waits:
        by = "" if wait.by_ms is None else f"; at the latest {clock(wait.by_ms)}"
        yield f"wait {wait.job}: {told(wait.reason)}{by}"


def told(why: Reason | None) -> str:
    if why is None:
        return "nothing"
    shown = {name: clock(v) if isinstance(v, int) and v > NOON // 2 else v for name, v in why.params.items()}
    shown = {name: device_of(v) if name == "unit" else v for name, v in shown.items()}  # type: ignore[arg-type]
    return f"{why.code} ({', '.join(f'{name} {value}' for name, value in shown.items())})"


def clock(at_ms: int | None) -> str:
    if at_ms is None:
        return "not foretold"
    day, minute = divmod((at_ms - NOON + 12 * HOUR_MS) // 60_000, 24 * 60)
    return f"{minute // 60:02}:{minute % 60:02}" + (f" (day +{day})" if day else "")


EXAMPLES: Final[dict[str, Callable[[], Iterator[str]]]] = {
    "Filter": filtered,
    "Budget": budgeted,
    "Order": ordered,
    "Place": placed,
    "Time": timed,
    "Defer": deferred,
    "Lend and reclaim": reclaimed,
    "Water-fill": filled,
    "Explain": explained,
}


def main() -> int:
    for name, example in EXAMPLES.items():
        print(f"# {name}")
        print("\n".join(example()), end="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
