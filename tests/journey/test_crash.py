"""kill -9 at any instant, of the loop, a job, a submitter or everything: nothing lost, doubled or mischarged."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("crash.py")


def campaign(environment: dict[str, str], kills: int, seed: int, limit_s: int) -> dict[str, Any]:
    Path(environment["FABRIQUE_HOME"]).mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(kills), str(seed)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )
    assert done.returncode == 0, f"seed {seed}: {done.stderr[-3000:]}"
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def check(found: dict[str, Any], kills: int, seed: int) -> None:
    told = f"seed {seed}: {found}"
    assert found["kills"] == kills, told
    assert found["jobs"] >= found["submitted"], told
    # every job has an end, and one run at most
    assert set(found["by_status"]) <= {"completed", "failed", "lost", "cancelled"}, told
    assert found["runs"] == found["jobs"], told
    assert found["runs_a_job_most"] == 1, told
    assert found["started_more_than_once"] == 0, told
    assert found["completed_without_trace"] == 0, told
    assert found["alive"] == 0, told
    # the books: each hold settled, what ended charged once, what was lost given back
    assert (found["open_holds"], found["held"], found["lost"]) == (0, 0, 0), told
    assert found["used"] == found["elapsed_charged"], told
    assert found["ledger_ok"], told
    # a campaign in which nothing ran to its end would show nothing
    assert found["by_status"].get("completed", 0) > 0, told


@pytest.mark.database
@pytest.mark.timeout(420)
def test_a_hundred_random_deaths(fresh_environment: dict[str, str]) -> None:
    seed = random.SystemRandom().randrange(10**6)
    check(campaign(fresh_environment, 100, seed, 400), 100, seed)


@pytest.mark.database
@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
def test_ten_thousand_random_deaths(fresh_environment: dict[str, str]) -> None:
    seed = random.SystemRandom().randrange(10**6)
    check(campaign(fresh_environment, 10_000, seed, 6 * 3600), 10_000, seed)
