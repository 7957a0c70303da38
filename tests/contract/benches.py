"""The engines under contract, each with what its caller needs around it."""

from __future__ import annotations

import functools
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from tests.contract import slurm_bench

from fabrique.engines.isolation import Isolation, detect
from fabrique.engines.local import LocalEngine
from fabrique.engines.protocol import Engine, JobUser, Observation, RunSpec, Where
from fabrique.engines.slurm.model import Way

if TYPE_CHECKING:
    from tools.slurm_lab.lab import SlurmLab

PATIENCE_S = 60.0
T = TypeVar("T")


def utc_ms() -> int:
    return time.time_ns() // 1_000_000


@functools.cache
def walls() -> Isolation:
    with tempfile.TemporaryDirectory() as home:
        return detect(Path(home), (Path(sys.prefix), Path(sys.base_prefix)))


class Bench:
    """One engine under test, and what its caller needs around it.

    `lacks`: what it can't promise, and why; `tick_ms` the step in which it tells time.
    """

    user = JobUser("ada", 200_042)
    where: Where | None = None
    lacks: Mapping[str, str] = {}
    tick_ms = 1

    def __init__(self, connect: Callable[[], Engine]) -> None:
        self.connect = connect
        self.engine = connect()
        self.intents: list[str] = []

    def spec(self, text: str, /, **changes: object) -> RunSpec:
        intent = f"run-{len(self.intents):04d}-{time.monotonic_ns() % 10**9}"
        self.intents.append(intent)
        script = f"#!/bin/sh\n{text}\n".encode()
        whole = RunSpec(intent, "a-job", script, 1, 60_000, self.user, where=self.where)
        return replace(whole, **changes)  # type: ignore[arg-type]

    def must(self, promise: str) -> None:
        """Go on only where the engine promises that."""
        if promise in self.lacks:
            pytest.skip(f"Slurm: {self.lacks[promise]}")

    def submit(self, text: str, /, **changes: object) -> str:
        spec = self.spec(text, **changes)
        self.engine.submit(spec)
        return spec.intent

    def see(self, intent: str) -> Observation:
        return self.engine.observe([intent])[0]

    def until(self, intent: str, *states: str) -> Observation:
        return self.when(lambda: self.see(intent), lambda seen: seen.state in states)

    def over(self, intent: str) -> Observation:
        return self.until(intent, "ended", "lost")

    def log(self, intent: str) -> bytes:
        return self.engine.read_log(intent, 0, 1_000_000)[0]

    def says(self, intent: str, word: bytes) -> bytes:
        """The log, once `word` is in it."""
        return self.when(lambda: self.log(intent), lambda log: word in log)

    @staticmethod
    def when(look: Callable[[], T], right: Callable[[T], bool]) -> T:
        until = time.monotonic() + PATIENCE_S
        while not right(found := look()):
            assert time.monotonic() < until, f"waited too long: {found}"
            time.sleep(0.02)
        return found


def local(tmp_path: Path) -> Bench:
    home = tmp_path / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    return Bench(lambda: LocalEngine(home / "runs", replace(walls(), home=home), utc_ms))


class SlurmBench(Bench):
    """A cluster decides some things itself."""

    tick_ms = 1_000
    lacks = {
        "knows what started": "the script that starts a person's own has started",
        "limits of a second": "its shortest limit is a minute",
        "spared by a warning": "a warning ends a script that does not listen",
        "memory": "memory is bounded as the cluster bounds it",
        "output at once": "output beyond its limit ends the run at the next look",
        "graces": "between TERM and KILL is the cluster's KillWait",
        "no daemons": "the lab follows processes by their parents, not by cgroups",
        "places": "it tells jobs of their places in its own words",
        "use": "what a run uses is known when the accounting knows it",
    }

    def __init__(self, lab: SlurmLab, way: Way) -> None:
        self.user, self.where = slurm_bench.user(lab), slurm_bench.where(lab)
        super().__init__(slurm_bench.connector(lab, way, utc_ms))
        if way == "rest" and slurm_bench.is_oldest(lab):
            self.lacks = self.lacks | {"warnings": "slurmrestd v0.0.38 can't have a script warned"}


BENCHES: dict[str, Callable[[pytest.FixtureRequest], Bench]] = {
    "local": lambda request: local(request.getfixturevalue("tmp_path")),
    "slurm-commands": lambda request: SlurmBench(request.getfixturevalue("slurm_lab"), "commands"),
    "slurm-rest": lambda request: SlurmBench(request.getfixturevalue("slurm_lab"), "rest"),
}
