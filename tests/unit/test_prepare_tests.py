"""Parts that tests need are installed with care: no service starts by itself, and what stays missing is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BEGIN = "import json, sys; from pathlib import Path; sys.path.insert(0, 'tools'); import prepare_tests as p\n"
INSTALL = """
p.POLICY = Path(sys.argv[1])
def apt(*words):
    print(json.dumps([words, p.POLICY.exists() and p.POLICY.read_text()]))
    return True
p.apt = apt
p.install([p.Part("Slurm", "slurmctld slurmd", "jobs", lambda: False), p.Part("X", "x", "y", lambda: False)])
"""
MISSING = """
p.provide = lambda parts: list(parts)
sys.exit(p.main([p.Part("Slurm", "slurmctld slurmd", "all that runs on it", lambda: False)]))
"""
LEFT_OUT = """
import run_tests
run_tests.packages.missing = lambda *_: ["slurmctld", "munge"]
tally = run_tests.Tally()
run_tests.on_slurm(tally)
sys.exit(tally.end(1))
"""


def python(code: str, *arguments: str, ci: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BEGIN + code, *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "CI": ci}, capture_output=True, text=True, timeout=60)


def test_daemons_are_told_not_to_start_while_their_packages_come(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    said = python(INSTALL, str(policy)).stdout.splitlines()
    assert said[0] == "prepare: installing with apt-get: slurmctld slurmd x"
    told = "#!/bin/sh\nexit 101\n"
    assert [json.loads(line) for line in said[1:]] == [
        [["update"], told],
        [["install", "--no-install-recommends", "slurmctld", "slurmd", "x"], told],
    ]
    assert not policy.exists()


def test_a_machines_own_policy_stays(tmp_path: Path) -> None:
    policy = tmp_path / "policy-rc.d"
    policy.write_text("its own", encoding="ascii")
    assert '"its own"' in python(INSTALL, str(policy)).stdout
    assert policy.read_text(encoding="ascii") == "its own"


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_a_missing_part_is_said_and_fails_with_ci(ci: str, code: int) -> None:
    done = python(MISSING, ci=ci)
    assert done.returncode == code
    assert done.stdout == (
        "prepare: Slurm is missing (Debian: slurmctld slurmd); without it, not tested: all that runs on it\n"
    )


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_without_slurm_its_tests_are_skipped_because(ci: str, code: int) -> None:
    done = python(LEFT_OUT, ci=ci)
    assert done.returncode == code
    assert "  Slurm is not installed (Debian: slurmctld munge)\n      every test on a real Slurm\n" in done.stdout
