"""Some forty short jobs of two people by both doors, that go on while something fails."""

from __future__ import annotations

import random
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.journey.slurm_hub import SLURMS, until
from tools.slurm_lab.processes import LabError

if TYPE_CHECKING:
    from tests.journey.slurm_hub import SlurmHub, User


@dataclass(slots=True)
class Stream:
    """`sent` counts jobs as the hub counts them, a task of an array each; `ids` are Slurm's, in their order."""

    hub: SlurmHub
    seed: int
    began: float = field(default_factory=time.time)
    sent: int = 0
    ids: list[int] = field(default_factory=list)
    _ours: list[subprocess.Popen[str]] = field(default_factory=list)
    _chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def some(self, jobs: int, *, through_us: int = 0) -> None:
        """About so many by sbatch, a third of them as tasks of arrays; `through_us` by `fabrique submit`."""
        for n in range(through_us):
            self._ours.append(self.hub.submit(self.hub.users[n % 2], f"sleep {self._chance.randint(1, 4)}"))
            self.sent += 1
        until_sent = self.sent + jobs
        while self.sent < until_sent:
            alice, bob = self.hub.users
            user, asked = self._chance.choice(
                [(alice, "--gres=gpu:1"), (alice, "--gres=gpu:4"), (bob, "-c2"), (bob, "-n3")]
            )
            tasks = self._chance.choice((1, 1, 1, 1, 1, 3)) if until_sent - self.sent >= 3 else 1
            array = (f"--array=0-{tasks - 1}",) if tasks > 1 else ()
            self.one(user, asked, *array, seconds=self._chance.randint(1, 6), tasks=tasks)

    def one(self, user: User, *asked: str, seconds: int = 0, tasks: int = 1, script: str = "") -> int:
        """As a person does it: again, when Slurm does not answer. A `script` instead of so many `seconds`."""
        words, end = ("-t", "1", "-J", f"sent-{self.sent}", *asked), time.monotonic() + 30
        while True:
            try:
                made = self.hub.sbatch(user, *words, script=script or f"sleep {seconds}")
            except LabError:
                assert time.monotonic() < end
                time.sleep(0.5)
                if not (made := self._taken(f"sent-{self.sent}")):
                    continue
            break
        self.ids.append(made)
        self.sent += tasks
        return made

    def _taken(self, name: str) -> int:
        """The job of that name, 0 where there is none: a controller that is slow may take one and not say so."""
        shown: list[str] = []

        def asked() -> bool:
            done = self.hub.lab.run("squeue", "-h", "-t", "all", "-n", name, "-o", "%F %V", check=False)
            shown[:] = done.stdout.splitlines()
            return done.returncode == 0

        until(asked, 60)
        begin = time.strftime(SLURMS, time.localtime(self.began))  # another stream may have used the name
        return next((int(job) for job, submitted in map(str.split, shown) if submitted >= begin), 0)

    def arrived(self) -> None:
        """All that went through the hub was taken."""
        for made in self._ours:
            assert made.stdout is not None
            said = made.stdout.read()
            assert made.wait(60) == 0, said
        self._ours.clear()

    def running(self, job: int, seconds: float = 40) -> None:
        until(lambda: self.hub.shown(job, "State") == "RUNNING", seconds, lambda: (job, self.hub.log()))
