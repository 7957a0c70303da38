"""A hub whose cluster is reached by slurmrestd alone: while that is away nothing is decided, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from tests.journey.slurm_hub import SlurmHub, open_hub, until
from tests.journey.slurm_stream import Stream

from fabrique.definitions import deployment as d

if TYPE_CHECKING:
    from tools.slurm_lab.lab import SlurmLab

pytestmark = pytest.mark.slurm


def by_rest(hub: SlurmHub) -> None:
    file = hub.home.path / d.FILE_NAME
    found, _ = d.read(file)
    assert found is not None and found.cluster is not None
    way = {"transport": "rest", "rest_url": hub.lab.rest_url, "rest_key": str(hub.lab.jwt_key), "rest_user": "root"}
    file.write_text(d.write(found.model_copy(update={"clusters": (found.cluster.model_copy(update=way),)})))


@pytest.fixture(scope="module")
def hub(make_slurm_lab: Callable[..., SlurmLab]) -> Iterator[SlurmHub]:
    with open_hub(make_slurm_lab, changed=by_rest, rest=True) as hub:
        yield hub


def test_a_daemon_that_dies_and_comes_back(hub: SlurmHub) -> None:
    lab, (alice, bob) = hub.lab, hub.users
    stream = Stream(hub, seed=5)
    with hub.operating():
        stream.some(8, through_us=2)
        runs = stream.one(bob, "-c2", script="sleep $((SLURM_RESTART_COUNT ? 2 : 100))")
        stream.running(runs)
        stream.arrived()
        lab.stop_rest()
        late = stream.one(alice, "--gres=gpu:1", seconds=1)
        stream.some(3, through_us=1)
        stream.arrived()
        until(lambda: "slurmrestd" in hub.log(), 20, hub.log)
        lab.run("scontrol", "requeue", str(runs))
        time.sleep(3)  # some turns: Slurm's commands would answer, and are not asked
        assert (hub.shown(late, "State"), hub.shown(late, "PriorityLong")) == ("PENDING", "0")
        lab.start_rest()
        stream.some(3)
        stream.one(bob, "-c2", "--array=1-3", seconds=2, tasks=3)  # from 24.11 on they are let go together
        books = hub.assert_books_are_sacct_s(stream.began, stream.sent, 60)
    assert [run["reason"] for run in books.runs if run["job"] == str(runs)] == ["end.requeued", "end.completed"]
    assert books.by_status == {"completed": stream.sent}
