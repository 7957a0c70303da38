"""Slurm powers down the nodes that the plan leaves idle, by the site's own commands; a plain sbatch wakes them."""

from __future__ import annotations

import shlex
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from tests.journey.slurm_hub import DEVICE, SlurmHub, open_hub, until
from tools.slurm_lab.power import COMMAND

if TYPE_CHECKING:
    from tools.slurm_lab.lab import SlurmLab

pytestmark = pytest.mark.slurm
NODES = 2
COMMANDS = {"suspend": "node-stop", "resume": "node-start --booted"}
BOOT_S = {"suspend": 0, "resume": 12}  # more than there is between two looks at the accounting


@pytest.fixture(scope="module")
def hub(make_slurm_lab: Callable[..., SlurmLab]) -> Iterator[SlurmHub]:
    with open_hub(make_slurm_lab, nodes=NODES, power_saving=True) as hub:
        yield hub


def saving(hub: SlurmHub) -> None:
    """As the operator does it: the site's commands, named to `install`; its lines, and how soon, in slurm.conf."""
    options = []
    for verb, what in COMMANDS.items():
        command = hub.lab.folder / f"site-{verb}"
        words = [*(shlex.quote(str(word)) for word in (sys.executable, COMMAND)), what, "--folder", str(hub.lab.folder)]
        loop = f'for node in "$@"; do\n  {" ".join(words)} "$node" || exit 1\ndone\n'
        command.write_text(f"#!/bin/sh\nsleep {BOOT_S[verb]}\n{loop}")
        command.chmod(0o755)
        options += [f"--{verb}", str(command)]
    lines = hub.answer("slurm", "install", *options)["lines"]
    assert [line.partition("=")[0] for line in lines] == ["SuspendProgram", "ResumeProgram"]
    with hub.lab.conf.open("a") as conf:
        conf.writelines(f"{line}\n" for line in (*lines, "SuspendTime=2", "ResumeTimeout=90"))
    hub.lab.restart_controller()


def states(hub: SlurmHub) -> list[str]:
    return hub.lab.run("sinfo", "-h", "-N", "-p", "gpu", "-O", "StateComplete:100").stdout.split()


def windows(hub: SlurmHub, since_s: float) -> list[tuple[int, int]]:
    """Savings and meter of those that ended since then."""
    with closing(sqlite3.connect(f"file:{hub.home.path / 'fabrique.sqlite3'}?mode=ro", uri=True)) as base:
        asked = "select saved_mj, meter_mj from energy_window where end_ms >= ? order by start_ms"
        return base.execute(asked, (int(since_s * 1000),)).fetchall()


def test_idle_nodes_sleep_what_that_saves_is_booked_and_a_plain_sbatch_wakes_one(hub: SlurmHub) -> None:
    alice = hub.users[0]
    with hub.operating():
        saving(hub)
        until(lambda: all("powered_down" in state for state in states(hub)), 60, lambda: (states(hub), hub.log()))
        until(lambda: [saved for saved, _ in windows(hub, 0) if saved], 90, hub.log)
        since = time.time()
        job = hub.sbatch(alice, "--gres=gpu:h100:1", "-t", "2", script="sleep 6")
        until(lambda: hub.shown(job, "State") == "RUNNING", 90, lambda: (states(hub), hub.log()))
        assert sum("powered_down" in state for state in states(hub)) == NODES - 1
        books = hub.assert_books_are_sacct_s(since, 1, 90)
        assert books.charged[alice.account][DEVICE] >= 3_000
        assert any(meter for _, meter in windows(hub, since))  # it drew while it was awake
    assert hub.answer("ledger", "verify")["ok"]
