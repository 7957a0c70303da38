"""Measure what is promised and what people wait for; print a table, or JSON with `--json`.

`make bench` measures everything, `make bench CASES=kth,live` these cases alone. Figures are of this machine, not
limits that a test enforces. Public traces lie in the folder that FABRIQUE_TRACES names; without one, its row says so.
The last two start Slurm on this machine, and the first of them takes half an hour.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # it is run as a file, and its cases are a package

if TYPE_CHECKING:
    from tools.bench_cases.figure import Figure

CASES = {
    "cold": "product:cold",
    "kth": "replays:kth",
    "frugal": "replays:frugal",
    "live": "live:decision",
    "kueue": "shares:kueue",
    "deferral": "carbon:unlimited",
    "carbon": "carbon:limited",
    "power": "power:saturated",
    "pools": "shares:two_pools",
    "drain": "drain:drained",
    "whatif": "replays:what_if",
    "exascale": "replays:exascale",
    "starts": "product:starts",
    "hub": "product:hub",
    "slurm": "slurm:side_by_side",
    "slurm-overhead": "slurm_overhead:overhead",
}
HEADER = ("figure", "measured", "reach", "reached", "anchor; notes")


def measure(case: str) -> Iterator[Figure]:
    """A case that breaks is a row that says why; the others go on."""
    from tools.bench_cases.figure import Figure

    room, name = CASES[case].split(":")
    try:
        yield from getattr(importlib.import_module(f"tools.bench_cases.{room}"), name)()
    except Exception as error:
        traceback.print_exc()
        yield Figure(what=f"{case}: broken", value=None, unit="", note=f"{type(error).__name__}: {error}"[:200])


def line(figure: Figure) -> str:
    reached = {True: "yes", False: "NO", None: "-"}[figure.reached]
    sign = {"at least": "≥", "at most": "≤", None: ""}[figure.reach]
    reach = "" if figure.target is None else f"{sign} {figure.target:,.10g} {figure.unit}"
    told = "; ".join(part for part in (figure.anchor, figure.note) if part)
    return f"{figure.what:<82} {_value(figure):>20}  {reach:>18}  {reached:^7}  {told}"


def _value(figure: Figure) -> str:
    if figure.value is None:
        return "not measured"
    digits = 0 if abs(figure.value) >= 1_000 or figure.value == int(figure.value) else 3 if figure.value < 10 else 1
    return f"{figure.value:,.{digits}f} {figure.unit}"


def chosen(arguments: Sequence[str], wanted: str) -> list[str] | None:
    """The cases to measure, in order; None where one is unknown."""
    names = [name for part in (*arguments, wanted) for name in part.split(",") if name]
    return None if set(names) - CASES.keys() else names or list(CASES)


def main(arguments: Sequence[str]) -> int:
    as_json = "--json" in arguments
    cases = chosen([one for one in arguments if one != "--json"], os.environ.get("CASES", ""))
    if cases is None:
        print(f"{__doc__}\nCases: {', '.join(CASES)}")
        return 2
    found = []
    if not as_json:
        print(f"{HEADER[0]:<82} {HEADER[1]:>20}  {HEADER[2]:>18}  {HEADER[3]:^7}  {HEADER[4]}")
    for case in cases:
        for figure in measure(case):
            found.append({"case": case, **asdict(figure), "reached": figure.reached})
            if not as_json:
                print(line(figure), flush=True)
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
    return 1 if any("broken" in str(row["what"]) and row["value"] is None for row in found) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
