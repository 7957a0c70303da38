"""What an operator changes in the deployment while the loop runs: taken at its next turn, or told and left."""

from __future__ import annotations

import logging
from threading import Event

import pytest
from tests.unit.clusters import ClusterBench

from fabrique.cli.serve import Deployed
from fabrique.core.errors import FabriqueError
from fabrique.definitions.deployment import FILE_NAME
from fabrique.operate import loop as loops

pytestmark = pytest.mark.django_db


def test_a_cap_that_moves_is_the_next_turns(bench: ClusterBench) -> None:
    file, watch = bench.here.home / FILE_NAME, Deployed(bench.here)
    before = file.read_text()
    file.write_text(f"# as it was\n{before}")
    assert not watch.changed() and watch.here is bench.here
    file.write_text(before.replace("cap_w = 20000", "cap_w = 9000"))
    assert watch.changed() and watch.here.cap_w == 9_000
    assert not watch.changed()


def test_one_that_cannot_be_read_is_told_once_and_left(bench: ClusterBench, caplog: pytest.LogCaptureFixture) -> None:
    file, watch = bench.here.home / FILE_NAME, Deployed(bench.here)
    before = file.read_text()
    file.write_text(before.replace("cap_w = 20000", 'cap_w = "much"'))
    with caplog.at_level(logging.WARNING, "fabrique.loop"):
        assert not watch.changed() and not watch.changed()
    assert len(caplog.records) == 1 and "cap_w" in caplog.text
    assert watch.here is bench.here
    file.unlink()
    with pytest.raises(FabriqueError, match=r"home\.missing"):
        watch.changed()


def test_a_loop_ends_where_another_takes_its_place(bench: ClusterBench) -> None:
    turns = iter((False, False, True))
    made: list[loops.Turn] = []
    loops.run(bench.new_loop(), Event(), every_s=0, on_turn=made.append, until=lambda: next(turns))
    assert [turn.leader for turn in made] == [True, True]
    loops.run(bench.new_loop(), Event(), every_s=0, on_turn=made.append, until=iter((False, True)).__next__)
    assert made[-1].leader  # the lease was given back
