"""Looks of the loop, looks at the accounting, crashes and silences in any order: the books are the accounting's.

Each record is one run; what it was allocated, as long as it elapsed, is used or the hub's loss; a second time changes
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.unit.clusters import CLUSTER, ClusterBench, Slurm, found_on_cluster
from tests.unit.scripted import T0

from fabrique.apps.jobs.models import EngineRecord, RecordState, Run
from fabrique.apps.ledger import services as ledger
from fabrique.apps.ledger.models import Entry
from fabrique.apps.ledger.verify import verify
from fabrique.core import booking
from fabrique.core.units import unit
from fabrique.engines.protocol import Observation
from fabrique.operate.doors import project_of
from fabrique.operate.ingest import Ingest

H100 = unit("acc-ms:h100-sxm")
JOBS = (1, 2)
ENDS = {"COMPLETED": "completed", "CANCELLED": "cancelled", "NODE_FAIL": "node-failed", "FAILED": "failed"}
ACTS = ("start", "turn", "end", "turn", "lose", "turn", "unseen", "look", "crash", "mute")
STEPS = st.lists(
    st.tuples(st.sampled_from(ACTS), st.sampled_from(JOBS), st.sampled_from(sorted(ENDS))), min_size=6, max_size=25
)


@pytest.fixture
def bench(db: None, settings: Any, tmp_path: Path) -> Iterator[ClusterBench]:
    settings.HOME = tmp_path / "home"
    yield ClusterBench(found_on_cluster(settings.HOME))


class Story:
    """What truly happens to each job, and how much of it the hub is shown."""

    def __init__(self, bench: ClusterBench) -> None:
        self.bench = bench
        bench.now, bench.slurm = T0, Slurm()
        bench.loop = bench.new_loop()
        self.started: dict[int, int] = {}
        self.over: set[int] = set()
        self.lost: set[int] = set()

    def act(self, what: str, job: int, state: str) -> None:
        bench, slurm = self.bench, self.bench.slurm
        runs = job in self.started and job not in self.over | self.lost
        if what == "start" and job not in self.started:
            self.started[job] = bench.now // 1000 * 1000
            slurm.sbatch(job, priority=1)
            slurm.starts(job, self.started[job])
        elif what == "end" and runs:
            self.end(job, state)
        elif what == "lose" and runs:
            handle = slurm.queue.pop(job).handle
            seen = Observation(handle, "lost", "lost", started_ms=self.started[job], last_seen_ms=bench.now)
            slurm.answers[handle] = seen
            self.lost.add(job)
        elif what == "unseen" and job not in self.started:
            self.started[job] = bench.now // 1000 * 1000
            self.end(job, state)
        elif what == "turn":
            bench.turn(7_000)
        elif what == "look" and not slurm.mute:
            self.look()
        elif what == "crash":
            bench.loop = bench.new_loop()
            bench.now += 11_000  # until its lease is over
        elif what == "mute":
            slurm.mute = not slurm.mute

    def end(self, job: int, state: str) -> None:
        slurm, start = self.bench.slurm, self.started[job]
        elapsed = (self.bench.now - start) // 1000 * 1000 + 1000
        if job in slurm.queue:
            slurm.ends(job, start + elapsed, ENDS[state])
        slurm.ran(job, start, elapsed, state=state)
        self.over.add(job)

    def look(self) -> dict[str, int]:
        return dict(
            Ingest(self.bench.here, CLUSTER, project_of).look(self.bench.slurm, None, now=self.bench.now, back_to=T0)
        )

    def close(self) -> None:
        """All has ended and is written down; the hub has looked, in its own time."""
        for job in JOBS:
            if job in self.started and job not in self.over:
                self.lost.discard(job)
                self.end(job, "COMPLETED")
        self.bench.slurm.mute = False
        self.bench.loop = self.bench.new_loop()
        for _ in range(3):
            self.bench.turn(11_000)
        self.look()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(steps=[("start", 1, ""), ("turn", 1, ""), ("lose", 1, ""), ("turn", 1, "")])
@example(steps=[("start", 1, ""), ("turn", 1, ""), ("end", 1, "NODE_FAIL"), ("look", 1, ""), ("turn", 1, "")])
@given(steps=STEPS)
def test_the_books_end_as_the_accounting_says(bench: ClusterBench, steps: list[tuple[str, int, str]]) -> None:
    with transaction.atomic():
        story = Story(bench)
        for step in steps:
            story.act(*step)
        story.close()
        records = list(bench.slurm.book.values())
        failed = sum(r.elapsed_ms for r in records if r.state == "NODE_FAIL")
        allocation = str(bench.project.allocations.get().id)
        used = {b: ledger.balance(booking.account(allocation, b), H100) for b in ("used", "lost", "held", "available")}
        assert used["used"] == sum(r.elapsed_ms for r in records) - failed
        assert (used["lost"], used["held"]) == (0, 0)
        assert used["available"] == 100 * 3_600_000 - used["used"]
        assert ledger.balance(booking.LOSSES, H100) == failed
        assert Run.objects.exclude(state="abandoned").count() == len(records)
        kept = EngineRecord.objects.filter(state=RecordState.BOOKED)
        assert {r.key for r in kept} == set(bench.slurm.book)
        assert all(run.reason["code"] != "end.lost" for run in Run.objects.all())
        entries = Entry.objects.count()
        assert story.look() == {}
        assert Entry.objects.count() == entries
        assert verify().ok
        transaction.set_rollback(True)


def test_a_forged_name_is_nobody_s_run(bench: ClusterBench) -> None:
    """A job that calls itself by an intent that is not the hub's is charged to who submitted it."""
    record = bench.slurm.ran(5, T0, 9_000, name="run-" + "0" * 32)
    bench.slurm.book[record.key] = replace(record, account="chemistry")
    bench.now = T0 + 60_000
    found = Ingest(bench.here, CLUSTER, project_of).look(bench.slurm, None, now=bench.now, back_to=T0)
    assert found == {"quarantined": 1}
    assert Run.objects.count() == 0
