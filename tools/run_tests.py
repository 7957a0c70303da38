"""Run the tests as `make test`, `make check`, `make slurm-test` and `make soak` do; end with one count of them all.

test        floors and style, every test on SQLite, those marked `database` on a private PostgreSQL, then slurm-test
check       style, types, floors, and the tests that need neither database nor browser
slurm-test  every test on a real Slurm, which they start themselves
soak        the long tests alone

Exit code 0 when everything that could run passed. What could not run is listed as *skipped, because …*; with
CI=true a missing part fails instead.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import postgres
import prepare_tests
from slurm_lab import packages

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
IN_CI = os.environ.get("CI", "").lower() == "true"
WORKERS = str(min(4, os.cpu_count() or 1))
TOGETHER = ("-n", WORKERS, "--dist", "loadfile", "--no-loadscope-reorder")  # in the order of tests/conftest.py


@dataclass
class Tally:
    """Outcomes of every run, and whether any step failed."""

    outcomes: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, Counter[str]] = field(default_factory=dict)  # reason -> test -> how many of its cases
    failed: list[str] = field(default_factory=list)

    def step(self, name: str, *command: str) -> None:
        """A check that is no test: it passes or it is named as failed."""
        print(f"\n=== {name}", flush=True)
        if subprocess.run([str(BIN / command[0]), *command[1:]], cwd=ROOT).returncode != 0:
            self.failed.append(name)

    def pytest(self, name: str, *arguments: str, url: str = "") -> None:
        print(f"\n=== {name}", flush=True)
        environment = {k: v for k, v in os.environ.items() if k != "FABRIQUE_DATABASE_URL"}
        if url:
            environment["FABRIQUE_DATABASE_URL"] = url
        with tempfile.NamedTemporaryFile("r", suffix=".jsonl", encoding="utf-8") as file:
            slow = ("--durations=15", "--durations-min=5")
            command = [sys.executable, "-m", "pytest", "-q", *slow, f"--outcomes={file.name}", *arguments]
            if subprocess.run(command, cwd=ROOT, env=environment).returncode != 0:
                self.failed.append(name)
            self.count(map(json.loads, file), name)

    def count(self, lines: Iterable[dict[str, str]], run: str) -> None:
        for line in lines:
            self.outcomes[line["outcome"]] += 1
            if line["outcome"] == "skipped":
                test = line["test"].partition("[")[0]
                self.skipped.setdefault(line["why"], Counter())[f"{test}  [{run}]"] += 1

    def leave_out(self, what: str, why: str) -> None:
        """A whole run that cannot be: skipped with its reason, or failed with CI=true."""
        if IN_CI:
            self.failed.append(f"{what}: {why}")
        self.skipped.setdefault(why, Counter())[what] += 1

    def end(self, seconds: float) -> int:
        if self.skipped:
            print("\n=== skipped, because …")
        for why, tests in sorted(self.skipped.items()):
            print(f"  {why}")
            for test, cases in sorted(tests.items()):
                print(f"      {test}" + (f"  ({cases} cases)" if cases > 1 else ""))
        for name in self.failed:
            print(f"failed: {name}")
        counts = ", ".join(f"{self.outcomes[o]} {o}" for o in ("passed", "failed", "skipped"))
        print(f"\n{counts} in {seconds:.0f}s", flush=True)
        return 1 if self.failed or self.outcomes["failed"] else 0


def style(tally: Tally) -> None:
    tally.step("style", "ruff", "check", "src", "tests", "tools")
    tally.step("layout", "ruff", "format", "--check", "src", "tests", "tools")


def on_postgresql(tally: Tally, *arguments: str) -> None:
    name = "every test that touches tables, on PostgreSQL"
    try:
        with postgres.running() as url:
            tally.pytest(name, "-m", "database", *arguments, url=url)
    except (LookupError, RuntimeError) as missing:
        tally.leave_out(name, str(missing))


def prepare(tally: Tally, *parts: prepare_tests.Part) -> None:
    if prepare_tests.main(parts or (*prepare_tests.PARTS, *prepare_tests.SLURM)) != 0:
        tally.failed.append("a part is missing, and CI=true wants every part")


def on_slurm(tally: Tally) -> None:
    """A lab a process, which the tests of a file share."""
    name = "every test on a real Slurm"
    if absent := packages.missing():
        tally.leave_out(name, f"Slurm is not installed (Debian: {' '.join(absent)})")
    else:
        tally.pytest(name, "--slurm", *TOGETHER)


def test(tally: Tally) -> None:
    prepare(tally)
    style(tally)
    tally.pytest("every test, on SQLite", *TOGETHER)
    on_postgresql(tally, *TOGETHER)
    on_slurm(tally)


def slurm_test(tally: Tally) -> None:
    prepare(tally, *prepare_tests.SLURM)
    on_slurm(tally)


def check(tally: Tally) -> None:
    style(tally)
    tally.step("types", "mypy")
    without = "not database and not browser"
    tally.pytest("tests without database or browser", "-n", WORKERS, "-m", without, "tests/unit")


def soak(tally: Tally) -> None:
    prepare(tally, *prepare_tests.PARTS)
    tally.pytest("long tests, on SQLite", "--soak", "--timeout=0", "-n", WORKERS)
    on_postgresql(tally, "--soak", "--timeout=0", "-n", WORKERS)


RUNS = {"test": test, "check": check, "slurm-test": slurm_test, "soak": soak}


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in RUNS:
        print(__doc__)
        return 2
    started, tally = time.monotonic(), Tally()
    RUNS[arguments[0]](tally)
    return tally.end(time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
